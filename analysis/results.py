"""The merged accumulator of a run as one file: write, read, check.

`accumulator.zip` holds ``manifest.json`` (metadata, counts, provenance), ``bookkeeping.json``, one UHI JSON file of
histograms and one parquet file of candidates per dataset and selection. Nothing in it is a pickle: opening a result
runs no code.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import hist
import numpy as np
import uhi.io
import uhi.io.json
from annotated_types import Ge, MinLen

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.channel import Channel
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError

FORMAT_VERSION: Final = 1
# Bins of a stored histogram, sparse in the file and whole in memory.
BINS_MAX: Final = 50_000_000
# Digits of the largest count.
COUNT_DIGITS: Final = 19
_FORM: Final = documents.Form("result", "wanted an accumulator.zip of `lnv run`", ResultsError)


@dataclass(frozen=True)
class SelectionResult:
    """What one processor found in one dataset.

    Attributes:
        cutflow: Step -> number of events that pass it and all before; the first entry, ``all``, counts every event.
        histograms: Name -> histogram.
        status: Status of kinematic fits and tracks -> count.
        candidates: Column -> values of the candidates that pass, sorted by run and event.
    """

    cutflow: dict[str, int]
    histograms: dict[str, hist.Hist] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    candidates: dict[str, AnyArray] = field(default_factory=dict)

    @property
    def n_passed(self) -> int:
        """Events that pass the whole selection."""
        return list(self.cutflow.values())[-1]


@dataclass(frozen=True)
class DatasetResult:
    """One dataset: its metadata, events produced (for normalisation) and processed, and a result per selection."""

    metadata: DatasetMetadata
    n_produced: int
    n_events: int
    selections: dict[str, SelectionResult]


@dataclass(frozen=True)
class Results:
    """A merged accumulator.

    Attributes:
        datasets: Name -> result.
        provenance: Commit, versions, cuts and digests (`analysis.provenance`).
        bookkeeping: Files and events expected, processed, skipped, retried; ``complete`` says whether all is covered.
    """

    datasets: dict[str, DatasetResult]
    provenance: dict[str, Any]
    bookkeeping: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether every event of every file is covered exactly once."""
        return bool(self.bookkeeping.get("complete", False))

    def of_kind(self, *kinds: str) -> dict[str, DatasetResult]:
        """Return the datasets whose metadata have one of `kinds`."""
        return {name: d for name, d in self.datasets.items() if d.metadata.kind in kinds}

    def ran(self, selection: str, *kinds: str) -> dict[str, DatasetResult]:
        """Return the datasets in which a selection ran: of some kinds, or of all where none is named."""
        datasets = self.of_kind(*kinds) if kinds else self.datasets
        return {name: d for name, d in datasets.items() if selection in d.selections}

    @property
    def cuts(self) -> Cuts:
        """The cuts the result was made with; the present ones if it does not say.

        Raises:
            ResultsError: It has requirements that this version does not know, or lacks some, or no such values.
        """
        stored = self.provenance.get("cuts", dataclasses.asdict(SELECTION))
        known = {f.name for f in dataclasses.fields(Cuts)}
        if differing := sorted(known ^ set(stored)):
            msg = f"the result was made with other requirements, which differ in {differing}; run `lnv run` again"
            raise ResultsError(msg)
        try:
            return Cuts(**stored)
        except (ValueError, TypeError) as error:
            msg = f"the result was made with requirements that cannot be ({error}); run `lnv run` again"
            raise ResultsError(msg) from error

    @property
    def channel(self) -> Channel:
        """The decay that was searched for."""
        return self.cuts.channel

    @property
    def identity(self) -> dict[str, str | None]:
        """Digests of cuts, fileset and counts: what numbers derived from the result carry along (`analysis.derived`).

        The counts tell results apart that other code, or opening the box, made of the same files.
        """
        return {
            "cuts_digest": self.provenance.get("cuts_digest"),
            "fileset_digest": self.provenance.get("fileset_digest"),
            "counts_digest": documents.digest_of_json(_counts(self.datasets)),
        }

    def require_complete(self, *, allow_incomplete: bool = False) -> None:
        """Raise IncompleteError if events are missing, unless that is allowed."""
        if not self.is_complete and not allow_incomplete:
            holes = self.bookkeeping.get("problems", ["no book-keeping was stored"])
            first = "; ".join(str(hole) for hole in holes[:3])
            msg = f"the result is incomplete: {first}; finish it with `lnv run --resume` or pass --allow-incomplete"
            raise IncompleteError(msg)


@dataclass(frozen=True)
class _Counts:
    cutflow: Annotated[dict[str, int], MinLen(1)]
    status: dict[str, int]


@dataclass(frozen=True)
class _Entry:
    metadata: dict[str, Any]
    n_produced: Annotated[int, Ge(0)]
    n_events: Annotated[int, Ge(0)]
    selections: dict[str, _Counts]


@dataclass(frozen=True)
class _Manifest:
    provenance: dict[str, Any]
    datasets: dict[str, _Entry]


_MANIFEST: Final = documents.Form("result", "run `lnv run` again", ResultsError, content=_Manifest)

Natural = Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class DatasetBooks:
    """What the books of a run say of a dataset: files, events, events that it stands for, bytes."""

    files: Natural
    files_skipped: Natural
    events_expected: Natural
    events_processed: Natural
    events_skipped: Natural
    produced_expected: Natural
    produced_used: Natural
    bytes: Natural


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the books of a run say that it did and cost.

    Attributes:
        events_processed: Events in the result.
        events_resumed: Events that came from stored parts.
        events_read: Events that were read.
        bytes_read: Bytes that were read.
        columns_read: Branches that were read.
        chunks: Chunks.
        chunks_failed: Chunks that failed for good.
        chunks_retried: Chunks that were tried again after an I/O error.
        wall_time_s: Duration.
        process_time_s: Sum over chunks of the time in the processor.
        cpu_time_s: Sum over chunks of the time of the CPU.
        peak_memory_bytes: Worker -> its largest resident memory.
    """

    events_processed: Natural
    events_resumed: Natural
    events_read: Natural
    bytes_read: Natural
    columns_read: list[str]
    chunks: Natural
    chunks_failed: Natural
    chunks_retried: Natural
    wall_time_s: Annotated[float, Ge(0)]
    process_time_s: Annotated[float, Ge(0)]
    cpu_time_s: Annotated[float, Ge(0)]
    peak_memory_bytes: dict[str, Natural]


@dataclass(frozen=True)
class _Failure:
    dataset: str
    file: str
    message: str
    kind: str
    start: int = 0
    stop: int = 0
    attempts: int = 0


@dataclass(frozen=True)
class _Books:
    """What the books of a result hold, if they are there: nothing else of them is read."""

    complete: bool = False
    problems: list[str] = field(default_factory=list)
    datasets: dict[str, DatasetBooks] = field(default_factory=dict)
    totals: Totals | None = None
    failed_chunks: list[_Failure] = field(default_factory=list)
    skipped_files: list[_Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Calibration:
    name: str
    digest: str
    source: str
    constants: list[str]


@dataclass(frozen=True)
class _Card:
    name: str = ""
    digest: str = ""
    cuts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Origin:
    """What is read of the provenance of a result, if it is there."""

    cuts: dict[str, Any] = field(default_factory=dict)
    cuts_digest: str | None = None
    fileset_digest: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    card: _Card = field(default_factory=_Card)
    calibration: dict[str, _Calibration] = field(default_factory=dict)
    unblinding: dict[str, Any] | None = None
    opened: dict[str, str] = field(default_factory=dict)


_BOOKS: Final = documents.Form("books of the result", "run `lnv run` again", ResultsError, content=_Books)
_ORIGIN: Final = documents.Form("provenance of the result", "run `lnv run` again", ResultsError, content=_Origin)


def write(path: Path, results: Results) -> None:
    """Write a result to `path` under a temporary name first, so that a half-written file never has the final name."""
    with documents.replacing(path) as partial, partial.open("wb") as stream:
        dump(stream, results)


def dump(stream: BinaryIO, results: Results) -> None:
    """Write a result to a stream.

    Its size depends on none of the steps of a cut flow, some of which count events of a closed box.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", _manifest_text(results), zipfile.ZIP_STORED)
        archive.writestr("bookkeeping.json", json.dumps(results.bookkeeping, indent=1))
        for dataset, result in results.datasets.items():
            for name, selection in result.selections.items():
                archive.writestr(f"histograms/{dataset}/{name}.json", _dump_histograms(selection.histograms))
                archive.writestr(f"candidates/{dataset}/{name}.parquet", _dump_table(selection.candidates))


def read(path: Path) -> Results:
    """Read a result.

    Raises:
        ResultsError: The file is missing, is no result, or has another format version.
    """
    if not path.exists():
        msg = f"{path}: no such result; make one with `lnv run`, or name another with --accumulator"
        raise ResultsError(msg)
    return load(path)


def load(source: Path | BinaryIO) -> Results:
    """Read a result from a file or a stream.

    Raises:
        ResultsError: It is no result, or has another format version.
    """
    with documents.archive(source, _FORM) as member:
        stored = _FORM.parse(member("manifest.json"), str(source))
        _check_version(str(source), stored)
        manifest: _Manifest = _MANIFEST.check(stored, str(source))
        bookkeeping = _FORM.parse(member("bookkeeping.json"), str(source))
        _BOOKS.check(bookkeeping, str(source))
        _ORIGIN.check(manifest.provenance, str(source))
        datasets = {name: _read_dataset(member, name, entry) for name, entry in manifest.datasets.items()}
    return Results(datasets, manifest.provenance, bookkeeping)


def _check_version(where: str, manifest: Mapping[str, Any]) -> None:
    if (version := manifest.get("format_version")) != FORMAT_VERSION:
        msg = f"{where}: result of format {version}; this version reads {FORMAT_VERSION}; run `lnv run` again"
        raise ResultsError(msg)


def _manifest(results: Results) -> dict[str, Any]:
    counts = _counts(results.datasets)
    return {"format_version": FORMAT_VERSION, "provenance": results.provenance, "datasets": counts}


def _manifest_text(results: Results) -> str:
    """Return the manifest, filled up with blanks as if all counts of the cut flows had equal digits."""
    flows = (s.cutflow for d in results.datasets.values() for s in d.selections.values())
    blanks = sum(COUNT_DIGITS - len(str(n)) for flow in flows for n in flow.values())
    return json.dumps(_manifest(results), indent=1) + " " * blanks


def _counts(datasets: Mapping[str, DatasetResult]) -> dict[str, Any]:
    return {
        name: {
            "metadata": d.metadata.to_dict(),
            "n_produced": d.n_produced,
            "n_events": d.n_events,
            "selections": {s: {"cutflow": r.cutflow, "status": r.status} for s, r in d.selections.items()},
        }
        for name, d in datasets.items()
    }


def _read_dataset(member: Callable[[str], bytes], name: str, entry: _Entry) -> DatasetResult:
    selections = {
        s: SelectionResult(
            cutflow=counts.cutflow,
            status=counts.status,
            histograms=_load_histograms(member(f"histograms/{name}/{s}.json")),
            candidates=_load_table(member(f"candidates/{name}/{s}.parquet")),
        )
        for s, counts in entry.selections.items()
    }
    metadata = DatasetMetadata.from_dict(name, entry.metadata)
    return DatasetResult(metadata, entry.n_produced, entry.n_events, selections)


def _dump_histograms(histograms: Mapping[str, hist.Hist]) -> str:
    sparse = {name: uhi.io.to_sparse(h._to_uhi_()) for name, h in histograms.items()}
    return json.dumps(sparse, default=uhi.io.json.default)


def _load_histograms(text: bytes) -> dict[str, hist.Hist]:
    stored = json.loads(text, object_hook=uhi.io.json.object_hook)
    for name, h in stored.items():
        if (n_bins := math.prod(1 + _n_bins(axis) for axis in h["axes"])) > BINS_MAX:
            msg = f"histogram {name!r} has {n_bins} bins; wanted at most {BINS_MAX}"
            raise ValueError(msg)
    # A number that is none would become some count.
    with np.errstate(invalid="raise"):
        return {name: hist.Hist(uhi.io.from_sparse(h)) for name, h in stored.items()}


def _n_bins(axis: Mapping[str, Any]) -> int:
    """Return the bins of a stored axis, those of its overflow aside."""
    return int(axis["bins"]) if "bins" in axis else len(axis.get("edges", axis.get("categories", ())))


def _dump_table(columns: Mapping[str, AnyArray]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - workers import this module, and have no use for pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(np.asarray(values)) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def _load_table(data: bytes) -> dict[str, AnyArray]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False)
    return {name: table[name].to_numpy() for name in table.column_names}
