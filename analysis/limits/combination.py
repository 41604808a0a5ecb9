"""Several channels, such as conjugate decays or data-taking periods, in one likelihood.

Channel i counts n_i ~ Poisson(mu f_i kappa e_i + b_i + t s_i): mu is the produced yield of all channels together, f_i
the share of it that channel i sees (its fraction of the J/psi times its fraction of the decays), e_i its efficiency and
b_i its background with uncertainties of their own. All channels share kappa = 1 +- delta_common and t = 0 +- 1, of
which one standard deviation adds s_i to the background. The limit is that of the profile likelihood referred to the
best fit with mu >= 0, cut as in `analysis.limits.rolke`. Without any event the published rule U(0) = 2 U(1) - U(2)
holds, the added events being those of the channel that expects most signal.

A single channel's limit refers to the unbounded best fit, which several channels do not have: equal parts of a channel
give its limit where at least as many events are seen as are expected from background, and a weaker one below, where the
single channel's falls to that of the smallest larger count which has a limit. `differs` says which it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize, stats

from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import Interval
from jpsi_lnv.analysis.limits.profile import Counting, Gaussian, best_pull, deviance

# Standard deviations of the common scale that the fit looks at; the scale stays above zero.
SCALE_REACH: Final = 8.0
SCALE_MIN: Final = 1e-3
# Share of the common uncertainty of a background that a channel has as its own: too small to be seen in a limit, it
# keeps the pull finite where the common shift leaves a channel with events nothing to expect.
OWN_MIN: Final = 1e-6
# Doublings of the yield after which a likelihood that is still too flat is taken to have no crossing.
N_DOUBLINGS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One counting channel.

    Attributes:
        n_obs: Observed events.
        share: Fraction of the produced signal that is produced in this channel.
        efficiency: Selected over produced, in (0, 1].
        delta: Relative uncertainty of the efficiency that is this channel's own.
        background: Expected background events.
        background_sigma: Its uncertainty in events that is this channel's own.
        background_sigma_common: Its uncertainty in events that moves the backgrounds of all channels together.
    """

    n_obs: int
    share: float
    efficiency: float
    delta: float = 0.0
    background: float = 0.0
    background_sigma: float = 0.0
    background_sigma_common: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        checks.counts("n_obs", self.n_obs)
        checks.efficiency("share", self.share)
        checks.efficiency("efficiency", self.efficiency)
        checks.non_negative("delta", self.delta)
        checks.non_negative("background", self.background)
        checks.non_negative("background_sigma", self.background_sigma)
        checks.non_negative("background_sigma_common", self.background_sigma_common)

    @property
    def acceptance(self) -> float:
        """Counted events per produced event of all channels."""
        return self.share * self.efficiency


def differs(channels: Sequence[Channel]) -> bool:
    """Return whether the rule is another than a single channel's: fewer events than background, and any background."""
    return sum(c.n_obs for c in channels) < sum(c.background for c in channels)


def upper_limit(channels: Sequence[Channel], *, delta_common: float = 0.0, confidence_level: float = 0.90) -> float:
    """Return the upper end of `interval`."""
    return interval(channels, delta_common=delta_common, confidence_level=confidence_level).upper


def interval(channels: Sequence[Channel], *, delta_common: float = 0.0, confidence_level: float = 0.90) -> Interval:
    """Return the interval of the produced yield of all channels together.

    Args:
        channels: At least one; their shares add up to at most one.
        delta_common: Relative uncertainty of all efficiencies that moves them together.
        confidence_level: Content of the two-sided chi2 quantile.

    Raises:
        ValueError: A number is impossible, or the shares add up to more than one.
    """
    checks.non_negative("delta_common", delta_common)
    threshold = float(stats.chi2.ppf(checks.confidence_level(confidence_level), df=1))
    if not channels or sum(c.share for c in channels) > 1.0 + 1e-9:
        msg = f"channels have shares {[c.share for c in channels]}: wanted at least one, and a sum of one or less"
        raise ValueError(msg)
    if any(c.n_obs for c in channels):
        return Interval(*_ends(channels, delta_common, threshold), confidence_level)
    first, second = (_ends(_with_events(channels, n), delta_common, threshold)[1] for n in (1, 2))
    return Interval(0.0, max(2.0 * first - second, 0.0), confidence_level)


def _with_events(channels: Sequence[Channel], n_obs: int) -> list[Channel]:
    largest = max(range(len(channels)), key=lambda i: channels[i].acceptance)
    return [dataclasses.replace(c, n_obs=n_obs) if i == largest else c for i, c in enumerate(channels)]


def _ends(channels: Sequence[Channel], delta_common: float, threshold: float) -> tuple[float, float]:
    profile = _profile(channels, delta_common)
    scale = (sum(c.n_obs for c in channels) + 1.0) / sum(c.acceptance for c in channels)
    best = float(optimize.minimize_scalar(profile, bounds=(0.0, 3.0 * scale), options={"xatol": 1e-7 * scale}).x)
    # A best fit at the edge of the bounds is no signal.
    best = 0.0 if profile(0.0) <= profile(best) else best
    level = profile(best) + threshold
    lower = 0.0 if profile(0.0) <= level else _root(profile, level, 0.0, best)
    high = best + scale
    for _ in range(N_DOUBLINGS):
        if profile(high) > level:
            return lower, _root(profile, level, best, high)
        high *= 2.0
    return lower, float("inf")


def _root(profile: Callable[[float], float], level: float, low: float, high: float) -> float:
    return float(optimize.brentq(lambda mu: min(profile(mu), np.finfo(float).max) - level, low, high, rtol=1e-10))


def _profile(channels: Sequence[Channel], delta_common: float) -> Callable[[float], float]:
    """Return mu -> -2 ln L, minimised over the common scale, the common shift and every channel's own nuisances."""
    columns = {f.name: np.array([getattr(c, f.name) for c in channels], float) for f in dataclasses.fields(Channel)}
    common = columns["background_sigma_common"]
    own = np.hypot(columns["background_sigma"], OWN_MIN * common)

    def shifted(shift: float) -> Counting:
        return Counting(
            columns["n_obs"],
            Gaussian(columns["background"] + shift * common, own),
            Gaussian(columns["efficiency"], columns["delta"] * columns["efficiency"]),
        )

    def of_scale(mu: float, scale: float) -> float:
        yields = mu * scale * columns["share"]
        shift = _best_shift(lambda t: float(common @ best_pull(shifted(t), yields)))
        value, _ = deviance(shifted(shift), yields)
        pull = (scale - 1.0) / delta_common if delta_common else 0.0
        return float(value.sum() + pull**2 + shift**2)

    def of_yield(mu: float) -> float:
        if delta_common == 0.0 or mu == 0.0:
            return of_scale(mu, 1.0)
        bounds = (max(1.0 - SCALE_REACH * delta_common, SCALE_MIN), 1.0 + SCALE_REACH * delta_common)
        fit = optimize.minimize_scalar(
            lambda scale: of_scale(mu, scale), bounds=bounds, method="bounded", options={"xatol": 1e-9}
        )
        return float(fit.fun)

    return of_yield


def _best_shift(pull_at: Callable[[float], float]) -> float:
    """Return the common shift t of the backgrounds, in standard deviations, of least cost: t = sum of s_i g_i(t).

    Args:
        pull_at: t -> sum of s_i g_i(t), the pulls of the counts at that shift (`analysis.limits.profile`), which falls.
    """
    # The pull at no shift is the largest on that side; twice that is beyond the root by more than rounding.
    far = 2.0 * pull_at(0.0)
    return float(optimize.brentq(lambda t: t - pull_at(t), *sorted((0.0, far)), xtol=1e-10)) if far else 0.0
