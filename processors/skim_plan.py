"""The plan of a skim and its books: which inputs go into which output, what is done already, what became of each.

Small files are skimmed together into one output, a large one alone. An output appears when it is whole, and with it
its books, which name its inputs by a key; what has its books is not done again, so a killed worker or client costs the
outputs that were being written and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final

from annotated_types import Ge

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import (
    CONTINUUM,
    CONTROL_SELECTIONS,
    DATA,
    PHOTON_SELECTIONS,
    SEARCH,
    DatasetMetadata,
)
from jpsi_lnv.analysis.documents import Form, digest, write_json
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.content import shared
from jpsi_lnv.analysis.events.mapping import NtupleMap
from jpsi_lnv.analysis.events.run_table import RunTable
from jpsi_lnv.analysis.provenance import source_digest
from jpsi_lnv.analysis.report.tables import Field, Table, count
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.fileset import is_address

BOOKS: Final = "skim"
FILESET: Final = "fileset.json"
# Energies in GeV that count as one, and the digits of a float32 that are kept.
SQRT_S_TOLERANCE: Final = 1e-4
SQRT_S_DIGITS: Final = 5
# Input bytes per output, below which files are skimmed together: some 50 000 events. An output costs a tenth of a
# second before its first event.
GROUP_BYTES: Final = 640 * 1024**2
_FIELDS: Final = (
    Field("file", "file"),
    Field("ntuple", "ntuple"),
    Field("n_events", "events", count),
    Field("n_produced", "produced", count),
    Field("n_stored", "stored", count),
)


@dataclass(frozen=True, kw_only=True)
class SkimOptions:
    """How a skim is done.

    Attributes:
        output: Directory of the ntuples.
        dataset: Name of the dataset, and first part of the names of the files.
        runs: Conditions of the runs.
        preselection: One of `processors.skimming.PRESELECTIONS`.
        cuts: The requirements of the search whose first steps a preselection asks for.
        chunksize: Events in memory at a time; the result does not depend on it.
        count: What a file's events are normalised to: ``tree``, the events in it, or ``job``, those that the job which
            wrote it processed.
        group_bytes: Input bytes per output.
        keep: Groups of columns to keep beside the rest, of `schema.GROUPS`.
        mapping: What the branches of a user's own ntuples mean; None: the inputs are `.dst` files.
        trust_units: Go on where numbers cannot be what their units say.
        calibration: What the metadata of the dataset name as such.
    """

    output: Path
    dataset: str
    runs: RunTable
    preselection: str = "search"
    cuts: Cuts = SELECTION
    chunksize: int = 2_500
    count: str = "tree"
    group_bytes: int = GROUP_BYTES
    keep: tuple[str, ...] = schema.KEPT
    mapping: NtupleMap | None = None
    trust_units: bool = False
    calibration: str | None = None


@dataclass(frozen=True, kw_only=True)
class SkimItem:
    """One output of a skim: what a worker gets.

    Attributes:
        dataset: Name of the dataset.
        inputs: Paths or addresses of the `.dst` files.
        output: Ntuple to write.
        books: JSON file to write when it is whole.
        key: Digest of the inputs, the options and the code.
        size: Bytes of the inputs; an address counts one.
    """

    dataset: str
    inputs: tuple[str, ...]
    output: Path
    books: Path
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


@dataclass(frozen=True, kw_only=True)
class Source:
    """What became of one input.

    Attributes:
        path: Path or address.
        uuid: UUID that ROOT gave the file.
        content: Digest of its events; empty without any.
        sample: Hashes of some of its events (`analysis.events.content`).
        is_simulation: Whether its events are simulated; None without any.
        sqrt_s: Smallest and largest centre-of-mass energy in GeV; empty without events.
        n_events: Events in it.
        n_job: Events that the job which wrote it processed, as it says; None if it does not.
        n_produced: Events that it stands for.
        n_stored: Events that were kept.
        fallbacks: Branch -> why it was read by pybes3.
    """

    path: str
    uuid: str
    content: str
    sample: str
    is_simulation: bool | None
    sqrt_s: tuple[float, ...]
    n_events: Annotated[int, Ge(0)]
    n_job: Annotated[int, Ge(0)] | None
    n_produced: Annotated[int, Ge(0)]
    n_stored: Annotated[int, Ge(0)]
    fallbacks: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Book:
    """The books of one output: what it was made of.

    Attributes:
        key: Key of its `SkimItem`.
        output: Name of the ntuple.
        size: Its bytes.
        sources: The inputs, in their order.
    """

    key: str
    output: str
    size: Annotated[int, Ge(0)]
    sources: tuple[Source, ...]

    __pydantic_config__: ClassVar = {"extra": "forbid"}


_BOOKS: Final = Form("books of a skim", "remove it and skim again", NtupleError, content=Book)


def read_book(item: SkimItem) -> Book | None:
    """Return the books of an output if both exist, of the same inputs, options and code; else None."""
    try:
        book: Book = _BOOKS.read(item.books)
        return book if book.key == item.key and book.size == item.output.stat().st_size else None
    except (OSError, NtupleError):
        return None


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
    """Whether an output and its books exist, of the same inputs, options and code."""
    return read_book(item) is not None


def read_books(items: Iterable[SkimItem]) -> list[Book]:
    """Return the books of the outputs that are done.

    Raises:
        FilesetError: Two inputs have the same UUID or share events, or data and simulation were skimmed into one
            dataset.
    """
    books = [book for item in items if (book := read_book(item)) is not None]
    sources = [source for book in books for source in book.sources]
    seen: dict[str, str] = {}
    kinds: dict[bool, str] = {}
    for source in sources:
        if seen.setdefault(source.uuid, source.path) != source.path:
            msg = f"{source.path}: is the same file as {seen[source.uuid]} (UUID {source.uuid}); leave one out"
            raise FilesetError(msg)
        if source.content and seen.setdefault(source.content, source.path) != source.path:
            msg = f"{source.path}: holds the same events as {seen[source.content]}, in another file; leave one out"
            raise FilesetError(msg)
        if source.is_simulation is not None:
            kinds.setdefault(source.is_simulation, source.path)
    if found := shared((source.path, source.sample) for source in sources):
        raise FilesetError(str(found))
    if len(kinds) > 1:
        raise FilesetError(mixed(kinds))
    return books


def table(title: str, books: Sequence[Book]) -> Table:
    """Return one row per input file: where its events are and how many were kept."""
    keys = ("n_events", "n_produced", "n_stored")
    rows = (
        {"file": source.path, "ntuple": book.output, **{key: getattr(source, key) for key in keys}}
        for book in books
        for source in book.sources
    )
    return Table("skim", title, _FIELDS, tuple(rows))


def stands_for_nothing(books: Sequence[Book]) -> bool:
    """Return whether no input has an event or stands for one: nothing says what they are, and nothing is lost."""
    return not any(s.n_events or s.n_produced for book in books for s in book.sources)


def job_warnings(books: Sequence[Book]) -> list[str]:
    """Return a line per file whose job processed more events than the file holds: it has been filtered before."""
    return [
        f"{s.path}: the job that wrote it processed {s.n_job} events, the file holds {s.n_events}; "
        f"normalised to {s.n_produced} (see --count)"
        for book in books
        for s in book.sources
        if s.n_job is not None and s.n_job != s.n_events
    ]


def fallback_warnings(books: Sequence[Book]) -> list[str]:
    """Return a line per branch that was read by pybes3, which is slower: in how many files, and why in the first."""
    reasons: dict[str, list[str]] = {}
    for source in (s for book in books for s in book.sources):
        for branch, reason in source.fallbacks.items():
            reasons.setdefault(branch, []).append(f"{source.path}: {reason}")
    return [
        f"branch {branch} was read by pybes3, which is slower, in {len(files)} file(s); {files[0]}"
        for branch, files in reasons.items()
    ]


def make_fileset(items: Sequence[SkimItem], options: SkimOptions, kind: str | None) -> Path:
    """Write the completed fileset of a skim, beside the ntuples; other datasets in it stay.

    Args:
        items: Outputs of the skim; those that are done enter.
        options: How the skim was done.
        kind: Kind of the dataset; None: ``data`` or, for simulation, ``inclusive``.

    Returns:
        Its path.

    Raises:
        FilesetError: The outputs do not make one dataset.
        NtupleError: An output cannot be read.
    """
    path = options.output / FILESET
    items = [item for item in items if is_done(item)]
    sources = [source for book in read_books(items) for source in book.sources]
    filled = [source for source in sources if source.n_events]
    if not filled:
        msg = f"dataset {options.dataset!r}: none of its {len(sources)} inputs has an event; skim them with others"
        raise FilesetError(msg)
    is_simulation = filled[0].is_simulation
    if kind not in (None, DATA, CONTINUUM) and not is_simulation:
        msg = (
            f"dataset {options.dataset!r}: got kind {kind!r}, which is simulated, for runs that are positive, those of "
            "recorded events; give --kind data, or mend the sign of the runs (in a mapping: run = {value = -1})"
        )
        raise FilesetError(msg)
    metadata = DatasetMetadata.from_dict(
        options.dataset,
        {
            "kind": kind or ("inclusive" if is_simulation else "data"),
            "sqrt_s": _one_sqrt_s([value for source in sources for value in source.sqrt_s]),
            "is_simulation": is_simulation,
            "selections": selections(options),
            "calibration": options.calibration,
        },
    )
    entries = tuple(verify.describe(str(i.output), metadata=metadata) for i in items)
    dataset = filesets.Dataset(options.dataset, metadata, entries)
    others = filesets.read_raw(path) if path.exists() else {}
    return write_json(path, others | filesets.to_raw({options.dataset: dataset}, options.output))


def selections(options: SkimOptions) -> list[str]:
    """Return the selections that can run on a skim: the search, and the control samples unless they were cut away."""
    controls = [] if options.preselection == SEARCH else CONTROL_SELECTIONS
    return [SEARCH, *(name for name in controls if name not in without_photons(options))]


def without_photons(options: SkimOptions) -> tuple[str, ...]:
    """Return the selections that cannot run on a skim because a user's own ntuples have no showers."""
    return PHOTON_SELECTIONS if options.mapping is not None and schema.lacking(options.mapping.columns) else ()


def _one_sqrt_s(values: Sequence[float]) -> float:
    """Return the centre-of-mass energy that all events have; a dataset has one."""
    if max(values) - min(values) > SQRT_S_TOLERANCE:
        msg = f"got centre-of-mass energies from {min(values):.5f} to {max(values):.5f} GeV; skim them apart"
        raise FilesetError(msg)
    return round(values[0], SQRT_S_DIGITS)


def mixed(kinds: dict[bool, str]) -> str:
    """Return what is wrong with two files of one dataset, of which one is simulation and one is not."""
    return f"{kinds[True]} is simulation, {kinds[False]} is data; skim them into two datasets"


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
        books=options.output.resolve() / BOOKS / f"{name}.json",
        key=_key(group, options),
        size=sum(sizes[n] for n in group),
    )


def _key(group: tuple[str, ...], options: SkimOptions) -> str:
    """Return a digest of everything an output depends on."""
    stamps = [(n, 0, 0) if is_address(n) else (n, os.stat(n).st_size, os.stat(n).st_mtime_ns) for n in group]  # noqa: PTH116 two fields of one call
    parts = (
        stamps,
        options.preselection,
        options.keep,
        options.count,
        repr(options.runs),
        repr(options.mapping),
        options.cuts.digest(),
        source_digest(),
    )
    return digest(repr(parts), digits=32)
