"""What a `.dst` does not hold: interaction point, centre-of-mass energy, field and period of each run.

A run table is a JSON file::

    {"runs": [{"first": 9947, "last": 10878, "sqrt_s": 3.0969, "field": 1.0, "period": 2009, "ip": [0.1, -0.1, 0.2]}]}

Numbers of simulated runs are negative; the table holds their absolute values. What may be left out: ``ip`` (cm), for
which the vertices of the file serve; ``ip_sigma`` (cm), the spread of the collisions about it; and ``p4``, the
four-momentum (px, py, pz, E) of the beams in GeV, which otherwise follows from ``sqrt_s`` and the crossing angle.
Without any table `Conditions` gives one value for all runs.

`from_offlinedb` takes interaction points from a copy of BESIII's data base.
"""

from __future__ import annotations

import itertools
import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import LnvError, NtupleError
from jpsi_lnv.analysis.kinematics import initial_four_momentum

PERIODS: Final = (2009, 2012, 2018)
_FORM: Final = (
    '{"first": int, "last": int, "sqrt_s": GeV, "field": T, "period": int, "ip": [x, y, z] in cm, '
    '"ip_sigma": [x, y, z] in cm, "p4": [px, py, pz, E] in GeV}'
)
_TABLE: Final = Form("run table", f'wanted {{"runs": [{_FORM}, ...]}}', NtupleError)
# Entries that may be left out -> numbers in them.
_N_AXES: Final = 3
_LISTS: Final = {"ip": _N_AXES, "ip_sigma": _N_AXES, "p4": 4}
_NEEDED: Final = {"first", "last", "sqrt_s", "field", "period"}
# Columns of an ntuple that hold what may be left out.
IP_SIGMA: Final = ("ip_sigma_x", "ip_sigma_y", "ip_sigma_z")
BEAM_P4: Final = ("beam_px", "beam_py", "beam_pz", "beam_energy")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of a range of runs.

    Attributes:
        sqrt_s: Centre-of-mass energy in GeV.
        field: Magnetic field in T.
        period: Data-taking period: 2009, 2012 or 2018 (2017-19).
        ip: Interaction point in cm; None: take it from the file.
        ip_sigma: Spread of the collisions about it in cm; None: not known.
        p4: Four-momentum (px, py, pz, E) of the beams in GeV; None: that of `sqrt_s`.
        first: First run, absolute value.
        last: Last run, absolute value.
    """

    sqrt_s: float
    field: float = 1.0
    period: int = 2018
    ip: tuple[float, float, float] | None = None
    ip_sigma: tuple[float, float, float] | None = None
    p4: tuple[float, float, float, float] | None = None
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
        row = find_range(self.rows, np.abs(np.asarray(run, dtype=np.int64)), self.source)
        scalars = {n: np.array([getattr(c, n) for c in self.rows])[row] for n in ("sqrt_s", "field", "period")}
        return RunColumns(**scalars, ip=self._points("ip")[row], optional=self._optional(row))

    def _optional(self, row: IntArray) -> dict[str, FloatArray]:
        columns: dict[str, FloatArray] = {}
        if any(c.ip_sigma for c in self.rows):
            columns |= dict(zip(IP_SIGMA, self._points("ip_sigma")[row].T, strict=True))
        if any(c.p4 for c in self.rows):
            p4 = np.array([c.p4 or initial_four_momentum(c.sqrt_s) for c in self.rows], dtype=np.float64)
            columns |= dict(zip(BEAM_P4, p4[row].T, strict=True))
        return columns

    def _points(self, name: str) -> FloatArray:
        unknown = (math.nan,) * _LISTS[name]
        return np.array([getattr(c, name) or unknown for c in self.rows], dtype=np.float64)


@dataclass(frozen=True)
class RunColumns:
    """Conditions of E events: (E,) each; ``ip`` (E, 3), NaN where the table has none.

    `optional` holds the columns `IP_SIGMA` and `BEAM_P4`, (E,) each, where the table says anything of them.
    """

    sqrt_s: FloatArray
    field: FloatArray
    period: IntArray
    ip: FloatArray
    optional: Mapping[str, FloatArray]


class Ranged(Protocol):
    """Whatever holds for the runs from `first` to `last`, absolute values."""

    @property
    def first(self) -> int:
        """First run."""

    @property
    def last(self) -> int:
        """Last run."""


def find_range(ranges: Sequence[Ranged], number: IntArray, source: str) -> IntArray:
    """Return the place of the range that holds each number of a run, (E,).

    Args:
        ranges: Ranges in rising order.
        number: (E,) absolute values of run numbers.
        source: What they are ranges of, for messages.

    Raises:
        NtupleError: A run is in none of them.
    """
    row = np.searchsorted([r.first for r in ranges], number, side="right") - 1
    is_covered: BoolArray = (row >= 0) & (number <= np.array([r.last for r in ranges] or [-1])[row])
    if not is_covered.all():
        runs = sorted({int(n) for n in number[~is_covered]})
        msg = f"run {runs[0]} ({len(runs)} runs in all) is not in {source}; add its range"
        raise NtupleError(msg)
    return row


def refuse_overlap(ranges: Sequence[Ranged], name: str, error: type[LnvError] = NtupleError) -> None:
    """Raise the error if two of some ranges, in rising order, hold one run."""
    for before, after in itertools.pairwise(ranges):
        if after.first <= before.last:
            msg = (
                f"{name}: runs {after.first} to {min(before.last, after.last)} stand in two ranges; "
                "wanted each run in one: mend first or last"
            )
            raise error(msg)


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
    refuse_overlap(rows, name)
    if (without := next((c for c in rows if c.ip_sigma is None), None)) and any(c.ip_sigma for c in rows):
        msg = (
            f"{name}: runs {without.first} to {without.last} have no 'ip_sigma', others have; wanted it for all or none"
        )
        raise NtupleError(msg)
    return RunTable(tuple(rows), name)


def _row(name: str, place: int, entry: Any) -> Conditions:
    where = f"{name}, entry {place}"
    given = set(entry) if isinstance(entry, Mapping) else set()
    if not (_NEEDED <= given <= _NEEDED | set(_LISTS)):
        msg = f"{where}: got {sorted(given)}, wanted {_FORM}; only {', '.join(map(repr, _LISTS))} may be left out"
        raise NtupleError(msg)
    wrong = [key for key, value in entry.items() if not _is_right(key, value)]
    if wrong or entry["last"] < entry["first"]:
        key = wrong[0] if wrong else "last"
        msg = f"{where}: {key!r} is {entry[key]!r}, wanted {_FORM}, first <= last, period one of {PERIODS}"
        raise NtupleError(msg)
    return Conditions(**{**entry, **{key: tuple(entry[key]) for key in _LISTS if key in entry}})


def _is_right(key: str, value: Any) -> bool:
    if key in _LISTS:
        is_list = isinstance(value, list) and len(value) == _LISTS[key] and all(_is_number(v) for v in value)
        return is_list and (key != "ip_sigma" or min(value) > 0) and (key != "p4" or _is_time_like(value))
    if key == "period":
        return value in PERIODS
    if key in ("first", "last"):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return _is_number(value) and value > 0


def _is_time_like(p4: Sequence[float]) -> bool:
    return p4[3] > math.hypot(*p4[:3])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def describe(conditions: Conditions) -> str:
    """Return the conditions as a short text for a warning."""
    return f"sqrt(s) = {conditions.sqrt_s} GeV, field = {conditions.field} T, period = {conditions.period}"


def to_json(table: RunTable) -> dict[str, Any]:
    """Return a table as `read_run_table` reads it."""
    return {"runs": [{k: v for k, v in vars(c).items() if v is not None} for c in table.rows]}


# Runs of the J/psi samples (BOSS's ParticleID lists them), their field (publication, II) and the energy that analyses
# take for them.
JPSI_RUNS: Final = RunTable(
    (
        Conditions(sqrt_s=M_JPSI, field=1.0, period=2009, first=9947, last=10878),
        Conditions(sqrt_s=M_JPSI, field=0.9, period=2012, first=27255, last=28236),
        Conditions(sqrt_s=M_JPSI, field=1.0, period=2018, first=52940, last=54976),
        Conditions(sqrt_s=M_JPSI, field=1.0, period=2018, first=55861, last=56546),
        Conditions(sqrt_s=M_JPSI, field=1.0, period=2018, first=56788, last=59015),
    ),
    "the runs of the J/psi samples",
)
_VERSIONS: Final = (
    "SELECT RunFrom, RunTo, SftVer, ParVer FROM CalVtxLumVer WHERE BossRelease = ? AND DataType = 'LumVtx'"
)
_BEAM: Final = (
    "SELECT RunNo, Vx, Vy, Vz, SigmaVx, SigmaVy, SigmaVz FROM BeamPar "
    "WHERE SftVer = ? AND ParVer = ? AND RunNo BETWEEN ? AND ? ORDER BY rowid"
)


def from_offlinedb(path: Path, release: str, runs: RunTable) -> RunTable:
    """Return one row per run with the interaction point and its spread of a SQLite copy of BESIII's `offlinedb`.

    As BOSS's VertexDbSvc: the table CalVtxLumVer says which version of the parameters a release takes for a run, and
    BeamPar holds them, in cm; of several rows of a run the last one counts.

    Args:
        path: The data base.
        release: Release of BOSS, such as ``7.0.8``.
        runs: Ranges of the runs wanted, with their energy, field and period.

    Raises:
        NtupleError: It is no such data base, or has no parameters of the release for any of the runs.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            versions = db.execute(_VERSIONS, (release,)).fetchall()
            known = {row[0]: row[1:] for of in versions for row in db.execute(_BEAM, (of[2], of[3], of[0], of[1]))}
            releases = {str(r) for (r,) in db.execute("SELECT DISTINCT BossRelease FROM CalVtxLumVer")}
    except sqlite3.Error as error:
        msg = f"{path}: is no SQLite copy of offlinedb ({error}); wanted its tables CalVtxLumVer and BeamPar"
        raise NtupleError(msg) from None
    rows = [
        replace(c, first=n, last=n, **_point(path, n, known[n]))
        for c in runs.rows
        for n in sorted(n for n in known if c.first <= n <= c.last)
    ]
    if not rows:
        msg = (
            f"{path}: has no interaction points of release {release!r} for {runs.source}; it knows "
            f"{', '.join(sorted(releases)) or 'no release'}: give one of them with --release, or other runs"
        )
        raise NtupleError(msg)
    return RunTable(tuple(rows), f"run table from {path}")


def _point(path: Path, run: int, values: Sequence[Any]) -> dict[str, Any]:
    ip, sigma = tuple(values[:_N_AXES]), tuple(values[_N_AXES:])
    if not all(map(_is_number, values)) or min(sigma) <= 0:
        msg = f"{path}: run {run} has Vx to SigmaVz {list(values)}; wanted six numbers in cm, the last three positive"
        raise NtupleError(msg)
    return {"ip": ip, "ip_sigma": sigma}
