"""The profile likelihood of one counting experiment: n ~ Poisson(mu e + b), constraint terms on b and e.

mu is the produced signal yield (events divided by efficiency). All functions work on many experiments at once.

Every term is a cost -2 ln L of what is known of b or e, zero at its measured value. At fixed mu the conditions for the
best b and e are, with the pull g = n/lambda - 1 of the observed count and lambda = mu e + b,

    d(cost_b)/db = 2 g,    d(cost_e)/de = 2 mu g,

so that each term needs to answer only "where do you go under this pull". All answers grow with the pull, which makes
the profile a root of one increasing function. The terms are those of Rolke, López, Conrad, Nucl. Instrum. Meth. A 551,
493 (2005), doi:10.1016/j.nima.2005.05.068, section 3. All fields broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray


def _floats(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


class Term(Protocol):
    """A measured quantity and the cost of moving it."""

    @property
    def measured(self) -> FloatArray:
        """The value of least cost."""

    @property
    def pull_limit(self) -> FloatArray:
        """The pull that is never exceeded."""

    def at(self, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the value under a pull, and its derivative to the pull."""

    def cost(self, value: FloatArray) -> FloatArray:
        """Return -2 ln L of a value, zero at `measured`."""

    def take(self, rows: IntArray) -> Term:
        """Return the term of some of the experiments, whose fields are arrays (N,)."""


class _Fields:
    """What terms have in common whose fields are all numbers or arrays (N,)."""

    @property
    def pull_limit(self) -> FloatArray:
        """Nothing holds a pull back."""
        return np.asarray(np.inf)

    def take(self, rows: IntArray) -> Self:
        """Return the term of some of the experiments."""
        return type(self)(**{name: np.asarray(values)[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Known(_Fields):
    """A value without uncertainty."""

    value: npt.ArrayLike

    @property
    def measured(self) -> FloatArray:
        """The value."""
        return _floats(self.value)

    def at(self, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the value, whatever the pull."""
        zero = np.zeros_like(pull)
        return self.measured + zero, zero

    def cost(self, value: FloatArray) -> FloatArray:
        """Return zero."""
        return np.zeros_like(value)


@dataclass(frozen=True)
class Gaussian(_Fields):
    """A value with a Gaussian uncertainty; zero uncertainty means known."""

    mean: npt.ArrayLike
    sigma: npt.ArrayLike

    @property
    def measured(self) -> FloatArray:
        """The mean."""
        return _floats(self.mean)

    def at(self, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean + sigma² pull."""
        variance = np.square(_floats(self.sigma)) + np.zeros_like(pull)
        return self.measured + variance * pull, variance

    def cost(self, value: FloatArray) -> FloatArray:
        """Return ((value - mean)/sigma)²."""
        sigma = _floats(self.sigma)
        shift = value - self.measured
        return np.square(np.divide(shift, sigma, out=np.zeros_like(shift), where=sigma > 0.0))


@dataclass(frozen=True)
class PoissonSideband(_Fields):
    """A background b seen as `n` events where tau b are expected (a side band, or simulation of tau times the data)."""

    n: npt.ArrayLike
    tau: npt.ArrayLike

    @property
    def measured(self) -> FloatArray:
        """n/tau."""
        return _floats(self.n) / _floats(self.tau)

    @property
    def pull_limit(self) -> FloatArray:
        """The background yields to any pull of tau."""
        return _floats(self.tau)

    def at(self, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return n/(tau - pull); without side-band events zero up to the pull tau, where any value is as good."""
        n = _floats(self.n)
        room = self.pull_limit - pull
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = np.where(n > 0.0, n / room, 0.0)
            slope = np.where(n > 0.0, n / np.square(room), 0.0)
        return value, slope

    def cost(self, value: FloatArray) -> FloatArray:
        """Return the Poisson deviance of the side-band count."""
        n = _floats(self.n)
        return poisson_deviance(n, _floats(self.tau) * value)


@dataclass(frozen=True)
class Binomial(_Fields):
    """An efficiency counted as `passed` of `total` simulated events."""

    passed: npt.ArrayLike
    total: npt.ArrayLike

    @property
    def measured(self) -> FloatArray:
        """passed/total."""
        return _floats(self.passed) / _floats(self.total)

    def at(self, pull: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the root in (0, 1] of pull e² + (total - pull) e - passed = 0."""
        passed, total = _floats(self.passed), _floats(self.total)
        rest = total - pull
        root = np.sqrt(np.square(rest) + 4.0 * pull * passed)
        value = 2.0 * passed / (rest + root)
        slope = value * (1.0 - value) / np.maximum(root, np.finfo(np.float64).tiny)
        return value, slope

    def cost(self, value: FloatArray) -> FloatArray:
        """Return the binomial deviance of the simulated counts."""
        passed, total = _floats(self.passed), _floats(self.total)
        failed = total - passed
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            gain = xlogy(passed, self.measured / value) + xlogy(failed, (failed / total) / (1.0 - value))
        return 2.0 * gain


def poisson_deviance(n: FloatArray, expected: FloatArray) -> FloatArray:
    """Return 2 (expected - n + n ln(n/expected)): inf where events were seen and none can be."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_ratio = np.where(n > 0.0, np.log(n / expected), 0.0)
    return 2.0 * (expected - n + n * log_ratio)


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
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        counted = experiment.n / (1.0 + pull)
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
