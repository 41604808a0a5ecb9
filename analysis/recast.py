"""Decays J/psi -> K+ K+ e- e- + c.c. of somebody else's model: read, simulated with our detector, and searched for.

A file has one row per particle: a table (CSV, Parquet) with the columns `COLUMNS`, or Les Houches events (J. Alwall et
al., Comput. Phys. Commun. 176 (2007) 300, doi:10.1016/j.cpc.2006.11.010). Momenta are those before final-state
radiation, which the simulation adds in the rest frame of whatever decays: a pair from a narrow neutrino radiates less
than two particles of a contact interaction. So a table names the neutrino that a particle comes from, 1 or 2, in the
column `neutrino`; of Les Houches events the mothers are read.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import SEARCH, SIGNAL, DatasetMetadata
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.selection import search
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.simulation.decays import REVERSED, boost
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS, make_block_of_decays

COLUMNS: Final = ("event", "pdg_id", "px", "py", "pz", "e")
OPTIONAL: Final = ("neutrino", "weight")
N_BODIES: Final = 4
CONTENT: Final = np.array([KAON, ELECTRON, KAON, ELECTRON])
MASSES: Final = np.array([M_KAON, M_ELECTRON, M_KAON, M_ELECTRON])
# GeV by which a mass may differ from ours, and momentum that a J/psi has at most in the laboratory, in GeV/c.
TOLERANCE: Final = 1e-3
LABORATORY_MAX: Final = 0.05
# Labels of the pairs of particles that come from no neutrino.
_NO_NEUTRINO: Final = 3
_OF_NEUTRINO: Final = ([ELECTRON, KAON], [-KAON, -ELECTRON])
# Columns of a particle of a Les Houches event, and the status of one that does not decay.
_LHE_COLUMNS: Final = 13
_FINAL: Final = 1


class DecaysError(LnvError):
    """Decays that are none of J/psi -> K+ K+ e- e- + c.c., or a file that cannot be read."""


@dataclass(frozen=True)
class Particles:
    """The particles of a file, event by event.

    Attributes:
        event: Number of the event, which particles of one event share and stand together with (P,).
        pdg_id: (P,).
        p4: (px, py, pz, E) in GeV, (P, 4).
        neutrino: Number of the neutrino it comes from, 0 for none (P,).
        weight: Of the event (P,).
    """

    event: IntArray
    pdg_id: IntArray
    p4: FloatArray
    neutrino: IntArray
    weight: FloatArray


@dataclass(frozen=True)
class Decays:
    """Decays in the rest frame of the J/psi, the beams along z.

    Attributes:
        momenta: (px, py, pz, E) in GeV of kaon, electron, kaon, electron (N, 4, 4); pairs from a neutrino come first.
        n_neutrinos: How many pairs come from a neutrino (N,).
        is_conjugated: Whether the kaons are negative (N,).
        weight: (N,).
    """

    momenta: FloatArray
    n_neutrinos: IntArray
    is_conjugated: BoolArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.momenta)

    def blocks(self) -> Iterator[tuple[int, Decays]]:
        """Return the decays in blocks of the simulation, with their numbers."""
        for block, first in enumerate(range(0, len(self), BLOCK_EVENTS)):
            at = slice(first, first + BLOCK_EVENTS)
            yield block, Decays(self.momenta[at], self.n_neutrinos[at], self.is_conjugated[at], self.weight[at])


def read(path: Path) -> Decays:
    """Return the decays of a file.

    Raises:
        DecaysError: It cannot be read, or holds something else.
    """
    name = path.name.lower()
    readers = {(".lhe", ".lhe.gz"): _of_lhe, (".csv",): _of_table, (".parquet",): _of_table}
    reader = next((r for suffixes, r in readers.items() if name.endswith(suffixes)), None)
    if reader is None:
        msg = f"{path}: wanted a file of decays that ends in .csv, .parquet, .lhe or .lhe.gz"
        raise DecaysError(msg)
    try:
        return decays(reader(path))
    except DecaysError as error:
        msg = f"{path}: {error}"
        raise DecaysError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); give another file of decays"
        raise DecaysError(msg) from error


def _of_table(path: Path) -> Particles:
    import pyarrow as pa  # noqa: PLC0415 only files of decays need it
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        table = parquet.read_table(path) if path.suffix.lower() == ".parquet" else csv.read_csv(path)
    except pa.ArrowInvalid as error:
        msg = f"no table ({str(error).splitlines()[0]}); wanted columns {', '.join(COLUMNS)}, a row per particle"
        raise DecaysError(msg) from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        msg = f"no column {missing[0]!r}; got {table.column_names}; wanted {', '.join(COLUMNS)}, a row per particle"
        raise DecaysError(msg)
    found = {name: _numbers(name, table[name]) for name in (*COLUMNS, *OPTIONAL) if name in table.column_names}
    event, pdg_id = found["event"].astype(np.int64), found["pdg_id"].astype(np.int64)
    neutrino = found.get("neutrino", np.zeros(len(event))).astype(np.int64)
    p4 = np.column_stack([found[name] for name in COLUMNS[2:]])
    return Particles(event, pdg_id, p4, neutrino, found.get("weight", np.ones(len(event))))


def _numbers(name: str, column: Any) -> FloatArray:
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if pa.types.is_boolean(kind) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        msg = f"column {name!r} holds {kind}; wanted numbers"
        raise DecaysError(msg)
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    if not np.isfinite(values).all():
        msg = f"column {name!r} holds {values[~np.isfinite(values)][0]} in row {int(np.argmin(np.isfinite(values)))}; "
        msg += "wanted finite numbers"
        raise DecaysError(msg)
    return values


def _of_lhe(path: Path) -> Particles:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as stream:
        events = [_lhe_event(i, lines) for i, lines in enumerate(_lhe_blocks(stream))]
    if not events:
        msg = "no <event> in it; wanted Les Houches events"
        raise DecaysError(msg)
    columns = [np.concatenate([e[k] for e in events]) for k in range(5)]
    return Particles(*columns)


def _lhe_blocks(stream: Any) -> Iterator[list[list[str]]]:
    """Return the words of the lines of every event, without what other programs add to it in tags of their own."""
    lines: list[list[str]] | None = None
    for line in stream:
        if line.lstrip().startswith("<event"):
            lines = []
        elif line.lstrip().startswith("</event"):
            yield lines or []
            lines = None
        elif lines is not None and (words := line.partition("#")[0].split()):
            lines.append(words)


def _lhe_event(number: int, lines: Sequence[Sequence[str]]) -> tuple[Any, ...]:
    """Return event, code, four-momentum, neutrino and weight of the particles that do not decay."""
    try:
        n, weight = int(lines[0][0]), float(lines[0][2])
        rows = np.array([[float(w) for w in line[:_LHE_COLUMNS]] for line in lines[1 : n + 1]]).reshape(n, _LHE_COLUMNS)
    except (IndexError, ValueError) as error:
        msg = f"event {number} is no Les Houches event ({type(error).__name__}: {error})"
        raise DecaysError(msg) from None
    codes, mothers = rows[:, 0].astype(np.int64), rows[:, 2].astype(np.int64) - 1
    finals = np.flatnonzero(rows[:, 1] == _FINAL)
    neutrino = np.zeros(n, dtype=np.int64)
    for mother in np.unique(mothers[finals]):
        of_it = finals[mothers[finals] == mother]
        if 0 <= mother < n and _is_neutrino(codes[of_it], rows[of_it, 6:10], rows[mother, 6:10]):
            neutrino[of_it] = neutrino.max() + 1
    k = len(finals)
    return np.full(k, number), codes[finals], rows[finals, 6:10], neutrino[finals], np.full(k, weight)


def _is_neutrino(codes: IntArray, p4: FloatArray, mother: FloatArray) -> bool:
    """Return whether particles of four-momenta (K, 4) are all that one neutrino decays to, kaon and electron."""
    return sorted(codes.tolist()) in _OF_NEUTRINO and bool((np.abs(p4.sum(axis=0) - mother) < TOLERANCE).all())


def decays(particles: Particles) -> Decays:
    """Return the decays that particles make up, each in the rest frame of its J/psi.

    Raises:
        DecaysError: An event has other particles than the decay, or momenta that do not add up to a J/psi.
    """
    event = particles.event
    first = np.flatnonzero(np.concatenate([[True], event[1:] != event[:-1]])) if len(event) else np.zeros(0, np.int64)
    sizes = np.diff(np.concatenate([first, [len(event)]]))
    _refuse("the file", len(first) == 0, "no decay in it; wanted at least one")
    for i in np.flatnonzero(sizes != N_BODIES)[:1]:
        _refuse_content(event[first[i]], particles.pdg_id[first[i] : first[i] + sizes[i]])
    codes, neutrino = (v.reshape(-1, N_BODIES) for v in (particles.pdg_id, particles.neutrino))
    p4 = particles.p4.reshape(-1, N_BODIES, 4)
    for i in np.flatnonzero((neutrino >= _NO_NEUTRINO).any(axis=1))[:1]:
        _refuse(f"event {event[first[i]]}", True, f"neutrino {neutrino[i].max()}; wanted 1 or 2, or 0 for none")
    order = np.lexsort((np.abs(codes) == ELECTRON, _pair(codes, neutrino)), axis=1)
    sorted_codes, of_pair = np.take_along_axis(codes, order, 1), np.take_along_axis(neutrino, order, 1)
    momenta = np.take_along_axis(p4, order[..., None], 1)
    sign = np.sign(codes[:, :1])
    wrong = (np.sort(sign * codes, axis=1) != np.sort(CONTENT)).any(axis=1)
    for i in np.flatnonzero(wrong)[:1]:
        _refuse_content(event[first[i]], codes[i])
    mixed = (of_pair[:, 0::2] != of_pair[:, 1::2]).any(axis=1) | (sorted_codes != sign * CONTENT).any(axis=1)
    for i in np.flatnonzero(mixed)[:1]:
        _refuse(f"event {event[first[i]]}", True, f"neutrinos {neutrino[i]} of {codes[i]}; wanted K and e of each")
    weight = particles.weight[first]
    _refuse("weights", bool((weight < 0).any() or not weight.sum() > 0), "wanted none below zero and a sum above")
    n_neutrinos = np.count_nonzero(of_pair[:, 0::2] > 0, axis=1)
    return Decays(_at_rest(event[first], momenta), n_neutrinos, sign[:, 0] < 0, weight)


def _pair(codes: IntArray, neutrino: IntArray) -> IntArray:
    """Return which pair particles belong to (N, 4): the neutrino, or behind those the first ones of their kinds."""
    free = neutrino <= 0
    rank = np.zeros(codes.shape, dtype=np.int64)
    for kind in (KAON, ELECTRON):
        is_kind = (np.abs(codes) == kind) & free
        rank = np.where(is_kind, np.cumsum(is_kind, axis=1), rank)
    return np.where(free, _NO_NEUTRINO + rank, neutrino)


def _refuse(where: str, is_wrong: bool, what: str) -> None:
    if is_wrong:
        msg = f"{where}: {what}"
        raise DecaysError(msg)


def _refuse_content(event: int, codes: IntArray) -> None:
    more = "; radiation is added by the simulation" if 22 in codes else ""  # noqa: PLR2004 the photon
    wanted = f"K+ K+ e- e- or its conjugate, {KAON} {KAON} {ELECTRON} {ELECTRON}"
    _refuse(f"event {event}", True, f"particles {' '.join(map(str, codes))}; wanted {wanted}{more}")


def _at_rest(event: IntArray, momenta: FloatArray) -> FloatArray:
    """Return momenta (N, 4, 4) in the rest frame of the J/psi.

    Raises:
        DecaysError: An energy is not that of its particle, or a sum not that of a J/psi.
    """
    energy = np.sqrt(np.square(momenta[..., :3]).sum(axis=-1) + MASSES**2)
    for i in np.flatnonzero((np.abs(momenta[..., 3] - energy) > TOLERANCE).any(axis=1))[:1]:
        k = int(np.argmax(np.abs(momenta[i, :, 3] - energy[i])))
        got = f"energy {momenta[i, k, 3]:.5g} GeV of a {'kaon' if k % 2 == 0 else 'electron'}"
        _refuse(f"event {event[i]}", True, f"{got}; its momentum gives {energy[i, k]:.5g}, wanted within {TOLERANCE:g}")
    total = np.concatenate([momenta[..., :3], energy[..., None]], axis=-1).sum(axis=1)
    p = np.sqrt(np.square(total[:, :3]).sum(axis=1))
    mass = np.sqrt(total[:, 3] ** 2 - p**2)
    for i in np.flatnonzero((np.abs(mass - M_JPSI) > TOLERANCE) | (p > LABORATORY_MAX))[:1]:
        got = f"momenta add up to a mass of {mass[i]:.5g} GeV/c^2 with {p[i]:.3g} GeV/c"
        wanted = f"those of a J/psi, {M_JPSI:g} within {TOLERANCE:g}, with less than {LABORATORY_MAX:g}"
        _refuse(f"event {event[i]}", True, f"{got}; wanted {wanted}")
    return boost(np.concatenate([momenta[..., :3], energy[..., None]], axis=-1), (total * REVERSED)[:, None])


def passed(found: Decays, dataset: str, block: int, seed: int, cuts: Cuts = SELECTION) -> BoolArray:
    """Return which decays of a block pass the search (N,) after a simulation with our detector.

    Args:
        found: The decays, at most `BLOCK_EVENTS`.
        dataset: Name that the random numbers depend on.
        block: Number of the block.
        seed: Seed of the random numbers.
        cuts: Requirements of the search.
    """
    columns = make_block_of_decays(found.momenta, found.n_neutrinos, found.is_conjugated, dataset, block, seed)
    made = make_block(columns)
    of_search = DatasetMetadata(kind=SIGNAL, sqrt_s=M_JPSI)
    chunk = Chunk(ArrayColumns(made.values, made.offsets, made.n_events), dataset, of_search, cuts)
    is_passed = np.zeros(len(found), dtype=np.bool_)
    numbers = np.asarray(search.select(chunk)[SEARCH]["candidates"]["event"], dtype=np.int64)
    is_passed[numbers - block * BLOCK_EVENTS - 1] = True
    return is_passed


def efficiency(passes: BoolArray | FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the efficiency of weighted decays and its standard error; of one decay at least where all are alike.

    Args:
        passes: Whether a decay passes, or how probably (N,).
        weight: (N,).
    """
    share = weight / weight.sum()
    value = float(share @ passes)
    spread = math.sqrt(float(np.square(share * (passes - value)).sum()))
    return value, spread or float(share.max())
