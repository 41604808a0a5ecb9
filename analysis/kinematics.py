"""Four-momenta and invariant masses of plain arrays; components are ordered (px, py, pz, E)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE


def initial_four_momentum(sqrt_s: npt.ArrayLike) -> FloatArray:
    """Return the four-momentum of the e+e- system in the laboratory.

    Two equal beams that meet under 2 x 11 mrad: the sum of their momenta points along +x.

    Args:
        sqrt_s: Centre-of-mass energy in GeV, any shape.

    Returns:
        (px, py, pz, E) in GeV, shape ``sqrt_s.shape + (4,)``.
    """
    ecm = np.asarray(sqrt_s, dtype=np.float64)
    zero = np.zeros_like(ecm)
    return np.stack([ecm * np.tan(HALF_CROSSING_ANGLE), zero, zero, ecm / np.cos(HALF_CROSSING_ANGLE)], axis=-1)


def four_momentum(p3: npt.ArrayLike, mass: npt.ArrayLike) -> FloatArray:
    """Return (px, py, pz, E) of momenta ``(..., 3)`` under masses that broadcast against ``(...)``."""
    p = np.asarray(p3, dtype=np.float64)
    energy = np.sqrt((p * p).sum(axis=-1) + np.square(np.asarray(mass, dtype=np.float64)))
    return np.concatenate([p, energy[..., None]], axis=-1)


def invariant_mass(p4: npt.ArrayLike) -> FloatArray:
    """Return the invariant mass of four-momenta ``(..., 4)``; rounding below zero counts as zero."""
    x, y, z, e = np.moveaxis(np.asarray(p4, dtype=np.float64), -1, 0)
    return np.sqrt(np.maximum(e * e - (x * x + y * y + z * z), 0.0))
