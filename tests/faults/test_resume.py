"""Resuming: nothing is done twice, nothing stale is used."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from run_cases import assert_same, make_fileset, run

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.processors import run as runs
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.work.executors import IterativeExecutor


def fail_in(name):
    def action(events):
        if events.metadata["filename"].endswith(name):
            raise ValueError("not today")

    return action


def n_read(result):
    return result.bookkeeping["totals"]["events_read"]


@pytest.mark.fast
def test_only_what_is_missing_is_done(small_fileset, tmp_path, reference):
    broken, _ = run(small_fileset, tmp_path, IterativeExecutor, action=fail_in("other_0.root"))
    assert not broken.is_complete
    resumed, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True, chunksize=70)
    assert n_read(resumed) == 500
    assert resumed.bookkeeping["totals"]["events_resumed"] == 1000
    assert_same(resumed, reference)
    again, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert n_read(again) == 0
    assert again.is_complete
    assert_same(again, reference)


def test_without_resume_everything_is_done_anew(small_fileset, tmp_path):
    run(small_fileset, tmp_path, IterativeExecutor)
    fresh, _ = run(small_fileset, tmp_path, IterativeExecutor)
    assert n_read(fresh) == 1500


@pytest.mark.parametrize("what", ["cuts", "source", "metadata"])
def test_a_change_makes_parts_stale(small_fileset, tmp_path, monkeypatch, what):
    run(small_fileset, tmp_path, IterativeExecutor)
    fileset, options = filesets.load(small_fileset), {}
    if what == "cuts":
        options["cuts"] = dataclasses.replace(SELECTION, chi2_4c_max=25.0)
    elif what == "source":
        monkeypatch.setattr(runs.provenance, "source_digest", lambda: "0123456789abcdef")
    else:
        metadata = dataclasses.replace(fileset["signal"].metadata, sqrt_s=3.08)
        fileset["signal"] = dataclasses.replace(fileset["signal"], metadata=metadata)
    changed, _ = run(fileset, tmp_path, IterativeExecutor, resume=True, **options)
    assert n_read(changed) == (770 if what == "metadata" else 1500)
    assert changed.is_complete


def test_a_new_file_costs_only_itself_and_a_changed_one_is_done_again(tmp_path):
    path = make_fileset(tmp_path / "s", {"signal": [200, 300, 100]})
    fileset = filesets.load(path)
    last = fileset["signal"].files[2].path
    run(filesets.without(fileset, {last}), tmp_path / "r", IterativeExecutor)
    grown, _ = run(fileset, tmp_path / "r", IterativeExecutor, resume=True)
    assert n_read(grown) == 100
    assert grown.is_complete

    changed = filesets.load(make_fileset(tmp_path / "s", {"signal": [200, 300, 120]}))
    result, _ = run(changed, tmp_path / "r", IterativeExecutor, resume=True)
    assert result.is_complete
    assert result.datasets["signal"].n_events == 620
    fresh, _ = run(changed, tmp_path / "fresh", IterativeExecutor)
    assert_same(result, fresh)


def test_a_damaged_part_is_work_to_do(small_fileset, tmp_path, reference):
    run(small_fileset, tmp_path, IterativeExecutor)
    for part in tmp_path.rglob("*.part"):
        part.write_bytes(part.read_bytes()[:-20])
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert n_read(result) == 1500
    assert_same(result, reference)


def test_a_part_that_is_there_twice_counts_once(small_fileset, tmp_path, reference):
    run(small_fileset, tmp_path, IterativeExecutor)
    for part in list(tmp_path.rglob("*.part")):
        shutil.copy(part, part.with_stem("0000"))
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.is_complete
    assert_same(result, reference)


@pytest.mark.fast
def test_a_run_that_only_fails_is_given_up_early(small_fileset, tmp_path):
    with pytest.raises(IncompleteError, match=r"given up after 4 failed chunks.*not today"):
        run(small_fileset, tmp_path, IterativeExecutor, action=fail_in(".root"), max_failures=3)


def test_the_same_event_twice_in_data_is_an_error(tmp_path):
    path = make_fileset(tmp_path / "s", {"data": [200, 200]}, kind="data", n_jpsi=1e6)
    result, _ = run(path, tmp_path / "r", IterativeExecutor)
    assert runs.repeated_candidates(result) == []
    columns = result.datasets["data"].selections["count"].candidates
    columns["run"][:] = 7
    found = runs.repeated_candidates(result)
    assert len(found) == 4
    assert "run 7, event 0 is there 2 times" in found[0]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 200 kB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "lnv", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs root and the right to mount a tmpfs: run as root, as .ci/run does")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("room", [0, 9_000])
def test_a_full_disk_leaves_no_half_result(small_fileset, tiny_disk, tmp_path, reference, room, monkeypatch):
    ballast = tiny_disk / "ballast"
    fileset = filesets.load(small_fileset)
    options = {"output": tiny_disk / "r", "cache": tmp_path / "cache.json", "chunksize": 100}
    fill(ballast, room)
    with pytest.raises(ResultsError, match=r"No space left.*--resume"):
        whole_run(fileset, options)
    assert not (tiny_disk / "r" / "accumulator.zip").exists()
    ballast.unlink()
    whole_run(fileset, options | {"resume": True})
    assert_same(runs.results.read(tiny_disk / "r" / "accumulator.zip"), reference)


def fill(ballast: Path, room: int) -> None:
    """Fill the disk but for some bytes."""
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"0" * 4096):
            pass
    size = ballast.stat().st_size
    os.truncate(ballast, max(0, size - room))


def whole_run(fileset, options):
    from run_cases import counting_processor

    chosen = runs.RunOptions(trust_units=True, **options)
    books = runs.process(fileset, counting_processor(), chosen, lambda _s, _t, sink: IterativeExecutor(sink=sink))
    runs.finish(books, chosen)
    return json.loads((chosen.output / "bookkeeping.json").read_text())


@pytest.mark.fast
def test_a_directory_that_cannot_be_written_is_refused_before_the_run(small_fileset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ResultsError, match=r"results cannot be written here \(Not a directory\).*give another --output"
    ):
        run(small_fileset, tmp_path / "file" / "results", IterativeExecutor, action=lambda _: pytest.fail("it ran"))


def test_parts_are_private_whatever_the_umask(small_fileset, tmp_path):
    former = os.umask(0o002)
    try:
        run(small_fileset, tmp_path / "r", IterativeExecutor)
    finally:
        os.umask(former)
    parts = tmp_path / "r" / ".parts"
    for directory in (parts, *(d for d in parts.rglob("*") if d.is_dir())):
        assert directory.stat().st_mode & 0o777 == 0o700
    next(parts.iterdir()).chmod(0o770)
    with pytest.raises(ResultsError, match="others can write here"):
        run(small_fileset, tmp_path / "r", IterativeExecutor, resume=True)
