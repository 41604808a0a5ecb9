"""Geometry of a track helix in the convention of real BOSS files.

Parameters are (dr, phi0, kappa, dz, tanl) about a pivot; kappa = charge / pT; the momentum points along phi0 + 90
degrees. The field points along -z, so that positive tracks turn counter-clockwise and the circle's centre is
``pivot + (dr - sign(kappa) R)(cos phi0, sin phi0)``, which the recorded EMC impacts of real files confirm for both
charges. Written with ufuncs only: numpy and awkward arrays both work. Lengths in cm, angles in rad, momenta in GeV/c.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.constants import P_TO_RADIUS


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
        (dr, phi0, dz) about the new pivot; kappa and tanl do not change.
    """
    sign = np.sign(kappa)
    r = radius(kappa, field)
    to_centre_x = (dr - sign * r) * np.cos(phi0) - x
    to_centre_y = (dr - sign * r) * np.sin(phi0) - y
    new_phi0 = np.arctan2(-sign * to_centre_y, -sign * to_centre_x)
    turn = np.remainder(new_phi0 - phi0 + np.pi, 2 * np.pi) - np.pi
    new_dr = sign * (r - np.hypot(to_centre_x, to_centre_y))
    return new_dr, new_phi0, dz + sign * r * tanl * turn - z
