"""Turns generated particles into the columns of an ntuple: the order of the steps, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION, M_PROTON, SPEED_OF_LIGHT
from jpsi_lnv.analysis.events.schema import COVARIANCE, HELIX, PID_HYPOTHESES
from jpsi_lnv.analysis.simulation import calorimeter, raw, tracking
from jpsi_lnv.analysis.simulation.beam import Beams
from jpsi_lnv.analysis.simulation.calorimeter import Clusters, EnergyLoss, Hit, Impact, TimeOfFlight
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
from jpsi_lnv.analysis.simulation.tracking import Measurement, Trajectory, trajectory
from jpsi_lnv.analysis.simulation.transport import Flight, bremsstrahlung, convert, decay_in_flight, momentum_lost

Flat = dict[str, AnyArray]
Branch = AnyArray | tuple[IntArray, AnyArray]

_PHOTON_MIN: Final = 0.010  # GeV: softer photons cannot make a cluster
_NEUTRAL_ENERGY: Final = (1.2, 3.0)  # beta distribution of what K_L and neutrons show, [assumption] 0.8 to 1.8
_TIME_SPREAD: Final = 4.0  # ns: resolution of cluster times, [assumption] 2 to 8

# Suffix in the column table -> mass of the hypothesis in GeV/c^2.
_HYPOTHESES: Final = {"": M_PION, "_e": M_ELECTRON, "_mu": M_MUON, "_k": M_KAON, "_p": M_PROTON}
# Mass in GeV/c^2 of what can make a track, by the size of its code.
_MASSES: Final = np.zeros(max(CHARGED) + 1)
_MASSES[list(CHARGED)] = [KINDS[code].mass for code in CHARGED]
# Of each of `PERIODS`.
_ENDCAP_SIGMA: Final = np.array([period.tof_endcap_sigma for period in PERIODS])
_HAS_MRPC: Final = np.array([period.has_mrpc for period in PERIODS])


class Charged(NamedTuple):
    """Charged particles that can make a track, n of them: row in the table, event, code, mass in GeV/c^2, helix, decay.

    `radiated` is the energy in GeV lost to bremsstrahlung; `daughter` the momentum in GeV/c that a decay leaves; `end`
    how far from the axis in cm a track ends that a kink cuts short.
    """

    row: IntArray
    event: IntArray
    code: IntArray
    mass: FloatArray
    tracks: Trajectory
    radiated: FloatArray
    vertex: FloatArray
    decay_path: FloatArray
    daughter: FloatArray
    end: FloatArray


def simulate(
    rng: np.random.Generator,
    particles: Particles,
    beams: Beams,
    parameters: DetectorParameters,
    *,
    keep: Collection[str] = (),
    has_hypotheses: bool = False,
) -> dict[str, Branch]:
    """Return the columns of simulated events.

    Args:
        rng: Source of random numbers.
        particles: Generated particles in the laboratory.
        beams: Period, run, vertex and field of the events.
        parameters: The detector.
        keep: Groups of raw columns to return beside the rest, of `raw.GROUPS`.
        has_hypotheses: Whether tracks have a helix per mass hypothesis, the plain one being that of the pion; else
            there is one helix, fitted under the true mass.

    Returns:
        Branch name -> event scalars (E,), or (offsets, values) of a collection, for `Track`, `Shower`, `Gen` and,
        with the group ``pid``, `Tof`.
    """
    table, flight = decay_in_flight(rng, convert(rng, particles, parameters), beams.field, parameters)
    charged = _charged(rng, table, flight, beams.field, parameters)
    outer = _outer(charged, beams.field, parameters)
    hits, is_found = _find(rng, charged, parameters)
    found = np.flatnonzero(is_found)
    cells = _clusters(rng, table, charged, outer, parameters)
    seen = _with_kinks(charged, found, beams.field, parameters)
    measurements = _measure(rng, seen, outer, found, hits, beams, parameters)
    columns = _track_columns(measurements)
    if has_hypotheses:
        columns |= _hypotheses(measurements, charged.mass[found], parameters)
    emc, showers = _emc_columns(rng, cells, found, len(charged.row), parameters)
    offsets = _offsets(charged.event[found], table.n_events)
    columns |= emc | {"gen": table.row[charged.row[found]]}
    of_times, of_chambers = rng.spawn(2)
    records: dict[str, Branch] = {}
    if "pid" in keep:
        crossed = raw.crossing(measurements.tracks, measurements.hit, parameters)
        columns |= raw.stored("Track", {"ext_z1": crossed.z1, "ext_z2": crossed.z2, "ext_rho": crossed.rho})
        records = _tof_records(of_times, measurements, crossed, charged, found, beams, parameters)
    if "muon" in keep:
        columns |= _muon_columns(of_chambers, charged, outer, cells, found, parameters)
    return (
        {f"Track_{name}": (offsets, values) for name, values in columns.items()}
        | records
        | {f"Shower_{name}": values for name, values in _with_offsets(showers, table.n_events).items()}
        | {f"Gen_{name}": (table.offsets, values) for name, values in _gen_columns(table).items()}
    )


def _offsets(event: IntArray, n_events: int) -> IntArray:
    return np.concatenate([[0], np.cumsum(np.bincount(event, minlength=n_events))])


def _with_offsets(columns: Flat, n_events: int) -> dict[str, Branch]:
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
    radiated = table.p4[row, 3] * (1.0 - kept)
    decay = (flight.decay_path[row], flight.daughter[row])
    return Charged(row, event, code, _MASSES[size[row]], tracks, radiated, vertex, *decay, np.full(len(row), np.inf))


class Outer(NamedTuple):
    """What reaches the outer detectors for every charged particle: itself, or after a decay its daughter.

    Attributes:
        hit: Crossing of the TOF counters.
        time: True time of flight there in ns, (n,).
        impact: Where it enters the calorimeter.
        path: Length of flight to there in cm, (n,).
        code, momentum: What enters the calorimeter, PDG code and GeV/c, (n,).
        is_own: Whether the cluster is where the track points, (n,).
    """

    hit: Hit
    time: FloatArray
    impact: Impact
    path: FloatArray
    code: IntArray
    momentum: FloatArray
    is_own: BoolArray


def _outer(charged: Charged, field: FloatArray, parameters: DetectorParameters) -> Outer:
    """Return what reaches TOF and calorimeter."""
    tracks = charged.tracks
    hit, impact = calorimeter.crossing(tracks, parameters), calorimeter.charged_impact(tracks, parameters)
    time = calorimeter.flight_time(hit.path, tracks.momentum, charged.mass)
    path = tracks.path(impact.turning)
    own = Outer(hit, time, impact, path, charged.code, tracks.momentum, np.ones(len(path), dtype=np.bool_))
    return _after_decay(charged, own, field, parameters)


def _after_decay(charged: Charged, own: Outer, field: FloatArray, parameters: DetectorParameters) -> Outer:
    """Put the daughters of late decays in the place of their mothers, where these decay before they arrive."""
    turning = charged.tracks.turning_after(np.where(np.isfinite(charged.decay_path), charged.decay_path, 0.0))
    arrives_late = ~(own.path < charged.decay_path)
    rows = np.flatnonzero(np.isfinite(charged.decay_path) & arrives_late & (turning < np.pi))
    if rows.size == 0:
        return own
    before, p3 = charged.decay_path[rows], charged.daughter[rows]
    point = charged.tracks.position(turning)[rows]
    daughters = trajectory(point, p3, charged.tracks.charge[rows], field[charged.event[rows]])
    hit, impact = calorimeter.crossing(daughters, parameters), calorimeter.charged_impact(daughters, parameters)
    momentum = daughters.momentum
    time = calorimeter.flight_time(before, charged.tracks.momentum[rows], charged.mass[rows])
    time += calorimeter.flight_time(hit.path, momentum, M_MUON)
    is_before_tof = ~(own.hit.path[rows] < before)
    swap = rows[is_before_tof]
    hits = Hit(*(_replaced(a, swap, b[is_before_tof]) for a, b in zip(own.hit, hit, strict=True)))
    hits.path[swap] += before[is_before_tof]
    both = impact.is_inside & own.impact.is_inside[rows]
    gap = np.full(rows.size, np.inf)
    gap[both] = np.linalg.norm(impact.point[both] - own.impact.point[rows[both]], axis=1)
    return Outer(
        hit=hits,
        time=_replaced(own.time, swap, time[is_before_tof]),
        impact=Impact(*(_replaced(a, rows, b) for a, b in zip(own.impact, impact, strict=True))),
        path=_replaced(own.path, rows, before + daughters.path(impact.turning)),
        code=_replaced(own.code, rows, np.sign(own.code[rows]) * -MUON),
        momentum=_replaced(own.momentum, rows, momentum),
        is_own=_replaced(own.is_own, rows, gap < parameters.match_distance),
    )


def _replaced(values: Any, rows: IntArray, new: Any) -> Any:
    """Return values with some rows replaced."""
    out = values.copy()
    out[rows] = new
    return out


def _find(rng: np.random.Generator, charged: Charged, parameters: DetectorParameters) -> tuple[IntArray, BoolArray]:
    """Return the hits, and which particles make a track, (n,): few of those that decay inside the chamber."""
    hits = tracking.count_hits(rng, charged.tracks, np.hypot(*charged.vertex[:, :2].T), parameters)
    is_found = tracking.is_reconstructed(rng, charged.tracks, hits, charged.mass, parameters)
    _, radius = _decay_points(charged)
    is_lost = rng.spawn(1)[0].uniform(size=len(radius)) >= parameters.kink_found
    return hits, is_found & ~(is_lost & (radius < parameters.decay_radius_late))


def _decay_points(charged: Charged) -> tuple[FloatArray, FloatArray]:
    """Return where late decays happen in cm, (n, 3), and how far from the axis: inf without any, or behind a turn."""
    has_decay = np.isfinite(charged.decay_path)
    turning = charged.tracks.turning_after(np.where(has_decay, charged.decay_path, 0.0))
    point = charged.tracks.position(turning)
    return point, np.where(has_decay & (turning < np.pi), np.hypot(point[:, 0], point[:, 1]), np.inf)


def _with_kinks(charged: Charged, found: IntArray, field: FloatArray, parameters: DetectorParameters) -> Charged:
    """Return the particles as kinks show them: with the helix of the daughter if hers is the longer part of the track.

    Else the mother's track ends at the decay.
    """
    point, radius = _decay_points(charged)
    middle = (parameters.mdc_radius_in + parameters.mdc_radius_out) / 2.0
    is_kink = np.zeros(len(radius), dtype=np.bool_)
    is_kink[found[radius[found] < parameters.decay_radius_late]] = True
    if not is_kink.any():
        return charged
    rows = np.flatnonzero(is_kink & (radius < middle))
    seen = trajectory(point[rows], charged.daughter[rows], charged.tracks.charge[rows], field[charged.event[rows]])
    helices = {name: _replaced(values, rows, getattr(seen, name)) for name, values in vars(charged.tracks).items()}
    end = np.where(is_kink & (radius >= middle), radius, np.inf)
    return charged._replace(tracks=Trajectory(**helices), end=end)


class Measurements(NamedTuple):
    """What chamber and TOF measure of the found tracks, and the truth behind it: helices, hits, crossing of the TOF."""

    tracks: Trajectory
    hits: IntArray
    helix: Measurement
    dedx: EnergyLoss
    hit: Hit
    times: TimeOfFlight


def _measure(
    rng: np.random.Generator,
    charged: Charged,
    outer: Outer,
    found: IntArray,
    hits: IntArray,
    beams: Beams,
    parameters: DetectorParameters,
) -> Measurements:
    """Return what is measured of the found tracks."""
    tracks = _take(charged.tracks, found)
    mass, hits = charged.mass[found], hits[found]
    period = beams.period[charged.event[found]]
    widths = np.array(parameters.pull_widths)[period]
    helix = tracking.measure(rng, tracks, mass, widths, parameters, charged.end[found])
    momentum = np.hypot(1.0, helix.parameters[:, 4]) / np.abs(helix.parameters[:, 2])
    dedx = calorimeter.measure_dedx(rng, tracks.momentum, mass, momentum, tracks.sin_theta, hits, parameters)
    hit = Hit(outer.hit.path[found], outer.hit.z[found], outer.hit.is_barrel[found])
    times = calorimeter.measure_time(rng, hit, outer.time[found], momentum, _ENDCAP_SIGMA[period], parameters)
    return Measurements(tracks, hits, helix, dedx, hit, times)


def _track_columns(of: Measurements) -> Flat:
    """Return the columns of the found tracks from chamber and TOF."""
    columns: Flat = {"charge": of.tracks.charge.astype(np.int8), "n_hits": of.hits}
    columns |= dict(zip(HELIX, of.helix.parameters.T, strict=True))
    columns |= dict(zip(COVARIANCE, of.helix.covariance.T, strict=True))
    columns |= {f"dedx_chi_{h}": of.dedx.chi[:, i] for i, h in enumerate(PID_HYPOTHESES)}
    columns |= {"dedx_norm_ph": of.dedx.norm_ph, "dedx_n_hits": of.dedx.n_hits}
    columns |= {f"tof_texp_{h}": of.times.expected[:, i] for i, h in enumerate(PID_HYPOTHESES)}
    names = ("time", "path", "sigma", "quality")
    return columns | {f"tof_{name}": getattr(of.times, name) for name in names}


def _tof_records(
    rng: np.random.Generator,
    of: Measurements,
    crossed: raw.Crossing,
    charged: Charged,
    found: IntArray,
    beams: Beams,
    parameters: DetectorParameters,
) -> dict[str, Branch]:
    """Return the columns of `Tof`."""
    event = charged.event[found]
    period = beams.period[event]
    slowness = calorimeter.flight_time(np.ones(len(found)), of.tracks.momentum, charged.mass[found])
    sigma = calorimeter.time_resolution(of.hit, _ENDCAP_SIGMA[period], parameters)
    records = raw.tof_records(rng, of.hit, of.times, crossed, slowness, sigma, _HAS_MRPC[period])
    event_of_record = event[records["track"]]
    records["track"] = records["track"] - _offsets(event, len(beams.run))[event_of_record]
    offsets = _offsets(event_of_record, len(beams.run))
    return {f"Tof_{name}": (offsets, values) for name, values in raw.stored("Tof", records).items()}


def _hypotheses(of: Measurements, mass: FloatArray, parameters: DetectorParameters) -> Flat:
    """Return helices and covariances under every hypothesis; of the muon, helices alone, as a skim keeps them."""
    tracks = of.tracks
    lost = momentum_lost(tracks.momentum, mass, tracks.sin_theta, parameters)
    columns: Flat = {}
    for suffix, hypothesis in _HYPOTHESES.items():
        gained = momentum_lost(tracks.momentum, hypothesis, tracks.sin_theta, parameters) - lost
        found = tracking.refit(of.helix, tracks, hypothesis, gained, parameters)
        columns |= {f"{name}{suffix}": values for name, values in zip(HELIX, found.parameters.T, strict=True)}
        if suffix != "_mu":
            columns |= {f"{name}{suffix}": values for name, values in zip(COVARIANCE, found.covariance.T, strict=True)}
    return columns


def _muon_columns(
    rng: np.random.Generator,
    charged: Charged,
    outer: Outer,
    cells: Clusters,
    found: IntArray,
    parameters: DetectorParameters,
) -> Flat:
    """Return the columns of the found tracks from the muon chambers: nothing of what showers before them."""
    is_stopped = np.abs(outer.code) == ELECTRON
    is_stopped[cells.track[(cells.kind == calorimeter.HADRONIC) & (cells.track >= 0)]] = True
    mass = _MASSES[np.abs(outer.code[found])]
    columns = raw.muon_columns(
        rng, _take(charged.tracks, found), mass, outer.momentum[found], is_stopped[found], parameters
    )
    return raw.stored("Track", columns)


def _take(tracks: Trajectory, rows: IntArray) -> Trajectory:
    return Trajectory(**{name: values[rows] for name, values in vars(tracks).items()})


def _clusters(
    rng: np.random.Generator, table: Particles, charged: Charged, outer: Outer, parameters: DetectorParameters
) -> Clusters:
    """Return every cluster of the events before overlaps."""
    tracks = _charged_clusters(rng, charged, outer, parameters)
    return calorimeter.concatenate(
        tracks,
        _photon_clusters(rng, table, charged, parameters),
        _neutral_clusters(rng, table, parameters),
        calorimeter.split_offs(rng, tracks, parameters),
        calorimeter.noise(rng, table.n_events, parameters),
    )


def _charged_clusters(
    rng: np.random.Generator, charged: Charged, outer: Outer, parameters: DetectorParameters
) -> Clusters:
    row = np.flatnonzero(outer.impact.is_inside)
    is_barrel = outer.impact.is_barrel[row]
    deposit = calorimeter.deposit(rng, outer.code[row], outer.momentum[row], is_barrel, parameters)
    time = _cluster_time(rng, outer.path[row])
    track = np.where(outer.is_own[row], row, -1)
    return Clusters(charged.event[row], outer.impact.point[row], deposit.energy, deposit.kind, track, time)


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
