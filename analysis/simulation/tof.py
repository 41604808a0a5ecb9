"""Times of flight: barrel and end-cap counters, scintillators or MRPC by period."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import SPEED_OF_LIGHT
from jpsi_lnv.analysis.simulation.energy_loss import HYPOTHESIS_MASSES
from jpsi_lnv.analysis.simulation.helix import Trajectory
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, DetectorParameters

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


def resolution(hit: Hit, endcap_sigma: FloatArray, parameters: DetectorParameters) -> FloatArray:
    """Return the time resolution in ns, (n,)."""
    barrel = parameters.tof_sigma - parameters.tof_sigma_slope * np.abs(hit.z)
    return np.where(hit.is_barrel, barrel, endcap_sigma)


def measure(
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
    scale = np.where(rng.uniform(size=n) < parameters.tof_tail, parameters.tof_tail_scale, 1.0)
    smear = rng.normal(size=n) * resolution(hit, endcap_sigma, parameters) * scale
    has = np.isfinite(hit.path) & (rng.uniform(size=n) < parameters.tof_efficiency)
    path = np.where(has, hit.path, 0.0)
    return TimeOfFlight(
        time=np.where(has, true_time + smear + parameters.tof_shift, 0.0),
        path=path,
        expected=flight_time(path[:, None], momentum[:, None], HYPOTHESIS_MASSES),
        sigma=np.where(has, resolution(hit, endcap_sigma, NOMINAL), 0.0),
        quality=np.where(has, GOOD, NO_HIT),
    )
