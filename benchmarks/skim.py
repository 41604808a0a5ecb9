"""Skimming a BOSS .dst against pybes3 reading the same event tree whole; both per event, interleaved in one process.

Two measurements on the real file (10 events, `BES_SAMPLES`):

- `files`: both loop over the same small file. pybes3 opens it and reads the tree `Event` whole, as a user does
  (``uproot.open(...)["Event"].arrays()``); the skim opens it, reads what it needs, makes the columns, keeps all events
  and writes one ntuple of all files together, as it does with small files.
- `events`: the cost per event of a large file. The real file's baskets are appended to a copy of it many times and the
  branches' basket tables, in memory, list all of them: the same bytes of 10 events at new places, which both sides
  decompress and decode again. Neither side caches. Baskets of 10 events are small, which costs both sides alike.

Run: BES_SAMPLES=<directory> python benchmarks/skim.py [--repeat 5] [--output benchmarks/skim.json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pybes3  # noqa: F401 registers BOSS's classes
import uproot

from jpsi_lnv.analysis.events.dst import Dst
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.processors.skim_plan import SkimItem, SkimOptions
from jpsi_lnv.processors.skimming import Skim

N_FILES = 40
N_COPIES = 300
CHUNK = 1_000


def lap() -> np.ndarray:
    """Seconds on the clock, and of this process on all processors: the second is what a busy machine does not spoil."""
    return np.array([time.perf_counter(), time.process_time()])


def small_files(source: Path, directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds per file, wall and processor: pybes3 whole, skim."""
    start = lap()
    for _ in range(N_FILES):
        with uproot.open(source, array_cache=None) as file:
            file["Event"].arrays()
    middle = lap()
    item = SkimItem(
        dataset="bench",
        inputs=(str(source),) * N_FILES,
        output=directory / "small.root",
        books=directory / "small.json",
        key="",
        size=1,
    )
    Skim(options(directory))(item)
    return (middle - start) / N_FILES, (lap() - middle) / N_FILES


def options(directory: Path) -> SkimOptions:
    runs = uniform(Conditions(sqrt_s=3.097))
    return SkimOptions(output=directory, dataset="bench", runs=runs, preselection="all", chunksize=CHUNK)


@contextmanager
def large_file(source: Path, directory: Path):
    """Open a copy of the file in which every basket is there `N_COPIES` times, at places of their own."""
    path = directory / "large.dst"
    with uproot.open(source) as file:
        spans = [(int(b.member("fBasketSeek")[0]), int(b.member("fBasketBytes")[0])) for b in filled(file["Event"])]
    raw = source.read_bytes()
    places = {}
    with path.open("wb") as out:
        out.write(raw)
        for seek, size in spans:
            places[seek] = [out.tell() + i * size for i in range(N_COPIES)]
            out.write(raw[seek : seek + size] * N_COPIES)
    with uproot.open(path, array_cache=None) as file:
        tree = file["Event"]
        for branch in filled(tree):
            relocate(branch, places[int(branch.member("fBasketSeek")[0])])
        for branch in tree.itervalues(recursive=True):
            put(branch, "fEntries", int(branch.member("fEntries")) * N_COPIES)
        put(tree, "fEntries", int(tree.member("fEntries")) * N_COPIES)
        yield str(path), file, tree


def filled(tree):
    return [b for b in tree.itervalues(recursive=True) if b.num_baskets]


def relocate(branch, places) -> None:
    n_events = int(branch.member("fEntries"))
    put(branch, "fBasketSeek", np.array(places))
    put(branch, "fBasketBytes", np.full(len(places), branch.member("fBasketBytes")[0]))
    put(branch, "fBasketEntry", np.arange(len(places) + 1) * n_events)
    put(branch, "fWriteBasket", len(places))
    branch._num_normal_baskets = len(places)


def put(model, name: str, value) -> None:
    """Replace a member where it is held: in the object or in one of its base classes."""
    if name in model._members:
        model._members[name] = value
        return
    for base in model._bases:
        if base.has_member(name):
            put(base, name, value)
            return


def large(source: Path, directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds per event, wall and processor: pybes3 whole, skim."""
    with large_file(source, directory) as (path, file, tree):
        n = int(tree.num_entries)
        start = lap()
        tree.arrays()
        middle = lap()
        skim = Skim(options(directory))
        dst = Dst(path, file, tree)
        with NtupleWriter(directory / "large.root") as writer:
            skim.copy(dst, writer)
        assert writer.n_events == n
        return (middle - start) / n, (lap() - middle) / n


def summary(times: np.ndarray) -> dict[str, dict[str, float]]:
    return {
        clock: {"pybes3": times[0, i], "skim": times[1, i], "ratio": times[1, i] / times[0, i]}
        for i, clock in enumerate(("wall", "processor"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    source = Path(os.environ["BES_SAMPLES"]) / "test_full_mc_evt_1.dst"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        small_files(source, directory)
        small = np.min([small_files(source, directory) for _ in range(arguments.repeat)], axis=0)
        big = np.min([large(source, directory) for _ in range(arguments.repeat)], axis=0)
    result = {
        "ms_per_small_file": summary(1e3 * small),
        "us_per_event_of_a_large_file": summary(1e6 * big),
        "repeat": arguments.repeat,
        "how": "minimum of the repetitions, interleaved; skim = read, columns, keep all, write",
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
