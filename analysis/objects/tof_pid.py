"""chi of the time of flight: (measured - expected)/sigma of every hypothesis, in three variants of the cut `pid_tof`.

- ``record``: the one record that the reader took as a track's, with its own resolution.
- ``tof12e``: BOSS's Tof1PID, Tof2PID and TofEPID: the two layers of the barrel combined, and the end caps.
- ``tofcorr``: BOSS's TofCorrPID, in `analysis.objects.tofcorr`.

The last two read the records of a track, which a skim of `.dst` files keeps. The quality word of a record is not used
there, as in BOSS; nor is the window of m^2 of Tof1PID, which |chi| < 4 of one hypothesis implies.

Source: BOSS ParticleID, Tof1PID, Tof2PID, TofPID, TofEPID.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, IntArray, kernel
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES, TOF, branch
from jpsi_lnv.analysis.objects.tracks import momentum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jpsi_lnv.analysis.events.columns import Columns

Column = npt.NDArray[np.floating]

GOOD: Final = 1
# Bits of a record's status: no hit, one end, the mean of a counter, the cluster of all layers, barrel, east, MRPC.
RAW, READOUT, COUNTER, CLUSTER, BARREL, EAST, MRPC = (1 << bit for bit in (0, 1, 2, 3, 4, 5, 24))
# The same word's layer; a cluster has both bits.
INNER, OUTER, LAYERS = 1 << 6, 2 << 6, 3 << 6
N_HYPOTHESES: Final = len(PID_HYPOTHESES)
# The first two hypotheses, e and mu, have the resolution of the record; those of pi, K and p are wider.
N_LIGHT: Final = 2
WIDER: Final = 1.2
# Resolutions in ns of a record that has none, and the common part of two layers', from the start of the event.
SIGMA_BARREL: Final = 0.110
SIGMA_ENDCAP: Final = 0.12
COMMON: Final = 0.041
# Resolution of the MRPC by strip: a + b/p in ns, p in GeV/c and at least the smallest; of other strips a constant.
STRIPS: Final = np.array(
    [
        *([0.16, 0.0], [0.051094, 0.019467], [0.056019, 0.012964], [0.043901, 0.015933]),
        *([0.049750, 0.010473], [0.048345, 0.008545], [0.046518, 0.009038], [0.048803, 0.007251]),
        *([0.047523, 0.008434], [0.042187, 0.010307], [0.050337, 0.005951], [0.054740, 0.005629]),
    ]
)
SIGMA_NO_STRIP: Final = 0.065
P_MRPC_MIN: Final = 0.05


class TofRecords(NamedTuple):
    """The records of a chunk, N of them, those of event i between ``offsets[i]`` and ``offsets[i + 1]``.

    Attributes:
        offsets: (E + 1,)
        track: (N,) index of the track within its event.
        counter: (N,) number of the counter; of an MRPC, 12 counters + strip.
        status: (N,) status word.
        time: (N,) time of flight in ns.
        sigma: (N,) its resolution in ns; 0: not given.
        expected: Five columns (N,), the expected times in ns by hypothesis.
        offset: Five columns (N,) to subtract from the time in ns.
    """

    offsets: IntArray
    track: npt.NDArray[np.integer]
    counter: npt.NDArray[np.integer]
    status: npt.NDArray[np.integer]
    time: Column
    sigma: Column
    expected: tuple[Column, ...]
    offset: tuple[Column, ...]


class Chosen(NamedTuple):
    """N tracks: their events, and their indices within these; both (N,)."""

    event: IntArray
    place: IntArray


def reads(hypotheses: Sequence[str]) -> frozenset[str]:
    """Return the branches that the variant ``record`` is read from."""
    names = ("tof_time", "tof_sigma", "tof_quality", *(f"tof_texp_{h}" for h in hypotheses))
    return frozenset(branch("Track", name) for name in names)


def record_chi(columns: Columns, hypotheses: Sequence[str], chosen: IntArray) -> FloatArray:
    """Return chi of the record that stands for each track, ``(N, H)``; NaN without a good one.

    Args:
        columns: The chunk.
        hypotheses: Names of H hypotheses.
        chosen: (N,) indices of the tracks.
    """
    time, sigma, quality = (columns.flat("Track", f"tof_{name}") for name in ("time", "sigma", "quality"))
    chi = np.empty((len(chosen), len(hypotheses)))
    _take(chosen, (time, sigma), quality, tuple(columns.flat("Track", f"tof_texp_{h}") for h in hypotheses), chi)
    return chi


def barrel_and_endcap_chi(
    columns: Columns, chosen: IntArray, window: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return chi of the barrel's two layers and of the end caps for all five hypotheses, each ``(N, 5)``; or NaN.

    They are subsystems of their own: as in BOSS, both count a barrel track with a single end and nothing else.

    Args:
        columns: The chunk.
        chosen: (N,) indices of the tracks.
        window: A layer counts if chi of any hypothesis lies inside.

    Raises:
        SchemaError: The file has no records.
    """
    barrel, endcap = np.empty((2, len(chosen), N_HYPOTHESES))
    # BOSS takes the MDC's own momentum, where it matters little.
    suffix = "_mdc" if columns.has("Track", "kappa_mdc") else ""
    p = momentum(*(columns.flat("Track", name + suffix)[chosen] for name in ("kappa", "tanl")))
    _layers(read_records(columns, "tof12e"), locate(columns, chosen), p, window, barrel, endcap)
    return barrel, endcap


def read_records(columns: Columns, variant: str) -> TofRecords:
    """Return the TOF records of a chunk.

    Raises:
        SchemaError: The file has none.
    """
    names = [column.name for column in TOF]
    if missing := [branch("Tof", name) for name in names if not columns.has("Tof", name)]:
        msg = (
            f"pid_tof is {variant!r}, and branch {missing[0]!r} is missing ({len(missing)} in all): "
            "skim the .dst again with `--keep pid`, or take pid_tof 'record'"
        )
        raise SchemaError(msg)
    expected, offset = (tuple(columns.flat("Tof", f"{n}_{h}") for h in PID_HYPOTHESES) for n in ("texp", "offset"))
    track, counter, status, time, sigma = (
        columns.flat("Tof", name) for name in ("track", "counter", "status", "time", "sigma")
    )
    return TofRecords(columns.offsets("Tof"), track, counter, status, time, sigma, expected, offset)


def locate(columns: Columns, chosen: IntArray) -> Chosen:
    """Return events and places of tracks with these indices, (N,)."""
    offsets = columns.offsets("Track")
    event = np.searchsorted(offsets, chosen, side="right") - 1
    return Chosen(event, chosen - offsets[event])


@kernel
def _take(
    chosen: IntArray,
    measured: tuple[Column, Column],
    quality: npt.NDArray[np.integer],
    expected: tuple[Column, ...],
    chi: FloatArray,
) -> None:
    for i, t in enumerate(chosen):
        time, sigma = np.float64(measured[0][t]), np.float64(measured[1][t])
        width = sigma if quality[t] == GOOD and sigma > 0.0 else np.nan
        for h in range(len(expected)):
            chi[i, h] = (time - np.float64(expected[h][t])) / width


@kernel
def find(tof: TofRecords, event: int, place: int, mask: int, bits: int) -> tuple[int, int]:
    """Return the last record of a track whose status has, under a mask, these bits, and how many have; -1 without."""
    last, n = -1, 0
    for r in range(tof.offsets[event], tof.offsets[event + 1]):
        if tof.track[r] == place and tof.status[r] & mask == bits:
            last, n = r, n + 1
    return last, n


@kernel
def _layers(
    tof: TofRecords,
    chosen: Chosen,
    p: FloatArray,
    window: tuple[float, float],
    barrel: FloatArray,
    endcap: FloatArray,
) -> None:
    for i in range(len(chosen.event)):
        event, place = chosen.event[i], chosen.place[i]
        inner, n_inner = find(tof, event, place, BARREL | COUNTER | LAYERS, BARREL | COUNTER | INNER)
        outer, n_outer = find(tof, event, place, BARREL | COUNTER | LAYERS, BARREL | COUNTER | OUTER)
        inner = inner if n_inner == 1 and _fits(tof, inner, window) else -1
        outer = outer if n_outer == 1 and _fits(tof, outer, window) else -1
        _combine(tof, inner, outer, barrel[i])
        # One end that is the whole measurement, or the mean of an MRPC's two.
        end, _ = find(tof, event, place, RAW | READOUT | COUNTER | CLUSTER, READOUT | COUNTER | CLUSTER)
        both, _ = find(tof, event, place, RAW | READOUT | COUNTER | CLUSTER | MRPC, COUNTER | CLUSTER | MRPC)
        _end(tof, max(end, both), p[i], endcap[i])


@kernel
def deviation(tof: TofRecords, r: int, h: int) -> float:
    """Return the difference in ns of a record's time to what hypothesis h expects."""
    return np.float64(tof.time[r]) - np.float64(tof.expected[h][r]) - np.float64(tof.offset[h][r])


@kernel
def _sigma(tof: TofRecords, r: int, h: int, without: float) -> float:
    sigma = np.float64(tof.sigma[r])
    if not sigma > 0.0:
        return without
    return sigma if h < N_LIGHT else WIDER * sigma


@kernel
def _fits(tof: TofRecords, r: int, window: tuple[float, float]) -> bool:
    """Whether any hypothesis has its chi of a layer's record in the window."""
    if not tof.time[r] > 0.0:
        return False
    for h in range(N_HYPOTHESES):
        if window[0] < deviation(tof, r, h) / _sigma(tof, r, h, SIGMA_BARREL) < window[1]:
            return True
    return False


@kernel
def _combine(tof: TofRecords, inner: int, outer: int, chi: FloatArray) -> None:
    """Write chi of two layers, of the one there is, or NaN."""
    for h in range(N_HYPOTHESES):
        if inner < 0 or outer < 0:
            r = max(inner, outer)
            chi[h] = deviation(tof, r, h) / _sigma(tof, r, h, SIGMA_BARREL) if r >= 0 else np.nan
            continue
        share, sigma = mean(_sigma(tof, inner, h, SIGMA_BARREL), _sigma(tof, outer, h, SIGMA_BARREL), COMMON)
        chi[h] = (share * deviation(tof, inner, h) + (1.0 - share) * deviation(tof, outer, h)) / sigma


@kernel
def mean(first: float, second: float, common: float) -> tuple[float, float]:
    """Return the first one's share in the best mean of two times, and the mean's resolution.

    Args:
        first: Resolution of the first.
        second: Resolution of the second.
        common: What both have in common.
    """
    a, b, c = first * first, second * second, common * common
    sum_ = a + b - 2.0 * c
    return (b - c) / sum_, math.sqrt(abs((a * b - c * c) / sum_))


@kernel
def _end(tof: TofRecords, r: int, p: float, chi: FloatArray) -> None:
    """Write chi of a record that is a track's only one; NaN without."""
    for h in range(N_HYPOTHESES):
        if r < 0 or not tof.time[r] > 0.0:
            chi[h] = np.nan
        elif tof.status[r] & MRPC:
            chi[h] = deviation(tof, r, h) / strip_sigma(tof.counter[r], p)
        else:
            chi[h] = deviation(tof, r, h) / _sigma(tof, r, h, SIGMA_ENDCAP)


@kernel
def strip_sigma(counter: int, p: float) -> float:
    """Return the resolution in ns of an MRPC for a momentum in GeV/c."""
    if counter < 0:
        return SIGMA_NO_STRIP
    strip = counter % len(STRIPS)
    return STRIPS[strip, 0] + STRIPS[strip, 1] / max(p, P_MRPC_MIN)
