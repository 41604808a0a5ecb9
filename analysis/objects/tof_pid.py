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

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, RealArray, kernel
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES, TOF, branch
from jpsi_lnv.analysis.objects.tracks import momentum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jpsi_lnv.analysis.events.columns import Columns


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
    """The records of N tracks, R of them, those of track i between ``bounds[i]`` and ``bounds[i + 1]``.

    Attributes:
        bounds: (N + 1,)
        counter: (R,) number of the counter; of an MRPC, 12 counters + strip.
        status: (R,) status word.
        time: (R,) time of flight in ns.
        sigma: (R,) its resolution in ns; 0: not given.
        deviation: (R, 5) difference in ns of the time to what each hypothesis expects.
        is_reached: (R, 5) whether the track would reach the counter under each hypothesis.
    """

    bounds: IntArray
    counter: IntArray
    status: IntArray
    time: FloatArray
    sigma: FloatArray
    deviation: FloatArray
    is_reached: BoolArray


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
    _layers(read_records(columns, chosen, "tof12e"), p, window, barrel, endcap)
    return barrel, endcap


def read_records(columns: Columns, chosen: IntArray, variant: str) -> TofRecords:
    """Return the TOF records of chosen tracks.

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
    tracks, records = columns.offsets("Track"), columns.offsets("Tof")
    event = np.searchsorted(tracks, chosen, side="right") - 1
    bounds, rows = _rows(records, columns.flat("Tof", "track"), event, chosen - tracks[event])
    counter, status = (columns.flat("Tof", name)[rows].astype(np.int64) for name in ("counter", "status"))
    time, sigma = (columns.flat("Tof", name)[rows].astype(np.float64) for name in ("time", "sigma"))
    expected, offset = (
        np.stack([columns.flat("Tof", f"{name}_{h}")[rows] for h in PID_HYPOTHESES], axis=1).astype(np.float64)
        for name in ("texp", "offset")
    )
    return TofRecords(bounds, counter, status, time, sigma, time[:, None] - expected - offset, expected > 0.0)


@kernel
def _rows(
    offsets: IntArray, track: npt.NDArray[np.integer], event: IntArray, place: IntArray
) -> tuple[IntArray, IntArray]:
    """Return bounds (N + 1,) and rows (R,) of the records of N tracks, their events and places in these given."""
    bounds = np.zeros(len(event) + 1, dtype=np.int64)
    for i in range(len(event)):
        bounds[i + 1] = bounds[i]
        for r in range(offsets[event[i]], offsets[event[i] + 1]):
            bounds[i + 1] += track[r] == place[i]
    rows = np.empty(bounds[-1], dtype=np.int64)
    n = 0
    for i in range(len(event)):
        for r in range(offsets[event[i]], offsets[event[i] + 1]):
            if track[r] == place[i]:
                rows[n] = r
                n += 1
    return bounds, rows


@kernel
def _take(
    chosen: IntArray,
    measured: tuple[RealArray, RealArray],
    quality: npt.NDArray[np.integer],
    expected: tuple[RealArray, ...],
    chi: FloatArray,
) -> None:
    for i, t in enumerate(chosen):
        time, sigma = np.float64(measured[0][t]), np.float64(measured[1][t])
        width = sigma if quality[t] == GOOD and sigma > 0.0 else np.nan
        for h in range(len(expected)):
            chi[i, h] = (time - np.float64(expected[h][t])) / width


@kernel
def find(status: IntArray, first: int, end: int, mask: int, bits: int) -> tuple[int, int]:
    """Return the last of some records whose status has these bits under a mask, -1 without, and how many have."""
    last, n = -1, 0
    for r in range(first, end):
        if status[r] & mask == bits:
            last, n = r, n + 1
    return last, n


@kernel
def _layers(
    tof: TofRecords, p: FloatArray, window: tuple[float, float], barrel: FloatArray, endcap: FloatArray
) -> None:
    status, time, sigma, deviation = tof.status, tof.time, tof.sigma, tof.deviation
    for i in range(len(p)):
        first, end = tof.bounds[i], tof.bounds[i + 1]
        inner, n_inner = find(status, first, end, BARREL | COUNTER | LAYERS, BARREL | COUNTER | INNER)
        outer, n_outer = find(status, first, end, BARREL | COUNTER | LAYERS, BARREL | COUNTER | OUTER)
        if n_inner != 1 or not _fits(time[inner], sigma[inner], deviation[inner], window):
            inner = -1
        if n_outer != 1 or not _fits(time[outer], sigma[outer], deviation[outer], window):
            outer = -1
        _combine(sigma, deviation, inner, outer, barrel[i])
        # One end that is the whole measurement, or the mean of an MRPC's two.
        kinds = RAW | READOUT | COUNTER | CLUSTER
        single, _ = find(status, first, end, kinds, READOUT | COUNTER | CLUSTER)
        both, _ = find(status, first, end, kinds | MRPC, COUNTER | CLUSTER | MRPC)
        r = max(single, both)
        endcap[i, :] = np.nan
        if r >= 0 and time[r] > 0.0:
            for h in range(N_HYPOTHESES):
                is_mrpc = status[r] & MRPC
                width = strip_sigma(tof.counter[r], p[i]) if is_mrpc else _sigma(sigma[r], h, SIGMA_ENDCAP)
                endcap[i, h] = deviation[r, h] / width


@kernel
def _sigma(sigma: float, h: int, without: float) -> float:
    if not sigma > 0.0:
        return without
    return sigma if h < N_LIGHT else WIDER * sigma


@kernel
def _fits(time: float, sigma: float, deviation: FloatArray, window: tuple[float, float]) -> bool:
    """Whether any hypothesis has its chi of a layer's record in the window."""
    for h in range(N_HYPOTHESES):
        if time > 0.0 and window[0] < deviation[h] / _sigma(sigma, h, SIGMA_BARREL) < window[1]:
            return True
    return False


@kernel
def _combine(sigma: FloatArray, deviation: FloatArray, inner: int, outer: int, chi: FloatArray) -> None:
    """Write chi of two layers, of the one there is, or NaN."""
    for h in range(N_HYPOTHESES):
        if inner < 0 or outer < 0:
            r = max(inner, outer)
            chi[h] = deviation[r, h] / _sigma(sigma[r], h, SIGMA_BARREL) if r >= 0 else np.nan
            continue
        widths = _sigma(sigma[inner], h, SIGMA_BARREL), _sigma(sigma[outer], h, SIGMA_BARREL)
        share, width = mean(widths[0], widths[1], COMMON)
        chi[h] = (share * deviation[inner, h] + (1.0 - share) * deviation[outer, h]) / width


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
def strip_sigma(counter: int, p: float) -> float:
    """Return the resolution in ns of an MRPC for a momentum in GeV/c."""
    if counter < 0:
        return SIGMA_NO_STRIP
    strip = counter % len(STRIPS)
    return STRIPS[strip, 0] + STRIPS[strip, 1] / max(p, P_MRPC_MIN)
