"""What the detectors record of tracks beside the measurements, in the columns that a skim of `.dst` files keeps.

The measurements are made already (`calorimeter`); the records are drawn so that they give them again. They have
random numbers of their own: with them and without, a simulation measures the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.events.schema import BRANCHES, PID_HYPOTHESES, Column, branch, rounded
from jpsi_lnv.analysis.simulation.calorimeter import Hit, TimeOfFlight
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.tracking import Trajectory

Flat = dict[str, AnyArray]

# Counters around the axis: in each layer of the barrel, in each scintillator end cap, modules of each MRPC end cap; and
# strips of a module. The second layer is turned by half a counter against the first [BOSS file].
N_BARREL: Final = 88
N_ENDCAP: Final = 48
N_MRPC: Final = 36
N_STRIPS: Final = 12
# Radii in cm between which the strips stand side by side: 36 modules of strips 8.6 to 14.1 cm long, [memory].
MRPC_RHO: Final = (49.0, 83.8)

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
    module = is_west * N_MRPC + np.floor(turns[:, 0] * N_MRPC).astype(np.int64)
    strip = np.clip((crossed.rho - MRPC_RHO[0]) / (MRPC_RHO[1] - MRPC_RHO[0]) * N_STRIPS, 0, N_STRIPS - 1)
    endcap = np.where(is_mrpc, N_STRIPS * module + strip.astype(np.int64), scintillator)
    return np.stack([inner, outer, inner, endcap], axis=1)[track, place]


def _status(track: IntArray, place: IntArray, hit: Hit, times: TimeOfFlight, is_mrpc: BoolArray) -> IntArray:
    """Return the words of status."""
    endcap = np.where(is_mrpc, _STATUS_MRPC, _STATUS_SCINTILLATOR) | np.where(hit.z > 0.0, _EAST, 0)
    barrel = _STATUS[np.minimum(place, BOTH)] | np.where(times.layers[track] > 1, 0, _CLUSTER)
    return np.where(place == ENDCAP, endcap[track], barrel)


def stored(collection: str, columns: Flat) -> Flat:
    """Return columns of a collection with the types and precisions of the column table."""
    return {name: _stored(values, BRANCHES[branch(collection, name)][1]) for name, values in columns.items()}


def _stored(values: AnyArray, column: Column) -> AnyArray:
    typed = values.astype(column.dtype)
    return rounded(typed, column.bits) if typed.dtype.kind == "f" else typed
