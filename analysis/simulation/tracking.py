"""The drift chamber: acceptance, efficiency, hits, and measured helices with their covariances."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.simulation.helix import Trajectory
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters

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
    rng: np.random.Generator,
    tracks: Trajectory,
    hits: IntArray,
    is_hadron: BoolArray,
    parameters: DetectorParameters,
) -> BoolArray:
    """Return which particles make a track, (n,)."""
    turn_on = 1.0 / (1.0 + np.exp((parameters.turn_on_pt - tracks.pt) / parameters.turn_on_width))
    kept = np.where(is_hadron, np.exp(-parameters.hadron_loss / np.maximum(tracks.sin_theta, 1e-3)), 1.0)
    is_found = rng.uniform(size=len(hits)) < parameters.tracking_efficiency * turn_on * kept
    in_acceptance = np.abs(tracks.cos_theta) < parameters.cos_theta_max
    return is_found & in_acceptance & (hits >= parameters.hits_min)


def resolutions(tracks: Trajectory, mass: FloatArray, parameters: DetectorParameters) -> FloatArray:
    """Return the quoted errors of (dr, phi0, kappa, dz, tanl), (n, 5).

    The hit terms grow with the lever arm lost by tracks that leave through the end plates.
    """
    p = parameters
    pt, sine = tracks.pt, tracks.sin_theta
    beta = tracks.momentum / np.hypot(tracks.momentum, mass)
    lever = p.mdc_radius_out / np.maximum(exit_radius(tracks, p), 2.0 * p.mdc_radius_in)
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
    kink: BoolArray,
    parameters: DetectorParameters,
) -> Measurement:
    """Return the measured helices with the covariances a fit would quote.

    Args:
        rng: Source of random numbers.
        tracks: True helices.
        mass: True masses in GeV/c^2, (n,).
        kink: Tracks with a decay inside the chamber, whose momentum is off by `decay_smear`, (n,).
        parameters: Detector.
    """
    n = len(mass)
    sigma = resolutions(tracks, mass, parameters)
    is_tail = rng.uniform(size=n) < parameters.pull_tail
    scale = parameters.pull_width * np.where(is_tail, parameters.pull_tail_scale, 1.0)
    measured = tracks.parameters + (rng.normal(size=(n, 5)) @ _LOWER.T) * sigma * scale[:, None]
    # Positive, so that a charge never flips.
    measured[:, 2] *= np.where(kink, np.exp(rng.normal(0.0, parameters.decay_smear, n)), 1.0)
    measured[:, 1] %= 2.0 * np.pi
    rows, columns = UPPER_TRIANGLE
    return Measurement(measured, CORRELATION[rows, columns] * sigma[:, rows] * sigma[:, columns])
