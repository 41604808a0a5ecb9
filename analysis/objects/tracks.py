"""What the tracks of a chunk are at their interaction point: distances, directions, momenta and covariances.

The kernels read the flat columns as they are on disk (float32, one array per column) and compute in float64: every
load is cast by np.float64, as numba's float() leaves a float32 one and sines would be taken in single precision. All
helices are given at the pivot (0, 0, 0); `EventFrame` says where the interaction point is and how strong the field.
The geometry and its derivation stand in `analysis.kinematics`, the plain numpy form of the same formulae.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, RealArray, kernel
from jpsi_lnv.analysis.constants import P_TO_RADIUS, Species
from jpsi_lnv.analysis.events.run_table import IP_SIGMA
from jpsi_lnv.analysis.events.schema import COVARIANCE, HELIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jpsi_lnv.analysis.cuts import Cuts
    from jpsi_lnv.analysis.events.columns import Columns


# The covariance elements that the momentum at the interaction point depends on: every one without dz.
MOMENTUM_COVARIANCE: Final = tuple(f"cov{i}" for i in (0, 1, 2, 4, 5, 6, 8, 9, 11, 14))
# Column suffixes of the hypotheses, in the order of `Species`: a muon has the pion's, whose covariance files have.
# The hypotheses that are fitted where nothing else is asked for.
SUFFIX_OF: Final = ("_e", "", "_k", "_p", "")
FITTED: Final = (Species.E, Species.PI, Species.K)
# What the MDC's own fit says of a copy of another track.
COPY: Final = -222
# Bounds are widened by this factor, so that no rounding lets one decide what the full formula would decide otherwise.
ROUNDING: Final = 1.0 + 1e-9

# In one pass: the arrays in between cost numpy more than the arithmetic.
elementwise = numba.vectorize(cache=True)


class Correction(Protocol):
    """What corrects helices before a fit: see `analysis.objects.helix_correction`."""

    def helix(self, columns: Columns, species: Species, suffix: str, chosen: IntArray) -> tuple[RealArray, ...]:
        """Return the columns dr, phi0, kappa, dz, tanl of one hypothesis, corrected for the chosen tracks."""


class EventFrame(NamedTuple):
    """Which tracks belong to which event, and where and in which field they were measured.

    Attributes:
        offsets: (E+1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        x: (E,) x of the interaction point in cm.
        y: (E,) y of the interaction point in cm.
        z: (E,) z of the interaction point in cm.
        field: (E,) strength of the magnetic field in T.
    """

    offsets: IntArray
    x: RealArray
    y: RealArray
    z: RealArray
    field: RealArray


def read_frame(columns: Columns) -> EventFrame:
    """Return the frame of the tracks in a chunk of events."""
    scalars = (columns.scalar(name) for name in ("ip_x", "ip_y", "ip_z", "field"))
    return EventFrame(columns.offsets("Track"), *scalars)


def read_points(
    columns: Columns, event: IntArray, *, has_spread: bool
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return field (N,) in T, interaction point (N, 3) and its spread (N, 3) in cm of events.

    Args:
        columns: The chunk.
        event: (N,) events.
        has_spread: Whether the spread is wanted; without, it is None.
    """
    names = ("field", "ip_x", "ip_y", "ip_z", *(IP_SIGMA if has_spread else ()))
    field, *rest = (columns.scalar(name)[event].astype(np.float64) for name in names)
    return field, np.stack(rest[:3], axis=-1), np.stack(rest[3:], axis=-1) if has_spread else None


def read_helix(columns: Columns, suffix: str = "") -> tuple[RealArray, ...]:
    """Return the columns dr, phi0, kappa, dz, tanl of one mass hypothesis, each (T,)."""
    return tuple(columns.flat("Track", name + suffix) for name in HELIX)


def read_momenta(
    columns: Columns,
    frame: EventFrame,
    chosen: IntArray | None = None,
    correction: Correction | None = None,
    species: Sequence[Species] = FITTED,
) -> tuple[FloatArray, FloatArray]:
    """Return momenta and covariances at the interaction point under every mass hypothesis the file has.

    Args:
        columns: The chunk.
        frame: Its `EventFrame`.
        chosen: (N,) indices of the tracks to compute, in the order of the result; all where it is left out.
        correction: Corrections of the helices, which give each hypothesis one of its own.
        species: The hypotheses.

    Returns:
        p ``(N, S, 3)`` in GeV/c and v ``(N, S, 6)`` in (GeV/c)^2 as xx, xy, xz, yy, yz, zz: S is the number of
        hypotheses where there is a helix for each, and 1 (one for all) otherwise.
    """
    if chosen is None:
        chosen = np.arange(columns.offsets("Track")[-1])
    sets = [
        momenta_at_ip(helix, [columns.flat("Track", name + suffix) for name in MOMENTUM_COVARIANCE], frame, chosen)
        for helix, suffix in read_sets(columns, chosen, correction, species)
    ]
    if len(sets) == 1:
        return sets[0][0][:, None, :], sets[0][1][:, None, :]
    return np.stack([p for p, _ in sets], axis=1), np.stack([v for _, v in sets], axis=1)


def read_helices(
    columns: Columns, chosen: IntArray, correction: Correction | None, species: Sequence[Species] = FITTED
) -> tuple[FloatArray, FloatArray]:
    """Return helices ``(N, S, 5)`` and covariances ``(N, S, 15)`` of chosen tracks; S as in `read_momenta`."""
    helices, covariances = [], []
    for helix, suffix in read_sets(columns, chosen, correction, species):
        helices.append(np.stack([c[chosen].astype(np.float64) for c in helix], axis=-1))
        of = [columns.flat("Track", name + suffix)[chosen].astype(np.float64) for name in COVARIANCE]
        covariances.append(np.stack(of, axis=-1))
    return np.stack(helices, axis=1), np.stack(covariances, axis=1)


def read_sets(
    columns: Columns, chosen: IntArray, correction: Correction | None, species: Sequence[Species] = FITTED
) -> Iterator[tuple[tuple[RealArray, ...], str]]:
    """Return the helix of each hypothesis, and the suffix of the set that it is from; of one for all, that alone.

    Args:
        columns: The chunk.
        chosen: (N,) indices of the tracks that are corrected.
        correction: Corrections of the helices.
        species: The hypotheses.
    """
    suffixes = [s if columns.has("Track", "dr" + s) else "" for s in (SUFFIX_OF[of] for of in species)]
    if correction is None and not any(suffixes):
        yield read_helix(columns), ""
        return
    for of, suffix in zip(species, suffixes, strict=True):
        if correction is None:
            yield read_helix(columns, suffix), suffix
        else:
            yield correction.helix(columns, of, suffix, chosen), suffix


def momenta_at_ip(
    helix: Sequence[RealArray],
    covariance: Sequence[RealArray],
    frame: EventFrame,
    chosen: IntArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return momenta and their covariances where the tracks pass the interaction point, as BOSS's fit takes them.

    Args:
        helix: dr, phi0, kappa, dz, tanl, each (T,).
        covariance: The ten columns of `MOMENTUM_COVARIANCE`, each (T,).
        frame: Offsets, interaction points and field.
        chosen: (N,) indices of the tracks to compute, in the order of the result; all where it is left out.

    Returns:
        p ``(N, 3)`` in GeV/c and v ``(N, 6)`` in (GeV/c)^2, in the order xx, xy, xz, yy, yz, zz.
    """
    if chosen is None:
        chosen = np.arange(len(helix[0]))
    p, v = np.empty((len(chosen), 3)), np.empty((len(chosen), 6))
    _momenta(frame, _alpha(frame), chosen, _uniform(helix), _uniform(covariance), p, v)
    return p, v


def is_good(helix: Sequence[RealArray], frame: EventFrame, cuts: Cuts) -> BoolArray:
    """Return which tracks lie in the acceptance and come from the interaction point (section III, paragraph 1).

    Most tracks pass so near to the pivot that bounds decide: with b = abs(dr) + the pivot's distance to the interaction
    point, r_xy is at most b, and the way between the two closest approaches at most pi b. The bounds hold for every
    interaction point of the chunk, so that tracks need not be told apart by event. Only the others are computed.

    Args:
        helix: dr, phi0, kappa, dz, tanl, each (T,).
        frame: Offsets, interaction points and field.
        cuts: The requirements.

    Returns:
        (T,) mask: abs(cos theta), r_xy and r_z below their limits.
    """
    columns, limits = _uniform(helix), (cuts.cos_theta_max, cuts.r_xy_max, cuts.r_z_max)
    good, is_open = np.zeros((2, len(columns[0])), dtype=np.bool_)
    _good_near_the_pivot(columns, _reach(frame), limits, good, is_open)
    rest = np.flatnonzero(is_open)
    event = np.searchsorted(frame.offsets, rest, side="right") - 1
    _good(rest, event, frame, _alpha(frame), columns, limits, good)
    return good


def cos_theta(tanl: npt.ArrayLike) -> FloatArray:
    """Return the cosine of the polar angle of tracks with dip tangents `tanl`."""
    return np.asarray(_cos_theta(tanl))


def momentum(kappa: npt.ArrayLike, tanl: npt.ArrayLike) -> FloatArray:
    """Return the momentum in GeV/c of tracks with curvatures `kappa` and dip tangents `tanl`; inf for kappa = 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(_momentum_of(kappa, tanl))


@elementwise
def _cos_theta(tanl: float) -> float:
    t = np.float64(tanl)
    return t / math.sqrt(1.0 + t * t)


@elementwise
def _momentum_of(kappa: float, tanl: float) -> float:
    t = np.float64(tanl)
    return math.sqrt(1.0 + t * t) / abs(np.float64(kappa))


def _alpha(frame: EventFrame) -> FloatArray:
    """Return the radius per transverse momentum, 333.564 cm T/(GeV/c) over the field, (E,).

    The kernels take it as an argument: numba's cache knows the changes of its own file alone, not those of a constant
    in another one.
    """
    return P_TO_RADIUS / np.asarray(frame.field, dtype=np.float64)


def _uniform(columns: Sequence[RealArray]) -> tuple[RealArray, ...]:
    """Return contiguous columns of one floating type: what a kernel takes as one tuple."""
    dtype = np.result_type(np.float32, *columns)
    return tuple(np.ascontiguousarray(c, dtype=dtype) for c in columns)


@kernel
def _centre(
    dr: float, phi0: float, kappa: float, x: float, y: float, alpha: float
) -> tuple[float, float, float, float, float]:
    """Return the circle's centre seen from (x, y), its signed radius rho, and the cosine and sine of phi0."""
    rho = alpha / kappa
    cos, sin = math.cos(phi0), math.sin(phi0)
    return (dr - rho) * cos - x, (dr - rho) * sin - y, rho, cos, sin


@kernel
def _distance(
    frame: EventFrame, alpha: FloatArray, helix: tuple[RealArray, ...], event: int, t: int
) -> tuple[float, float]:
    """Return r_xy and r_z of track t."""
    x, y, z = np.float64(frame.x[event]), np.float64(frame.y[event]), np.float64(frame.z[event])
    phi0, kappa = np.float64(helix[1][t]), np.float64(helix[2][t])
    cx, cy, rho, cos, sin = _centre(np.float64(helix[0][t]), phi0, kappa, x, y, alpha[event])
    side = math.copysign(1.0, kappa)
    across, along = side * (sin * cx - cos * cy), -side * (cos * cx + sin * cy)
    # atan and sqrt take 60 % of the time of atan2 and hypot; few tracks turn by more than 90 degrees.
    turn = math.atan(across / along) if along > 0.0 else math.atan2(across, along)
    r_xy = abs(rho - side * math.sqrt(cx * cx + cy * cy))
    return r_xy, abs(np.float64(helix[3][t]) + rho * np.float64(helix[4][t]) * turn - z)


@kernel
def _is_inside(tanl: float, cos_theta_max: float) -> bool:
    """Whether abs(cos theta) lies below its limit; the squares decide unless they are as good as equal."""
    square, limit = tanl * tanl, cos_theta_max * cos_theta_max * (1.0 + tanl * tanl)
    if ROUNDING * square < limit:
        return True
    if square > ROUNDING * limit:
        return False
    return abs(tanl / math.sqrt(1.0 + square)) < cos_theta_max


def _reach(frame: EventFrame) -> tuple[float, float]:
    """Return bounds on the distance of any event's interaction point to the pivot, in xy and in z."""
    reach = [float(np.max(np.abs(values), initial=0.0)) for values in (frame.x, frame.y, frame.z)]
    return reach[0] + reach[1], reach[2]


@kernel
def _good_near_the_pivot(
    helix: tuple[RealArray, ...],
    reach: tuple[float, float],
    limits: tuple[float, float, float],
    good: BoolArray,
    is_open: BoolArray,
) -> None:
    """Decide what bounds decide, wherever in reach the interaction point lies; leave the other tracks open."""
    cos_theta_max, r_xy_max, r_z_max = limits
    for t in range(len(good)):
        kappa, tanl = np.float64(helix[2][t]), np.float64(helix[4][t])
        is_helix = kappa != 0.0 and math.isfinite(np.float64(helix[1][t]) + kappa)
        in_acceptance = is_helix and _is_inside(tanl, cos_theta_max)
        near = ROUNDING * (abs(np.float64(helix[0][t])) + reach[0])
        along = ROUNDING * (abs(np.float64(helix[3][t])) + reach[1]) + math.pi * near * abs(tanl)
        good[t] = in_acceptance and near < r_xy_max and along < r_z_max
        is_open[t] = in_acceptance and not good[t]


@kernel
def _good(
    rest: IntArray,
    event: IntArray,
    frame: EventFrame,
    alpha: FloatArray,
    helix: tuple[RealArray, ...],
    limits: tuple[float, float, float],
    good: BoolArray,
) -> None:
    for i, t in enumerate(rest):
        r_xy, r_z = _distance(frame, alpha, helix, event[i], t)
        good[t] = r_xy < limits[1] and r_z < limits[2]


@kernel
def _momenta(
    frame: EventFrame,
    alpha: FloatArray,
    chosen: IntArray,
    helix: tuple[RealArray, ...],
    cov: tuple[RealArray, ...],
    p: FloatArray,
    v: FloatArray,
) -> None:
    event = 0
    for i, t in enumerate(chosen):
        while t >= frame.offsets[event + 1]:
            event += 1
        while t < frame.offsets[event]:
            event -= 1
        x, y = np.float64(frame.x[event]), np.float64(frame.y[event])
        _momentum(t, helix, cov, x, y, alpha[event], p[i], v[i])


@kernel
def _momentum(
    t: int,
    helix: tuple[RealArray, ...],
    cov: tuple[RealArray, ...],
    x: float,
    y: float,
    alpha: float,
    p: FloatArray,
    v: FloatArray,
) -> None:
    kappa, tanl = np.float64(helix[2][t]), np.float64(helix[4][t])
    cx, cy, rho, cos, sin = _centre(np.float64(helix[0][t]), np.float64(helix[1][t]), kappa, x, y, alpha)
    length = math.hypot(cx, cy)
    side, pt = math.copysign(1.0, kappa), 1.0 / abs(kappa)
    # Derivatives of the azimuth at the interaction point by dr, phi0 and kappa: it turns as the centre does.
    across = (cx * sin - cy * cos) / length**2
    along = (cx * cos + cy * sin) / length**2
    by_dr, by_phi0, by_kappa = across, (np.float64(helix[0][t]) - rho) * along, across * rho / kappa
    c0, c1, c2, c4 = np.float64(cov[0][t]), np.float64(cov[1][t]), np.float64(cov[2][t]), np.float64(cov[3][t])
    c5, c6, c8 = np.float64(cov[4][t]), np.float64(cov[5][t]), np.float64(cov[6][t])
    kk, kt, tt = np.float64(cov[7][t]), np.float64(cov[8][t]), np.float64(cov[9][t])
    fk = by_dr * c2 + by_phi0 * c6 + by_kappa * kk
    ft = by_dr * c4 + by_phi0 * c8 + by_kappa * kt
    ff = by_dr * (by_dr * c0 + 2.0 * by_phi0 * c1) + by_phi0 * by_phi0 * c5
    ff += by_kappa * (2.0 * (by_dr * c2 + by_phi0 * c6) + by_kappa * kk)
    px, py, pz = pt * side * cy / length, -pt * side * cx / length, pt * tanl
    p[0], p[1], p[2] = px, py, pz
    # p = pt (-sin phi, cos phi, tanl): d/dphi = (-py, px, 0), d/dkappa = -p/kappa, d/dtanl = (0, 0, pt).
    gk, gt = fk / kappa, pt * ft
    gkk, gkt = kk / kappa**2, pt * kt / kappa
    v[0] = py * py * ff + 2.0 * px * py * gk + px * px * gkk
    v[1] = -px * py * ff + (py * py - px * px) * gk + px * py * gkk
    v[2] = -py * gt + py * pz * gk + px * pz * gkk - px * gkt
    v[3] = px * px * ff - 2.0 * px * py * gk + py * py * gkk
    v[4] = px * gt - px * pz * gk + py * pz * gkk - py * gkt
    v[5] = pz * pz * gkk - 2.0 * pz * gkt + pt * pt * tt
