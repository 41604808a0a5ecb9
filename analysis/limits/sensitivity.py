"""The limit to expect before the data are looked at: its distribution over counts of background alone.

Without background zero events are the only outcome, and all quantiles coincide: a band of zero width says nothing about
the spread of outcomes, only that the background was assumed to be nothing. `ExpectedLimit.is_certain` marks that case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import checks, marginal

LimitOfCount = Callable[[int], float]

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
# Standard deviations of an uncertain background that the counts reach.
REACH: Final = 6.0


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
        """Whether all bands coincide, as they do without background."""
        return self.minus_2_sigma == self.plus_2_sigma


def expected_limit(limit_of: LimitOfCount, n_bkg: float, n_bkg_sigma: float = 0.0) -> ExpectedLimit:
    """Return the quantiles and the mean of a limit over counts of background, from their exact distribution.

    Args:
        limit_of: Observed events -> limit; grows with its argument.
        n_bkg: Assumed background in events.
        n_bkg_sigma: Its uncertainty in events: a Gaussian, cut at zero.
    """
    probabilities = count_probabilities(n_bkg, n_bkg_sigma)
    first = np.searchsorted(np.cumsum(probabilities), list(BAND_PROBABILITIES.values()))
    computed = _computed_counts(probabilities, first)
    limits = np.interp(np.arange(len(probabilities)), computed, [limit_of(int(n)) for n in computed])
    bands = dict(zip(BAND_PROBABILITIES, limits[first].tolist(), strict=True))
    return ExpectedLimit(n_bkg, **bands, mean=float(probabilities @ limits))


def _computed_counts(probabilities: FloatArray, needed: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the counts whose limit is computed: all of a few, else those needed and some among the likely ones.

    The limit is all but straight from one of those to the next, and no band depends on the counts in between.
    """
    if len(probabilities) <= COUNTS_MAX:
        return np.arange(len(probabilities))
    likely = np.flatnonzero(probabilities > NEGLIGIBLE * probabilities.max())
    spread = np.linspace(likely[0], likely[-1], COUNTS_MAX // 2).round().astype(np.intp)
    return np.unique(np.concatenate([spread, needed]))


def count_probabilities(n_bkg: float, n_bkg_sigma: float = 0.0) -> FloatArray:
    """Return the probability of n = 0, 1, ... events of background alone; they add up to one."""
    checks.non_negative("n_bkg", n_bkg)
    checks.non_negative("n_bkg_sigma", n_bkg_sigma)
    last = int(stats.poisson.isf(TAIL, n_bkg + REACH * n_bkg_sigma)) + 1 if n_bkg + n_bkg_sigma > 0.0 else 0
    probabilities = marginal.background_counts(last, float(n_bkg), float(n_bkg_sigma))
    return np.asarray(probabilities / probabilities.sum())
