"""The covariance of fitted momenta."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE

# Element of the packed covariance xx, xy, xz, yy, yz, zz at each place of the matrix.
_PACKED = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


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
        p4: (N, 4, 4) fitted (px, py, pz, E) of `analysis.kinfit.fourc.fit_with_momenta`.
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
