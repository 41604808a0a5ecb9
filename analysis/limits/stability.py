"""How the limit moves with the chi2 requirement and with the assumed background."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.methods import Limit, upper_limit

CHI2_CUTS: Final = (10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 100.0)
BACKGROUNDS: Final = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def passed_below(plane: hist.Hist, chi2_4c_max: float, cuts: Cuts) -> int:
    """Return the events of a stored (chi2_4c, m_kkee) histogram below a chi2 and inside the signal region.

    Raises:
        ValueError: A requirement is no edge of the histogram.
    """
    chi2, mass = plane.axes["chi2_4c"].edges, plane.axes["m_kkee"].edges
    rows = slice(0, _edge("chi2_4c_max", chi2, chi2_4c_max))
    columns = slice(_edge("m_kkee_min", mass, cuts.m_kkee_min), _edge("m_kkee_max", mass, cuts.m_kkee_max))
    return int(plane.project("chi2_4c", "m_kkee").values()[rows, columns].sum())


def _edge(name: str, edges: np.ndarray, value: float) -> int:
    index = int(np.argmin(np.abs(edges - value)))
    if not np.isclose(edges[index], value, rtol=0.0, atol=1e-9):
        msg = f"{name}={value!r}: wanted an edge of the stored histogram, as {edges[index]:g}"
        raise ValueError(msg)
    return index


def against_chi2(
    inputs: LimitInputs,
    *,
    efficiency_below: Callable[[float], float],
    observed_below: Callable[[float], int | None],
    chi2_cuts: Sequence[float] = CHI2_CUTS,
) -> tuple[tuple[float, Limit], ...]:
    """Return (chi2 cut, limit): efficiency and observed events follow the cut, all else stays.

    A cut that no signal event passes has no limit and is left out.

    Args:
        inputs: The inputs at the nominal cut.
        efficiency_below: Cut -> efficiency of the signal.
        observed_below: Cut -> events in the data; None where they are hidden.
        chi2_cuts: Cuts to try.
    """
    efficiencies = [(chi2, efficiency_below(chi2)) for chi2 in chi2_cuts]
    return tuple(
        (chi2, upper_limit(dataclasses.replace(inputs, efficiency=efficiency, n_obs=observed_below(chi2))))
        for chi2, efficiency in efficiencies
        if efficiency > 0.0
    )


def against_background(
    inputs: LimitInputs, *, backgrounds: Sequence[float] = BACKGROUNDS, method: str = "rolke"
) -> tuple[Limit, ...]:
    """Return the limit, observed and expected, for each assumed background (events, taken as known)."""
    return tuple(
        upper_limit(dataclasses.replace(inputs, n_bkg=background, n_bkg_sigma=0.0), method=method)
        for background in backgrounds
    )
