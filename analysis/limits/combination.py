"""Several channels, such as conjugate decays or data-taking periods, in one likelihood.

Channel i counts n_i ~ Poisson(mu f_i e_i (1 + sum of d_is x_s) + b_i + sigma_i y_i + s_i t): mu is the produced yield
of all channels together, f_i the share of it that channel i sees (its fraction of the J/psi times its fraction of the
decays), e_i its efficiency and b_i its background. The pulls x_s, y_i and t are 0 +- 1: a source s of uncertainty moves
the efficiencies of all channels that have it by d_is, y_i is a channel's own, and t moves all backgrounds together. The
limit is that of the profile likelihood referred to the best fit with mu >= 0, cut as in `analysis.limits.rolke`.
Without any event the published rule U(0) = 2 U(1) - U(2) holds, the added events being those of the channel that
expects most signal.

At a yield all pulls move the expected counts m linearly, by a covariance W: whatever their number, the best ones are
those of one number per channel, g_i = n_i/m_i - 1 with m = m_0 + W g, at the cost g W g.

A single channel's limit refers to the unbounded best fit, which several channels do not have: equal parts of a channel
give its limit where at least as many events are seen as are expected from background, and a weaker one below, where the
single channel's falls to that of the smallest larger count which has a limit. `differs` says which it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import optimize, stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import Interval
from jpsi_lnv.analysis.limits.profile import poisson_deviance

# What stands for no event, so that every expected count stays above zero; steps of Newton's method, the part of the way
# to nothing expected that one may go, the share of the promised fall that it must bring, and a fall that is none.
NO_EVENT: Final = 1e-10
N_NEWTON: Final = 200
STEP_MAX: Final = 0.99
FALL_MIN: Final = 1e-4
NO_FALL: Final = 1e-14
# Doublings of the yield after which a likelihood that is still too flat is taken to have no crossing.
N_DOUBLINGS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One counting channel.

    Attributes:
        n_obs: Observed events.
        share: Fraction of the produced signal that is produced in this channel.
        efficiency: Selected over produced, in (0, 1].
        sources: Relative change of the efficiency by one standard deviation of each source of uncertainty, by name; a
            source that several channels have moves them together.
        background: Expected background events.
        background_sigma: Its uncertainty in events that is this channel's own.
        background_sigma_common: Its uncertainty in events that moves the backgrounds of all channels together.
    """

    n_obs: int
    share: float
    efficiency: float
    sources: Mapping[str, float] = field(default_factory=dict)
    background: float = 0.0
    background_sigma: float = 0.0
    background_sigma_common: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        checks.counts("n_obs", self.n_obs)
        checks.efficiency("share", self.share)
        checks.efficiency("efficiency", self.efficiency)
        for name, change in self.sources.items():
            checks.number(name, change)
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


def upper_limit(channels: Sequence[Channel], *, confidence_level: float = 0.90) -> float:
    """Return the upper end of `interval`."""
    return interval(channels, confidence_level=confidence_level).upper


def interval(channels: Sequence[Channel], *, confidence_level: float = 0.90) -> Interval:
    """Return the interval of the produced yield of all channels together.

    Args:
        channels: At least one; their shares add up to at most one.
        confidence_level: Content of the two-sided chi2 quantile.

    Raises:
        ValueError: A number is impossible, or the shares add up to more than one.
    """
    threshold = float(stats.chi2.ppf(checks.confidence_level(confidence_level), df=1))
    if not channels or sum(c.share for c in channels) > 1.0 + 1e-9:
        msg = f"channels have shares {[c.share for c in channels]}: wanted at least one, and a sum of one or less"
        raise ValueError(msg)
    if any(c.n_obs for c in channels):
        return Interval(*_ends(channels, threshold), confidence_level)
    first, second = (_ends(_with_events(channels, n), threshold)[1] for n in (1, 2))
    return Interval(0.0, max(2.0 * first - second, 0.0), confidence_level)


def _with_events(channels: Sequence[Channel], n_obs: int) -> list[Channel]:
    largest = max(range(len(channels)), key=lambda i: channels[i].acceptance)
    return [dataclasses.replace(c, n_obs=n_obs) if i == largest else c for i, c in enumerate(channels)]


def _ends(channels: Sequence[Channel], threshold: float) -> tuple[float, float]:
    profile = _profile(channels)
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


def _profile(channels: Sequence[Channel]) -> Callable[[float], float]:
    """Return mu -> -2 ln L, up to a constant, at the best pulls."""

    def column(name: str) -> FloatArray:
        return np.array([getattr(c, name) for c in channels], np.float64)

    n, background, acceptance = column("n_obs"), column("background"), column("acceptance")
    names = sorted({name for c in channels for name in c.sources})
    changes = acceptance[:, None] * np.array([[c.sources.get(name, 0.0) for name in names] for c in channels])
    of_signal = changes @ changes.T
    of_background = np.diag(np.square(column("background_sigma")))
    of_background += np.outer(column("background_sigma_common"), column("background_sigma_common"))

    def of_yield(mu: float) -> float:
        still, covariance = mu * acceptance + background, mu**2 * of_signal + of_background
        if np.any((n > 0.0) & (still == 0.0) & (np.diag(covariance) == 0.0)):
            return math.inf
        pulls = best_pulls(n, still, covariance)
        expected = np.maximum(still + covariance @ pulls, 0.0)
        return float(poisson_deviance(n, expected).sum() + pulls @ covariance @ pulls)

    return of_yield


def best_pulls(n: FloatArray, still: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return g (C,), n/m - 1 of the likeliest expected counts m = m_0 + W g.

    It is the lowest point of g W g/2 + m_0 g - n ln(1 + g), which is convex.

    Args:
        n: Observed counts (C,).
        still: Expected counts m_0 without any pull (C,).
        covariance: Of the expected counts (C, C).
    """
    seen = np.maximum(n, NO_EVENT)

    def height(g: FloatArray) -> float:
        return float(0.5 * g @ covariance @ g + still @ g - seen @ np.log1p(g))

    pulls = np.zeros_like(still)
    for _ in range(N_NEWTON):
        gradient = covariance @ pulls + still - seen / (1.0 + pulls)
        step = -np.linalg.solve(covariance + np.diag(seen / (1.0 + pulls) ** 2), gradient)
        promised = float(-gradient @ step)
        if promised < NO_FALL:
            break
        size = min(1.0, STEP_MAX / max(float(np.max(-step / (1.0 + pulls))), STEP_MAX))
        before = height(pulls)
        while size > NO_FALL and height(pulls + size * step) > before - FALL_MIN * size * promised:
            size *= 0.5
        pulls = pulls + size * step
    return pulls
