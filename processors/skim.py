"""From BOSS `.dst` files, or a user's own ntuples, to ours: the plan of a skim, a worker's part of it, its records.

Small files are skimmed together into one output, a large one alone. An output appears when it is whole, and with it a
record that names its inputs by a key; what has its record is not done again, so a killed worker or client costs the
outputs that were being written and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.cuts import SELECTION
from analysis.errors import FilesetError, NtupleError
from analysis.events.blocks import Block, make_block
from analysis.events.columns import ArrayColumns
from analysis.events.dst import Dst, open_dst
from analysis.events.mapping import MappedNtuple, NtupleMap, open_mapped
from analysis.events.run_table import RunTable
from analysis.events.writer import NtupleWriter
from analysis.provenance import source_digest
from analysis.selection.search_events import SearchEvents
from processors.console import write_json
from processors.guard import is_io_error
from processors.remote_io import is_address

BoolArray = npt.NDArray[np.bool_]

RECORDS: Final = "skim"
# Input bytes per output: below it, files are skimmed together.
GROUP_BYTES: Final = 512 * 1024**2
# Good tracks that a control sample needs at least: the tag of a pair whose partner is the probe of the tracking.
CONTROL_TRACKS_MIN: Final = 1


def _search(view: SearchEvents) -> BoolArray:
    """At least four good charged tracks with zero net charge: the first steps of the search."""
    return view.is_retained


def _control(view: SearchEvents) -> BoolArray:
    """At least one good charged track: what the control samples and the probes of their tracking need."""
    return view.n_good >= CONTROL_TRACKS_MIN


def _all(view: SearchEvents) -> BoolArray:
    """Every event."""
    return np.ones(view.n_events, dtype=np.bool_)


PRESELECTIONS: Final[dict[str, Callable[[SearchEvents], BoolArray]]] = {
    "search": _search,
    "control": _control,
    "all": _all,
}


@dataclass(frozen=True, kw_only=True)
class SkimOptions:
    """How a skim is done.

    Attributes:
        output: Directory of the ntuples.
        dataset: Name of the dataset, and first part of the names of the files.
        runs: Conditions of the runs.
        preselection: One of `PRESELECTIONS`.
        chunksize: Events in memory at a time; the result does not depend on it.
        count: What a file's events are normalised to: ``tree``, the events in it, or ``job``, those that the job which
            wrote it processed.
        group_bytes: Input bytes per output.
        mapping: What the branches of a user's own ntuples mean; None: the inputs are `.dst` files.
    """

    output: Path
    dataset: str
    runs: RunTable
    preselection: str = "search"
    chunksize: int = 5_000
    count: str = "tree"
    group_bytes: int = GROUP_BYTES
    mapping: NtupleMap | None = None


@dataclass(frozen=True, kw_only=True)
class SkimItem:
    """One output of a skim: what a worker gets.

    Attributes:
        dataset: Name of the dataset.
        inputs: Paths or addresses of the `.dst` files.
        output: Ntuple to write.
        record: JSON file to write when it is whole.
        key: Digest of the inputs, the options and the code.
        size: Bytes of the inputs; an address counts one.
    """

    dataset: str
    inputs: tuple[str, ...]
    output: Path
    record: Path
    key: str
    size: int
    # What the book-keeping of failures names: a work item of a run has them as well.
    entrystart: int = field(default=0, init=False)
    entrystop: int = field(default=0, init=False)

    @property
    def filename(self) -> str:
        """The inputs, for messages."""
        return self.inputs[0] if len(self.inputs) == 1 else f"{self.inputs[0]} and {len(self.inputs) - 1} more"

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Skim:
    """Writes one output; the function that executors call."""

    options: SkimOptions

    def __call__(self, item: SkimItem) -> dict[str, Any]:
        """Write the output and its record; the record is the truth, the return value counts for the display."""
        try:
            with NtupleWriter(item.output) as writer:
                sources = [self._copy_file(path, writer) for path in item.inputs]
        except NtupleError as error:
            # The guard tells the first cause: make it the line that names the file; an I/O error is tried again.
            kind = OSError if is_io_error(error) else NtupleError
            raise kind(str(error)) from None
        record = {"key": item.key, "output": item.output.name, "size": item.output.stat().st_size, "sources": sources}
        write_json(item.record, record)
        return {"out": {item.dataset: {"outputs": 1}}}

    def _copy_file(self, path: str, writer: NtupleWriter) -> dict[str, Any]:
        mapping = self.options.mapping
        with open_dst(path) if mapping is None else open_mapped(path, mapping) as source:
            return {"path": path, **self.copy(source, writer)}

    def copy(self, source: Dst | MappedNtuple, writer: NtupleWriter) -> dict[str, Any]:
        """Append the chosen events of one input and its row of `Meta`; return its counts."""
        kept = 0
        energies: set[float] = set()
        for start in range(0, source.n_events, self.options.chunksize):
            stop = min(start + self.options.chunksize, source.n_events)
            block = make_block(source.read(start, stop, self.options.runs))
            energies |= {float(block.values["sqrt_s"].min()), float(block.values["sqrt_s"].max())}
            chosen = self.preselect(block)
            writer.extend(chosen)
            kept += chosen.n_events
        n_produced = self._n_produced(source)
        writer.add_source(n_produced=n_produced, n_stored=kept, source=source.source)
        return {
            "uuid": str(source.source),
            "is_simulation": source.is_simulation,
            "sqrt_s": [min(energies), max(energies)],
            "n_events": source.n_events,
            "n_job": source.n_job,
            "n_produced": n_produced,
            "n_stored": kept,
        }

    def preselect(self, block: Block) -> Block:
        """Return the events of a block that the preselection keeps, decided on what the file will hold."""
        columns = ArrayColumns(block.values, block.offsets, block.n_events)
        sqrt_s = float(block.values["sqrt_s"][0])
        return block.select(PRESELECTIONS[self.options.preselection](SearchEvents(columns, SELECTION, sqrt_s)))

    def _n_produced(self, source: Dst | MappedNtuple) -> int:
        if self.options.count == "tree":
            return source.n_events
        if source.n_job is None or source.n_job < source.n_events:
            msg = (
                f"{source.path}: its job information counts {source.n_job} events, the tree {source.n_events}; "
                "use --count tree, and give the produced events in the fileset"
            )
            raise NtupleError(msg)
        return source.n_job


def plan(inputs: Sequence[str], options: SkimOptions) -> list[SkimItem]:
    """Return the outputs of a skim.

    Args:
        inputs: Paths or addresses of `.dst` files.
        options: How the skim is done.

    Raises:
        NtupleError: A file is absent, or is listed twice.
    """
    names = [path if is_address(path) else str(Path(path).resolve()) for path in inputs]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        msg = f"{repeated[0]}: is listed twice; every file must be skimmed once"
        raise NtupleError(msg)
    sizes = {name: _size(name) for name in names}
    groups = list(_groups(sizes, options.group_bytes))
    return [_item(i, group, sizes, options) for i, group in enumerate(groups)]


def is_done(item: SkimItem) -> bool:
    """Whether an output and its record exist, of the same inputs, options and code."""
    try:
        record = json.loads(item.record.read_text(encoding="utf-8"))
        return bool(record["key"] == item.key and record["size"] == item.output.stat().st_size)
    except (OSError, ValueError, KeyError):
        return False


def remove_partials(items: Iterable[SkimItem]) -> None:
    """Remove what killed workers left half written; call it when no worker writes any more."""
    for item in items:
        for partial in item.output.parent.glob(f".{item.output.name}.*.part"):
            partial.unlink(missing_ok=True)


def read_records(items: Iterable[SkimItem]) -> list[dict[str, Any]]:
    """Return the records of outputs that are done.

    Raises:
        FilesetError: Two inputs have the same UUID, or data and simulation were skimmed into one dataset.
    """
    records = [json.loads(item.record.read_text(encoding="utf-8")) for item in items if is_done(item)]
    seen: dict[str, str] = {}
    kinds: dict[bool, str] = {}
    for source in (s for record in records for s in record["sources"]):
        path = source["path"]
        if seen.setdefault(source["uuid"], path) != path:
            msg = f"{path}: is the same file as {seen[source['uuid']]} (UUID {source['uuid']}); leave one out"
            raise FilesetError(msg)
        kinds.setdefault(source["is_simulation"], path)
    if len(kinds) > 1:
        msg = f"{kinds[True]} is simulation, {kinds[False]} is data; skim them into two datasets"
        raise FilesetError(msg)
    return records


def _size(path: str) -> int:
    """Return the bytes of a file; an address counts one, so that each group of addresses stays small in number."""
    if is_address(path):
        return 1
    try:
        return max(1, Path(path).stat().st_size)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise NtupleError(msg) from None


def _groups(sizes: dict[str, int], most: int) -> Iterator[tuple[str, ...]]:
    """Group consecutive files up to a number of bytes; an address, whose size is not known, stays alone."""
    group: list[str] = []
    for name, size in sizes.items():
        if group and (is_address(name) or is_address(group[-1]) or sum(sizes[n] for n in group) + size > most):
            yield tuple(group)
            group = []
        group.append(name)
    if group:
        yield tuple(group)


def _item(number: int, group: tuple[str, ...], sizes: dict[str, int], options: SkimOptions) -> SkimItem:
    name = f"{options.dataset}_{number}"
    return SkimItem(
        dataset=options.dataset,
        inputs=group,
        output=options.output.resolve() / f"{name}.root",
        record=options.output.resolve() / RECORDS / f"{name}.json",
        key=_key(group, options),
        size=sum(sizes[n] for n in group),
    )


def _key(group: tuple[str, ...], options: SkimOptions) -> str:
    """Return a digest of everything an output depends on."""
    stamps = [(n, 0, 0) if is_address(n) else (n, os.stat(n).st_size, os.stat(n).st_mtime_ns) for n in group]  # noqa: PTH116 two fields of one call
    parts = (
        stamps,
        options.preselection,
        options.count,
        repr(options.runs),
        repr(options.mapping),
        SELECTION.digest(),
        source_digest(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
