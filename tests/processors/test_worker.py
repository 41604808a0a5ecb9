"""A worker reuses the memory of freed arrays, whatever dask says, and keeps the file that it read last."""

import os
import pickle
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import uproot
from run_cases import assert_same, make_fileset, run, write_ntuple

from jpsi_lnv.processors.work import worker
from jpsi_lnv.processors.work.executors import IterativeExecutor
from jpsi_lnv.processors.work.worker import SET_BY_DASK, TRIM_THRESHOLD, KeptObjects

N_ARRAYS, PAGES = 200, 200
# Counts the pages that the system maps while arrays of the size of a column come and go.
SCRIPT = f"""
import resource
import numpy as np
from jpsi_lnv.processors.work.worker import keep_memory_between_arrays

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({N_ARRAYS}):
        np.ones({PAGES} * resource.getpagesize() // 8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
print(keep_memory_between_arrays(), before, faults())
"""


def measure(value):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    if value:
        environment[TRIM_THRESHOLD] = value
    call = [sys.executable, "-c", SCRIPT]
    words = subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout.split()
    return words[0] == "True", int(words[1]), int(words[2])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_arrays_are_not_mapped_anew_every_time():
    is_undone, before, after = measure(SET_BY_DASK)
    assert is_undone
    assert before > 0.9 * N_ARRAYS * PAGES
    assert after < 0.1 * before


@pytest.mark.parametrize("value", [None, "131072"])
def test_other_settings_stay(value):
    assert not measure(value)[0]


def open_tree(path):
    """Open the tree as coffea does, for one chunk."""
    with uproot.open({str(path): None}, **worker.UPROOT_OPTIONS) as file:
        return file, file["Events"]


def note_chunk(notes):
    """Add a line to a file: which chunk of the tree that is kept now this one is. Processors travel as copies."""
    (tree,) = KeptObjects().values()
    tree.n_chunks = getattr(tree, "n_chunks", 0) + 1
    with notes.open("a") as stream:
        stream.write(f"{tree.n_chunks}\n")
    return len(notes.read_text().split())


@pytest.fixture
def path(tmp_path):
    yield write_ntuple(tmp_path / "a.root", 50, seed=1)
    worker.close_file()


def test_the_next_chunk_finds_the_tree_described(path):
    tree = open_tree(path)[1]
    assert open_tree(path)[1] is tree
    assert len(tree["event"].array()) == 50


def test_bytes_are_those_of_the_chunk(path):
    first, tree = open_tree(path)
    tree["Track_kappa"].array()
    of_first = first.file.source.num_requested_bytes
    second, tree = open_tree(path)
    opening = second.file.source.num_requested_bytes
    tree["Track_kappa"].array()
    read = second.file.source.num_requested_bytes - opening
    assert 0 < read < of_first
    assert opening < of_first - read


def test_another_file_closes_the_one_before(path, tmp_path):
    tree = open_tree(path)[1]
    other = write_ntuple(tmp_path / "b.root", 30, seed=2)
    assert open_tree(other)[1].num_entries == 30
    assert tree.file.closed
    again = open_tree(path)[1]
    assert again is not tree
    assert again.num_entries == 50


def test_a_file_that_moved_is_read_where_it_is(path, tmp_path):
    open_tree(path)
    moved = shutil.move(path, tmp_path / "moved.root")
    assert len(open_tree(moved)[1]["event"].array()) == 50


def test_a_file_that_was_replaced_is_described_anew(path):
    open_tree(path)
    write_ntuple(path, 70, seed=3)
    assert open_tree(path)[1].num_entries == 70


def test_every_thread_keeps_its_own(path):
    tree = open_tree(path)[1]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: open_tree(path)[1]).result()
        pool.submit(worker.close_file).result()
    assert other is not tree
    assert other.file.closed
    assert not tree.file.closed


def test_the_cache_of_objects_is_one_wherever_it_was_unpickled(path):
    open_tree(path)
    store = pickle.loads(pickle.dumps(worker.UPROOT_OPTIONS))["object_cache"]
    assert list(store) == list(KeptObjects())
    assert len(store) == 1
    del store[next(iter(store))]
    assert len(KeptObjects()) == 0


def test_a_run_describes_every_file_once_and_keeps_none(tmp_path):
    fileset, notes = make_fileset(tmp_path, {"signal": [300, 200]}), tmp_path / "notes"
    result, _ = run(fileset, tmp_path / "r", IterativeExecutor, action=lambda _: note_chunk(notes))
    assert result.is_complete
    assert notes.read_text().split() == ["1", "2", "3", "1", "2"]
    assert len(KeptObjects()) == 0


def test_a_file_replaced_between_two_chunks_becomes_a_hole(tmp_path):
    fileset, notes = make_fileset(tmp_path, {"signal": [300]}), tmp_path / "notes"

    def replace_after_the_first(events):
        np.asarray(events.Track.kappa), np.asarray(events.run), np.asarray(events.event)
        if note_chunk(notes) == 1:
            write_ntuple(tmp_path / "signal_0.root", 300, seed=99)

    result, books = run(fileset, tmp_path / "r", IterativeExecutor, action=replace_after_the_first)
    assert [r["start"] for r in books.failed] == [100, 200]
    assert all("replaced" in r["message"] for r in books.failed)
    assert result.datasets["signal"].n_events == 100


def test_an_io_error_closes_the_file_before_the_next_attempt(tmp_path):
    fileset, notes = make_fileset(tmp_path, {"signal": [300]}), tmp_path / "notes"

    def fail_at_the_second(_):
        if note_chunk(notes) == 2:
            msg = "connection lost"
            raise OSError(msg)

    executor = partial(IterativeExecutor, backoff=0.01)
    result, _ = run(fileset, tmp_path / "r", executor, action=fail_at_the_second)
    assert result.is_complete
    assert result.bookkeeping["totals"]["chunks_retried"] == 1
    assert notes.read_text().split() == ["1", "2", "1", "2"]
    assert_same(result, run(fileset, tmp_path / "r2", IterativeExecutor)[0])
