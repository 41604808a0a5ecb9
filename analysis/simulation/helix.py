"""Helices in BOSS's convention, as exact geometry: from a momentum at a point, and along the turning angle.

Pivot at the origin; kappa = charge/pT; the point of closest approach is (dr cos phi0, dr sin phi0, dz) and the momentum
there points along phi0 + 90 degrees. Positive tracks turn counter-clockwise: the centre of the circle is
(dr - charge R)(cos phi0, sin phi0) with R = 333.564 pT/B. Checked against the real BOSS file, for both charges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import P_TO_RADIUS


@dataclass(frozen=True)
class Trajectory:
    """True helices of n particles.

    Attributes:
        dr, phi0, kappa, dz, tanl: Helix parameters, (n,).
        charge: +1 or -1, (n,).
        radius: Radius of the circle in cm, (n,).
        start: Turning angle from the point of closest approach to the production vertex in rad, (n,).
    """

    dr: FloatArray
    phi0: FloatArray
    kappa: FloatArray
    dz: FloatArray
    tanl: FloatArray
    charge: FloatArray
    radius: FloatArray
    start: FloatArray

    @property
    def pt(self) -> FloatArray:
        """Transverse momentum in GeV/c, (n,)."""
        return np.abs(1.0 / self.kappa)

    @property
    def momentum(self) -> FloatArray:
        """Momentum in GeV/c, (n,)."""
        return np.asarray(self.pt * np.hypot(1.0, self.tanl))

    @property
    def sin_theta(self) -> FloatArray:
        """Sine of the polar angle, (n,)."""
        return np.asarray(1.0 / np.hypot(1.0, self.tanl))

    @property
    def cos_theta(self) -> FloatArray:
        """Cosine of the polar angle, (n,)."""
        return np.asarray(self.tanl / np.hypot(1.0, self.tanl))

    @property
    def parameters(self) -> FloatArray:
        """Helix parameters (dr, phi0, kappa, dz, tanl), (n, 5)."""
        return np.stack([self.dr, self.phi0, self.kappa, self.dz, self.tanl], axis=-1)

    def z(self, turning: FloatArray) -> FloatArray:
        """Return z in cm at a turning angle in rad, (n,)."""
        return self.dz + self.radius * turning * self.tanl

    def position(self, turning: FloatArray) -> FloatArray:
        """Return the point in cm at a turning angle in rad, (n, 3)."""
        signed = self.charge * self.radius
        angle = self.phi0 + self.charge * turning
        centre = self.dr - signed
        x = centre * np.cos(self.phi0) + signed * np.cos(angle)
        y = centre * np.sin(self.phi0) + signed * np.sin(angle)
        return np.stack([x, y, self.z(turning)], axis=-1)

    def direction(self, turning: FloatArray) -> FloatArray:
        """Return the momentum in GeV/c at a turning angle in rad, (n, 3)."""
        angle = self.phi0 + self.charge * turning
        return np.stack([-np.sin(angle) * self.pt, np.cos(angle) * self.pt, self.tanl * self.pt], axis=-1)

    def turning_to_radius(self, r: npt.ArrayLike) -> FloatArray:
        """Return the turning angle at which an outgoing particle first is at a distance r from the axis, in rad, (n,).

        NaN where the circle does not reach that far.
        """
        distance = np.abs(self.dr - self.charge * self.radius)
        cosine = (distance**2 + self.radius**2 - np.square(r)) / (2.0 * distance * self.radius)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(np.abs(cosine) <= 1.0, np.arccos(cosine), np.nan))

    def turning_to_z(self, z: npt.ArrayLike) -> FloatArray:
        """Return the turning angle at which the particle is at the plane |z| on its side, in rad, (n,)."""
        slope = np.where(np.abs(self.tanl) > 0.0, self.tanl, np.finfo(np.float64).tiny)
        with np.errstate(over="ignore"):
            return np.asarray((np.copysign(z, slope) - self.dz) / (self.radius * slope))

    def path(self, turning: FloatArray) -> FloatArray:
        """Return the length of flight in cm from the vertex to a turning angle, (n,)."""
        return self.radius * (turning - self.start) * np.hypot(1.0, self.tanl)

    def turning_after(self, path: FloatArray) -> FloatArray:
        """Return the turning angle after a length of flight in cm from the vertex, (n,)."""
        return self.start + path / (self.radius * np.hypot(1.0, self.tanl))


def trajectory(vertex: FloatArray, p3: FloatArray, charge: npt.ArrayLike, field: npt.ArrayLike) -> Trajectory:
    """Return the helices of particles.

    Args:
        vertex: Production points in cm, (n, 3).
        p3: Momenta there in GeV/c, (n, 3).
        charge: Charges in e, +1 or -1, (n,).
        field: Magnetic field in T, (n,) or a number.
    """
    sign = np.asarray(charge, dtype=np.float64)
    pt = np.hypot(p3[:, 0], p3[:, 1])
    radius = P_TO_RADIUS * pt / np.asarray(field)
    # The direction from the centre to the particle is the momentum turned back by 90 degrees, times the charge.
    outward = np.stack([p3[:, 1], -p3[:, 0]], axis=-1) / pt[:, None]
    centre = vertex[:, :2] - (sign * radius)[:, None] * outward
    distance = np.hypot(centre[:, 0], centre[:, 1])
    phi0 = np.arctan2(-sign * centre[:, 1], -sign * centre[:, 0])
    angle = np.arctan2(outward[:, 1], outward[:, 0])
    start = sign * wrapped(angle - phi0)
    tanl = p3[:, 2] / pt
    return Trajectory(
        dr=sign * (radius - distance),
        phi0=phi0 % (2.0 * np.pi),
        kappa=sign / pt,
        dz=vertex[:, 2] - radius * start * tanl,
        tanl=tanl,
        charge=sign,
        radius=radius,
        start=start,
    )


def wrapped(angle: FloatArray) -> FloatArray:
    """Return an angle in rad moved into [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2.0 * np.pi) - np.pi)
