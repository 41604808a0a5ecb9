"""The compiled part of the 4C fit: one fit, every fit, the cascade, and how each ends.

The formulae stand in `analysis.kinfit.fourc`.
Every number of physics comes as an argument: numba notices changes of this file alone, not of a constant elsewhere.
Every function is numba, releases the GIL and keeps its machine code on disk. The four tracks of a fit are tuples of
numbers and written out by name: so they stay in registers, and nothing is allocated per candidate.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

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
# For what a call would move the tracks through memory: 20 % of the time of a fit.
inlined = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"}, inline="always")


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


@kernel
def check(problem: Problem, i: int, h: int) -> int:
    """Return OK, or what is wrong with a track of candidate i under hypothesis h."""
    worst = OK
    for k in range(4):
        row = problem.hypotheses[h, k] if problem.p.shape[1] > 1 else 0
        worst = max(worst, problem.checked[problem.cand[i, k], row])
    return worst


@kernel
def total(problem: Problem, i: int) -> tuple[float, float, float, float]:
    """Return the initial four-momentum of candidate i."""
    j = i if len(problem.p4) > 1 else 0
    return problem.p4[j, 0], problem.p4[j, 1], problem.p4[j, 2], problem.p4[j, 3]


@kernel
def track(problem: Problem, i: int, h: int, k: int) -> Track:
    """Return track k of candidate i under hypothesis h."""
    t, s = problem.cand[i, k], problem.hypotheses[h, k]
    row = s if problem.p.shape[1] > 1 else 0
    p, v, m = problem.p, problem.v, problem.mass[s]
    return Track(
        p[t, row, 0], p[t, row, 1], p[t, row, 2],
        v[t, row, 0], v[t, row, 1], v[t, row, 2], v[t, row, 3], v[t, row, 4], v[t, row, 5], m * m,
    )  # fmt: skip


@kernel
def tracks_of(problem: Problem, i: int, h: int) -> tuple[Track, Track, Track, Track]:
    """Return the tracks of candidate i under hypothesis h."""
    return track(problem, i, h, 0), track(problem, i, h, 1), track(problem, i, h, 2), track(problem, i, h, 3)


@kernel
def _inverse(a: Track, b: Track, c: Track, d: Track, beam_xx: float) -> Symmetric:
    """Return the inverse of the summed covariance, by cofactors."""
    xx, xy, xz = a.xx + b.xx + c.xx + d.xx + beam_xx, a.xy + b.xy + c.xy + d.xy, a.xz + b.xz + c.xz + d.xz
    yy, yz, zz = a.yy + b.yy + c.yy + d.yy, a.yz + b.yz + c.yz + d.yz, a.zz + b.zz + c.zz + d.zz
    cxx, cxy, cxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    f = 1.0 / (xx * cxx + xy * cxy + xz * cxz)
    return cxx * f, cxy * f, cxz * f, (xx * zz - xz * xz) * f, (xy * xz - xx * yz) * f, (xx * yy - xy * xy) * f


@kernel
def _times(m: Symmetric, a: Vector) -> Vector:
    x, y, z = a
    return m[0] * x + m[1] * y + m[2] * z, m[1] * x + m[3] * y + m[4] * z, m[2] * x + m[4] * y + m[5] * z


@kernel
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def _measured(t: Track) -> Momentum:
    return Momentum(t.x, t.y, t.z, math.sqrt(t.x * t.x + t.y * t.y + t.z * t.z + t.m2))


@kernel
def _tangent(t: Track, p: Momentum) -> Tangent:
    f = 1.0 / p.e
    bx, by, bz = p.x * f, p.y * f, p.z * f
    x = t.xx * bx + t.xy * by + t.xz * bz
    y = t.xy * bx + t.yy * by + t.yz * bz
    z = t.xz * bx + t.yz * by + t.zz * bz
    return Tangent(x, y, z, bx * x + by * y + bz * z, t.m2 * f + bx * t.x + by * t.y + bz * t.z)


@kernel
def _moved(t: Track, g: Tangent, lam: Vector, le: float) -> Momentum:
    lx, ly, lz = lam
    x = t.x - (t.xx * lx + t.xy * ly + t.xz * lz + g.x * le)
    y = t.y - (t.xy * lx + t.yy * ly + t.yz * lz + g.y * le)
    z = t.z - (t.xz * lx + t.yz * ly + t.zz * lz + g.z * le)
    return Momentum(x, y, z, math.sqrt(x * x + y * y + z * z + t.m2))


@inlined
def fit_one(
    a: Track,
    b: Track,
    c: Track,
    d: Track,
    p4: tuple[float, float, float, float],
    beam: Beam,
    limits: Limits,
    give_up: float,
    bound: float,
) -> tuple[float, int, int, tuple[Momentum, Momentum, Momentum, Momentum]]:
    """Fit four tracks; end as ABOVE once the lower bound exceeds `bound` or two successive chi2 exceed `give_up`.

    Returns:
        chi2, status, the number of iterations, and the fitted momenta.
    """
    excess = (a.x + b.x + c.x + d.x - p4[0], a.y + b.y + c.y + d.y - p4[1], a.z + b.z + c.z + d.z - p4[2])
    w = _inverse(a, b, c, d, beam.xx)
    w_excess = _times(w, excess)
    chi2_3c = _dot(w_excess, excess)
    pa, pb, pc, pd = _measured(a), _measured(b), _measured(c), _measured(d)
    if chi2_3c > bound:
        return chi2_3c, ABOVE, 0, (pa, pb, pc, pd)
    previous = np.inf
    for n in range(1, limits.n_iter + 1):
        ga, gb, gc, gd = _tangent(a, pa), _tangent(b, pb), _tangent(c, pc), _tangent(d, pd)
        u = (ga.x + gb.x + gc.x + gd.x + beam.xe, ga.y + gb.y + gc.y + gd.y, ga.z + gb.z + gc.z + gd.z)
        wu = _times(w, u)
        s = ga.q + gb.q + gc.q + gd.q + beam.ee - _dot(u, wu)
        if not s > 0.0:
            break
        gap = ga.d + gb.d + gc.d + gd.d - p4[3] - _dot(u, w_excess)
        le = gap / s
        chi2 = chi2_3c + gap * le
        lam = (w_excess[0] - wu[0] * le, w_excess[1] - wu[1] * le, w_excess[2] - wu[2] * le)
        pa, pb, pc, pd = _moved(a, ga, lam, le), _moved(b, gb, lam, le), _moved(c, gc, lam, le), _moved(d, gd, lam, le)
        energy = pa.e + pb.e + pc.e + pd.e - p4[3] - beam.xe * lam[0] - beam.ee * le
        if abs(chi2 - previous) < limits.chi2 and abs(energy) < limits.energy:
            return chi2, OK, n, (pa, pb, pc, pd)
        if chi2 > give_up and n > 1 and previous > give_up:
            return chi2, ABOVE, n, (pa, pb, pc, pd)
        previous = chi2
    return np.inf, NOT_CONVERGED, limits.n_iter, (pa, pb, pc, pd)


@kernel
def fit_all(problem: Problem, fit: Fit4C) -> None:
    """Fit every candidate under every hypothesis that competes."""
    for i in range(len(problem.cand)):
        p4 = total(problem, i)
        for h in range(len(problem.hypotheses)):
            if not problem.competes[i, h]:
                continue
            status = check(problem, i, h)
            if status == OK:
                a, b, c, d = tracks_of(problem, i, h)
                chi2, status, n, _ = fit_one(a, b, c, d, p4, problem.beam, problem.limits, np.inf, np.inf)
                fit.chi2[i, h], fit.n_iter[i, h] = chi2, n
            fit.status[i, h] = status


@kernel
def fit_cascade(problem: Problem, threshold: float, fit: Fit4C) -> None:
    """Fit the first hypothesis, the others only until one is smaller or all have lost."""
    for i in range(len(problem.cand)):
        p4 = total(problem, i)
        bound = threshold
        for h in range(len(problem.hypotheses)):
            if not problem.competes[i, h]:
                continue
            status = check(problem, i, h)
            chi2 = np.inf
            if status == OK:
                a, b, c, d = tracks_of(problem, i, h)
                chi2, status, n, _ = fit_one(a, b, c, d, p4, problem.beam, problem.limits, threshold, bound)
                fit.chi2[i, h], fit.n_iter[i, h] = chi2, n
            fit.status[i, h] = status
            # A first hypothesis without a chi2 below the threshold ends it, and so does an alternative below the first.
            is_below = status == OK and chi2 < bound
            if is_below != (h == 0):
                break
            bound = chi2 if h == 0 else bound


@kernel
def fit_momenta(problem: Problem, fit: Fit4C, p4: FloatArray) -> None:
    """Fit every candidate under the first hypothesis; fill the four-momenta (N, 4, 4), NaN where a fit is not OK."""
    for i in range(len(problem.cand)):
        p4[i] = np.nan
        if not problem.competes[i, 0]:
            continue
        status = check(problem, i, 0)
        if status == OK:
            a, b, c, d = tracks_of(problem, i, 0)
            chi2, status, n, fitted = fit_one(
                a, b, c, d, total(problem, i), problem.beam, problem.limits, np.inf, np.inf
            )
            fit.chi2[i, 0], fit.n_iter[i, 0] = chi2, n
            if status == OK:
                for k in range(4):
                    p = fitted[k]
                    p4[i, k, 0], p4[i, k, 1], p4[i, k, 2], p4[i, k, 3] = p.x, p.y, p.z, p.e
        fit.status[i, 0] = status
