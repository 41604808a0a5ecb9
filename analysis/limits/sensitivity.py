"""What to expect before the data are looked at, and how unlikely they are from background alone.

The distribution of the limit over counts of background; p-values in one mass interval and in any of them, intervals
that share no event. Without any background zero events are the only outcome: a band of zero width says only that the
background was assumed to be nothing (`ExpectedLimit.is_certain`), and no probability of an event can be stated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.sideband import Background

# Observed events (N,) -> limits (N,).
LimitsOfCounts = Callable[[IntArray], FloatArray]

# Probabilities of the median and of the ends of the central 68.27 % and 95.45 % bands.
BAND_PROBABILITIES: Final = {
    "minus_2_sigma": float(stats.norm.cdf(-2)),
    "minus_1_sigma": float(stats.norm.cdf(-1)),
    "median": 0.5,
    "plus_1_sigma": float(stats.norm.cdf(1)),
    "plus_2_sigma": float(stats.norm.cdf(2)),
}
# Counts less probable than this are left out of the distribution.
TAIL: Final = 1e-6
# Limits computed for one expected limit, and the probability, to that of the likeliest count, of those that matter.
COUNTS_MAX: Final = 100
NEGLIGIBLE: Final = 1e-6


@dataclass(frozen=True)
class ExpectedLimit:
    """The distribution of the limit if there is background only.

    Attributes:
        n_bkg: Assumed background in events.
        minus_2_sigma: 2.3 % of experiments have a limit at or below this one; the others likewise.
        minus_1_sigma: 15.9 %.
        median: 50 %.
        plus_1_sigma: 84.1 %.
        plus_2_sigma: 97.7 %.
        mean: Average limit: the sensitivity of Feldman and Cousins, Phys. Rev. D 57, 3873 (1998), section VI.
    """

    n_bkg: float
    minus_2_sigma: float
    minus_1_sigma: float
    median: float
    plus_1_sigma: float
    plus_2_sigma: float
    mean: float

    @property
    def is_certain(self) -> bool:
        """Whether zero events are the only outcome, as they are without background."""
        return self.n_bkg == 0.0


def expected_limit(limits_of: LimitsOfCounts, background: Background) -> ExpectedLimit:
    """Return the quantiles and the mean of a limit over counts of background, from their exact distribution.

    Args:
        limits_of: Observed events (N,) -> limits (N,), which grow with them.
        background: What is known of the background.
    """
    probabilities = count_probabilities(background)
    first = np.searchsorted(np.cumsum(probabilities), list(BAND_PROBABILITIES.values()))
    computed = _computed_counts(probabilities, first)
    limits = np.interp(np.arange(len(probabilities)), computed, limits_of(computed))
    bands = dict(zip(BAND_PROBABILITIES, limits[first].tolist(), strict=True))
    return ExpectedLimit(background.mean, **bands, mean=float(probabilities @ limits))


def _computed_counts(probabilities: FloatArray, needed: IntArray) -> IntArray:
    """Return the counts whose limit is computed: all of a few, else those needed and some among the likely ones.

    The limit is all but straight from one of those to the next, and no band depends on the counts in between.
    """
    if len(probabilities) <= COUNTS_MAX:
        return np.arange(len(probabilities))
    likely = np.flatnonzero(probabilities > NEGLIGIBLE * probabilities.max())
    spread = np.linspace(likely[0], likely[-1], COUNTS_MAX // 2).round().astype(np.intp)
    return np.unique(np.concatenate([spread, needed]))


def count_probabilities(background: Background) -> FloatArray:
    """Return the probability of n = 0, 1, ... events of background alone; they add up to one."""
    probabilities = background.counts(background.n_max(TAIL))
    return np.asarray(probabilities / probabilities.sum())


# Below this the probability of any interval is the sum of the intervals' to the precision of a float.
SMALL: Final = 1e-9


@dataclass(frozen=True)
class Significance:
    """The least likely mass interval, for one assumption on the background.

    Attributes:
        n_bkg: Assumed background in all intervals together, in events.
        index: The interval of the smallest local p-value.
        local_p: Probability of at least as many events there; None without background.
        global_p: Probability of a local p-value that small in any interval; None without background.
    """

    n_bkg: float
    index: int
    local_p: float | None
    global_p: float | None


def local_p(n_obs: int, background: Background) -> float | None:
    """Return P(>= n_obs) from background alone; None without any background, of which nothing can be said."""
    if background.mean == 0.0:
        return None
    # The upper tail itself: one minus the lower one has no digits left at small backgrounds.
    tail = background.counts(max(background.n_max(), n_obs + 5))[n_obs:]
    return float(tail.sum()) if n_obs else 1.0


def local_p_values(n_obs: npt.ArrayLike, n_bkg: npt.ArrayLike) -> FloatArray:
    """Return P(>= n_obs | n_bkg) of each interval."""
    counted, expected = checks.counts("n_obs", n_obs), checks.non_negative("n_bkg", n_bkg)
    return np.asarray(stats.poisson.sf(counted - 1.0, expected))


def global_p_value(local_p: float, n_bkg: npt.ArrayLike) -> float:
    """Return the probability that any interval has a local p-value of at most `local_p`.

    Counts are whole numbers: each interval contributes the largest tail probability that does not exceed `local_p`.
    """
    expected = checks.non_negative("n_bkg", n_bkg)
    # The smallest count whose tail is small enough; the product guards against rounding at equality.
    counts = np.arange(int(stats.poisson.isf(local_p * 0.5, expected.max())) + 2)
    tails = stats.poisson.sf(counts - 1.0, expected[:, None])
    reachable = np.where(tails <= local_p * (1.0 + 1e-12), tails, 0.0).max(axis=1)
    return float(1.0 - np.prod(1.0 - reachable)) if reachable.max() > SMALL else float(reachable.sum())


def scan(
    n_obs: Sequence[int], backgrounds: Sequence[float], *, shares: npt.ArrayLike | None = None
) -> tuple[Significance, ...]:
    """Return the least likely interval for each assumed total background.

    Args:
        n_obs: Observed events of each interval.
        backgrounds: Assumed backgrounds of all intervals together, in events.
        shares: Fraction of the background in each interval; equal ones by default.
    """
    fractions = np.full(len(n_obs), 1.0 / len(n_obs)) if shares is None else checks.non_negative("shares", shares)
    return tuple(_significance(np.asarray(n_obs), background, background * fractions) for background in backgrounds)


def _significance(n_obs: IntArray, total: float, n_bkg: FloatArray) -> Significance:
    if total == 0.0:
        return Significance(0.0, int(np.argmax(n_obs)), None, None)
    local = local_p_values(n_obs, n_bkg)
    index = int(np.argmin(local))
    return Significance(total, index, float(local[index]), global_p_value(float(local[index]), n_bkg))
