"""Toy experiments: what limits a repetition of the search would set if there were background only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sensitivity import BAND_PROBABILITIES


@dataclass(frozen=True)
class ToyLimits:
    """Profile-likelihood limits of toy experiments at one mass.

    Attributes:
        m_majorana: Mass in GeV/c^2; None for the overall search.
        n_toys: Number of toys.
        quantiles: Name of a band (`sensitivity.BAND_PROBABILITIES`) -> limit of the produced yield.
    """

    m_majorana: float | None
    n_toys: int
    quantiles: dict[str, float]


def background_only(
    inputs: LimitInputs, *, n_toys: int, rng: np.random.Generator, confidence_level: float = 0.90
) -> ToyLimits:
    """Return the quantiles of the limit over toys in which everything that is measured is measured anew.

    Each toy draws the true background from its uncertainty, counts events, and remeasures background and efficiency
    with their uncertainties; then the full profile-likelihood limit is computed for it.
    """
    true_background = np.maximum(inputs.n_bkg + inputs.n_bkg_sigma * rng.standard_normal(n_toys), 0.0)
    smeared = inputs.efficiency * (1.0 + inputs.delta_sys * rng.standard_normal(n_toys))
    efficiency = np.clip(smeared, 1e-3 * inputs.efficiency, 1.0)
    _, limits = rolke.intervals(
        rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=rng.poisson(true_background),
        background=np.maximum(true_background + inputs.n_bkg_sigma * rng.standard_normal(n_toys), 0.0),
        background_sigma=inputs.n_bkg_sigma,
        efficiency=efficiency,
        efficiency_sigma=inputs.delta_sys * efficiency,
        confidence_level=confidence_level,
    )
    return ToyLimits(inputs.m_majorana, n_toys, _quantiles(limits))


def _quantiles(limits: FloatArray) -> dict[str, float]:
    values = np.quantile(limits, list(BAND_PROBABILITIES.values()))
    return dict(zip(BAND_PROBABILITIES, values.tolist(), strict=True))
