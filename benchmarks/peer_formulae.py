"""The formulae of the search in plain Python, for numbers (`SCALAR`) and for arrays (`ARRAY`): what the peers share.

They are the textbook forms and share no code with `analysis`, whose constants and cut values they take.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import erfc

from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_PION, P_TO_RADIUS

SCALAR = SimpleNamespace(
    sin=math.sin, cos=math.cos, atan2=math.atan2, hypot=math.hypot, sqrt=math.sqrt, exp=math.exp, erfc=math.erfc,
    copysign=math.copysign, larger=max,
)  # fmt: skip
ARRAY = SimpleNamespace(
    sin=np.sin, cos=np.cos, atan2=np.arctan2, hypot=np.hypot, sqrt=np.sqrt, exp=np.exp, erfc=erfc,
    copysign=np.copysign, larger=np.maximum,
)  # fmt: skip
# e, pi, K
MASSES = (M_ELECTRON, M_PION, M_KAON)
SIGNAL = (2, 2, 0, 0)
KKPIPI = ((2, 1, 2, 1), (2, 1, 1, 2), (1, 2, 2, 1), (1, 2, 1, 2))
OTHERS = ((2, 2, 2, 2), (1, 1, 1, 1))


def distances(m: Any, dr: Any, phi0: Any, kappa: Any, dz: Any, tanl: Any, x: Any, y: Any, z: Any, field: Any) -> Any:
    """Return r_xy and r_z to the interaction point in cm."""
    rho = P_TO_RADIUS / (field * kappa)
    cos, sin = m.cos(phi0), m.sin(phi0)
    cx, cy = (dr - rho) * cos - x, (dr - rho) * sin - y
    side = m.copysign(1.0, kappa)
    turn = m.atan2(side * (sin * cx - cos * cy), -side * (cos * cx + sin * cy))
    return abs(rho - side * m.hypot(cx, cy)), abs(dz + rho * tanl * turn - z)


def momentum_at_ip(
    m: Any, dr: Any, phi0: Any, kappa: Any, tanl: Any, cov: Any, x: Any, y: Any, field: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return (px, py, pz) and (xx, xy, xz, yy, yz, zz) at the interaction point.

    The covariance is that of phi, kappa, tanl there, carried over by the derivatives of the momentum.
    """
    rho = P_TO_RADIUS / (field * kappa)
    cos, sin = m.cos(phi0), m.sin(phi0)
    cx, cy = (dr - rho) * cos - x, (dr - rho) * sin - y
    length2 = cx * cx + cy * cy
    across, along = (cx * sin - cy * cos) / length2, (cx * cos + cy * sin) / length2
    j = (across, (dr - rho) * along, across * rho / kappa)
    c_dd, c_dp, c_dk, c_dt, c_pp, c_pk, c_pt, kk, kt, tt = cov
    ff = j[0] * j[0] * c_dd + j[1] * j[1] * c_pp + j[2] * j[2] * kk
    ff = ff + 2.0 * (j[0] * j[1] * c_dp + j[0] * j[2] * c_dk + j[1] * j[2] * c_pk)
    fk = j[0] * c_dk + j[1] * c_pk + j[2] * kk
    ft = j[0] * c_dt + j[1] * c_pt + j[2] * kt
    pt, side, length = 1.0 / abs(kappa), m.copysign(1.0, kappa), m.sqrt(length2)
    px, py, pz = pt * side * cy / length, -pt * side * cx / length, pt * tanl
    by = ((-py, -px / kappa, 0.0), (px, -py / kappa, 0.0), (0.0, -pz / kappa, pt))

    def element(a: int, b: int) -> Any:
        (af, ak, at), (bf, bk, bt) = by[a], by[b]
        diagonal = af * bf * ff + ak * bk * kk + at * bt * tt
        return diagonal + (af * bk + ak * bf) * fk + (af * bt + at * bf) * ft + (ak * bt + at * bk) * kt

    return (px, py, pz), tuple(element(a, b) for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))


def survival(m: Any, chi2: Any, ndof: int) -> Any:
    """Return the probability to exceed chi2 with 1, 2 or 3 degrees of freedom."""
    if ndof == 2:
        return m.exp(-0.5 * chi2)
    tail = m.erfc(m.sqrt(0.5 * chi2))
    return tail if ndof == 1 else tail + m.sqrt(2.0 * chi2 / math.pi) * m.exp(-0.5 * chi2)


def conversion(m: Any, one: Any, two: Any, field: Any) -> tuple[Any, Any, Any]:
    """Return gap, radius and m(ee) of two tracks (dr, phi0, kappa, tanl) read as a conversion."""
    circles = []
    for dr, phi0, kappa, _ in (one, two):
        rho = P_TO_RADIUS / (field * kappa)
        circles.append(((dr - rho) * m.cos(phi0), (dr - rho) * m.sin(phi0), abs(rho)))
    (x1, y1, r1), (x2, y2, r2) = circles
    distance = m.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / distance, (y2 - y1) / distance
    radius = m.hypot(0.5 * (x1 + x2 + (r1 - r2) * ux), 0.5 * (y1 + y2 + (r1 - r2) * uy))
    (pt1, tan1), (pt2, tan2) = ((1.0 / abs(kappa), tanl) for _, _, kappa, tanl in (one, two))
    energy = m.sqrt(pt1**2 * (1 + tan1**2) + M_ELECTRON**2) + m.sqrt(pt2**2 * (1 + tan2**2) + M_ELECTRON**2)
    m2 = energy**2 - (pt1 + pt2) ** 2 - (pt1 * tan1 + pt2 * tan2) ** 2
    return distance - r1 - r2, radius, m.sqrt(m.larger(m2, 0.0))
