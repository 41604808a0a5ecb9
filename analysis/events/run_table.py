"""What a `.dst` does not hold: interaction point, centre-of-mass energy, field and period of each run.

A run table is a JSON file::

    {"runs": [{"first": 9947, "last": 10878, "sqrt_s": 3.0969, "field": 1.0, "period": 2009, "ip": [0.1, -0.1, 0.2]}]}

Numbers of simulated runs are negative; the table holds their absolute values. ``ip`` (cm) may be left out: then the
vertices of the file serve. Without any table `Conditions` gives one value for all runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import NtupleError

PERIODS: Final = (2009, 2012, 2018)
_FORM: Final = '{"first": int, "last": int, "sqrt_s": GeV, "field": T, "period": int, "ip": [x, y, z] in cm}'
_TABLE: Final = Form("run table", f'wanted {{"runs": [{_FORM}, ...]}}', NtupleError)
_ENTRIES: Final = {"first", "last", "sqrt_s", "field", "period", "ip"}
_N_AXES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of a range of runs.

    Attributes:
        sqrt_s: Centre-of-mass energy in GeV.
        field: Magnetic field in T.
        period: Data-taking period: 2009, 2012 or 2018 (2017-19).
        ip: Interaction point in cm; None: take it from the file.
        first: First run, absolute value.
        last: Last run, absolute value.
    """

    sqrt_s: float
    field: float = 1.0
    period: int = 2018
    ip: tuple[float, float, float] | None = None
    first: int = 0
    last: int = np.iinfo(np.int32).max


@dataclass(frozen=True)
class RunTable:
    """Conditions by run, in rising order of runs."""

    rows: tuple[Conditions, ...]
    source: str = "the conditions given"

    def look_up(self, run: npt.ArrayLike) -> RunColumns:
        """Return the conditions of each event.

        Args:
            run: (E,) run numbers; the sign, which marks simulation, does not count.

        Raises:
            NtupleError: A run is not in the table.
        """
        number = np.abs(np.asarray(run, dtype=np.int64))
        row = np.searchsorted([c.first for c in self.rows], number, side="right") - 1
        is_covered = (row >= 0) & (number <= np.array([c.last for c in self.rows])[row])
        if not is_covered.all():
            runs = sorted({int(n) for n in number[~is_covered]})
            msg = f"run {runs[0]} ({len(runs)} runs in all) is not in {self.source}; add its range"
            raise NtupleError(msg)
        scalars = {n: np.array([getattr(c, n) for c in self.rows])[row] for n in ("sqrt_s", "field", "period")}
        return RunColumns(**scalars, ip=self._points()[row])

    def _points(self) -> FloatArray:
        unknown = (math.nan,) * _N_AXES
        return np.array([c.ip or unknown for c in self.rows], dtype=np.float64)


@dataclass(frozen=True)
class RunColumns:
    """Conditions of E events: (E,) each, and ``ip`` (E, 3), NaN where the table has none."""

    sqrt_s: FloatArray
    field: FloatArray
    period: IntArray
    ip: FloatArray


def uniform(conditions: Conditions) -> RunTable:
    """Return the table that gives every run the same conditions."""
    return RunTable((conditions,))


def read_run_table(path: str | Path) -> RunTable:
    """Read and check a run table.

    Raises:
        NtupleError: The file cannot be read, an entry is missing, unknown or of another type, or ranges overlap.
    """
    name = f"run table {path}"
    entries = _TABLE.read(path).get("runs")
    if not isinstance(entries, list) or not entries:
        msg = f'{name}: wanted {{"runs": [{_FORM}, ...]}}'
        raise NtupleError(msg)
    rows = sorted((_row(name, i, entry) for i, entry in enumerate(entries)), key=lambda c: c.first)
    for before, after in itertools.pairwise(rows):
        if after.first <= before.last:
            msg = f"{name}: runs {after.first} to {min(before.last, after.last)} stand in two ranges"
            raise NtupleError(msg)
    return RunTable(tuple(rows), name)


def _row(name: str, place: int, entry: Any) -> Conditions:
    where = f"{name}, entry {place}"
    given = set(entry) if isinstance(entry, Mapping) else set()
    if not (_ENTRIES - {"ip"} <= given <= _ENTRIES):
        msg = f"{where}: got {sorted(given)}, wanted {_FORM}; only 'ip' may be left out"
        raise NtupleError(msg)
    wrong = [key for key, value in entry.items() if not _is_right(key, value)]
    if wrong or entry["last"] < entry["first"]:
        key = wrong[0] if wrong else "last"
        msg = f"{where}: {key!r} is {entry[key]!r}, wanted {_FORM}, first <= last, period one of {PERIODS}"
        raise NtupleError(msg)
    return Conditions(**{**entry, "ip": tuple(entry["ip"]) if "ip" in entry else None})


def _is_right(key: str, value: Any) -> bool:
    if key == "ip":
        return isinstance(value, list) and len(value) == _N_AXES and all(_is_number(v) for v in value)
    if key == "period":
        return value in PERIODS
    if key in ("first", "last"):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def describe(conditions: Conditions) -> str:
    """Return the conditions as a short text for a warning."""
    return f"sqrt(s) = {conditions.sqrt_s} GeV, field = {conditions.field} T, period = {conditions.period}"
