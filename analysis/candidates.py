"""Combinations of the selected tracks that a channel or its conjugate may be, and the best one of each event.

The best one is that with the smallest chi2 of the 4C fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.channel import KKEE, Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.kinematics import four_momentum
from jpsi_lnv.analysis.kinfit import constrained, fourc, vertex
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.objects.photons import Photons, covariance

SIGNAL = 0
# Tracks that an event may have to be searched for combinations, which tells them apart as bits of an integer; photons.
N_TRACKS_MAX, N_PHOTONS_MAX = 62, 32


def find(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    accepts: Mapping[Species, BoolArray],
    channel: Channel = KKEE,
    event_mask: BoolArray | None = None,
) -> tuple[IntArray, IntArray]:
    """Return every combination of tracks that a channel or its conjugate may be.

    The order is that of the events; within one, the channel before its conjugate, then by track index, slot by slot. No
    track is used twice, and what stands for the same candidate comes in one order: no combination comes twice. An event
    of more than `N_TRACKS_MAX` tracks has none.

    Args:
        offsets: (E + 1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        charge: (T,) charge of each track.
        accepts: (T,) tracks selected as each species of the channel; a track may be of several.
        channel: The final state.
        event_mask: (E,) events to look at; all where it is left out.

    Returns:
        cand ``(N, n)``, indices of the tracks in the order of the channel's slots, and event ``(N,)``.
    """
    if event_mask is None:
        event_mask = np.ones(len(offsets) - 1, dtype=np.bool_)
    masks = np.stack([accepts[species] for species in dict.fromkeys(channel.species)])
    return _combine(offsets, charge, masks, _slots(channel), event_mask)


def find_photons(offsets: IntArray, channel: Channel, event_mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Return every combination of photons that a channel may have, of at most `N_PHOTONS_MAX`, as `find` does.

    Args:
        offsets: (E + 1,) photons of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        channel: The final state.
        event_mask: (E,) events to look at.

    Returns:
        photon ``(N, m)``, indices of the photons, and event ``(N,)``.
    """
    n, first = channel.n_photons, len(channel.slots)
    after, places = np.maximum(channel.after[first:] - first, -1), slice(first, None)
    slots = _Slots(np.zeros((1, n), np.int64), after, np.array([n, *[0] * (n - 1)]), channel.n_orders(places))
    charge, few = np.ones(offsets[-1], dtype=np.int8), np.diff(offsets) <= N_PHOTONS_MAX
    return _combine(offsets, charge, np.ones((1, len(charge)), dtype=np.bool_), slots, event_mask & few)


def crossed(event: IntArray, other: IntArray) -> tuple[IntArray, IntArray]:
    """Return the places of every two of the same event in two rising lists of events, (N,) each."""
    first, last = np.searchsorted(other, event, side="left"), np.searchsorted(other, event, side="right")
    n = last - first
    of = np.repeat(np.arange(len(event)), n)
    return of, np.arange(len(of)) - np.repeat(np.cumsum(n) - n, n) + first[of]


def _combine(
    offsets: IntArray, charge: npt.NDArray[np.integer], masks: BoolArray, slots: _Slots, event_mask: BoolArray
) -> tuple[IntArray, IntArray]:
    n = np.zeros(len(event_mask), dtype=np.int64)
    most = _count(offsets, charge, masks, slots.pool, slots.n_like, slots.n_orders, event_mask, n)
    cand = np.empty((most, slots.pool.shape[1]), dtype=np.int64)
    found = _fill(offsets, charge, masks, slots.pool, slots.after, n, cand)
    has_any = np.flatnonzero(n)
    return cand[:found], np.repeat(has_any, n[has_any])


def best_per_event(chi2: FloatArray, event: IntArray) -> IntArray:
    """Return the index of the candidate with the smallest chi2 in each event that has one.

    Args:
        chi2: (N,); NaN counts as larger than everything. Equal ones: the first.
        event: (N,) event of each candidate, not decreasing.

    Returns:
        (M,) candidate indices, one per event, increasing.
    """
    if len(event) == 0:
        return np.zeros(0, dtype=np.int64)
    best = np.empty(1 + np.count_nonzero(event[1:] != event[:-1]), dtype=np.int64)
    _best(np.asarray(chi2, dtype=np.float64), event, best)
    return best


def invariant_mass(p: FloatArray, cand: IntArray, species: tuple[int, ...], masses: tuple[float, ...]) -> FloatArray:
    """Return the invariant mass of the n tracks of every candidate, (N,), in GeV/c^2.

    Args:
        p: (T, S, 3) momenta in GeV/c; S = 1 if the tracks have one momentum for all species, else one per species.
        cand: (N, n) track indices.
        species: The species of the tracks.
        masses: Their masses in GeV/c^2.
    """
    rows = np.array(species if p.shape[1] > 1 else (0,) * len(species))
    mass = np.empty(len(cand))
    _masses(p, cand, rows, np.square(masses), mass)
    return mass


@dataclass(frozen=True)
class FittedCandidates:
    """Candidates with the chi2 of their fits.

    Attributes:
        row: Row among the combinations, shape (B,).
        event: Event, shape (B,).
        chi2: chi2 under every assignment, shape (B, H); inf where the fit did not converge or does not compete.
        status: Status of every fit, shape (B, H).
    """

    row: IntArray
    event: IntArray
    chi2: FloatArray
    status: npt.NDArray[np.int8]

    @property
    def chi2_4c(self) -> FloatArray:
        """chi2 of the channel's own assignment, shape (B,)."""
        return self.chi2[:, SIGNAL]

    @property
    def chi2_alternative(self) -> FloatArray:
        """Smallest chi2 of the other assignments, shape (B,)."""
        return self.chi2[:, SIGNAL + 1 :].min(axis=1, initial=np.inf)

    @property
    def has_chi2(self) -> BoolArray:
        """Fits that converged below the upper edge of the stored axis, shape (B,)."""
        return self.chi2_4c < fourc.CHI2_MAX

    def __getitem__(self, keep: BoolArray) -> FittedCandidates:
        """Return the candidates that a mask selects."""
        return FittedCandidates(*(getattr(self, f.name)[keep] for f in fields(self)))


class Start(NamedTuple):
    """What the 4C fits of N candidates begin with.

    Attributes:
        p: (T, S, 3) momenta of tracks in GeV/c; S = 1: one for all species, else one for each.
        v: (T, S, 6) their covariances in (GeV/c)^2.
        cand: (N, n) which tracks the candidates are made of.
    """

    p: FloatArray
    v: FloatArray
    cand: IntArray


class Measured(Protocol):
    """The tracks of all combinations, from which fits start."""

    def start(self, species: IntArray, rows: IntArray | slice) -> Start:
        """Return the tracks of some combinations, which have these species."""

    def starts(self, assignments: IntArray, rows: IntArray) -> Iterator[tuple[slice, Start]]:
        """Return slices of assignments (H, n) that start alike, with the tracks of some combinations."""


@dataclass(frozen=True)
class AtInteractionPoint:
    """Tracks that are fitted from where each passes the interaction point; attributes as those of `Start`."""

    p: FloatArray
    v: FloatArray
    cand: IntArray

    def start(self, species: IntArray, rows: IntArray | slice) -> Start:  # noqa: ARG002 it is the same for all
        """Return the tracks of some combinations."""
        return Start(self.p, self.v, self.cand[rows])

    def starts(self, assignments: IntArray, rows: IntArray) -> Iterator[tuple[slice, Start]]:
        """Return all assignments at once."""
        yield slice(len(assignments)), self.start(assignments, rows)


@dataclass(frozen=True)
class AtVertex:
    """Tracks that are fitted to a common vertex first, under the hypothesis in question.

    Attributes:
        helix: (T, S, 5) dr, phi0, kappa, dz, tanl.
        covariance: (T, S, 15)
        cand: (N, 4) which of them the candidates are made of.
        field: (N,) magnetic field in T.
        point: (N, 3) interaction point in cm.
        spread: (N, 3) spread of the collisions in cm; None: the vertex is free.
    """

    helix: FloatArray
    covariance: FloatArray
    cand: IntArray
    field: FloatArray
    point: FloatArray
    spread: FloatArray | None

    def fit(self, species: IntArray, rows: IntArray | slice) -> vertex.VertexFit:
        """Return the vertices of some combinations, the four tracks of which have these species."""
        cand = self.cand[rows]
        of = species if self.helix.shape[1] > 1 else np.zeros(len(species), dtype=np.int64)
        spread = None if self.spread is None else self.spread[rows]
        return vertex.fit(self.helix[cand, of], self.covariance[cand, of], self.field[rows], self.point[rows], spread)

    def start(self, species: IntArray, rows: IntArray | slice) -> Start:
        """Return the tracks at their vertices."""
        return at_vertices(self.fit(species, rows))

    def starts(self, assignments: IntArray, rows: IntArray) -> Iterator[tuple[slice, Start]]:
        """Return the assignments one by one."""
        for h, species in enumerate(assignments):
            yield slice(h, h + 1), self.start(species, rows)


def measured(
    columns: Columns,
    chosen: IntArray,
    combinations: tuple[IntArray, IntArray],
    cuts: Cuts,
    correction: tracks.Correction | None,
    species: Sequence[Species] = tracks.FITTED,
) -> Measured:
    """Return the tracks of combinations as the cuts want them fitted.

    Args:
        columns: The chunk.
        chosen: (P,) indices of the tracks that they are made of.
        combinations: Places (N, 4) of their tracks among those, and event (N,).
        cuts: The requirements.
        correction: Corrections of the helices.
        species: Hypotheses of the tracks, the rows of momenta.

    Raises:
        SchemaError: The spread of the collisions is wanted, and the file does not have it.
    """
    cand, event = combinations
    if cuts.vertex_fit == "none":
        return AtInteractionPoint(
            *tracks.read_momenta(columns, tracks.read_frame(columns), chosen, correction, species), cand
        )
    field, point, spread = tracks.read_points(columns, event, has_spread=cuts.vertex_fit == "beam")
    return AtVertex(*tracks.read_helices(columns, chosen, correction, species), cand, field, point, spread)


def with_photons(p: FloatArray, v: FloatArray, photons: Photons) -> tuple[FloatArray, FloatArray]:
    """Return momenta and covariances of tracks, and of photons after them; a row for photons where species have rows.

    Args:
        p: (P, S, 3) momenta of the tracks in GeV/c.
        v: (P, S, 6) their covariances in (GeV/c)^2.
        photons: (G,) the photons.
    """
    n, rows = p.shape[:2]
    of_photons = photons.p4[:, :3], covariance(photons)
    joined = []
    for of_tracks, of in zip((p, v), of_photons, strict=True):
        both = np.full((n + len(of), rows + (rows > 1), of.shape[1]), np.nan)
        both[:n, :rows], both[n:] = of_tracks, of[:, None]
        joined.append(both)
    return joined[0], joined[1]


def complete_mass(p4: FloatArray, p4_total: FloatArray, missing: float | None) -> FloatArray:
    """Return the mass of all particles in GeV/c^2, (N,), one that is not seen with the momentum that the others leave.

    Args:
        p4: (N, n, 4) four-momenta of those that are seen, in GeV.
        p4_total: Initial four-momentum, (4,) or one of each (N, 4), in GeV.
        missing: Mass of the one that is not seen in GeV/c^2; None: all are seen.
    """
    seen = p4.sum(axis=1)
    return kinematics.invariant_mass(
        seen if missing is None else seen + four_momentum(p4_total[..., :3] - seen[:, :3], missing)
    )


def at_vertices(found: vertex.VertexFit) -> Start:
    """Return the tracks of combinations at their vertices; without one their momenta are NaN, which no fit accepts."""
    return Start(found.p[:, None], found.v[:, None], np.arange(len(found.p)).reshape(-1, vertex.N_TRACKS))


def fit_signal(start: Start, p4_total: FloatArray, cuts: Cuts) -> tuple[fourc.Fit4C, FloatArray]:
    """Fit every combination as the channel that is searched for.

    Args:
        start: Their tracks.
        p4_total: Initial four-momentum, (4,) or one of each (N, 4), in GeV.
        cuts: The requirements.

    Returns:
        The fits, of shape (N, 1), and the fitted four-momenta (N, n, 4) in GeV; NaN where a fit is not OK.
    """
    channel = cuts.channel
    options: Any = {"mass": channel.fit_masses, "spread": cuts.beam_spread, "limits": fourc.LIMITS[cuts.fit_limits]}
    if channel.is_closed:
        return fourc.fit_with_momenta(*start, channel.rows[SIGNAL], p4_total, **options)
    own = channel.rows[SIGNAL].tolist()
    return constrained.fit(*start, own, p4_total, channel.constraints, give_up=fourc.CHI2_MAX, **options)


def fit_rivals(start: Start, rivals: IntArray, p4_total: FloatArray, competes: BoolArray, cuts: Cuts) -> fourc.Fit4C:
    """Fit combinations under alternative assignments, of shape (N, H); constraints are those of the channel.

    Args:
        start: Their tracks.
        rivals: (H, n) rows of `fit_masses`.
        p4_total: Initial four-momentum, (4,) or one of each (N, 4), in GeV.
        competes: (N, H) which to fit.
        cuts: The requirements.
    """
    channel = cuts.channel
    options: Any = {"mass": channel.fit_masses, "spread": cuts.beam_spread, "limits": fourc.LIMITS[cuts.fit_limits]}
    if channel.is_closed or not len(rivals):
        return fourc.fit4c(*start, rivals, p4_total, competes=competes, **options)
    options |= {"give_up": fourc.CHI2_MAX}
    fits = [
        constrained.fit(*start, of, p4_total, channel.constraints, competes=mask[:, None], **options)[0]
        for of, mask in zip(rivals.tolist(), competes.T, strict=True)
    ]
    return fourc.Fit4C(*(np.concatenate(of, axis=1) for of in zip(*fits, strict=True)))


def fit_best(
    signal: fourc.Fit4C,
    measured: Measured,
    combinations: tuple[IntArray, IntArray],
    chi2_pid: FloatArray,
    p4_total: FloatArray,
    cuts: Cuts,
) -> FittedCandidates:
    """Keep the combination of each event with the smallest chi2 as the channel, and fit it under its alternatives.

    The alternatives are fitted up to the upper edge of the stored chi2 axis, not only below the cut, so that the cut
    can be chosen again without a rerun.

    Args:
        signal: Fits of every combination, from `fit_signal`.
        measured: The tracks of every combination.
        combinations: Places (N, n) of their tracks among the examined ones, and of photons after these; event (N,).
        chi2_pid: PID chi2 (P, S) of the channel's hypotheses of the examined tracks.
        p4_total: Initial four-momentum, (4,) or one of each combination (N, 4), in GeV.
        cuts: The requirements.
    """
    channel, (cand, event) = cuts.channel, combinations
    row = best_per_event(signal.chi2[:, SIGNAL], event)
    of_tracks = cand[row][:, : len(channel.slots)]
    competes = channel.competing(cuts.permutations, of_tracks, chi2_pid)[:, SIGNAL + 1 :]
    competes &= (signal.chi2[row, SIGNAL] < fourc.CHI2_MAX)[:, None]
    p4 = p4_total if p4_total.ndim == 1 else p4_total[row]
    rivals = channel.rows[SIGNAL + 1 :]
    others = [fit_rivals(start, rivals[of], p4, competes[:, of], cuts) for of, start in measured.starts(rivals, row)]
    status = np.concatenate([signal.status[row], *(fit.status for fit in others)], axis=1)
    chi2 = np.concatenate([signal.chi2[row], *(fit.chi2 for fit in others)], axis=1)
    chi2[status != fourc.Status.OK] = np.inf
    return FittedCandidates(row, event[row], chi2, status)


@kernel
def _masses(p: FloatArray, cand: IntArray, rows: IntArray, mass2: FloatArray, mass: FloatArray) -> None:
    for i in range(len(cand)):
        x = y = z = e = 0.0
        for k in range(len(rows)):
            t, row = cand[i, k], rows[k]
            px, py, pz = p[t, row, 0], p[t, row, 1], p[t, row, 2]
            x, y, z = x + px, y + py, z + pz
            e += math.sqrt(px * px + py * py + pz * pz + mass2[k])
        mass[i] = math.sqrt(max(e * e - (x * x + y * y + z * z), 0.0))


class _Slots(NamedTuple):
    """The slots of a channel as the kernels take them; a pool is the tracks of one species and charge.

    Attributes:
        pool: (C, n) pool of each slot, of the channel and of its conjugate.
        after: (n,) slot whose track that of each slot comes after, or -1.
        n_like: (n,) how many slots, this one and those after it, have its pool; 0 for a slot like the one before.
        n_orders: In how many orders tracks are the same combination.
    """

    pool: IntArray
    after: IntArray
    n_like: IntArray
    n_orders: int


def _slots(channel: Channel) -> _Slots:
    slots, masks = channel.slots, list(dict.fromkeys(channel.species))
    signs = (1,) if channel.is_self_conjugate else (1, -1)
    pool = np.array([[2 * masks.index(s.species) + (sign * s.charge < 0) for s in slots] for sign in signs])
    n_like = np.array([0 if k > 0 and s == slots[k - 1] else slots.count(s) for k, s in enumerate(slots)])
    return _Slots(pool, channel.after[: len(slots)], n_like, channel.n_orders(slice(len(slots))))


@kernel
def _pools_of(t: int, charge: npt.NDArray[np.integer], masks: BoolArray) -> int:
    """Return the pools of a track, as bits."""
    pools = 0
    for row in range(masks.shape[0]):
        pools |= masks[row, t] << 2 * row
    return pools << (charge[t] < 0) if charge[t] != 0 else 0


@kernel
def _at_most(sizes: int, pool: IntArray, c: int, n_like: IntArray, n_orders: int) -> int:
    """Return how many combinations pools of these sizes, a byte each, make, as if no track could be of two species."""
    most = 1
    for k in range(pool.shape[1]):
        size = sizes >> 8 * pool[c, k] & 255
        if size < n_like[k]:
            return 0
        for like in range(n_like[k]):
            most *= size - like
    return most // n_orders


@kernel
def _count(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    masks: BoolArray,
    pool: IntArray,
    n_like: IntArray,
    n_orders: int,
    event_mask: BoolArray,
    n: IntArray,
) -> int:
    """Fill the largest number of combinations of each event; return their sum."""
    one = np.zeros(1 << 2 * masks.shape[0], dtype=np.int64)
    for pools in range(len(one)):
        for i in range(2 * masks.shape[0]):
            one[pools] += (pools >> i & 1) << 8 * i
    most = 0
    for event in range(len(n)):
        if event_mask[event] and offsets[event + 1] - offsets[event] <= N_TRACKS_MAX:
            sizes = 0
            for t in range(offsets[event], offsets[event + 1]):
                sizes += one[_pools_of(t, charge, masks)]
            for c in range(pool.shape[0]):
                n[event] += _at_most(sizes, pool, c, n_like, n_orders)
            most += n[event]
    return most


@kernel
def _walk(
    pools: IntArray, pool: IntArray, after: IntArray, chosen: IntArray, start: int, row: int, cand: IntArray
) -> int:
    """Write every combination of an event from `row` on; return the row after the last.

    Args:
        pools: Pools of each track of the event, as bits.
        pool: Pool of each slot.
        after: Slot whose track that of each slot comes after, or -1.
        chosen: Space for a track of each slot.
        start: First track of the event.
        row: First row to write.
        cand: Where to write.
    """
    n, last = len(pools), len(pool) - 1
    k, t, used, wanted = 0, 0, 0, 1 << pool[0]
    while True:
        while t < n and (pools[t] & wanted == 0 or used >> t & 1 == 1):
            t += 1
        if t < n and k < last:
            chosen[k] = t
            used |= 1 << t
            k += 1
            wanted = 1 << pool[k]
            t = chosen[after[k]] + 1 if after[k] >= 0 else 0
            continue
        if t < n:
            for other in range(last):
                cand[row, other] = start + chosen[other]
            cand[row, last] = start + t
            row += 1
        elif k == 0:
            return row
        else:
            k -= 1
            wanted = 1 << pool[k]
            t = chosen[k]
            used &= ~(1 << t)
        t += 1


@kernel
def _fill(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    masks: BoolArray,
    pool: IntArray,
    after: IntArray,
    n: IntArray,
    cand: IntArray,
) -> int:
    """Fill the combinations, and the number of each event; return their sum."""
    chosen, space = np.empty(len(after), dtype=np.int64), np.empty(N_TRACKS_MAX, dtype=np.int64)
    row = 0
    for event in range(len(n)):
        if n[event] == 0:
            continue
        first, start, stop = row, offsets[event], offsets[event + 1]
        for t in range(start, stop):
            space[t - start] = _pools_of(t, charge, masks)
        for c in range(pool.shape[0]):
            row = _walk(space[: stop - start], pool[c], after, chosen, start, row, cand)
        n[event] = row - first
    return row


@kernel
def _best(chi2: FloatArray, event: IntArray, best: IntArray) -> None:
    m = -1
    for i in range(len(event)):
        if i == 0 or event[i] != event[i - 1]:
            m += 1
            best[m] = i
        elif chi2[i] < chi2[best[m]] or (np.isnan(chi2[best[m]]) and not np.isnan(chi2[i])):
            best[m] = i
