"""Generates blocks of events: a decay tree with final-state radiation, in the laboratory, as a table of particles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.constants import M_ELECTRON
from jpsi_lnv.analysis.simulation.beam import Beams, jpsi_momentum, virtual_photon
from jpsi_lnv.analysis.simulation.decays import (
    REVERSED,
    boost,
    break_up_momentum,
    direction,
    phase_space,
    radiate,
    rotate_to,
    scale_to,
    transverse_cos_theta,
)
from jpsi_lnv.analysis.simulation.particles import (
    CHARGED,
    ELECTRON,
    JPSI,
    KINDS,
    PHOTON,
    PION0,
    SELF_CONJUGATE,
    FloatArray,
    IntArray,
    Particles,
    append,
    join,
    make,
)
from jpsi_lnv.analysis.simulation.processes import (
    BF_PI0_DALITZ,
    BHABHA,
    BHABHA_COSINE,
    DALITZ,
    FLAT,
    VIRTUAL,
    Node,
    Process,
    known_mass,
)

# Breit-Wigner masses are drawn within this many widths.
_WIDTHS: Final = 8.0
_RHO_MASS2: Final = 0.775**2
_GRID: Final = 400


class _Tree(NamedTuple):
    """Growing lists, one entry per node of the tree; photons: event, row of the mother, momentum, vertex."""

    codes: list[int]
    mothers: list[int]
    momenta: list[FloatArray]
    vertices: list[FloatArray]
    photons: list[tuple[IntArray, int, FloatArray, FloatArray]]


def generate(
    rng: np.random.Generator,
    process: Process,
    sqrt_s: float,
    beams: Beams,
    emitters: tuple[int, ...] = CHARGED,
) -> Particles:
    """Return the particles of events of one process, in the laboratory.

    Args:
        rng: Source of random numbers.
        process: The process; a tree whose top is the J/psi, or the virtual photon of the continuum.
        sqrt_s: Centre-of-mass energy in GeV.
        beams: Period, run and vertex of the events.
        emitters: Codes of the particles that radiate, whatever their charge.

    Returns:
        The table of particles with decayed neutral pions.
    """
    n = len(beams.run)
    top, isr = _initial(rng, process.tree, sqrt_s, n)
    tree = _Tree([process.tree.pdg_id], [-1], [top], [beams.vertex], [])
    _grow(rng, process.tree, 0, tree, emitters)
    table = _table(tree, _is_conjugated(rng, process, n))
    if isr is not None:
        table = append(table, _radiated(table, np.arange(n), np.full(n, -1), isr, beams.vertex))
    return decay_pions(rng, table)


def of_decays(
    rng: np.random.Generator,
    tree: Node,
    momenta: FloatArray,
    is_conjugated: BoolArray,
    beams: Beams,
    emitters: tuple[int, ...] = CHARGED,
) -> Particles:
    """Return the particles of J/psi decays that somebody else made, in the laboratory, with final-state radiation.

    Args:
        rng: Source of random numbers.
        tree: The J/psi and its decay chain: each decay radiates in the rest frame of what decays.
        momenta: (px, py, pz, E) in GeV of the last particles of the chain (n, k, 4), in their order, in the rest frame
            of the J/psi, the beams along z. They are stretched to the mass that each J/psi has, for the energy of the
            beams varies.
        is_conjugated: Which decays are the conjugate (n,).
        beams: Period, run and vertex of the events.
        emitters: Codes of the particles that radiate, whatever their charge.
    """
    top = jpsi_momentum(rng, len(beams.run))
    grown = _Tree([tree.pdg_id], [-1], [top], [beams.vertex], [])
    masses = np.broadcast_to([known_mass(leaf) for leaf in last_of(tree)], momenta.shape[:2])
    _follow(rng, tree, 0, grown, emitters, scale_to(_mass(top), momenta[..., :3], masses))
    return _table(grown, is_conjugated)


def _follow(
    rng: np.random.Generator, node: Node, row: int, tree: _Tree, emitters: tuple[int, ...], momenta: FloatArray
) -> None:
    """Append a node's descendants, of which the last ones have momenta (n, k, 4) in its rest frame."""
    ends = np.cumsum([len(last_of(d)) for d in node.daughters])
    groups = np.split(momenta, ends[:-1], axis=1)
    sums = np.stack([group.sum(axis=1) for group in groups], axis=1)
    rows = _attach(rng, node, row, tree, emitters, _mass(sums), sums)
    for daughter, place, group, total in zip(node.daughters, rows, groups, sums.swapaxes(0, 1), strict=True):
        if daughter.daughters:
            _follow(rng, daughter, place, tree, emitters, boost(group, (total * REVERSED)[:, None]))


def last_of(node: Node) -> tuple[Node, ...]:
    """Return the particles at the ends of a decay chain, in its order."""
    return tuple(leaf for d in node.daughters for leaf in last_of(d)) if node.daughters else (node,)


def _mass(p4: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(p4[..., 3] ** 2 - (p4[..., :3] ** 2).sum(axis=-1), 0.0)))


def _initial(rng: np.random.Generator, node: Node, sqrt_s: float, n: int) -> tuple[FloatArray, FloatArray | None]:
    if node.pdg_id == JPSI:
        return jpsi_momentum(rng, n), None
    return virtual_photon(rng, sqrt_s, n)


def _is_conjugated(rng: np.random.Generator, process: Process, n: int) -> BoolArray:
    """Return which events are the conjugate: exactly every other one."""
    if not process.is_conjugated:
        return np.zeros(n, dtype=np.bool_)
    return (np.arange(n) + rng.integers(2)) % 2 == 1


def _grow(rng: np.random.Generator, node: Node, row: int, tree: _Tree, emitters: tuple[int, ...]) -> None:
    """Decay one node and then its daughters."""
    if not node.daughters:
        return
    parent = tree.momenta[row]
    mass = _mass(parent)
    masses = _daughter_masses(rng, node, mass)
    rows = _attach(rng, node, row, tree, emitters, masses, _decay(rng, node, mass, masses))
    for daughter, place in zip(node.daughters, rows, strict=True):
        _grow(rng, daughter, place, tree, emitters)


def _attach(
    rng: np.random.Generator,
    node: Node,
    row: int,
    tree: _Tree,
    emitters: tuple[int, ...],
    masses: FloatArray,
    momenta: FloatArray,
) -> range:
    """Let the daughters (n, k, 4) of a node radiate in its rest frame, append them, and return their rows."""
    parent, codes = tree.momenta[row], np.array([d.pdg_id for d in node.daughters])
    radiation = radiate(rng, momenta, masses, np.isin(np.abs(codes), emitters))
    rows = range(len(tree.codes), len(tree.codes) + len(codes))
    vertex = tree.vertices[row] + _flight(rng, node, parent)
    if len(own := radiation.decay):
        tree.photons.append((own, row, boost(radiation.photons, parent[own]), vertex[own]))
    laboratory = boost(radiation.momenta, parent[:, None, :])
    for i, code in enumerate(codes):
        tree.codes.append(int(code))
        tree.mothers.append(row)
        tree.momenta.append(laboratory[:, i])
        tree.vertices.append(vertex)
    return rows


def _flight(rng: np.random.Generator, node: Node, p4: FloatArray) -> FloatArray:
    """Return how far particles of one kind fly before they decay, in cm, (n, 3) or 0."""
    c_tau = KINDS[abs(node.pdg_id)].c_tau if abs(node.pdg_id) in KINDS else np.inf
    if not np.isfinite(c_tau):
        return np.zeros(3)
    times = c_tau * rng.exponential(size=len(p4)) / KINDS[abs(node.pdg_id)].mass
    return np.asarray(p4[:, :3] * times[:, None])


def _daughter_masses(rng: np.random.Generator, node: Node, mass: FloatArray) -> FloatArray:
    """Return masses of the daughters, (n, k), drawn again where broad ones do not fit into the parent."""
    masses = np.stack([draw_mass(rng, d, len(mass)) for d in node.daughters], axis=1)
    while (heavy := np.flatnonzero(masses.sum(axis=1) >= mass)).size:
        masses[heavy] = np.stack([draw_mass(rng, d, heavy.size) for d in node.daughters], axis=1)
    return masses


def _decay(rng: np.random.Generator, node: Node, mass: FloatArray, masses: FloatArray) -> FloatArray:
    if node.angle == FLAT:
        return phase_space(rng, mass, list(masses.T), len(mass))
    if node.angle == VIRTUAL:
        return virtual_photon_decay(rng, mass, masses[:, :-2])
    if node.angle == DALITZ:
        return dalitz_decay(rng, mass)
    cosine = bhabha_cos_theta if node.angle == BHABHA else transverse_cos_theta
    return _about_beam(rng, phase_space(rng, mass, list(masses.T), len(mass)), cosine)


def _about_beam(
    rng: np.random.Generator, momenta: FloatArray, cosine: Callable[[np.random.Generator, int], FloatArray]
) -> FloatArray:
    """Give the first of two daughters a distribution of its polar angle about the beam."""
    n = len(momenta)
    axis = direction(cosine(rng, n), rng.uniform(-np.pi, np.pi, n))
    momentum = np.linalg.norm(momenta[:, 0, :3], axis=1)[:, None]
    out = momenta.copy()
    out[:, 0, :3], out[:, 1, :3] = axis * momentum, -axis * momentum
    return out


def bhabha_cos_theta(rng: np.random.Generator, n: int) -> FloatArray:
    """Return cosines of the electron's polar angle in Bhabha scattering at high energy (Born), (n,).

    ((3 + c^2)/(1 - c))^2 within `BHABHA_COSINE`: proposed as 1/(1 - c)^2, whose integral is 1/(1 - c).
    """
    low, high = 1.0 / (1.0 + BHABHA_COSINE), 1.0 / (1.0 - BHABHA_COSINE)
    bound = (3.0 + BHABHA_COSINE**2) ** 2
    out = np.empty(n)
    pending = np.arange(n)
    while pending.size:
        trial = 1.0 - 1.0 / rng.uniform(low, high, pending.size)
        is_accepted = rng.uniform(size=pending.size) * bound < (3.0 + trial**2) ** 2
        out[pending[is_accepted]] = trial[is_accepted]
        pending = pending[~is_accepted]
    return out


def draw_mass(rng: np.random.Generator, node: Node, n: int) -> FloatArray:
    """Return masses in GeV/c^2 of a node, (n,): a Breit-Wigner cut at its daughters' threshold if it has a width."""
    mass = known_mass(node)
    kind = KINDS.get(abs(node.pdg_id))
    if node.mass is not None or kind is None or kind.width == 0.0:
        return np.full(n, mass)
    threshold = sum(known_mass(d) for d in node.daughters)
    low = max(mass - _WIDTHS * kind.width, threshold + kind.width)
    edges = np.arctan(2.0 * (np.array([low, mass + _WIDTHS * kind.width]) - mass) / kind.width)
    return np.asarray(mass + kind.width / 2.0 * np.tan(rng.uniform(float(edges[0]), float(edges[1]), n)))


def _table(tree: _Tree, is_conjugated: BoolArray) -> Particles:
    """Return the nodes of all events as one table, the photons of the final state behind them."""
    n, k = len(is_conjugated), len(tree.codes)
    codes = np.array(tree.codes)
    sign = np.where(np.isin(codes, SELF_CONJUGATE), 1, np.where(is_conjugated[:, None], -1, 1))
    is_final = ~np.isin(np.arange(k), tree.mothers)
    table = Particles(
        n,
        np.repeat(np.arange(n), k),
        (codes * sign).ravel(),
        np.tile(np.array(tree.mothers), n),
        np.stack(tree.momenta, axis=1).reshape(-1, 4),
        np.stack(tree.vertices, axis=1).reshape(-1, 3),
        np.tile(is_final, n),
    )
    if not tree.photons:
        return table
    event, mother, momenta, vertex = (
        np.concatenate([e for e, *_ in tree.photons]),
        np.concatenate([np.full(len(e), row) for e, row, *_ in tree.photons]),
        np.concatenate([p for _, _, p, _ in tree.photons]),
        np.concatenate([v for *_, v in tree.photons]),
    )
    return append(table, _radiated(table, event, mother, momenta, vertex))


def _radiated(table: Particles, event: IntArray, mother: IntArray, p4: FloatArray, vertex: FloatArray) -> Particles:
    codes = np.full(len(event), PHOTON)
    return Particles(table.n_events, event, codes, mother, p4, vertex, np.ones(len(event), dtype=np.bool_))


def decay_pions(rng: np.random.Generator, table: Particles) -> Particles:
    """Return the table with every final neutral pion decayed: to two photons, or to a photon and an e+e- pair."""
    is_pion = (table.pdg_id == PION0) & table.is_final
    rows = np.flatnonzero(is_pion)
    if rows.size == 0:
        return table
    is_dalitz = rng.uniform(size=rows.size) < BF_PI0_DALITZ.value
    photons, pairs = rows[~is_dalitz], rows[is_dalitz]
    # The mass that the momenta have, for Pythia's differs in the fifth digit.
    mass = np.sqrt(table.p4[:, 3] ** 2 - (table.p4[:, :3] ** 2).sum(axis=1), where=is_pion, out=np.zeros(len(is_pion)))
    two = phase_space(rng, mass[photons], [0.0, 0.0], len(photons))
    three = dalitz_decay(rng, mass[pairs])
    is_final = table.is_final.copy()
    is_final[rows] = False
    table = Particles(table.n_events, table.event, table.pdg_id, table.mother, table.p4, table.vertex, is_final)
    return append(
        table, join(_daughters(table, photons, two, (PHOTON,) * 2), _daughters(table, pairs, three, DALITZ_CODES))
    )


DALITZ_CODES: Final = (ELECTRON, -ELECTRON, PHOTON)


def _daughters(table: Particles, parents: IntArray, momenta: FloatArray, codes: tuple[int, ...]) -> Particles:
    """Return daughters (n, k, 4) given in the rest frame of the parents as particles of the laboratory."""
    k = len(codes)
    laboratory = boost(momenta, table.p4[parents][:, None, :]).reshape(-1, 4)
    rows = np.repeat(parents, k)
    return make(table, rows, np.tile(np.array(codes), len(parents)), laboratory, table.vertex[rows])


def dalitz_decay(rng: np.random.Generator, mass: FloatArray) -> FloatArray:
    """Return e-, e+ and photon of a Dalitz decay in the rest frame of the meson in GeV, (n, 3, 4).

    N. M. Kroll, W. Wada, Phys. Rev. 98, 1355 (1955): dGamma/dq2 ~ sqrt(1 - 4m2/q2) (1 + 2m2/q2) (1 - q2/M2)^3 |F|^2/q2
    with a form factor of rho dominance; in the pair's rest frame the leptons follow 1 + cos^2 + (4m2/q2) sin^2.
    """
    n = len(mass)
    q2 = _pair_mass2(rng, mass)
    pair = phase_space(rng, mass, [np.sqrt(q2), 0.0], n) if n else np.zeros((0, 2, 4))
    return np.concatenate([_leptons(rng, pair[:, 0], q2), pair[:, 1:]], axis=1)


def virtual_photon_decay(rng: np.random.Generator, mass: FloatArray, hadrons: FloatArray) -> FloatArray:
    """Return two hadrons, e- and e+ of a decay with a virtual photon, in the parent's rest frame in GeV, (n, 4, 4).

    dGamma/dq2 ~ sqrt(1 - 4m2/q2) (1 + 2m2/q2)/q2 times the phase space of the hadrons with a photon of mass q, without
    a form factor; the leptons are distributed as in a Dalitz decay.

    Args:
        rng: Source of random numbers.
        mass: Mass of the parent in GeV/c^2, (n,).
        hadrons: Masses of the two hadrons in GeV/c^2, (n, 2), the same in all decays.
    """
    n = len(mass)
    q2 = _virtual_mass2(rng, mass, hadrons[0]) if n else np.zeros(0)
    momenta = phase_space(rng, mass, [*hadrons.T, np.sqrt(q2)], n)
    return np.concatenate([momenta[:, :-1], _leptons(rng, momenta[:, -1], q2)], axis=1)


def _leptons(rng: np.random.Generator, pair: FloatArray, q2: FloatArray) -> FloatArray:
    """Return e- and e+ of virtual photons with four-momenta (n, 4) in GeV, (n, 2, 4)."""
    momentum = np.sqrt(np.maximum(q2 / 4.0 - M_ELECTRON**2, 0.0))
    axis = rotate_to(direction(_pair_cosine(rng, q2), rng.uniform(-np.pi, np.pi, len(q2))), pair[:, :3])
    first = np.concatenate([axis * momentum[:, None], np.sqrt(q2)[:, None] / 2.0], axis=1)
    leptons = np.stack([first, first * REVERSED], axis=1)
    return boost(leptons, pair[:, None])


def _virtual_mass2(rng: np.random.Generator, mass: FloatArray, hadrons: FloatArray) -> FloatArray:
    grid, volume = photon_phase_space(float(mass.max()), tuple(hadrons.tolist()))
    low, high = 4.0 * M_ELECTRON**2, (mass - hadrons.sum()) ** 2
    q2 = np.empty(len(mass))
    pending = np.arange(len(mass))
    while pending.size:
        trial = low * (high[pending] / low) ** rng.uniform(size=pending.size)
        ratio = low / trial
        weight = np.sqrt(1.0 - ratio) * (1.0 + ratio / 2.0) * np.interp(np.sqrt(trial), grid, volume)
        is_accepted = rng.uniform(size=pending.size) < weight
        q2[pending[is_accepted]] = trial[is_accepted]
        pending = pending[~is_accepted]
    return q2


@lru_cache(maxsize=64)
def photon_phase_space(mass: float, hadrons: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return masses q of a virtual photon in GeV/c^2 and the phase space of hadrons and photon over that at q = 0.

    The integral over the hadrons' mass of both break-up momenta, by the midpoint rule.
    """
    threshold = sum(hadrons)
    grid = np.linspace(0.0, mass - threshold, _GRID)
    steps = (np.arange(_GRID) + 0.5) / _GRID
    m = threshold + steps[:, None] * (mass - grid - threshold)
    integrand = break_up_momentum(mass, m, grid) * break_up_momentum(m, hadrons[0], hadrons[1])
    volume = integrand.mean(axis=0) * (mass - grid - threshold)
    return grid, np.asarray(volume / volume[0])


def _pair_mass2(rng: np.random.Generator, mass: FloatArray) -> FloatArray:
    q2 = np.empty(len(mass))
    low = 4.0 * M_ELECTRON**2
    pending = np.arange(len(mass))
    while pending.size:
        parent2 = mass[pending] ** 2
        trial = low * (parent2 / low) ** rng.uniform(size=pending.size)
        ratio = low / trial
        weight = np.sqrt(1.0 - ratio) * (1.0 + ratio / 2.0) * (1.0 - trial / parent2) ** 3
        weight /= (1.0 - trial / _RHO_MASS2) ** 2
        # Form factors of mesons up to the eta' stay below this bound away from the rho pole.
        is_accepted = rng.uniform(size=pending.size) * 1.1 < weight
        q2[pending[is_accepted]] = trial[is_accepted]
        pending = pending[~is_accepted]
    return q2


def _pair_cosine(rng: np.random.Generator, q2: FloatArray) -> FloatArray:
    cosine = np.empty(len(q2))
    pending = np.arange(len(q2))
    while pending.size:
        trial = rng.uniform(-1.0, 1.0, pending.size)
        weight = 1.0 + trial**2 + 4.0 * M_ELECTRON**2 / q2[pending] * (1.0 - trial**2)
        is_accepted = rng.uniform(size=pending.size) * 2.0 < weight
        cosine[pending[is_accepted]] = trial[is_accepted]
        pending = pending[~is_accepted]
    return cosine
