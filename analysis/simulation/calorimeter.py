"""What identifies a particle: its shower in the CsI calorimeter, its dE/dx and its time of flight.

Impacts, deposited energies and shower shapes by kind of particle, clusters and overlaps; dE/dx in the drift chamber and
the time of flight, each against five hypotheses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION, M_PROTON, SPEED_OF_LIGHT
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, MUON, PION, PROTON
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
    """Time, path (n,), expected times (n, 5), resolution, quality and layers with a time (n,); all 0 without one."""

    time: FloatArray
    path: FloatArray
    expected: FloatArray
    sigma: FloatArray
    quality: IntArray
    layers: IntArray


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
        layers=np.where(has, layers, 0),
    )


# Kinds of clusters; they index the shape tables below.
ELECTROMAGNETIC, IONISING, HADRONIC = 0, 1, 2
# Mean and spread of eSeed/e3x3 and e3x3/e5x5, scale of the second moment in cm^2 and its relative spread, mean and
# spread of the lateral moment, per kind: [assumption], ordered as electromagnetic, ionising, hadronic showers; ranges:
# eSeed/e3x3 by 0.05, e3x3/e5x5 by -0.02 to 0.01, second moments by 0.7 to 1.3.
_SEED: Final = np.array([[0.62, 0.09], [0.86, 0.08], [0.58, 0.14]])
_CORE: Final = np.array([[0.94, 0.025], [0.97, 0.025], [0.83, 0.10]])
_SECOND_MOMENT: Final = np.array([[14.0, 0.25], [6.0, 0.45], [24.0, 0.50]])
_LATERAL: Final = np.array([[0.16, 0.05], [0.08, 0.06], [0.27, 0.11]])
_OUTSIDE: Final = 0.97  # e5x5 over the cluster's energy, [assumption] 0.95 to 0.99
_MIP_DEDX: Final = 0.75  # minimum of the dE/dx curve
_RESPONSE: Final = (1.1, 2.6)  # beta distribution of what interacting hadrons show, [assumption] 0.8 to 1.6
_EXCHANGE: Final = (8.0, 1.5)  # the same after charge exchange, [assumption] 5 to 12
_ANNIHILATION: Final = (2.0, 3.0)  # share of the annihilation's energy that is seen, [assumption] 1.5 to 3


class Impact(NamedTuple):
    """Where particles enter the crystals: points in cm (n, 3), turning angle in rad, in the barrel, at all; (n,)."""

    point: FloatArray
    turning: FloatArray
    is_barrel: BoolArray
    is_inside: BoolArray


class Deposit(NamedTuple):
    """Energy in GeV and kind of cluster, (n,)."""

    energy: FloatArray
    kind: IntArray


class Shapes(NamedTuple):
    """Shower shapes, (n,): energies in GeV, second moment in cm^2, lateral moment."""

    e_seed: FloatArray
    e3x3: FloatArray
    e5x5: FloatArray
    second_moment: FloatArray
    lat_moment: FloatArray


def charged_impact(tracks: Trajectory, parameters: DetectorParameters) -> Impact:
    """Return where helices enter the calorimeter."""
    p = parameters
    barrel = tracks.turning_to_radius(p.emc_radius)
    is_barrel = (np.abs(tracks.z(barrel)) < p.emc_barrel_z) & (barrel > tracks.start)
    endcap = tracks.turning_to_z(p.emc_endcap_z)
    end_point = tracks.position(endcap)
    is_endcap = _in_endcap(end_point, p) & (endcap < np.pi) & (endcap > tracks.start) & ~is_barrel
    turning = np.where(is_barrel, barrel, np.where(is_endcap, endcap, np.nan))
    point = np.where(is_barrel[:, None], tracks.position(barrel), end_point)
    return Impact(np.where((is_barrel | is_endcap)[:, None], point, np.inf), turning, is_barrel, is_barrel | is_endcap)


def straight_impact(vertex: FloatArray, p3: FloatArray, parameters: DetectorParameters) -> Impact:
    """Return where straight lines from a vertex in cm along `p3`, both (n, 3), enter the calorimeter."""
    p = parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        pt2 = p3[:, 0] ** 2 + p3[:, 1] ** 2
        along = vertex[:, 0] * p3[:, 0] + vertex[:, 1] * p3[:, 1]
        rest = vertex[:, 0] ** 2 + vertex[:, 1] ** 2 - p.emc_radius**2
        barrel = (-along + np.sqrt(np.maximum(along**2 - pt2 * rest, 0.0))) / pt2
        barrel_point = vertex + p3 * barrel[:, None]
        endcap = (np.copysign(p.emc_endcap_z, p3[:, 2]) - vertex[:, 2]) / p3[:, 2]
        end_point = vertex + p3 * endcap[:, None]
        is_barrel = np.abs(barrel_point[:, 2]) < p.emc_barrel_z
        is_inside = is_barrel | _in_endcap(end_point, p)
    point = np.where(is_barrel[:, None], barrel_point, end_point)
    return Impact(np.where(is_inside[:, None], point, np.inf), np.zeros(len(p3)), is_barrel, is_inside)


def _in_endcap(point: FloatArray, parameters: DetectorParameters) -> BoolArray:
    radius = np.hypot(point[:, 0], point[:, 1])
    return (radius > parameters.emc_endcap_r_min) & (radius < parameters.emc_endcap_r_max)


def relative_resolution(energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters) -> FloatArray:
    """Return sigma(E)/E of photons of an energy in GeV, (n,)."""
    p = parameters
    stochastic = np.where(is_barrel, p.emc_stochastic, p.emc_endcap_stochastic)
    constant = np.where(is_barrel, p.emc_constant, p.emc_endcap_constant)
    return np.hypot(stochastic / np.sqrt(np.maximum(energy, 1e-3)), constant)


def photon_energy(
    rng: np.random.Generator, energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters
) -> FloatArray:
    """Return measured energies of photons in GeV, (n,)."""
    sigma = relative_resolution(energy, is_barrel, parameters)
    return np.maximum(energy * (1.0 + sigma * rng.normal(size=len(energy))), 0.0)


def electron_energy(
    rng: np.random.Generator, energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters
) -> FloatArray:
    """Return measured energies of electrons in GeV, (n,): resolution, leakage, loss before the crystals, low tail."""
    p, n = parameters, len(energy)
    ratio = 1.0 - p.electron_leakage - p.electron_loss / energy
    width = np.hypot(relative_resolution(energy, is_barrel, p), p.electron_loss_width / energy)
    ratio += width * rng.normal(size=n)
    is_tail = rng.uniform(size=n) < p.electron_tail
    ratio -= np.where(is_tail, p.electron_tail_scale * rng.exponential(size=n), 0.0)
    return np.maximum(energy * ratio, 0.0)


def deposit(
    rng: np.random.Generator,
    pdg_id: IntArray,
    momentum: FloatArray,
    is_barrel: BoolArray,
    parameters: DetectorParameters,
) -> Deposit:
    """Return what charged particles leave in the crystals.

    Args:
        rng: Source of random numbers.
        pdg_id: PDG codes of electrons, muons, pions, kaons and protons, (n,).
        momentum: Momenta at the calorimeter in GeV/c, (n,).
        is_barrel: Whether they hit the barrel, (n,).
        parameters: Detector.
    """
    size = np.abs(pdg_id)
    is_electron = size == ELECTRON
    energy = np.empty(len(pdg_id))
    energy[is_electron] = electron_energy(rng, momentum[is_electron], is_barrel[is_electron], parameters)
    hadrons = _hadron_deposit(rng, pdg_id[~is_electron], momentum[~is_electron], parameters)
    energy[~is_electron] = hadrons.energy
    kind = np.full(len(pdg_id), ELECTROMAGNETIC)
    kind[~is_electron] = hadrons.kind
    return Deposit(energy, kind)


def _hadron_deposit(
    rng: np.random.Generator, pdg_id: IntArray, momentum: FloatArray, parameters: DetectorParameters
) -> Deposit:
    """Return the energies of muons and hadrons: ionisation, and interactions of the hadrons."""
    p, n, size = parameters, len(pdg_id), np.abs(pdg_id)
    mass = np.select([size == code for code in (MUON, PION, KAON)], [M_MUON, M_PION, M_KAON], M_PROTON)
    kinetic = np.hypot(momentum, mass) - mass
    relative = expected_dedx(np.maximum(momentum / mass, 0.1)) / _MIP_DEDX
    ionisation = np.maximum(relative * rng.gumbel(p.mip_energy, p.mip_width, n), 0.0)
    chance = -np.expm1(-p.crystal_length / p.interaction_length)
    is_interacting = (size != MUON) & (rng.uniform(size=n) < chance)
    depth = np.where(is_interacting, rng.uniform(size=n), 1.0)
    energy = np.minimum(ionisation * depth, kinetic)
    rows = np.flatnonzero(is_interacting)
    energy[rows] += (kinetic[rows] - energy[rows]) * _visible_share(rng, size[rows], p)
    stopped = np.flatnonzero((pdg_id == -PROTON) & (is_interacting | (energy >= kinetic)))
    energy[stopped] += p.annihilation * rng.beta(*_ANNIHILATION, stopped.size)
    is_hadronic = is_interacting.copy()
    is_hadronic[stopped] = True
    return Deposit(energy, np.where(is_hadronic, HADRONIC, IONISING))


def _visible_share(rng: np.random.Generator, size: IntArray, parameters: DetectorParameters) -> FloatArray:
    exchange = np.select([size == PION, size == KAON], [parameters.pion_exchange, parameters.kaon_exchange], 0.0)
    is_exchange = rng.uniform(size=len(size)) < exchange
    share = rng.beta(*_RESPONSE, len(size))
    share[is_exchange] = rng.beta(*_EXCHANGE, int(is_exchange.sum()))
    return np.asarray(share)


def shapes(rng: np.random.Generator, energy: FloatArray, kind: IntArray) -> Shapes:
    """Return shower shapes of clusters of an energy in GeV and a kind, (n,)."""
    n = len(energy)
    draws = rng.normal(size=(4, n))
    core = np.clip(_CORE[kind, 0] + _CORE[kind, 1] * draws[0], 0.2, 1.0)
    seed = np.clip(_SEED[kind, 0] + _SEED[kind, 1] * draws[1], 0.1, 1.0)
    moment = _SECOND_MOMENT[kind, 0] * np.exp(_SECOND_MOMENT[kind, 1] * draws[2])
    lateral = np.clip(_LATERAL[kind, 0] + _LATERAL[kind, 1] * draws[3], 0.0, 1.0)
    e5x5 = _OUTSIDE * energy
    return Shapes(e5x5 * core * seed, e5x5 * core, e5x5, moment, lateral)


NOISE_ENERGY: Final = (0.025, 0.030)  # GeV: threshold and scale of noise clusters, [assumption] 0.02 to 0.05
NOISE_TIME: Final = 1500.0  # ns: they are uniform in time up to here, [assumption] 1000 to 2500
SPLIT_ENERGY: Final = (0.020, 0.045)  # GeV: least energy and scale of split-off clusters, [assumption] 0.03 to 0.08
SPLIT_DISTANCE: Final = (15.0, 45.0)  # cm: their distance from the track's impact, [assumption] 10 to 35, 20 to 60


class Clusters(NamedTuple):
    """Clusters, n of them.

    Attributes:
        event: Their event, (n,).
        position: Where they are in cm, (n, 3).
        energy: Energy in GeV, (n,).
        kind: Kind of shower, see `calorimeter`, (n,).
        track: Row of the charged particle that made it, -1 for none, (n,).
        time: Time after the event start in ns, (n,).
    """

    event: IntArray
    position: FloatArray
    energy: FloatArray
    kind: IntArray
    track: IntArray
    time: FloatArray


def concatenate(*parts: Clusters) -> Clusters:
    """Return clusters of several sources as one set, sorted by event."""
    order = np.argsort(np.concatenate([p.event for p in parts]), kind="stable")
    return Clusters(*(np.concatenate(columns)[order] for columns in zip(*parts, strict=True)))


def merge(clusters: Clusters, is_matched: BoolArray, parameters: DetectorParameters) -> FloatArray:
    """Return the energies in GeV after clusters that overlap have become one, (n,); the absorbed ones have none.

    Of two tracks the one with the larger deposit takes all; a track takes what photons near it left.

    Args:
        clusters: Clusters before, sorted by event.
        is_matched: Whether a reconstructed track points at the cluster, (n,).
        parameters: Detector.
    """
    energy = clusters.energy.copy()
    for step in range(1, len(energy)):
        first = np.flatnonzero(clusters.event[:-step] == clusters.event[step:])
        if first.size == 0:
            break
        pairs = _close(clusters, first, first + step, parameters)
        while len(pairs):
            pairs = _absorb(energy, is_matched, pairs)
    return energy


def _close(clusters: Clusters, a: IntArray, b: IntArray, parameters: DetectorParameters) -> IntArray:
    """Return the pairs that overlap, (m, 2)."""
    gap = np.sqrt(((clusters.position[a] - clusters.position[b]) ** 2).sum(axis=1))
    both_charged = (clusters.track[a] >= 0) & (clusters.track[b] >= 0)
    limit = np.where(both_charged, parameters.merge_distance, parameters.photon_merge_distance)
    return np.stack([a, b], axis=1)[gap < limit]


def _absorb(energy: FloatArray, is_matched: BoolArray, pairs: IntArray) -> IntArray:
    """Move the energy of losers to winners; return the pairs that have to wait for these.

    In a chain of overlaps a winner that loses too waits for the pair it loses in, and nobody loses twice.
    """
    a, b = pairs[(energy[pairs] > 0.0).all(axis=1)].T
    wins = np.where(is_matched[a] == is_matched[b], energy[a] >= energy[b], is_matched[a])
    winner, loser = np.where(wins, a, b), np.where(wins, b, a)
    is_ready = ~np.isin(winner, loser)
    is_ready[np.setdiff1d(np.arange(len(loser)), np.unique(loser, return_index=True)[1])] = False
    np.add.at(energy, winner[is_ready], energy[loser[is_ready]])
    energy[loser[is_ready]] = 0.0
    return np.stack([a, b], axis=1)[~is_ready]


def noise(rng: np.random.Generator, n_events: int, parameters: DetectorParameters) -> Clusters:
    """Return clusters of beam background, anywhere in the barrel and at any time."""
    counts = rng.poisson(parameters.noise_clusters, n_events)
    event = np.repeat(np.arange(n_events), counts)
    n = len(event)
    phi, z = rng.uniform(-np.pi, np.pi, n), rng.uniform(-parameters.emc_barrel_z, parameters.emc_barrel_z, n)
    position = np.stack([parameters.emc_radius * np.cos(phi), parameters.emc_radius * np.sin(phi), z], axis=-1)
    energy = NOISE_ENERGY[0] + NOISE_ENERGY[1] * rng.exponential(size=n)
    kind = np.full(n, ELECTROMAGNETIC)
    return Clusters(event, position, energy, kind, np.full(n, -1), rng.uniform(0.0, NOISE_TIME, n))


def split_offs(rng: np.random.Generator, clusters: Clusters, parameters: DetectorParameters) -> Clusters:
    """Return the second clusters that some hadronic showers leave beside the first."""
    hadronic = np.flatnonzero((clusters.kind == HADRONIC) & (clusters.energy > 0.0))
    chosen = hadronic[rng.uniform(size=hadronic.size) < parameters.split_off]
    n = chosen.size
    energy = np.minimum(SPLIT_ENERGY[0] + SPLIT_ENERGY[1] * rng.exponential(size=n), clusters.energy[chosen])
    angle, distance = rng.uniform(-np.pi, np.pi, n), rng.uniform(*SPLIT_DISTANCE, n)
    position = clusters.position[chosen]
    radius = np.hypot(position[:, 0], position[:, 1])
    phi = np.arctan2(position[:, 1], position[:, 0]) + distance * np.cos(angle) / radius
    z = position[:, 2] + distance * np.sin(angle) * (np.abs(position[:, 2]) < parameters.emc_barrel_z)
    moved = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=-1)
    return Clusters(clusters.event[chosen], moved, energy, clusters.kind[chosen], np.full(n, -1), clusters.time[chosen])
