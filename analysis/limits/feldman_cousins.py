"""Unified confidence intervals of Feldman and Cousins, with averaged uncertainties.

At each yield mu the counts enter the acceptance region in the order of R(n) = P(n | mu)/P(n | mu_best(n)), with
mu_best >= 0, until its probability reaches the confidence level; the interval is made of the mu whose region holds the
observed count: G. J. Feldman, R. D. Cousins, Phys. Rev. D 57, 3873 (1998), doi:10.1103/PhysRevD.57.3873. Uncertainties
of efficiency and background enter as the average of P: J. Conrad, O. Botner, A. Hallgren, C. Pérez de los Heros, Phys.
Rev. D 67, 012002 (2003), doi:10.1103/PhysRevD.67.012002. Intervals are two-sided or one-sided as the data decide, with
coverage of at least the confidence level where nothing is uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.limits import checks
from analysis.limits.interval import Interval
from analysis.limits.marginal import CountModel, count_model

FloatArray = npt.NDArray[np.float64]

# Step of the yield grid, in expected events, and halvings that refine an end found on it.
GRID_STEP: Final = 0.02
N_HALVINGS: Final = 24
# Golden sections of the search for the best yield: its error is second order in their width.
N_GOLDEN: Final = 40
# Standard deviations above the observed count up to which the grid looks for the upper end.
REACH: Final = 5.0


@dataclass(frozen=True)
class Belt:
    """The acceptance regions of a counting model.

    Attributes:
        model: Probability of a count at a yield.
        best: P(n | mu_best(n)) for n = 0, 1, ... (C,).
        confidence_level: Probability that every acceptance region holds.
    """

    model: CountModel
    best: FloatArray
    confidence_level: float

    def ranked(self, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P(n | mu) and R(n) at yields mu (M,), both (M, C)."""
        probability = self.model.table(len(self.best) - 1, mu)
        return probability, probability / self.best

    def accepts(self, n_obs: int, ranked: tuple[FloatArray, FloatArray]) -> npt.NDArray[np.bool_]:
        """Return at which yields (M,) of `ranked` the acceptance region holds `n_obs`.

        The count belongs to the region if the counts ranked before it have less probability than the confidence level.
        """
        probability, rank = ranked
        is_before = rank > rank[:, [n_obs]]
        return np.asarray(np.where(is_before, probability, 0.0).sum(axis=1) < self.confidence_level)


def belt(model: CountModel, *, n_max: int, confidence_level: float) -> Belt:
    """Return the belt for counts up to where those near `n_max` have their limits."""
    counts: npt.NDArray[np.int64] = np.arange(model.n_max(_largest_expectation(n_max) / model.efficiency) + 1)
    return Belt(model, _best_probability(model, counts), confidence_level)


def _largest_expectation(n: int) -> float:
    return n + REACH * np.sqrt(n + 1.0) + REACH


def _best_probability(model: CountModel, counts: npt.NDArray[np.int64]) -> FloatArray:
    """Return max over mu >= 0 of P(n | mu), by golden-section search in all counts at once."""
    low = np.zeros(len(counts))
    high = (counts + 1.0) / model.efficiency
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(N_GOLDEN):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        is_left = model.pmf(counts, left) >= model.pmf(counts, right)
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    return np.asarray(np.maximum(model.pmf(counts, 0.5 * (low + high)), model.pmf(counts, np.zeros(len(counts)))))


def interval(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> Interval:
    """Return the unified interval of the produced yield.

    Args:
        n_obs: Observed events.
        confidence_level: Content of every acceptance region, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background`, `background_sigma` as in `marginal.count_model`.

    Raises:
        ValueError: A number is impossible.
    """
    return intervals([n_obs], confidence_level=confidence_level, **measured)[0]


def intervals(n_obs: Sequence[int], *, confidence_level: float = 0.90, **measured: float) -> tuple[Interval, ...]:
    """Return the intervals of several counts from one belt; arguments as of `interval`."""
    counts = checks.counts("n_obs", n_obs).astype(np.int64)
    model = count_model(**measured)
    acceptance = belt(model, n_max=int(counts.max()), confidence_level=checks.confidence_level(confidence_level))
    grid = np.arange(0.0, _largest_expectation(int(counts.max())), GRID_STEP) / model.efficiency
    ranked = acceptance.ranked(grid)
    return tuple(_interval_of(acceptance, int(n), grid, ranked) for n in counts)


def _interval_of(acceptance: Belt, n_obs: int, grid: FloatArray, ranked: tuple[FloatArray, FloatArray]) -> Interval:
    inside = np.flatnonzero(acceptance.accepts(n_obs, ranked))
    if len(inside) == 0:
        return Interval(0.0, 0.0, acceptance.confidence_level)
    first, last, step = grid[inside[0]], grid[inside[-1]], grid[1]
    upper = _edge(acceptance, n_obs, last, last + step)
    lower = 0.0 if inside[0] == 0 else _edge(acceptance, n_obs, first, first - step)
    return Interval(lower, upper, acceptance.confidence_level)


def _edge(acceptance: Belt, n_obs: int, inside: float, outside: float) -> float:
    for _ in range(N_HALVINGS):
        middle = 0.5 * (inside + outside)
        is_accepted = bool(acceptance.accepts(n_obs, acceptance.ranked(np.array([middle])))[0])
        inside, outside = (middle, outside) if is_accepted else (inside, middle)
    return float(0.5 * (inside + outside))


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> float:
    """Return the upper end of `interval`."""
    return interval(n_obs, confidence_level=confidence_level, **measured).upper
