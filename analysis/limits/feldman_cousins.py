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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import Interval
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model

# Step of the yield grid, in expected events, and halvings that refine an end found on it.
GRID_STEP: Final = 0.02
N_HALVINGS: Final = 24
# Golden sections of the search for the best yield: its error is second order in their width.
N_GOLDEN: Final = 30
# Standard deviations above the observed count up to which the grid at first looks for the upper end.
REACH: Final = 5.0
# The grid is enlarged up to where this many counts are needed: an end beyond is taken not to exist.
COUNTS_MAX: Final = 4000
# Probabilities worked on at once.
CHUNK: Final = 1_000_000
# Events above the observed count from which on a background lengthens the interval: at 50 to 99 % the first tooth that
# rises above an earlier end lies beyond.
FIRST_TOOTH: Final = 1.0
# Events above the background in which the teeth are looked for, two of them at least.
TEETH: Final = 2.5
# Parts of that range which are looked at in any case.
N_PARTS: Final = 10
# Expected events to which the largest end is found, and step of the yields that are looked at for it: the tip of a
# tooth is a sliver that grows with the background about three times as fast as its end falls.
TIP: Final = 1e-3
TIP_STEP: Final = 5e-4


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
        before = [np.where(rank > rank[:, [n]], probability, 0.0).sum(axis=1) for n in n_obs]
        return np.stack(before, axis=1) < self.confidence_level


def belt(model: CountModel, *, mu_max: float, confidence_level: float) -> Belt:
    """Return the belt for the counts that yields up to `mu_max` give."""
    return Belt(model, _best_probability(model, np.arange(model.n_max(mu_max) + 1)), confidence_level)


def _best_probability(model: CountModel, counts: IntArray) -> FloatArray:
    """Return max over mu >= 0 of P(n | mu)."""
    if model.background_sigma == 0.0 and (model.background == 0.0 or np.isinf(model.shape)):
        return model.pmf(counts, np.maximum(counts - model.background, 0.0) / model.efficiency)
    return np.maximum(model.pmf(counts, _best_yield(model, counts)), model.pmf(counts, 0.0))


def _best_yield(model: CountModel, counts: IntArray) -> FloatArray:
    """Return the best mu > 0 of each count, by golden-section search in all counts at once."""
    low = np.zeros(len(counts))
    high = (counts + 1.0) / model.efficiency
    ratio = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(N_GOLDEN):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        is_left = model.pmf(counts, left) >= model.pmf(counts, right)
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    return np.asarray(0.5 * (low + high))


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
    plain = plain_intervals(counts, model, checks.confidence_level(confidence_level))
    return tuple(_lengthened(int(n), model, found) for n, found in zip(counts, plain, strict=True))


def plain_intervals(n_obs: IntArray, model: CountModel, confidence_level: float) -> tuple[Interval, ...]:
    """Return the intervals (N,) of the construction itself, not lengthened.

    The grid is doubled until its last yield is in no region; an upper end that `COUNTS_MAX` counts do not show is inf.
    """
    first = reach = _first_reach(int(n_obs.max()))
    while True:
        grid = _grid(first, reach) / model.efficiency
        acceptance = belt(model, mu_max=grid[-1], confidence_level=confidence_level)
        inside = acceptance.accepts(n_obs, grid)
        reach *= 2.0
        if not inside[-1].any() or model.n_max(reach / model.efficiency) > COUNTS_MAX:
            return tuple(_interval_of(acceptance, int(n), grid, inside[:, i]) for i, n in enumerate(n_obs))


def _first_reach(n: int) -> float:
    """Return where the grid of an observed count ends at first, in expected events."""
    return float(n + REACH * np.sqrt(n + 1.0) + REACH)


def _grid(first: float, last: float) -> FloatArray:
    """Return expected events in equal steps up to `first`, then in equal ratios up to `last`."""
    n_beyond = int(np.log(last / first) * first / GRID_STEP)
    beyond = first * np.exp(np.arange(n_beyond) * GRID_STEP / first)
    return np.concatenate([np.arange(0.0, first, GRID_STEP), beyond])


def _interval_of(acceptance: Belt, n_obs: int, grid: FloatArray, is_inside: BoolArray) -> Interval:
    inside = np.flatnonzero(is_inside)
    if len(inside) == 0:
        return Interval(0.0, 0.0, acceptance.confidence_level)
    first, last = int(inside[0]), int(inside[-1])
    upper = float("inf") if last + 1 == len(grid) else _edge(acceptance, n_obs, grid[last], grid[last + 1])
    lower = 0.0 if first == 0 else _edge(acceptance, n_obs, grid[first], grid[first - 1])
    return Interval(lower, upper, acceptance.confidence_level)


def _edge(acceptance: Belt, n_obs: int, inside: float, outside: float) -> float:
    for _ in range(N_HALVINGS):
        middle = 0.5 * (inside + outside)
        is_accepted = bool(acceptance.accepts(np.array([n_obs]), np.array([middle]))[0, 0])
        inside, outside = (middle, outside) if is_accepted else (inside, middle)
    return float(0.5 * (inside + outside))


def _lengthened(n_obs: int, model: CountModel, plain: Interval) -> Interval:
    """Return the interval with the largest upper end at the background of the model or above."""
    if model.background <= n_obs + FIRST_TOOTH or np.isinf(plain.upper):
        return plain
    edges = np.linspace(0.0, TEETH, N_PARTS + 1)
    higher = [
        plain_intervals(np.array([n_obs]), _shifted(model, b), plain.confidence_level)[0].upper for b in edges[1:]
    ]
    if np.isinf(higher).any():
        return dataclasses.replace(plain, upper=float("inf"))
    parts = list(zip(edges[:-1].tolist(), edges[1:].tolist(), higher, strict=True))
    return dataclasses.replace(plain, upper=_largest_end(n_obs, model, plain, parts))


def _shifted(model: CountModel, more: float) -> CountModel:
    return dataclasses.replace(model, background=model.background + more)


def _largest_end(n_obs: int, model: CountModel, plain: Interval, parts: list[tuple[float, float, float]]) -> float:
    """Return the largest upper end at the background of the model or in parts of the range above it.

    Where the expected events mu e + b stay the same, more background never takes a count from the region: all of
    n_obs < n <= b stay ahead of it, and no other count overtakes it. So an end falls by no more than the background
    rises, and a part of the range whose last end is low enough holds no higher one; the others are halved. That holds
    for known efficiencies and backgrounds; with large uncertainties ends also jump down, hence more than one part.

    Args:
        n_obs: Observed events.
        model: The model.
        plain: Its interval.
        parts: First and last background, above that of the model, and the end at the last, of every part.
    """
    largest = max(plain.upper, *(end for _, _, end in parts))
    while parts:
        low, high, end = parts.pop()
        half = 0.5 * (high - low) / model.efficiency
        if end + 2.0 * half <= largest + TIP / model.efficiency:
            continue
        middle = 0.5 * (low + high)
        yields = np.arange(max(0.0, largest - half), largest + 2.0 * half, TIP_STEP / model.efficiency)
        there = belt(_shifted(model, middle), mu_max=yields[-1], confidence_level=plain.confidence_level)
        inside = there.accepts(np.array([n_obs]), yields)[:, 0]
        end_of_middle = float(yields[inside].max(initial=yields[0]))
        largest = max(largest, end_of_middle)
        parts += [(low, middle, end_of_middle), (middle, high, end)]
    return largest


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> float:
    """Return the upper end of `interval`."""
    return interval(n_obs, confidence_level=confidence_level, **measured).upper
