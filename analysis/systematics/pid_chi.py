"""chi of dE/dx and of the time of flight in control samples: mean and rms, and what corrects them.

What lies within |chi| < 4 should have the mean zero and the rms of a standard normal distribution cut there. Of each
species, in bins of momentum and cos(theta), offset and width are found that make it so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import hist
import numpy as np
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import PERIOD_RUNS
from jpsi_lnv.analysis.datasets import CONTROL, DATA, PID_CHI
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.objects.chi_correction import SUBSYSTEMS, ChiCorrection
from jpsi_lnv.analysis.objects.pid import CONSIDERED
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.pid_chi import CHI, COS_THETA, P

WINDOW: Final = 4.0
RMS: Final = float(stats.truncnorm(-WINDOW, WINDOW).std())
# A sample is in order if mean and rms are within this, or within three of their standard uncertainties.
TOLERANCE: Final = 0.02
N_SIGMA: Final = 3.0
# Tracks that a bin, and a species in a period, need for a correction of their own.
N_MIN: Final = 100
_ROUNDS: Final = 30
_EDGE: Final = 1e-6


@dataclass(frozen=True)
class Sample:
    """chi of a species in a subsystem, of the tracks with |chi| < 4 of all momenta and angles.

    Attributes:
        kind: data, or the simulation of control samples.
        period: The period.
        species: e, pi or k.
        subsystem: dedx, or the variant of the time of flight.
        n: Tracks.
        mean: Of chi.
        rms: Of chi.
    """

    kind: str
    period: int
    species: str
    subsystem: str
    n: int
    mean: float
    rms: float

    @property
    def error(self) -> float:
        """Standard uncertainty of the mean."""
        return self.rms / math.sqrt(self.n)

    @property
    def rms_error(self) -> float:
        """Standard uncertainty of the rms."""
        return self.rms / math.sqrt(2 * self.n)

    @property
    def is_met(self) -> bool:
        """Whether mean and rms are those of a normal distribution, within 2 % or three standard uncertainties."""
        is_centred = abs(self.mean) <= max(TOLERANCE, N_SIGMA * self.error)
        return is_centred and abs(self.rms - RMS) <= max(TOLERANCE * RMS, N_SIGMA * self.rms_error)


def samples(results: Results) -> list[Sample]:
    """Return every sample that has tracks.

    Raises:
        ResultsError: The selection ran in no dataset of data or control samples.
    """
    counts = {kind: summed(results, kind) for kind in (DATA, CONTROL)}
    if not any(counts.values()):
        msg = (
            f"no dataset of kind {DATA!r} or {CONTROL!r} with selection {PID_CHI!r}: add it to the selections of data "
            "or of the simulation of control samples in the fileset, and run again"
        )
        raise ResultsError(msg)
    return [
        found
        for kind, of in counts.items()
        for subsystem, histogram in of.items()
        for period in PERIOD_RUNS
        for species in CONSIDERED
        if (found := _sample(histogram, kind, period, species, subsystem)).n > 1
    ]


def summed(results: Results, kind: str) -> dict[str, hist.Hist]:
    """Return the histograms of all datasets of a kind by subsystem; none where the selection did not run."""
    found = [d.selections[PID_CHI].histograms for d in results.ran(PID_CHI, kind).values()]
    return {name: sum((of[name] for of in found[1:]), found[0][name]) for name in SUBSYSTEMS} if found else {}


def _sample(histogram: hist.Hist, kind: str, period: int, species: str, subsystem: str) -> Sample:
    n, mean, rms = _moments(_counts(histogram, period, species).sum(axis=(0, 1)), 0.0, 1.0)
    return Sample(kind, period, species, subsystem, round(n), mean, rms)


def _counts(histogram: hist.Hist, period: int, species: str) -> FloatArray:
    """Return the tracks of a species in a period, (P, C, bins of chi)."""
    chosen: Any = histogram[{"period": hist.loc(period), "species": hist.loc(species)}]
    return np.asarray(chosen.values(), dtype=np.float64)


def _moments(counts: FloatArray, offset: float, width: float) -> tuple[float, float, float]:
    """Return number, mean and rms of (chi - offset)/width within the window, of binned chi."""
    chi = (CHI.centers - offset) / width
    inside = np.where(np.abs(chi) < WINDOW, counts, 0)
    n = float(inside.sum())
    if n == 0:
        return 0.0, 0.0, 0.0
    mean = float((inside * chi).sum() / n)
    # Sheppard: the spread within a bin.
    spread = (CHI.edges[1] - CHI.edges[0]) ** 2 / 12.0 / width**2
    return n, mean, math.sqrt(max(float((inside * (chi - mean) ** 2).sum() / n) - spread, 0.0))


def corrections(histograms: Mapping[str, hist.Hist], period: int) -> dict[str, dict[str, ChiCorrection]]:
    """Return what makes chi normal in a period, by subsystem and species; none where there are too few tracks."""
    found: dict[str, dict[str, ChiCorrection]] = {}
    for subsystem, histogram in histograms.items():
        for species in CONSIDERED:
            counts = _counts(histogram, period, species)
            if counts.sum() >= N_MIN:
                found.setdefault(subsystem, {})[species] = correction(counts)
    return found


def correction(counts: FloatArray) -> ChiCorrection:
    """Return the correction that makes chi normal in every bin.

    A bin with few tracks takes what corrects its momenta at all angles, and where these are few, all tracks together.

    Args:
        counts: (P, C, bins of chi).
    """
    of_all = solve(counts.sum(axis=(0, 1)))
    of_p = [_of_bin(row.sum(axis=0), of_all) for row in counts]
    by_bin = np.array([[_of_bin(c, other) for c in row] for row, other in zip(counts, of_p, strict=True)])
    offset, width = (np.repeat(np.repeat(by_bin[..., i], 2, axis=0), 2, axis=1) for i in (0, 1))
    return ChiCorrection(_steps(P.edges), _steps(COS_THETA.edges), offset, width)


def _of_bin(counts: FloatArray, otherwise: tuple[float, float]) -> tuple[float, float]:
    return solve(counts) if counts.sum() >= N_MIN else otherwise


def solve(counts: FloatArray) -> tuple[float, float]:
    """Return offset and width by which chi has mean 0 and the rms of a normal distribution within the window."""
    offset, width = 0.0, 1.0
    for _ in range(_ROUNDS):
        _, mean, rms = _moments(counts, offset, width)
        offset += width * mean
        width *= max(rms, 0.5) / RMS
    return offset, width


def _steps(edges: FloatArray) -> FloatArray:
    """Return nodes between which a table is constant in every bin."""
    return np.stack([edges[:-1] + _EDGE, edges[1:] - _EDGE], axis=1).ravel()
