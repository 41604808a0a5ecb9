"""Tracks in the drift chamber: true helices as exact geometry, and what is measured of them.

Helices follow the convention of BOSS. Pivot at the origin; kappa = charge/pT; the point of closest approach is
(dr cos phi0, dr sin phi0, dz) and the momentum there points along phi0 + 90 degrees. Positive tracks turn
counter-clockwise: the centre of the circle is (dr - charge R)(cos phi0, sin phi0) with R = 333.564 pT/B. Checked
against the real BOSS file, for both charges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_MUON, P_TO_RADIUS
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters


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


# Correlations of (dr, phi0, kappa, dz, tanl), mean of 170 covariances of the BOSS file, rounded; small ones are zero.
CORRELATION: Final = np.array(
    [
        [1.00, 0.79, -0.56, 0.00, 0.00],
        [0.79, 1.00, -0.27, 0.00, 0.00],
        [-0.56, -0.27, 1.00, 0.00, 0.00],
        [0.00, 0.00, 0.00, 1.00, -0.80],
        [0.00, 0.00, 0.00, -0.80, 1.00],
    ]
)
_LOWER: Final = np.linalg.cholesky(CORRELATION)
UPPER_TRIANGLE: Final = np.triu_indices(5)
# Exponents of the fit to the covariances of the BOSS file.
_KAPPA_LEVER, _KAPPA_SINE, _DR_SINE, _TANL_SINE = 2.5, -1.43, -0.58, -1.46


class Measurement(NamedTuple):
    """Measured helices (n, 5) and packed covariances (n, 15), upper triangle row by row."""

    parameters: FloatArray
    covariance: FloatArray


def exit_radius(tracks: Trajectory, parameters: DetectorParameters) -> FloatArray:
    """Return the largest distance from the axis in cm that a track reaches inside the drift chamber, (n,)."""
    length = (parameters.mdc_half_length - np.copysign(tracks.dz, tracks.tanl)) / np.maximum(np.abs(tracks.tanl), 1e-6)
    turning = np.clip(length / tracks.radius, 0.0, np.pi)
    along = 2.0 * tracks.radius * np.sin(turning / 2.0)
    return np.minimum(along, parameters.mdc_radius_out)


def count_hits(
    rng: np.random.Generator, tracks: Trajectory, vertex_radius: FloatArray, parameters: DetectorParameters
) -> IntArray:
    """Return the number of hits of each track, (n,): a binomial of the layers between vertex and exit."""
    spacing = (parameters.mdc_radius_out - parameters.mdc_radius_in) / (parameters.mdc_layers - 1)
    last = np.floor((exit_radius(tracks, parameters) - parameters.mdc_radius_in) / spacing) + 1.0
    first = np.ceil((vertex_radius - parameters.mdc_radius_in) / spacing)
    crossed = np.clip(last, 0, parameters.mdc_layers) - np.clip(first, 0, parameters.mdc_layers)
    return rng.binomial(np.maximum(crossed, 0).astype(np.int64), parameters.hit_efficiency)


def is_reconstructed(
    rng: np.random.Generator, tracks: Trajectory, hits: IntArray, mass: FloatArray, parameters: DetectorParameters
) -> BoolArray:
    """Return which particles make a track, (n,).

    The turn-on is one of beta pT, which scattering and energy loss go with: slow protons are lost where pions are not.
    """
    p = parameters
    slow = tracks.pt * tracks.momentum / np.hypot(tracks.momentum, mass)
    turn_on = 1.0 / (1.0 + np.exp((p.turn_on_pt - slow) / p.turn_on_width))
    kept = np.where(mass > M_MUON, np.exp(-p.hadron_loss / np.maximum(tracks.sin_theta, 1e-3)), 1.0)
    is_found = rng.uniform(size=len(hits)) < p.tracking_efficiency * turn_on * kept
    return is_found & (np.abs(tracks.cos_theta) < p.cos_theta_max) & (hits >= p.hits_min)


def resolutions(
    tracks: Trajectory, mass: FloatArray, parameters: DetectorParameters, end: npt.ArrayLike = np.inf
) -> FloatArray:
    """Return the quoted errors of (dr, phi0, kappa, dz, tanl), (n, 5).

    The hit terms grow with the lever arm lost by tracks that leave through the end plates, or that end at a distance
    `end` from the axis, in cm.
    """
    p = parameters
    pt, sine = tracks.pt, tracks.sin_theta
    beta = tracks.momentum / np.hypot(tracks.momentum, mass)
    lever = p.mdc_radius_out / np.maximum(np.minimum(exit_radius(tracks, p), end), 2.0 * p.mdc_radius_in)
    slow = 1.0 / (beta * pt)
    return np.stack(
        [
            np.hypot(p.dr_hits, p.dr_scattering * slow * sine**_DR_SINE),
            np.hypot(p.phi0_hits * lever, p.phi0_scattering * slow),
            np.hypot(p.kappa_hits * pt * lever**_KAPPA_LEVER, p.kappa_scattering / beta * sine**_KAPPA_SINE * lever)
            * np.abs(tracks.kappa),
            p.dz_hits * lever,
            np.hypot(p.tanl_hits * lever, p.tanl_scattering * slow * sine**_TANL_SINE),
        ],
        axis=-1,
    )


def measure(
    rng: np.random.Generator,
    tracks: Trajectory,
    mass: FloatArray,
    pull_width: FloatArray,
    parameters: DetectorParameters,
    end: npt.ArrayLike = np.inf,
) -> Measurement:
    """Return the measured helices with the covariances a fit would quote.

    Args:
        rng: Source of random numbers.
        tracks: True helices.
        mass: True masses in GeV/c^2, (n,).
        pull_width: True error over quoted error, (n,).
        parameters: Detector.
        end: Where tracks end before they leave the chamber, as a distance from the axis in cm, (n,).
    """
    n = len(mass)
    sigma = resolutions(tracks, mass, parameters, end)
    is_tail = rng.uniform(size=n) < parameters.pull_tail
    scale = pull_width * np.where(is_tail, parameters.pull_tail_scale, 1.0)
    measured = tracks.parameters + (rng.normal(size=(n, 5)) @ _LOWER.T) * sigma * scale[:, None]
    measured[:, 1] %= 2.0 * np.pi
    return Measurement(measured, _packed(sigma))


def _packed(sigma: FloatArray) -> FloatArray:
    """Return the packed covariances (n, 15) of quoted errors (n, 5)."""
    rows, columns = UPPER_TRIANGLE
    return CORRELATION[rows, columns] * sigma[:, rows] * sigma[:, columns]


def refit(
    measured: Measurement, tracks: Trajectory, mass: float, gained: FloatArray, parameters: DetectorParameters
) -> Measurement:
    """Return what the fit gives under a mass hypothesis, as BOSS's Kalman filter does it.

    Args:
        measured: What it gives under the true one.
        tracks: True helices.
        mass: The hypothesis in GeV/c^2.
        gained: Momentum in GeV/c that the hypothesis puts back for the loss before the chamber, less what the truth
            puts back, (n,).
        parameters: Detector.
    """
    helix = measured.parameters.copy()
    momentum = np.hypot(1.0, helix[:, 4]) / np.abs(helix[:, 2])
    helix[:, 2] *= momentum / (momentum + gained)
    return Measurement(helix, _packed(resolutions(tracks, np.full(len(helix), mass), parameters)))
