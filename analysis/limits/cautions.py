"""What must be said beside a limit: where it is weaker as a statement than its number looks.

A limit that depends on what nobody measured, or that gets stronger the less is known, is found by computing it again
with a little more background, a wider background, and a wider efficiency.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.methods import METHODS, Limit
from jpsi_lnv.analysis.limits.sideband import KAPPA_MAX, SideBand

# No method that covers gives fewer counted events than the classical limit of none without background, 2.303 at 90 %.
COUNTED_MIN: Final = 2.0
# Neighbours: widths and background grown by this factor or, where there is none, to these numbers.
GROWTH: Final = 1.2
FIRST_BACKGROUND: Final = 0.1
FIRST_DELTA: Final = 0.05
# Relative change of a limit that is none.
SAME: Final = 1e-4


def of(limit: Limit) -> tuple[str, ...]:
    """Return what must be said of a limit, in sentences; nothing of a limit that is as good as it looks."""
    inputs, n_up = limit.inputs, limit.n_up
    wide = sorted({f for band in inputs.side_bands for f, kappa in band.factors if kappa > KAPPA_MAX and band.m})
    found = [f"factor {name!r} is wider than the {KAPPA_MAX:g} up to which coverage was computed" for name in wide]
    if n_up is None or inputs.n_obs is None:
        return tuple(found)
    if not np.isfinite(n_up):
        return (*found, "there is no finite limit: the efficiency is too uncertain to exclude any yield")
    counted = n_up * inputs.efficiency
    if counted < COUNTED_MIN:
        found.append(f"{counted:.2f} counted events, below {COUNTED_MIN:g}: stronger than no event without background")
    if n_up < (1.0 - SAME) * limit.expected.minus_2_sigma:
        found.append("below 97.7 % of the limits expected without signal: fewer events than the background gives")
    found += [f"falls when {what}" for what, neighbour in _neighbours(inputs) if _again(limit, neighbour) < n_up]
    return tuple(found)


def _again(limit: Limit, neighbour: LimitInputs) -> float:
    """Return the limit at a neighbour, up to what is the same."""
    counts = np.array([limit.inputs.n_obs])
    return float(METHODS[limit.method].limits_of(neighbour, counts, limit.confidence_level)[0]) * (1.0 + SAME)


def _neighbours(inputs: LimitInputs) -> list[tuple[str, LimitInputs]]:
    delta = max(GROWTH * inputs.delta_sys, FIRST_DELTA)
    found = [("the uncertainty of the efficiency grows", dataclasses.replace(inputs, delta_sys=delta))]
    if inputs.n_bkg > 0.0:
        found.append(("the uncertainty of the background grows", _wider(inputs)))
    if inputs.n_obs == 0:
        found.append(("the background grows while no event is seen", _more(inputs)))
    return found


def _wider(inputs: LimitInputs) -> LimitInputs:
    """Return the inputs with a background of the same mean whose width is larger."""
    sigma = max(GROWTH * inputs.n_bkg_sigma, (GROWTH - 1.0) * inputs.n_bkg)
    bands = tuple(dataclasses.replace(b, m=b.m / GROWTH**2, tau=b.tau / GROWTH**2) for b in inputs.side_bands)
    return dataclasses.replace(inputs, n_bkg_sigma=sigma, side_bands=bands)


def _more(inputs: LimitInputs) -> LimitInputs:
    """Return the inputs with more background, as well known as it is."""
    if inputs.n_bkg == 0.0:
        known = SideBand.from_mean("more background", FIRST_BACKGROUND, 1e-3 * FIRST_BACKGROUND)
        return dataclasses.replace(inputs, n_bkg=FIRST_BACKGROUND, side_bands=(*inputs.side_bands, known))
    bands = tuple(dataclasses.replace(b, tau=b.tau / GROWTH) for b in inputs.side_bands)
    return dataclasses.replace(
        inputs, n_bkg=GROWTH * inputs.n_bkg, n_bkg_sigma=GROWTH * inputs.n_bkg_sigma, side_bands=bands
    )
