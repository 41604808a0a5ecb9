"""Bad files: refused by name before anything runs, or skipped and taken out of the normalisation."""

import dataclasses
import shutil
from functools import partial

import numpy as np
import pytest
import uproot
from run_cases import assert_same, make_fileset, run, write_ntuple

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.run import RunOptions, process
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor

BAD = "signal_2.root"
iterative = partial(IterativeExecutor, backoff=0.01)


@pytest.fixture
def own(small_fileset, tmp_path):
    """A copy of the fileset whose files may be damaged."""
    return shutil.copytree(small_fileset.parent, tmp_path / "own") / "fileset.json"


def truncate(path):
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])


def flip(path):
    """Flip one bit in the last basket of a column that is read: the bytes decode, to other numbers."""
    with uproot.open(path) as root:
        branch = root["Events"]["Track_kappa"]
        key = branch.basket_key(branch.num_baskets - 1)
        place = key.data_cursor.index + key.data_uncompressed_bytes // 2 % key.data_compressed_bytes
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))


def replace(path):
    write_ntuple(path, 420, seed=99)


def shorten(path):
    write_ntuple(path, 300, seed=99)


def make_directory(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "missing": (lambda path: path.unlink(), "does not exist"),
    "directory": (make_directory, "is a directory"),
    "truncated": (truncate, "size"),
    "flipped": (flip, "sha256"),
    "replaced": (replace, "size|sha256"),
    "shorter": (shorten, "size"),
    "html": (lambda path: path.write_text("<html>404</html>"), "size"),
}


@pytest.mark.fast
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_file_is_refused_by_name(own, tmp_path, damage):
    spoil, reason = DAMAGES[damage]
    spoil(own.parent / BAD)
    with pytest.raises(NtupleError, match=reason) as caught:
        run(own, tmp_path / "r", iterative)
    assert BAD in str(caught.value)
    assert "'signal'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r" / "accumulator.zip").exists()


@pytest.fixture(scope="module")
def without_bad(small_fileset, tmp_path_factory):
    fileset = filesets.load(small_fileset)
    fileset = filesets.without(fileset, {str(small_fileset.parent / BAD)})
    return run(fileset, tmp_path_factory.mktemp("without"), iterative)[0]


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_skipped_file_leaves_the_normalisation(own, tmp_path, damage, without_bad):
    DAMAGES[damage][0](own.parent / BAD)
    result, _ = run(own, tmp_path / "r", iterative, skip_bad_files=True)
    assert_same(result, without_bad)
    assert result.is_complete
    (skipped,) = result.bookkeeping["skipped_files"]
    assert skipped["file"].endswith(BAD)
    books = result.bookkeeping["datasets"]["signal"]
    assert (books["files"], books["files_skipped"], books["events_skipped"]) == (3, 1, 420)
    assert books["produced_expected"] - books["produced_used"] == 840 == 1540 - result.datasets["signal"].n_produced


def test_a_skipped_data_file_leaves_the_number_of_jpsi_unknown(own, tmp_path):
    fileset = filesets.load(own)
    metadata = dataclasses.replace(fileset["signal"].metadata, kind="data", n_jpsi=1e6)
    fileset["signal"] = dataclasses.replace(fileset["signal"], metadata=metadata)
    (own.parent / BAD).unlink()
    result, _ = run(fileset, tmp_path / "r", iterative, skip_bad_files=True)
    assert not result.is_complete
    assert "2 of 3 files" in result.bookkeeping["problems"][0]


@pytest.mark.parametrize("damage", ["truncated", "missing", "shorter"])
def test_what_is_not_verified_becomes_a_named_hole(own, tmp_path, damage, without_bad):
    DAMAGES[damage][0](own.parent / BAD)
    result, books = run(own, tmp_path / "r", iterative, verification="none")
    assert not result.is_complete
    assert books.failed
    assert all(BAD in r["file"] for r in books.failed)
    assert all(BAD in problem for problem in result.bookkeeping["problems"])
    assert result.datasets["other"].n_events == 730
    skipping, _ = run(own, tmp_path / "r", iterative, verification="none", skip_bad_files=True)
    assert_same(skipping, without_bad)
    assert skipping.is_complete
    assert len(skipping.bookkeeping["skipped_files"]) == 1


def test_a_file_that_is_replaced_during_the_run_becomes_a_named_hole(own, tmp_path, without_bad):
    """As many events as before: only the UUID tells, and coffea does not look at it."""
    wanted = next(f.uuid for f in filesets.load(own)["signal"].files if f.path.endswith(BAD))
    replace(own.parent / BAD)
    result, books = run(own, tmp_path / "r", iterative, verification="none")
    assert not result.is_complete
    assert all(BAD in r["message"] and wanted in r["message"] and "replaced" in r["message"] for r in books.failed)
    assert result.datasets["signal"].n_events == without_bad.datasets["signal"].n_events


def test_a_replaced_file_of_equal_size_is_seen_by_its_uuid(own, tmp_path):
    fileset = filesets.load(own)
    replace(own.parent / BAD)
    entry = fileset["signal"].files[2]
    same_size = dataclasses.replace(entry, size=(own.parent / BAD).stat().st_size)
    check = verify.Check("signal", same_size, "size")
    with pytest.raises(NtupleError, match="UUID"):
        verify.check_file(check)


def test_without_checksums_a_flipped_bit_would_pass(own, tmp_path, reference):
    """Why the checksum is the default: ZSTD gives back other numbers, or fails, as it happens."""
    flip(own.parent / BAD)
    result, _ = run(own, tmp_path / "r", iterative, verification="size")
    ours = result.datasets["signal"].selections["count"].histograms["counts"]
    theirs = reference.datasets["signal"].selections["count"].histograms["counts"]
    assert not result.is_complete or not np.array_equal(ours.view(flow=True), theirs.view(flow=True))


def test_a_missing_branch_is_named_when_the_fileset_is_completed(tmp_path):
    with uproot.recreate(tmp_path / "thin.root") as root:
        root.mktree("Events", {"run": np.int32, "event": np.int64}).extend({"run": [1], "event": [2]})
    with pytest.raises(SchemaError, match=r"thin\.root.*required branches are missing: nTrack, sqrt_s"):
        verify.describe(str(tmp_path / "thin.root"))


def test_a_missing_branch_is_named_when_it_is_processed(own, tmp_path):
    path = own.parent / BAD
    with uproot.recreate(path) as root:
        root.mktree("Events", {"run": np.int32}).extend({"run": np.ones(420, np.int32)})
    result, _ = run(own, tmp_path / "r", iterative, verification="none")
    assert not result.is_complete
    record = result.bookkeeping["failed_chunks"][0]
    assert record["kind"] == "SchemaError"
    assert "event" in record["message"]
    assert record["file"].endswith(BAD)


def test_another_tree_is_named(tmp_path):
    with uproot.recreate(tmp_path / "t.root") as root:
        root.mktree("Other", {"run": np.int32}).extend({"run": [1]})
    with pytest.raises(NtupleError, match=r"t\.root: has no tree 'Events'; got \['Other'\]"):
        verify.describe(str(tmp_path / "t.root"))


@pytest.mark.fast
def test_a_processor_that_raises_is_named_with_its_chunk(own, tmp_path):
    def fail(events):
        if events.metadata["filename"].endswith("other_0.root") and events.metadata["entrystart"] == 300:
            raise ZeroDivisionError("of the analyst's making")

    result, _ = run(own, tmp_path / "r", iterative, action=fail)
    (record,) = result.bookkeeping["failed_chunks"]
    assert record["message"] == "of the analyst's making"
    assert (record["dataset"], record["start"], record["stop"], record["attempts"]) == ("other", 300, 400, 1)
    (problem,) = result.bookkeeping["problems"]
    assert "other_0.root, entries 300 to 400" in problem


def test_a_mistake_in_a_processor_is_no_bad_file(own, tmp_path):
    def fail(events):
        if events.metadata["filename"].endswith("other_0.root"):
            raise ZeroDivisionError("of the analyst's making")

    result, _ = run(own, tmp_path / "r", iterative, action=fail, skip_bad_files=True)
    assert not result.is_complete
    assert result.bookkeeping["skipped_files"] == []
    assert len(result.bookkeeping["failed_chunks"]) == 5


def test_a_dataset_without_any_file_left_is_incomplete(own, tmp_path):
    for name in ("other_0.root", "other_1.root"):
        (own.parent / name).unlink()
    result, _ = run(own, tmp_path / "r", iterative, skip_bad_files=True)
    assert not result.is_complete
    assert "'other': none of its files is used" in result.bookkeeping["problems"][0]


def test_a_dead_xrootd_host_fails_within_seconds(tmp_path):
    pytest.importorskip("XRootD", reason="pip install 'jpsi-lnv[xrootd]'")
    import time

    started = time.monotonic()
    with pytest.raises(NtupleError, match="root://127"):
        verify.describe("root://127.0.0.1:9//data/a.root")
    assert time.monotonic() - started < 20


def forged(path, **metadata):
    """Return the fileset of a file as if it had been found whole: what the completed fileset of another one says."""
    sound = verify.describe(str(write_ntuple(path.with_name("sound.root"), 200, seed=1)))
    with uproot.open(path) as file:
        now = {"uuid": str(file.file.uuid), "size": path.stat().st_size, "sha256": verify.sha256(str(path))}
    entry = dataclasses.replace(sound, path=str(path), **now)
    record = DatasetMetadata.from_dict("d", {"kind": "signal", "sqrt_s": 3.097} | metadata)
    return {"d": filesets.Dataset("d", record, (entry,))}


def search(fileset, output):
    """Return the books of the search over a fileset."""
    options = RunOptions(output=output, cache=output / "cache.json", trust_units=True)
    return process(fileset, SearchProcessor(SELECTION), options, lambda _s, _t, sink: IterativeExecutor(sink=sink))


def test_a_run_looks_at_what_it_reads_of_every_chunk(tmp_path):
    """Whatever a fileset says of its files: values that are none, and other runs and energies."""
    path = write_ntuple(tmp_path / "nan.root", 200, seed=1, change=lambda values: np.full_like(values, np.nan))
    with pytest.raises(NtupleError, match=r"columns Track_dr,.*entry 0 has nan, wanted finite"):
        verify.describe(str(path))
    (failed,) = search(forged(path), tmp_path / "nan").failed
    assert "column ip_x: entry 0 has nan, wanted finite float32 per event" in failed["message"]
    assert failed["is_bad_file"]

    recorded = search(forged(write_ntuple(tmp_path / "data.root", 200, seed=1, run=9)), tmp_path / "data").failed
    assert "runs are positive (9 to 9), those of recorded events" in recorded[0]["message"]
    energy = search(forged(tmp_path / "data.root", sqrt_s=3.65, kind="data", is_simulation=True), tmp_path / "energy")
    assert "centre-of-mass energy of 3.0970 GeV; wanted 3.65 GeV" in energy.failed[0]["message"]


def test_a_bad_file_costs_itself_and_not_its_dataset(tmp_path):
    fileset = make_fileset(tmp_path / "s", {"signal": [300] * 6})
    log = tmp_path / "chunks.log"
    (tmp_path / "s" / "signal_3.root").unlink()

    def note(events):
        with log.open("a") as file:
            file.write(f"{events.metadata['filename']}\n")

    result, _ = run(
        fileset,
        tmp_path / "r",
        iterative,
        action=note,
        chunksize=100,
        verification="none",
        skip_bad_files=True,
    )
    assert result.is_complete
    assert result.datasets["signal"].n_events == 1500
    assert len(log.read_text().splitlines()) == 15
