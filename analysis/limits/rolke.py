"""Confidence intervals by the profile likelihood, with an uncertain background and an uncertain efficiency.

W. A. Rolke, A. M. López, J. Conrad, Nucl. Instrum. Meth. A 551, 493 (2005), doi:10.1016/j.nima.2005.05.068, models 2
to 7. The interval is {mu: -2 ln lambda(mu) <= q} with q the quantile of chi2 with one degree of freedom: at 90 %
q = 2.706, two-sided. Read as a one-sided statement the same upper end is a 95 % limit.

*Unbounded* refers the likelihood to its best fit even where that is a negative signal; *bounded* to the best fit with
mu >= 0. Where far fewer events are seen than expected the unbounded interval holds no mu >= 0; the limit is then that
of the smallest larger count which has one. At zero observed events the likelihood has no maximum; the publication's
convention continues the limit linearly from one and two events, U(0) = 2 U(1) - U(2); `zero_counts="profile"` takes the
likelihood's own crossing.

Model 1 of the paper (Poisson background, binomial efficiency) is left out: its public implementation has sign errors in
the gradient and can settle on a wrong extremum. Pass the binomial uncertainty sqrt(e(1-e)/n) to
`Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import Interval
from jpsi_lnv.analysis.limits.profile import (
    Binomial,
    Counting,
    Gaussian,
    Known,
    PoissonSideband,
    Term,
    crossing,
    deviance,
)

Rows = IntArray
# Counts of some of the experiments, and which -> lower and upper ends.
Ends = Callable[[FloatArray, Rows], tuple[FloatArray, FloatArray]]
ZeroCounts = Literal["extrapolated", "profile"]
# Smaller backgrounds in events, and smaller uncertainties, are none.
NEGLIGIBLE: Final = 1e-30


class Model(Enum):
    """What is known of background and efficiency, and the arguments that say it."""

    POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY = ("n_bkg_region", "tau", "efficiency", "efficiency_sigma")
    GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY = ("background", "background_sigma", "efficiency", "efficiency_sigma")
    POISSON_BACKGROUND_KNOWN_EFFICIENCY = ("n_bkg_region", "tau", "efficiency")
    GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY = ("background", "background_sigma", "efficiency")
    KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY = ("background", "n_mc_passed", "n_mc_total")
    KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY = ("background", "efficiency", "efficiency_sigma")


def interval(
    model: Model,
    *,
    n_obs: int,
    confidence_level: float = 0.90,
    bounded: bool = False,
    zero_counts: ZeroCounts = "extrapolated",
    **measured: float,
) -> Interval:
    """Return the profile-likelihood interval of the produced signal yield.

    Args:
        model: What is known of background and efficiency.
        n_obs: Observed events.
        confidence_level: Content of the two-sided chi2 quantile, in (0, 1).
        bounded: Refer the likelihood to the best fit with mu >= 0.
        zero_counts: At n_obs = 0 the published linear continuation, or the likelihood's own crossing.
        **measured: The arguments of the model: `n_bkg_region` events in a side band `tau` times the signal region, or
            `background` and `background_sigma` (events); `efficiency` and `efficiency_sigma` (fractions, absolute), or
            `n_mc_passed` of `n_mc_total` simulated events.

    Raises:
        ValueError: A number is impossible, or the model does not use or lacks an argument.
    """
    lower, upper = intervals(
        model,
        n_obs=n_obs,
        confidence_level=confidence_level,
        bounded=bounded,
        zero_counts=zero_counts,
        **measured,
    )
    return Interval(float(lower[0]), float(upper[0]), confidence_level)


def upper_limit(model: Model, *, n_obs: int, **options: Any) -> float:
    """Return the upper end of `interval`, with the same arguments."""
    return interval(model, n_obs=n_obs, **options).upper


def intervals(
    model: Model,
    *,
    n_obs: npt.ArrayLike,
    confidence_level: float = 0.90,
    bounded: bool = False,
    zero_counts: ZeroCounts = "extrapolated",
    **measured: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return lower and upper ends (N,) of many experiments: every argument of `interval`, as arrays that broadcast."""
    _check_arguments(model, measured)
    names = tuple(measured)
    arrays = np.broadcast_arrays(checks.counts("n_obs", n_obs), *(np.asarray(measured[n], np.float64) for n in names))
    n, *values = (np.atleast_1d(a).ravel() for a in arrays)
    terms = _terms(dict(zip(names, values, strict=True)))
    quantile = float(stats.chi2.ppf(checks.confidence_level(confidence_level), df=1))

    def ends(counted: FloatArray, rows: Rows) -> tuple[FloatArray, FloatArray]:
        background, efficiency = (term.take(rows) for term in terms)
        return _ends(Counting(counted, background, efficiency), quantile, bounded=bounded)

    lower, upper = ends(n, np.arange(len(n)))
    if zero_counts == "extrapolated":
        rows = np.flatnonzero(n == 0.0)
        upper[rows] = _continued(ends, rows)
    if not bounded:
        rows = np.flatnonzero(upper <= 0.0)
        upper[rows] = _first_positive(ends, rows, n[rows], terms[0].take(rows).measured)
    return lower, upper


def _continued(ends: Ends, rows: Rows) -> FloatArray:
    """Return max(2 U(1) - U(2), 0); infinite where the efficiency is so uncertain that no count has a limit."""
    one = np.ones(len(rows))
    first, second = ends(one, rows)[1], ends(2.0 * one, rows)[1]
    has_limit = np.isfinite(first) & np.isfinite(second)
    upper = np.full(len(rows), np.inf)
    upper[has_limit] = np.maximum(2.0 * first[has_limit] - second[has_limit], 0.0)
    return upper


def _first_positive(ends: Ends, rows: Rows, n: FloatArray, background: FloatArray) -> FloatArray:
    """Return the limits of the smallest counts above n that have one above zero.

    The count of the expected background has one: bisect between it and n.
    """
    low, high = n, np.maximum(np.ceil(background), n + 1.0)
    while np.any(high - low > 1.0):
        middle = np.ceil(0.5 * (low + high))
        is_positive = ends(middle, rows)[1] > 0.0
        low, high = np.where(is_positive, low, middle), np.where(is_positive, middle, high)
    return ends(high, rows)[1]


def _ends(experiment: Counting, quantile: float, *, bounded: bool) -> tuple[FloatArray, FloatArray]:
    threshold = np.full_like(experiment.n, quantile)
    if bounded:
        at_zero, _ = deviance(experiment, np.zeros_like(experiment.n))
        threshold = threshold + np.where(experiment.best_signal < 0.0, at_zero, 0.0)
    return crossing(experiment, threshold)


def _check_arguments(model: Model, measured: dict[str, npt.ArrayLike]) -> None:
    wanted = set(model.value)
    for name in sorted(set(measured) - wanted):
        msg = f"{name}={measured[name]!r}: {model.name} does not use it; it takes n_obs, {', '.join(model.value)}"
        raise ValueError(msg)
    for name in sorted(wanted - set(measured)):
        msg = f"{name} is missing: {model.name} takes n_obs, {', '.join(model.value)}"
        raise ValueError(msg)


def _terms(measured: dict[str, FloatArray]) -> tuple[Term, Term]:
    return _background(measured), _efficiency(measured)


def _background(measured: dict[str, FloatArray]) -> Term:
    if "tau" in measured:
        n = checks.counts("n_bkg_region", measured["n_bkg_region"])
        return PoissonSideband(n, checks.positive("tau", measured["tau"]))
    background = _or_none(checks.non_negative("background", measured["background"]))
    if "background_sigma" in measured:
        return Gaussian(background, _or_none(checks.non_negative("background_sigma", measured["background_sigma"])))
    return Known(background)


def _efficiency(measured: dict[str, FloatArray]) -> Term:
    if "n_mc_total" in measured:
        passed = checks.positive("n_mc_passed", checks.counts("n_mc_passed", measured["n_mc_passed"]))
        total = checks.counts("n_mc_total", measured["n_mc_total"])
        checks.efficiency("n_mc_passed/n_mc_total", passed / np.maximum(total, 1.0))
        return Binomial(passed, total)
    efficiency = checks.efficiency("efficiency", measured["efficiency"])
    if "efficiency_sigma" in measured:
        return Gaussian(efficiency, _or_none(checks.non_negative("efficiency_sigma", measured["efficiency_sigma"])))
    return Known(efficiency)


def _or_none(values: FloatArray) -> FloatArray:
    """Return the values with those that no arithmetic can tell from zero as zero: their inverse would overflow."""
    return np.where(values < NEGLIGIBLE, 0.0, values)
