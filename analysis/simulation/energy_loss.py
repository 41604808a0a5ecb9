"""dE/dx in the drift chamber, normalised to 1 for Bhabha electrons.

The curve is the one of ALEPH; its parameters and those of the resolution were fitted to the 190 chi values of the real
BOSS file (m_chiE ... m_chiP with m_normPH), which they reproduce with a median deviation of 0.05.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION, M_PROTON
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, DetectorParameters

# Hypotheses in BOSS's order: e, mu, pi, K, p.
HYPOTHESIS_MASSES: Final = np.array([M_ELECTRON, M_MUON, M_PION, M_KAON, M_PROTON])
_CURVE: Final = (0.023102, 25.6455, 5.159e-9, 2.15073, 3.98384)
_POWER_OF_SIZE, _POWER_OF_SINE, _HITS_AT_NORM = 0.822, 0.369, 25.0
_HITS_MIN: Final = 5


class EnergyLoss(NamedTuple):
    """Measured dE/dx (n,), good hits (n,), 0 without a measurement, and chi of the five hypotheses (n, 5)."""

    norm_ph: FloatArray
    n_hits: IntArray
    chi: FloatArray


def expected(beta_gamma: npt.ArrayLike) -> FloatArray:
    """Return the mean dE/dx at a given beta gamma."""
    bg = np.asarray(beta_gamma, dtype=np.float64)
    power = (bg / np.hypot(1.0, bg)) ** _CURVE[3]
    logarithm = np.log(_CURVE[2] + bg ** -_CURVE[4])
    return np.asarray(_CURVE[0] / power * (_CURVE[1] - power - logarithm))


def resolution(mean: npt.ArrayLike, sin_theta: npt.ArrayLike, n_hits: npt.ArrayLike, at_norm: float) -> FloatArray:
    """Return the resolution of dE/dx: that of 25 hits scaled with the size of the signal, the angle and the hits."""
    hits = np.sqrt(_HITS_AT_NORM / np.maximum(n_hits, 1))
    return np.asarray(at_norm * np.power(mean, _POWER_OF_SIZE) * np.power(sin_theta, _POWER_OF_SINE) * hits)


def measure(
    rng: np.random.Generator,
    true_momentum: FloatArray,
    mass: FloatArray,
    momentum: FloatArray,
    sin_theta: FloatArray,
    hits: IntArray,
    parameters: DetectorParameters,
) -> EnergyLoss:
    """Return measured dE/dx and its chi values.

    Args:
        rng: Source of random numbers.
        true_momentum: Momenta in GeV/c, (n,).
        mass: True masses in GeV/c^2, (n,).
        momentum: Measured momenta in GeV/c, which the hypotheses are evaluated at, (n,).
        sin_theta: Sine of the polar angle, (n,).
        hits: Hits in the chamber, (n,).
        parameters: Detector; the quoted errors are those of the nominal resolution at 25 hits.
    """
    used = rng.binomial(hits, parameters.dedx_hits)
    used = np.where(used >= _HITS_MIN, used, 0)
    mean = expected(true_momentum / mass)
    sigma = resolution(mean, sin_theta, used, parameters.dedx_resolution)
    signal = np.maximum(parameters.dedx_scale * mean + sigma * rng.normal(size=len(mean)), 0.01)
    hypotheses = expected(momentum[:, None] / HYPOTHESIS_MASSES)
    quoted = resolution(hypotheses, sin_theta[:, None], used[:, None], NOMINAL.dedx_resolution)
    has = used > 0
    chi = np.where(has[:, None], (signal[:, None] - hypotheses) / quoted, 0.0)
    return EnergyLoss(np.where(has, signal, 0.0), used, chi)
