"""Helices and their covariances at another pivot, in plain numpy: what the fast kernels are checked against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import P_TO_RADIUS
from jpsi_lnv.analysis.kinematics import closest_approach, unpack

_UPPER = np.triu_indices(5)


def pack(cov: npt.ArrayLike) -> FloatArray:
    """Return the upper triangles ``(..., 15)`` of matrices ``(..., 5, 5)``."""
    return np.asarray(cov, dtype=np.float64)[..., _UPPER[0], _UPPER[1]]


def move_pivot(
    helix: npt.ArrayLike, cov15: npt.ArrayLike, shift: npt.ArrayLike, field: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return helices and covariances at another pivot.

    Args:
        helix: (T, 5) dr, phi0, kappa, dz, tanl at the old pivot.
        cov15: (T, 15) their covariance.
        shift: (T, 3) or (3,) the new pivot minus the old one in cm.
        field: (T,) or scalar magnetic field in T.

    Returns:
        The helix ``(T, 5)``, phi0 on the turn nearest to the old one, and its covariance ``(T, 15)``.
    """
    h = np.asarray(helix, dtype=np.float64)
    dr, phi0, kappa, dz, tanl = np.moveaxis(h, -1, 0)
    shift_x, shift_y, shift_z = np.moveaxis(
        np.broadcast_to(np.asarray(shift, dtype=np.float64), (*h.shape[:-1], 3)), -1, 0
    )
    rho = P_TO_RADIUS / (np.asarray(field, dtype=np.float64) * kappa)
    cx, cy = (dr - rho) * np.cos(phi0) - shift_x, (dr - rho) * np.sin(phi0) - shift_y
    moved_dr, moved_phi0, moved_dz = closest_approach(
        dr, phi0, kappa, dz, tanl, x=shift_x, y=shift_y, z=shift_z, field=field
    )
    moved = np.stack([moved_dr, moved_phi0, kappa, moved_dz, tanl], axis=-1)
    jacobian = _pivot_jacobian(h, rho, moved_phi0 - phi0, cx, cy)
    return moved, pack(jacobian @ unpack(cov15) @ np.swapaxes(jacobian, -1, -2))


def _pivot_jacobian(h: FloatArray, rho: FloatArray, turn: FloatArray, cx: FloatArray, cy: FloatArray) -> FloatArray:
    """Return d(new helix)/d(old helix), (T, 5, 5); (cx, cy) is the centre seen from the new pivot."""
    dr, phi0, kappa, _, tanl = np.moveaxis(h, -1, 0)
    side, length = np.sign(kappa), np.hypot(cx, cy)
    along = (cx * np.cos(phi0) + cy * np.sin(phi0)) / length
    across = (cx * np.sin(phi0) - cy * np.cos(phi0)) / length
    by_kappa = rho / kappa  # the centre moves by +rho/kappa along (cos phi0, sin phi0) per unit of kappa
    jacobian = np.zeros((*h.shape[:-1], 5, 5))
    jacobian[..., 0, 0] = -side * along
    jacobian[..., 0, 1] = side * (dr - rho) * across
    jacobian[..., 0, 2] = -by_kappa - side * along * by_kappa
    jacobian[..., 1, 0] = across / length
    jacobian[..., 1, 1] = (dr - rho) * along / length
    jacobian[..., 1, 2] = across / length * by_kappa
    jacobian[..., 2, 2] = jacobian[..., 4, 4] = jacobian[..., 3, 3] = 1.0
    jacobian[..., 3, :3] = (rho * tanl)[..., None] * (jacobian[..., 1, :3] - np.array([0.0, 1.0, 0.0]))
    jacobian[..., 3, 2] -= tanl * turn * by_kappa
    jacobian[..., 3, 4] = rho * turn
    return jacobian
