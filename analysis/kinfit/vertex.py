"""The fit of four tracks to a common vertex, before the 4C fit: momenta where the particles come from, not at the beam.

A track passes a point V if its distances dr and dz vanish once the pivot is moved to V. With the measured distances
d_i(V), their covariance G_i there and D_i = d d_i/dV, one step towards the smallest chi2 is

    A = sum D_i G_i^-1 D_i + S^-1,   V -> V - A^-1 (sum D_i G_i^-1 d_i + S^-1 (V - V0))
    chi2 = sum d_i G_i^-1 d_i + (V - V0) S^-1 (V - V0)

S is the spread of the collisions about the interaction point V0; without it the vertex is free, with 5 degrees of
freedom. Then the helices a_i, of covariance C_i at V, become those that pass V:

    a_i -> a_i - C_id G_i^-1 d_i,   C_i -> C_i - C_id G_i^-1 C_di + C_id G_i^-1 D_i A^-1 D_i G_i^-1 C_di

(C_id: the columns of dr and dz). As analysts run BOSS's VertexFit and Swim, the tracks count as independent afterwards.

Source: P. Billoir, S. Qian, NIM A 311 (1992) 139, doi:10.1016/0168-9002(92)90859-3; bounds of BOSS's VertexFit.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray, kernel
from jpsi_lnv.analysis.constants import P_TO_RADIUS
from jpsi_lnv.analysis.kinfit.kernels import MINOR_MIN, Status

OK: Final = int(Status.OK)
NOT_CONVERGED: Final = int(Status.NOT_CONVERGED)
BAD_COVARIANCE: Final = int(Status.BAD_COVARIANCE)
NOT_FINITE: Final = int(Status.NOT_FINITE)
ABOVE: Final = int(Status.ABOVE)

N_TRACKS: Final = 4
NDF: Final = 2 * N_TRACKS - 3
# Rows and columns of the upper triangle of a helix's covariance, as it is stored.
_ROWS, _COLUMNS = np.triu_indices(5)


class VertexLimits(NamedTuple):
    """When the iteration ends, and which vertices count; the defaults are BOSS's.

    Attributes:
        chi2: Largest change of chi2 in the last step.
        n_iter: Largest number of iterations.
        chi2_max: chi2 above which there is no vertex.
    """

    chi2: float = 1e-3
    n_iter: int = 10
    chi2_max: float = 1000.0


DEFAULT_LIMITS: Final = VertexLimits()


class VertexFit(NamedTuple):
    """Common vertices of N candidates.

    Attributes:
        position: (N, 3) in cm.
        chi2: (N,); inf where the fit failed.
        status: (N,) values of `Status`; ABOVE: a chi2 too large.
        p: (4 N, 3) momenta of the tracks at the vertex in GeV/c, those of candidate i from row 4 i on; NaN unless OK.
        v: (4 N, 6) their covariances in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
    """

    position: FloatArray
    chi2: FloatArray
    status: npt.NDArray[np.int8]
    p: FloatArray
    v: FloatArray


def fit(
    helix: FloatArray,
    covariance: FloatArray,
    field: FloatArray,
    point: FloatArray,
    spread: FloatArray | None = None,
    limits: VertexLimits = DEFAULT_LIMITS,
) -> VertexFit:
    """Fit the tracks of every candidate to a common vertex.

    Args:
        helix: (N, 4, 5) dr, phi0, kappa, dz, tanl about the pivot (0, 0, 0).
        covariance: (N, 4, 15) upper triangles of their covariances, row by row.
        field: (N,) magnetic field in T.
        point: (N, 3) interaction point in cm, where the search for the vertex begins.
        spread: (N, 3) spread of the collisions about it in cm, which holds the vertex; None: it is free.
        limits: When the iteration ends, and which vertices count.
    """
    n = len(helix)
    full = np.empty((n, N_TRACKS, 5, 5))
    full[..., _ROWS, _COLUMNS] = covariance
    full[..., _COLUMNS, _ROWS] = covariance
    weight = np.zeros((n, 3)) if spread is None else 1.0 / np.square(np.asarray(spread, dtype=np.float64))
    found = VertexFit(
        np.array(point, dtype=np.float64).reshape(-1, 3),
        np.full(n, np.inf),
        np.full(n, NOT_CONVERGED, dtype=np.int8),
        np.full((N_TRACKS * n, 3), np.nan),
        np.full((N_TRACKS * n, 6), np.nan),
    )
    alpha = P_TO_RADIUS / np.asarray(field, dtype=np.float64)
    _fit_all(np.ascontiguousarray(helix, dtype=np.float64), full, alpha, found.position.copy(), weight, limits, found)
    return found


@kernel
def _moved(
    helix: FloatArray, covariance: FloatArray, alpha: float, at: FloatArray, new: FloatArray, error: FloatArray
) -> None:
    """Move the pivot of a helix from the origin to `at`: the new parameters (5,) and their covariance (5, 5)."""
    dr, phi0, kappa, dz, tanl = helix[0], helix[1], helix[2], helix[3], helix[4]
    rho, cos, sin = alpha / kappa, math.cos(phi0), math.sin(phi0)
    cx, cy = (dr - rho) * cos - at[0], (dr - rho) * sin - at[1]
    side, length = math.copysign(1.0, kappa), math.hypot(cx, cy)
    across, along = (cx * sin - cy * cos) / length**2, (cx * cos + cy * sin) / length**2
    turn = math.atan2(side * across, -side * along)
    new[0], new[1], new[2] = rho - side * length, phi0 + turn, kappa
    new[3], new[4] = dz + rho * tanl * turn - at[2], tanl
    jacobian = np.zeros((5, 5))
    jacobian[0, 0], jacobian[0, 1] = -side * along * length, side * (dr - rho) * across * length
    jacobian[0, 2] = -rho / kappa * (1.0 + side * along * length)
    jacobian[1, 0], jacobian[1, 1], jacobian[1, 2] = across, (dr - rho) * along, across * rho / kappa
    jacobian[2, 2] = jacobian[3, 3] = jacobian[4, 4] = 1.0
    jacobian[3, 0], jacobian[3, 1] = rho * tanl * across, rho * tanl * (jacobian[1, 1] - 1.0)
    jacobian[3, 2] = rho * tanl * (jacobian[1, 2] - turn / kappa)
    jacobian[3, 4] = rho * turn
    error[:] = jacobian @ covariance @ jacobian.T


@kernel
def _by_vertex(helix: FloatArray, alpha: float, slope: FloatArray) -> None:
    """Fill the derivatives (2, 3) of dr and dz by the pivot, of a helix about the pivot."""
    cos, sin, rho = math.cos(helix[1]), math.sin(helix[1]), alpha / helix[2]
    # The closest point moves along the track by as much as the pivot does, seen from the centre of the circle.
    along = helix[4] * rho / (rho - helix[0])
    slope[0, 0], slope[0, 1], slope[0, 2] = -cos, -sin, 0.0
    slope[1, 0], slope[1, 1], slope[1, 2] = -along * sin, along * cos, -1.0


@kernel
def _inverse2(error: FloatArray, weight: FloatArray) -> bool:
    """Fill the inverse (2, 2) of the covariance of dr and dz; False where it has none."""
    a, b, c = error[0, 0], error[0, 3], error[3, 3]
    determinant = a * c - b * b
    if not (a > 0.0 and determinant > 0.0):
        return False
    weight[0, 0], weight[0, 1] = c / determinant, -b / determinant
    weight[1, 0], weight[1, 1] = weight[0, 1], a / determinant
    return True


@kernel
def _fit_all(
    helix: FloatArray,
    covariance: FloatArray,
    alpha: FloatArray,
    point: FloatArray,
    hold: FloatArray,
    limits: VertexLimits,
    found: VertexFit,
) -> None:
    moved, error = np.empty((N_TRACKS, 5)), np.empty((N_TRACKS, 5, 5))
    weight, slope = np.empty((N_TRACKS, 2, 2)), np.empty((N_TRACKS, 2, 3))
    vertex_error = np.empty((3, 3))
    for i in range(len(helix)):
        at = found.position[i]
        if not math.isfinite(helix[i].sum() + covariance[i].sum() + at.sum() + hold[i].sum()):
            found.status[i] = NOT_FINITE
            continue
        previous = np.inf
        for _ in range(limits.n_iter):
            chi2 = _approach(helix[i], covariance[i], alpha[i], at, moved, error, weight, slope)
            chi2 += (hold[i] * (at - point[i]) ** 2).sum()
            if not (math.isfinite(chi2) and _inverse3(_curvature(hold[i], weight, slope), vertex_error)):
                found.status[i] = BAD_COVARIANCE
                break
            if abs(chi2 - previous) < limits.chi2:
                found.chi2[i], found.status[i] = chi2, OK if chi2 <= limits.chi2_max else ABOVE
                break
            previous = chi2
            at -= vertex_error @ _gradient(hold[i] * (at - point[i]), moved, weight, slope)
        if found.status[i] == OK:
            _momenta(i, vertex_error, moved, error, weight, slope, found)


@kernel
def _approach(
    helix: FloatArray,
    covariance: FloatArray,
    alpha: float,
    at: FloatArray,
    moved: FloatArray,
    error: FloatArray,
    weight: FloatArray,
    slope: FloatArray,
) -> float:
    """Move the helices to a vertex and return the chi2 of the tracks there, NaN for a bad covariance."""
    chi2 = 0.0
    for k in range(N_TRACKS):
        _moved(helix[k], covariance[k], alpha, at, moved[k], error[k])
        _by_vertex(moved[k], alpha, slope[k])
        if not _inverse2(error[k], weight[k]):
            return np.nan
        chi2 += moved[k, 0] * (weight[k, 0, 0] * moved[k, 0] + 2.0 * weight[k, 0, 1] * moved[k, 3])
        chi2 += moved[k, 3] * weight[k, 1, 1] * moved[k, 3]
    return chi2


@kernel
def _curvature(hold: FloatArray, weight: FloatArray, slope: FloatArray) -> FloatArray:
    """Return the matrix A (3, 3) of the step."""
    total = np.diag(hold)
    for k in range(N_TRACKS):
        total += slope[k].T @ weight[k] @ slope[k]
    return total


@kernel
def _gradient(start: FloatArray, moved: FloatArray, weight: FloatArray, slope: FloatArray) -> FloatArray:
    """Return half the derivative (3,) of chi2 by the vertex, to which the point contributes `start`."""
    total = start.copy()
    for k in range(N_TRACKS):
        total += slope[k].T @ (weight[k] @ np.array([moved[k, 0], moved[k, 3]]))
    return total


@kernel
def _inverse3(m: FloatArray, inverse: FloatArray) -> bool:
    """Fill the inverse of a symmetric matrix (3, 3); False where it is not positive, as for parallel tracks."""
    xx, xy, xz, yy, yz, zz = m[0, 0], m[0, 1], m[0, 2], m[1, 1], m[1, 2], m[2, 2]
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * a + xy * b + xz * c
    if not (determinant > MINOR_MIN * xx * yy * zz > 0.0):
        return False
    inverse[0, 0], inverse[1, 1], inverse[2, 2] = a, xx * zz - xz * xz, xx * yy - xy * xy
    inverse[0, 1] = inverse[1, 0] = b
    inverse[0, 2] = inverse[2, 0] = c
    inverse[1, 2] = inverse[2, 1] = xy * xz - xx * yz
    inverse /= determinant
    return True


@kernel
def _momenta(
    i: int,
    vertex_error: FloatArray,
    moved: FloatArray,
    error: FloatArray,
    weight: FloatArray,
    slope: FloatArray,
    found: VertexFit,
) -> None:
    """Fill the momenta of the tracks that pass the vertex, and their covariances."""
    for k in range(N_TRACKS):
        gain = np.empty((5, 2))
        for j in range(5):
            for axis in range(2):
                gain[j, axis] = error[k, j, 0] * weight[k, 0, axis] + error[k, j, 3] * weight[k, 1, axis]
        left = np.ascontiguousarray(gain @ slope[k])
        helix = moved[k] - gain @ np.array([moved[k, 0], moved[k, 3]])
        across = np.empty((2, 5))
        across[0], across[1] = error[k, 0], error[k, 3]
        c = error[k] - gain @ across + left @ vertex_error @ left.T
        phi, kappa, tanl, pt = helix[1], helix[2], helix[4], 1.0 / abs(helix[2])
        p = np.array([-pt * math.sin(phi), pt * math.cos(phi), pt * tanl])
        by = np.zeros((3, 5))
        by[0, 1], by[1, 1], by[2, 4] = -p[1], p[0], pt
        by[:, 2] = -p / kappa
        v = by @ c @ by.T
        row = N_TRACKS * i + k
        found.p[row] = p
        found.v[row, 0], found.v[row, 1], found.v[row, 2] = v[0, 0], v[0, 1], v[0, 2]
        found.v[row, 3], found.v[row, 4], found.v[row, 5] = v[1, 1], v[1, 2], v[2, 2]
