"""The 4C fit once more, in plain numpy: what the compiled fit is checked against; and the covariance of fitted momenta.

It shares nothing with the kernels but the definition of the problem: the full 4 x 4 system of BOSS's
KalmanKinematicFit, W = (A V A^T + V_beam)^-1, G = A (p0 - p) + f, chi2 = G W G, p = p0 - V A^T W G, solved with LAPACK
for all candidates at a time. About 20 times slower.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE
from jpsi_lnv.analysis.kinfit.kernels import Limits, Status

_PACKED = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


def fit(
    p0: FloatArray, v: FloatArray, masses: FloatArray, p4_total: FloatArray, *, spread: float, limits: Limits
) -> tuple[FloatArray, npt.NDArray[np.int8], FloatArray]:
    """Fit candidates under one hypothesis.

    Args:
        p0: (N, 4, 3) measured momenta in GeV/c.
        v: (N, 4, 6) their covariances in (GeV/c)^2.
        masses: (4,) in GeV/c^2.
        p4_total: (4,) initial four-momentum in GeV.
        spread: Energy spread of each beam in GeV.
        limits: When the iteration ends.

    Returns:
        chi2 ``(N,)``, inf where it did not converge, `Status` ``(N,)`` and the fitted momenta ``(N, 4, 3)``.
    """
    covariance = v[..., _PACKED]
    along = np.array([np.sin(HALF_CROSSING_ANGLE), 0.0, 0.0, 1.0])
    beam = 2.0 * spread**2 * np.outer(along, along)
    p = p0.copy()
    chi2 = np.full(len(p0), np.inf)
    is_open = np.ones(len(p0), dtype=np.bool_)
    for _ in range(limits.n_iter):
        at = np.flatnonzero(is_open)
        if not len(at):
            break
        new_chi2, p[at], gap = _step(p0[at], p[at], covariance[at], masses, p4_total, beam)
        has_converged = (np.abs(new_chi2 - chi2[at]) < limits.chi2) & (np.abs(gap) < limits.energy)
        chi2[at] = new_chi2
        is_open[at[has_converged]] = False
    status = np.where(is_open, Status.NOT_CONVERGED, Status.OK).astype(np.int8)
    return np.where(is_open, np.inf, chi2), status, p


def _step(
    p0: FloatArray, p: FloatArray, covariance: FloatArray, masses: FloatArray, p4_total: FloatArray, beam: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return chi2, momenta and remaining energy gap after one linearised fit."""
    energy = np.sqrt((p * p).sum(axis=2) + masses**2)
    a = np.zeros((len(p), 4, 4, 3))
    a[:, :, :3, :] = np.eye(3)
    a[:, :, 3, :] = p / energy[..., None]
    f = np.concatenate([p.sum(axis=1), energy.sum(axis=1, keepdims=True)], axis=1) - p4_total
    g = f + np.einsum("nkaj,nkj->na", a, p0 - p)
    av = a @ covariance
    inner = np.einsum("nkaj,nkbj->nab", av, a) + beam
    lam = np.linalg.solve(inner, g[..., None])[..., 0]
    moved = p0 - np.einsum("nkaj,na->nkj", av, lam)
    moved_energy = np.sqrt((moved * moved).sum(axis=2) + masses**2)
    gap = moved_energy.sum(axis=1) - p4_total[3] - lam @ beam[3]
    return (g * lam).sum(axis=1), moved, gap


def fitted_covariance(
    p4: FloatArray,
    v: FloatArray,
    cand: IntArray,
    hypothesis: npt.ArrayLike,
    *,
    spread: float = 0.0,
) -> FloatArray:
    """Return the covariance of the twelve fitted momentum components of each candidate.

    With the Jacobian A of the four constraints at the fitted momenta and the measured covariance V of all four tracks
    it is V - V A^T (A V A^T + V_beam)^-1 A V. The square roots of the diagonal of V minus it normalise the pulls.

    Args:
        p4: (N, 4, 4) fitted (px, py, pz, E) of `fit_with_momenta`.
        v: (T, S, 6) measured covariances.
        cand: (N, 4) track indices.
        hypothesis: (4,) species of the four tracks.
        spread: Energy spread of each beam in GeV.

    Returns:
        (N, 12, 12) in (GeV/c)^2, ordered track by track; NaN where `p4` is.
    """
    species = np.asarray(hypothesis)
    rows = species if v.shape[1] > 1 else np.zeros(4, dtype=np.int64)
    measured = np.zeros((len(cand), 12, 12))
    jacobian = np.zeros((len(cand), 4, 12))
    for k in range(4):
        at = slice(3 * k, 3 * k + 3)
        measured[:, at, at] = v[cand[:, k], rows[k]][:, _PACKED]
        jacobian[:, :3, at] = np.eye(3)
        jacobian[:, 3, at] = p4[:, k, :3] / p4[:, k, 3:]
    av = jacobian @ measured
    along = np.array([np.sin(HALF_CROSSING_ANGLE), 0.0, 0.0, 1.0])
    beam = 2.0 * spread**2 * np.outer(along, along)
    is_fitted = np.isfinite(p4).all(axis=(1, 2))
    result = np.full_like(measured, np.nan)
    inner = (av @ np.swapaxes(jacobian, 1, 2) + beam)[is_fitted]
    result[is_fitted] = measured[is_fitted] - np.swapaxes(av, 1, 2)[is_fitted] @ np.linalg.solve(inner, av[is_fitted])
    return result
