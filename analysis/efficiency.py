"""Efficiencies with their intervals: counts, maps in momentum and cos(theta), and the ratio of two maps.

The exact interval of a count is C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404, doi:10.1093/biomet/26.4.404.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import hist
import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.errors import ResultsError

ONE_SIGMA: Final = float(2 * stats.norm.cdf(1.0) - 1)


@dataclass(frozen=True)
class Efficiency:
    """How many of a number of events pass.

    Attributes:
        n_passed: Events that pass.
        n_total: All events, more than none.
    """

    n_passed: int
    n_total: int

    def __post_init__(self) -> None:
        """Refuse counts that are none of an efficiency."""
        if not 0 <= self.n_passed <= self.n_total or self.n_total == 0:
            msg = f"got {self.n_passed} of {self.n_total} events; wanted 0 <= passed <= total and a total above 0"
            raise ValueError(msg)

    @property
    def value(self) -> float:
        """The share of events that pass."""
        return self.n_passed / self.n_total

    @property
    def sigma(self) -> float:
        """Standard uncertainty in the normal approximation."""
        return float(binomial_sigma(self.n_passed, self.n_total))

    def interval(self, confidence_level: float = ONE_SIGMA) -> tuple[float, float]:
        """Return the exact (Clopper-Pearson) central interval."""
        low, high = clopper_pearson(self.n_passed, self.n_total, confidence_level)
        return float(low), float(high)


def binomial_sigma(n_passed: npt.ArrayLike, n_total: npt.ArrayLike) -> FloatArray:
    """Return sqrt(e (1 - e)/n) of efficiencies e = passed/total; NaN where the total is 0."""
    passed, total = np.asarray(n_passed, dtype=np.float64), np.asarray(n_total, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(passed * (total - passed) / total) / total


def clopper_pearson(
    n_passed: npt.ArrayLike, n_total: npt.ArrayLike, confidence_level: float = ONE_SIGMA
) -> tuple[FloatArray, FloatArray]:
    """Return the exact central interval of efficiencies.

    Args:
        n_passed: Counts that pass, any shape.
        n_total: All counts; where there are none the interval is [0, 1].
        confidence_level: Smallest coverage, in (0, 1).

    Returns:
        Lower and upper ends, of the shape the counts broadcast to.

    Raises:
        ValueError: The confidence level is not in (0, 1).
    """
    if not 0.0 < confidence_level < 1.0:
        msg = f"confidence_level is {confidence_level}; wanted a fraction between 0 and 1"
        raise ValueError(msg)
    passed, total = np.broadcast_arrays(np.asarray(n_passed, np.float64), np.asarray(n_total, np.float64))
    tail = 0.5 * (1.0 - confidence_level)
    low = np.where(passed > 0, stats.beta.ppf(tail, np.maximum(passed, 1), total - passed + 1), 0.0)
    high = stats.beta.ppf(1.0 - tail, passed + 1, np.maximum(total - passed, 1))
    return low, np.where(passed < total, high, 1.0)


@dataclass(frozen=True)
class EfficiencyMap:
    """Efficiencies in bins of momentum and cos(theta).

    Attributes:
        p_edges: (P + 1,) in GeV/c.
        cos_theta_edges: (C + 1,).
        n_passed: (P, C) counts.
        n_total: (P, C) counts.
    """

    p_edges: FloatArray
    cos_theta_edges: FloatArray
    n_passed: FloatArray
    n_total: FloatArray

    @property
    def value(self) -> FloatArray:
        """(P, C) efficiencies; NaN in empty bins."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.n_passed / self.n_total

    @property
    def sigma(self) -> FloatArray:
        """(P, C) the larger half of the exact one-sigma interval, which is not 0 where none or all pass."""
        low, high = clopper_pearson(self.n_passed, self.n_total)
        return np.where(self.n_total > 0, np.maximum(self.value - low, high - self.value), np.nan)

    def bins(self, p: npt.ArrayLike, cos_theta: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the bins of tracks; those outside belong to the nearest bin."""
        return bin_of(self.p_edges, p), bin_of(self.cos_theta_edges, cos_theta)


def bin_of(edges: FloatArray, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return the bins of values; those outside belong to the nearest one."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def efficiency_map(histogram: hist.Hist) -> EfficiencyMap:
    """Return the map of a histogram with the axes ``p``, ``cos_theta`` and a Boolean ``passed``; others add up.

    Raises:
        ResultsError: The histogram lacks one of the axes.
    """
    wanted = ("p", "cos_theta", "passed")
    names = tuple(a.name for a in histogram.axes)
    if not set(wanted) <= set(names):
        msg = f"a histogram with axes {names} is no efficiency map; wanted {wanted}"
        raise ResultsError(msg)
    counts = np.asarray(histogram.project(*wanted).values(), dtype=np.float64)
    p_edges, cos_theta_edges = (np.asarray(histogram.axes[name].edges) for name in wanted[:2])
    return EfficiencyMap(p_edges, cos_theta_edges, counts[..., 1], counts.sum(axis=-1))


def add_maps(maps: list[EfficiencyMap]) -> EfficiencyMap:
    """Return the map of all counts together; the maps share their bins and there is at least one."""
    first = maps[0]
    n_passed, n_total = np.asarray([[m.n_passed, m.n_total] for m in maps], dtype=np.float64).sum(axis=0)
    return EfficiencyMap(first.p_edges, first.cos_theta_edges, n_passed, n_total)


@dataclass(frozen=True)
class RatioMap:
    """The ratio of the efficiency in data to that in simulation, in bins of momentum and cos(theta).

    Attributes:
        p_edges: (P + 1,) in GeV/c.
        cos_theta_edges: (C + 1,).
        value: (P, C).
        sigma: (P, C) standard uncertainty from the counts of both.
    """

    p_edges: FloatArray
    cos_theta_edges: FloatArray
    value: FloatArray
    sigma: FloatArray

    def bins(self, p: npt.ArrayLike, cos_theta: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return the bins of tracks; those outside belong to the nearest bin."""
        return bin_of(self.p_edges, p), bin_of(self.cos_theta_edges, cos_theta)


def ratio(data: EfficiencyMap, simulation: EfficiencyMap) -> RatioMap:
    """Return efficiency in data over efficiency in simulation.

    Bins that either sample leaves empty, or where nothing passes in the simulation, take the ratio of the whole
    samples with the uncertainty of the least known bin: no bin is silently taken as 1.

    Raises:
        ResultsError: A sample is empty altogether, or nothing passes in it.
    """
    for name, counts in (("data", data), ("simulation", simulation)):
        if counts.n_passed.sum() == 0:
            msg = f"{name}: no probe of {int(counts.n_total.sum())} passes in the control sample; run on more events"
            raise ResultsError(msg)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = data.value / simulation.value
        # Not relative errors: a bin in which nothing passes in the data is known, and its ratio is 0.
        sigma = np.hypot(data.sigma, value * simulation.sigma) / simulation.value
    is_known = np.isfinite(value) & np.isfinite(sigma)
    whole = (data.n_passed.sum() / data.n_total.sum()) / (simulation.n_passed.sum() / simulation.n_total.sum())
    worst = sigma[is_known].max(initial=0.0) if is_known.any() else 1.0
    return RatioMap(
        data.p_edges, data.cos_theta_edges, np.where(is_known, value, whole), np.where(is_known, sigma, worst)
    )


def mean_difference(ratios: RatioMap, p: npt.ArrayLike, cos_theta: npt.ArrayLike) -> tuple[float, float]:
    """Return the mean of ratio - 1 over tracks, and its statistical uncertainty, bins being independent.

    Args:
        ratios: The map.
        p: (N,) momenta of the tracks in GeV/c.
        cos_theta: (N,) their cos(theta).

    Raises:
        ResultsError: There are no tracks.
    """
    at = ratios.bins(p, cos_theta)
    n = len(at[0])
    if n == 0:
        msg = "no signal candidate to average the difference of data and simulation over; run on more signal events"
        raise ResultsError(msg)
    share = np.zeros(ratios.value.shape)
    np.add.at(share, at, 1.0 / n)
    return float((share * (ratios.value - 1.0)).sum()), float(np.sqrt(np.square(share * ratios.sigma).sum()))
