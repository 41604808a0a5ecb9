"""Every executor and every chunk size gives one result; groups, guards and progress."""

import json
import os
import signal
import time
from functools import partial

import pytest
from click.testing import CliRunner
from coffea.processor.executor import WorkItem
from run_cases import assert_same, counting, make_fileset, run

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.errors import IncompleteError
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import FuturesExecutor, IterativeExecutor
from jpsi_lnv.processors.work.guard import Guarded, Peak

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture(scope="module")
def reference(small_fileset, tmp_path_factory):
    return run(small_fileset, tmp_path_factory.mktemp("reference"), IterativeExecutor)[0]


@pytest.fixture(scope="module")
def client():
    with connect(ClusterOptions(workers=2)) as client:
        yield client


@pytest.mark.parametrize("chunksize", [37, 1000])
def test_iterative_with_any_chunk_size(small_fileset, tmp_path, reference, chunksize):
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, chunksize=chunksize)
    assert_same(result, reference)
    assert result.is_complete


@pytest.mark.parametrize("chunksize", [60, 100, 1000])
def test_futures_gives_the_same(small_fileset, tmp_path, reference, chunksize):
    result, _ = run(small_fileset, tmp_path, partial(FuturesExecutor, workers=2), chunksize=chunksize)
    assert_same(result, reference)
    assert result.is_complete


@pytest.mark.parametrize("chunksize", [60, 100, 1000])
def test_dask_gives_the_same(small_fileset, tmp_path, reference, client, chunksize):
    result, _ = run(small_fileset, tmp_path, partial(DaskExecutor, client=client), chunksize=chunksize)
    assert_same(result, reference)
    assert result.is_complete


@pytest.mark.fast
def test_books_say_what_was_done(reference):
    books = reference.bookkeeping
    assert books["complete"]
    assert books["problems"] == books["failed_chunks"] == books["skipped_files"] == []
    assert books["datasets"]["signal"]["events_processed"] == books["datasets"]["signal"]["events_expected"] == 770
    totals = books["totals"]
    assert totals["events_read"] == 1500
    assert totals["chunks"] == 4 + 1 + 5 + 5 + 3
    assert totals["bytes_read"] > 0
    assert "Track_kappa-data" in totals["columns_read"]
    assert all(peak > 1e7 for peak in totals["peak_memory_bytes"].values())
    json.dumps(books)


def test_result_survives_its_file(reference, tmp_path):
    results.write(tmp_path / "a.zip", reference)
    assert_same(results.read(tmp_path / "a.zip"), reference)


@pytest.mark.fast
def test_io_errors_are_tried_again_and_counted(small_fileset, tmp_path, reference):
    marks = tmp_path / "marks"
    marks.mkdir()

    def stumble(events):
        mark = marks / f"{events.metadata['fileuuid']}-{events.metadata['entrystart']}"
        if not mark.exists() and events.metadata["entrystart"] == 100:
            mark.touch()
            raise TimeoutError("the file server was busy")

    make = partial(IterativeExecutor, backoff=0.01)
    result, _ = run(small_fileset, tmp_path, make, action=stumble)
    assert result.bookkeeping["totals"]["chunks_retried"] == len(list(marks.iterdir())) == 4
    assert_same(result, reference)


def test_io_error_that_stays_is_recorded_with_its_attempts(small_fileset, tmp_path):
    def fail(events):
        if events.metadata["dataset"] == "other" and events.metadata["entrystart"] == 200:
            raise OSError(5, "Input/output error")

    result, _ = run(small_fileset, tmp_path, partial(IterativeExecutor, backoff=0.01), action=fail)
    (record,) = [r for r in result.bookkeeping["failed_chunks"] if r["file"].endswith("other_0.root")]
    assert record["attempts"] == 3
    assert (record["start"], record["stop"]) == (200, 300)
    assert record["kind"] == "OSError"
    assert "in fail" in record["traceback"]
    assert not result.is_complete
    assert any("other_0.root, entries 200 to 300" in p for p in result.bookkeeping["problems"])
    with pytest.raises(IncompleteError, match="entries 200 to 300"):
        result.require_complete()


@pytest.mark.parametrize("kind", ["futures", "dask"])
def test_a_chunk_that_kills_its_worker_is_named(small_fileset, tmp_path, kind, request):
    def die(events):
        if events.metadata["dataset"] == "other" and events.metadata["entrystart"] == 100:
            os.kill(os.getpid(), signal.SIGKILL)

    if kind == "futures":
        result, _ = run(small_fileset, tmp_path, partial(FuturesExecutor, workers=2), action=die)
    else:
        with connect(ClusterOptions(workers=2)) as own:
            result, _ = run(small_fileset, tmp_path, partial(DaskExecutor, client=own), action=die)
    failed = {(r["file"].rpartition("/")[2], r["start"], r["stop"]) for r in result.bookkeeping["failed_chunks"]}
    assert failed == {("other_0.root", 100, 200), ("other_1.root", 100, 200)}
    assert not result.is_complete
    assert len(result.bookkeeping["problems"]) == 2
    assert result.datasets["signal"].n_events == 770


@pytest.mark.fast
def test_a_guard_records_what_coffea_wraps():
    class Item:
        dataset, filename, entrystart, entrystop = "d", "f.root", 3, 7

    def wrapped(item):
        try:
            raise ValueError("the reason")
        except ValueError as error:
            raise Exception("Failed processing file") from error

    (record,) = Guarded(wrapped, attempts=3)(Item())["failed"]
    assert (record["kind"], record["message"], record["attempts"]) == ("ValueError", "the reason", 1)


@pytest.mark.fast
def test_peaks():
    assert Peak(3) + Peak(5) == Peak(5) + 3 == sum([Peak(5), Peak(2)]) == 5


@pytest.mark.fast
def test_the_command_runs_and_shows_its_tables(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.SELECTIONS, "count", counting())
    fileset = make_fileset(tmp_path, {"signal": [120], "other": [70, 30]})
    arguments = [
        "run",
        "--trust-units",
        str(fileset),
        "--executor",
        "iterative",
        "--output",
        str(tmp_path / "r"),
        "--chunksize",
        "50",
    ]
    started = time.monotonic()
    shown = CliRunner().invoke(lnv, arguments)
    assert shown.exit_code == 0, shown.output
    assert time.monotonic() - started < 60
    for word in ("signal", "events", "120", "MB", "columns", "accumulator.zip"):
        assert word in shown.output
    stored = results.read(tmp_path / "r" / "accumulator.zip")
    assert stored.is_complete
    assert stored.datasets["other"].n_produced == 200
    assert json.loads((tmp_path / "r" / "bookkeeping.json").read_text()) == stored.bookkeeping

    limited = CliRunner().invoke(lnv, [*arguments, "--test", "--datasets", "oth*"])
    assert limited.exit_code == 0, limited.output
    assert "marked incomplete" in limited.output
    stored = results.read(tmp_path / "r" / "accumulator.zip")
    assert not stored.is_complete
    assert stored.datasets["other"].n_events == 50


@pytest.mark.fast
def test_a_limited_run_is_incomplete_even_if_it_covers_everything(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.SELECTIONS, "count", counting())
    fileset, output = make_fileset(tmp_path, {"signal": [120]}), tmp_path / "r"
    arguments = ["run", "--trust-units", str(fileset), "--executor", "iterative", "--output", str(output)]
    limited = CliRunner().invoke(lnv, [*arguments, "--test"])
    assert limited.exit_code == 0, limited.output
    stored = results.read(output / "accumulator.zip")
    assert stored.datasets["signal"].n_events == 120
    assert not stored.is_complete
    assert "limited on request" in stored.bookkeeping["problems"][0]
    whole = CliRunner().invoke(lnv, [*arguments, "--resume"])
    assert whole.exit_code == 0, whole.output
    assert results.read(output / "accumulator.zip").is_complete


def test_dask_writes_its_performance_report(tmp_path, monkeypatch):
    pytest.importorskip("bokeh", reason="pip install 'jpsi-lnv[dask]'")
    from jpsi_lnv.processors.cluster.backends import make_executors

    report = tmp_path / "report.html"
    with make_executors("dask", ClusterOptions(workers=1), report) as make:
        result, _ = make("processing", 3, lambda group: None)([b"a", b"bc"], lambda item: {"out": {item: 1}}, None)
    assert result["out"] == {b"a": 1, b"bc": 1}
    assert "<html" in report.read_text()


def test_debug_lets_the_error_pass_where_it_happened(tmp_path, monkeypatch):
    from jpsi_lnv.processors.commands import run as command

    def fail(chunk):
        raise ArithmeticError("on purpose")

    monkeypatch.setitem(registry.SELECTIONS, "count", counting(fail))
    fileset = make_fileset(tmp_path, {"signal": [120]})
    visited = []
    monkeypatch.setattr(command.pdb, "post_mortem", lambda: visited.append(True))
    arguments = ["run", "--trust-units", str(fileset), "--output", str(tmp_path / "r"), "--debug"]
    plain = CliRunner().invoke(lnv, arguments)
    assert isinstance(plain.exception.__cause__, ArithmeticError)
    assert visited == []
    CliRunner().invoke(lnv, [*arguments, "--pdb"])
    assert visited == [True]
    guarded = CliRunner().invoke(lnv, [*arguments[:-1], "--executor", "iterative"])
    assert "no chunk was processed, nothing is written" in str(guarded.exception)
    assert "ArithmeticError: on purpose" in str(guarded.exception)
    assert not (tmp_path / "r" / "accumulator.zip").exists()


@pytest.mark.fast
def test_a_chunk_of_another_source_is_not_processed():
    """A worker that starts late imports what is on disk by then."""
    item = WorkItem("signal", "a.root", "Events", 0, 10, b"", {}, None)
    result = Guarded(lambda item: pytest.fail("processed"), source="an older one")(item)
    (record,) = result["failed"]
    assert record["kind"] == "SourceError"
    assert not record["is_bad_file"]
    assert "an older one" in record["message"]
