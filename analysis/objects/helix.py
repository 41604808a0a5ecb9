"""The geometry of a BOSS helix in plain numpy: pivot moves and momenta with their full covariance.

A helix (dr, phi0, kappa, dz, tanl) belongs to a pivot. With the signed radius rho = alpha / (kappa B), alpha =
333.564 cm T / (GeV/c), the circle's centre lies at pivot + (dr - rho)(cos phi0, sin phi0): positive tracks turn
counter-clockwise (measured on every track of a real BOSS file against its recorded EMC impact). The momentum is
(-sin phi0, cos phi0, tanl) / abs(kappa). Covariances are the 15 elements of the upper triangle, row by row.

These functions follow `Helix::pivot` of BOSS with that sign; `analysis.objects.tracks` holds the fast form of the part
the selection needs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.constants import P_TO_RADIUS

FloatArray = npt.NDArray[np.float64]

_UPPER = np.triu_indices(5)


def unpack(cov15: npt.ArrayLike) -> FloatArray:
    """Return symmetric matrices ``(..., 5, 5)`` of upper triangles ``(..., 15)``."""
    packed = np.asarray(cov15, dtype=np.float64)
    full = np.empty((*packed.shape[:-1], 5, 5))
    full[..., _UPPER[0], _UPPER[1]] = packed
    full[..., _UPPER[1], _UPPER[0]] = packed
    return full


def pack(cov: npt.ArrayLike) -> FloatArray:
    """Return the upper triangles ``(..., 15)`` of matrices ``(..., 5, 5)``."""
    return np.asarray(cov, dtype=np.float64)[..., _UPPER[0], _UPPER[1]]


def momentum_and_covariance(helix: npt.ArrayLike, cov15: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the momentum at the helix's own pivot and its covariance.

    Args:
        helix: (T, 5) dr, phi0, kappa, dz, tanl.
        cov15: (T, 15) their covariance.

    Returns:
        p ``(T, 3)`` in GeV/c and v ``(T, 6)`` in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
    """
    h = np.asarray(helix, dtype=np.float64)
    phi0, kappa, tanl = h[..., 1], h[..., 2], h[..., 4]
    pt = 1.0 / np.abs(kappa)
    p = np.stack([-np.sin(phi0) * pt, np.cos(phi0) * pt, tanl * pt], axis=-1)
    jacobian = np.zeros((*h.shape[:-1], 3, 5))
    jacobian[..., 0, 1], jacobian[..., 1, 1] = -p[..., 1], p[..., 0]
    jacobian[..., :, 2] = -p / kappa[..., None]
    jacobian[..., 2, 4] = pt
    v = jacobian @ unpack(cov15) @ np.swapaxes(jacobian, -1, -2)
    rows, columns = np.triu_indices(3)
    return p, v[..., rows, columns]


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
    side, length = np.sign(kappa), np.hypot(cx, cy)
    turn = np.arctan2(-side * cy, -side * cx) - phi0
    turn -= 2.0 * np.pi * np.round(turn / (2.0 * np.pi))
    moved = np.stack([rho - side * length, phi0 + turn, kappa, dz + rho * tanl * turn - shift_z, tanl], axis=-1)
    jacobian = _pivot_jacobian(h, rho, turn, cx, cy)
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
