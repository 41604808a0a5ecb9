"""K+ K+ e- e- and K- K- e+ e+ combinations of the selected tracks, and the best one of each event."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel


def find(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    is_electron: BoolArray,
    is_kaon: BoolArray,
    event_mask: BoolArray | None = None,
) -> tuple[IntArray, IntArray]:
    """Return every combination of two kaons of one charge and two electrons of the other.

    The order is that of the events; within one, K+ K+ e- e- first, then by track index.

    Args:
        offsets: (E + 1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        charge: (T,) charge of each track.
        is_electron: (T,) tracks selected as electrons.
        is_kaon: (T,) tracks selected as kaons; a track may be both.
        event_mask: (E,) events to look at; all where it is left out.

    Returns:
        cand ``(N, 4)``, indices of the tracks (K, K, e, e), and event ``(N,)``.
    """
    if event_mask is None:
        event_mask = np.ones(len(offsets) - 1, dtype=np.bool_)
    n = np.empty(len(event_mask), dtype=np.int64)
    _count(offsets, charge, is_electron, is_kaon, event_mask, n)
    cand = np.empty((n.sum(), 4), dtype=np.int64)
    _fill(offsets, charge, is_electron, is_kaon, n, cand)
    has_any = np.flatnonzero(n)
    return cand, np.repeat(has_any, n[has_any])


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
    """Return the invariant mass of the four tracks of every candidate, (N,), in GeV/c^2.

    Args:
        p: (T, S, 3) momenta in GeV/c; S = 1 if the tracks have one momentum for all species, else one per species.
        cand: (N, 4) track indices.
        species: The species of the four tracks.
        masses: Their masses in GeV/c^2.
    """
    rows = np.array(species if p.shape[1] > 1 else (0,) * len(species))
    mass = np.empty(len(cand))
    _masses(p, cand, rows, np.square(masses), mass)
    return mass


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


@kernel
def _count(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    is_electron: BoolArray,
    is_kaon: BoolArray,
    event_mask: BoolArray,
    n: IntArray,
) -> None:
    for event in range(len(n)):
        n[event] = 0
        if not event_mask[event]:
            continue
        kp = km = ep = em = 0
        for t in range(offsets[event], offsets[event + 1]):
            plus, minus = charge[t] > 0, charge[t] < 0
            kp += is_kaon[t] and plus
            km += is_kaon[t] and minus
            ep += is_electron[t] and plus
            em += is_electron[t] and minus
        n[event] = (kp * (kp - 1) * em * (em - 1) + km * (km - 1) * ep * (ep - 1)) // 4


@kernel
def _fill(
    offsets: IntArray,
    charge: npt.NDArray[np.integer],
    is_electron: BoolArray,
    is_kaon: BoolArray,
    n: IntArray,
    cand: IntArray,
) -> None:
    row = 0
    for event in range(len(n)):
        if n[event] == 0:
            continue
        start, stop = offsets[event], offsets[event + 1]
        for sign in (1, -1):
            for k1 in range(start, stop):
                if not (is_kaon[k1] and charge[k1] * sign > 0):
                    continue
                for k2 in range(k1 + 1, stop):
                    if is_kaon[k2] and charge[k2] * sign > 0:
                        row = _fill_electrons(k1, k2, start, stop, charge, is_electron, -sign, row, cand)


@kernel
def _fill_electrons(
    k1: int,
    k2: int,
    start: int,
    stop: int,
    charge: npt.NDArray[np.integer],
    is_electron: BoolArray,
    sign: int,
    row: int,
    cand: IntArray,
) -> int:
    """Write the candidates of one pair of kaons from `row` on; return the next free row."""
    for e1 in range(start, stop):
        if not (is_electron[e1] and charge[e1] * sign > 0):
            continue
        for e2 in range(e1 + 1, stop):
            if is_electron[e2] and charge[e2] * sign > 0:
                cand[row, 0], cand[row, 1], cand[row, 2], cand[row, 3] = k1, k2, e1, e2
                row += 1
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
