"""Inclusive J/psi decays from Pythia 8, the optional extra `sim`.

About forty exclusive decays have their PDG branching fractions; Pythia fragments the rest. Many J/psi at rest are put
into one event record and decayed by one call, because the conversion of a record to arrays costs more than the decays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import awkward as ak
import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation.beam import Beams, jpsi_momentum
from jpsi_lnv.analysis.simulation.decays import boost
from jpsi_lnv.analysis.simulation.generator import decay_pions
from jpsi_lnv.analysis.simulation.particles import JPSI, PION0, Particles

BATCH: Final = 2048
_MM_TO_CM: Final = 0.1
_SEED_MAX: Final = 900_000_000
_AT_REST: Final = 1

# Branching fraction, PDG identifier, daughters.
CHANNELS: Final[tuple[tuple[float, str, tuple[int, ...]], ...]] = (
    (5.971e-2, "M070.1", (11, -11)),
    (5.961e-2, "M070.2", (13, -13)),
    (7.04e-3, "M070.16", (321, -321, 211, -211)),
    (3.20e-3, "M070.8", (211, -211, 211, -211)),
    (7.23e-4, "M070.19", (321, -321, 321, -321)),
    (5.99e-3, "M070.54", (2212, -2212, 211, -211)),
    (2.00e-2, "M070.7", (211, -211, 111)),
    (2.12e-3, "M070.50", (2212, -2212)),
    (1.19e-3, "M070.52", (2212, -2212, 111)),
    (5.48e-5, "M070.472", (11, -11, 11, -11)),
    (3.53e-5, "M070.473", (11, -11, 13, -13)),
    (8.1e-7, "M070.271", (111, 11, -11)),
    (1.42e-5, "M070.272", (221, 11, -11)),
    (6.59e-5, "M070.273", (331, 11, -11)),
    (9.37e-4, "M070.34", (333, 211, -211)),
    (7.38e-4, "M070.37", (333, 221)),
    (4.6e-4, "M070.38", (333, 331)),
    (8.54e-3, "M070.24", (223, 211, -211)),
    (1.52e-3, "M070.441", (223, 321, -321)),
    (5.28e-3, "M070.84", (22, 331)),
    (1.09e-3, "M070.83", (22, 221)),
    (1.82e-2, "M070.85", (22, 441)),
    (3.02e-3, "M070.121", (321, -323)),
    (3.02e-3, "M070.121", (-321, 323)),
    (2.13e-3, "M070.234", (321, -321, 111, 111)),
    (1.52e-2, "M070.18", (321, -321, 211, -211, 111)),
    (4.2e-2, "M070.9", (211, -211, 211, -211, 111)),
)


class MissingExtraError(LnvError):
    """An optional package is needed."""


def generate_inclusive(rng: np.random.Generator, beams: Beams) -> Particles:
    """Return inclusive J/psi decays in the laboratory.

    Args:
        rng: Source of random numbers; it seeds Pythia.
        beams: Period, run and vertex of the events.

    Raises:
        MissingExtraError: Pythia is not installed.
    """
    pythia = _pythia()
    pythia.rndm.init(int(rng.integers(1, _SEED_MAX)))
    n = len(beams.run)
    sizes = [min(BATCH, n - start) for start in range(0, n, BATCH)]
    parts = [_batch(pythia, size) for size in sizes]
    starts = np.cumsum([0, *sizes[:-1]])
    at_rest = _concatenated(n, parts, starts)
    momenta = boost(at_rest.p4, jpsi_momentum(rng, n)[at_rest.event])
    vertex = beams.vertex[at_rest.event] + at_rest.vertex
    moved = Particles(n, at_rest.event, at_rest.pdg_id, at_rest.mother, momenta, vertex, at_rest.is_final)
    return decay_pions(rng, moved)


@lru_cache(maxsize=1)
def _pythia() -> Any:
    """Return Pythia set up to decay J/psi, one per process."""
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
    rest = 1.0 - sum(fraction for fraction, _, _ in CHANNELS)
    lines = ["Print:quiet = on", "ProcessLevel:all = off", "Random:setSeed = on", f"{PION0}:mayDecay = off"]
    lines.append(f"{JPSI}:m0 = {M_JPSI}")
    lines.append(f"{JPSI}:mWidth = 0")
    lines.append(f"{JPSI}:oneChannel = 1 {rest} 43 83 -83")
    lines += [f"{JPSI}:addChannel = 1 {f} 0 {' '.join(map(str, d))}" for f, _, d in CHANNELS]
    return lines


def _batch(pythia: Any, n: int) -> Particles:
    """Return n decays in the rest frame of the J/psi."""
    event = pythia.event
    event.reset()
    for _ in range(n):
        event.append(JPSI, _AT_REST, 0, 0, 0.0, 0.0, 0.0, M_JPSI, M_JPSI)
    record = pythia.nextBatch(1).prt[0]
    pdg_id = np.asarray(record.id)[1:].astype(np.int64)
    mother = np.asarray(record.mother1)[1:].astype(np.int64) - 1
    p4 = np.stack([np.asarray(getattr(record.p, c))[1:] for c in ("px", "py", "pz", "e")], axis=-1)
    place = [ak.to_numpy(ak.fill_none(getattr(record.vProd, c), 0.0))[1:] for c in ("px", "py", "pz")]
    vertex = _MM_TO_CM * np.stack(place, axis=-1)
    is_final = np.asarray(record.status)[1:] > 0
    return _by_event(n, pdg_id, mother, (p4, vertex), is_final)


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


def _concatenated(n: int, parts: list[Particles], starts: IntArray) -> Particles:
    event = np.concatenate([p.event + start for p, start in zip(parts, starts, strict=True)])
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("pdg_id", "mother", "p4", "vertex", "is_final")
    }
    return Particles(n, event, **columns)
