"""The Bayesian upper limit of a single count, with a prior that is flat in the yield.

The posterior is P(n_obs | mu), averaged over efficiency and background, for mu >= 0: O. Helene, Nucl. Instrum. Meth.
212, 319 (1983), doi:10.1016/0167-5087(83)90709-3. "90 %" is posterior probability below the limit.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from analysis.limits import checks
from analysis.limits.marginal import CountModel, count_model
from analysis.limits.roots import falling_to


def posterior_above(model: CountModel, n_obs: int, mu: float) -> float:
    """Return the posterior probability of a produced yield above `mu`.

    The integral of Poisson(n | mu e + b) over mu above a value m is Q(n + 1, m e + b)/e.
    """

    def integral(yield_: float) -> float:
        tail = special.gammaincc(n_obs + 1.0, model.expected(np.asarray(yield_)))
        return float((tail / model.efficiency) @ model.weights)

    return integral(mu) / integral(0.0)


def upper_limit(n_obs: int, *, confidence_level: float = 0.90, **measured: float) -> float:
    """Return the produced yield below which the posterior probability is `confidence_level`.

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
    return falling_to(level, lambda mu: posterior_above(model, n_obs, mu), (n_obs + 1.0) / model.mean_efficiency)
