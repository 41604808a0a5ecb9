"""Reads a user's own flat ntuples: a TOML file says which of their branches is which column, and in which unit.

::

    tree = "ana"

    [columns]
    run = "runNo"
    sqrt_s = {value = 3.097, unit = "GeV"}
    Track_dr = {branch = "trk_dr", unit = "mm"}
    Track_phi0 = {branch = "trk_helix", index = 1, unit = "rad"}
    Track_dz = {branch = "trk_dz", counter = "n_trk", unit = "cm"}
    Track_charge = {branch = "trk_q", round = true}

Every column that has a unit in the column table says in which one it is given; a line ``units = "schema"`` before
``[columns]`` says that those which do not are given in ours. ``index`` takes one element of a fixed-size array,
``round`` makes integers of floats, and ``counter`` says how many elements of a fixed-size array are filled. ``sqrt_s``,
``field``, ``period`` and ``ip_x`` to ``ip_z`` may be left to the run table, and a file may have no showers at all: then
the selections that look at photons cannot run on it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import awkward as ak
import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.documents import Form, from_toml
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns, Jagged
from jpsi_lnv.analysis.events.inspection import friends_with, opened, tree_of, unequal_branches, unreadable_branch
from jpsi_lnv.analysis.events.ntuple_writer import make_block, require_finite
from jpsi_lnv.analysis.events.run_table import RunTable
from jpsi_lnv.analysis.events.schema import BRANCHES, conversion

_FORM: Final = Form("mapping", 'wanted TOML with tree = "NAME" and a table [columns]', SchemaError, loads=from_toml)
FROM_RUNS: Final = ("sqrt_s", "field", "period", "ip_x", "ip_y", "ip_z")
# Events that are read to check a file before it is converted.
CHECK_EVENTS: Final = 100
_JAGGED: Final = 2
_KEYS: Final = {"branch", "unit", "index", "value", "round", "counter"}
# Units that nobody writes otherwise.
_PURE: Final = ("", "e", "sigma", "1 * 1")
_UNITS: Final = "schema"
_TYPES: Final[dict[str, Any]] = {
    "branch": str,
    "unit": str,
    "index": int,
    "value": (int, float),
    "round": bool,
    "counter": str,
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one column comes from.

    Attributes:
        branch: Branch in the user's tree; empty for a constant.
        factor: Number that turns the user's unit into ours.
        index: Element of a fixed-size array; None: the branch is no such array.
        value: The constant.
        is_rounded: Whether floats become integers.
        counter: Branch that says how many elements of a fixed-size array are filled.
    """

    branch: str = ""
    factor: float = 1.0
    index: int | None = None
    value: float = 0.0
    is_rounded: bool = False
    counter: str = ""


@dataclass(frozen=True)
class NtupleMap:
    """A mapping file.

    Attributes:
        path: The file.
        tree: Name of the tree in the user's files.
        columns: Column of the table, such as ``Track_dr`` -> where it comes from.
    """

    path: str
    tree: str
    columns: Mapping[str, Source]

    @property
    def needs_runs(self) -> bool:
        """Whether some conditions of the runs are left to a run table."""
        return not set(FROM_RUNS) <= set(self.columns)


def read_map(path: str | Path) -> NtupleMap:
    """Read a mapping file and check it against the column table.

    Raises:
        SchemaError: One line for everything that is wrong: missing and unknown columns, unknown keys and units.
    """
    raw = _FORM.read(path)
    given = raw.get("columns")
    if not isinstance(raw.get("tree"), str) or not isinstance(given, dict):
        msg = f'mapping {path}: wanted tree = "NAME" and a table [columns]; got {sorted(raw)}'
        raise SchemaError(msg)
    units = raw.get("units")
    if units not in (None, _UNITS) or (unknown := sorted(set(raw) - {"tree", "units", "columns"})):
        msg = f"mapping {path}: got {f'units = {units!r}' if units not in (None, _UNITS) else unknown}; wanted tree, "
        msg += f'[columns] and, if all columns without a unit are in ours, units = "{_UNITS}"'
        raise SchemaError(msg)
    missing = [name for name in schema.missing_branches(given) if name not in FROM_RUNS]
    problems = [f"{name}: is missing ({wanted_type(name)})" for name in missing]
    columns = {}
    for name, entry in given.items():
        try:
            columns[name] = _source(name, entry, has_units=units == _UNITS)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    _raise(f"mapping {path}", problems)
    return NtupleMap(str(path), raw["tree"], columns)


class MappedNtuple:
    """An open ntuple of a user; made by `open_mapped`. It has the interface of `analysis.events.dst.Dst`.

    Attributes:
        path: Path or address.
        n_events: Events in the tree.
        source: UUID of the file.
        is_simulation: Whether its run numbers are negative; None without events.
        n_job: None: a flat ntuple does not say what its job processed.
        fallbacks: Empty: every branch is read by uproot.
    """

    n_job = None
    fallbacks: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: str, tree: Any, mapping: NtupleMap) -> None:
        self.path = path
        self.n_events = int(tree.num_entries)
        self.source: uuid.UUID = tree.file.uuid
        self._tree = tree
        self._map = mapping
        self._check()
        first = np.asarray(self._column("run", 0, min(1, self.n_events)))
        self.is_simulation = bool(first[0] < 0) if len(first) else None

    def read(
        self, start: int, stop: int, runs: RunTable, choose: Callable[[Columns], BoolArray] | None = None
    ) -> dict[str, AnyArray | Jagged]:
        """Return events `start` to `stop` in the columns of the table.

        Args:
            start: First event.
            stop: One more than the last event.
            runs: Conditions of the runs, for what the mapping leaves to them.
            choose: Preselection, ``(E,)``; None: all events.

        Raises:
            SchemaError: The run table is asked for an interaction point that it does not have.
            NtupleError: A run is not in the run table.
        """
        columns = self._read(start, stop, runs)
        if choose is None:
            return columns
        block = make_block(columns)
        require_finite(block)  # before the choice: it would drop them in silence
        block = block.select(choose(ArrayColumns(block.values, block.offsets, block.n_events)))
        return {n: (block.offsets[BRANCHES[n][0]], v) if BRANCHES[n][0] else v for n, v in block.values.items()}

    def _read(self, start: int, stop: int, runs: RunTable) -> dict[str, AnyArray | Jagged]:
        columns = {name: self._column(name, start, stop) for name in self._map.columns}
        missing = [name for name in FROM_RUNS if name not in columns]
        if not missing:
            return columns
        conditions = runs.look_up(np.asarray(columns["run"]))
        for name in missing:
            value = conditions.ip[:, "xyz".index(name[-1])] if name.startswith("ip_") else getattr(conditions, name)
            if np.isnan(value).any():
                msg = f"{self.path}: {name} is neither in mapping {self._map.path} nor in the run table; give one"
                raise SchemaError(msg)
            columns[name] = value
        return columns | {n: value for n, value in conditions.optional.items() if n not in columns}

    def _check(self) -> None:
        """Compare every column with the table on the first events.

        Raises:
            SchemaError: One line for all columns that are absent or of another type.
        """
        used = {b for s in self._map.columns.values() for b in (s.branch, s.counter) if b}
        absent = sorted(b for b in used if b not in self._tree)
        of_absent = [n for n, s in self._map.columns.items() if {s.branch, s.counter} & {*absent}]
        problems = unequal_branches(self._tree, sorted(used - {*absent}))
        if absent:
            words = f"{', '.join(of_absent)}: branch{'es' * (len(absent) > 1)} {', '.join(map(repr, absent))}"
            are = "are" if len(absent) > 1 else "is"
            problems.append(f"{words} {are} absent{friends_with(self._tree, absent)}")
        for name in (name for name in self._map.columns if name not in of_absent):
            try:
                self._column(name, 0, min(CHECK_EVENTS, self.n_events))
            except ValueError as error:
                problems.append(f"{name}: {error}")
        _raise(f"{self.path} with mapping {self._map.path}", problems)

    def _column(self, name: str, start: int, stop: int) -> AnyArray | Jagged:
        source = self._map.columns[name]
        collection, column = BRANCHES[name]
        if not source.branch:
            return np.full(stop - start, source.value).astype(column.dtype)
        array = _element(self._array(source.branch, start, stop), source)
        if collection:
            array = self._filled(array, source, start, stop)
        if array.ndim != (_JAGGED if collection else 1):
            msg = f"branch {source.branch!r} has type {array.type}, wanted {wanted_type(name)}"
            raise ValueError(msg)
        flat = _converted(ak.to_numpy(ak.flatten(array, axis=None)), source, np.dtype(column.dtype))
        if not collection:
            return flat
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(ak.to_numpy(ak.num(array)))]), flat

    def _array(self, branch: str, start: int, stop: int) -> ak.Array:
        try:
            return self._tree[branch].array(entry_start=start, entry_stop=stop, array_cache=None)
        except Exception as error:
            if isinstance(error, OSError):
                raise
            raise ValueError(unreadable_branch(self._tree[branch], error)) from error

    def _filled(self, array: ak.Array, source: Source, start: int, stop: int) -> ak.Array:
        """Return the filled elements of a fixed-size array; a list as it is, if it has as many as its counter says."""
        is_fixed = isinstance(array.layout, ak.contents.RegularArray)
        if not source.counter:
            if is_fixed:
                msg = f"branch {source.branch!r} has type {array.type.content}: its counter says how many elements are "
                msg += "filled; add counter = BRANCH, or take one element with index"
                raise ValueError(msg)
            return array
        counts = ak.to_numpy(self._array(source.counter, start, stop))
        lengths = ak.to_numpy(ak.num(array))
        is_wrong = (counts < 0) | (counts > lengths if is_fixed else counts != lengths)
        if is_wrong.any():
            bad = int(np.flatnonzero(is_wrong)[0])
            msg = f"entry {start + bad}: branch {source.branch!r} has {lengths[bad]} elements, its counter "
            msg += f"{source.counter!r} says {counts[bad]}"
            raise ValueError(msg)
        if not is_fixed:
            return array
        return ak.from_regular(array)[ak.from_regular(ak.local_index(array) < counts[:, np.newaxis])]


@contextmanager
def open_mapped(path: str, mapping: NtupleMap) -> Iterator[MappedNtuple]:
    """Open a user's ntuple and check it against the mapping and the column table.

    Raises:
        NtupleError: The file cannot be read or has no such tree.
        SchemaError: Columns are absent or of another type; all of them are named.
    """
    with opened(path) as file:
        yield MappedNtuple(path, tree_of(path, file, mapping.tree), mapping)


def _source(name: str, entry: Any, *, has_units: bool) -> Source:
    if name not in BRANCHES:
        msg = "is not in the column table (analysis/events/schema.py)"
        raise ValueError(msg)
    collection, column = BRANCHES[name]
    entry = {"branch": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not set(entry) <= _KEYS or ("branch" in entry) == ("value" in entry):
        msg = f"got {entry!r}, wanted a branch name or a table of {sorted(_KEYS)} with either branch or value"
        raise ValueError(msg)
    if "value" in entry and collection:
        msg = "a constant serves event scalars only"
        raise ValueError(msg)
    if "value" in entry and column.dtype.startswith("int") and not isinstance(entry["value"], int):
        msg = f"got {entry['value']!r}, wanted an integer"
        raise ValueError(msg)
    wrong = [k for k, kind in _TYPES.items() if k in entry and (type(entry[k]) is bool) != (kind is bool)]
    if wrong := wrong or [k for k, kind in _TYPES.items() if k in entry and not isinstance(entry[k], kind)]:
        msg = f"{wrong[0]} is {entry[wrong[0]]!r}, wanted {getattr(_TYPES[wrong[0]], '__name__', 'number')}"
        raise ValueError(msg)
    if "unit" not in entry and not has_units and column.unit not in _PURE:
        msg = f'names no unit; wanted one such as unit = "{column.unit}", or a line units = "{_UNITS}" before '
        msg += "[columns] if all columns are in the units of the column table"
        raise ValueError(msg)
    factor = conversion(entry["unit"], column.unit) if "unit" in entry else 1.0
    return Source(
        branch=entry.get("branch", ""),
        factor=factor,
        index=entry.get("index"),
        value=factor * entry.get("value", 0.0),
        is_rounded=entry.get("round", False),
        counter=entry.get("counter", ""),
    )


def _element(array: ak.Array, source: Source) -> ak.Array:
    """Return one element of a fixed-size array, or the array itself where no element is asked for."""
    if source.index is None:
        return array
    try:
        return array[..., source.index]
    except (IndexError, ValueError, TypeError):
        msg = f"branch {source.branch!r} has type {array.type} and no element {source.index}"
        raise ValueError(msg) from None


def _converted(flat: AnyArray, source: Source, wanted: np.dtype[Any]) -> AnyArray:
    if source.is_rounded:
        flat = np.rint(flat).astype(np.int64)
    values = flat if source.factor == 1.0 else flat * source.factor
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        msg = f"branch {source.branch!r} has {values.dtype}, wanted {wanted}; if it holds integers, add round = true"
        raise ValueError(msg)
    return values


def wanted_type(name: str) -> str:
    """Return type, unit and meaning of a column in words."""
    collection, column = BRANCHES[name]
    per = f" per {collection.lower()}" if collection else " per event"
    return f"{column.dtype}{per}{f' in {column.unit}' if column.unit else ''}: {column.meaning}"


def _raise(where: str, problems: list[str]) -> None:
    if problems:
        msg = f"{where}: {len(problems)} column(s) do not fit\n  " + "\n  ".join(problems)
        raise SchemaError(msg)
