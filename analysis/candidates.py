"""K+ K+ e- e- and K- K- e+ e+ combinations of the selected tracks, and the best one of each event.

The best one is that with the smallest chi2 of the 4C fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.kinfit import fourc

SIGNAL = 0


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
        """chi2 of the KKee assignment, shape (B,)."""
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


def fit_signal(p: FloatArray, v: FloatArray, cand: IntArray, p4_total: FloatArray) -> tuple[fourc.Fit4C, FloatArray]:
    """Fit every combination as KKee.

    Args:
        p: Momenta (P, S, 3) of the examined tracks in GeV/c.
        v: Their covariances (P, S, 6).
        cand: Places (N, 4) of the combinations' tracks among those.
        p4_total: Initial four-momentum (4,) in GeV.

    Returns:
        The fits, of shape (N, 1), and the fitted four-momenta (N, 4, 4) in GeV; NaN where a fit is not OK.
    """
    return fourc.fit_with_momenta(p, v, cand, fourc.HYPOTHESES[SIGNAL], p4_total)


def fit_best(
    signal: fourc.Fit4C,
    p: FloatArray,
    v: FloatArray,
    combinations: tuple[IntArray, IntArray],
    chi2_pid: FloatArray,
    p4_total: FloatArray,
    cuts: Cuts,
) -> FittedCandidates:
    """Keep the combination of each event with the smallest chi2 as KKee, and fit it under the other assignments.

    The alternatives are fitted up to the upper edge of the stored chi2 axis, not only below the cut, so that the cut
    can be chosen again without a rerun.

    Args:
        signal: Fits of every combination as KKee, from `fit_signal`.
        p: Momenta (P, S, 3) of the examined tracks in GeV/c.
        v: Their covariances (P, S, 6).
        combinations: Places (N, 4) of their tracks among those, and event (N,).
        chi2_pid: PID chi2 (P, 3) of e, pi, K.
        p4_total: Initial four-momentum (4,) in GeV.
        cuts: The requirements.
    """
    cand, event = combinations
    row = best_per_event(signal.chi2[:, SIGNAL], event)
    tracks = cand[row]
    competes = fourc.competing(cuts.kkpipi_permutations, tracks, chi2_pid)[:, SIGNAL + 1 :]
    competes &= (signal.chi2[row, SIGNAL] < fourc.CHI2_MAX)[:, None]
    others = fourc.fit4c(p, v, tracks, fourc.HYPOTHESES[SIGNAL + 1 :], p4_total, competes=competes)
    status = np.concatenate([signal.status[row], others.status], axis=1)
    chi2 = np.concatenate([signal.chi2[row], others.chi2], axis=1)
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
