"""The choice of a requirement by the Punzi figure of merit, from stored histograms alone.

G. Punzi, PHYSTAT2003, arXiv:physics/0308063: efficiency/(a/2 + sqrt(b)), with a = 3 standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import hist
import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.efficiency import binomial_sigma

PUNZI_SIGMAS: Final = 3.0
# A threshold is as good as the best one if its figure of merit is this share of it.
NEARLY: Final = 0.99


def punzi(efficiency: npt.ArrayLike, n_bkg: npt.ArrayLike, sigmas: float = PUNZI_SIGMAS) -> FloatArray:
    """Return efficiency/(a/2 + sqrt(b)).

    Args:
        efficiency: Fractions, any shape.
        n_bkg: Expected background events, not negative, of the same shape.
        sigmas: a, the significance of the search.

    Raises:
        ValueError: A background is negative.
    """
    background = np.asarray(n_bkg, dtype=np.float64)
    if (background < 0).any():
        msg = f"n_bkg is {background.min()}; wanted no negative background"
        raise ValueError(msg)
    return np.asarray(efficiency, dtype=np.float64) / (0.5 * sigmas + np.sqrt(background))


@dataclass(frozen=True)
class Scan:
    """A requirement "below" tried at every edge of an axis.

    Attributes:
        variable: Name of the axis.
        threshold: (N,) upper ends tried.
        efficiency: (N,) signal efficiency.
        n_bkg: (N,) expected background.
        figure_of_merit: (N,) Punzi's.
        low: (N,) lower end of its statistical band.
        high: (N,) upper end.
    """

    variable: str
    threshold: FloatArray
    efficiency: FloatArray
    n_bkg: FloatArray
    figure_of_merit: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def best(self) -> int:
        """Index of the largest figure of merit, the tightest of equal ones."""
        return int(np.argmax(self.figure_of_merit))

    @property
    def plateau(self) -> tuple[float, float]:
        """Ends of the range of thresholds around the best whose figures of merit are all within 1 % of it."""
        poor = np.flatnonzero(self.figure_of_merit < NEARLY * self.figure_of_merit[self.best])
        low = poor[poor < self.best].max(initial=-1) + 1
        high = poor[poor > self.best].min(initial=len(self.threshold)) - 1
        return float(self.threshold[low]), float(self.threshold[high])

    def at(self, threshold: float) -> int:
        """Return the index of the tried threshold nearest to one."""
        return int(np.argmin(np.abs(self.threshold - threshold)))

    def to_rows(self, every: int = 1) -> list[dict[str, Any]]:
        """Return the scan as rows of a table."""
        columns = {
            self.variable: self.threshold,
            "efficiency": self.efficiency,
            "n_bkg": self.n_bkg,
            "figure_of_merit": self.figure_of_merit,
            "figure_of_merit_low": self.low,
            "figure_of_merit_high": self.high,
        }
        return [{k: float(v[i]) for k, v in columns.items()} for i in range(every - 1, len(self.threshold), every)]


def scan_below(
    signal: hist.Hist, n_produced: int, background: hist.Hist, variable: str, windows: dict[str, tuple[float, float]]
) -> Scan:
    """Return the figure of merit of "variable below x" for every upper bin edge x, with its statistical band.

    The band is what the number of simulated events leaves open: efficiencies within their binomial errors, and a
    background larger or smaller by the error of its weights, larger also by one event of the largest weight, that which
    the next simulated event could have. A step that one event makes lies within it.

    Args:
        signal: Counts of simulated signal in any number of axes, before the requirement.
        n_produced: Signal events generated.
        background: Expected background events in the same axes, with their variances.
        variable: Axis of the requirement.
        windows: Axis name -> range the other requirements keep; ranges end at bin edges.

    Raises:
        ValueError: No signal was generated, the background has no variances, an axis does not exist, or a range does
            not end at bin edges.
    """
    if background.variances() is None:
        msg = "the background has weights without variances; wanted a histogram with the storage Weight"
        raise ValueError(msg)
    if n_produced <= 0:
        msg = f"n_produced is {n_produced}; wanted the number of generated signal events"
        raise ValueError(msg)
    n_passed = np.cumsum(project(signal, signal.values(), variable, windows))
    efficiency = n_passed / n_produced
    expected, variances = (
        project(background, of, variable, windows) for of in (background.values(), background.variances())
    )
    n_bkg, merit = np.cumsum(expected), punzi(efficiency, np.cumsum(expected))
    of_efficiency = merit * binomial_sigma(n_passed, n_produced) / np.maximum(efficiency, np.finfo(float).tiny)
    largest = float(np.max(variances[expected > 0] / expected[expected > 0], initial=0.0))
    sigma = np.sqrt(np.cumsum(variances))
    fewer = punzi(efficiency, np.maximum(n_bkg - sigma, 0.0))
    more = punzi(efficiency, n_bkg + np.hypot(sigma, largest))
    low, high = merit - np.hypot(of_efficiency, merit - more), merit + np.hypot(of_efficiency, fewer - merit)
    return Scan(variable, np.asarray(signal.axes[variable].edges[1:]), efficiency, n_bkg, merit, low, high)


def project(histogram: hist.Hist, values: Any, variable: str, windows: dict[str, tuple[float, float]]) -> FloatArray:
    """Return values of the bins added up along one axis, within windows of other axes, without under- and overflow.

    Args:
        histogram: The histogram, for its axes.
        values: Its contents, or their variances.
        variable: The axis that remains.
        windows: Axis name -> range that is added up; ranges end at bin edges.

    Raises:
        ValueError: An axis does not exist, or a range does not end at bin edges.
    """
    names = [a.name for a in histogram.axes]
    if unknown := sorted({variable, *windows} - set(names)):
        msg = f"the histogram has no axis {unknown}; it has {names}"
        raise ValueError(msg)
    contents = np.asarray(values, dtype=np.float64)
    for i, axis in reversed(list(enumerate(histogram.axes))):
        if axis.name != variable:
            contents = contents[(slice(None),) * i + (_window(axis, windows.get(axis.name)),)].sum(axis=i)
    return contents


def _window(axis: Any, window: tuple[float, float] | None) -> slice:
    if window is None:
        return slice(None)
    edges = np.asarray(axis.edges)
    ends = [int(np.argmin(np.abs(edges - end))) for end in window]
    if not np.allclose(edges[ends], window, rtol=0, atol=1e-9):
        msg = f"axis {axis.name!r}: the range {window} does not end at bin edges; the nearest are {edges[ends]}"
        raise ValueError(msg)
    return slice(*ends)
