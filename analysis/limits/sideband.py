"""The background of a count as it was measured: processes, each counted where no signal is.

A process i is expected with b_i events and was counted with m_i ~ Poisson(tau_i b_i) in a side band: off the
resonance, in simulation of tau times the data, or away from the signal region. Averaged over what this leaves open, b_i
follows a gamma distribution of shape m_i and mean m_i/tau_i, the posterior of the prior 1/b; without a count b_i is
zero. The flat prior, of shape m_i + 1, makes limits that cover too little, and stronger ones the smaller the side band
is. The number of background events is then negative binomial, and processes are folded.

A process that is carried over by a factor known to a width kappa, such as a rate of misidentification, is spread by a
log-normal of that width which keeps its mean. A factor that processes share, by its name, moves them together.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import checks

# Width of a factor up to which the coverage of limits was computed.
KAPPA_MAX: Final = 2.0
# Gauss-Hermite nodes per direction in which factors move, for one, two and three directions; beyond, Sobol points.
N_NODES: Final = (41, 25, 15)
N_SOBOL: Final = 4096
# Share of the largest variance below which a direction is rounding.
ROUNDING: Final = 1e-12
# Logarithm whose exponential is zero, also times a count of one.
LOG_OF_NOTHING: Final = -1e4
# Counts that are looked at, at most.
COUNTS_MAX: Final = 4000
# Probability left out at the upper end of a distribution.
TAIL: Final = 1e-10


@dataclass(frozen=True)
class SideBand:
    """One background process.

    Attributes:
        name: The process.
        m: Counted events; a number that is not whole where only a mean and a width are known.
        tau: Events counted there for each one expected among the candidates.
        factors: (name, width) of the factors by which it is carried over.
    """

    name: str
    m: float
    tau: float
    factors: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        checks.non_negative(f"{self.name}: m", self.m)
        checks.positive(f"{self.name}: tau", self.tau)
        for factor, kappa in self.factors:
            checks.non_negative(f"{self.name}: kappa of {factor!r}", kappa)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the process of a record ``{"name", "m", "tau", "factors": {name: width}}``.

        Raises:
            ValueError: A key is missing, or a value is no number or an impossible one.
        """
        name = str(content.get("name", "a process"))
        for key in ("m", "tau"):
            if key not in content:
                msg = f"{name}: got no {key!r}; wanted 'name', 'm', 'tau' and 'factors'"
                raise ValueError(msg)
        m, tau = (checks.number(f"{name}: {key}", content[key]) for key in ("m", "tau"))
        factors = {str(f): checks.number(f"{name}: kappa of {f!r}", k) for f, k in content.get("factors", {}).items()}
        return cls(name, m, tau, tuple(sorted(factors.items())))

    @classmethod
    def from_mean(cls, name: str, mean: float, width: float) -> Self:
        """Return the process of a given mean and width in events: m = (mean/width)², tau = mean/width².

        Raises:
            ValueError: The mean is zero: then no count and no tau can be said.
        """
        checks.positive(f"{name}: width", width)
        if not mean > 0.0:
            msg = (
                f"{name}={mean:g} ± {width:g}: a background of nothing has no Gaussian width; "
                "wanted a side band, its count m and its size tau: b ~ gamma(m)/tau"
            )
            raise ValueError(msg)
        return cls(name, (mean / width) ** 2, mean / width**2)

    @property
    def mean(self) -> float:
        """Expected events, m/tau."""
        return self.m / self.tau

    @property
    def kappa(self) -> float:
        """Width of all its factors together."""
        return math.hypot(*(kappa for _, kappa in self.factors))

    @property
    def variance(self) -> float:
        """Variance of the expected events."""
        spread = math.exp(self.kappa**2)
        return self.mean**2 * (spread * (1.0 + 1.0 / self.m) - 1.0) if self.m > 0.0 else 0.0


@dataclass(frozen=True)
class Background:
    """All background of a count.

    Attributes:
        bands: Processes with a side band.
        known: Expected events of what is known exactly.
    """

    bands: tuple[SideBand, ...] = ()
    known: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        checks.non_negative("background", self.known)

    @property
    def mean(self) -> float:
        """Expected events."""
        return self.known + math.fsum(band.mean for band in self.bands)

    @property
    def sigma(self) -> float:
        """Standard deviation of the expected events, processes that share a factor moving together."""
        active = _active(self.bands)
        covariance = np.expm1(_covariance(active)) * np.outer([b.mean for b in active], [b.mean for b in active])
        return math.sqrt(float(covariance.sum()) + math.fsum(math.exp(b.kappa**2) * b.mean**2 / b.m for b in active))

    @property
    def is_known(self) -> bool:
        """Whether nothing about it is uncertain."""
        return not _active(self.bands)

    def plus(self, known: float) -> Background:
        """Return the background with more events that are known exactly."""
        return Background(self.bands, self.known + known)

    def counts(self, n_max: int) -> FloatArray:
        """Return the probabilities (n_max + 1,) of 0, 1, ... background events, read-only."""
        return _counts(self, n_max)

    def n_max(self, tail: float = TAIL) -> int:
        """Return a count that is exceeded with a probability of `tail`, or `COUNTS_MAX`."""
        reach = math.fsum(float(stats.gamma.isf(tail, band.m)) / band.tau for band in _active(self.bands))
        expected = self.known + reach
        n_max = int(stats.poisson.isf(tail, expected)) + 1 if expected > 0.0 else 0
        while n_max < COUNTS_MAX and n_max and self.counts(n_max).sum() < 1.0 - 2.0 * tail:
            n_max *= 2
        return min(n_max, COUNTS_MAX)


def negative_binomial(n: npt.ArrayLike, mean: npt.ArrayLike, shape: float) -> FloatArray:
    """Return the probability of a count whose mean follows a gamma distribution; Poisson at infinite shape.

    Gamma(k + n)/(Gamma(k) k^n) is a product of (1 + i/k): ratios of gamma functions lose all digits at large k.

    Args:
        n: Counts; broadcasts with `mean`.
        mean: Mean of the gamma distribution.
        shape: Its shape k, the inverse square of its relative width.
    """
    counts, expected = np.asarray(n, dtype=np.int64), np.asarray(mean, dtype=np.float64)
    i = np.arange(int(counts.max()))
    coefficients = np.concatenate([[0.0], np.cumsum(np.log1p(i / shape) - np.log1p(i))])
    grown = np.log1p(expected / shape)
    exponent = shape * grown if math.isfinite(shape) else expected
    with np.errstate(divide="ignore"):
        log_ratio = np.maximum(np.log(expected) - grown, LOG_OF_NOTHING)
    return np.asarray(np.exp(coefficients[counts] + counts * log_ratio - exponent))


def _active(bands: Iterable[SideBand]) -> tuple[SideBand, ...]:
    return tuple(band for band in bands if band.m > 0.0)


@functools.lru_cache(maxsize=256)
def _counts(background: Background, n_max: int) -> FloatArray:
    bands, n = _active(background.bands), np.arange(n_max + 1)
    scales, weights = _factors(bands)
    folded = np.broadcast_to(negative_binomial(n, background.known, math.inf), (len(weights), n_max + 1))
    for band, scale, private in zip(bands, scales.T, _private(bands), strict=True):
        folded = _fold(folded, _spread(band, scale, private, n))
    probabilities = np.asarray(weights @ folded)
    probabilities.flags.writeable = False
    return probabilities


def _spread(band: SideBand, scale: FloatArray, private: float, n: npt.NDArray[np.int64]) -> FloatArray:
    """Return P(n) of one process at each common scale (K,), averaged over its private factors, (K, N)."""
    nodes, weights = _log_normal(private)
    means = band.mean * scale[:, None] * nodes
    return np.einsum("kjn,j->kn", negative_binomial(n, means[..., None], band.m), weights)


def _fold(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the probabilities (K, N) of sums of two counts."""
    if one.shape[1] == 1:
        return one * other
    return np.stack([np.convolve(a, b)[: len(a)] for a, b in zip(one, other, strict=True)])


def _log_normal(kappa: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes, of mean one, and weights of a log-normal."""
    if kappa == 0.0:
        return np.ones(1), np.ones(1)
    points, weights = special.roots_hermitenorm(N_NODES[0])
    nodes = np.exp(kappa * points)
    weights = weights / weights.sum()
    return nodes / (weights @ nodes), weights


def _shared(bands: Iterable[SideBand]) -> list[str]:
    """Return the names of the factors that more than one process has."""
    counted = Counter(name for band in bands for name, _ in band.factors)
    return sorted(name for name, n in counted.items() if n > 1)


def _private(bands: tuple[SideBand, ...]) -> list[float]:
    shared = _shared(bands)
    return [math.hypot(*(kappa for name, kappa in band.factors if name not in shared)) for band in bands]


def _covariance(bands: tuple[SideBand, ...]) -> FloatArray:
    """Return the covariance (P, P) of the logarithms of the processes' factors."""
    names = sorted({name for band in bands for name, _ in band.factors})
    widths = np.array([[dict(band.factors).get(name, 0.0) for name in names] for band in bands])
    return np.asarray(widths.reshape(len(bands), len(names)) @ widths.reshape(len(bands), len(names)).T)


def _factors(bands: tuple[SideBand, ...]) -> tuple[FloatArray, FloatArray]:
    """Return scales (K, P) of the processes by the factors that they share, each of mean one, and weights (K,)."""
    covariance = _covariance(bands) - np.diag(np.square(_private(bands)))
    variances, directions = np.linalg.eigh(covariance) if bands else (np.zeros(0), np.zeros((0, 0)))
    is_real = variances > ROUNDING * max(1.0, variances.max(initial=0.0))
    points, weights = _normal_points(int(is_real.sum()))
    logs = points @ (directions[:, is_real] * np.sqrt(variances[is_real])).T
    scales = np.exp(logs)
    return scales / (weights @ scales), weights


def _normal_points(n_directions: int) -> tuple[FloatArray, FloatArray]:
    """Return points (K, D) and weights (K,) that average over D standard normal variables."""
    if n_directions == 0:
        return np.zeros((1, 0)), np.ones(1)
    if n_directions > len(N_NODES):
        points = stats.norm.ppf(stats.qmc.Sobol(n_directions, scramble=False).random(N_SOBOL) + 0.5 / N_SOBOL)
        return points, np.full(N_SOBOL, 1.0 / N_SOBOL)
    nodes, weights = special.roots_hermitenorm(N_NODES[n_directions - 1])
    grid = np.meshgrid(*[nodes] * n_directions, indexing="ij")
    product = functools.reduce(np.multiply.outer, [weights / weights.sum()] * n_directions)
    return np.stack([g.ravel() for g in grid], axis=-1), np.ravel(product)
