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

import numba
import numpy as np
import numpy.typing as npt

from analysis.constants import M_ELECTRON, P_TO_RADIUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.cuts import Cuts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Column = npt.NDArray[np.floating]

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


class Pairs(NamedTuple):
    """Pairs of an electron and an opposite-sign track, read as e+ e-.

    Attributes:
        electron: (P,) track index of the electron.
        partner: (P,) track index of the other track.
        radius: (P,) distance of the conversion point to the detector's axis in cm.
        delta_xy: (P,) gap between the circles in cm; negative where they overlap.
        opening_angle: (P,) angle between the momenta at the conversion point in rad.
        m_ee: (P,) invariant mass of the pair at the conversion point in GeV/c^2.
    """

    electron: IntArray
    partner: IntArray
    radius: FloatArray
    delta_xy: FloatArray
    opening_angle: FloatArray
    m_ee: FloatArray


def find_pairs(
    offsets: IntArray, charge: npt.NDArray[np.integer], is_electron: BoolArray, is_partner: BoolArray
) -> tuple[IntArray, IntArray]:
    """Return the track indices of every electron and opposite-sign partner of the same event.

    A pair of two electrons appears twice, once from each side: both are vetoed.

    Args:
        offsets: (E + 1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        charge: (T,) charge of each track.
        is_electron: (T,) tracks the veto is applied to.
        is_partner: (T,) tracks they are paired with.

    Returns:
        Electron and partner, each (P,).
    """
    n = np.diff(offsets)
    electron = np.flatnonzero(is_electron)
    event = _event_of_track(offsets)[electron]
    first = np.repeat(electron, n[event])
    start = np.repeat(offsets[event], n[event])
    within = np.arange(len(first)) - np.repeat(np.cumsum(n[event]) - n[event], n[event])
    second = start + within
    is_pair = is_partner[second] & (charge[first].astype(np.int64) * charge[second] < 0)
    return first[is_pair], second[is_pair]


def _event_of_track(offsets: IntArray) -> IntArray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def geometry(electron: IntArray, partner: IntArray, helix: Sequence[Column], field: Column, offsets: IntArray) -> Pairs:
    """Return the conversion geometry of pairs of tracks.

    Args:
        electron: (P,) track index of the electron.
        partner: (P,) track index of its partner.
        helix: dr, phi0, kappa, dz, tanl, each (T,), at the pivot (0, 0, 0), electron hypothesis where there is one.
        field: (E,) magnetic field in T.
        offsets: (E + 1,) offsets of the tracks.

    Returns:
        The pairs; the order is that of the arguments.
    """
    at = _event_of_track(offsets)[electron]
    alpha = P_TO_RADIUS / np.asarray(field, dtype=np.float64)[at]
    one, two = ([np.asarray(c)[i].astype(np.float64) for c in helix] for i in (electron, partner))
    out = np.empty((4, len(electron)))
    _geometry(tuple(one), tuple(two), alpha, M_ELECTRON**2, out)
    return Pairs(electron, partner, *out)


def is_conversion(pairs: Pairs, cuts: Cuts) -> BoolArray:
    """Return the pairs whose circles touch, at the radius of the material, with a small m(ee), shape (P,)."""
    touches = np.abs(pairs.delta_xy) < cuts.conversion_delta_xy_max
    in_material = (pairs.radius > cuts.conversion_radius_min) & (pairs.radius < cuts.conversion_radius_max)
    return touches & in_material & (pairs.m_ee < cuts.conversion_m_ee_max)


def conversion_electrons(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    helix: Sequence[Column],
    field: Column,
    is_electron: BoolArray,
    is_good: BoolArray,
    is_kaon: BoolArray,
    cuts: Cuts,
) -> BoolArray:
    """Return the electrons that form a conversion with any partner, shape (T,).

    Args:
        offsets: (E + 1,) offsets of the tracks.
        charge: (T,) charge of each track.
        helix: dr, phi0, kappa, dz, tanl, each (T,).
        field: (E,) magnetic field in T.
        is_electron: (T,) tracks the veto is applied to.
        is_good: (T,) good tracks.
        is_kaon: (T,) tracks read as kaons: partners too, unless ``cuts.conversion_partners`` is "not_kaons".
        cuts: The requirements.

    Returns:
        (T,) mask.
    """
    is_partner = is_good if cuts.conversion_partners == "all" else is_good & ~is_kaon
    pairs = geometry(*find_pairs(offsets, charge, is_electron, is_partner), helix, field, offsets)
    vetoed = np.zeros(len(charge), dtype=np.bool_)
    vetoed[pairs.electron[is_conversion(pairs, cuts)]] = True
    return vetoed


@kernel
def _circle(helix: tuple[FloatArray, ...], i: int, alpha: float) -> tuple[float, float, float]:
    """Return the centre of a track's circle and its radius in cm."""
    rho, along = alpha / helix[2][i], helix[0][i] - alpha / helix[2][i]
    return along * math.cos(helix[1][i]), along * math.sin(helix[1][i]), abs(rho)


@kernel
def _geometry(
    one: tuple[FloatArray, ...], two: tuple[FloatArray, ...], alpha: FloatArray, mass2: float, out: FloatArray
) -> None:
    for i in range(len(alpha)):
        x1, y1, r1 = _circle(one, i, alpha[i])
        x2, y2, r2 = _circle(two, i, alpha[i])
        distance = math.hypot(x2 - x1, y2 - y1)
        ux, uy = (x2 - x1) / distance, (y2 - y1) / distance
        # Middle of the two points where the line of centres leaves the circles.
        x = 0.5 * (x1 + x2 + (r1 - r2) * ux)
        y = 0.5 * (y1 + y2 + (r1 - r2) * uy)
        out[0, i] = math.hypot(x, y)
        out[1, i] = distance - r1 - r2
        # There both transverse momenta lie along the common tangent: only the dip angles differ.
        tan1, tan2 = one[4][i], two[4][i]
        out[2, i] = abs(math.atan(tan1) - math.atan(tan2))
        pt1, pt2 = 1.0 / abs(one[2][i]), 1.0 / abs(two[2][i])
        e1 = math.sqrt(pt1 * pt1 * (1.0 + tan1 * tan1) + mass2)
        e2 = math.sqrt(pt2 * pt2 * (1.0 + tan2 * tan2) + mass2)
        m2 = (e1 + e2) ** 2 - (pt1 + pt2) ** 2 - (pt1 * tan1 + pt2 * tan2) ** 2
        out[3, i] = math.sqrt(max(m2, 0.0))
