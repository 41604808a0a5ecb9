"""The second implementation, last step: both limits of the produced yield from the numbers that enter them.

The publication's is the unbounded profile likelihood of Rolke, Lopez and Conrad (doi:10.1016/j.nima.2005.05.068),
section V.A; the recommended one is CLs of the count, averaged over efficiency and background (docs/limits.md).
"""

import math

import numpy as np
from scipy import optimize, special, stats

QUANTILE = stats.chi2.ppf(0.90, 1)


def profile(mu, n, efficiency, sigma, background, sigma_background):
    """Return -2 ln lambda of a yield: Poisson count, Gaussian background and efficiency.

    With the pull g = n/x - 1 of the expected count x the best background is b + sigma_b^2 g, the best efficiency
    e + sigma_e^2 mu g: x solves a quadratic equation.
    """
    nominal, variance = mu * efficiency + background, sigma_background**2 + (sigma * mu) ** 2
    half = (nominal - variance) / 2
    root = math.hypot(half, math.sqrt(variance * n))
    x = half + root if half > 0 else variance * n / (root - half)  # two forms of it: no difference of large numbers
    pull = n / x - 1
    return 2 * (x - n + n * math.log(n / x)) + pull**2 * variance


def crossing(n, *measured):
    """Return the upper end of the interval for n > 0 events; inf without one."""
    efficiency, _, background, _ = measured
    best = (n - background) / efficiency
    step = max(abs(best), 1 / efficiency)
    while profile(best + step, n, *measured) < QUANTILE:
        step *= 2
        if step > 1e12 / efficiency:
            return math.inf
    return optimize.brentq(lambda mu: profile(mu, n, *measured) - QUANTILE, best, best + step, xtol=1e-13, rtol=1e-14)


def rolke(n, *measured):
    """Return the publication's limit; None without one.

    At zero events it continues from one and two; where nothing is left above zero it is that of the next count which
    leaves something.
    """
    if n == 0:
        one, two = crossing(1, *measured), crossing(2, *measured)
        limit = max(2 * one - two, 0.0) if math.isfinite(one + two) else math.inf
    else:
        limit = crossing(n, *measured)
    while limit <= 0:
        n += 1
        limit = crossing(n, *measured)
    return limit if math.isfinite(limit) else None


def negative_binomial(n, mean, shape):
    """Return probabilities of counts (N,) whose mean follows a gamma distribution, at means (...), as (..., N)."""
    mean = np.asarray(mean, dtype=float)[..., None]
    if math.isinf(shape):
        return stats.poisson.pmf(n, mean)
    return stats.nbinom.pmf(n, shape, shape / (shape + mean))


def nodes(n_directions):
    """Return points that average over standard normal numbers, and weights: Gauss-Hermite, beyond three Sobol's."""
    if n_directions == 0:
        return np.zeros((1, 0)), np.ones(1)
    if n_directions > 3:
        sobol = stats.qmc.Sobol(n_directions, scramble=False).random(4096)
        return stats.norm.ppf(sobol + 0.5 / 4096), np.full(4096, 1 / 4096)
    x, w = special.roots_hermitenorm((41, 25, 15)[n_directions - 1])
    grids = np.meshgrid(*[x] * n_directions, indexing="ij")
    weights = np.prod(np.meshgrid(*[w / w.sum()] * n_directions, indexing="ij"), axis=0)
    return np.stack([g.ravel() for g in grids], axis=1), weights.ravel()


def background_counts(processes, n_max):
    """Return the probabilities of 0 ... n_max background events.

    b_i is gamma distributed with shape m and mean m/tau, times log-normal factors of mean one; those with one name are
    one number for all processes.
    """
    counted = {name: p for name, p in processes.items() if p[0] > 0}
    names = sorted({f for _, _, factors in counted.values() for f in factors})
    shared = [f for f in names if sum(f in factors for _, _, factors in counted.values()) > 1]
    n, empty = np.arange(n_max + 1), (n_max + 1) * [0.0]
    if not counted:
        return np.array([1.0, *empty[1:]])
    widths = np.array([[factors.get(f, 0.0) for f in shared] for _, _, factors in counted.values()])
    own = [math.hypot(*(k for f, k in factors.items() if f not in shared)) for _, _, factors in counted.values()]
    variances, directions = np.linalg.eigh(widths.reshape(len(counted), -1) @ widths.reshape(len(counted), -1).T)
    is_real = variances > 1e-12 * max(1.0, variances.max())
    points, weights = nodes(int(is_real.sum()))
    scales = np.exp(points @ (directions[:, is_real] * np.sqrt(variances[is_real])).T)
    scales /= weights @ scales
    folded = np.zeros((len(weights), n_max + 1))
    folded[:, 0] = 1.0
    for (m, tau, _), scale, kappa in zip(counted.values(), scales.T, own, strict=True):
        x, w = nodes(1) if kappa else nodes(0)
        factor = np.exp(kappa * x[:, 0]) if kappa else np.ones(1)
        factor /= w @ factor
        of_one = np.einsum("kjn,j->kn", negative_binomial(n, m / tau * scale[:, None] * factor, m), w)
        folded = np.array([np.convolve(a, b)[: n_max + 1] for a, b in zip(folded, of_one, strict=True)])
    return weights @ folded


def cls(n, efficiency, sigma, processes):
    """Return the recommended limit: the yield at which P(<= n | s + b)/P(<= n | b) is 0.1; None without one."""
    background, shape = background_counts(processes, n), (efficiency / sigma) ** 2

    def at_most(mu):
        return np.cumsum(negative_binomial(np.arange(n + 1), mu * efficiency, shape))[::-1] @ background

    high, none = (n + 1) / efficiency, at_most(0.0)
    while at_most(high) > 0.1 * none:
        high *= 2
        if high > 1e9 * (n + 1) / efficiency:
            return None
    return optimize.brentq(lambda mu: at_most(mu) / none - 0.1, 0, high, xtol=1e-10, rtol=1e-13)
