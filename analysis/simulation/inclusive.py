"""Inclusive J/psi decays: measured final states by their fractions, the rest fragmented by Pythia 8 (the extra `sim`).

What is fragmented is drawn again while it is a measured final state, or one that G or C parity forbid to gluons, as
LUNDCHARM does (J. C. Chen et al., PRD 62, 034003 (2000)): so the measured fractions stay what they are. Many particles
are put into one event record and decayed by one call, because converting a record to arrays costs more than decays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import awkward as ak
import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation.beam import Beams, jpsi_momentum
from jpsi_lnv.analysis.simulation.decays import boost
from jpsi_lnv.analysis.simulation.final_states import (
    FINAL_STATES,
    GAMMA_GG,
    FinalState,
    measured_fraction,
    observe,
    signatures,
    tree_of,
)
from jpsi_lnv.analysis.simulation.generator import decay_pions, generate
from jpsi_lnv.analysis.simulation.particles import (
    ELECTRON,
    ETA,
    ETA_C,
    ETA_PRIME,
    JPSI,
    K_SHORT,
    KINDS,
    LAMBDA,
    MUON,
    PHOTON,
    PION0,
    SIGMA0,
    SIGMA_MINUS,
    SIGMA_PLUS,
    XI0,
    XI_MINUS,
    Particles,
    append,
    interleave,
)
from jpsi_lnv.analysis.simulation.processes import Process

BATCH: Final = 2048
_MM_PER_CM: Final = 10.0
_SEED_MAX: Final = 900_000_000
_AT_REST: Final = 1
_PASSES_MAX: Final = 100
_ENERGY_MISSED: Final = 0.010  # GeV: as in LUNDCHARM
# Decayed by Pythia, after their flight where they have one.
UNSTABLE: Final = (ETA, ETA_PRIME, ETA_C, K_SHORT, LAMBDA, SIGMA0, SIGMA_PLUS, SIGMA_MINUS, XI_MINUS, XI0)


class MissingExtraError(LnvError):
    """An optional package is needed."""


class FragmentationError(LnvError):
    """Pythia does not find a final state that is allowed."""


def generate_inclusive(rng: np.random.Generator, beams: Beams) -> Particles:
    """Return inclusive J/psi decays in the laboratory.

    Args:
        rng: Source of random numbers; it seeds Pythia.
        beams: Period, run and vertex of the events.

    Raises:
        MissingExtraError: Pythia is not installed.
        FragmentationError: The rest cannot be fragmented.
    """
    pythia = _pythia()
    pythia.rndm.init(int(rng.integers(1, _SEED_MAX)))
    n = len(beams.run)
    modes = [(row.fraction * mode.share, row, mode) for row in FINAL_STATES for mode in row.modes]
    shares = np.array([share for share, _, _ in modes])
    choice = rng.choice(len(modes) + 1, n, p=np.append(shares, 1.0 - measured_fraction()))
    parts = []
    for i in np.unique(choice):
        events = np.flatnonzero(choice == i)
        own = beams.take(events)
        if i == len(modes):
            parts.append((events, _rest(rng, pythia, own)))
        else:
            process = Process(modes[i][1].name, tree_of(modes[i][2]), is_conjugated=True)
            parts.append((events, generate(rng, process, M_JPSI, own, (ELECTRON, MUON))))
    return decay_pions(rng, _decay_unstable(rng, pythia, interleave(parts, n)))


def _rest(rng: np.random.Generator, pythia: Any, beams: Beams) -> Particles:
    """Return fragmented decays in the laboratory, none of them measured or forbidden."""
    n = len(beams.run)
    at_rest = fragment(lambda size: _batch(pythia, size), n)
    momenta = boost(at_rest.p4, jpsi_momentum(rng, n)[at_rest.event])
    return dataclasses.replace(at_rest, p4=momenta, vertex=at_rest.vertex + beams.vertex[at_rest.event])


def fragment(draw: Callable[[int], Particles], n: int, rows: tuple[FinalState, ...] = FINAL_STATES) -> Particles:
    """Return n events, drawn again while they are measured or forbidden final states, or miss the energy.

    Args:
        draw: Returns the decays of a number of J/psi.
        n: Number of events.
        rows: The measured final states.

    Raises:
        FragmentationError: Some events are still refused after many draws.
    """
    listed = np.array(sorted(set().union(*(signatures(row) for row in rows))), dtype=np.int64)
    parts: list[tuple[IntArray, Particles]] = []
    pending = np.arange(n)
    for _ in range(_PASSES_MAX):
        if pending.size == 0:
            return interleave(parts, n)
        sizes = [min(BATCH, pending.size - start) for start in range(0, pending.size, BATCH)]
        starts = np.cumsum([0, *sizes[:-1]])
        drawn = interleave([(s + np.arange(m), draw(m)) for s, m in zip(starts, sizes, strict=True)], pending.size)
        seen = observe(drawn)
        is_kept = ~(np.isin(seen.signature, listed) | seen.is_forbidden) & (_missing_energy(drawn) < _ENERGY_MISSED)
        kept = np.flatnonzero(is_kept)
        parts.append((pending[kept], drawn.take(kept)))
        pending = pending[~is_kept]
    msg = f"{pending.size} of {n} decays of the rest were refused {_PASSES_MAX} times: is every final state listed?"
    raise FragmentationError(msg)


def _missing_energy(table: Particles) -> FloatArray:
    """Return |energy of the final particles - that of the J/psi| in GeV, (n_events,): light strings can lose some."""
    final = np.bincount(table.event, weights=table.p4[:, 3] * table.is_final, minlength=table.n_events)
    return np.asarray(np.abs(final - table.p4[table.offsets[:-1], 3]))


@lru_cache(maxsize=1)
def _pythia() -> Any:
    """Return a Pythia that decays what is put into its record: made once per process, seeded for every block."""
    try:
        import pythia8mc  # noqa: PLC0415 the optional extra
    except ImportError as error:
        msg = "inclusive decays need Pythia 8, which is not installed; get it with: pip install 'jpsi-lnv[sim]'"
        raise MissingExtraError(msg) from error
    pythia = pythia8mc.Pythia("", False)
    for line in _settings():
        if not pythia.readString(line):
            msg = f"Pythia refuses the setting {line!r}"
            raise LnvError(msg)
    pythia.init()
    return pythia


def _settings() -> list[str]:
    """Return settings: the J/psi fragments alone, with a photon as often as J/psi -> gamma gg is left unmeasured."""
    radiative = sum(row.fraction for row in FINAL_STATES if _is_gamma_gg(row))
    photon = max(GAMMA_GG.value - radiative, 0.0) / (1.0 - measured_fraction())
    return [
        "Print:quiet = on",
        "ProcessLevel:all = off",
        "Random:setSeed = on",
        f"{PION0}:mayDecay = off",
        f"{JPSI}:m0 = {M_JPSI}",
        f"{JPSI}:mWidth = 0",
        f"{JPSI}:oneChannel = 1 {1.0 - photon} 43 83 -83",
        f"{JPSI}:addChannel = 1 {photon} 92 22 21 21",
    ]


def _is_gamma_gg(row: FinalState) -> bool:
    codes = [d.pdg_id for d in row.modes[0].daughters]
    return PHOTON in codes and ETA_C not in codes


def _batch(pythia: Any, n: int) -> Particles:
    """Return n decays in the rest frame of the J/psi."""
    event = pythia.event
    event.reset()
    for _ in range(n):
        event.append(JPSI, _AT_REST, 0, 0, 0.0, 0.0, 0.0, M_JPSI, M_JPSI)
    pdg_id, mother, p4, vertex, is_final = _read(pythia)
    return _by_event(n, pdg_id, mother, (p4, vertex), is_final)


def _read(pythia: Any) -> tuple[IntArray, IntArray, FloatArray, FloatArray, BoolArray]:
    """Decay the record; return codes, mothers, momenta in GeV, vertices in cm and whether each is final."""
    record = pythia.nextBatch(1).prt[0]
    pdg_id = np.asarray(record.id)[1:].astype(np.int64)
    mother = np.asarray(record.mother1)[1:].astype(np.int64) - 1
    p4 = np.stack([np.asarray(getattr(record.p, c))[1:] for c in ("px", "py", "pz", "e")], axis=-1)
    place = [ak.to_numpy(ak.fill_none(getattr(record.vProd, c), 0.0))[1:] for c in ("px", "py", "pz")]
    return pdg_id, mother, p4, np.stack(place, axis=-1) / _MM_PER_CM, np.asarray(record.status)[1:] > 0


def _decay_unstable(rng: np.random.Generator, pythia: Any, table: Particles) -> Particles:
    """Return the table with the final mesons and hyperons of `UNSTABLE` decayed by Pythia."""
    rows = np.flatnonzero(np.isin(np.abs(table.pdg_id), UNSTABLE) & table.is_final)
    if rows.size == 0:
        return table
    codes, p4 = table.pdg_id[rows], table.p4[rows]
    c_tau = np.array([KINDS[abs(int(c))].c_tau for c in codes])
    tau = np.where(np.isfinite(c_tau), c_tau * _MM_PER_CM * rng.exponential(size=rows.size), 0.0)
    mass = np.sqrt(np.maximum(p4[:, 3] ** 2 - (p4[:, :3] ** 2).sum(axis=1), 0.0))
    event = pythia.event
    event.reset()
    for code, (px, py, pz, energy), m, t in zip(codes.tolist(), p4.tolist(), mass.tolist(), tau.tolist(), strict=True):
        event[event.append(code, _AT_REST, 0, 0, px, py, pz, energy, m)].tau(t)
    pdg_id, mother, momenta, vertex, is_final = _read(pythia)
    tree = _by_event(rows.size, pdg_id, mother, (momenta, vertex), is_final)
    return _graft(table, rows, tree)


def _graft(table: Particles, rows: IntArray, tree: Particles) -> Particles:
    """Return the table with the trees of its particles `rows`, one tree each, put behind the rows of their events."""
    is_root = tree.mother < 0
    event = table.event[rows][tree.event]
    counts = np.bincount(table.event, minlength=table.n_events)
    new = np.flatnonzero(~is_root)
    rank = np.arange(new.size) - np.searchsorted(event[new], event[new])
    local = np.full(len(event), -1)
    local[new] = counts[event[new]] + rank
    local[is_root] = table.row[rows]
    start = tree.offsets[tree.event]
    grown = Particles(
        table.n_events,
        event[new],
        tree.pdg_id[new],
        local[(start + tree.mother)[new]],
        tree.p4[new],
        tree.vertex[new] + table.vertex[rows][tree.event[new]],
        tree.is_final[new],
    )
    is_final = table.is_final.copy()
    is_final[rows] = False
    return append(dataclasses.replace(table, is_final=is_final), grown)


def _by_event(
    n: int, pdg_id: IntArray, mother: IntArray, vectors: tuple[FloatArray, FloatArray], is_final: np.ndarray
) -> Particles:
    """Sort the particles of a record by the J/psi they come from; a mother stands before its daughters."""
    root = np.arange(len(pdg_id))
    parent = mother.copy()
    while np.any(moving := parent >= 0):
        root[moving] = parent[moving]
        parent[moving] = mother[parent[moving]]
    order = np.argsort(root, kind="stable")
    event = root[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(event, minlength=n))])
    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.arange(len(order)) - offsets[event]
    local = np.where(mother[order] >= 0, row[mother[order]], -1)
    p4, vertex = vectors
    return Particles(n, event, pdg_id[order], local, p4[order], vertex[order], is_final[order])
