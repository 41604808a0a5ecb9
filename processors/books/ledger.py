"""The ledger of a run: which entries of which file were processed, and the proof that each was processed once.

Every chunk's accumulator carries ``{"files": {uuid: Spans}, "n_events": n}`` beside its results: whatever way results
are merged, lost, repeated or resumed, what the merged ledger says is what the merged histograms hold. The books of the
run set what was expected beside it: for people, and for the next stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import IntArray
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.kinfit.kernels import Status
from jpsi_lnv.analysis.results import DatasetBooks, Results, Totals
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


# Share of bad covariances among the fits of a dataset above which the run stops, and fits before anything is said.
FRACTION_MAX: Final = 0.01
N_FITS_MIN: Final = 200
_BAD: Final = Status.BAD_COVARIANCE.name.lower()
_SKIPPED: Final = Status.SKIPPED.name.lower()
MEGABYTE: Final = 1e6
SHOWN_MAX: Final = 5
# Columns of the table of files and events that a terminal shows.
_SHOWN: Final = (
    "dataset",
    "files",
    "files_skipped",
    "events_expected",
    "events_processed",
    "events_skipped",
    "produced_used",
    "state",
)

# Sums over chunks in coffea's metrics, by their names in the totals.
_COSTS: Final = {
    "entries": "events_read",
    "bytesread": "bytes_read",
    "retried": "chunks_retried",
    "processtime": "process_time_s",
    "cputime": "cpu_time_s",
}


@dataclass
class Books:
    """The record of a run: a processed fileset and what became of its files, events and chunks.

    Attributes:
        fileset: The datasets without skipped files.
        accumulator: Merged result per dataset, with its ledger.
        failed: Record of every chunk that failed for good.
        metrics: Sums over all chunks.
        faults: Holes and overlaps.
        skipped: Record of every file that was left out.
        requested: The datasets with skipped files.
        problems: What else makes the result unusable.
        limited: Why it is for tests only, however much it covers; empty for a result of all.
        n_chunks: Chunks of this run.
        n_resumed: Events that came from stored parts.
        wall_time: Duration in s.
    """

    fileset: Fileset
    accumulator: dict[str, Any]
    failed: list[dict[str, Any]]
    metrics: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    requested: Fileset = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    limited: str = ""
    n_chunks: int = 0
    n_resumed: int = 0
    wall_time: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every event of the files that were not skipped is in the result exactly once, and nothing twice."""
        return not (self.faults or self.problems or self.limited or self._uncounted())

    @property
    def is_sound(self) -> bool:
        """Whether all that was tried is in the result exactly once; what was not tried on request does not count."""
        return not (self.failed or self.problems or any(f.kind == OVERLAP for f in self.faults))

    def _uncounted(self) -> list[str]:
        """Return the datasets without any file left, or whose J/psi or luminosity is of more files than were used."""
        empty = [f"dataset {n!r}: none of its files is used" for n in self.requested if not self.fileset[n].files]
        return empty + [
            f"dataset {name!r}: {len(self.fileset[name].files)} of {len(d.files)} files are used, but its number of "
            "J/psi or luminosity is that of all"
            for name, d in self.requested.items()
            if d.metadata.kind in (DATA, CONTINUUM) and len(self.fileset[name].files) < len(d.files)
        ]

    def add_costs(self, totals: Sequence[Totals]) -> None:
        """Enter what the shares of a run cost: the totals of their own books."""
        self.n_chunks = sum(t.chunks for t in totals)
        self.n_resumed = sum(t.events_resumed for t in totals)
        self.wall_time = sum(t.wall_time_s for t in totals)
        self.metrics = {metric: sum(getattr(t, key) for t in totals) for metric, key in _COSTS.items()}
        self.metrics["columns"] = {name for t in totals for name in t.columns_read}
        self.metrics["memory"] = {worker: peak for t in totals for worker, peak in t.peak_memory_bytes.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return what `bookkeeping.json` holds."""
        return {
            "complete": self.is_complete,
            "problems": [*filter(None, [self.limited]), *self.problems, *self._uncounted(), *map(str, self.faults)],
            "datasets": {name: asdict(self._dataset(name)) for name in self.requested},
            "totals": asdict(self._totals()),
            "faults": [f.to_dict() for f in self.faults],
            "failed_chunks": self.failed,
            "skipped_files": [{k: r[k] for k in ("dataset", "file", "kind", "message")} for r in self.skipped],
        }

    def _dataset(self, name: str) -> DatasetBooks:
        requested, used = self.requested[name], self.fileset[name]
        return DatasetBooks(
            files=len(requested.files),
            files_skipped=len(requested.files) - len(used.files),
            events_expected=requested.num_entries,
            events_processed=self.accumulator.get(name, {}).get(LEDGER, {}).get("n_events", 0),
            events_skipped=requested.num_entries - used.num_entries,
            produced_expected=requested.n_produced,
            produced_used=used.n_produced,
            bytes=requested.size,
        )

    def _totals(self) -> Totals:
        return Totals(
            events_processed=sum(d[LEDGER]["n_events"] for d in self.accumulator.values()),
            events_resumed=self.n_resumed,
            events_read=int(self.metrics.get("entries", 0)),
            bytes_read=int(self.metrics.get("bytesread", 0)),
            columns_read=sorted(self.metrics.get("columns", ())),
            chunks=self.n_chunks,
            chunks_failed=len(self.failed),
            chunks_retried=int(self.metrics.get("retried", 0)),
            wall_time_s=round(self.wall_time, 3),
            process_time_s=round(float(self.metrics.get("processtime", 0.0)), 3),
            cpu_time_s=round(float(self.metrics.get("cputime", 0.0)), 3),
            peak_memory_bytes={worker: int(rss) for worker, rss in sorted(self.metrics.get("memory", {}).items())},
        )


def cause(record: dict[str, Any]) -> str:
    """Return the cause of a failure: our own message as it is, a foreign one with its kind."""
    message: str = record["message"]
    return message if record["is_ours"] else f"{record['kind']}: {message}"


def describe_failures(failed: list[dict[str, Any]]) -> list[str]:
    """Return one line per cause, the most frequent first: how many chunks, where the first was, and the cause."""
    by_cause: dict[str, list[dict[str, Any]]] = {}
    for record in failed:
        by_cause.setdefault(cause(record), []).append(record)
    return [
        f"{len(records)} chunk(s), the first in dataset {records[0]['dataset']!r}, file {records[0]['file']}, "
        f"entries {records[0]['start']} to {records[0]['stop']} after {records[0]['attempts']} attempt(s): {text}"
        for text, records in sorted(by_cause.items(), key=lambda pair: -len(pair[1]))
    ]


def print_books(results: Results) -> None:
    """Show the book-keeping of a run: a table of datasets, what the run cost, and all that went wrong."""
    # Draws, and workers import this module.
    from jpsi_lnv.analysis.report import origin  # noqa: PLC0415
    from jpsi_lnv.processors.console import console, show  # noqa: PLC0415

    show(origin.books(results).only(*_SHOWN))
    books = results.bookkeeping
    for line in (*_costs(books["totals"]), *_troubles(books)):
        console().print(line, markup=False, soft_wrap=True)


def _costs(totals: dict[str, Any]) -> list[str]:
    wall, cpu, peaks = (totals[k] for k in ("wall_time_s", "cpu_time_s", "peak_memory_bytes"))
    rate = totals["events_read"] / wall if wall else 0.0
    lines = [
        f"{totals['events_read']} events in {totals['chunks']} chunks, {totals['bytes_read'] / MEGABYTE:.1f} MB of "
        f"{len(totals['columns_read'])} columns in {wall:.1f} s ({rate:.0f} events/s, CPU {cpu:.1f} s)"
    ]
    if peaks:
        lines.append(f"peak memory of {len(peaks)} worker(s): {max(peaks.values()) / MEGABYTE:.0f} MB at most")
    if totals["events_resumed"]:
        lines.append(f"{totals['events_resumed']} events were taken from former runs")
    if totals["chunks_retried"]:
        lines.append(f"{totals['chunks_retried']} chunk(s) were tried again after an I/O error")
    return lines


def _troubles(books: dict[str, Any]) -> list[str]:
    lines = [f"skipped: {r['file']}: {r['message']}" for r in books["skipped_files"]]
    lines += [f"failed: {line}" for line in describe_failures(books["failed_chunks"])]
    problems = books["problems"]
    lines += problems[:SHOWN_MAX]
    if len(problems) > SHOWN_MAX:
        lines.append(f"... and {len(problems) - SHOWN_MAX} more, in bookkeeping.json")
    return lines


class CovarianceError(LnvError):
    """A dataset has too many covariances that are not positive definite."""


class Covariances:
    """Counts how the fits of each dataset ended, group by group."""

    def __init__(self) -> None:
        self._ended: dict[str, Counter[str]] = {}

    def add(self, results: dict[str, Any]) -> None:
        """Count the fits of a group of chunks.

        Args:
            results: ``{dataset: {selection: {"status": {status: count}, ...}, ...}}``; what has no status is passed by.

        Raises:
            CovarianceError: More than 1 % of a dataset's fits met a bad covariance.
        """
        for dataset, selections in results.items():
            ended = self._ended.setdefault(dataset, Counter())
            for selection in selections.values():
                if isinstance(selection, dict):
                    ended.update(selection.get("status", {}))
            _check(dataset, ended)


def _check(dataset: str, ended: Counter[str]) -> None:
    tried = ended.total() - ended[_SKIPPED]
    if tried >= N_FITS_MIN and ended[_BAD] > FRACTION_MAX * tried:
        msg = (
            f"dataset {dataset!r}: {ended[_BAD]} of {tried} fits ({ended[_BAD] / tried:.1%}) met a track covariance "
            f"that is not positive definite, wanted at most {FRACTION_MAX:.0%}; the ntuples were filled wrongly: the "
            "columns cov0 to cov14 are the upper triangle, row by row"
        )
        raise CovarianceError(msg)
