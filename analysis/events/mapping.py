"""Reads a user's own flat ntuples: a TOML file says which of their branches is which column, and in which unit.

::

    tree = "ana"

    [columns]
    run = "runNo"
    sqrt_s = {value = 3.097}
    Track_dr = {branch = "trk_dr", unit = "mm"}
    Track_phi0 = {branch = "trk_helix", index = 1}
    Track_charge = {branch = "trk_q", round = true}

A name alone is a branch that has the unit and type of the column table. ``index`` takes one element of a fixed-size
array, ``round`` makes integers of floats. ``sqrt_s``, ``field``, ``period`` and ``ip_x`` to ``ip_z`` may be left to the
run table.

A unit is a product of names with `*` and `/`, and powers with `^`, such as ``mm``, ``c/MeV`` or ``mrad * cm^2``. The
speed of light counts as 1: GeV, GeV/c and GeV/c^2 have one dimension.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import awkward as ak
import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.documents import Form, from_toml
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns, Jagged
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import RunTable
from jpsi_lnv.analysis.events.schema import BRANCHES

_FORM: Final = Form("mapping", 'wanted TOML with tree = "NAME" and a table [columns]', SchemaError, loads=from_toml)
FROM_RUNS: Final = ("sqrt_s", "field", "period", "ip_x", "ip_y", "ip_z")
# Events that are read to check a file before it is converted.
CHECK_EVENTS: Final = 100
_JAGGED: Final = 2
_KEYS: Final = {"branch", "unit", "index", "value", "round"}

# Name -> (value in cm, GeV, ns, rad, T; dimension).
_ATOMS: Final[dict[str, tuple[float, str]]] = {
    "um": (1e-4, "length"),
    "mm": (0.1, "length"),
    "cm": (1.0, "length"),
    "m": (100.0, "length"),
    "keV": (1e-6, "energy"),
    "MeV": (1e-3, "energy"),
    "GeV": (1.0, "energy"),
    "TeV": (1e3, "energy"),
    "ps": (1e-3, "time"),
    "ns": (1.0, "time"),
    "us": (1e3, "time"),
    "s": (1e9, "time"),
    "mrad": (1e-3, ""),
    "rad": (1.0, ""),
    "deg": (0.017453292519943295, ""),
    "G": (1e-4, "field"),
    "kG": (0.1, "field"),
    "T": (1.0, "field"),
    "c": (1.0, ""),
    "e": (1.0, ""),
    "sigma": (1.0, ""),
    "1": (1.0, ""),
}
_TERM: Final = re.compile(r"([*/]?)\s*([A-Za-z]+|1)(?:\^(-?\d+))?\s*")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one column comes from.

    Attributes:
        branch: Branch in the user's tree; empty for a constant.
        factor: Number that turns the user's unit into ours.
        index: Element of a fixed-size array; None: the branch is no such array.
        value: The constant.
        is_rounded: Whether floats become integers.
    """

    branch: str = ""
    factor: float = 1.0
    index: int | None = None
    value: float = 0.0
    is_rounded: bool = False


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
    required = [name for name in schema.required_branches() if name not in FROM_RUNS]
    problems = [f"{name}: is missing ({_wanted(name)})" for name in required if name not in given]
    columns = {}
    for name, entry in given.items():
        try:
            columns[name] = _source(name, entry)
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
        is_simulation: Whether its run numbers are negative.
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
        self.is_simulation = bool((np.asarray(self._column("run", 0, 1)) < 0).any())

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
        return columns

    def _check(self) -> None:
        """Compare every column with the table on the first events.

        Raises:
            SchemaError: One line for all columns that are absent or of another type.
        """
        problems = []
        for name in self._map.columns:
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
        if source.branch not in self._tree:
            msg = f"branch {source.branch!r} is absent"
            raise ValueError(msg)
        array = self._tree[source.branch].array(entry_start=start, entry_stop=stop, array_cache=None)
        array = _element(array, source)
        if array.ndim != (_JAGGED if collection else 1):
            msg = f"branch {source.branch!r} has type {array.type}, wanted {_wanted(name)}"
            raise ValueError(msg)
        flat = _converted(ak.to_numpy(ak.flatten(array, axis=None)), source, np.dtype(column.dtype))
        if not collection:
            return flat
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(ak.to_numpy(ak.num(array)))]), flat


@contextmanager
def open_mapped(path: str, mapping: NtupleMap) -> Iterator[MappedNtuple]:
    """Open a user's ntuple and check it against the mapping and the column table.

    Raises:
        NtupleError: The file cannot be read or has no such tree.
        SchemaError: Columns are absent or of another type; all of them are named.
    """
    try:
        file = uproot.open({path: None})
    except Exception as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).strip().partition("\n")[0]
        msg = f"{path}: cannot be read as a ROOT file: {reason}"
        raise NtupleError(msg) from error
    with file:
        if mapping.tree not in file:
            msg = f"{path}: has no tree {mapping.tree!r}, which mapping {mapping.path} names; got {file.keys()}"
            raise NtupleError(msg)
        if not file[mapping.tree].num_entries:
            msg = f"{path}: the tree {mapping.tree!r} has no events; leave the file out"
            raise NtupleError(msg)
        yield MappedNtuple(path, file[mapping.tree], mapping)


def _source(name: str, entry: Any) -> Source:
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
    factor = conversion(entry["unit"], column.unit) if "unit" in entry else 1.0
    return Source(
        branch=entry.get("branch", ""),
        factor=factor,
        index=entry.get("index"),
        value=factor * entry.get("value", 0.0),
        is_rounded=entry.get("round", False),
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


def _wanted(name: str) -> str:
    collection, column = BRANCHES[name]
    per = f" per {collection.lower()}" if collection else " per event"
    return f"{column.dtype}{per}{f' in {column.unit}' if column.unit else ''}: {column.meaning}"


def _raise(where: str, problems: list[str]) -> None:
    if problems:
        msg = f"{where}: {len(problems)} column(s) do not fit\n  " + "\n  ".join(problems)
        raise SchemaError(msg)


def conversion(given: str, wanted: str) -> float:
    """Return the number that turns a value in the given unit into one in the wanted unit.

    Raises:
        ValueError: A unit is not known, or the two measure different things.
    """
    (value, dimension), (wanted_value, wanted_dimension) = _parse(given), _parse(wanted)
    if dimension != wanted_dimension:
        msg = f"{given!r} does not convert to {wanted!r}"
        raise ValueError(msg)
    return value / wanted_value


def _parse(unit: str) -> tuple[float, dict[str, int]]:
    """Return the value of a unit and the powers of its dimensions."""
    value, powers, place = 1.0, dict[str, int](), 0
    text = unit.strip()
    while place < len(text):
        term = _TERM.match(text, place)
        if term is None or term[2] not in _ATOMS or (place > 0) != bool(term[1]):
            msg = f"unit {unit!r} is not known; wanted products of {', '.join(_ATOMS)}"
            raise ValueError(msg)
        power = int(term[3] or 1) * (-1 if term[1] == "/" else 1)
        size, dimension = _ATOMS[term[2]]
        value *= size**power
        powers[dimension] = powers.get(dimension, 0) + power
        place = term.end()
    return value, {d: p for d, p in powers.items() if d and p}
