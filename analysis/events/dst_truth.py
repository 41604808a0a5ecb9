"""Generated particles of a simulated BOSS `.dst`, from the J/psi on, and which of them made each track."""

from __future__ import annotations

from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, IntArray, kernel
from jpsi_lnv.analysis.events.dst_records import Records

PDG_JPSI: Final = 443
ABSENT: Final = -1

_MEMBERS: Final = {
    "px": "m_xInitialMomentum",
    "py": "m_yInitialMomentum",
    "pz": "m_zInitialMomentum",
    "energy": "m_eInitialMomentum",
    "vx": "m_xInitialPosition",
    "vy": "m_yInitialPosition",
    "vz": "m_zInitialPosition",
}


def gen_columns(particles: Records) -> tuple[IntArray, dict[str, AnyArray], IntArray]:
    """Return the J/psi and all that came of it; of an event without J/psi, every particle.

    KKMC puts a virtual Z, a quark pair and a string before the J/psi and a stray beam electron beside it.

    Args:
        particles: `m_mcParticleCol`, N records.

    Returns:
        Offsets ``(E + 1,)``, the columns of `Gen` by name, each ``(G,)``, and ``(N,)`` the place of each record within
        its event's `Gen`, `ABSENT` if it is left out.
    """
    every = np.arange(particles.offsets[-1])
    numbers = particles.pick_all({"m_particleID": (), "m_trackIndex": (), "m_mother": ()}, every, 0)
    pdg, index, above = (values.astype(np.int64) for values in numbers.values())
    mother = np.empty(len(pdg), dtype=np.int64)
    place = np.empty(len(pdg), dtype=np.int64)
    counts = np.zeros(len(particles.offsets) - 1, dtype=np.int64)
    _trim(particles.offsets, pdg, index, above, mother, place, counts)
    kept = place != ABSENT
    columns: dict[str, AnyArray] = {"pdg_id": pdg[kept], "mother": mother[kept]}
    found = particles.pick_all(dict.fromkeys(_MEMBERS.values(), ()), np.flatnonzero(kept), 0.0)
    columns |= {name: found[member] for name, member in _MEMBERS.items()}
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), columns, place


def match_tracks(hits: Records, particles: Records, place: IntArray, owner: IntArray, number: AnyArray) -> IntArray:
    """Return the `Gen` index of the particle that left most hits on each track, `ABSENT` if there is none.

    Args:
        hits: `m_mcMdcTracks`, one (particle, track) pair per hit.
        particles: `m_mcParticleCol`.
        place: (N,) as `gen_columns` returns it.
        owner: (T,) event of each track, not falling.
        number: (T,) its `m_mdcTrackId`.
    """
    first = np.searchsorted(owner, np.arange(len(hits.offsets)))
    pairs = hits.column("key").astype(np.int64), hits.column("val").astype(np.int64)
    out = np.full(len(owner), ABSENT, dtype=np.int64)
    index = particles.column("m_trackIndex").astype(np.int64)
    _majority(hits.offsets, *pairs, first, number.astype(np.int64), particles.offsets, index, place, out)
    return out


@kernel
def _row(index: IntArray, start: int, stop: int, wanted: int) -> int:
    """Return the row between start and stop whose `m_trackIndex` is the wanted one; as a rule it is its place."""
    if 0 <= wanted < stop - start and index[start + wanted] == wanted:
        return start + wanted
    for row in range(start, stop):
        if index[row] == wanted:
            return row
    return ABSENT


@kernel
def _trim(
    offsets: IntArray,
    pdg: IntArray,
    index: IntArray,
    mother_index: IntArray,
    mother: IntArray,
    place: IntArray,
    counts: IntArray,
) -> None:
    """Number the J/psi and its descendants (all, if there is no J/psi); a mother stands before its daughters."""
    for event in range(len(offsets) - 1):
        start, stop = offsets[event], offsets[event + 1]
        keeps_all = not (pdg[start:stop] == PDG_JPSI).any()
        for i in range(start, stop):
            above = _row(index, start, stop, mother_index[i])
            is_known = ABSENT < above < i and place[above] != ABSENT
            mother[i] = place[above] if is_known else ABSENT
            place[i] = ABSENT
            if keeps_all or is_known or pdg[i] == PDG_JPSI:
                place[i] = counts[event]
                counts[event] += 1


@kernel
def _majority(
    offsets: IntArray,
    key: IntArray,
    track: IntArray,
    first: IntArray,
    number: IntArray,
    particle_offsets: IntArray,
    index: IntArray,
    place: IntArray,
    out: IntArray,
) -> None:
    """Take for each track the particle of most hits; of equal numbers the one named first."""
    for event in range(len(offsets) - 1):
        start, stop = offsets[event], offsets[event + 1]
        for t in range(first[event], first[event + 1]):
            most, last = 0, -1
            for i in range(start, stop):
                # A map is in the order of its keys: what follows the first pair of a key is counted with it.
                if track[i] != number[t] or (last >= 0 and key[i] == key[last]):
                    continue
                last, n_hits = i, 0
                for j in range(i, stop):
                    n_hits += track[j] == number[t] and key[j] == key[i]
                if n_hits > most:
                    most = n_hits
                    row = _row(index, particle_offsets[event], particle_offsets[event + 1], key[i])
                    out[t] = place[row] if row != ABSENT else ABSENT
