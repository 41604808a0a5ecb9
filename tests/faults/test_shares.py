"""Shares of a run, done anywhere and in any order, make the result of one run; what is missing is named and done."""

import dataclasses
import random
import shutil

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from run_cases import assert_same, counting, counting_processor

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.processors import run as runs
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books.chunks import common, cut, share
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.work.executors import IterativeExecutor


def do(fileset, output, part, action=None, **more):
    options = runs.RunOptions(output=output, part=part, chunksize=100, verification="size", trust_units=True, **more)
    return runs.process(fileset, counting_processor(action), options, lambda _s, _t, sink: IterativeExecutor(sink=sink))


def merged(fileset, output, directories):
    options = runs.RunOptions(output=output)
    return runs.to_results(runs.merge(fileset, directories, options), options)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_shares_in_any_order_make_the_result_of_one_run(small_fileset, tmp_path, reference, n):
    fileset = filesets.load(small_fileset)
    directories = [tmp_path / str(k) for k in range(1, n + 1)]
    random.Random(n).shuffle(directories)
    for directory in directories:
        books = do(fileset, directory, f"{directory.name}/{n}")
        assert books.faults == []
    result = merged(fileset, tmp_path / "r", directories)
    assert result.is_complete
    assert result.bookkeeping["totals"]["events_processed"] == 1500
    assert_same(result, reference)


def test_merged_books_hold_what_the_shares_cost(small_fileset, tmp_path):
    fileset, totals = filesets.load(small_fileset), []
    for k in (1, 2, 3):
        options = runs.RunOptions(output=tmp_path / str(k), part=f"{k}/3")
        books = do(fileset, options.output, options.part)
        runs.finish_part(books, options)
        totals.append(books.to_dict()["totals"])
    # The second is done again, and takes all that it has.
    books = do(fileset, tmp_path / "2", "2/3", resume=True)
    runs.finish_part(books, runs.RunOptions(output=tmp_path / "2", part="2/3"))
    found = merged(fileset, tmp_path / "r", [tmp_path / str(k) for k in (1, 2, 3, 3)]).bookkeeping["totals"]
    assert found["events_resumed"] == totals[1]["events_processed"] > 0
    assert found["events_read"] == totals[0]["events_read"] + totals[2]["events_read"] > 0
    assert found["chunks"] == totals[0]["chunks"] + totals[2]["chunks"]
    assert found["columns_read"] == totals[0]["columns_read"]
    assert found["cpu_time_s"] > 0
    assert found["peak_memory_bytes"].keys() == totals[0]["peak_memory_bytes"].keys()


def test_a_share_that_is_lost_is_missing_until_it_is_done(small_fileset, tmp_path, reference):
    fileset = filesets.load(small_fileset)
    directories = [tmp_path / str(k) for k in (1, 2, 3)]
    for directory in directories:
        do(fileset, directory, f"{directory.name}/3")
    shutil.rmtree(directories[1])
    result = merged(fileset, tmp_path / "r", [directories[0], directories[2]])
    assert not result.is_complete
    assert all(problem.startswith("hole: ") for problem in result.bookkeeping["problems"])
    do(fileset, directories[1], "2/3")
    result = merged(fileset, tmp_path / "r", [*directories, directories[0]])
    assert result.is_complete
    assert_same(result, reference)


def test_what_is_missing_after_the_merge_can_be_done_at_once(small_fileset, tmp_path, reference):
    fileset = filesets.load(small_fileset)
    do(fileset, tmp_path / "1", "1/3")
    merged(fileset, tmp_path / "r", [tmp_path / "1"])
    books = do(fileset, tmp_path / "r", None, resume=True)
    assert 0 < books.n_resumed < 1500
    assert_same(runs.to_results(books, runs.RunOptions()), reference)


def test_a_share_is_resumed(small_fileset, tmp_path):
    fileset = filesets.load(small_fileset)

    def fail(events):
        if events.metadata["entrystart"] == 100:
            raise ValueError("not today")

    broken = do(fileset, tmp_path, "1/2", fail)
    assert broken.faults
    assert broken.failed
    whole = do(fileset, tmp_path, "1/2", resume=True)
    assert whole.faults == []
    assert 0 < whole.n_resumed < 1500


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"totals": {}}', b'{"totals": {"chunks": "many"}}', b"\xff\xfe"]
)
def test_a_share_whose_books_are_damaged_is_to_be_done_again(small_fileset, tmp_path, damage):
    fileset = filesets.load(small_fileset)
    options = runs.RunOptions(output=tmp_path / "1", part="1/1")
    runs.finish_part(do(fileset, options.output, options.part), options)
    (tmp_path / "1" / "bookkeeping.json").write_bytes(damage)
    with pytest.raises(ResultsError) as refused:
        merged(fileset, tmp_path / "r", [tmp_path / "1"])
    assert str(tmp_path / "1" / "bookkeeping.json") in str(refused.value)
    assert str(refused.value).endswith("; do the share again")
    assert "\n" not in str(refused.value)


def test_shares_of_other_cuts_are_not_taken(small_fileset, tmp_path):
    fileset = filesets.load(small_fileset)
    do(fileset, tmp_path / "1", "1/1", cuts=dataclasses.replace(runs.SELECTION, chi2_4c_max=25.0))
    result = merged(fileset, tmp_path / "r", [tmp_path / "1"])
    assert result.bookkeeping["totals"]["events_processed"] == 0
    assert not result.is_complete


@pytest.mark.fast
@given(st.integers(1, 60), st.integers(1, 400))
def test_every_chunk_is_in_one_share(small_fileset, n, chunksize):
    fileset = filesets.load(small_fileset)
    shares = [share(fileset, chunksize, k, n) for k in range(1, n + 1)]
    found = sorted((u, span) for one in shares for u, spans in one.items() for span in spans)
    chunks = [
        (file.uuid, span)
        for dataset in fileset.values()
        for file in dataset.files
        for span in cut((0, file.num_entries), chunksize, file.clusters)
    ]
    assert found == sorted(chunks)
    sizes = [sum(map(len, one.values())) for one in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.fast
def test_what_two_lists_of_spans_share():
    assert common([(0, 10), (20, 30)], [(5, 25), (28, 40)]) == [(5, 10), (20, 25), (28, 30)]
    assert common([(0, 0)], [(0, 0)]) == [(0, 0)]
    assert common([(0, 5)], [(5, 9)]) == []


def test_the_command_does_shares_and_merges_them(small_fileset, tmp_path, monkeypatch, reference):
    monkeypatch.setitem(registry.SELECTIONS, "count", counting())
    runner = CliRunner()
    for k in (2, 1):
        arguments = ["--part", f"{k}/2", "--output", str(tmp_path / str(k)), "--executor", "iterative", "--trust-units"]
        shown = runner.invoke(lnv, ["run", str(small_fileset), *arguments, "--chunksize", "100"])
        assert shown.exit_code == 0, shown.output
        assert f"share {k}/2 is whole" in shown.output
    merging = ["merge", str(small_fileset), "--output", str(tmp_path / "r"), str(tmp_path / "1")]
    one = runner.invoke(lnv, merging)
    assert isinstance(one.exception, IncompleteError)
    shown = runner.invoke(lnv, [*merging, str(tmp_path / "2")])
    assert shown.exit_code == 0, shown.output
    assert_same(results.read(tmp_path / "r" / "accumulator.zip"), reference)


@pytest.mark.parametrize("part", ["3/2", "0/2", "1", "a/b", "-1/2"])
def test_what_is_no_share_is_wrong_usage(small_fileset, part):
    assert CliRunner().invoke(lnv, ["run", str(small_fileset), "--part", part]).exit_code == 2


def test_a_directory_without_a_share_is_named(small_fileset, tmp_path):
    with pytest.raises(ResultsError, match="typo: no share of a run lies there"):
        merged(filesets.load(small_fileset), tmp_path / "r", [tmp_path / "typo"])
