"""The veto of photon conversions gamma -> e+ e- in the beam pipe and the inner wall of the drift chamber.

Every electron is paired with every opposite-sign good track read as an electron. The two tracks of a conversion leave
one point in the same direction, so their circles in the transverse plane touch there, outside each other. The point is
looked for on the line between the two centres, as BOSS's GammaConv does. A conversion is a pair whose circles touch,
with a small m(ee) there, at the radius of the material. The radius alone says nothing: the circles of two prompt tracks
that leave at a wide angle overlap deeply, and the middle of the overlap lies anywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, RealArray, kernel
from jpsi_lnv.analysis.constants import M_ELECTRON, P_TO_RADIUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jpsi_lnv.analysis.cuts import Cuts


class Pairs(NamedTuple):
    """Pairs of an electron and an opposite-sign track, read as e+ e-.

    Attributes:
        electron: (P,) track index of the electron.
        partner: (P,) track index of the other track.
        radius: (P,) distance of the conversion point to the detector's axis in cm.
        delta_xy: (P,) gap between the circles in cm; negative where they overlap.
        m_ee: (P,) invariant mass of the pair at the conversion point in GeV/c^2.
    """

    electron: IntArray
    partner: IntArray
    radius: FloatArray
    delta_xy: FloatArray
    m_ee: FloatArray

    def of(self, chosen: BoolArray) -> Pairs:
        """Return the pairs that a mask (P,) selects."""
        return Pairs(*(values[chosen] for values in self))  # type: ignore[arg-type] # types of fields get lost in a loop


def find_pairs(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    electrons: IntArray,
    event: IntArray,
    is_partner: BoolArray,
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the track indices of every electron and opposite-sign partner of the same event.

    A pair of two electrons appears twice, once from each side: both are vetoed.

    Args:
        offsets: (E + 1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        charge: (T,) charge of each track.
        electrons: (N,) track indices of the tracks the veto is applied to.
        event: (N,) their events.
        is_partner: (T,) tracks they are paired with.

    Returns:
        Electron, partner and their event, each (P,).
    """
    # Room for every electron with every track of its event.
    pairs = np.empty((3, int((offsets[event + 1] - offsets[event]).sum())), dtype=np.int64)
    n = _fill_pairs(offsets, charge, electrons, event, is_partner, pairs)
    return pairs[0, :n], pairs[1, :n], pairs[2, :n]


def geometry(
    electron: IntArray, partner: IntArray, event: IntArray, helix: Sequence[RealArray], field: RealArray
) -> Pairs:
    """Return the conversion geometry of pairs of tracks.

    Args:
        electron: (P,) track index of the electron.
        partner: (P,) track index of its partner.
        event: (P,) their event.
        helix: dr, phi0, kappa, dz, tanl, each (T,), at the pivot (0, 0, 0), electron hypothesis where there is one.
        field: (E,) magnetic field in T.

    Returns:
        The pairs; the order is that of the arguments.
    """
    alpha = P_TO_RADIUS / np.asarray(field, dtype=np.float64)[event]
    dr, phi0, kappa, _, tanl = (np.ascontiguousarray(c) for c in helix)
    out = np.empty((3, len(electron)))
    _geometry(electron, partner, (dr, phi0, kappa), tanl, alpha, M_ELECTRON**2, out)
    return Pairs(electron, partner, *out)


def is_conversion(pairs: Pairs, cuts: Cuts) -> BoolArray:
    """Return the pairs whose circles touch, at the radius of the material, with a small m(ee), shape (P,)."""
    touches = np.abs(pairs.delta_xy) < cuts.conversion_delta_xy_max
    in_material = (pairs.radius > cuts.conversion_radius_min) & (pairs.radius < cuts.conversion_radius_max)
    return touches & in_material & (pairs.m_ee < cuts.conversion_m_ee_max)


def in_turn(pairs: Pairs, cuts: Cuts) -> dict[str, FloatArray]:
    """Return each variable of the veto for the pairs that the requirements before it take for conversions.

    First the gap of all pairs, then the radius of those that touch, then m(ee) of those that touch in the material.
    """
    touches = np.abs(pairs.delta_xy) < cuts.conversion_delta_xy_max
    in_material = touches & (pairs.radius > cuts.conversion_radius_min) & (pairs.radius < cuts.conversion_radius_max)
    return {"delta_xy": pairs.delta_xy, "radius": pairs.radius[touches], "m_ee": pairs.m_ee[in_material]}


def nearest(pairs: Pairs, electrons: IntArray) -> dict[str, FloatArray]:
    """Return gap, radius and m(ee) of the pair with the smallest m(ee) of each electron, (N,); NaN without any pair."""
    order = np.argsort(pairs.m_ee, kind="stable")
    tracks, first = np.unique(pairs.electron[order], return_index=True)
    place = np.searchsorted(tracks, electrons)
    has_pair = np.isin(electrons, tracks)
    row = np.zeros(len(electrons), dtype=np.int64)
    row[has_pair] = order[first[place[has_pair]]]
    columns = {"delta_xy": pairs.delta_xy, "radius": pairs.radius, "m_ee": pairs.m_ee}
    return {
        name: np.where(has_pair, values[row] if len(values) else np.nan, np.nan) for name, values in columns.items()
    }


def closest_radius(pairs: Pairs, electrons: IntArray) -> FloatArray:
    """Return the radius in cm of the pair with the smallest m(ee) of each candidate, shape (B,); inf without any pair.

    Args:
        pairs: The pairs of all electrons.
        electrons: (B, n) track indices of the electrons of each candidate, which may have none.
    """
    if not electrons.shape[1]:
        return np.full(len(electrons), np.inf)
    n_tracks = int(electrons.max(initial=-1)) + 1
    m_ee, radius = np.full(n_tracks, np.inf), np.full(n_tracks, np.inf)
    _closest(pairs.electron, pairs.m_ee, pairs.radius, m_ee, radius)
    first = np.argmin(m_ee[electrons], axis=1)
    return np.asarray(radius[np.take_along_axis(electrons, first[:, None], axis=1)[:, 0]])


@kernel
def _fill_pairs(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    electrons: IntArray,
    event: IntArray,
    is_partner: BoolArray,
    pairs: IntArray,
) -> int:
    """Write the pairs and return their number."""
    n = 0
    for i, first in enumerate(electrons):
        for second in range(offsets[event[i]], offsets[event[i] + 1]):
            if is_partner[second] and charge[first] * charge[second] < 0:
                pairs[0, n], pairs[1, n], pairs[2, n] = first, second, event[i]
                n += 1
    return n


@kernel
def _closest(
    electron: IntArray, m_ee: FloatArray, radius: FloatArray, smallest: FloatArray, radius_there: FloatArray
) -> None:
    """Keep of every electron's pairs the smallest m(ee) and the radius of that pair; of equal ones the last."""
    for i in range(len(electron)):
        if m_ee[i] <= smallest[electron[i]]:
            smallest[electron[i]], radius_there[electron[i]] = m_ee[i], radius[i]


@kernel
def _circle(helix: tuple[RealArray, ...], t: int, alpha: float) -> tuple[float, float, float, float]:
    """Return the centre of a track's circle, its radius and the track's transverse momentum."""
    dr, phi0, kappa = np.float64(helix[0][t]), np.float64(helix[1][t]), np.float64(helix[2][t])
    along = dr - alpha / kappa
    return along * math.cos(phi0), along * math.sin(phi0), abs(alpha / kappa), 1.0 / abs(kappa)


@kernel
def _geometry(
    electron: IntArray,
    partner: IntArray,
    helix: tuple[RealArray, ...],
    tanl: RealArray,
    alpha: FloatArray,
    mass2: float,
    out: FloatArray,
) -> None:
    for i in range(len(electron)):
        x1, y1, r1, pt1 = _circle(helix, electron[i], alpha[i])
        x2, y2, r2, pt2 = _circle(helix, partner[i], alpha[i])
        distance = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
        ux, uy = (x2 - x1) / distance, (y2 - y1) / distance
        # Middle of the two points where the line of centres leaves the circles.
        x = 0.5 * (x1 + x2 + (r1 - r2) * ux)
        y = 0.5 * (y1 + y2 + (r1 - r2) * uy)
        out[0, i] = math.sqrt(x * x + y * y)
        out[1, i] = distance - r1 - r2
        # There both transverse momenta lie along the common tangent: only the dip angles differ.
        tan1, tan2 = np.float64(tanl[electron[i]]), np.float64(tanl[partner[i]])
        e1 = math.sqrt(pt1 * pt1 * (1.0 + tan1 * tan1) + mass2)
        e2 = math.sqrt(pt2 * pt2 * (1.0 + tan2 * tan2) + mass2)
        m2 = (e1 + e2) ** 2 - (pt1 + pt2) ** 2 - (pt1 * tan1 + pt2 * tan2) ** 2
        out[2, i] = math.sqrt(max(m2, 0.0))
