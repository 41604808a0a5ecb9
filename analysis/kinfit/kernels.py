"""The compiled part of the 4C fit: one fit, every fit, the cascade, and how each ends.

The formulae stand in `analysis.kinfit.fourc`.
Every number of physics comes as an argument: numba notices changes of this file alone, not of a constant elsewhere.
Every function is numba, releases the GIL and keeps its machine code on disk. The tracks of a fit are a tuple of tuples
of numbers: so they stay in registers, and nothing is allocated per candidate. What is done for each track or summed
over them is a function in Python and, for numba, the same as a recursion over the tuple, which it unrolls for any
number of tracks; sums run from the first track to the last.
"""

from __future__ import annotations

import math
import operator
from enum import IntEnum
from functools import reduce
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import overload

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray


class Status(IntEnum):
    """How a fit ended; only the chi2 of OK is a chi2."""

    OK = 0
    NOT_CONVERGED = 1
    """No stable chi2 within the allowed iterations; chi2 = inf."""
    BAD_COVARIANCE = 2
    """A covariance that is not positive definite; chi2 = inf."""
    NOT_FINITE = 3
    """NaN or inf among the measurements; chi2 = inf."""
    ABOVE = 4
    """Given up above the limit; the number returned is only one that the chi2 would exceed."""
    INFEASIBLE = 5
    """The masses exceed the initial energy; chi2 = inf."""
    SKIPPED = 6
    """Not fitted: the decision was already made, or the assignment does not compete; chi2 = inf."""


class Limits(NamedTuple):
    """When the iteration ends.

    Attributes:
        chi2: Largest change of chi2 in the last step.
        energy: Largest violation of the energy constraint in GeV.
        n_iter: Largest number of iterations.
    """

    chi2: float = 1e-3
    energy: float = 1e-6
    n_iter: int = 20


class Fit4C(NamedTuple):
    """Fits of N candidates under H hypotheses, 4 degrees of freedom each.

    Attributes:
        chi2: (N, H).
        status: (N, H) values of `Status`.
        n_iter: (N, H) iterations.
    """

    chi2: FloatArray
    status: npt.NDArray[np.int8]
    n_iter: npt.NDArray[np.int8]


def count_status(status: npt.NDArray[np.integer]) -> dict[str, int]:
    """Return how often each `Status` occurs, by lower-case name: the book-keeping of a chunk."""
    counts = np.bincount(np.ravel(status), minlength=len(Status))
    return {s.name.lower(): int(counts[s]) for s in Status}


def is_smallest(fit: Fit4C) -> BoolArray:
    """Return whether the first hypothesis was fitted and no other one has a smaller chi2, shape (N,)."""
    others = np.where(fit.status[:, 1:] == Status.OK, fit.chi2[:, 1:], np.inf)
    return (fit.status[:, 0] == Status.OK) & (fit.chi2[:, 0] <= others.min(axis=1, initial=np.inf))


StatusArray = npt.NDArray[np.int8]
Vector = tuple[float, float, float]
Symmetric = tuple[float, float, float, float, float, float]

# A covariance counts as positive definite if its leading minors exceed this fraction of the diagonal's product.
MINOR_MIN: Final = 1e-12

# numba takes plain integers.
OK: Final = int(Status.OK)
NOT_CONVERGED: Final = int(Status.NOT_CONVERGED)
BAD_COVARIANCE: Final = int(Status.BAD_COVARIANCE)
NOT_FINITE: Final = int(Status.NOT_FINITE)
ABOVE: Final = int(Status.ABOVE)
INFEASIBLE: Final = int(Status.INFEASIBLE)

# A product and a sum may become one instruction, nothing else is rearranged.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
# For what a call would move the tracks through memory: 20 % of the time of a fit of four, half of one of six.
IN_REGISTERS: Final[Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
inlined = numba.njit(cache=True, **IN_REGISTERS)


class Beam(NamedTuple):
    """Covariance of the initial four-momentum: (px, px), (px, E), (E, E) in GeV^2; zeros make the constraint hard."""

    xx: float
    xe: float
    ee: float


class Problem(NamedTuple):
    """The measurements and what to fit; shapes as in `analysis.kinfit.fourc.fit4c`."""

    p: FloatArray
    v: FloatArray
    checked: StatusArray
    cand: IntArray
    hypotheses: IntArray
    p4: FloatArray
    mass: FloatArray
    competes: BoolArray
    beam: Beam
    limits: Limits


class Track(NamedTuple):
    """A measured track under one hypothesis: momentum, its covariance, squared mass."""

    x: float
    y: float
    z: float
    xx: float
    xy: float
    xz: float
    yy: float
    yz: float
    zz: float
    m2: float


class Momentum(NamedTuple):
    """The present momentum of a track and its energy."""

    x: float
    y: float
    z: float
    e: float


class Tangent(NamedTuple):
    """A track in the linearised energy constraint: V b, b V b, and its energy at the measured momentum."""

    x: float
    y: float
    z: float
    q: float
    d: float


@kernel
def check_tracks(p: FloatArray, v: FloatArray, status: StatusArray) -> None:
    """Fill `status` (T, S) with OK, NOT_FINITE or BAD_COVARIANCE."""
    for t in range(p.shape[0]):
        for s in range(p.shape[1]):
            xx, xy, xz, yy, yz, zz = v[t, s, 0], v[t, s, 1], v[t, s, 2], v[t, s, 3], v[t, s, 4], v[t, s, 5]
            minor2 = xx * yy - xy * xy
            minor3 = zz * minor2 - xx * yz * yz + 2.0 * xy * xz * yz - yy * xz * xz
            total = p[t, s, 0] + p[t, s, 1] + p[t, s, 2] + xx + xy + xz + yy + yz + zz
            if not math.isfinite(total):
                status[t, s] = NOT_FINITE
            elif xx > 0.0 and zz > 0.0 and minor2 > MINOR_MIN * xx * yy and minor3 > MINOR_MIN * xx * yy * zz:
                status[t, s] = OK
            else:
                status[t, s] = BAD_COVARIANCE


Tracks = tuple[Track, ...]
Momenta = tuple[Momentum, ...]
Tangents = tuple[Tangent, ...]


@kernel
def check(problem: Problem, i: int, h: int, places: tuple[int, ...]) -> int:
    """Return OK, or what is wrong with a track of candidate i under hypothesis h."""
    worst = OK
    for k in range(len(places)):
        row = problem.hypotheses[h, k] if problem.p.shape[1] > 1 else 0
        worst = max(worst, problem.checked[problem.cand[i, k], row])
    return worst


@kernel
def total(problem: Problem, i: int) -> tuple[float, float, float, float]:
    """Return the initial four-momentum of candidate i."""
    j = i if len(problem.p4) > 1 else 0
    return problem.p4[j, 0], problem.p4[j, 1], problem.p4[j, 2], problem.p4[j, 3]


@inlined
def track(problem: Problem, i: int, h: int, k: int) -> Track:
    """Return track k of candidate i under hypothesis h."""
    t, s = problem.cand[i, k], problem.hypotheses[h, k]
    row = s if problem.p.shape[1] > 1 else 0
    p, v, m = problem.p, problem.v, problem.mass[s]
    return Track(
        p[t, row, 0], p[t, row, 1], p[t, row, 2],
        v[t, row, 0], v[t, row, 1], v[t, row, 2], v[t, row, 3], v[t, row, 4], v[t, row, 5], m * m,
    )  # fmt: skip


@inlined
def _measured(t: Track) -> Momentum:
    return Momentum(t.x, t.y, t.z, math.sqrt(t.x * t.x + t.y * t.y + t.z * t.z + t.m2))


@inlined
def _tangent(t: Track, p: Momentum) -> Tangent:
    f = 1.0 / p.e
    bx, by, bz = p.x * f, p.y * f, p.z * f
    x = t.xx * bx + t.xy * by + t.xz * bz
    y = t.xy * bx + t.yy * by + t.yz * bz
    z = t.xz * bx + t.yz * by + t.zz * bz
    return Tangent(x, y, z, bx * x + by * y + bz * z, t.m2 * f + bx * t.x + by * t.y + bz * t.z)


@inlined
def _moved(t: Track, g: Tangent, lam: Vector, le: float) -> Momentum:
    lx, ly, lz = lam
    x = t.x - (t.xx * lx + t.xy * ly + t.xz * lz + g.x * le)
    y = t.y - (t.xy * lx + t.yy * ly + t.yz * lz + g.y * le)
    z = t.z - (t.xz * lx + t.yz * ly + t.zz * lz + g.z * le)
    return Momentum(x, y, z, math.sqrt(x * x + y * y + z * z + t.m2))


@inlined
def _sum_tracks(a: Track, b: Track) -> Track:
    return Track(
        a.x + b.x, a.y + b.y, a.z + b.z,
        a.xx + b.xx, a.xy + b.xy, a.xz + b.xz, a.yy + b.yy, a.yz + b.yz, a.zz + b.zz, a.m2 + b.m2,
    )  # fmt: skip


@inlined
def _sum_tangents(a: Tangent, b: Tangent) -> Tangent:
    return Tangent(a.x + b.x, a.y + b.y, a.z + b.z, a.q + b.q, a.d + b.d)


def tracks_of(problem: Problem, i: int, h: int, places: tuple[int, ...]) -> Tracks:
    """Return the tracks at `places`, (0, 1, … n - 1), of candidate i under hypothesis h."""
    return tuple(track(problem, i, h, k) for k in places)


@overload(tracks_of, jit_options=IN_REGISTERS)
def _tracks_of(problem, i, h, places):  # type: ignore[no-untyped-def]
    if len(places) == 1:
        return lambda problem, i, h, places: (track(problem, i, h, places[0]),)
    return lambda problem, i, h, places: tracks_of(problem, i, h, places[:-1]) + (track(problem, i, h, places[-1]),)


def measured(tracks: Tracks) -> Momenta:
    """Return the measured momentum of every track."""
    return tuple(_measured(t) for t in tracks)


@overload(measured, jit_options=IN_REGISTERS)
def _measured_all(tracks):  # type: ignore[no-untyped-def]
    if len(tracks) == 1:
        return lambda tracks: (_measured(tracks[0]),)
    return lambda tracks: measured(tracks[:-1]) + (_measured(tracks[-1]),)


def tangents(tracks: Tracks, momenta: Momenta) -> Tangents:
    """Return every track in the energy constraint, linearised at its present momentum."""
    return tuple(_tangent(t, p) for t, p in zip(tracks, momenta, strict=True))


@overload(tangents, jit_options=IN_REGISTERS)
def _tangents(tracks, momenta):  # type: ignore[no-untyped-def]
    if len(tracks) == 1:
        return lambda tracks, momenta: (_tangent(tracks[0], momenta[0]),)
    return lambda tracks, momenta: tangents(tracks[:-1], momenta[:-1]) + (_tangent(tracks[-1], momenta[-1]),)


def moved(tracks: Tracks, linear: Tangents, lam: Vector, le: float) -> Momenta:
    """Return every track's momentum under the multipliers of the momentum and energy constraints."""
    return tuple(_moved(t, g, lam, le) for t, g in zip(tracks, linear, strict=True))


@overload(moved, jit_options=IN_REGISTERS)
def _moved_all(tracks, linear, lam, le):  # type: ignore[no-untyped-def]
    if len(tracks) == 1:
        return lambda tracks, linear, lam, le: (_moved(tracks[0], linear[0], lam, le),)
    return lambda tracks, linear, lam, le: (
        moved(tracks[:-1], linear[:-1], lam, le) + (_moved(tracks[-1], linear[-1], lam, le),)
    )


def sum_tracks(tracks: Tracks) -> Track:
    """Return the sums of momenta and covariances."""
    return reduce(_sum_tracks, tracks)


@overload(sum_tracks, jit_options=IN_REGISTERS)
def _sum_all_tracks(tracks):  # type: ignore[no-untyped-def]
    if len(tracks) == 1:
        return lambda tracks: tracks[0]
    return lambda tracks: _sum_tracks(sum_tracks(tracks[:-1]), tracks[-1])


def sum_tangents(linear: Tangents) -> Tangent:
    """Return the sums of V b, b V b and the energies at the measured momenta."""
    return reduce(_sum_tangents, linear)


@overload(sum_tangents, jit_options=IN_REGISTERS)
def _sum_all_tangents(linear):  # type: ignore[no-untyped-def]
    if len(linear) == 1:
        return lambda linear: linear[0]
    return lambda linear: _sum_tangents(sum_tangents(linear[:-1]), linear[-1])


def energy_of(momenta: Momenta) -> float:
    """Return the sum of the energies."""
    return reduce(operator.add, (p.e for p in momenta))


@overload(energy_of, jit_options=IN_REGISTERS)
def _energy_of(momenta):  # type: ignore[no-untyped-def]
    if len(momenta) == 1:
        return lambda momenta: momenta[0].e
    return lambda momenta: energy_of(momenta[:-1]) + momenta[-1].e


@inlined
def _inverse(t: Track, beam_xx: float) -> Symmetric:
    """Return the inverse of the summed covariance, by cofactors."""
    xx, xy, xz, yy, yz, zz = t.xx + beam_xx, t.xy, t.xz, t.yy, t.yz, t.zz
    cxx, cxy, cxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    f = 1.0 / (xx * cxx + xy * cxy + xz * cxz)
    return cxx * f, cxy * f, cxz * f, (xx * zz - xz * xz) * f, (xy * xz - xx * yz) * f, (xx * yy - xy * xy) * f


@inlined
def _times(m: Symmetric, a: Vector) -> Vector:
    x, y, z = a
    return m[0] * x + m[1] * y + m[2] * z, m[1] * x + m[3] * y + m[4] * z, m[2] * x + m[4] * y + m[5] * z


@inlined
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, inline="always")
def fit_one(
    tracks: Tracks,
    p4: tuple[float, float, float, float],
    beam: Beam,
    limits: Limits,
    give_up: float,
    bound: float,
) -> tuple[float, int, int, Momenta]:
    """Fit the tracks; end as ABOVE once the lower bound exceeds `bound` or two successive chi2 exceed `give_up`.

    Returns:
        chi2, status, the number of iterations, and the fitted momenta.
    """
    seen = sum_tracks(tracks)
    excess = (seen.x - p4[0], seen.y - p4[1], seen.z - p4[2])
    w = _inverse(seen, beam.xx)
    w_excess = _times(w, excess)
    chi2_3c = _dot(w_excess, excess)
    momenta = measured(tracks)
    if chi2_3c > bound:
        return chi2_3c, ABOVE, 0, momenta
    previous = np.inf
    for n in range(1, limits.n_iter + 1):
        linear = tangents(tracks, momenta)
        g = sum_tangents(linear)
        u = (g.x + beam.xe, g.y, g.z)
        wu = _times(w, u)
        s = g.q + beam.ee - _dot(u, wu)
        if not s > 0.0:
            break
        gap = g.d - p4[3] - _dot(u, w_excess)
        le = gap / s
        chi2 = chi2_3c + gap * le
        lam = (w_excess[0] - wu[0] * le, w_excess[1] - wu[1] * le, w_excess[2] - wu[2] * le)
        momenta = moved(tracks, linear, lam, le)
        energy = energy_of(momenta) - p4[3] - beam.xe * lam[0] - beam.ee * le
        if abs(chi2 - previous) < limits.chi2 and abs(energy) < limits.energy:
            return chi2, OK, n, momenta
        if chi2 > give_up and n > 1 and previous > give_up:
            return chi2, ABOVE, n, momenta
        previous = chi2
    return np.inf, NOT_CONVERGED, limits.n_iter, momenta


@kernel
def fit_all(problem: Problem, places: tuple[int, ...], fit: Fit4C) -> None:
    """Fit every candidate under every hypothesis that competes."""
    for i in range(len(problem.cand)):
        p4 = total(problem, i)
        for h in range(len(problem.hypotheses)):
            if not problem.competes[i, h]:
                continue
            status = check(problem, i, h, places)
            if status == OK:
                tracks = tracks_of(problem, i, h, places)
                chi2, status, n, _ = fit_one(tracks, p4, problem.beam, problem.limits, np.inf, np.inf)
                fit.chi2[i, h], fit.n_iter[i, h] = chi2, n
            fit.status[i, h] = status


@kernel
def fit_cascade(problem: Problem, places: tuple[int, ...], threshold: float, fit: Fit4C) -> None:
    """Fit the first hypothesis, the others only until one is smaller or all have lost."""
    for i in range(len(problem.cand)):
        p4 = total(problem, i)
        bound = threshold
        for h in range(len(problem.hypotheses)):
            if not problem.competes[i, h]:
                continue
            status = check(problem, i, h, places)
            chi2 = np.inf
            if status == OK:
                tracks = tracks_of(problem, i, h, places)
                chi2, status, n, _ = fit_one(tracks, p4, problem.beam, problem.limits, threshold, bound)
                fit.chi2[i, h], fit.n_iter[i, h] = chi2, n
            fit.status[i, h] = status
            # A first hypothesis without a chi2 below the threshold ends it, and so does an alternative below the first.
            is_below = status == OK and chi2 < bound
            if is_below != (h == 0):
                break
            bound = chi2 if h == 0 else bound


@kernel
def fit_momenta(problem: Problem, places: tuple[int, ...], fit: Fit4C, p4: FloatArray) -> None:
    """Fit every candidate under the first hypothesis; fill the four-momenta (N, n, 4), NaN where a fit is not OK."""
    for i in range(len(problem.cand)):
        p4[i] = np.nan
        if not problem.competes[i, 0]:
            continue
        status = check(problem, i, 0, places)
        if status == OK:
            tracks = tracks_of(problem, i, 0, places)
            chi2, status, n, fitted = fit_one(tracks, total(problem, i), problem.beam, problem.limits, np.inf, np.inf)
            fit.chi2[i, 0], fit.n_iter[i, 0] = chi2, n
            if status == OK:
                for k in range(len(fitted)):
                    p = fitted[k]
                    p4[i, k, 0], p4[i, k, 1], p4[i, k, 2], p4[i, k, 3] = p.x, p.y, p.z, p.e
        fit.status[i, 0] = status
