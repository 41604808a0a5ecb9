"""The probability of a count, averaged over what is not known of efficiency and background.

P(n | mu) is the average of Poisson(n | mu e + b) over efficiency e and background b: the averaging of Cousins and
Highland (Nucl. Instrum. Meth. A 320, 331, 1992, doi:10.1016/0168-9002(92)90794-5) that CLs, Feldman-Cousins after
Conrad et al. and the Bayesian limit share. The count is the sum of a signal and a background count, whose
probabilities are folded.

The efficiency is averaged over a gamma distribution of the given mean and sigma, not over a Gaussian cut at zero: the
cut Gaussian has weight at zero efficiency, where no yield can be excluded, so that a flat-prior posterior is improper
(at 25 % its limit moves by 3 % with the number of nodes). At 7 % the two agree to 3 parts in 10 000. The signal count
is then negative binomial: exact at any uncertainty, also above 100 % where the gamma density is singular at zero.
The background is averaged over a Gaussian cut at zero, by quadrature.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import linalg, special, stats

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks

# Nodes for a range of no width in the root of the background, and more of them per unit of that root: there a Poisson
# probability is 1/2 wide, however large the background.
N_NODES: Final = 20
NODES_PER_ROOT: Final = 6.0
# Probability left out at either end of a distribution.
TAIL: Final = 1e-10
# Background counts this much less probable than the most probable one do not change a sum.
SMALL: Final = 1e-30
# A relative uncertainty below this leaves every probability as it is, to the precision of a float.
NEGLIGIBLE: Final = 1e-8


@dataclass(frozen=True)
class Nodes:
    """Quadrature nodes: `values` (K,) and `weights` (K,) that add up to one."""

    values: FloatArray
    weights: FloatArray


def gaussian(mean: float, sigma: float) -> Nodes:
    """Return nodes of a Gaussian cut at zero, equally good for wide and narrow ones; zero sigma means known."""
    if sigma == 0.0:
        return Nodes(np.array([mean], dtype=np.float64), np.ones(1))
    distribution = _cut_gaussian(mean, sigma)
    low, high = math.sqrt(distribution.ppf(TAIL)), math.sqrt(distribution.isf(TAIL))
    points, weights = special.roots_legendre(N_NODES + math.ceil(NODES_PER_ROOT * (high - low)))
    roots = 0.5 * (high + low) + 0.5 * (high - low) * points
    density = weights * roots * distribution.pdf(np.square(roots))
    return Nodes(np.square(roots), density / density.sum())


def _cut_gaussian(mean: float, sigma: float) -> stats.rv_frozen:
    return stats.truncnorm(-mean / sigma, np.inf, loc=mean, scale=sigma)


@functools.lru_cache(maxsize=64)
def background_counts(n_max: int, mean: float, sigma: float) -> FloatArray:
    """Return the probabilities (n_max + 1,) of 0, 1, ... background events, read-only.

    Args:
        n_max: Largest count.
        mean: Expected background events.
        sigma: Width in events of the Gaussian, cut at zero, that they are averaged over.
    """
    nodes = gaussian(mean, sigma)
    n = np.arange(n_max + 1, dtype=np.float64)[:, None]
    probabilities = np.exp(special.xlogy(n, nodes.values) - nodes.values - special.gammaln(n + 1.0)) @ nodes.weights
    probabilities.flags.writeable = False
    return np.asarray(probabilities)


@dataclass(frozen=True)
class CountModel:
    """n ~ Poisson(mu e + b), averaged over efficiency and background.

    Attributes:
        efficiency: Mean efficiency.
        shape: Shape of the gamma distribution of the efficiency, 1/(relative uncertainty)²; inf if it is known.
        background: Expected background events, before its Gaussian is cut at zero.
        background_sigma: Width of that Gaussian in events.
    """

    efficiency: float
    shape: float
    background: float
    background_sigma: float

    def pmf(self, n: npt.ArrayLike, mu: npt.ArrayLike) -> FloatArray:
        """Return P(n | mu); n and mu broadcast."""
        counted, yields = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(mu, dtype=np.float64))
        folded = self._background(int(counted.max()))
        n_signal = counted[..., None] - np.arange(len(folded))
        signal = self._signal(np.maximum(n_signal, 0), yields[..., None])
        return np.asarray(np.where(n_signal < 0, 0.0, signal) @ folded)

    def table(self, n_max: int, mu: FloatArray) -> FloatArray:
        """Return P(n | mu) of all counts up to `n_max` at yields mu (M,), as (M, n_max + 1)."""
        signal = self._signal(np.arange(n_max + 1), np.asarray(mu)[:, None])
        folded = self._background(n_max)
        if len(folded) == 1:
            return signal * folded
        column = np.zeros(n_max + 1)
        column[: len(folded)] = folded
        return np.asarray(signal @ linalg.toeplitz(column, np.zeros(n_max + 1)).T)

    def cdf(self, n: int, mu: float) -> float:
        """Return P(<= n | mu)."""
        at_most = np.cumsum(self._signal(np.arange(n + 1), np.asarray(mu)))
        return float(at_most[::-1] @ background_counts(n, self.background, self.background_sigma))

    def n_max(self, mu: float) -> int:
        """Return a count that at a yield of `mu` is exceeded with a probability of next to nothing."""
        expected = mu * self.efficiency
        if math.isfinite(self.shape):
            expected *= stats.gamma.isf(TAIL, self.shape) / self.shape
        is_known = self.background_sigma == 0.0
        background = self.background if is_known else _cut_gaussian(self.background, self.background_sigma).isf(TAIL)
        return int(stats.poisson.isf(TAIL, expected + background)) + 1

    def _background(self, n_max: int) -> FloatArray:
        """Return the probabilities of the background counts that matter."""
        probabilities = background_counts(n_max, self.background, self.background_sigma)
        return probabilities[: int(np.flatnonzero(probabilities > SMALL * probabilities.max())[-1]) + 1]

    def _signal(self, n: IntArray, mu: FloatArray) -> FloatArray:
        """Return the probability of n signal events: negative binomial, Poisson at infinite shape; n, mu broadcast.

        Gamma(k + n)/(Gamma(k) k^n) is a product of (1 + i/k): ratios of gamma functions lose all digits at large k.
        """
        expected, k = np.asarray(mu) * self.efficiency, self.shape
        factors = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(int(n.max())) / k))])
        grown = np.log1p(expected / k)
        exponent = k * grown if math.isfinite(k) else expected
        log_pmf = special.xlogy(n, expected) - special.gammaln(n + 1.0) + factors[n] - exponent - n * grown
        return np.asarray(np.exp(log_pmf))


def count_model(
    *, efficiency: float, efficiency_sigma: float = 0.0, background: float = 0.0, background_sigma: float = 0.0
) -> CountModel:
    """Return the averaged counting model of checked numbers.

    Args:
        efficiency: In (0, 1].
        efficiency_sigma: Absolute standard uncertainty.
        background: Expected background events.
        background_sigma: Its standard uncertainty in events.

    Raises:
        ValueError: A number is impossible.
    """
    checks.efficiency("efficiency", efficiency)
    checks.non_negative("efficiency_sigma", efficiency_sigma)
    checks.non_negative("background", background)
    checks.non_negative("background_sigma", background_sigma)
    delta = efficiency_sigma / efficiency
    shape = math.inf if delta < NEGLIGIBLE else delta**-2.0
    return CountModel(float(efficiency), float(shape), float(background), float(background_sigma))
