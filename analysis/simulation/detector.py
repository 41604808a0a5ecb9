"""Turns generated particles into the columns of an ntuple: the order of the steps, and nothing else."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.constants import M_KAON, M_MUON, M_PROTON, SPEED_OF_LIGHT
from jpsi_lnv.analysis.events.schema import COVARIANCE, HELIX, PID_HYPOTHESES
from jpsi_lnv.analysis.simulation import calorimeter, identification, tracking
from jpsi_lnv.analysis.simulation.beam import Beams
from jpsi_lnv.analysis.simulation.calorimeter import Clusters, Impact
from jpsi_lnv.analysis.simulation.parameters import PERIODS, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import (
    ANTINEUTRON,
    CHARGED,
    ELECTRON,
    K_LONG,
    KINDS,
    MUON,
    NEUTRON,
    PHOTON,
    FloatArray,
    IntArray,
    Particles,
    signed_charge,
)
from jpsi_lnv.analysis.simulation.tracking import Trajectory, trajectory
from jpsi_lnv.analysis.simulation.transport import Flight, bremsstrahlung, convert, decay_in_flight

Flat = dict[str, AnyArray]
Column = AnyArray | tuple[IntArray, AnyArray]

_PHOTON_MIN: Final = 0.010  # GeV: softer photons cannot make a cluster
_NEUTRAL_ENERGY: Final = (1.2, 3.0)  # beta distribution of the visible share of K_L and neutrons, [assumption]
_TIME_SPREAD: Final = 4.0  # ns: resolution of cluster times, [assumption]


class Charged(NamedTuple):
    """Charged particles that can make a track, n of them: row in the table, event, code, mass in GeV/c^2, helix, decay.

    `radiated` is the energy in GeV lost to bremsstrahlung.
    """

    row: IntArray
    event: IntArray
    code: IntArray
    mass: FloatArray
    tracks: Trajectory
    radiated: FloatArray
    vertex: FloatArray
    decay_path: FloatArray
    daughter_momentum: FloatArray


def simulate(
    rng: np.random.Generator, particles: Particles, beams: Beams, parameters: DetectorParameters
) -> dict[str, Column]:
    """Return the columns of simulated events.

    Args:
        rng: Source of random numbers.
        particles: Generated particles in the laboratory.
        beams: Period, run, vertex and field of the events.
        parameters: The detector.

    Returns:
        Branch name -> event scalars (E,), or (offsets, values) of a collection, for `Track`, `Shower` and `Gen`.
    """
    table, flight = decay_in_flight(rng, convert(rng, particles, parameters), beams.field, parameters)
    charged = _charged(rng, table, flight, beams.field, parameters)
    impact = calorimeter.charged_impact(charged.tracks, parameters)
    hits, is_found, is_kinked = _find(rng, charged, parameters)
    found = np.flatnonzero(is_found)
    cells = _clusters(rng, table, charged, impact, parameters)
    columns = _track_columns(rng, charged, found, hits, is_kinked, beams, parameters)
    emc, showers = _emc_columns(rng, cells, found, len(charged.row), parameters)
    offsets = _offsets(charged.event[found], table.n_events)
    columns |= emc | {"gen": table.row[charged.row[found]]}
    return (
        {f"Track_{name}": (offsets, values) for name, values in columns.items()}
        | {f"Shower_{name}": values for name, values in _with_offsets(showers, table.n_events).items()}
        | {f"Gen_{name}": (table.offsets, values) for name, values in _gen_columns(table).items()}
    )


def _offsets(event: IntArray, n_events: int) -> IntArray:
    return np.concatenate([[0], np.cumsum(np.bincount(event, minlength=n_events))])


def _with_offsets(columns: Flat, n_events: int) -> dict[str, Column]:
    offsets = _offsets(columns["event"].astype(np.int64), n_events)
    return {name: (offsets, values) for name, values in columns.items() if name != "event"}


def _charged(
    rng: np.random.Generator, table: Particles, flight: Flight, field: FloatArray, parameters: DetectorParameters
) -> Charged:
    size = np.abs(table.pdg_id)
    row = np.flatnonzero(np.isin(size, CHARGED) & table.is_final)
    code, vertex, event = table.pdg_id[row], table.vertex[row], table.event[row]
    kept = bremsstrahlung(rng, table.p4[row, :3], size[row] == ELECTRON, parameters)
    tracks = trajectory(vertex, table.p4[row, :3] * kept[:, None], signed_charge(code), field[event])
    masses = np.zeros(max(CHARGED) + 1)
    masses[list(CHARGED)] = [KINDS[c].mass for c in CHARGED]
    radiated = table.p4[row, 3] * (1.0 - kept)
    decay = (flight.decay_path[row], flight.daughter_momentum[row])
    return Charged(row, event, code, masses[size[row]], tracks, radiated, vertex, *decay)


def _find(
    rng: np.random.Generator, charged: Charged, parameters: DetectorParameters
) -> tuple[IntArray, BoolArray, BoolArray]:
    """Return hits, which particles make a track, and which of these have a kink inside the chamber; (n,)."""
    hits = tracking.count_hits(rng, charged.tracks, np.hypot(*charged.vertex[:, :2].T), parameters)
    is_hadron = charged.mass > M_MUON
    is_found = tracking.is_reconstructed(rng, charged.tracks, hits, is_hadron, parameters)
    has_decay = np.isfinite(charged.decay_path)
    path = np.where(has_decay, charged.decay_path, 0.0)
    turning = charged.tracks.turning_after(path)
    radius = np.hypot(*charged.tracks.position(turning)[:, :2].T)
    is_kinked = has_decay & (radius < parameters.decay_radius_late) & (turning < np.pi)
    is_lost = is_kinked & (rng.uniform(size=len(hits)) < parameters.decay_loss)
    return hits, is_found & ~is_lost, is_kinked


def _track_columns(
    rng: np.random.Generator,
    charged: Charged,
    found: IntArray,
    hits: IntArray,
    is_kinked: BoolArray,
    beams: Beams,
    parameters: DetectorParameters,
) -> Flat:
    """Return the columns of the found tracks from chamber and TOF."""
    tracks = _take(charged.tracks, found)
    mass, hits = charged.mass[found], hits[found]
    measured = tracking.measure(rng, tracks, mass, is_kinked[found], parameters)
    momentum = np.hypot(1.0, measured.parameters[:, 4]) / np.abs(measured.parameters[:, 2])
    dedx = identification.measure_dedx(rng, tracks.momentum, mass, momentum, tracks.sin_theta, hits, parameters)
    hit = identification.crossing(tracks, parameters)
    true_time = _true_time(hit.path, tracks.momentum, charged, found)
    endcap_sigma = np.array([p.tof_endcap_sigma for p in PERIODS])[beams.period[charged.event[found]]]
    times = identification.measure_time(rng, hit, true_time, momentum, endcap_sigma, parameters)
    columns: Flat = {"charge": tracks.charge.astype(np.int8), "n_hits": hits}
    columns |= dict(zip(HELIX, measured.parameters.T, strict=True))
    columns |= dict(zip(COVARIANCE, measured.covariance.T, strict=True))
    columns |= {f"dedx_chi_{h}": dedx.chi[:, i] for i, h in enumerate(PID_HYPOTHESES)}
    columns |= {"dedx_norm_ph": dedx.norm_ph, "dedx_n_hits": dedx.n_hits}
    columns |= {f"tof_texp_{h}": times.expected[:, i] for i, h in enumerate(PID_HYPOTHESES)}
    columns |= {"tof_time": times.time, "tof_path": times.path, "tof_sigma": times.sigma, "tof_quality": times.quality}
    return columns


def _take(tracks: Trajectory, rows: IntArray) -> Trajectory:
    return Trajectory(**{name: values[rows] for name, values in vars(tracks).items()})


def _true_time(path: FloatArray, momentum: FloatArray, charged: Charged, found: IntArray) -> FloatArray:
    """Return times of flight in ns; after a decay the muon's speed counts."""
    before = np.fmin(charged.decay_path[found], path)
    first = identification.flight_time(before, momentum, charged.mass[found])
    muon = np.maximum(charged.daughter_momentum[found], 1e-3)
    return first + identification.flight_time(path - before, muon, M_MUON)


def _clusters(
    rng: np.random.Generator, table: Particles, charged: Charged, impact: Impact, parameters: DetectorParameters
) -> Clusters:
    """Return every cluster of the events before overlaps."""
    tracks = _charged_clusters(rng, charged, impact, parameters)
    return calorimeter.concatenate(
        tracks,
        _photon_clusters(rng, table, charged, parameters),
        _neutral_clusters(rng, table, parameters),
        calorimeter.split_offs(rng, tracks, parameters),
        calorimeter.noise(rng, table.n_events, parameters),
    )


def _charged_clusters(
    rng: np.random.Generator, charged: Charged, impact: Impact, parameters: DetectorParameters
) -> Clusters:
    row = np.flatnonzero(impact.is_inside)
    path = charged.tracks.path(impact.turning)[row]
    is_muon = charged.decay_path[row] < path
    code = np.where(is_muon, MUON, charged.code[row])
    momentum = np.where(is_muon, np.maximum(charged.daughter_momentum[row], 1e-3), charged.tracks.momentum[row])
    deposit = calorimeter.deposit(rng, code, momentum, impact.is_barrel[row], parameters)
    time = _cluster_time(rng, path)
    return Clusters(charged.event[row], impact.point[row], deposit.energy, deposit.kind, row, time)


def _cluster_time(rng: np.random.Generator, path: FloatArray) -> FloatArray:
    return path / SPEED_OF_LIGHT + rng.normal(0.0, _TIME_SPREAD, len(path))


def _photon_clusters(
    rng: np.random.Generator, table: Particles, charged: Charged, parameters: DetectorParameters
) -> Clusters:
    """Return the clusters of photons, those of bremsstrahlung included."""
    row = np.flatnonzero((table.pdg_id == PHOTON) & table.is_final & (table.p4[:, 3] > _PHOTON_MIN))
    brems = np.flatnonzero(charged.radiated > _PHOTON_MIN)
    event = np.concatenate([table.event[row], charged.event[brems]])
    vertex = np.concatenate([table.vertex[row], charged.vertex[brems]])
    p3 = np.concatenate([table.p4[row, :3], table.p4[charged.row[brems], :3]])
    energy = np.concatenate([table.p4[row, 3], charged.radiated[brems]])
    impact = calorimeter.straight_impact(vertex, p3, parameters)
    hit = impact.is_inside
    measured = calorimeter.photon_energy(rng, energy[hit], impact.is_barrel[hit], parameters)
    kind = np.full(len(measured), calorimeter.ELECTROMAGNETIC)
    return _neutral(rng, event[hit], vertex[hit], impact.point[hit], measured, kind)


def _neutral_clusters(rng: np.random.Generator, table: Particles, parameters: DetectorParameters) -> Clusters:
    """Return the clusters of K_L and neutrons."""
    row = np.flatnonzero(np.isin(table.pdg_id, (K_LONG, NEUTRON, ANTINEUTRON)) & table.is_final)
    row = row[rng.uniform(size=row.size) < parameters.neutral_hadron_response]
    impact = calorimeter.straight_impact(table.vertex[row], table.p4[row, :3], parameters)
    hit = np.flatnonzero(impact.is_inside)
    row, point = row[hit], impact.point[hit]
    kinetic = table.p4[row, 3] - np.where(table.pdg_id[row] == K_LONG, M_KAON, M_PROTON)
    energy = np.maximum(kinetic, 0.0) * rng.beta(*_NEUTRAL_ENERGY, row.size)
    energy += np.where(table.pdg_id[row] == ANTINEUTRON, parameters.annihilation * rng.beta(2.0, 3.0, row.size), 0.0)
    kind = np.full(row.size, calorimeter.HADRONIC)
    return _neutral(rng, table.event[row], table.vertex[row], point, energy, kind)


def _neutral(
    rng: np.random.Generator,
    event: IntArray,
    vertex: FloatArray,
    point: FloatArray,
    energy: FloatArray,
    kind: IntArray,
) -> Clusters:
    time = _cluster_time(rng, np.linalg.norm(point - vertex, axis=1))
    return Clusters(event, point, energy, kind, np.full(len(event), -1), time)


def _emc_columns(
    rng: np.random.Generator, cells: Clusters, found: IntArray, n_charged: int, parameters: DetectorParameters
) -> tuple[Flat, Flat]:
    """Return the EMC columns of the found tracks, and the columns of the clusters without a track."""
    is_found = np.zeros(n_charged + 1, dtype=np.bool_)
    is_found[found] = True
    is_matched = is_found[cells.track]  # the last entry, False, stands for no track
    energy = calorimeter.merge(cells, is_matched, parameters)
    energy = np.where(energy > parameters.emc_threshold, energy, 0.0)
    shapes = calorimeter.shapes(rng, energy, cells.kind)
    spread = parameters.emc_position / np.sqrt(np.maximum(energy, parameters.emc_threshold))
    position = cells.position + rng.normal(size=cells.position.shape) * spread[:, None]
    columns: Flat = {"energy": energy, "x": position[:, 0], "y": position[:, 1], "z": position[:, 2]}
    columns |= {"e_seed": shapes.e_seed, "e3x3": shapes.e3x3, "e5x5": shapes.e5x5}
    columns |= {"second_moment": shapes.second_moment}
    own = np.full(n_charged, -1)
    has = is_matched & (energy > 0.0)
    own[cells.track[has]] = np.flatnonzero(has)
    tracks = {f"emc_{name}": _at(values, own[found]) for name, values in columns.items()}
    tracks["emc_lat_moment"] = _at(shapes.lat_moment, own[found])
    is_shower = ~is_matched & (energy > 0.0)
    showers = {name: values[is_shower] for name, values in columns.items()}
    return tracks, showers | {"time": cells.time[is_shower], "event": cells.event[is_shower]}


def _at(values: FloatArray, index: IntArray) -> FloatArray:
    """Return the values at an index, 0 where it is -1."""
    return np.where(index >= 0, np.append(values, 0.0)[index], 0.0)


def _gen_columns(table: Particles) -> Flat:
    px, py, pz, energy = table.p4.T
    vx, vy, vz = table.vertex.T
    momenta = {"px": px, "py": py, "pz": pz, "energy": energy, "vx": vx, "vy": vy, "vz": vz}
    return {"pdg_id": table.pdg_id, "mother": table.mother, **momenta}
