"""One-sided upper limits of a single count, exact: CLs, and the Bayesian limit with a prior that is flat in the yield.

CLs(mu) = P(<= n_obs | mu)/P(<= n_obs | 0), excluded where it falls below 1 - CL: A. L. Read, J. Phys. G 28, 2693
(2002), doi:10.1088/0954-3899/28/10/313. Every ranking by a likelihood ratio of one count is a ranking by the count, so
that no toys are needed. Without background it is the classical upper limit, P(<= n_obs | mu) = 1 - CL.

The posterior is P(n_obs | mu), averaged over efficiency and background, for mu >= 0: O. Helene, Nucl. Instrum. Meth.
212, 319 (1983), doi:10.1016/0167-5087(83)90709-3. "90 %" is posterior probability below the limit. At a relative
efficiency uncertainty of 100 % or more the posterior has no finite integral: there is no limit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from scipy import optimize

from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model
from jpsi_lnv.analysis.limits.profile import SCALES_MAX


def confidence(model: CountModel, n_obs: int, mu: float) -> float:
    """Return CLs of the produced yield `mu`."""
    return model.cdf(int(n_obs), mu) / model.cdf(int(n_obs), 0.0)


def cls_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: Any) -> float:
    """Return the produced yield whose CLs is 1 - confidence_level; inf if there is none.

    Args:
        n_obs: Observed events.
        confidence_level: One-sided, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background` as in `marginal.count_model`.

    Raises:
        ValueError: A number is impossible.
    """
    checks.counts("n_obs", n_obs)
    model = count_model(**measured)
    level = 1.0 - checks.confidence_level(confidence_level)
    return falling_to(level, lambda mu: confidence(model, n_obs, mu), (n_obs + 1.0) / model.efficiency)


def bayesian_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: Any) -> float:
    """Return the produced yield below which the posterior probability is `confidence_level`; inf if there is none.

    Args:
        n_obs: Observed events.
        confidence_level: Posterior probability below the limit, as a fraction.
        **measured: `efficiency`, `efficiency_sigma`, `background` as in `marginal.count_model`.

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
    return falling_to(level, lambda mu: confidence(integrated, n_obs, mu), (n_obs + 1.0) / model.efficiency)


def _over_efficiency(model: CountModel) -> CountModel:
    """Return the model whose efficiency density is divided by the efficiency: a gamma of the same scale, shape - 1."""
    if math.isinf(model.shape):
        return model
    shape = model.shape - 1.0
    return dataclasses.replace(model, efficiency=model.efficiency * shape / model.shape, shape=shape)


def falling_to(level: float, function: Callable[[float], float], scale: float) -> float:
    """Return where a function that falls from 1 at zero to 0 at infinity reaches a level.

    Args:
        level: In (0, 1).
        function: The function.
        scale: Positive number, doubled until the function is not above the level.

    Returns:
        The point; inf where it is beyond `SCALES_MAX` times the scale.
    """
    high = scale
    while function(high) > level:
        high *= 2.0
        if high > SCALES_MAX * scale:
            return math.inf
    return float(optimize.brentq(lambda x: function(x) - level, 0.0, high, xtol=1e-10, rtol=1e-12))
