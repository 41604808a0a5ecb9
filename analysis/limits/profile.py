"""The profile likelihood of one counting experiment: n ~ Poisson(mu e + b), constraint terms on b and e.

mu is the produced signal yield (events divided by efficiency). All functions work on many experiments at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray
from jpsi_lnv.analysis.limits.terms import Term, poisson_deviance

ValueAndSlope = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

MAX_STEPS = 200
# Newton's error is the square of its step: this leaves none that a float could hold.
STEP_TOLERANCE = 1e-9
# Beyond this many times the scale of the problem a likelihood that is still too flat is taken to have no crossing.
SCALES_MAX = 1e9


@dataclass(frozen=True)
class Counting:
    """Experiments that count events: n observed (N,), and what is known of background and efficiency.

    Attributes:
        n: Observed events, shape (N,).
        background: Expected background events.
        efficiency: Fraction of produced signal events that are counted.
    """

    n: FloatArray
    background: Term
    efficiency: Term

    @property
    def best_signal(self) -> FloatArray:
        """The unbounded estimate (n - b)/e of mu, shape (N,): below zero if fewer events are seen than expected."""
        return (self.n - self.background.measured) / self.efficiency.measured + 0.0 * self.n


def best_pull(experiment: Counting, mu: FloatArray) -> FloatArray:
    """Return g = n/lambda - 1 at the best background and efficiency for each mu (N,), mu >= 0.

    Solves lambda(g) (1 + g) = n for lambda(g) = mu e(mu g) + b(g) >= 0, which grows with g.
    """

    def excess(pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        expected, slope = _expected(experiment, mu, pull)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            seen = np.where(experiment.n > 0.0, experiment.n / (1.0 + pull), 0.0)
            return expected - seen, slope + seen / (1.0 + pull)

    low = np.full_like(mu, -1.0)
    high = _largest_pull(experiment, mu)
    with np.errstate(invalid="ignore"):
        start = np.where(np.isfinite(high) & (high < 0.0), 0.5 * (high - 1.0), np.minimum(high, 0.0))
    return increasing_root(excess, low, high, start)


def _expected(experiment: Counting, mu: FloatArray, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
    background, background_slope = experiment.background.at(pull)
    efficiency, efficiency_slope = experiment.efficiency.at(mu * pull)
    return mu * efficiency + background, np.square(mu) * efficiency_slope + background_slope


def _largest_pull(experiment: Counting, mu: FloatArray) -> FloatArray:
    """Return an upper bound of the pull: where nothing expected can grow, n over the smallest expectation."""
    still, slope = _expected(experiment, mu, np.zeros_like(mu))
    n = experiment.n
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        by_value = np.where(still > 0.0, np.maximum(n / still - 1.0, 0.0), np.inf)
        by_width = np.where(slope > 0.0, np.sqrt(n / slope), np.inf)
    bound = np.minimum(by_value, np.minimum(by_width, experiment.background.pull_limit))
    return np.where(np.isfinite(bound), bound, 0.0)


def deviance(experiment: Counting, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return -2 ln lambda(mu) against the unbounded best fit, and its derivative to mu; both (N,), mu (N,) >= 0.

    The nuisance parameters take their best values at each mu (Rolke, López, Conrad 2005, section 2). At the unbounded
    best fit every term sits at its measured value and the deviance is zero.
    """
    pull = best_pull(experiment, mu)
    efficiency, _ = experiment.efficiency.at(mu * pull)
    background, _ = experiment.background.at(pull)
    expected = mu * efficiency + background
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        counted = np.where(experiment.n > 0.0, experiment.n / (1.0 + pull), expected)
    # A side band without events lets the background take whatever the count still needs.
    background = np.where(_is_free(experiment, pull), counted - mu * efficiency, background)
    value = (
        poisson_deviance(experiment.n, mu * efficiency + background)
        + experiment.background.cost(background)
        + experiment.efficiency.cost(efficiency)
    )
    return value, -2.0 * efficiency * pull


def _is_free(experiment: Counting, pull: FloatArray) -> BoolArray:
    limit = experiment.background.pull_limit
    return np.isfinite(limit) & (pull >= limit) & (experiment.n > 0.0)


def crossing(experiment: Counting, threshold: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the two mu >= 0 between which the deviance is below `threshold`; all (N,).

    The lower one is zero where the deviance at zero is below the threshold. The upper one is zero where the estimate is
    so far below zero that no mu >= 0 is inside, and inf where the likelihood never falls that far, which happens when
    the relative efficiency uncertainty exceeds 1/sqrt(threshold): then zero efficiency is not excluded.
    """
    best = np.maximum(experiment.best_signal, 0.0)
    at_zero, _ = deviance(experiment, np.zeros_like(best))
    upper = _crossing_above(experiment, threshold, best)
    upper = np.where((experiment.best_signal <= 0.0) & (at_zero >= threshold), 0.0, upper)
    has_lower = (best > 0.0) & (at_zero > threshold)
    if not np.any(has_lower):
        return np.zeros_like(upper), upper
    return np.where(has_lower, _crossing_below(experiment, threshold, best), 0.0), upper


def _crossing_above(experiment: Counting, threshold: FloatArray, best: FloatArray) -> FloatArray:
    step = 1.0 / experiment.efficiency.measured + 0.0 * best
    largest = SCALES_MAX * (best + step)
    high = best + step
    is_open = deviance(experiment, high)[0] < threshold
    while np.any(is_open & (high < largest)):
        high = np.where(is_open, 2.0 * high, high)
        is_open = deviance(experiment, high)[0] < threshold
    root = increasing_root(_root_deviance(experiment, threshold), best, high, high)
    return np.where(is_open, np.inf, root)


def _crossing_below(experiment: Counting, threshold: FloatArray, best: FloatArray) -> FloatArray:
    falling = _root_deviance(experiment, threshold)

    def rising(reflected: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, slope = falling(-reflected)
        return value, -slope

    return -increasing_root(rising, -best, np.zeros_like(best), -0.5 * best)


def _root_deviance(experiment: Counting, threshold: FloatArray) -> ValueAndSlope:
    """Return mu -> sqrt(deviance) - sqrt(threshold), which is nearly straight: Newton needs few steps."""
    target = np.sqrt(threshold)

    def function(mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, slope = deviance(experiment, mu)
        root = np.sqrt(np.maximum(value, 0.0))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return root - target, 0.5 * slope / root

    return function


def increasing_root(function: ValueAndSlope, low: FloatArray, high: FloatArray, start: FloatArray) -> FloatArray:
    """Return the root of each increasing function in its bracket: Newton's step, halving where that leaves the bracket.

    Args:
        function: Takes the points (N,), returns values (N,) and slopes (N,).
        low: Lower ends (N,), where the function is not above zero (or -inf).
        high: Upper ends (N,), where it is not below zero.
        start: First points (N,), inside the brackets.

    Returns:
        The roots (N,); an end of the bracket where the function has no sign change inside.
    """
    # Where the sign does not change inside, an end is the answer: no need to creep towards it.
    is_high, is_low = function(high)[0] <= 0.0, function(low)[0] >= 0.0
    is_end = is_high | is_low
    end = np.where(is_high, high, low)
    low, high, point = (np.where(is_end, end, values) for values in (low, high, start))
    for _ in range(MAX_STEPS):
        value, slope = function(point)
        is_below = value < 0.0
        low = np.where(is_below, point, low)
        high = np.where(is_below, high, point)
        following = np.where(is_end, end, _newton_or_half(point, value, slope, low, high))
        step = np.abs(following - point)
        point = following
        if np.all(step <= STEP_TOLERANCE * (1.0 + np.abs(point))):
            break
    return point


def _newton_or_half(
    point: FloatArray, value: FloatArray, slope: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        newton = point - value / slope
    is_inside = (newton >= low) & (newton <= high)  # false for NaN
    return np.where(is_inside, newton, 0.5 * (low + high))
