"""The probability of a count, averaged over what is not known of efficiency and background.

P(n | mu) = sum_k w_k Poisson(n | mu e_k + b_k) with quadrature nodes (e_k, b_k): the averaging of Cousins and Highland
(Nucl. Instrum. Meth. A 320, 331, 1992, doi:10.1016/0168-9002(92)90794-5) that CLs, Feldman-Cousins after Conrad et al.
and the Bayesian limit share.

The efficiency is averaged over a gamma distribution of the given mean and sigma, not over a Gaussian cut at zero: the
cut Gaussian has weight at zero efficiency, where no yield can be excluded, so that a flat-prior posterior is improper
(at 25 % its limit moves by 3 % with the number of nodes). At 7 % the two agree to 3 parts in 10 000.
The background is averaged over a Gaussian cut at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from analysis.limits import checks

FloatArray = npt.NDArray[np.float64]

N_NODES: Final = 20
# Probability left out at either end of a quadrature range.
TAIL: Final = 1e-10
# Numbers worked on at once.
CHUNK: Final = 200_000


@dataclass(frozen=True)
class Nodes:
    """Quadrature nodes: `values` (K,) and `weights` (K,) that add up to one."""

    values: FloatArray
    weights: FloatArray


def known(value: float) -> Nodes:
    """Return the one node of a value without uncertainty."""
    return Nodes(np.array([value], dtype=np.float64), np.ones(1))


def gamma(mean: float, sigma: float) -> Nodes:
    """Return nodes of the gamma distribution of a mean and a standard deviation; zero sigma means known."""
    if sigma == 0.0:
        return known(mean)
    shape = np.square(mean / sigma)
    return _nodes(stats.gamma(shape, scale=mean / shape))


def gaussian(mean: float, sigma: float) -> Nodes:
    """Return nodes of a Gaussian cut at zero; zero sigma means known."""
    if sigma == 0.0:
        return known(mean)
    return _nodes(stats.truncnorm(-mean / sigma, np.inf, loc=mean, scale=sigma))


def _nodes(distribution: stats.rv_frozen) -> Nodes:
    low, high = distribution.ppf(TAIL), distribution.isf(TAIL)
    points, weights = special.roots_legendre(N_NODES)
    values = 0.5 * (high + low) + 0.5 * (high - low) * points
    density = weights * distribution.pdf(values)
    return Nodes(values, density / density.sum())


@dataclass(frozen=True)
class CountModel:
    """n ~ Poisson(mu e + b), averaged over efficiency and background; arrays (K,) of nodes.

    Attributes:
        efficiency: Efficiency at each node.
        background: Background at each node, in events.
        weights: Weight of each node; they add up to one.
    """

    efficiency: FloatArray
    background: FloatArray
    weights: FloatArray

    @classmethod
    def from_nodes(cls, efficiency: Nodes, background: Nodes) -> CountModel:
        """Return the product of independent efficiency and background nodes."""
        e, b = np.meshgrid(efficiency.values, background.values, indexing="ij")
        return cls(e.ravel(), b.ravel(), np.outer(efficiency.weights, background.weights).ravel())

    def expected(self, mu: FloatArray) -> FloatArray:
        """Return the expected events (..., K) at each yield mu (...)."""
        return np.asarray(mu)[..., None] * self.efficiency + self.background

    def pmf(self, n: npt.ArrayLike, mu: npt.ArrayLike) -> FloatArray:
        """Return P(n | mu); n and mu broadcast."""
        counted, yields = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(mu, dtype=np.float64))
        log_factorial = special.gammaln(counted + 1.0)[..., None]
        total = np.zeros(counted.shape)
        # Many counts and yields at once would fill the memory with nodes: take a few nodes at a time.
        step = max(1, CHUNK // max(counted.size, 1))
        for i in range(0, len(self.weights), step):
            part = CountModel(*(a[i : i + step] for a in (self.efficiency, self.background, self.weights)))
            expected = part.expected(yields)
            log_pmf = special.xlogy(counted[..., None], expected) - expected - log_factorial
            total += np.exp(log_pmf) @ part.weights
        return total

    def cdf(self, n: npt.ArrayLike, mu: npt.ArrayLike) -> FloatArray:
        """Return P(<= n | mu); n and mu broadcast."""
        counted, yields = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(mu, dtype=np.float64))
        return np.asarray(special.gammaincc(counted[..., None] + 1.0, self.expected(yields)) @ self.weights)

    @property
    def mean_efficiency(self) -> float:
        """Efficiency averaged over the nodes."""
        return float(self.efficiency @ self.weights)


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
    return CountModel.from_nodes(gamma(efficiency, efficiency_sigma), gaussian(background, background_sigma))
