"""From BOSS `.dst` files, or a user's own ntuples, to ours: a worker's part of what `processors.skim_plan` plans.

A worker notes after every chunk what it has done of its output, in a file beside the books; the client adds these up,
and says how fast the skim gets on, what it keeps, and how long the rest will take.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.documents import Form, write_json
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns
from jpsi_lnv.analysis.events.content import Content
from jpsi_lnv.analysis.events.dst import Dst, open_dst
from jpsi_lnv.analysis.events.inspection import mixed_runs, raise_faults
from jpsi_lnv.analysis.events.mapping import MappedNtuple, open_mapped
from jpsi_lnv.analysis.events.ntuple_writer import Block, NtupleWriter, make_block, require_finite
from jpsi_lnv.analysis.events.plausibility import doubts
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.processors.console import console
from jpsi_lnv.processors.skim_plan import Book, SkimItem, SkimOptions, Source, mixed, read_book
from jpsi_lnv.processors.work.guard import is_io_error
from jpsi_lnv.processors.work.worker import reuse_freed_memory

# Seconds between two lines, on a terminal and elsewhere.
ON_TERMINAL: Final = 1.0
ELSEWHERE: Final = 60.0
NOTE: Final = ".now"
_NOTE: Final = Form("note of a skim", "it is made anew", NtupleError, content=tuple[int, int, int])


@dataclass(frozen=True)
class Done:
    """What has been done.

    Attributes:
        events: Events read.
        kept: Events written.
        size: Bytes of input read.
    """

    events: int = 0
    kept: int = 0
    size: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(self.events + other.events, self.kept + other.kept, self.size + other.size)


def note(item: SkimItem, done: Done) -> None:
    """Leave word of what has been done of an output."""
    path = _note_of(item)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([done.events, done.kept, done.size]), encoding="utf-8")


def forget(items: Sequence[SkimItem]) -> None:
    """Remove the notes; call it when no worker writes any more."""
    for item in items:
        _note_of(item).unlink(missing_ok=True)


def done_of(item: SkimItem) -> Done:
    """Return what has been done of an output: by its books if it is whole, by its note if there is one."""
    if book := read_book(item):
        return Done(sum(s.n_events for s in book.sources), sum(s.n_stored for s in book.sources), item.size)
    try:
        return Done(*_NOTE.read(_note_of(item)))
    except NtupleError:
        return Done()


def line(done: Done, total: int, seconds: float) -> str:
    """Return a line for people.

    Args:
        done: What has been done.
        total: Bytes of input in all.
        seconds: Time that it took.
    """
    rate = done.size / max(seconds, 1e-9)
    left = "?" if not done.size else f"{max(total - done.size, 0) / rate:,.0f} s"
    kept = done.kept / max(done.events, 1)
    return (
        f"skimming: {done.size / 1e9:,.2f} of {total / 1e9:,.2f} GB, {done.events / max(seconds, 1e-9):,.0f} events/s, "
        f"{rate / 1e6:,.0f} MB/s, kept {done.kept:,} of {done.events:,} events ({kept:.2%}), {left} left"
    )


@contextmanager
def meter(items: Sequence[SkimItem]) -> Iterator[None]:
    """Tell how the outputs get on until the work ends."""
    target, start, total = console(), time.monotonic(), sum(item.size for item in items)

    def now() -> str:
        return line(sum((done_of(item) for item in items), Done()), total, time.monotonic() - start)

    if target.is_terminal:
        with target.status(now()) as status, _every(ON_TERMINAL, lambda: status.update(now())):
            yield
    else:
        with _every(ELSEWHERE, lambda: target.print(now(), soft_wrap=True)):
            yield
    target.print(now(), soft_wrap=True)


@contextmanager
def _every(seconds: float, call: Callable[[], Any]) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _note_of(item: SkimItem) -> Path:
    return item.books.with_suffix(NOTE)


# Good tracks that a control sample needs at least: the tag of a pair whose partner is the probe of the tracking.
CONTROL_TRACKS_MIN: Final = 1
# Kept events wait until a basket is full, 5 kB each with all groups of columns: the larger baskets of other ntuples
# would let a skim take 130 MB more before its memory stops to grow.
BASKET_EVENTS: Final = 16_384


def _search(view: SearchEvents) -> BoolArray:
    """As many good charged tracks as the decay has, with zero net charge: the first steps of the search."""
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


def _require_runs_of(run: AnyArray, *, is_simulation: bool | None) -> None:
    """Refuse runs that are not all of data, or all of simulation, as those of the entries before are."""
    if mixed := mixed_runs(run):
        msg = f"column run: {mixed}"
        raise SchemaError(msg)
    if bool(run[0] < 0) != is_simulation:
        msg = "column run: got the other sign than in the entries before; wanted runs of one sign"
        raise SchemaError(msg)


@dataclass(frozen=True)
class Skim:
    """Writes one output; the function that executors call."""

    options: SkimOptions

    def __call__(self, item: SkimItem) -> dict[str, Any]:
        """Write the output and its books; the books are the truth, the return value counts for the display."""
        # Every chunk makes and frees arrays of the same sizes.
        reuse_freed_memory()
        try:
            with NtupleWriter(item.output, basket_events=BASKET_EVENTS) as writer:
                sources = self._copy_files(item, writer)
        except NtupleError as error:
            # The guard tells the first cause: make it the line that names the file; an I/O error is tried again.
            kind = OSError if is_io_error(error) else NtupleError
            raise kind(str(error)) from None
        size = item.output.stat().st_size
        write_json(item.books, asdict(Book(key=item.key, output=item.output.name, size=size, sources=sources)))
        return {"out": {item.dataset: {"outputs": 1}}}

    def _copy_files(self, item: SkimItem, writer: NtupleWriter) -> tuple[Source, ...]:
        mapping, before = self.options.mapping, Done()
        sources: list[Source] = []
        kinds: dict[bool, str] = {}
        for path in item.inputs:
            size = Path(path).stat().st_size if Path(path).is_file() else 0

            def tell(done: Done, before: Done = before) -> None:
                note(item, before + done)

            with open_dst(path, self.options.keep) if mapping is None else open_mapped(path, mapping) as source:
                if source.is_simulation is not None:
                    kinds.setdefault(source.is_simulation, path)
                if len(kinds) > 1:
                    raise NtupleError(mixed(kinds))
                sources.append(self.copy(source, writer, size, tell))
            before += Done(source.n_events, sources[-1].n_stored, size)
        return tuple(sources)

    def copy(
        self,
        source: Dst | MappedNtuple,
        writer: NtupleWriter,
        size: int = 0,
        tell: Callable[[Done], None] = lambda _: None,
    ) -> Source:
        """Append the chosen events of one input and its row of `Meta`.

        Args:
            source: The input.
            writer: Where the events go.
            size: Bytes of the input.
            tell: Called with what has been done of it after every chunk.

        Returns:
            What became of it.
        """
        kept = 0
        energies: set[float] = set()
        content = Content()

        def choose(columns: Columns) -> BoolArray:
            content.add(
                columns.scalar("run"),
                columns.scalar("event"),
                columns.offsets("Track"),
                columns.flat("Track", "kappa"),
            )
            _require_runs_of(columns.scalar("run"), is_simulation=source.is_simulation)
            sqrt_s = columns.scalar("sqrt_s")
            energies.update((float(sqrt_s.min()), float(sqrt_s.max())))
            return self.preselect(columns)

        self._doubt(source)
        for start in range(0, source.n_events, self.options.chunksize):
            stop = min(start + self.options.chunksize, source.n_events)
            block = self._read(source, start, stop, choose)
            writer.extend(block)
            kept += block.n_events
            tell(Done(stop, kept, size * stop // source.n_events))
        raise_faults(source.path, content.repeated())
        n_produced = self._n_produced(source)
        entries = (0, source.n_events)
        writer.add_source(n_produced=n_produced, n_stored=kept, source=source.source, entries=entries)
        return Source(
            path=source.path,
            uuid=str(source.source),
            content=content.digest(),
            sample=content.sample(),
            is_simulation=source.is_simulation,
            sqrt_s=(min(energies), max(energies)) if energies else (),
            n_events=source.n_events,
            n_job=source.n_job,
            n_produced=n_produced,
            n_stored=kept,
            fallbacks=dict(source.fallbacks),
        )

    def _read(self, source: Dst | MappedNtuple, start: int, stop: int, choose: Callable[[Columns], BoolArray]) -> Block:
        """Return the chosen events; what is wrong with them is said with file and entries."""
        try:
            block = make_block(source.read(start, stop, self.options.runs, choose))
            require_finite(block)
        except (SchemaError, ValueError) as error:
            msg = f"{source.path}, entries {start} to {stop}: {error}"
            raise SchemaError(msg) from error
        return block

    def _doubt(self, source: Dst | MappedNtuple) -> None:
        """Refuse a user's own ntuple whose first numbers cannot be what their units say."""
        if self.options.mapping is None or self.options.trust_units or not source.n_events:
            return
        stop = min(self.options.chunksize, source.n_events)
        block = self._read(source, 0, stop, lambda columns: np.ones(columns.n_events, dtype=np.bool_))
        raise_faults(source.path, doubts(ArrayColumns(block.values, block.offsets, block.n_events)))

    def preselect(self, columns: Columns) -> BoolArray:
        """Return the events that the preselection keeps, (E,), decided on what the file will hold."""
        sqrt_s = float(columns.scalar("sqrt_s")[0])
        return PRESELECTIONS[self.options.preselection](SearchEvents(columns, self.options.cuts, sqrt_s))

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
