"""What a run did, for people and for the next stage: expected, processed, skipped, retried, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jpsi_lnv.analysis.datasets import CONTINUUM, DATA
from jpsi_lnv.processors.books.fileset import Fileset
from jpsi_lnv.processors.books.ledger import LEDGER, OVERLAP, Fault


@dataclass
class Outcome:
    """A processed fileset.

    Attributes:
        fileset: The datasets without skipped files.
        accumulator: Merged result per dataset, with its ledger.
        failed: Record of every chunk that failed for good.
        metrics: Sums over all chunks.
        faults: Holes and overlaps.
        skipped: Record of every file that was left out.
        requested: The datasets with skipped files.
        problems: What else makes the result unusable.
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
    n_chunks: int = 0
    n_resumed: int = 0
    wall_time: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every event of the files that were not skipped is in the result exactly once, and nothing twice."""
        return not (self.faults or self.problems or self._uncounted())

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

    def bookkeeping(self) -> dict[str, Any]:
        """Return what `bookkeeping.json` holds."""
        return {
            "complete": self.is_complete,
            "problems": [*self.problems, *self._uncounted(), *(str(f) for f in self.faults)],
            "datasets": {name: self._dataset(name) for name in self.requested},
            "totals": self._totals(),
            "faults": [f.to_dict() for f in self.faults],
            "failed_chunks": self.failed,
            "skipped_files": [{k: r[k] for k in ("dataset", "file", "kind", "message")} for r in self.skipped],
        }

    def _dataset(self, name: str) -> dict[str, Any]:
        requested, used = self.requested[name], self.fileset[name]
        return {
            "files": len(requested.files),
            "files_skipped": len(requested.files) - len(used.files),
            "events_expected": requested.num_entries,
            "events_processed": self.accumulator.get(name, {}).get(LEDGER, {}).get("n_events", 0),
            "events_skipped": requested.num_entries - used.num_entries,
            "produced_expected": requested.n_produced,
            "produced_used": used.n_produced,
            "bytes": requested.size,
        }

    def _totals(self) -> dict[str, Any]:
        peaks = {worker: int(rss) for worker, rss in sorted(self.metrics.get("memory", {}).items())}
        return {
            "events_processed": sum(d[LEDGER]["n_events"] for d in self.accumulator.values()),
            "events_resumed": self.n_resumed,
            "events_read": int(self.metrics.get("entries", 0)),
            "bytes_read": int(self.metrics.get("bytesread", 0)),
            "columns_read": sorted(self.metrics.get("columns", ())),
            "chunks": self.n_chunks,
            "chunks_failed": len(self.failed),
            "chunks_retried": int(self.metrics.get("retried", 0)),
            "wall_time_s": round(self.wall_time, 3),
            "process_time_s": round(float(self.metrics.get("processtime", 0.0)), 3),
            "cpu_time_s": round(float(self.metrics.get("cputime", 0.0)), 3),
            "peak_memory_bytes": peaks,
        }


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
