"""Writes ntuples: TTree `Events` of the column table and TTree `Meta` with the counts of each source file.

What is written comes as plain arrays, which are checked against the column table first. A column is ``(E,)`` values for
an event scalar, or ``(offsets, values)`` for a column of a collection: ``offsets`` is ``(E + 1,)``, ``values`` is
``(N,)`` with ``N = offsets[-1] - offsets[0]``; event ``i`` owns
``values[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]``.

A file appears under its name only when it is complete: it is written under a temporary name beside it and renamed at
the end, so a killed job leaves no ntuple that looks whole.
"""

from __future__ import annotations

import glob
import mmap
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import awkward as ak
import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, IntArray
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import Jagged, unfit, wanted_values
from jpsi_lnv.analysis.events.schema import BRANCHES

COMPRESSION: Final = uproot.ZSTD(1)
# Read for every event, and noise down to the last bits: compressed, such a column is an eighth smaller, a file by three
# in a hundred, and it takes more than twice as long to read.
UNCOMPRESSED: Final = tuple(f"Track_{name}" for name in (*schema.HELIX, "dedx_chi_e", "dedx_chi_pi", "dedx_chi_k"))
# Chunks of a run end at basket edges, so a basket is about one chunk: smaller ones cost calls, larger ones memory.
BASKET_EVENTS: Final = 32_768
# One part in so many is room for columns that get longer than the first events of a basket let expect.
ROOM_SHARE: Final = 8
# How the name of a file ends that is not complete.
PARTIAL: Final = ".part"
_HALF: Final = 64

Arrays = Mapping[str, AnyArray | Jagged]


@dataclass(frozen=True)
class Block:
    """Events with the types of the column table.

    Attributes:
        n_events: Number of events E.
        offsets: Per collection ``(E + 1,)`` int64, starting at 0.
        values: Per branch ``(E,)`` or, in a collection, ``(N,)``.
    """

    n_events: int
    offsets: dict[str, IntArray]
    values: dict[str, AnyArray]

    def cut(self, start: int, stop: int) -> Block:
        """Return events ``start`` to ``stop``."""
        bounds = {name: (o[start], o[stop]) for name, o in self.offsets.items()} | {"": (start, stop)}
        values = {b: v[slice(*bounds[BRANCHES[b][0]])] for b, v in self.values.items()}
        offsets = {name: o[start : stop + 1] - o[start] for name, o in self.offsets.items()}
        return Block(stop - start, offsets, values)

    def select(self, chosen: BoolArray) -> Block:
        """Return the chosen events, ``(E,)``, in their order."""
        entries = {name: np.repeat(chosen, np.diff(o)) for name, o in self.offsets.items()} | {"": chosen}
        values = {b: v[entries[BRANCHES[b][0]]] for b, v in self.values.items()}
        offsets = {name: np.concatenate([[0], np.cumsum(np.diff(o)[chosen])]) for name, o in self.offsets.items()}
        return Block(int(np.count_nonzero(chosen)), offsets, values)


def make_block(columns: Arrays) -> Block:
    """Return the columns as a block.

    Args:
        columns: Branch name -> ``(E,)`` array or ``(offsets, values)``; every required branch of the column table, but
            for collections that a file may lack.

    Raises:
        SchemaError: A required column is missing, a column is not in the table, does not convert, or lengths differ.
    """
    _check_names(columns)
    n_events = len(np.asarray(columns["run"]))
    offsets: dict[str, IntArray] = {}
    values: dict[str, AnyArray] = {}
    for name, given in columns.items():
        collection = BRANCHES[name][0]
        length = n_events
        flat: Any = given
        if collection:
            own, flat = _split(name, given)
            length = _agree(name, own, offsets.setdefault(collection, own), n_events)
        values[name] = _converted(name, np.asarray(flat), length)
    return Block(n_events, offsets, values)


def require_finite(block: Block) -> None:
    """Refuse values that are not finite, and say in which event they are.

    Raises:
        SchemaError: There are some; every such column is named.
    """
    found = []
    for name, values in block.values.items():
        collection = BRANCHES[name][0]
        if (bad := unfit(values, np.dtype(BRANCHES[name][1].dtype))) is not None:
            entry = int(np.searchsorted(block.offsets[collection], bad, side="right")) - 1 if collection else bad
            event = f"run {block.values['run'][entry]}, event {block.values['event'][entry]}"
            found.append(f"column {name}: {event} has {values[bad]}, wanted {wanted_values(name)}")
    if found:
        raise SchemaError("; ".join(found))


def empty_block() -> Block:
    """Return no events with the required columns of the table."""
    offsets = {name: np.zeros(1, np.int64) for name in schema.COLLECTIONS if name and _is_required(name)}
    return Block(0, offsets, {b: np.empty(0, BRANCHES[b][1].dtype) for b in schema.required_branches()})


def _is_required(collection: str) -> bool:
    return any(c.required for c in schema.COLLECTIONS[collection])


def _check_names(columns: Arrays) -> None:
    if missing := schema.missing_branches(columns):
        msg = f"{len(missing)} required columns are missing: {', '.join(missing)} (see analysis/events/schema.py)"
        raise SchemaError(msg)
    unknown = [b for b in columns if b not in BRANCHES]
    if unknown:
        msg = f"columns that the table does not know: {', '.join(unknown)} (see analysis/events/schema.py)"
        raise SchemaError(msg)


def _split(name: str, given: Any) -> tuple[IntArray, AnyArray]:
    if not isinstance(given, tuple):
        msg = f"column {name}: got {type(given).__name__}, wanted (offsets, values): it belongs to a collection"
        raise SchemaError(msg)
    own = np.asarray(given[0], dtype=np.int64)
    return own - own[0], np.asarray(given[1])


def _agree(name: str, own: IntArray, collection: IntArray, n_events: int) -> int:
    if len(own) != n_events + 1 or np.any(np.diff(own) < 0):
        msg = f"column {name}: got {len(own)} offsets for {n_events} events, wanted {n_events + 1} that do not fall"
        raise SchemaError(msg)
    if own is not collection and not np.array_equal(own, collection):
        msg = f"column {name}: its offsets differ from those of the other columns of its collection"
        raise SchemaError(msg)
    return int(own[-1])


def _converted(name: str, values: AnyArray, length: int) -> AnyArray:
    wanted = np.dtype(BRANCHES[name][1].dtype)
    if values.shape != (length,):
        msg = f"column {name}: got shape {values.shape}, wanted ({length},)"
        raise SchemaError(msg)
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        msg = f"column {name}: got {values.dtype}, wanted {wanted} or what converts to it without loss of kind"
        raise SchemaError(msg)
    if wanted.kind == "i" and values.size and not np.can_cast(values.dtype, wanted, "safe"):
        _check_range(name, values, wanted)
    return values.astype(wanted, copy=False)


def _check_range(name: str, values: AnyArray, wanted: np.dtype[Any]) -> None:
    low, high, limits = values.min(), values.max(), np.iinfo(wanted)
    if low < limits.min or high > limits.max:
        msg = f"column {name}: values {low} to {high} do not fit {wanted} ({limits.min} to {limits.max})"
        raise SchemaError(msg)


class _Pending:
    """Events that wait until their basket is full.

    They are copied once, to where they are written from. Room is made for a whole basket, which costs memory as it is
    filled.

    Args:
        most: Events of a basket.
    """

    def __init__(self, most: int) -> None:
        self.n_events = 0
        self._most = most
        self._offsets: dict[str, IntArray] = {}
        self._values: dict[str, AnyArray] = {}

    def add(self, block: Block) -> Block:
        """Append events while there is room, and return the others."""
        taken = min(self._most - self.n_events, block.n_events)
        fitting = block.cut(0, taken)
        for name, values in fitting.values.items():
            start = self._length(BRANCHES[name][0])
            self._make_room(name, start, values, taken)
            self._values[name][start : start + len(values)] = values
        for name, own in fitting.offsets.items():
            all_of = self._offsets.setdefault(name, np.zeros(self._most + 1, np.int64))
            all_of[self.n_events : self.n_events + taken + 1] = all_of[self.n_events] + own
        self.n_events += taken
        return block.cut(taken, block.n_events)

    def take(self) -> Block:
        """Return the events, as views that hold until the next are added; without any call of `add`, no events."""
        values = {name: room[: self._length(BRANCHES[name][0])] for name, room in self._values.items()}
        offsets = {name: all_of[: self.n_events + 1] for name, all_of in self._offsets.items()}
        block = Block(self.n_events, offsets, values) if values else empty_block()
        self.n_events = 0
        return block

    def _length(self, collection: str) -> int:
        """Return the values that a column of a collection has."""
        if not collection:
            return self.n_events
        return int(self._offsets[collection][self.n_events]) if collection in self._offsets else 0

    def _make_room(self, name: str, start: int, values: AnyArray, n_events: int) -> None:
        """Make room for as many values as a basket will have if all its events are like these."""
        room, wanted = self._values.get(name, values[:0]), start + len(values)
        if name in self._values and wanted <= len(room):
            return
        expected = start + len(values) * (self._most - self.n_events) // max(n_events, 1)
        self._values[name] = _untouched(max(wanted, expected + expected // ROOM_SHARE), values.dtype)
        self._values[name][:start] = room[:start]


def _untouched(n: int, dtype: np.dtype[Any]) -> AnyArray:
    """Return an array whose pages cost memory when they are first written, which those of freed arrays did already."""
    return np.frombuffer(mmap.mmap(-1, max(n, 1) * dtype.itemsize), dtype, n)


class NtupleWriter:
    """Writes one ntuple; a context manager.

    ::

        with NtupleWriter("samples/demo/signal_0.root") as writer:
            writer.extend({"run": run, "Track_kappa": (offsets, kappa), ...})
            writer.add_source(n_produced=40_000, n_stored=40_000)

    `extend` takes any number of events; baskets end at multiples of `basket_events` whatever the calls were, so the
    file depends on the events alone. The first `extend` fixes which optional columns the file has. If no source is
    added, one is written whose two counts are the events of the file. An error inside the ``with`` removes the
    temporary file and leaves a former file of that name untouched.

    Args:
        path: File to write; its directory is made if needed.
        basket_events: Events per basket.
    """

    def __init__(self, path: str | os.PathLike[str], *, basket_events: int = BASKET_EVENTS) -> None:
        self.path = Path(path)
        self.n_events = 0
        self._basket_events = basket_events
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PARTIAL}")
        self._pending = _Pending(basket_events)
        self._sources: list[tuple[int, ...]] = []
        self._file: Any = None
        self._tree: Any = None
        self._branches: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = uproot.recreate(self._partial, compression=COMPRESSION)
        except OSError as error:
            raise self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except OSError as failure:
            raise self._failure(failure) from failure
        finally:
            self._abandon()

    def extend(self, columns: Arrays | Block) -> None:
        """Append events.

        Args:
            columns: Branch name -> ``(E,)`` array, or ``(offsets (E + 1,), values (N,))`` in a collection; any dtype
                that converts to the one of the column table. Or a `Block`, which has been checked already.

        Raises:
            SchemaError: The columns are not those of the table, or not those of the first call.
            NtupleError: The file cannot be written, for example because the disk is full.
        """
        block = columns if isinstance(columns, Block) else make_block(columns)
        self._check_layout(block)
        self.n_events += block.n_events
        rest = self._pending.add(block)
        while self._pending.n_events == self._basket_events:
            self._write(self._pending.take())
            rest = self._pending.add(rest)

    def add_source(
        self, *, n_produced: int, n_stored: int, source: uuid.UUID | None = None, entries: tuple[int, int] = (0, 0)
    ) -> None:
        """Record one source of the events, a row of `Meta`.

        Args:
            n_produced: Events generated or recorded: what the normalisation divides by.
            n_stored: Events of this source in this file.
            source: UUID of the source file; None for events that were generated here.
            entries: First entry of the source file that was looked at, and one more than the last.
        """
        self._sources.append((n_produced, n_stored, source.int if source else 0, *entries))

    def _check_layout(self, block: Block) -> None:
        names = tuple(sorted(block.values))
        if self._branches and names != self._branches:
            changed = ", ".join(sorted(set(names) ^ set(self._branches)))
            msg = f"{self.path}: the optional columns differ from those of the first call: {changed}"
            raise NtupleError(msg)
        self._branches = names

    def _write(self, block: Block) -> None:
        try:
            if self._tree is None:
                self._tree = self._make_tree(block)
            if block.n_events:
                self._tree.extend(_tree_data(block))
        except OSError as error:
            raise self._failure(error) from error

    def _make_tree(self, block: Block) -> Any:
        tree = self._file.mktree(schema.TREE, _tree_types(block))
        for name in UNCOMPRESSED:
            tree[name].compression = None
        return tree

    def _finish(self) -> None:
        self._write(self._pending.take())
        sources = self._sources or [(self.n_events, self.n_events, 0, 0, 0)]
        meta = self._file.mktree(schema.META_TREE, {c.name: np.dtype(c.dtype) for c in schema.META})
        meta.extend(_meta_data(sources))
        self._file.close()
        self._partial.replace(self.path)

    def _abandon(self) -> None:
        """Close and remove the temporary file; after a rename there is none."""
        try:
            if not self._file.closed:
                self._file.close()
        except OSError:
            pass
        self._partial.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> NtupleError:
        return NtupleError(f"{self.path}: cannot write the ntuple: {error.strerror or error}")


def remove_partials(paths: Iterable[Path]) -> None:
    """Remove what killed workers left of ntuples half written; call it when no worker writes any more."""
    for path in paths:
        for partial in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def _names(block: Block, collection: str) -> list[str]:
    """Return the branches of one collection that the block has, in the order of the column table."""
    return [b for b, (owner, _) in BRANCHES.items() if owner == collection and b in block.values]


def _tree_types(block: Block) -> dict[str, Any]:
    types: dict[str, Any] = {b: np.dtype(BRANCHES[b][1].dtype) for b in _names(block, "")}
    for collection in block.offsets:
        columns = [BRANCHES[b][1] for b in _names(block, collection)]
        of_one = ak.types.RecordType([ak.types.NumpyType(c.dtype) for c in columns], [c.name for c in columns])
        types[collection] = ak.types.ListType(of_one)
    return types


def _tree_data(block: Block) -> dict[str, Any]:
    data: dict[str, Any] = {b: block.values[b] for b in _names(block, "")}
    for collection, offsets in block.offsets.items():
        record = ak.contents.RecordArray(
            [ak.contents.NumpyArray(np.ascontiguousarray(block.values[b])) for b in _names(block, collection)],
            [BRANCHES[b][1].name for b in _names(block, collection)],
            length=int(offsets[-1]),
        )
        data[collection] = ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(offsets), record))
    return data


def _meta_data(sources: list[tuple[int, ...]]) -> dict[str, np.ndarray[Any, Any]]:
    produced, stored, number, first, end = zip(*sources, strict=True)
    mask = (1 << _HALF) - 1
    return {
        "n_produced": np.array(produced, np.int64),
        "n_stored": np.array(stored, np.int64),
        "source_hi": np.array([n >> _HALF for n in number], np.uint64),
        "source_lo": np.array([n & mask for n in number], np.uint64),
        "first_entry": np.array(first, np.int64),
        "end_entry": np.array(end, np.int64),
    }
