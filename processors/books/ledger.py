"""The ledger of a run: which entries of which file were processed, and the proof that each was processed once.

Every chunk's accumulator carries ``{"files": {uuid: Spans}, "n_events": n}`` beside its results: whatever way results
are merged, lost, repeated or resumed, what the merged ledger says is what the merged histograms hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import IntArray
from jpsi_lnv.processors.books.chunks import Span, common
from jpsi_lnv.processors.books.fileset import Dataset, FileEntry, Fileset

LEDGER: Final = "ledger"
HOLE: Final = "hole"
OVERLAP: Final = "overlap"


class Spans:
    """Entries of one file: sorted spans; adjacent ones join, overlapping ones stay apart so that they can be seen.

    Joining keeps a ledger of ten thousand chunks as small as one of ten.
    """

    __slots__ = ("_edges",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._edges = _joined(np.array([tuple(s) for s in spans], dtype=np.int64).reshape(-1, 2))

    def __add__(self, other: Spans) -> Spans:
        total = Spans()
        total._edges = _joined(np.concatenate([self._edges, other._edges]))
        return total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and np.array_equal(self._edges, other._edges)

    def __hash__(self) -> int:
        return hash(self._edges.tobytes())

    def __iter__(self) -> Any:
        return (tuple(s) for s in self._edges.tolist())

    def __len__(self) -> int:
        return len(self._edges)

    def __repr__(self) -> str:
        return f"Spans({list(self)})"

    @property
    def n_entries(self) -> int:
        """Entries counted as often as they were processed."""
        return int((self._edges[:, 1] - self._edges[:, 0]).sum())

    def overlaps(self) -> list[Span]:
        """Return the entries that were processed more than once."""
        found, reach = [], 0
        for start, stop in self:
            if start < reach:
                found.append((start, min(stop, reach)))
            reach = max(reach, stop)
        return found

    def holes(self, num_entries: int) -> list[Span]:
        """Return the entries from 0 to `num_entries` that were not processed; an untouched empty file is (0, 0)."""
        if num_entries == 0:
            return [] if len(self) else [(0, 0)]
        found, reach = [], 0
        for start, stop in self:
            if start > reach:
                found.append((reach, start))
            reach = max(reach, stop)
        return found + ([(reach, num_entries)] if reach < num_entries else [])


def _joined(edges: IntArray) -> IntArray:
    ordered = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    joined: list[list[int]] = []
    for start, stop in ordered.tolist():
        if joined and joined[-1][1] == start and start < stop:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    return np.array(joined, dtype=np.int64).reshape(-1, 2)


def entry(file_uuid: str, start: int, stop: int, n_events: int) -> dict[str, Any]:
    """Return the ledger of one chunk."""
    return {"files": {file_uuid: Spans([(start, stop)])}, "n_events": n_events}


@dataclass(frozen=True)
class Fault:
    """Entries of a file that are in a result not at all (``hole``) or more than once (``overlap``)."""

    kind: str
    dataset: str
    file: str
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.kind}: dataset {self.dataset!r}, file {self.file}, entries {self.start} to {self.stop}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


def faults(
    fileset: Fileset, ledgers: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, list[Span]] | None = None
) -> list[Fault]:
    """Return every hole and every overlap of a merged result: none is the proof of completeness.

    Args:
        fileset: The files that the result has to cover.
        ledgers: Dataset -> merged ledger; a dataset of which nothing was processed may be absent.
        wanted: UUID -> entries that it has to cover; None: all of every file.
    """
    return [
        fault
        for name, dataset in fileset.items()
        for file in dataset.files
        for fault in _faults_of_file(dataset, file, ledgers.get(name, {}), wanted)
    ]


def _faults_of_file(
    dataset: Dataset, file: FileEntry, ledger: Mapping[str, Any], wanted: Mapping[str, list[Span]] | None
) -> list[Fault]:
    spans = ledger.get("files", {}).get(file.uuid, Spans())
    missing = spans.holes(file.num_entries)
    if wanted is not None:
        missing = common(missing, wanted.get(file.uuid, []))
    holes = [Fault(HOLE, dataset.name, file.path, *s) for s in missing]
    return holes + [Fault(OVERLAP, dataset.name, file.path, *s) for s in spans.overlaps()]
