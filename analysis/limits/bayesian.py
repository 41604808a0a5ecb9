"""The Bayesian upper limit of a single count, with a prior that is flat in the yield.

The posterior is P(n_obs | mu), averaged over efficiency and background, for mu >= 0: O. Helene, Nucl. Instrum. Meth.
212, 319 (1983), doi:10.1016/0167-5087(83)90709-3. "90 %" is posterior probability below the limit. At a relative
efficiency uncertainty of 100 % or more the posterior has no finite integral: there is no limit.
"""

from __future__ import annotations

import dataclasses
import math

from jpsi_lnv.analysis.limits import checks, cls
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model
from jpsi_lnv.analysis.limits.roots import falling_to


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> float:
    """Return the produced yield below which the posterior probability is `confidence_level`; inf if there is none.

    Args:
        n_obs: Observed events.
        confidence_level: Posterior probability below the limit, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background`, `background_sigma` as in `marginal.count_model`.

    Raises:
        ValueError: A number is impossible.
    """
    checks.counts("n_obs", n_obs)
    model = count_model(**measured)
    level = 1.0 - checks.confidence_level(confidence_level)
    if model.shape <= 1.0:
        return math.inf
    integrated = _over_efficiency(model)
    # The integral of Poisson(n | mu e + b) over mu above m is P(<= n | m e + b)/e: a ratio of tails, as CLs is one.
    return falling_to(level, lambda mu: cls.confidence(integrated, n_obs, mu), (n_obs + 1.0) / model.efficiency)


def _over_efficiency(model: CountModel) -> CountModel:
    """Return the model whose efficiency density is divided by the efficiency: a gamma of the same scale, shape - 1."""
    if math.isinf(model.shape):
        return model
    shape = model.shape - 1.0
    return dataclasses.replace(model, efficiency=model.efficiency * shape / model.shape, shape=shape)
