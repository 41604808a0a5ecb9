"""What the search could do with more data, or with more background than was counted: limits and discoveries to expect.

The recommended limit's median without signal, and the smallest branching fraction that half of all experiments with it
would find at 3 or 5 standard deviations, against the luminosity and against an assumed background.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

import numpy as np
from scipy import optimize, stats

from jpsi_lnv.analysis.limits import methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.marginal import CountModel, count_model

# Luminosities in those of the data, and backgrounds in events that are assumed, known to a tenth.
LUMINOSITIES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
BACKGROUNDS: Final = (0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
RELATIVE_WIDTH: Final = 0.1
DISCOVERIES: Final = {"evidence_3_sigma": float(stats.norm.sf(3.0)), "discovery_5_sigma": float(stats.norm.sf(5.0))}
# Branching fractions in events beyond which nothing is looked for.
SIGNAL_MAX: Final = 1e4


def against_luminosity(inputs: LimitInputs) -> list[dict[str, Any]]:
    """Return what is expected for multiples of the data: background and J/psi grow, their relative widths stay."""
    return [{"luminosity": x} | _expected(scaled(inputs, x)) for x in LUMINOSITIES]


def against_background(inputs: LimitInputs) -> list[dict[str, Any]]:
    """Return what is expected for assumed backgrounds."""
    return [_expected(_assumed(inputs, b)) for b in BACKGROUNDS]


def scaled(inputs: LimitInputs, luminosity: float) -> LimitInputs:
    """Return the inputs of a multiple of the data: one event of a side band stands for more."""
    return dataclasses.replace(
        inputs,
        n_obs=None,
        n_bkg=luminosity * inputs.n_bkg,
        n_bkg_sigma=luminosity * inputs.n_bkg_sigma,
        side_bands=tuple(dataclasses.replace(b, tau=b.tau / luminosity) for b in inputs.side_bands),
        n_jpsi=luminosity * inputs.n_jpsi,
    )


def _assumed(inputs: LimitInputs, n_bkg: float) -> LimitInputs:
    return dataclasses.replace(inputs, n_obs=None, n_bkg=n_bkg, n_bkg_sigma=RELATIVE_WIDTH * n_bkg, side_bands=())


def _expected(inputs: LimitInputs) -> dict[str, Any]:
    limit = methods.upper_limit(inputs, method=methods.RECOMMENDED)
    model = count_model(
        efficiency=inputs.efficiency, efficiency_sigma=inputs.efficiency_sigma, background=inputs.background
    )
    found = {name: discovery(model, alpha) for name, alpha in DISCOVERIES.items()}
    return {
        "n_bkg": inputs.n_bkg,
        "expected_branching_fraction_ul": limit.expected.median / inputs.n_jpsi,
        **{name: None if n is None else n / inputs.n_jpsi for name, n in found.items()},
    }


def discovery(model: CountModel, alpha: float) -> float | None:
    """Return the produced yield of which half of all experiments see a count that background reaches with `alpha`.

    None without background, of which any event would be a discovery: nothing that was measured says so.
    """
    if model.background.mean == 0.0:
        return None
    needed = count_needed(model, alpha)

    def missed(mu: float) -> float:
        return model.cdf(needed - 1, mu) - 0.5

    high = (needed + 1.0) / model.efficiency
    while missed(high) > 0.0:
        high *= 2.0
        if high * model.efficiency > SIGNAL_MAX:
            return math.inf
    return float(optimize.brentq(missed, 0.0, high, rtol=1e-9))


def count_needed(model: CountModel, alpha: float) -> int:
    """Return the smallest count that background alone reaches with a probability of at most `alpha`."""
    tails = np.cumsum(model.background.counts(model.background.n_max())[::-1])[::-1]
    reached = np.flatnonzero(tails <= alpha)
    return max(1, int(reached[0]) if len(reached) else len(tails))
