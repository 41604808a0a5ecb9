"""What the detectors record of tracks beside the measurements, in the columns that a skim of `.dst` files keeps.

The measurements are made already (`calorimeter`); the records are drawn so that they give them again. They have
random numbers of their own: with them and without, a simulation measures the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_MUON
from jpsi_lnv.analysis.events.schema import BRANCHES, PID_HYPOTHESES, Column, branch, rounded
from jpsi_lnv.analysis.simulation.calorimeter import Hit, TimeOfFlight
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.tracking import Trajectory
from jpsi_lnv.analysis.simulation.transport import IRON, ionisation, straight_to_radius

Flat = dict[str, AnyArray]

# What is simulated of the groups that a skim can keep; single ends of counters and pairs of tracks are not.
GROUPS: Final = ("pid", "muon")

# Counters around the axis: in each layer of the barrel, in each scintillator end cap, modules of each MRPC end cap; and
# strips of a module. The second layer is turned by half a counter against the first [BOSS file].
N_BARREL: Final = 88
N_ENDCAP: Final = 48
N_MRPC: Final = 36
N_STRIPS: Final = 12
MRPC_RHO: Final = 82.55  # cm: outer edge of strip 0 [geometry]
MRPC_PITCH: Final = 2.7  # cm
# Azimuth in degrees where module 0 begins, east and west; both count clockwise [geometry].
_MRPC_START: Final = (-1.7, 11.7)

# Muon chambers: radii of the barrel's layers and |z| of the end caps' in cm [geometry]. Between them is iron but for
# 4 cm per layer; how much lies before each agrees with the depths in the [BOSS file].
MUC_RADII: Final = np.array([171.9, 178.5, 185.5, 192.5, 200.5, 208.5, 220.5, 232.5, 244.5])
MUC_Z: Final = np.array([210.5, 218.5, 225.5, 232.5, 239.5, 248.5, 260.5, 272.5])
IRON_BARREL: Final = np.array([0.0, 3.0, 6.0, 9.0, 13.0, 17.0, 25.0, 33.0, 41.0])
IRON_ENDCAP: Final = np.array([0.0, 4.0, 7.0, 10.0, 13.0, 18.0, 26.0, 34.0, np.inf])
MUC_HALF_LENGTH: Final = 186.0
MUC_ENDCAP_RHO: Final = (106.0, 255.0)
COIL_RADIUS: Final = 144.0  # cm: the field ends here, [memory]
# Numbers of the volumes where a track enters: first octant of the barrel, first quadrants east and west, and the step
# from one to the next [BOSS file].
_VOLUMES: Final = (32, 136, 244)
_VOLUME_STEP: Final = 9
# Layers with hits that a track in the chambers needs to be a good one: BOSS has 3 without and 6 with [BOSS file].
_LAYERS_GOOD: Final = 4
_STRAGGLING: Final = 0.04  # relative spread of ranges, [assumption] 0.02 to 0.06
_LEAKAGE: Final = 6.0  # cm of iron: mean length that a hadron's shower goes on, [assumption] 3 to 12
_NEIGHBOUR: Final = 0.15  # further hits per layer of a lone particle, [assumption] 0.05 to 0.3
_SHOWER_HITS: Final = 0.8  # further hits per layer of one that interacts, [assumption] 0.4 to 1.6
_DISTANCE: Final = 5.0  # cm GeV/c: scattering of the first hit [BOSS file]
_ANGLE: Final = 0.2  # rad GeV/c, [BOSS file]
_IRON_DENSITY: Final = 7.874  # g/cm^3, [PDG]
_BETA_GAMMA: Final = np.geomspace(0.05, 100.0, 400)  # where the range in iron is tabulated

# What a record stands for: one layer of the barrel, both, an end cap.
INNER, OUTER, BOTH, ENDCAP = 0, 1, 2, 3
# The times of a track -> its records: with both layers one of each and the cluster over them.
_N_RECORDS: Final = np.array([0, 1, 3])
# On which side of the middle between the layers they stand.
_SIDE: Final = np.array([-1.0, 1.0, 0.0, 0.0])


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# Words of status as BOSS writes them [BOSS file]: 1 readout, 2 counter, 3 cluster, 4 barrel, 5 east, 6-7 layer, then
# how many counters, east and west ends, 24 MRPC. One layer alone is counter and cluster at once.
_STATUS: Final = np.array([_bits(2, 4, 6, 12, 16, 20), _bits(2, 4, 7, 12, 16, 20), _bits(3, 4, 6, 7, 13, 17, 21)])
_CLUSTER: Final = _bits(3)
_STATUS_SCINTILLATOR: Final = _bits(1, 2, 3, 6, 12, 16)
_STATUS_MRPC: Final = _bits(2, 3, 6, 12, 16, 24)
_EAST: Final = _bits(5)


class Crossing(NamedTuple):
    """Where tracks cross the TOF's layers, or its end caps.

    Attributes:
        z1: z in cm at the first layer or the end cap, (n,); 0 where there is none.
        z2: z in cm at the second layer, (n,); 0 where there is none.
        rho: Distance from the axis in cm at the first layer or the end cap, (n,).
        azimuth: Azimuth in rad at both layers, twice that at the end cap, (n, 2).
        half_gap: Half the path between the layers in cm, (n,); 0 in the end caps.
    """

    z1: FloatArray
    z2: FloatArray
    rho: FloatArray
    azimuth: FloatArray
    half_gap: FloatArray


def crossing(tracks: Trajectory, hit: Hit, parameters: DetectorParameters) -> Crossing:
    """Return where tracks that hit the TOF cross its layers."""
    is_hit = np.isfinite(hit.path)
    end = np.where(hit.is_barrel, np.nan, tracks.turning_to_z(parameters.tof_endcap_z))
    first, second = (
        np.where(hit.is_barrel, tracks.turning_to_radius(r), end)
        for r in (parameters.tof_inner_radius, parameters.tof_outer_radius)
    )
    # A track that turns back between the layers has no second one.
    second = np.where(np.isfinite(second), second, first)
    inner, outer = tracks.position(first), tracks.position(second)
    azimuth = np.arctan2([inner[:, 1], outer[:, 1]], [inner[:, 0], outer[:, 0]]).T
    gap = (tracks.path(second) - tracks.path(first)) / 2.0
    rho = np.hypot(inner[:, 0], inner[:, 1])
    values = (inner[:, 2], np.where(hit.is_barrel, outer[:, 2], 0.0), rho, azimuth, gap)
    return Crossing(*(_where(is_hit, value) for value in values))


def _where(chosen: BoolArray, values: FloatArray) -> FloatArray:
    """Return finite values of the chosen rows, 0 elsewhere."""
    return np.where(chosen.reshape(-1, *[1] * (values.ndim - 1)) & np.isfinite(values), values, 0.0)


def tof_records(
    rng: np.random.Generator,
    hit: Hit,
    times: TimeOfFlight,
    crossed: Crossing,
    slowness: FloatArray,
    sigma: FloatArray,
    is_mrpc: BoolArray,
) -> Flat:
    """Return the TOF's records of n tracks: of each layer and of both together, or of the end cap.

    The mean of two layers is the measured time, and their errors are independent as those of BOSS's clusters are: each
    is sqrt(2) times as large as that of both.

    Args:
        rng: Source of random numbers.
        hit: Where the tracks cross the counters.
        times: What was measured.
        crossed: Where the tracks cross the layers.
        slowness: True time per path in ns/cm, (n,).
        sigma: True resolution in ns of both layers together, (n,).
        is_mrpc: Whether the end caps of the event are MRPC, (n,).

    Returns:
        The columns of `Tof` by name, each (N,), sorted by track; `track` is the row of the track.
    """
    track, place = _places(rng, hit, times)
    side = _SIDE[place]
    apart = rng.normal(size=len(sigma)) * sigma * (times.layers > 1)
    quoted = times.sigma * np.where(times.layers > 1, np.sqrt(2.0), 1.0)
    expected = times.expected / np.where(times.path > 0.0, times.path, np.inf)[:, None]
    texp = (times.path[track] + side * crossed.half_gap[track])[:, None] * expected[track]
    return {
        "track": track,
        "counter": _counter(track, place, crossed, is_mrpc),
        "status": _status(track, place, hit, times, is_mrpc),
        "time": times.time[track] + side * (crossed.half_gap * slowness - apart)[track],
        "sigma": np.where(place == BOTH, times.sigma[track], quoted[track]),
        **{f"texp_{h}": texp[:, i] for i, h in enumerate(PID_HYPOTHESES)},
        **{f"offset_{h}": np.zeros(len(track)) for h in PID_HYPOTHESES},
    }


def _places(rng: np.random.Generator, hit: Hit, times: TimeOfFlight) -> tuple[IntArray, IntArray]:
    """Return row of the track and place of each record; a single layer of the barrel is either."""
    n_records = _N_RECORDS[times.layers]
    track = np.repeat(np.arange(len(n_records)), n_records)
    number = np.arange(len(track)) - (np.cumsum(n_records) - n_records)[track]
    single = np.where(hit.is_barrel, rng.integers(INNER, OUTER, len(n_records), endpoint=True), ENDCAP)
    return track, np.where(times.layers[track] > 1, number, single[track])


def _counter(track: IntArray, place: IntArray, crossed: Crossing, is_mrpc: BoolArray) -> IntArray:
    """Return the number of the counter as BOSS counts: the second layer after the first, west after east."""
    turns = np.remainder(crossed.azimuth / (2.0 * np.pi), 1.0)
    inner = np.floor(turns[:, 0] * N_BARREL).astype(np.int64)
    outer = N_BARREL + np.floor(turns[:, 1] * N_BARREL + 0.5).astype(np.int64) % N_BARREL
    is_west = crossed.z1 < 0.0
    scintillator = is_west * N_ENDCAP + np.floor(turns[:, 0] * N_ENDCAP).astype(np.int64)
    past = np.where(is_west, _MRPC_START[1], _MRPC_START[0]) / 360.0 - turns[:, 0]
    module = is_west * N_MRPC + np.floor(past * N_MRPC).astype(np.int64) % N_MRPC
    strip = np.clip((MRPC_RHO - crossed.rho) / MRPC_PITCH, 0, N_STRIPS - 1).astype(np.int64)
    endcap = np.where(is_mrpc, N_STRIPS * module + strip, scintillator)
    return np.stack([inner, outer, inner, endcap], axis=1)[track, place]


def _status(track: IntArray, place: IntArray, hit: Hit, times: TimeOfFlight, is_mrpc: BoolArray) -> IntArray:
    """Return the words of status."""
    endcap = np.where(is_mrpc, _STATUS_MRPC, _STATUS_SCINTILLATOR) | np.where(hit.z > 0.0, _EAST, 0)
    barrel = _STATUS[np.minimum(place, BOTH)] | np.where(times.layers[track] > 1, 0, _CLUSTER)
    return np.where(place == ENDCAP, endcap[track], barrel)


def _ranges() -> FloatArray:
    """Return the range in iron over the mass in cm/GeV at each of `_BETA_GAMMA`."""
    slowness = 1.0 / (_IRON_DENSITY * ionisation(_BETA_GAMMA, IRON))
    steps = np.diff(np.hypot(1.0, _BETA_GAMMA)) * (slowness[1:] + slowness[:-1]) / 2.0
    return np.concatenate([[0.0], np.cumsum(steps)])


_RANGE: Final = _ranges()


class Entry(NamedTuple):
    """How particles enter the muon chambers: in the barrel, at all, cosine to the plates' normal, volume; (n,)."""

    is_barrel: BoolArray
    is_inside: BoolArray
    cosine: FloatArray
    volume: IntArray


def enter_chambers(tracks: Trajectory) -> Entry:
    """Return how tracks enter the muon chambers: bent up to the coil, straight behind it."""
    turning = tracks.turning_to_radius(COIL_RADIUS)
    turning = np.fmin(turning, np.maximum(tracks.turning_to_z(MUC_HALF_LENGTH), 0.0))
    is_out = np.isfinite(turning) & (turning < np.pi)
    turning = np.where(is_out, turning, 0.0)
    point, p3 = tracks.position(turning), tracks.direction(turning)
    barrel = straight_to_radius(point, p3, MUC_RADII[0])
    is_barrel = np.abs(barrel[:, 2]) < MUC_HALF_LENGTH
    with np.errstate(divide="ignore", invalid="ignore"):
        length = (np.copysign(MUC_Z[0], p3[:, 2]) - point[:, 2]) / p3[:, 2]
        end = point[:, :2] + p3[:, :2] * length[:, None]
    rho = np.hypot(*end.T)
    is_endcap = ~is_barrel & (rho > MUC_ENDCAP_RHO[0]) & (rho < MUC_ENDCAP_RHO[1])
    outward = (barrel[:, :2] * p3[:, :2]).sum(axis=1) / np.hypot(barrel[:, 0], barrel[:, 1])
    cosine = np.abs(np.where(is_barrel, outward, p3[:, 2])) / tracks.momentum
    is_inside = is_out & (is_barrel | is_endcap)
    volume = np.where(is_inside, _volume(np.where(is_barrel[:, None], barrel[:, :2], end), is_barrel, p3[:, 2]), -1)
    return Entry(is_barrel, is_inside, np.maximum(cosine, 0.2), volume)


def _volume(place: FloatArray, is_barrel: BoolArray, pz: FloatArray) -> IntArray:
    """Return the number of the volume at a place (n, 2): octants lie about the axes, quadrants between them."""
    turns = np.arctan2(place[:, 1], place[:, 0]) / (2.0 * np.pi)
    part = np.where(is_barrel, np.floor(8.0 * turns + 0.5) % 8, np.floor(4.0 * turns) % 4)
    first = np.where(is_barrel, _VOLUMES[0], np.where(pz > 0.0, _VOLUMES[1], _VOLUMES[2]))
    return first + _VOLUME_STEP * np.nan_to_num(part).astype(np.int64)


def muon_columns(
    rng: np.random.Generator,
    tracks: Trajectory,
    mass: FloatArray,
    momentum: FloatArray,
    is_stopped: BoolArray,
    parameters: DetectorParameters,
) -> Flat:
    """Return the columns of the muon chambers.

    A particle leaves hits as far as its range goes; a hadron, until it interacts and its shower ends.

    Args:
        rng: Source of random numbers.
        tracks: The found tracks, n of them.
        mass: Masses of what reaches the chambers, which after a decay is the daughter, in GeV/c^2, (n,).
        momentum: Its momentum in GeV/c, (n,).
        is_stopped: Whether it ends in the calorimeter: electrons, and what showers there, (n,).
        parameters: Detector.
    """
    entry = enter_chambers(tracks)
    length = mass * np.interp(momentum / mass, _BETA_GAMMA, _RANGE) * rng.normal(1.0, _STRAGGLING, len(mass))
    rows = np.flatnonzero(entry.is_inside & ~is_stopped & (length > parameters.muc_front))
    length, is_hadron = length[rows] - parameters.muc_front, mass[rows] > M_MUON
    free = parameters.iron_interaction_length * rng.exponential(size=rows.size)
    is_interacting = is_hadron & (free < length)
    shower = _LEAKAGE * rng.exponential(size=rows.size)
    length = np.where(is_interacting, np.minimum(free + shower, length), length)
    is_barrel = entry.is_barrel[rows]
    depth = np.where(is_barrel[:, None], IRON_BARREL, IRON_ENDCAP) / entry.cosine[rows, None]
    is_hit = (depth < length[:, None]) & (rng.uniform(size=depth.shape) < parameters.muc_efficiency)
    more = rng.poisson(np.where(is_interacting, _SHOWER_HITS, _NEIGHBOUR)[:, None], depth.shape)
    found = _chamber_track(rng, is_hit, is_hit * (1 + more), depth, is_barrel)
    scattering = rng.normal(size=(2, rows.size)) / momentum[rows]
    found["muc_distance"] = np.where(found["muc_n_layers"] > 0, _DISTANCE * scattering[0], 0.0)
    found["muc_dphi"] = np.where(found["muc_status"] > 0, np.abs(_ANGLE * scattering[1]), 0.0)
    empty = {"muc_status": -1, "muc_last_barrel": -1, "muc_last_endcap": -1}
    columns = {name: _at_rows(len(mass), rows, values, empty.get(name, 0)) for name, values in found.items()}
    return columns | {"muc_volume": entry.volume}


def _chamber_track(
    rng: np.random.Generator, is_hit: BoolArray, hits: IntArray, depth: FloatArray, is_barrel: BoolArray
) -> Flat:
    """Return what is made of hits in layers, (n, 9)."""
    n_layers = is_hit.sum(axis=1)
    last = np.where(n_layers > 0, is_hit.shape[1] - 1 - np.argmax(is_hit[:, ::-1], axis=1), -1)
    is_good = n_layers >= _LAYERS_GOOD
    dof = np.where(is_good, n_layers // 2, 0)
    return {
        "muc_depth": np.where(n_layers > 0, depth[np.arange(len(last)), last], 0.0),
        "muc_chi2": np.where(is_good, 2.0 * rng.standard_gamma(dof / 2.0), 0.0),
        "muc_status": np.where(is_good, 1, -1),
        "muc_dof": dof,
        "muc_n_hits": hits.sum(axis=1),
        "muc_n_layers": n_layers,
        "muc_max_hits": hits.max(axis=1, initial=0),
        "muc_last_barrel": np.where(is_barrel, last, -1),
        "muc_last_endcap": np.where(is_barrel, -1, last),
    }


def _at_rows(n: int, rows: IntArray, values: AnyArray, default: int) -> AnyArray:
    out = np.full(n, default, dtype=values.dtype)
    out[rows] = values
    return out


def stored(collection: str, columns: Flat) -> Flat:
    """Return columns of a collection with the types and precisions of the column table."""
    return {name: _stored(values, BRANCHES[branch(collection, name)][1]) for name, values in columns.items()}


def _stored(values: AnyArray, column: Column) -> AnyArray:
    typed = values.astype(column.dtype)
    return rounded(typed, column.bits) if typed.dtype.kind == "f" else typed
