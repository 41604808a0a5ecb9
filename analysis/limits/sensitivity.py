"""The limit to expect before the data are looked at: its distribution over counts of background alone.

Without any background zero events are the only outcome, and all quantiles coincide: a band of zero width says nothing
about the spread of outcomes, only that the background was assumed to be nothing. `ExpectedLimit.is_certain` marks that
case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
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
