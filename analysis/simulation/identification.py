"""What identifies a track: dE/dx in the drift chamber and the time of flight, each against five hypotheses."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION, M_PROTON, SPEED_OF_LIGHT
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, DetectorParameters
from jpsi_lnv.analysis.simulation.tracking import Trajectory

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


def expected_dedx(beta_gamma: npt.ArrayLike) -> FloatArray:
    """Return the mean dE/dx at a given beta gamma."""
    bg = np.asarray(beta_gamma, dtype=np.float64)
    power = (bg / np.hypot(1.0, bg)) ** _CURVE[3]
    logarithm = np.log(_CURVE[2] + bg ** -_CURVE[4])
    return np.asarray(_CURVE[0] / power * (_CURVE[1] - power - logarithm))


def dedx_resolution(mean: npt.ArrayLike, sin_theta: npt.ArrayLike, n_hits: npt.ArrayLike, at_norm: float) -> FloatArray:
    """Return the resolution of dE/dx: that of 25 hits scaled with the size of the signal, the angle and the hits."""
    hits = np.sqrt(_HITS_AT_NORM / np.maximum(n_hits, 1))
    return np.asarray(at_norm * np.power(mean, _POWER_OF_SIZE) * np.power(sin_theta, _POWER_OF_SINE) * hits)


def measure_dedx(
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
    mean = expected_dedx(true_momentum / mass)
    sigma = dedx_resolution(mean, sin_theta, used, parameters.dedx_resolution)
    signal = np.maximum(parameters.dedx_scale * mean + sigma * rng.normal(size=len(mean)), 0.01)
    hypotheses = expected_dedx(momentum[:, None] / HYPOTHESIS_MASSES)
    quoted = dedx_resolution(hypotheses, sin_theta[:, None], used[:, None], NOMINAL.dedx_resolution)
    has = used > 0
    chi = np.where(has[:, None], (signal[:, None] - hypotheses) / quoted, 0.0)
    return EnergyLoss(np.where(has, signal, 0.0), used, chi)


GOOD: Final = 1
NO_HIT: Final = 0


class TimeOfFlight(NamedTuple):
    """Time, path (n,), expected times (n, 5), resolution and quality (n,); resolution 0 without a measurement."""

    time: FloatArray
    path: FloatArray
    expected: FloatArray
    sigma: FloatArray
    quality: IntArray


class Hit(NamedTuple):
    """Where tracks cross the counters: path length in cm (nan: nowhere), z in cm, whether in the barrel; all (n,)."""

    path: FloatArray
    z: FloatArray
    is_barrel: BoolArray


def crossing(tracks: Trajectory, parameters: DetectorParameters) -> Hit:
    """Return where the tracks cross the TOF."""
    p = parameters
    barrel = tracks.turning_to_radius(p.tof_radius)
    is_barrel = (np.abs(tracks.z(barrel)) < p.tof_barrel_z) & (barrel > tracks.start)
    endcap = tracks.turning_to_z(p.tof_endcap_z)
    point = tracks.position(endcap)
    radius = np.hypot(point[:, 0], point[:, 1])
    is_endcap = (
        (radius > p.tof_endcap_r_min)
        & (radius < p.tof_endcap_r_max)
        & (endcap < np.pi)
        & (endcap > tracks.start)
        & ~is_barrel
    )
    turning = np.where(is_barrel, barrel, np.where(is_endcap, endcap, np.nan))
    return Hit(tracks.path(turning), tracks.z(turning), is_barrel)


def flight_time(path: FloatArray, momentum: FloatArray, mass: npt.ArrayLike) -> FloatArray:
    """Return the time in ns that a particle takes for a path in cm."""
    return np.asarray(path / SPEED_OF_LIGHT * np.hypot(1.0, np.asarray(mass) / momentum))


def time_resolution(hit: Hit, endcap_sigma: FloatArray, parameters: DetectorParameters) -> FloatArray:
    """Return the time resolution in ns, (n,): of both layers of the barrel, or of the end cap."""
    barrel = parameters.tof_sigma - parameters.tof_sigma_slope * np.abs(hit.z)
    return np.where(hit.is_barrel, barrel, endcap_sigma)


def measure_time(
    rng: np.random.Generator,
    hit: Hit,
    true_time: FloatArray,
    momentum: FloatArray,
    endcap_sigma: FloatArray,
    parameters: DetectorParameters,
) -> TimeOfFlight:
    """Return measured times.

    Args:
        rng: Source of random numbers.
        hit: Where the tracks cross the counters.
        true_time: True times in ns, (n,).
        momentum: Measured momenta in GeV/c, which the hypotheses are evaluated at, (n,).
        endcap_sigma: Resolution of the end-cap counters of the event's period in ns, (n,).
        parameters: Detector; the quoted errors are those of the nominal one.
    """
    n = len(momentum)
    layers = rng.binomial(np.where(hit.is_barrel, 2, 1), parameters.tof_efficiency)
    worse = np.where(hit.is_barrel & (layers == 1), parameters.tof_one_layer, 1.0)
    scale = np.where(rng.uniform(size=n) < parameters.tof_tail, parameters.tof_tail_scale, 1.0) * worse
    smear = rng.normal(size=n) * time_resolution(hit, endcap_sigma, parameters) * scale
    has = np.isfinite(hit.path) & (layers > 0)
    path = np.where(has, hit.path, 0.0)
    return TimeOfFlight(
        time=np.where(has, true_time + smear + parameters.tof_shift, 0.0),
        path=path,
        expected=flight_time(path[:, None], momentum[:, None], HYPOTHESIS_MASSES),
        sigma=np.where(has, time_resolution(hit, endcap_sigma, NOMINAL) * worse, 0.0),
        quality=np.where(has, GOOD, NO_HIT),
    )
