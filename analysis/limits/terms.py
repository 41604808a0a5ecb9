"""What is known of a background and of an efficiency: the constraint terms of a counting likelihood.

With n ~ Poisson(lambda), lambda = mu e + b, every term is a cost -2 ln L that is zero at its measured value. At fixed
mu the conditions for the best b and e are, with the pull g = n/lambda - 1 of the observed count,

    d(cost_b)/db = 2 g,    d(cost_e)/de = 2 mu g,

so that each term needs to answer only "where do you go under this pull". All answers grow with the pull, which makes
the profile a root of one increasing function (`analysis.limits.profile`). The terms are those of Rolke, López, Conrad,
Nucl. Instrum. Meth. A 551, 493 (2005), doi:10.1016/j.nima.2005.05.068, section 3. All fields broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from jpsi_lnv.analysis.arrays import FloatArray, IntArray


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
