"""How unlikely the observed counts are from background alone, in one mass interval and in any of them.

An event counts in one interval only, so that the intervals are independent. Without background no probability can be
stated: one event would be infinitely unlikely, which says only that the background was assumed to be nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.sideband import Background

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
