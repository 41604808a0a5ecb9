"""The four-constraint (4C) kinematic fit of charged tracks, every candidate under every mass assignment.

The momenta of the tracks, four in this search, are moved within their errors until they add up to the initial
four-momentum. Lagrange multipliers with successive linearisation, as BOSS's KalmanKinematicFit does it in momentum
space; because the momentum constraint is linear, the 4 x 4 system shrinks to one 3 x 3 inverse per fit and one number
per iteration (Schur complement), and the chi2 of the three momentum constraints alone is a lower bound of the chi2 of
all four.

With measured momenta m_i, covariances V_i, S = sum V_i, present momenta p_i and velocities b_i = p_i/E_i, one step is

    r = sum m_i - P,   u = sum V_i b_i,   s = sum b_i V_i b_i - u S^-1 u,
    g = sum(E_i + b_i (m_i - p_i)) - E - u S^-1 r,   where E_i - b_i p_i = mass_i^2/E_i
    chi2 = r S^-1 r + g^2/s,   l_E = g/s,   l = S^-1 (r - u l_E),   p_i = m_i - V_i (l + b_i l_E)

A beam spread adds its covariance along (px, E) to S, u and s: then the constraint gives way as well.

Source: P. Avery, "Applied fitting theory VI", CBX 98-37; the algebra of BOSS's KalmanKinematicFit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import CHI2_MAX, HALF_CROSSING_ANGLE, SPECIES_MASS
from jpsi_lnv.analysis.kinfit import kernels
from jpsi_lnv.analysis.kinfit.kernels import Beam, Fit4C, Limits, Problem, Status, count_status, is_smallest

__all__ = [
    "CHI2_MAX",
    "LIMITS",
    "NDF",
    "Fit4C",
    "Limits",
    "Status",
    "cascade",
    "check_tracks",
    "count_status",
    "fit4c",
    "fit_with_momenta",
    "is_smallest",
]


NDF: Final = 4
DEFAULT_LIMITS: Final = Limits()
# By the value of the cut `fit_limits`. BOSS's KalmanKinematicFit asks for a steady chi2 alone; a fit that has not
# converged by then fails, as does one of chi2 above 200 (`CHI2_MAX`), in ours too.
LIMITS: Final = {"own": DEFAULT_LIMITS, "boss": Limits(chi2=0.005, energy=np.inf, n_iter=10)}


def fit4c(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    *,
    mass: npt.ArrayLike = SPECIES_MASS,
    competes: BoolArray | None = None,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
) -> Fit4C:
    """Fit every candidate under every hypothesis.

    Args:
        p: (T, S, 3) momenta in GeV/c; S = 1 if the tracks have one momentum for all species, else one per species.
        v: (T, S, 6) covariances in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
        cand: (N, n) track indices.
        hypotheses: (H, n) species of the tracks.
        p4_total: (4,) or (N, 4) initial (px, py, pz, E) in GeV.
        mass: Masses of the species in GeV/c^2.
        competes: (N, H) hypotheses to fit; all where it is left out.
        spread: Energy spread of each beam in GeV: makes the constraint soft along (px, E).
        limits: When the iteration ends.

    Returns:
        chi2, status and iterations, each ``(N, H)``.

    Raises:
        ValueError: Shapes that do not fit, or tracks and species that do not exist.
    """
    problem = as_problem(p, v, cand, hypotheses, p4_total, mass, competes, spread, limits)
    fit, ready = without_infeasible(problem)
    kernels.fit_all(ready, _places(ready), fit)
    return fit


def cascade(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    *,
    mass: npt.ArrayLike = SPECIES_MASS,
    competes: BoolArray | None = None,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
    threshold: float = CHI2_MAX,
) -> Fit4C:
    """Fit the first hypothesis, and the others only as far as it takes to know whether one of them has a smaller chi2.

    Below `threshold` the decision `is_smallest` is that of `fit4c`: an alternative is given up once its lower bound
    exceeds the first chi2, and the rest is skipped once one is smaller. Candidates above it get status ABOVE, or OK
    with a chi2 above it; nothing is decided about them.

    Args:
        p: (T, S, 3) momenta, as in `fit4c`.
        v: (T, S, 6) covariances, as in `fit4c`.
        cand: (N, n) track indices.
        hypotheses: (H, n) species of the tracks; the first is the one in question.
        p4_total: (4,) or (N, 4) initial (px, py, pz, E) in GeV.
        mass: Masses of the species in GeV/c^2.
        competes: (N, H) hypotheses to fit; all where it is left out.
        spread: Energy spread of each beam in GeV.
        limits: When the iteration ends.
        threshold: chi2 above which nothing is decided.

    Returns:
        chi2, status and iterations, each ``(N, H)``.

    Raises:
        ValueError: Shapes that do not fit, or tracks and species that do not exist.
    """
    problem = as_problem(p, v, cand, hypotheses, p4_total, mass, competes, spread, limits)
    fit, ready = without_infeasible(problem)
    kernels.fit_cascade(ready, _places(ready), threshold, fit)
    return fit


def fit_with_momenta(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypothesis: npt.ArrayLike,
    p4_total: FloatArray,
    *,
    mass: npt.ArrayLike = SPECIES_MASS,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Fit4C, FloatArray]:
    """Fit every candidate under one hypothesis and return the fitted momenta too.

    Args:
        p: (T, S, 3) momenta, as in `fit4c`.
        v: (T, S, 6) covariances, as in `fit4c`.
        cand: (N, n) track indices.
        hypothesis: (n,) species of the tracks.
        p4_total: (4,) or (N, 4) initial (px, py, pz, E) in GeV.
        mass: Masses of the species in GeV/c^2.
        spread: Energy spread of each beam in GeV.
        limits: When the iteration ends.

    Returns:
        The fits, each field ``(N, 1)``, and (px, py, pz, E) of the tracks, ``(N, n, 4)``, in GeV: NaN where the
        fit did not end as OK.

    Raises:
        ValueError: Shapes that do not fit, or tracks and species that do not exist.
    """
    species = np.asarray(hypothesis)
    problem = as_problem(p, v, cand, species, p4_total, mass, None, spread, limits)
    fit, ready = without_infeasible(problem)
    p4 = np.empty((*problem.cand.shape, 4))
    kernels.fit_momenta(ready, _places(ready), fit, p4)
    return fit, p4


def check_tracks(p: FloatArray, v: FloatArray) -> npt.NDArray[np.int8]:
    """Return OK, NOT_FINITE or BAD_COVARIANCE of momenta ``(T, S, 3)`` with covariances ``(T, S, 6)``, shape (T, S)."""
    status = np.empty(p.shape[:2], dtype=np.int8)
    kernels.check_tracks(p, v, status)
    return status


def as_problem(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypotheses: npt.NDArray[np.integer],
    p4_total: FloatArray,
    mass: npt.ArrayLike,
    competes: BoolArray | None,
    spread: float,
    limits: Limits,
) -> Problem:
    """Return the arguments as the kernels take them: contiguous, of one type each, with shapes that fit."""
    p, v = np.ascontiguousarray(p, dtype=np.float64), np.ascontiguousarray(v, dtype=np.float64)
    species: IntArray = np.ascontiguousarray(hypotheses, dtype=np.int64)
    hypotheses = species.reshape(-1, species.shape[-1])
    cand = np.ascontiguousarray(cand, dtype=np.int64).reshape(-1, species.shape[-1])
    p4 = np.ascontiguousarray(p4_total, dtype=np.float64).reshape(-1, 4)
    masses = np.ascontiguousarray(mass, dtype=np.float64)
    shape = (len(cand), len(hypotheses))
    competes = np.ones(shape, dtype=np.bool_) if competes is None else np.asarray(competes, dtype=np.bool_)
    if v.shape != (*p.shape[:2], 6):
        msg = f"v has shape {v.shape}, wanted {(*p.shape[:2], 6)} for p {p.shape}"
        raise ValueError(msg)
    if competes.shape != shape or len(p4) not in {1, len(cand)}:
        msg = f"competes {competes.shape} and p4_total {p4.shape} do not fit {shape} candidates and hypotheses"
        raise ValueError(msg)
    _check_indices("cand", cand, len(p), "tracks")
    _check_indices("hypotheses", hypotheses, min(len(masses), p.shape[1] if p.shape[1] > 1 else len(masses)), "species")
    return Problem(p, v, check_tracks(p, v), cand, hypotheses, p4, masses, competes, _beam(spread), limits)


def _places(problem: Problem) -> tuple[int, ...]:
    """Return the places of the tracks in a candidate: numba compiles the fit for each number of them."""
    return tuple(range(problem.cand.shape[1]))


def _beam(spread: float) -> Beam:
    """Return the covariance of two beams of independent energies that meet under the crossing angle."""
    sine, variance = np.sin(HALF_CROSSING_ANGLE), 2.0 * spread**2
    return Beam(float(variance * sine**2), float(variance * sine), float(variance))


def _check_indices(name: str, index: IntArray, n: int, of: str) -> None:
    if index.size and (index.min() < 0 or index.max() >= n):
        msg = f"{name} holds {index.min()} to {index.max()}, but there are {n} {of}"
        raise ValueError(msg)


def without_infeasible(problem: Problem) -> tuple[Fit4C, Problem]:
    """Return an empty result and the problem without the assignments whose masses exceed the initial energy."""
    masses = problem.mass[problem.hypotheses].sum(axis=1)
    s = np.square(problem.p4[:, 3]) - np.square(problem.p4[:, :3]).sum(axis=1)
    infeasible = problem.competes & (np.square(masses)[None, :] >= s[:, None])
    status = np.where(infeasible, Status.INFEASIBLE, Status.SKIPPED).astype(np.int8)
    fit = Fit4C(np.full(status.shape, np.inf), status, np.zeros(status.shape, dtype=np.int8))
    return fit, problem._replace(competes=problem.competes & ~infeasible)
