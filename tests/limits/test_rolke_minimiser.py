"""The profile-likelihood interval against a minimiser that knows the likelihood and nothing else.

No closed form is shared with the code: every nuisance parameter, and for the reference the signal too, is found by
Nelder-Mead on the plain negative log-likelihood.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from jpsi_lnv.analysis.limits.rolke import Model, interval

TOLERANCE = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000}


def poisson_cost(n, expected):
    """-2 ln L without constants; infinite where the expectation cannot be."""
    if expected < 0 or (expected == 0 and n > 0):
        return math.inf
    return 2 * (expected - (n * math.log(expected) if n else 0.0))


def background_cost(arguments, b):
    if "tau" in arguments:
        return poisson_cost(arguments["n_bkg_region"], arguments["tau"] * b)
    sigma = arguments.get("background_sigma", 0)
    return ((b - arguments["background"]) / sigma) ** 2


def efficiency_cost(arguments, e):
    if "n_mc_total" in arguments:
        k, n = arguments["n_mc_passed"], arguments["n_mc_total"]
        if not 0 < e < 1:
            return math.inf
        return -2 * (k * math.log(e) + (n - k) * math.log1p(-e))
    return ((e - arguments["efficiency"]) / arguments["efficiency_sigma"]) ** 2


def nuisances(arguments):
    """Return the start of the uncertain parameters and a function to (b, e, cost)."""
    has_background = "tau" in arguments or arguments.get("background_sigma", 0) > 0
    has_efficiency = "n_mc_total" in arguments or arguments.get("efficiency_sigma", 0) > 0
    e0 = arguments.get("efficiency") or arguments["n_mc_passed"] / arguments["n_mc_total"]
    is_sideband = "tau" in arguments
    b0 = arguments["n_bkg_region"] / arguments["tau"] if is_sideband else arguments["background"]
    start = ([math.sqrt(b0 + 0.1) if is_sideband else b0] if has_background else []) + ([e0] if has_efficiency else [])

    def unpack(point):
        values = list(point)
        b = values.pop(0) if has_background else b0
        b = b * b if is_sideband else b  # a side band's background is not negative
        e = values.pop(0) if has_efficiency else e0
        cost = background_cost(arguments, b) if has_background else 0.0
        return b, e, cost + (efficiency_cost(arguments, e) if has_efficiency else 0.0)

    return start, unpack


def profile(arguments, n, mu):
    start, unpack = nuisances(arguments)

    def cost(point):
        b, e, constraint = unpack(point)
        return constraint + poisson_cost(n, mu * e + b)

    if not start:
        return cost([])
    # A second pass from where the first ended, and another start: Nelder-Mead can stall.
    fits = []
    for scale in (1.0, 0.7):
        point = np.array(start) * scale + 1e-3
        for _ in range(3):
            fit = optimize.minimize(cost, point, method="Nelder-Mead", options=TOLERANCE)
            point = fit.x
        fits.append(fit.fun)
    return min(fits)


def reference(arguments, n, *, bounded):
    """Return the smallest cost over the signal too, and the signal where it is."""
    start, unpack = nuisances(arguments)
    e0 = unpack(start)[1]

    def cost(point):
        b, e, constraint = unpack(point[1:])
        mu = point[0] ** 2 if bounded else point[0]
        return constraint + poisson_cost(n, mu * e + b)

    point = np.array([math.sqrt(n / e0) if bounded else n / e0, *start]) + 1e-3
    for _ in range(6):
        fit = optimize.minimize(cost, point, method="Nelder-Mead", options=TOLERANCE)
        point = fit.x
    return fit.fun, (point[0] ** 2 if bounded else point[0])


def minimised_interval(arguments, n, confidence_level, *, bounded=False):
    level, best = reference(arguments, n, bounded=bounded)
    level += stats.chi2.ppf(confidence_level, df=1)

    def excess(mu):
        return min(profile(arguments, n, mu), 1e6) - level

    best = max(best, 0.0)
    lower = optimize.brentq(excess, 1e-9, best, xtol=1e-9) if best > 0 and excess(1e-9) > 0 else 0.0
    if best == 0.0 and excess(0.0) > 0:
        return 0.0, 0.0
    high = 2 * best + 5
    while excess(high) < 0:
        high *= 2
    return lower, optimize.brentq(excess, best, high, xtol=1e-9)


GRIDS = {
    Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY: [
        {"n_bkg_region": y, "tau": tau, "efficiency": e, "efficiency_sigma": s * e}
        for (y, tau), (e, s) in itertools.product([(0, 1.0), (3, 2.5), (7, 1.3)], [(0.1583, 0.07), (0.6, 0.25)])
    ],
    Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY: [
        {"background": b, "background_sigma": sb, "efficiency": e, "efficiency_sigma": s * e}
        for (b, sb), (e, s) in itertools.product([(0.0, 0.5), (1.0, 0.3), (4.0, 1.0)], [(0.1583, 0.07), (0.6, 0.25)])
    ],
    Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY: [
        {"n_bkg_region": y, "tau": tau, "efficiency": 0.25} for y, tau in [(0, 0.5), (2, 4.0), (7, 5.0)]
    ],
    Model.GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY: [
        {"background": b, "background_sigma": sb, "efficiency": 0.65} for b, sb in [(0.0, 1.0), (0.5, 0.2), (3.0, 0.8)]
    ],
    Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY: [
        {"background": b, "n_mc_passed": k, "n_mc_total": m}
        for b, (k, m) in itertools.product([0.5, 2.0], [(500, 750), (16, 100)])
    ],
    Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY: [
        {"background": b, "efficiency": 0.77, "efficiency_sigma": s} for b, s in [(0.3, 0.05), (2.5, 0.15)]
    ],
}
POINTS = [
    pytest.param(model, arguments, n, 0.90 if i % 3 else 0.95, id=f"{model.name}-{i}-n{n}")
    for model, grid in GRIDS.items()
    for i, arguments in enumerate(grid)
    for n in (1, 2, 9)
]


def test_there_are_enough_points():
    assert len(POINTS) >= 60


@pytest.mark.parametrize(("model", "arguments", "n", "confidence_level"), POINTS)
def test_both_ends_agree(model, arguments, n, confidence_level):
    lower, upper = minimised_interval(arguments, n, confidence_level)
    for more in itertools.count(1):  # so few events that no signal is inside: the rule takes the next count
        if upper > 0:
            break
        upper = minimised_interval(arguments, n + more, confidence_level)[1]
    expected = lower, upper
    result = interval(model, n_obs=n, confidence_level=confidence_level, **arguments)
    assert (result.lower, result.upper) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("model", "arguments"), [(model, grid[-1]) for model, grid in GRIDS.items()])
def test_no_events_the_likelihoods_own_crossing(model, arguments):
    expected = minimised_interval(arguments, 0, 0.90, bounded=True)
    result = interval(model, n_obs=0, bounded=True, zero_counts="profile", **arguments)
    assert (result.lower, result.upper) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_fewer_events_than_background(n, bounded):
    arguments = {"background": 4.0, "background_sigma": 1.0, "efficiency": 0.5, "efficiency_sigma": 0.05}
    expected = minimised_interval(arguments, n, 0.90, bounded=bounded)
    assert expected[1] > 0
    result = interval(Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=n, bounded=bounded, **arguments)
    assert (result.lower, result.upper) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_count_too_small_for_any_signal_takes_the_limit_of_the_next_that_is_not():
    arguments = {"background": 8.0, "background_sigma": 0.4, "efficiency": 0.1583, "efficiency_sigma": 0.011}
    assert minimised_interval(arguments, 3, 0.90) == (0.0, 0.0)
    expected = minimised_interval(arguments, 4, 0.90)
    for n in range(5):
        result = interval(Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=n, **arguments)
        assert (result.lower, result.upper) == pytest.approx(expected, rel=1e-4)
