"""Unified confidence intervals of Feldman and Cousins, with averaged uncertainties.

At each yield mu the counts enter the acceptance region in the order of R(n) = P(n | mu)/P(n | mu_best(n)), with
mu_best >= 0, until its probability reaches the confidence level; the interval is made of the mu whose region holds the
observed count: G. J. Feldman, R. D. Cousins, Phys. Rev. D 57, 3873 (1998), doi:10.1103/PhysRevD.57.3873. Uncertainties
of efficiency and background enter as the average of P: J. Conrad, O. Botner, A. Hallgren, C. Pérez de los Heros, Phys.
Rev. D 67, 012002 (2003), doi:10.1103/PhysRevD.67.012002. Intervals are two-sided or one-sided as the data decide, with
coverage of at least the confidence level where nothing is uncertain.

Where fewer events are seen than are expected from background, the upper end of this construction rises and falls with
the background in teeth about one event apart. As in the publication (section IV B) such an interval is lengthened, so
that more background never means a weaker limit: its upper end is the largest one at that or any higher background.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import Interval
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model
from jpsi_lnv.analysis.limits.sideband import COUNTS_MAX

# Step of the yield grid in expected events, at least, and in standard deviations of the background.
GRID_STEP: Final = 0.02
GRID_STEP_SIGMA: Final = 0.05
# Rounds that refine an end found on the grid, and points of each.
N_ROUNDS: Final = 3
N_POINTS: Final = 256
# Rounds of parabolas through three points that find the best yield: its error is second order in theirs.
N_PARABOLAS: Final = 6
# Standard deviations above the observed count up to which the grid at first looks for the upper end.
REACH: Final = 5.0
# Probabilities worked on at once.
CHUNK: Final = 1_000_000
# Counts for which the ranks are sorted once instead of compared with each.
N_SORTED: Final = 4
# Events above the observed count from which on a background lengthens the interval: at 50 to 99 % the first tooth that
# rises above an earlier end lies beyond.
FIRST_TOOTH: Final = 1.0
# Events above the background in which the teeth are looked for, two of them at least.
TEETH: Final = 2.5
# Parts of that range which are looked at in any case.
N_PARTS: Final = 10
# Expected events to which the largest end is found, and step of the yields that are looked at for it: the tip of a
# tooth is a sliver that grows with the background about three times as fast as its end falls. Both grow with the
# standard deviation of a background above 25 events.
TIP: Final = 1e-3
TIP_STEP: Final = 5e-4
# Steps in half of a wide part: a sliver that falls between two of them is seen at a background little higher.
N_STEPS: Final = 60
TIP_VARIANCE: Final = 25.0
# Variance of a background count above which the parts are not halved: teeth an event apart are nothing beside it.
SMOOTH_VARIANCE: Final = 400.0


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

    def accepts(self, n_obs: IntArray, mu: FloatArray) -> BoolArray:
        """Return which of the counts (N,) are in the acceptance regions of yields (M,), as (M, N)."""
        rows = max(1, CHUNK // len(self.best))
        return np.concatenate([self._accepts(n_obs, mu[i : i + rows]) for i in range(0, len(mu), rows)])

    def _accepts(self, n_obs: IntArray, mu: FloatArray) -> BoolArray:
        """A count belongs to the region if the counts ranked before it have less probability than the level."""
        probability = self.model.table(len(self.best) - 1, mu)
        rank = probability / self.best
        if len(n_obs) > N_SORTED:
            return (_ranked_before(probability, rank) < self.confidence_level)[:, n_obs]
        before = [np.where(rank > rank[:, [n]], probability, 0.0).sum(axis=1) for n in n_obs]
        return np.stack(before, axis=1) < self.confidence_level


def _ranked_before(probability: FloatArray, rank: FloatArray) -> FloatArray:
    """Return the probability (M, C) of the counts of higher rank; counts of one rank are not before each other."""
    order = np.argsort(-rank, axis=1, kind="stable")
    sorted_rank = np.take_along_axis(rank, order, axis=1)
    above = np.cumsum(np.take_along_axis(probability, order, axis=1), axis=1)
    is_first = np.diff(sorted_rank, axis=1, prepend=np.inf) != 0.0
    first = np.maximum.accumulate(np.where(is_first, np.arange(rank.shape[1]), 0), axis=1)
    before = np.take_along_axis(np.pad(above, ((0, 0), (1, 0))), first, axis=1)
    found = np.empty_like(before)
    np.put_along_axis(found, order, before, axis=1)
    return found


def belt(model: CountModel, *, n_max: int, confidence_level: float) -> Belt:
    """Return the belt for the counts up to `n_max`."""
    return Belt(model, _best_probability(model, n_max), confidence_level)


@functools.lru_cache(maxsize=512)
def _best_probability(model: CountModel, n_max: int) -> FloatArray:
    """Return max over mu >= 0 of P(n | mu) for n = 0, 1, ..., n_max."""
    counts = np.arange(n_max + 1)
    if model.background.is_known and (model.background.known == 0.0 or np.isinf(model.shape)):
        return model.pmf(counts, np.maximum(counts - model.background.known, 0.0) / model.efficiency)
    return np.maximum(model.pmf(counts, _best_yield(model, counts)), model.pmf(counts, 0.0))


def _best_yield(model: CountModel, counts: IntArray) -> FloatArray:
    """Return the best mu > 0 of each count, by the tops of parabolas through ln P, in all counts at once."""
    best = np.maximum(counts - model.background.mean, 0.0) / model.efficiency
    width = np.sqrt(counts + 1.0) / model.efficiency
    for _ in range(N_PARABOLAS):
        best = np.maximum(best, width)
        left, middle, right = (np.log(model.pmf(counts, best + step * width)) for step in (-1.0, 0.0, 1.0))
        curvature = left - 2.0 * middle + right
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(curvature < 0.0, 0.5 * (left - right) / curvature, np.sign(right - left))
        best = best + width * np.clip(np.nan_to_num(shift), -1.0, 1.0)
        width = np.where(np.abs(shift) < 1.0, 0.3 * width, width)
    return np.asarray(np.maximum(best, 0.0))


def interval(n_obs: int, *, confidence_level: float = 0.90, **measured: Any) -> Interval:
    """Return the unified interval of the produced yield.

    Args:
        n_obs: Observed events.
        confidence_level: Content of every acceptance region, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background` as in `marginal.count_model`.

    Raises:
        ValueError: A number is impossible.
    """
    return intervals([n_obs], confidence_level=confidence_level, **measured)[0]


def intervals(n_obs: npt.ArrayLike, *, confidence_level: float = 0.90, **measured: Any) -> tuple[Interval, ...]:
    """Return the intervals of several counts from the same belts; arguments as of `interval`."""
    counts = np.atleast_1d(checks.counts("n_obs", n_obs)).astype(np.int64)
    model = count_model(**measured)
    plain = plain_intervals(counts, model, checks.confidence_level(confidence_level))
    upper = _lengthened(counts, model, np.array([i.upper for i in plain]), confidence_level)
    return tuple(dataclasses.replace(i, upper=float(end)) for i, end in zip(plain, upper, strict=True))


def plain_intervals(n_obs: IntArray, model: CountModel, confidence_level: float) -> tuple[Interval, ...]:
    """Return the intervals (N,) of the construction itself, not lengthened.

    The grid is doubled until its last yield is in no region, or needs more than `COUNTS_MAX` counts: an upper end
    beyond is taken not to exist.
    """
    first = reach = _first_reach(int(n_obs.max()))
    while True:
        grid = _grid(first, reach, model.background.sigma) / model.efficiency
        n_max = min(model.n_max(grid[-1]), COUNTS_MAX)
        acceptance = belt(model, n_max=n_max, confidence_level=confidence_level)
        inside = acceptance.accepts(n_obs, grid)
        reach *= 2.0
        if not inside[-1].any() or model.n_max(reach / model.efficiency) > COUNTS_MAX:
            return tuple(_interval_of(acceptance, int(n), grid, inside[:, i]) for i, n in enumerate(n_obs))


def _first_reach(n: int) -> float:
    """Return where the grid of an observed count ends at first, in expected events."""
    return float(n + REACH * np.sqrt(n + 1.0) + REACH)


def _grid(first: float, last: float, sigma: float) -> FloatArray:
    """Return expected events in equal steps up to `first`, then in equal ratios up to `last`."""
    step = max(GRID_STEP, GRID_STEP_SIGMA * sigma)
    n_beyond = int(np.log(last / first) * first / step)
    beyond = first * (last / first) ** (np.arange(n_beyond + 1) / max(n_beyond, 1))
    return np.concatenate([np.arange(0.0, first, step), beyond])


def _interval_of(acceptance: Belt, n_obs: int, grid: FloatArray, is_inside: BoolArray) -> Interval:
    inside = np.flatnonzero(is_inside)
    if len(inside) == 0:
        return Interval(0.0, 0.0, acceptance.confidence_level)
    first, last = int(inside[0]), int(inside[-1])
    upper = float("inf") if last + 1 == len(grid) else _edge(acceptance, n_obs, grid[last], grid[last + 1])
    lower = 0.0 if first == 0 else _edge(acceptance, n_obs, grid[first], grid[first - 1])
    return Interval(lower, upper, acceptance.confidence_level)


def _edge(acceptance: Belt, n_obs: int, inside: float, outside: float) -> float:
    """Return the yield between one inside and one outside of the region, at the first change from the inside."""
    for _ in range(N_ROUNDS):
        points = np.linspace(inside, outside, N_POINTS + 2)
        is_accepted = acceptance.accepts(np.array([n_obs]), points[1:-1])[:, 0]
        last = int(np.argmin(np.append(is_accepted, False)))
        inside, outside = points[last], points[last + 1]
    return float(0.5 * (inside + outside))


def _lengthened(n_obs: IntArray, model: CountModel, upper: FloatArray, confidence_level: float) -> FloatArray:
    """Return the largest upper ends (N,) at the background of the model or above."""
    is_below = (n_obs + FIRST_TOOTH < model.background.mean) & np.isfinite(upper)
    if not is_below.any():
        return upper
    edges = np.linspace(0.0, TEETH, N_PARTS + 1)
    below = n_obs[is_below]
    higher = np.array(
        [[i.upper for i in plain_intervals(below, _shifted(model, b), confidence_level)] for b in edges[1:]]
    )
    found = [
        _largest_end(
            int(n), model, end, list(zip(edges[:-1].tolist(), edges[1:].tolist(), ends, strict=True)), confidence_level
        )
        for n, end, ends in zip(below, upper[is_below], higher.T.tolist(), strict=True)
    ]
    lengthened = upper.copy()
    lengthened[is_below] = found
    return lengthened


def _shifted(model: CountModel, more: float) -> CountModel:
    return dataclasses.replace(model, background=model.background.plus(more))


def _largest_end(
    n_obs: int, model: CountModel, plain: float, parts: list[tuple[float, float, float]], confidence_level: float
) -> float:
    """Return the largest upper end at the background of the model or in parts of the range above it.

    Where the expected events mu e + b stay the same, more background never takes a count from the region: all of
    n_obs < n <= b stay ahead of it, and no other count overtakes it. So an end falls by no more than the background
    rises, and a part of the range whose last end is low enough holds no higher one; the others are halved. That holds
    for known efficiencies and backgrounds; with large uncertainties ends also jump down, hence more than one part.

    Args:
        n_obs: Observed events.
        model: The model.
        plain: Its upper end.
        parts: First and last background, above that of the model, and the end at the last, of every part.
        confidence_level: Content of every acceptance region.
    """
    largest = max(plain, *(end for _, _, end in parts))
    variance = model.background.mean + model.background.sigma**2
    if variance > SMOOTH_VARIANCE:
        return largest
    coarse = max(1.0, np.sqrt(variance / TIP_VARIANCE))
    # One belt serves every count: its size depends on the model alone.
    n_max = min(model.n_max(_first_reach(int(model.background.mean)) / model.efficiency) + int(TEETH), COUNTS_MAX)
    while parts and np.isfinite(largest):
        low, high, end = parts.pop()
        half = 0.5 * (high - low) / model.efficiency
        if end + 2.0 * half <= largest + coarse * TIP / model.efficiency:
            continue
        middle = 0.5 * (low + high)
        step = max(coarse * TIP_STEP / model.efficiency, half / N_STEPS)
        yields = np.arange(max(0.0, largest - half), largest + 2.0 * half, step)
        there = belt(_shifted(model, middle), n_max=n_max, confidence_level=confidence_level)
        inside = there.accepts(np.array([n_obs]), yields)[:, 0]
        end_of_middle = float(yields[inside].max(initial=yields[0]))
        largest = max(largest, end_of_middle)
        parts += [(low, middle, end_of_middle), (middle, high, end)]
    return largest


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: Any) -> float:
    """Return the upper end of `interval`."""
    return interval(n_obs, confidence_level=confidence_level, **measured).upper
