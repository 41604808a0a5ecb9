"""The CLs upper limit of a single count, exact.

CLs(mu) = P(<= n_obs | mu)/P(<= n_obs | 0), excluded where it falls below 1 - CL: A. L. Read, J. Phys. G 28, 2693
(2002), doi:10.1088/0954-3899/28/10/313. Every ranking by a likelihood ratio of one count is a ranking by the count, so
that no toys are needed. One-sided; without background it is the classical upper limit, P(<= n_obs | mu) = 1 - CL.
"""

from __future__ import annotations

from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model
from jpsi_lnv.analysis.limits.roots import falling_to


def confidence(model: CountModel, n_obs: int, mu: float) -> float:
    """Return CLs of the produced yield `mu`."""
    return model.cdf(int(n_obs), mu) / model.cdf(int(n_obs), 0.0)


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> float:
    """Return the produced yield whose CLs is 1 - confidence_level; inf if there is none.

    Args:
        n_obs: Observed events.
        confidence_level: One-sided, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background`, `background_sigma` as in `marginal.count_model`.

    Raises:
        ValueError: A number is impossible.
    """
    checks.counts("n_obs", n_obs)
    model = count_model(**measured)
    level = 1.0 - checks.confidence_level(confidence_level)
    return falling_to(level, lambda mu: confidence(model, n_obs, mu), (n_obs + 1.0) / model.efficiency)
