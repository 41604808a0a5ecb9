"""The particles of a block of events as one flat table, and the properties of their kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON, M_MUON, M_PION, M_PION0, M_PROTON
from jpsi_lnv.analysis.constraints import NEUTRINOS

PHOTON: Final = 22
ELECTRON: Final = 11
MUON: Final = 13
PION: Final = 211
PION0: Final = 111
KAON: Final = 321
PROTON: Final = 2212
RHO0: Final = 113
RHO: Final = 213
K_SHORT: Final = 310
K_LONG: Final = 130
K_STAR0: Final = 313
NEUTRON: Final = 2112
LAMBDA: Final = 3122
SIGMA0: Final = 3212
SIGMA_PLUS: Final = 3222
SIGMA_MINUS: Final = 3112
XI_MINUS: Final = 3312
XI0: Final = 3322
ETA_C: Final = 441
ANTINEUTRON: Final = -2112
ETA: Final = 221
ETA_PRIME: Final = 331
OMEGA: Final = 223
PHI: Final = 333
K_STAR: Final = 323
JPSI: Final = 443
VIRTUAL_PHOTON: Final = 23  # BOSS's truth lists the e+e- system under this code
MAJORANA_NEUTRINO: Final = 9910012


class Kind(NamedTuple):
    """Mass in GeV/c^2, charge of the particle (not the antiparticle) in e, width in GeV, c tau in cm."""

    mass: float
    charge: int
    width: float = 0.0
    c_tau: float = np.inf


# PDG 2026 (package `pdg`); code of the particle -> its properties.
KINDS: Final[Mapping[int, Kind]] = MappingProxyType(
    {
        PHOTON: Kind(0.0, 0),
        ELECTRON: Kind(M_ELECTRON, -1),
        MUON: Kind(M_MUON, -1),
        PION: Kind(M_PION, 1, c_tau=780.45),
        PION0: Kind(M_PION0, 0),
        KAON: Kind(M_KAON, 1, c_tau=371.1),
        PROTON: Kind(M_PROTON, 1),
        ETA: Kind(0.547862, 0),
        ETA_PRIME: Kind(0.95778, 0),
        OMEGA: Kind(0.78266, 0, 0.00868),
        PHI: Kind(1.01946, 0, 0.004249),
        K_STAR: Kind(0.89188, 1, 0.04846),
        RHO0: Kind(0.77526, 0, 0.1474),
        RHO: Kind(0.77511, 1, 0.1491),
        K_STAR0: Kind(0.89556, 0, 0.0471),
        K_SHORT: Kind(0.497611, 0, c_tau=2.6844),
        K_LONG: Kind(0.497611, 0, c_tau=1533.7),
        NEUTRON: Kind(0.939565, 0),
        **{code: Kind(0.0, 0) for code in NEUTRINOS},
        LAMBDA: Kind(1.115683, 0, c_tau=7.85),
        SIGMA0: Kind(1.192642, 0),
        SIGMA_PLUS: Kind(1.18937, 1, c_tau=2.404),
        SIGMA_MINUS: Kind(1.197449, -1, c_tau=4.434),
        XI_MINUS: Kind(1.32171, -1, c_tau=4.91),
        XI0: Kind(1.31486, 0, c_tau=8.71),
        ETA_C: Kind(2.9841, 0, 0.0305),
        JPSI: Kind(M_JPSI, 0),
    }
)
SELF_CONJUGATE: Final = (
    *(PHOTON, PION0, ETA, ETA_PRIME, RHO0, OMEGA, PHI, K_SHORT, K_LONG, ETA_C, JPSI, VIRTUAL_PHOTON),
    MAJORANA_NEUTRINO,
)
# Charged particles that live long enough to make a track, in the order of `CHARGED_MASSES`.
CHARGED: Final = (ELECTRON, MUON, PION, KAON, PROTON)


@dataclass(frozen=True)
class Particles:
    """All particles of a run of events, sorted by event; the row order inside an event never changes.

    Attributes:
        n_events: Number of events.
        event: Event of each particle, (N,), rising.
        pdg_id: PDG code, (N,).
        mother: Row of the mother within the event, -1 for none, (N,).
        p4: (px, py, pz, E) in GeV, (N, 4).
        vertex: Production vertex in cm, (N, 3).
        is_final: Whether the particle reaches the detector, (N,): not decayed and not converted.
    """

    n_events: int
    event: IntArray
    pdg_id: IntArray
    mother: IntArray
    p4: FloatArray
    vertex: FloatArray
    is_final: BoolArray

    @property
    def offsets(self) -> IntArray:
        """First row of every event and the number of rows, (n_events + 1,)."""
        counts = np.bincount(self.event, minlength=self.n_events)
        return np.concatenate([[0], np.cumsum(counts)])

    @property
    def row(self) -> IntArray:
        """Row of every particle within its event, (N,)."""
        return np.asarray(np.arange(len(self.event)) - self.offsets[self.event])

    def take(self, events: IntArray) -> Particles:
        """Return the chosen events, which rise, numbered anew."""
        number = np.full(self.n_events, -1)
        number[events] = np.arange(len(events))
        rows = number[self.event] >= 0
        columns = {name: getattr(self, name)[rows] for name in ("pdg_id", "mother", "p4", "vertex", "is_final")}
        return Particles(len(events), number[self.event[rows]], **columns)


def signed_charge(pdg_id: npt.ArrayLike) -> IntArray:
    """Return the charge in e of electrons, muons, pions, kaons and protons, 0 for all others; shape of `pdg_id`."""
    code = np.asarray(pdg_id, dtype=np.int64)
    size = np.abs(code)
    positive = np.isin(size, (PION, KAON, PROTON)).astype(np.int64)
    negative = np.isin(size, (ELECTRON, MUON)).astype(np.int64)
    return np.sign(code) * (positive - negative)


def conjugate(pdg_id: int) -> int:
    """Return the code of the antiparticle."""
    return pdg_id if pdg_id in SELF_CONJUGATE else -pdg_id


def append(table: Particles, new: Particles) -> Particles:
    """Return the table with new particles put behind those of the same event; existing rows keep their numbers."""
    order = np.argsort(np.concatenate([table.event, new.event]), kind="stable")
    return Particles(
        table.n_events,
        np.concatenate([table.event, new.event])[order],
        np.concatenate([table.pdg_id, new.pdg_id])[order],
        np.concatenate([table.mother, new.mother])[order],
        np.concatenate([table.p4, new.p4])[order],
        np.concatenate([table.vertex, new.vertex])[order],
        np.concatenate([table.is_final, new.is_final])[order],
    )


def make(table: Particles, parents: IntArray, pdg_id: npt.ArrayLike, p4: FloatArray, vertex: FloatArray) -> Particles:
    """Return final particles that come from the rows `parents` of a table.

    Args:
        table: The table of the parents.
        parents: Index into the whole table, (n,).
        pdg_id: PDG codes that broadcast to (n,).
        p4: Four-momenta in GeV, (n, 4).
        vertex: Production vertices in cm, (n, 3).
    """
    codes = np.broadcast_to(np.asarray(pdg_id, dtype=np.int64), parents.shape)
    is_final = np.ones(len(parents), dtype=np.bool_)
    return Particles(table.n_events, table.event[parents], codes, table.row[parents], p4, vertex, is_final)


def join(*tables: Particles) -> Particles:
    """Return several tables of the same events as one, unsorted: meant for `append`."""
    return Particles(
        tables[0].n_events,
        np.concatenate([t.event for t in tables]),
        np.concatenate([t.pdg_id for t in tables]),
        np.concatenate([t.mother for t in tables]),
        np.concatenate([t.p4 for t in tables]),
        np.concatenate([t.vertex for t in tables]),
        np.concatenate([t.is_final for t in tables]),
    )


def interleave(parts: Sequence[tuple[IntArray, Particles]], n_events: int) -> Particles:
    """Return tables of some events each as the table of all, in the order of the events."""
    event = np.concatenate([events[table.event] for events, table in parts])
    order = np.argsort(event, kind="stable")
    joined = {
        name: np.concatenate([getattr(table, name) for _, table in parts])[order]
        for name in ("pdg_id", "mother", "p4", "vertex", "is_final")
    }
    return Particles(n_events, event[order], **joined)
