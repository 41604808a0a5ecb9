"""Repeated (run, event) pairs over whole data sets, in bounded memory.

A pair that repeats in data means that a file was added twice under another name. The pairs go to files on disk, split
by a hash so that equal pairs meet in one file, and each file is then sorted in memory on its own. Simulation repeats
event numbers from job to job, so there a pair may not repeat within one file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import uproot

from jpsi_lnv.analysis.datasets import CONTINUUM, DATA
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.processors.books.fileset import Dataset, FileEntry

PAIR: Final = np.dtype([("run", np.int64), ("event", np.int64), ("file", np.int32)])
# Pairs that one part holds in memory while it is sorted, and pairs that are read at once.
PART_PAIRS: Final = 4_000_000
STEP: Final = 500_000
# Knuth's multiplicative hash spreads consecutive event numbers over the parts.
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)

Pairs = npt.NDArray[np.void]


@dataclass(frozen=True)
class Duplicate:
    """A (run, event) pair that a dataset has more than once.

    Attributes:
        dataset: Dataset.
        run: Run number.
        event: Event number.
        files: The files, once per occurrence.
    """

    dataset: str
    run: int
    event: int
    files: tuple[str, ...]


def find(dataset: Dataset, advance: Callable[[int], None], part_pairs: int = PART_PAIRS) -> Iterator[Duplicate]:
    """Return the repeated pairs of a dataset: of all its files if it is data, else within each file.

    Args:
        dataset: Dataset.
        advance: Called with the number of events that were read.
        part_pairs: Pairs held in memory at once.

    Raises:
        NtupleError: A file cannot be read.
    """
    if dataset.metadata.kind in (DATA, CONTINUUM):
        yield from _among(dataset, dataset.files, advance, part_pairs)
        return
    for file in dataset.files:
        yield from _among(dataset, (file,), advance, part_pairs)


def _among(
    dataset: Dataset, files: tuple[FileEntry, ...], advance: Callable[[int], None], part_pairs: int
) -> Iterator[Duplicate]:
    n_parts = max(1, -(-sum(f.num_entries for f in files) // part_pairs))
    with tempfile.TemporaryDirectory(prefix="jpsi_lnv_pairs_") as directory:
        paths = [Path(directory) / f"{k}.pairs" for k in range(n_parts)]
        for index, file in enumerate(files):
            for pairs in _read(file, index):
                _spread(pairs, paths)
                advance(len(pairs))
        for path in paths:
            for run, event, owners in _repeated(path):
                yield Duplicate(dataset.name, run, event, tuple(files[k].path for k in owners))


def _read(file: FileEntry, index: int) -> Iterator[Pairs]:
    try:
        for step in uproot.iterate({file.path: file.object_path}, ["run", "event"], step_size=STEP, library="np"):
            pairs = np.empty(len(step["run"]), dtype=PAIR)
            pairs["run"], pairs["event"], pairs["file"] = step["run"], step["event"], index
            yield pairs
    except (OSError, ValueError, KeyError) as error:
        msg = f"{file.path}: run and event cannot be read ({type(error).__name__}: {error})"
        raise NtupleError(msg) from error


def _spread(pairs: Pairs, paths: list[Path]) -> None:
    """Append pairs to the files of their parts."""
    mixed = (pairs["event"].astype(np.uint64) + (pairs["run"].astype(np.uint64) << _SHIFT)) * _MULTIPLIER
    part = (mixed >> _SHIFT) % np.uint64(len(paths))
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(len(paths) + 1, dtype=np.uint64))
    for path, start, stop in zip(paths, edges[:-1], edges[1:], strict=True):
        if stop > start:
            with path.open("ab") as stream:
                pairs[order[start:stop]].tofile(stream)


def _repeated(path: Path) -> Iterator[tuple[int, int, list[int]]]:
    if not path.exists():
        return
    pairs = np.fromfile(path, dtype=PAIR)
    pairs = pairs[np.lexsort((pairs["file"], pairs["event"], pairs["run"]))]
    is_new = np.ones(len(pairs), dtype=bool)
    is_new[1:] = (pairs["run"][1:] != pairs["run"][:-1]) | (pairs["event"][1:] != pairs["event"][:-1])
    starts = np.flatnonzero(is_new)
    counts = np.diff(np.append(starts, len(pairs)))
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        yield int(pairs["run"][start]), int(pairs["event"][start]), pairs["file"][start : start + count].tolist()
