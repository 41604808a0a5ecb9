"""Kinematic fits of any particles under any constraints on sums of their four-momenta: masses, a missing particle.

Every constraint is a statement about a sum Q of four-momenta, so a particle needs only what a track of `fourc` has,
momentum p_i, covariance V_i and a fixed mass; a photon is a particle without mass. The constraints h_c are

    closed:   the sum of all is the initial four-momentum P, which gives way by its covariance B if the beams spread
    a mass:   Q.E - sqrt(Q.p^2 + M^2) = 0 for the sum Q of some particles
    missing:  the same for Q = P - the sum of all: no start value and no unmeasured parameters are needed

With the gradients d_ci of h_c by p_i and b_c by P, one step from the present momenta is

    W = sum d_ci V_i d_c'i + b_c B b_c',   g_c = h_c + sum d_ci (m_i - p_i) + b_c (P_0 - P),   l = W^-1 g
    chi2 = g l,   p_i = m_i - V_i sum l_c d_ci,   P = P_0 - B sum l_c b_c

`fourc` is the same for the closed constraint alone, three times as fast. A mass far from the measured one may have no
solution or two: cut on the measured mass before the fit, and give up above a chi2.

Source: P. Avery, "Applied fitting theory VI", CBX 98-37; the algebra of BOSS's KalmanKinematicFit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constraints import CLOSED, Constraints
from jpsi_lnv.analysis.kinfit.fourc import DEFAULT_LIMITS, as_problem, without_infeasible
from jpsi_lnv.analysis.kinfit.kernels import (
    ABOVE,
    NOT_CONVERGED,
    OK,
    Beam,
    Fit4C,
    Limits,
    Problem,
    kernel,
)

# A pivot below this fraction of its diagonal element: the constraint follows from those before it.
PIVOT_MIN: Final = 1e-12


class Plan(NamedTuple):
    """The constraints as arrays: the rows of the masses follow those of the closed constraint.

    Attributes:
        is_closed: The sum of all particles is the initial four-momentum.
        is_part: (J, n) particles of each mass.
        mass2: (J,) in (GeV/c^2)^2.
        is_recoil: (J,) the mass is that of what the initial four-momentum leaves beside them.
    """

    is_closed: bool
    is_part: BoolArray
    mass2: FloatArray
    is_recoil: BoolArray


class Space(NamedTuple):
    """Arrays of one fit, used again for the next one.

    Attributes:
        value: (C,) constraints at the present momenta, in GeV.
        gradient: (C, n, 3) by the momenta.
        by_total: (C, 4) by the initial (px, py, pz, E).
        w: (C, C) their covariance, then its Cholesky factor.
        residual: (C,) linearised constraints at the measured momenta.
        lam: (C,) multipliers.
        pull: (3,) sum of the multipliers times a particle's gradients.
        p: (n, 3) present momenta.
        energy: (n,) present energies.
        p4: (4,) present initial four-momentum.
    """

    value: FloatArray
    gradient: FloatArray
    by_total: FloatArray
    w: FloatArray
    residual: FloatArray
    lam: FloatArray
    pull: FloatArray
    p: FloatArray
    energy: FloatArray
    p4: FloatArray


def make_plan(constraints: Constraints) -> Plan:
    """Return the constraints as the kernels take them."""
    parts = [mass.places for mass in constraints.masses]
    masses = [mass.mass for mass in constraints.masses]
    is_recoil = [False] * len(parts)
    if constraints.missing is not None:
        parts, masses, is_recoil = (
            [*parts, tuple(range(constraints.n))],
            [*masses, constraints.missing],
            [*is_recoil, True],
        )
    is_part = np.zeros((len(parts), constraints.n), dtype=np.bool_)
    for row, places in enumerate(parts):
        is_part[row, list(places)] = True
    return Plan(
        constraints.missing is None,
        is_part,
        np.square(np.array(masses, dtype=np.float64)),
        np.array(is_recoil, np.bool_),
    )


def make_space(plan: Plan) -> Space:
    """Return the arrays of a fit."""
    c, n = len(plan.mass2) + CLOSED * plan.is_closed, plan.is_part.shape[1]
    shapes = ((c,), (c, n, 3), (c, 4), (c, c), (c,), (c,), (3,), (n, 3), (n,), (4,))
    return Space(*(np.zeros(shape) for shape in shapes))


def fit(
    p: FloatArray,
    v: FloatArray,
    cand: IntArray,
    species: Sequence[int],
    p4_total: FloatArray,
    constraints: Constraints,
    *,
    mass: npt.ArrayLike,
    competes: BoolArray | None = None,
    spread: float = 0.0,
    limits: Limits = DEFAULT_LIMITS,
    give_up: float = np.inf,
) -> tuple[Fit4C, FloatArray]:
    """Fit every candidate.

    Args:
        p: (T, S, 3) momenta in GeV/c; S = 1 if the particles have one momentum for all species, else one per species.
        v: (T, S, 6) covariances in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
        cand: (N, n) rows of the particles.
        species: Species of the n particles.
        p4_total: (4,) or (N, 4) initial (px, py, pz, E) in GeV.
        constraints: What the particles must obey.
        mass: Masses of the species in GeV/c^2.
        competes: (N, 1) candidates to fit; all where it is left out.
        spread: Energy spread of each beam in GeV.
        limits: When the iteration ends; every constraint must hold within ``limits.energy``.
        give_up: chi2 above which two successive steps end the fit as ABOVE.

    Returns:
        The fits, each field ``(N, 1)``, and (px, py, pz, E) of the particles, ``(N, n, 4)``, in GeV: NaN where the fit
        did not end as OK.

    Raises:
        ValueError: Shapes that do not fit, or particles and species that do not exist.
    """
    problem = as_problem(p, v, cand, np.array([species]), p4_total, mass, competes, spread, limits)
    if problem.cand.shape[1] != constraints.n:
        msg = f"candidates of {problem.cand.shape[1]} particles, constraints on {constraints.n}"
        raise ValueError(msg)
    _check_masses(constraints, problem.mass[problem.hypotheses[0]])
    plan = make_plan(constraints)
    result, ready = without_infeasible(problem)
    p4 = np.empty((*problem.cand.shape, 4))
    _fit_all(ready, plan, give_up, make_space(plan), result, p4)
    return result, p4


def _check_masses(constraints: Constraints, mass: FloatArray) -> None:
    for wanted in constraints.masses:
        if (least := mass[list(wanted.places)].sum()) > wanted.mass:
            msg = f"particles {wanted.places} weigh {least:.6g} GeV/c^2, the mass of their sum is {wanted.mass:.6g}"
            raise ValueError(msg)


@kernel
def _linearise(plan: Plan, mass2: FloatArray, p4_0: FloatArray, space: Space) -> None:
    """Fill the constraints and their gradients at the present momenta; `p4_0` is the sum that closes."""
    n, first = len(mass2), CLOSED if plan.is_closed else 0
    space.by_total[:] = 0.0
    if plan.is_closed:
        for c in range(CLOSED):
            space.value[c], space.by_total[c, c] = -p4_0[c], -1.0
    for i in range(n):
        p = space.p[i]
        energy = math.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2] + mass2[i])
        space.energy[i] = energy
        if plan.is_closed:
            for k in range(3):
                space.value[k] += p[k]
                space.gradient[k, i] = 0.0
                space.gradient[k, i, k] = 1.0
                space.gradient[3, i, k] = p[k] / energy
            space.value[3] += energy
    for j in range(len(plan.mass2)):
        _linearise_mass(plan, j, first + j, p4_0, space)


@kernel
def _linearise_mass(plan: Plan, j: int, row: int, p4_0: FloatArray, space: Space) -> None:
    """Fill one constraint Q.E - sqrt(Q.p^2 + M^2) and its gradients."""
    sign = -1.0 if plan.is_recoil[j] else 1.0
    x = y = z = e = 0.0
    if plan.is_recoil[j]:
        x, y, z, e = p4_0[0], p4_0[1], p4_0[2], p4_0[3]
    for i in range(plan.is_part.shape[1]):
        if plan.is_part[j, i]:
            p = space.p[i]
            x, y, z, e = x + sign * p[0], y + sign * p[1], z + sign * p[2], e + sign * space.energy[i]
    root = math.sqrt(x * x + y * y + z * z + plan.mass2[j])
    space.value[row] = e - root
    bx, by, bz = x / root, y / root, z / root
    if plan.is_recoil[j]:
        by_total = space.by_total[row]
        by_total[0], by_total[1], by_total[2], by_total[3] = -bx, -by, -bz, 1.0
    for i in range(plan.is_part.shape[1]):
        d, p, f = space.gradient[row, i], space.p[i], 1.0 / space.energy[i]
        d[:] = 0.0
        if plan.is_part[j, i]:
            d[0], d[1], d[2] = sign * (p[0] * f - bx), sign * (p[1] * f - by), sign * (p[2] * f - bz)


@kernel
def _times(v: FloatArray, a: FloatArray) -> tuple[float, float, float]:
    """Return V a of a covariance in the order xx, xy, xz, yy, yz, zz."""
    x, y, z = a[0], a[1], a[2]
    return v[0] * x + v[1] * y + v[2] * z, v[1] * x + v[3] * y + v[4] * z, v[2] * x + v[4] * y + v[5] * z


@kernel
def _of_beam(beam: Beam, a: FloatArray) -> tuple[float, float]:
    """Return the px and energy of B a; the others are zero."""
    return beam.xx * a[0] + beam.xe * a[3], beam.xe * a[0] + beam.ee * a[3]


@kernel
def _fill_w(problem: Problem, i: int, space: Space) -> None:
    """Fill the lower triangle of W = sum d V d' + b B b'."""
    for c in range(len(space.value)):
        for d in range(c + 1):
            bx, be = _of_beam(problem.beam, space.by_total[d])
            space.w[c, d] = space.by_total[c, 0] * bx + space.by_total[c, 3] * be
        for k in range(problem.cand.shape[1]):
            row = problem.hypotheses[0, k] if problem.p.shape[1] > 1 else 0
            x, y, z = _times(problem.v[problem.cand[i, k], row], space.gradient[c, k])
            for d in range(c + 1):
                other = space.gradient[d, k]
                space.w[c, d] += x * other[0] + y * other[1] + z * other[2]


@kernel
def _solve(space: Space) -> bool:
    """Replace W by its Cholesky factor and `lam` by W^-1 `lam`; False if a constraint follows from those before it."""
    w, lam = space.w, space.lam
    for c in range(len(lam)):
        diagonal = w[c, c]
        for d in range(c + 1):
            value = w[c, d]
            for k in range(d):
                value -= w[c, k] * w[d, k]
            if d < c:
                w[c, d] = value / w[d, d]
            elif value > PIVOT_MIN * diagonal:
                w[c, c] = math.sqrt(value)
            else:
                return False
        for k in range(c):
            lam[c] -= w[c, k] * lam[k]
        lam[c] /= w[c, c]
    for c in range(len(lam) - 1, -1, -1):
        for k in range(c + 1, len(lam)):
            lam[c] -= w[k, c] * lam[k]
        lam[c] /= w[c, c]
    return True


@kernel
def _move(problem: Problem, i: int, p4_0: FloatArray, space: Space) -> None:
    """Move the momenta, and the initial four-momentum if its beams spread, to where the multipliers take them."""
    space.p4[:] = p4_0
    for c in range(len(space.lam)):
        bx, be = _of_beam(problem.beam, space.by_total[c])
        space.p4[0] -= bx * space.lam[c]
        space.p4[3] -= be * space.lam[c]
    for k in range(problem.cand.shape[1]):
        t = problem.cand[i, k]
        row = problem.hypotheses[0, k] if problem.p.shape[1] > 1 else 0
        pull = space.pull
        pull[:] = 0.0
        for c in range(len(space.lam)):
            for axis in range(3):
                pull[axis] += space.lam[c] * space.gradient[c, k, axis]
        x, y, z = _times(problem.v[t, row], pull)
        m, p = problem.p[t, row], space.p[k]
        p[0], p[1], p[2] = m[0] - x, m[1] - y, m[2] - z


@kernel
def _residual(problem: Problem, i: int, p4_0: FloatArray, space: Space) -> None:
    """Fill `lam` with the linearised constraints at the measured momenta."""
    for c in range(len(space.value)):
        at = space.value[c]
        for axis in range(4):
            at += space.by_total[c, axis] * (p4_0[axis] - space.p4[axis])
        for k in range(problem.cand.shape[1]):
            row = problem.hypotheses[0, k] if problem.p.shape[1] > 1 else 0
            m = problem.p[problem.cand[i, k], row]
            for axis in range(3):
                at += space.gradient[c, k, axis] * (m[axis] - space.p[k, axis])
        space.lam[c] = at


@kernel
def _fit_one(
    problem: Problem, plan: Plan, i: int, mass2: FloatArray, p4_0: FloatArray, give_up: float, space: Space
) -> tuple[float, int, int]:
    """Fit candidate i; return chi2, status and the number of iterations, the momenta lie in `space`."""
    limits, previous = problem.limits, np.inf
    space.p4[:] = p4_0
    for k in range(len(mass2)):
        row = problem.hypotheses[0, k] if problem.p.shape[1] > 1 else 0
        space.p[k] = problem.p[problem.cand[i, k], row]
    _linearise(plan, mass2, space.p4, space)
    for n in range(1, limits.n_iter + 1):
        _residual(problem, i, p4_0, space)
        space.residual[:] = space.lam
        _fill_w(problem, i, space)
        if not _solve(space):
            break
        chi2 = 0.0
        for c in range(len(space.lam)):
            chi2 += space.residual[c] * space.lam[c]
        _move(problem, i, p4_0, space)
        _linearise(plan, mass2, space.p4, space)
        if abs(chi2 - previous) < limits.chi2 and np.abs(space.value).max() < limits.energy:
            return chi2, OK, n
        if chi2 > give_up and n > 1 and previous > give_up:
            return chi2, ABOVE, n
        previous = chi2
    return np.inf, NOT_CONVERGED, limits.n_iter


@kernel
def _fit_all(problem: Problem, plan: Plan, give_up: float, space: Space, result: Fit4C, p4: FloatArray) -> None:
    """Fit every candidate; fill the four-momenta (N, n, 4), NaN where a fit is not OK."""
    mass2 = np.square(problem.mass[problem.hypotheses[0]])
    for i in range(len(problem.cand)):
        p4[i] = np.nan
        if not problem.competes[i, 0]:
            continue
        status = _check(problem, i)
        if status == OK:
            p4_0 = problem.p4[i if len(problem.p4) > 1 else 0]
            chi2, status, n = _fit_one(problem, plan, i, mass2, p4_0, give_up, space)
            result.chi2[i, 0], result.n_iter[i, 0] = chi2, n
            if status == OK:
                p4[i, :, :3], p4[i, :, 3] = space.p, space.energy
        result.status[i, 0] = status


@kernel
def _check(problem: Problem, i: int) -> int:
    """Return OK, or what is wrong with a particle of candidate i."""
    worst = OK
    for k in range(problem.cand.shape[1]):
        row = problem.hypotheses[0, k] if problem.p.shape[1] > 1 else 0
        worst = max(worst, problem.checked[problem.cand[i, k], row])
    return worst
