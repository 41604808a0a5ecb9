"""The limit to expect before the data are looked at: its distribution over counts of background alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from analysis.limits import checks

# Probabilities of the median and of the ends of the central 68.27 % and 95.45 % bands.
BAND_PROBABILITIES: Final = {
    "minus_2_sigma": float(stats.norm.cdf(-2)),
    "minus_1_sigma": float(stats.norm.cdf(-1)),
    "median": 0.5,
    "plus_1_sigma": float(stats.norm.cdf(1)),
    "plus_2_sigma": float(stats.norm.cdf(2)),
}


@dataclass(frozen=True)
class ExpectedLimit:
    """Quantiles of the limit if there is background only.

    Attributes:
        n_bkg: Assumed background in events.
        minus_2_sigma: 2.3 % of experiments have a limit at or below this one; the others likewise.
        minus_1_sigma: 15.9 %.
        median: 50 %.
        plus_1_sigma: 84.1 %.
        plus_2_sigma: 97.7 %.
    """

    n_bkg: float
    minus_2_sigma: float
    minus_1_sigma: float
    median: float
    plus_1_sigma: float
    plus_2_sigma: float

    @property
    def is_certain(self) -> bool:
        """Whether all bands coincide, as they do without background: zero events are then the only outcome."""
        return self.minus_2_sigma == self.plus_2_sigma


def expected_limit(limit_of: Callable[[int], float], n_bkg: float) -> ExpectedLimit:
    """Return the quantiles of a limit over n ~ Poisson(n_bkg), from the exact distribution.

    Args:
        limit_of: Observed events -> limit; grows with its argument.
        n_bkg: Assumed background in events.
    """
    checks.non_negative("n_bkg", n_bkg)
    counted = stats.poisson.ppf(list(BAND_PROBABILITIES.values()), n_bkg).astype(np.int64)
    limits = {n: limit_of(int(n)) for n in np.unique(counted)}
    return ExpectedLimit(n_bkg, **{name: limits[n] for name, n in zip(BAND_PROBABILITIES, counted, strict=True)})
