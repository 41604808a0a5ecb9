"""The four-constraint (4C) kinematic fit of four charged tracks, every candidate under every mass assignment.

The momenta of the four tracks are moved within their errors until they add up to the initial four-momentum. Lagrange
multipliers with successive linearisation, as BOSS's KalmanKinematicFit does it in momentum space; because the momentum
constraint is linear, the 4 x 4 system shrinks to one 3 x 3 inverse per fit and one number per iteration (Schur
complement), and the chi2 of the three momentum constraints alone is a lower bound of the chi2 of all four.

With measured momenta p_i, covariances V_i, velocities b_i = p_i/E_i and S = sum V_i, per iteration:

    u = sum V_i b_i,   s = sum b_i V_i b_i - u S^-1 u,   r = sum p_i - P,   d = sum(E_i + b_i (p_i - p)) - E - u S^-1 r
    chi2 = r S^-1 r + d^2/s,   l_E = d/s,   l = S^-1 (r - u l_E),   p = p_i - V_i (l + b_i l_E)

Algebra: P. Avery, CBX 98-37 (1998); with E_i - b_i p = m_i^2/E_i the sum in d needs no differences of energies.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from analysis.constants import HALF_CROSSING_ANGLE, SPECIES_MASS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
StatusArray = npt.NDArray[np.int8]

N_TRACKS: Final = 4
NDF: Final = 4
# Upper edge of the stored chi2 axis: below it every decision of the cascade is that of the full fits.
CASCADE_CHI2: Final = 200.0
# A covariance counts as positive definite if its leading minors exceed this fraction of the diagonal's product.
MINOR_MIN: Final = 1e-12

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


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
    """Given up above the limit; the number returned is only a chi2 that the fit would exceed."""
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
    status: StatusArray
    n_iter: StatusArray


DEFAULT_LIMITS: Final = Limits()


def fit4c(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    *,
    mass: npt.ArrayLike = SPECIES_MASS,
    competes: npt.NDArray[np.bool_] | None = None,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
) -> Fit4C:
    """Fit every candidate under every hypothesis.

    Args:
        p: (T, S, 3) momenta in GeV/c; S = 1 if the tracks have one momentum for all species, else one per species.
        v: (T, S, 6) covariances in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
        cand: (N, 4) track indices.
        hypotheses: (H, 4) species of the four tracks.
        p4_total: (4,) or (N, 4) initial (px, py, pz, E) in GeV.
        mass: Masses of the species in GeV/c^2.
        competes: (N, H) hypotheses to fit; all where it is left out.
        spread: Energy spread of each beam in GeV: makes the constraint soft along (px, E).
        limits: When the iteration ends.

    Returns:
        chi2, status and iterations, each ``(N, H)``.
    """
    args = _prepare(p, v, cand, hypotheses, p4_total, mass, competes)
    fit = _empty(len(args[3]), len(args[4]))
    _fit_all(*args, spread, limits, fit)
    return fit


def cascade(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    *,
    mass: npt.ArrayLike = SPECIES_MASS,
    competes: npt.NDArray[np.bool_] | None = None,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
    threshold: float = CASCADE_CHI2,
) -> Fit4C:
    """Fit the first hypothesis, and the others only as far as it takes to know whether one of them has a smaller chi2.

    Below `threshold` the decision `is_smallest` is that of `fit4c`: an alternative is given up once its lower bound
    exceeds the first chi2, and the rest is skipped once one is smaller. Candidates above it get status ABOVE.

    Args:
        p: As in `fit4c`, and so are the arguments not listed here.
        v: See `fit4c`.
        cand: See `fit4c`.
        hypotheses: (H, 4) species of the four tracks; the first is the one in question.
        p4_total: See `fit4c`.
        mass: See `fit4c`.
        competes: See `fit4c`.
        spread: See `fit4c`.
        limits: See `fit4c`.
        threshold: chi2 above which nothing is decided.

    Returns:
        chi2, status and iterations, each ``(N, H)``.
    """
    args = _prepare(p, v, cand, hypotheses, p4_total, mass, competes)
    fit = _empty(len(args[3]), len(args[4]))
    _fit_cascade(*args, spread, limits, threshold, fit)
    return fit


def is_smallest(fit: Fit4C) -> npt.NDArray[np.bool_]:
    """Return whether the first hypothesis was fitted and no other one has a smaller chi2, shape (N,)."""
    others = np.where(fit.status[:, 1:] == Status.OK, fit.chi2[:, 1:], np.inf)
    return (fit.status[:, 0] == Status.OK) & (fit.chi2[:, 0] <= others.min(axis=1, initial=np.inf))


def count_status(status: npt.NDArray[np.integer]) -> dict[str, int]:
    """Return how often each `Status` occurs, by lower-case name: the book-keeping of a chunk."""
    counts = np.bincount(np.ravel(status), minlength=len(Status))
    return {s.name.lower(): int(counts[s]) for s in Status}


def check_tracks(p: FloatArray, v: FloatArray) -> StatusArray:
    """Return OK, NOT_FINITE or BAD_COVARIANCE of momenta ``(T, S, 3)`` with covariances ``(T, S, 6)``, shape (T, S)."""
    status = np.empty(p.shape[:2], dtype=np.int8)
    _check_tracks(p, v, status)
    return status


def _prepare(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    mass: npt.ArrayLike,
    competes: npt.NDArray[np.bool_] | None,
) -> tuple:
    """Return the arguments as the kernels take them; shapes that do not fit raise ValueError."""
    p, v = np.ascontiguousarray(p, dtype=np.float64), np.ascontiguousarray(v, dtype=np.float64)
    cand = np.ascontiguousarray(cand, dtype=np.int64).reshape(-1, N_TRACKS)
    hypotheses = np.ascontiguousarray(hypotheses, dtype=np.int64).reshape(-1, N_TRACKS)
    total = np.ascontiguousarray(p4_total, dtype=np.float64).reshape(-1, 4)
    masses = np.asarray(mass, dtype=np.float64)
    if competes is None:
        competes = np.ones((len(cand), len(hypotheses)), dtype=np.bool_)
    _check_shapes(p, v, cand, hypotheses, total, masses, competes)
    return p, v, check_tracks(p, v), cand, hypotheses, total, masses * masses, competes


def _check_shapes(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: IntArray,
    total: FloatArray,
    masses: FloatArray,
    competes: npt.NDArray[np.bool_],
) -> None:
    n, n_species = len(cand), len(masses)
    wanted = {
        "v": (v.shape == (*p.shape[:2], 6), f"{(*p.shape[:2], 6)}", v.shape),
        "p4_total": (len(total) in {1, n}, f"(4,) or ({n}, 4)", total.shape),
        "competes": (competes.shape == (n, len(hypotheses)), f"({n}, {len(hypotheses)})", competes.shape),
    }
    for name, (fits, shape, got) in wanted.items():
        if not fits:
            msg = f"{name} has shape {got}, wanted {shape}"
            raise ValueError(msg)
    if hypotheses.size and not (hypotheses.min() >= 0 and hypotheses.max() < n_species):
        msg = f"hypotheses name species {hypotheses.min()} to {hypotheses.max()}, but there are {n_species} masses"
        raise ValueError(msg)
    if p.shape[1] > 1 and hypotheses.size and hypotheses.max() >= p.shape[1]:
        msg = f"hypotheses name species up to {hypotheses.max()}, but p holds {p.shape[1]}"
        raise ValueError(msg)
    if n and not (cand.min() >= 0 and cand.max() < len(p)):
        msg = f"candidates name tracks {cand.min()} to {cand.max()}, but there are {len(p)}"
        raise ValueError(msg)


def _empty(n: int, n_hypotheses: int) -> Fit4C:
    shape = (n, n_hypotheses)
    status = np.full(shape, Status.SKIPPED, dtype=np.int8)
    return Fit4C(np.full(shape, np.inf), status, np.zeros(shape, dtype=np.int8))


OK: Final = int(Status.OK)
NOT_CONVERGED: Final = int(Status.NOT_CONVERGED)
BAD_COVARIANCE: Final = int(Status.BAD_COVARIANCE)
NOT_FINITE: Final = int(Status.NOT_FINITE)
ABOVE: Final = int(Status.ABOVE)
INFEASIBLE: Final = int(Status.INFEASIBLE)


@kernel
def _check_tracks(p: FloatArray, v: FloatArray, status: StatusArray) -> None:
    for t in range(p.shape[0]):
        for s in range(p.shape[1]):
            xx, xy, xz, yy, yz, zz = v[t, s, 0], v[t, s, 1], v[t, s, 2], v[t, s, 3], v[t, s, 4], v[t, s, 5]
            minor2 = xx * yy - xy * xy
            minor3 = zz * minor2 - xx * yz * yz + 2.0 * xy * xz * yz - yy * xz * xz
            total = p[t, s, 0] + p[t, s, 1] + p[t, s, 2] + xx + xy + xz + yy + yz + zz
            if not math.isfinite(total):
                status[t, s] = NOT_FINITE
            elif xx > 0.0 and minor2 > MINOR_MIN * xx * yy and minor3 > MINOR_MIN * xx * yy * zz and zz > 0.0:
                status[t, s] = OK
            else:
                status[t, s] = BAD_COVARIANCE


@kernel
def _gather(
    p: FloatArray,
    v: FloatArray,
    checked: StatusArray,
    tracks: IntArray,
    species: IntArray,
    mass2: FloatArray,
    p4: FloatArray,
    p0: FloatArray,
    c: FloatArray,
    m2: FloatArray,
) -> int:
    """Copy the four tracks of one fit to p0, c, m2; return OK or why it cannot be fitted."""
    worst = OK
    mass = 0.0
    for i in range(N_TRACKS):
        t, s = tracks[i], species[i]
        m2[i] = mass2[s]
        mass += math.sqrt(mass2[s])
        row = s if p.shape[1] > 1 else 0
        worst = max(worst, checked[t, row])
        for j in range(3):
            p0[i, j] = p[t, row, j]
        for j in range(6):
            c[i, j] = v[t, row, j]
    if worst == OK and mass * mass >= p4[3] ** 2 - p4[0] ** 2 - p4[1] ** 2 - p4[2] ** 2:
        return INFEASIBLE
    return worst


@kernel
def _fit(
    p0: FloatArray, c: FloatArray, m2: FloatArray, p4: FloatArray, spread: float, limits: Limits, give_up: float,
    bound: float, p: FloatArray, vb: FloatArray,
) -> tuple[float, int, int]:  # fmt: skip
    """Fit four tracks; p ends as the fitted momenta. Returns chi2, status, iterations.

    Ends as ABOVE once the lower bound exceeds `bound`, or two successive chi2 exceed `give_up`.
    """
    sin = math.sin(HALF_CROSSING_ANGLE)
    beam = 2.0 * spread * spread
    rx, ry, rz = -p4[0], -p4[1], -p4[2]
    xx, xy, xz, yy, yz, zz = beam * sin * sin, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(N_TRACKS):
        rx += p0[i, 0]
        ry += p0[i, 1]
        rz += p0[i, 2]
        xx += c[i, 0]
        xy += c[i, 1]
        xz += c[i, 2]
        yy += c[i, 3]
        yz += c[i, 4]
        zz += c[i, 5]
        p[i, 0], p[i, 1], p[i, 2] = p0[i, 0], p0[i, 1], p0[i, 2]
    # Inverse of the summed covariance by cofactors.
    wxx, wxy, wxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    wyy, wyz, wzz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    norm = 1.0 / (xx * wxx + xy * wxy + xz * wxz)
    wxx, wxy, wxz, wyy, wyz, wzz = wxx * norm, wxy * norm, wxz * norm, wyy * norm, wyz * norm, wzz * norm
    wx, wy, wz = wxx * rx + wxy * ry + wxz * rz, wxy * rx + wyy * ry + wyz * rz, wxz * rx + wyz * ry + wzz * rz
    chi2_3c = wx * rx + wy * ry + wz * rz
    if chi2_3c > bound:
        return chi2_3c, ABOVE, 0
    previous = np.inf
    for n in range(1, limits.n_iter + 1):
        ux, uy, uz, q, d = beam * sin, 0.0, 0.0, beam, -p4[3]
        for i in range(N_TRACKS):
            px, py, pz = p[i, 0], p[i, 1], p[i, 2]
            inverse = 1.0 / math.sqrt(px * px + py * py + pz * pz + m2[i])
            bx, by, bz = px * inverse, py * inverse, pz * inverse
            vx = c[i, 0] * bx + c[i, 1] * by + c[i, 2] * bz
            vy = c[i, 1] * bx + c[i, 3] * by + c[i, 4] * bz
            vz = c[i, 2] * bx + c[i, 4] * by + c[i, 5] * bz
            vb[i, 0], vb[i, 1], vb[i, 2] = vx, vy, vz
            ux, uy, uz = ux + vx, uy + vy, uz + vz
            q += bx * vx + by * vy + bz * vz
            d += m2[i] * inverse + bx * p0[i, 0] + by * p0[i, 1] + bz * p0[i, 2]
        wux = wxx * ux + wxy * uy + wxz * uz
        wuy = wxy * ux + wyy * uy + wyz * uz
        wuz = wxz * ux + wyz * uy + wzz * uz
        s = q - (ux * wux + uy * wuy + uz * wuz)
        if not s > 0.0:
            return np.inf, NOT_CONVERGED, n
        d -= ux * wx + uy * wy + uz * wz
        le = d / s
        chi2 = chi2_3c + d * le
        lx, ly, lz = wx - wux * le, wy - wuy * le, wz - wuz * le
        energy = -p4[3] - beam * (sin * lx + le)
        for i in range(N_TRACKS):
            px = p0[i, 0] - (c[i, 0] * lx + c[i, 1] * ly + c[i, 2] * lz + vb[i, 0] * le)
            py = p0[i, 1] - (c[i, 1] * lx + c[i, 3] * ly + c[i, 4] * lz + vb[i, 1] * le)
            pz = p0[i, 2] - (c[i, 2] * lx + c[i, 4] * ly + c[i, 5] * lz + vb[i, 2] * le)
            p[i, 0], p[i, 1], p[i, 2] = px, py, pz
            energy += math.sqrt(px * px + py * py + pz * pz + m2[i])
        if abs(chi2 - previous) < limits.chi2 and abs(energy) < limits.energy:
            return chi2, OK, n
        if chi2 > give_up and previous > give_up and n > 1:
            return chi2, ABOVE, n
        previous = chi2
    return np.inf, NOT_CONVERGED, limits.n_iter


@kernel
def _fit_all(
    p: FloatArray, v: FloatArray, checked: StatusArray, cand: IntArray, hypotheses: IntArray, p4: FloatArray,
    mass2: FloatArray, competes: npt.NDArray[np.bool_], spread: float, limits: Limits, fit: Fit4C,
) -> None:  # fmt: skip
    p0, c, m2 = np.empty((N_TRACKS, 3)), np.empty((N_TRACKS, 6)), np.empty(N_TRACKS)
    fitted, vb = np.empty((N_TRACKS, 3)), np.empty((N_TRACKS, 3))
    for i in range(len(cand)):
        total = p4[i if len(p4) > 1 else 0]
        for h in range(len(hypotheses)):
            if not competes[i, h]:
                continue
            status = _gather(p, v, checked, cand[i], hypotheses[h], mass2, total, p0, c, m2)
            if status != OK:
                fit.status[i, h] = status
                continue
            chi2, status, n = _fit(p0, c, m2, total, spread, limits, np.inf, np.inf, fitted, vb)
            fit.chi2[i, h], fit.status[i, h], fit.n_iter[i, h] = chi2, status, n


@kernel
def _fit_cascade(
    p: FloatArray, v: FloatArray, checked: StatusArray, cand: IntArray, hypotheses: IntArray, p4: FloatArray,
    mass2: FloatArray, competes: npt.NDArray[np.bool_], spread: float, limits: Limits, threshold: float, fit: Fit4C,
) -> None:  # fmt: skip
    p0, c, m2 = np.empty((N_TRACKS, 3)), np.empty((N_TRACKS, 6)), np.empty(N_TRACKS)
    fitted, vb = np.empty((N_TRACKS, 3)), np.empty((N_TRACKS, 3))
    for i in range(len(cand)):
        total = p4[i if len(p4) > 1 else 0]
        bound = threshold
        for h in range(len(hypotheses)):
            if not competes[i, h]:
                continue
            status = _gather(p, v, checked, cand[i], hypotheses[h], mass2, total, p0, c, m2)
            chi2, n = np.inf, 0
            if status == OK:
                chi2, status, n = _fit(p0, c, m2, total, spread, limits, threshold, bound, fitted, vb)
            fit.chi2[i, h], fit.status[i, h], fit.n_iter[i, h] = chi2, status, n
            if h == 0:
                if status != OK or chi2 > threshold:
                    break
                bound = chi2
            elif status == OK and chi2 < bound:
                break
