"""The correction of simulated helices: moved and smeared until the 4C fit pulls at them as it does in data.

Of a track under a mass hypothesis, phi0, kappa and tan(lambda) change independently by

    x -> x + m s + N(0, sqrt(w^2 - 1) s)

where s is their quoted error, and the mean m and the width w belong to species, charge and range of runs. dr, dz and
the covariance stay. Recorded events, whose runs are positive, are never corrected, nor are species without numbers. The
random numbers depend on run, event and place of the track alone, and are those of the track under every hypothesis.

Source: BESIII, PRD 87, 012002 (2013), doi:10.1103/PhysRevD.87.012002; BOSS's TrackCorrection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, RealArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError
from jpsi_lnv.analysis.events.columns import Columns, normal
from jpsi_lnv.analysis.objects.tracks import read_helix

FORMAT: Final = "jpsi-lnv helix 1"
PARAMETERS: Final = ("phi0", "kappa", "tanl")
# Columns of their squared errors, and the first stream of their random numbers.
VARIANCES: Final = ("cov5", "cov9", "cov14")
STREAM: Final = 100
SPECIES: Final = {"e": Species.E, "pi": Species.PI, "k": Species.K, "p": Species.P, "mu": Species.MU}

Three = tuple[float, float, float]
AtLeastOne = Annotated[float, Ge(1.0)]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The correction of one species and charge in a range of runs, as a file has it.

    Attributes:
        first: First run, without sign.
        last: Last run.
        species: e, mu, pi, k or p.
        charge: 1 or -1.
        mean: Shifts of phi0, kappa, tan(lambda) in units of their errors.
        width: Widths of the pulls after the smearing, 1: none.
        mean_error: Standard uncertainties of the shifts.
        width_error: Standard uncertainties of the widths.
        control_sample: What they were measured with.
        source: Where they are from.
    """

    first: Annotated[int, Ge(0)]
    last: Annotated[int, Ge(0)]
    species: Literal["e", "mu", "pi", "k", "p"]
    charge: Literal[1, -1]
    mean: Three
    width: tuple[AtLeastOne, AtLeastOne, AtLeastOne]
    mean_error: Three | None = None
    width_error: Three | None = None
    control_sample: str
    source: str

    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class HelixFile:
    """What a file of corrections holds."""

    format: Literal["jpsi-lnv helix 1"]
    corrections: list[Entry]

    __pydantic_config__: ClassVar = {"extra": "forbid"}


_FORM: Final = Form("helix corrections", "make them with `lnv helix-corrections`", CalibrationError, content=HelixFile)


class HelixCorrection(NamedTuple):
    """Corrections of a range of runs, by species, charge (+, -) and parameter.

    Attributes:
        mean: (5, 2, 3) shifts in units of the errors.
        extra: (5, 2, 3) widths of the smearing in the same units, sqrt(w^2 - 1).
    """

    mean: FloatArray
    extra: FloatArray


def read(path: str | Path) -> list[Entry]:
    """Return the corrections of a file.

    Raises:
        CalibrationError: The file is damaged, or has two corrections of one species, charge and run.
    """
    entries: list[Entry] = _FORM.read(path).corrections
    kept: dict[tuple[str, int], list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: e.first):
        before = kept.setdefault((entry.species, entry.charge), [])
        if entry.last < entry.first or (before and entry.first <= before[-1].last):
            what = f"runs {entry.first} to {entry.last} of {entry.species} with charge {entry.charge:+d}"
            raise _FORM.fault(path, f"{what} are no range or overlap with another; wanted each run once")
        before.append(entry)
    return entries


def of_runs(entries: Sequence[Entry], first: int, last: int, path: str | Path) -> HelixCorrection:
    """Return the corrections of a range of runs.

    Args:
        entries: Those of a file.
        first: First run.
        last: Last run.
        path: The file, for messages.

    Raises:
        CalibrationError: The file has none of these runs, or of a part of them only.
    """
    chosen = [e for e in entries if e.first <= last and first <= e.last]
    if not chosen or any(e.first > first or e.last < last for e in chosen):
        ranges = ", ".join(sorted({f"{e.first}-{e.last}" for e in entries})) or "none"
        raise _FORM.fault(path, f"has corrections of the runs {ranges}; wanted such as hold all runs {first}-{last}")
    found = HelixCorrection(np.zeros((len(SPECIES), 2, 3)), np.zeros((len(SPECIES), 2, 3)))
    for entry in chosen:
        at = SPECIES[entry.species], int(entry.charge < 0)
        found.mean[at] = entry.mean
        found.extra[at] = np.sqrt(np.square(entry.width) - 1.0)
    return found


@dataclass(frozen=True)
class ChunkCorrection:
    """The corrections of a chunk of events.

    Attributes:
        parts: Corrections and the events (E,) that they are for.
    """

    parts: list[tuple[HelixCorrection, BoolArray]]

    def helix(self, columns: Columns, species: Species, suffix: str, chosen: IntArray) -> tuple[RealArray, ...]:
        """Return the columns dr, phi0, kappa, dz, tanl of one hypothesis, corrected for the chosen tracks, each (T,).

        Args:
            columns: The chunk.
            species: The hypothesis.
            suffix: Suffix of the set of helices that serves for it.
            chosen: (N,) indices of tracks.
        """
        dr, phi0, kappa, dz, tanl = read_helix(columns, suffix)
        event = np.searchsorted(columns.offsets("Track"), chosen, side="right") - 1
        sign = (kappa[chosen] < 0).astype(np.int64)
        mean, extra = np.zeros((2, len(chosen), len(PARAMETERS)))
        for correction, events in self.parts:
            of = events[event]
            mean[of], extra[of] = correction.mean[species, sign[of]], correction.extra[species, sign[of]]
        moved = []
        for i, values in enumerate((phi0, kappa, tanl)):
            variance = columns.flat("Track", VARIANCES[i] + suffix)[chosen].astype(np.float64)
            shift = mean[:, i] + extra[:, i] * normal(columns, STREAM + i, chosen)
            moved.append(values.astype(np.float64))
            moved[-1][chosen] = values[chosen] + np.sqrt(np.maximum(variance, 0.0)) * shift
        return dr, moved[0], moved[1], dz, moved[2]
