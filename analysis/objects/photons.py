"""Photons of the calorimeter and pi0 candidates made of two.

Requirements as BESIII analyses state them: energy above 25 MeV in the barrel and 50 MeV in the end caps, a time within
700 ns after the event start against noise, and a distance to the nearest charged track against split-off showers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_PION0
from jpsi_lnv.analysis.cuts import requirement
from jpsi_lnv.analysis.events.schema import branch
from jpsi_lnv.analysis.kinematics import invariant_mass

if TYPE_CHECKING:
    from jpsi_lnv.analysis.events.columns import Columns


# Branches that photons are read from, beside those of good tracks.
READS: Final = frozenset(
    {"nShower"}
    | {branch("Track", f"emc_{axis}") for axis in "xyz"}
    | {branch("Shower", name) for name in ("x", "y", "z", "energy", "time")}
)
BESIII = "BESIII standard"


# What the calorimeter measures photons with, in barrel and end caps: the resolution of the energy in parts of it, added
# in squares, and of the position in cm, both as one falls with the root of the energy in GeV. BESIII, NIM A 614, 345.
STOCHASTIC: Final = (0.021, 0.045)
CONSTANT: Final = (0.0136, 0.022)
POSITION: Final = 0.6


@dataclass(frozen=True, kw_only=True)
class PhotonCuts:
    """The requirements of a photon and of a pi0."""

    cos_theta_barrel: float = requirement(0.80, unit="", source=BESIII, meaning="barrel: |cos theta| below")
    cos_theta_endcap_min: float = requirement(0.86, unit="", source=BESIII, meaning="end cap: |cos theta| above")
    cos_theta_endcap_max: float = requirement(0.92, unit="", source=BESIII, meaning="end cap: |cos theta| below")
    energy_barrel_min: float = requirement(0.025, unit="GeV", source=BESIII, meaning="energy in the barrel above")
    energy_endcap_min: float = requirement(0.050, unit="GeV", source=BESIII, meaning="energy in the end caps above")
    time_max: float = requirement(700.0, unit="ns", source=BESIII, meaning="time after the event start up to")
    track_angle_min: float = requirement(
        0.1745, unit="rad", source=BESIII + " (10 degrees)", meaning="angle to the nearest charged track above"
    )
    m_pi0_min: float = requirement(0.115, unit="GeV/c^2", source=BESIII, meaning="pi0: m(gamma gamma) above")
    m_pi0_max: float = requirement(0.150, unit="GeV/c^2", source=BESIII, meaning="pi0: m(gamma gamma) below")


PHOTONS = PhotonCuts()


@dataclass(frozen=True)
class Photons:
    """Selected photons.

    Attributes:
        p4: (N, 4) four-momenta from the interaction point, in GeV.
        event: (N,) event of each, not decreasing.
        distance: (N,) from the interaction point to where it hits the calorimeter in cm.
    """

    p4: FloatArray
    event: IntArray
    distance: FloatArray

    def __getitem__(self, chosen: BoolArray) -> Photons:
        """Return the photons that a mask selects."""
        return Photons(self.p4[chosen], self.event[chosen], self.distance[chosen])


def read_showers(columns: Columns) -> Photons:
    """Return every shower of a chunk as a photon from its event's interaction point."""
    offsets = columns.offsets("Shower")
    event = np.repeat(np.arange(columns.n_events), np.diff(offsets))
    point = np.stack([columns.flat("Shower", axis) for axis in "xyz"], axis=1).astype(np.float64)
    origin = np.stack([columns.scalar(f"ip_{axis}") for axis in "xyz"], axis=1)[event]
    direction = point - origin
    distance = np.linalg.norm(direction, axis=1)
    energy = columns.flat("Shower", "energy").astype(np.float64)
    p3 = direction / distance[:, None] * energy[:, None]
    return Photons(np.concatenate([p3, energy[:, None]], axis=1), event, distance)


def covariance(photons: Photons, cuts: PhotonCuts = PHOTONS) -> FloatArray:
    """Return the covariance of the momenta, (N, 6) in (GeV/c)^2 as xx, xy, xz, yy, yz, zz.

    The energy moves a photon along its direction n, the position of its shower across: V = s_E^2 n n + s_x^2 (1 - n n).
    """
    energy = photons.p4[:, 3]
    n = photons.p4[:, :3] / energy[:, None]
    is_endcap = (np.abs(n[:, 2]) > cuts.cos_theta_barrel).astype(np.int64)
    along = energy * np.hypot(np.array(STOCHASTIC)[is_endcap] / np.sqrt(energy), np.array(CONSTANT)[is_endcap])
    across = np.sqrt(energy) * POSITION / photons.distance
    rows, columns = np.triu_indices(3)
    unit = (rows == columns).astype(np.float64)
    return (
        np.square(across)[:, None] * unit + (np.square(along) - np.square(across))[:, None] * n[:, rows] * n[:, columns]
    )


def select(columns: Columns, cuts: PhotonCuts = PHOTONS) -> Photons:
    """Return the photons of a chunk: energy, angle, time and distance to the charged tracks' impacts."""
    showers = read_showers(columns)
    cos_theta = np.abs(showers.p4[:, 2] / showers.p4[:, 3])
    in_barrel = cos_theta < cuts.cos_theta_barrel
    in_endcap = (cos_theta > cuts.cos_theta_endcap_min) & (cos_theta < cuts.cos_theta_endcap_max)
    energy = showers.p4[:, 3]
    has_energy = (in_barrel & (energy > cuts.energy_barrel_min)) | (in_endcap & (energy > cuts.energy_endcap_min))
    time = columns.flat("Shower", "time")
    is_photon = has_energy & (time >= 0) & (time <= cuts.time_max)
    is_photon &= track_angle(columns, showers) > cuts.track_angle_min
    return showers[is_photon]


def track_angle(columns: Columns, photons: Photons) -> FloatArray:
    """Return the angle in rad between each photon and the nearest impact of a charged track; pi without any.

    Args:
        columns: The chunk.
        photons: Photons of the chunk.
    """
    impact = np.stack([columns.flat("Track", f"emc_{axis}") for axis in "xyz"], axis=1).astype(np.float64)
    has_cluster = columns.flat("Track", "emc_energy") > 0
    photon, track = pairs(photons.event, columns.offsets("Track"))
    photon, track = photon[has_cluster[track]], track[has_cluster[track]]
    angle = np.full(len(photons.event), np.pi)
    np.minimum.at(angle, photon, opening_angle(photons.p4[photon, :3], impact[track]))
    return angle


def pairs(event: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Return the indices of every object and every entry of a collection of the same event.

    Args:
        event: (N,) event of each object.
        offsets: (E + 1,) offsets of the collection.

    Returns:
        Object and entry, each (P,).
    """
    n = np.diff(offsets)[event]
    first = np.repeat(np.arange(len(event)), n)
    within = np.arange(len(first)) - np.repeat(np.cumsum(n) - n, n)
    return first, offsets[event][first] + within


def opening_angle(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the angle in rad between vectors (N, 3)."""
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.arccos(np.clip((a * b).sum(axis=1) / np.maximum(norm, np.finfo(np.float64).tiny), -1.0, 1.0))


def best_pi0(photons: Photons, n_events: int, cuts: PhotonCuts = PHOTONS) -> Photons:
    """Return the pair of photons closest to the pi0 mass in each event that has one in the window.

    Its energies are scaled so that the pair has that mass, which improves the momentum as a one-constraint fit does.

    Args:
        photons: Photons of a chunk.
        n_events: Number of events of the chunk.
        cuts: The window.

    Returns:
        One pi0 per event, as `Photons`.
    """
    counts = np.bincount(photons.event, minlength=n_events)
    first, second = pairs(photons.event, np.concatenate([[0], np.cumsum(counts)]))
    first, second = first[first < second], second[first < second]
    p4 = photons.p4[first] + photons.p4[second]
    mass = invariant_mass(p4)
    inside = np.flatnonzero((mass > cuts.m_pi0_min) & (mass < cuts.m_pi0_max))
    order = inside[np.argsort(np.abs(mass[inside] - M_PION0), kind="stable")]
    event, chosen = np.unique(photons.event[first][order], return_index=True)
    best = order[chosen]
    return Photons(p4[best] * (M_PION0 / mass[best])[:, None], event, np.full(len(best), np.nan))
