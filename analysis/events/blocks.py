"""Runs of events as plain arrays, checked against the column table: what the ntuple writer takes.

A column is ``(E,)`` values for an event scalar, or ``(offsets, values)`` for a column of a collection: ``offsets`` is
``(E + 1,)``, ``values`` is ``(N,)`` with ``N = offsets[-1] - offsets[0]``; event ``i`` owns
``values[offsets[i] - offsets[0] : offsets[i + 1] - offsets[0]]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, IntArray
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events import schema

Jagged = tuple[AnyArray, AnyArray]
Columns = Mapping[str, AnyArray | Jagged]

# Branch name -> (collection, column).
BRANCHES: dict[str, tuple[str, schema.Column]] = {
    schema.branch(name, column.name): (name, column)
    for name, columns in schema.COLLECTIONS.items()
    for column in columns
}


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


def make_block(columns: Columns) -> Block:
    """Return the columns as a block.

    Args:
        columns: Branch name -> ``(E,)`` array or ``(offsets, values)``; every required branch of the column table.

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


def empty_block() -> Block:
    """Return no events with the required columns of the table."""
    offsets = {name: np.zeros(1, np.int64) for name in schema.COLLECTIONS if name and _is_required(name)}
    return Block(0, offsets, {b: np.empty(0, BRANCHES[b][1].dtype) for b in schema.required_branches()})


def concatenate(blocks: Sequence[Block]) -> Block:
    """Return the blocks, one after the other; their branches must be the same."""
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]
    values = {b: np.concatenate([block.values[b] for block in blocks]) for b in first.values}
    offsets = {name: _joined(block.offsets[name] for block in blocks) for name in first.offsets}
    return Block(sum(block.n_events for block in blocks), offsets, values)


def _joined(pieces: Iterable[IntArray]) -> IntArray:
    counts = [np.diff(p) for p in pieces]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])


def _is_required(collection: str) -> bool:
    return any(c.required for c in schema.COLLECTIONS[collection])


def _check_names(columns: Columns) -> None:
    missing = [b for b in schema.required_branches() if b not in columns]
    if missing:
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
