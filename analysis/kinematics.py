"""Kinematics of particles and of their tracks: four-momenta, invariant masses, and the geometry of a helix.

Four-momenta are ordered (px, py, pz, E). A helix is in the convention of real BOSS files: (dr, phi0, kappa, dz, tanl)
about a pivot; kappa = charge / pT; the momentum points along phi0 + 90 degrees. The field points along -z, so that
positive tracks turn counter-clockwise and the circle's centre is ``pivot + (dr - sign(kappa) R)(cos phi0, sin phi0)``,
which the recorded EMC impacts of real files confirm for both charges. Lengths in cm, angles in rad, momenta in GeV/c.

`radius`, `momentum` and `closest_approach` are written with ufuncs only: numpy and awkward arrays both work. The
functions with covariances take numpy arrays; covariances are the 15 elements of the upper triangle, row by row.
`analysis.objects.tracks` holds the fast form of what the selection needs, tested against these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE, P_TO_RADIUS


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


def radius(kappa: Any, field: Any) -> Any:
    """Return the radius of the circle in cm in a field in T."""
    return P_TO_RADIUS / (np.abs(kappa) * field)


def momentum(phi0: Any, kappa: Any, tanl: Any) -> tuple[Any, Any, Any]:
    """Return (px, py, pz) in GeV/c at the point of closest approach to the pivot."""
    pt = 1.0 / np.abs(kappa)
    return -pt * np.sin(phi0), pt * np.cos(phi0), pt * tanl


def closest_approach(
    dr: Any, phi0: Any, kappa: Any, dz: Any, tanl: Any, *, x: Any, y: Any, z: Any, field: Any
) -> tuple[Any, Any, Any]:
    """Move the pivot from the origin to a point near the track.

    Args:
        dr: Signed distance to the origin in xy, cm.
        phi0: Azimuth of the point of closest approach, rad.
        kappa: Charge over transverse momentum, c/GeV.
        dz: z of the point of closest approach, cm.
        tanl: Tangent of the dip angle.
        x: New pivot, cm.
        y: New pivot, cm.
        z: New pivot, cm.
        field: Magnetic field in T.

    Returns:
        (dr, phi0, dz) about the new pivot, phi0 on the turn nearest to the old one; kappa and tanl do not change.
    """
    sign = np.sign(kappa)
    r = radius(kappa, field)
    to_centre_x = (dr - sign * r) * np.cos(phi0) - x
    to_centre_y = (dr - sign * r) * np.sin(phi0) - y
    new_phi0 = np.arctan2(-sign * to_centre_y, -sign * to_centre_x)
    turn = np.remainder(new_phi0 - phi0 + np.pi, 2 * np.pi) - np.pi
    new_dr = sign * (r - np.hypot(to_centre_x, to_centre_y))
    return new_dr, phi0 + turn, dz + sign * r * tanl * turn - z


def along(helix: npt.ArrayLike, field: float, length: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (x, y, z) in cm, each (N,), on a track that has gone some way in the transverse plane since its pivot.

    Args:
        helix: (5,) dr, phi0, kappa, dz, tanl about the origin.
        field: Magnetic field in T.
        length: (N,) lengths in the transverse plane in cm.
    """
    dr, phi0, kappa, dz, tanl = np.asarray(helix, dtype=np.float64)
    way, signed = np.asarray(length, dtype=np.float64), np.sign(kappa) * radius(kappa, field)
    phi = phi0 + way / signed
    x, y = ((dr - signed) * turn(phi0) + signed * turn(phi) for turn in (np.cos, np.sin))
    return x, y, dz + tanl * way


_UPPER = np.triu_indices(5)


def unpack(cov15: npt.ArrayLike) -> FloatArray:
    """Return symmetric matrices ``(..., 5, 5)`` of upper triangles ``(..., 15)``."""
    packed = np.asarray(cov15, dtype=np.float64)
    full = np.empty((*packed.shape[:-1], 5, 5))
    full[..., _UPPER[0], _UPPER[1]] = packed
    full[..., _UPPER[1], _UPPER[0]] = packed
    return full


def momentum_and_covariance(helix: npt.ArrayLike, cov15: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the momentum at the helix's own pivot and its covariance.

    Args:
        helix: (T, 5) dr, phi0, kappa, dz, tanl.
        cov15: (T, 15) their covariance.

    Returns:
        p ``(T, 3)`` in GeV/c and v ``(T, 6)`` in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
    """
    h = np.asarray(helix, dtype=np.float64)
    kappa, pt = h[..., 2], 1.0 / np.abs(h[..., 2])
    p = np.stack(momentum(h[..., 1], kappa, h[..., 4]), axis=-1)
    jacobian = np.zeros((*h.shape[:-1], 3, 5))
    jacobian[..., 0, 1], jacobian[..., 1, 1] = -p[..., 1], p[..., 0]
    jacobian[..., :, 2] = -p / kappa[..., None]
    jacobian[..., 2, 4] = pt
    v = jacobian @ unpack(cov15) @ np.swapaxes(jacobian, -1, -2)
    rows, columns = np.triu_indices(3)
    return p, v[..., rows, columns]
