"""Stored parts: whatever becomes of them on disk, none is believed that is not what a run wrote."""

import dataclasses
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from run_cases import assert_same, counting, counting_processor, make_fileset, run

from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.selection.chunk import Selection
from jpsi_lnv.processors import run as runs
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books.checkpoints import Parts, output_lock
from jpsi_lnv.processors.books.ledger import Books
from jpsi_lnv.processors.work.executors import IterativeExecutor

DAMAGES = ["a flipped bit", "a lost end", "an empty file", "zeros", "another part", "its own content twice", "noise"]


def damage(rng, what, part, others):
    """Return the bytes of a part after something happened to them."""
    data = bytearray(part)
    if what == "a flipped bit":
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    elif what == "a lost end":
        del data[rng.integers(1, len(data)) :]
    elif what == "an empty file":
        data.clear()
    elif what == "zeros":
        start = rng.integers(len(data))
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    elif what == "another part":
        data = bytearray(others[rng.integers(len(others))])
    elif what == "its own content twice":
        data += part
    else:
        start = rng.integers(len(data))
        data[start : start + 16] = rng.bytes(len(data[start : start + 16]))
    return bytes(data)


@pytest.fixture(scope="module")
def stored(small_fileset, tmp_path_factory):
    """A run that ended before its parts were made one: its options, its fileset and its parts with their contents."""
    options = runs.RunOptions(
        output=tmp_path_factory.mktemp("stored"), chunksize=100, verification="none", trust_units=True
    )
    fileset = filesets.load(small_fileset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "compact", lambda self, total: None)
        runs.process(fileset, counting_processor(), options, lambda _s, _t, sink: IterativeExecutor(sink=sink))
    return options, fileset, {path: path.read_bytes() for path in options.output.rglob("*.part")}


def load(stored):
    """Return what the parts hold now as a result, and the entries that are missing."""
    options, fileset, _ = stored
    total, missing = runs._parts(fileset, options).load()
    return runs.to_results(Books(fileset, total, [], {}), options), missing


def check_damages(stored, seed, n_damages):
    """Damage a part many times; each time the rest counts, and the entries of the damaged one are missing."""
    rng = np.random.default_rng(seed)
    paths, without = list(stored[2]), {}
    for path, data in stored[2].items():
        path.unlink()
        without[path] = load(stored)
        path.write_bytes(data)
        path.chmod(0o600)
    whole, nothing_missing = load(stored)
    assert not any(nothing_missing.values())
    for k in range(n_damages):
        path = paths[rng.integers(len(paths))]
        others = [data for other, data in stored[2].items() if other != path]
        changed = damage(rng, DAMAGES[k % len(DAMAGES)], stored[2][path], others)
        path.write_bytes(changed)
        result, missing = load(stored)
        path.write_bytes(stored[2][path])
        if changed == stored[2][path]:
            assert_same(result, whole)
            continue
        assert missing == without[path][1]
        assert any(missing.values())
        assert_same(result, without[path][0])


def test_fifty_damaged_parts_are_work_to_do(stored):
    assert len(stored[2]) >= 10
    check_damages(stored, seed=1, n_damages=50)


@pytest.mark.soak
def test_five_hundred_damaged_parts_are_work_to_do(stored):
    check_damages(stored, seed=2, n_damages=500)


@pytest.mark.parametrize("what", DAMAGES)
def test_a_run_does_again_what_was_damaged(small_fileset, tmp_path, reference, what):
    run(small_fileset, tmp_path, IterativeExecutor)
    rng = np.random.default_rng(3)
    first, *others = tmp_path.rglob("*.part")
    first.write_bytes(damage(rng, what, first.read_bytes(), [other.read_bytes() for other in others]))
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.is_complete
    assert 0 < result.bookkeeping["totals"]["events_read"] < 1500
    assert_same(result, reference)


def test_a_part_is_no_pickle(stored):
    for data in stored[2].values():
        head, _, rest = data.partition(b"\n")
        assert head.startswith(b"jpsi-lnv part ")
        assert rest[:2] == b"PK"


def test_a_link_in_the_place_of_parts_is_refused_and_left_alone(small_fileset, tmp_path):
    output, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    for level in (".parts", ".parts/signal"):
        run(small_fileset, output, IterativeExecutor)
        place = output / level
        place.rename(elsewhere)
        elsewhere.chmod(0o750)
        (elsewhere / "mine.txt").write_text("mine")
        before = sorted(elsewhere.rglob("*"))
        place.symlink_to(elsewhere)
        for resume in (True, False):
            with pytest.raises(ResultsError, match="wanted a directory of this user: move away what is there"):
                run(small_fileset, output, IterativeExecutor, resume=resume)
        assert sorted(elsewhere.rglob("*")) == before
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o750
        place.unlink()
        elsewhere.rename(tmp_path / f"was {level.replace('/', ' ')}")


def test_files_that_others_can_have_written_are_not_believed(small_fileset, tmp_path, reference):
    run(small_fileset, tmp_path, IterativeExecutor)
    linked, writable = tmp_path.rglob("*.part")
    target = tmp_path / "a part elsewhere"
    linked.rename(target)
    linked.symlink_to(target)
    writable.chmod(0o620)
    os.mkfifo(writable.with_name("0.part"), 0o600)
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.bookkeeping["totals"]["events_read"] == 1500
    assert_same(result, reference)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_parts_of_another_user_are_not_believed(small_fileset, tmp_path):
    run(small_fileset, tmp_path, IterativeExecutor)
    for path in tmp_path.rglob("*.part"):
        os.chown(path, 65534, 65534)
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.bookkeeping["totals"]["events_read"] == 1500
    os.chown(tmp_path / ".parts", 65534, 65534)
    with pytest.raises(ResultsError, match="others can write here"):
        run(small_fileset, tmp_path, IterativeExecutor, resume=True)


def test_other_versions_of_packages_make_parts_stale(small_fileset, tmp_path, monkeypatch):
    run(small_fileset, tmp_path, IterativeExecutor)
    monkeypatch.setattr(runs.provenance, "package_versions", lambda: {"numpy": "1.0"})
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.bookkeeping["totals"]["events_read"] == 1500


def test_a_choice_of_datasets_redoes_nothing_and_loses_nothing(tmp_path):
    """Another dataset's selections do not count for the parts of this one."""
    fileset = filesets.load(make_fileset(tmp_path / "s", {"signal": [200], "other": [100]}))
    metadata = dataclasses.replace(fileset["other"].metadata, selections=("count", "other"))
    fileset["other"] = dataclasses.replace(fileset["other"], metadata=metadata)
    two, count = counting_processor(), counting().select
    two.selections = two.selections | {"other": Selection(lambda chunk: {"other": count(chunk)["count"]})}
    for chosen, n_read in ((["signal"], 200), (["signal", "other"], 100), (["other"], 0), (["signal"], 0)):
        options = runs.RunOptions(output=tmp_path / "r", resume=True, verification="none", trust_units=True)
        some = {name: fileset[name] for name in chosen}
        books = runs.process(some, two, options, lambda _s, _t, sink: IterativeExecutor(sink=sink))
        assert books.to_dict()["totals"]["events_read"] == n_read
        assert books.is_complete


def test_a_limited_run_leaves_the_parts_of_the_whole_one(small_fileset, tmp_path, reference):
    run(small_fileset, tmp_path, IterativeExecutor)
    run(small_fileset, tmp_path, IterativeExecutor, resume=True, max_files=1)
    result, _ = run(small_fileset, tmp_path, IterativeExecutor, resume=True)
    assert result.bookkeeping["totals"]["events_read"] == 0
    assert_same(result, reference)


def test_two_runs_do_not_write_into_one_directory(tmp_path):
    taken = rf":{os.getpid()} writes its results here; wait for it"
    with output_lock(tmp_path), pytest.raises(ResultsError, match=taken), output_lock(tmp_path):
        pass
    with output_lock(tmp_path):
        pass


def test_a_lock_that_is_a_link_writes_nowhere(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"), output_lock(tmp_path):
        pass
    assert precious.read_text() == "keep"


def test_a_file_changed_back_in_time_is_read_again(small_fileset, tmp_path):
    """Its size and time of modification say nothing of what was done to it; the time of change does."""
    fileset = filesets.load(make_fileset(tmp_path / "s", {"signal": [200]}))
    run(fileset, tmp_path, IterativeExecutor)
    path = Path(fileset["signal"].files[0].path)
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)
        stream.seek(before.st_size // 2)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(runs.NtupleError, match="sha256 is"):
        run(fileset, tmp_path, IterativeExecutor)


def test_fresh_reads_what_was_verified_before(small_fileset, tmp_path, monkeypatch):
    from jpsi_lnv.processors.books import verify

    read, sha256 = [], verify.sha256
    monkeypatch.setattr(verify, "sha256", lambda path: read.append(path) or sha256(path))
    for how, n_read in (("sha256", 5), ("sha256", 0), ("fresh", 5), ("sha256", 0)):
        read.clear()
        run(small_fileset, tmp_path, IterativeExecutor, verification=how)
        assert len(read) == n_read, how
