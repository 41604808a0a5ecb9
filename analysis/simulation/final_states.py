"""The final states of the J/psi with their measured branching fractions, and which one a simulated event is.

Resonances are part of the final state that they decay to: K+ K- pi0 holds K+ K*(892)-. A final state stops at what
lives long or decays electromagnetically: pi0, eta, eta', K_S, K_L, hyperons, eta_c. The states are taken as disjoint;
those with a K_L have the fraction of those with a K_S, and unmeasured charge states follow from isospin.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation.particles import (
    ELECTRON,
    ETA,
    ETA_C,
    ETA_PRIME,
    JPSI,
    K_LONG,
    K_SHORT,
    K_STAR,
    K_STAR0,
    KAON,
    LAMBDA,
    MUON,
    NEUTRON,
    OMEGA,
    PHI,
    PHOTON,
    PION,
    PION0,
    PROTON,
    RHO,
    RHO0,
    SIGMA0,
    SIGMA_MINUS,
    SIGMA_PLUS,
    XI0,
    XI_MINUS,
    Particles,
    conjugate,
)
from jpsi_lnv.analysis.simulation.processes import Fraction, Node, leaves

STOPS: Final = (PION0, ETA, ETA_PRIME, K_SHORT, K_LONG, LAMBDA, SIGMA0, SIGMA_PLUS, SIGMA_MINUS, XI_MINUS, XI0, ETA_C)
_LEPTONS: Final = (ELECTRON, MUON)
_PIONS: Final = (PION, PION0)
_ROUNDING: Final = 1e-6
_LIGHT: Final = (*_PIONS, PHOTON, ETA, ETA_PRIME)
_SELF_CONJUGATE: Final = (PION0, ETA, ETA_PRIME, K_SHORT, K_LONG, PHOTON)

_RHO0 = Node(RHO0, leaves(PION, -PION))
_RHO_PLUS, _RHO_MINUS = Node(RHO, leaves(PION, PION0)), Node(-RHO, leaves(-PION, PION0))
_OMEGA = Node(OMEGA, leaves(PION, -PION, PION0))
_PHI_CHARGED, _PHI_NEUTRAL = Node(PHI, leaves(KAON, -KAON)), Node(PHI, leaves(K_SHORT, K_LONG))
_K_STAR_PI0 = Node(-K_STAR, leaves(-KAON, PION0))
_K_STAR0_CHARGED = Node(K_STAR0, leaves(KAON, -PION))


@dataclass(frozen=True)
class Mode:
    """One way to a final state: its share of the row, and the daughters of the J/psi."""

    share: float
    daughters: tuple[Node, ...]


@dataclass(frozen=True)
class FinalState:
    """One row of the table.

    Attributes:
        name: The final state in words, charge conjugates included.
        fractions: Measured fractions that add up to the row's, before the multiplicity.
        modes: Ways to it; the shares add up to one. Modes with different products are charge states of one row.
        multiplicity: Charge states that the measured one stands for: 2 for K_L as often as K_S.
    """

    name: str
    fractions: tuple[Fraction, ...]
    modes: tuple[Mode, ...]
    multiplicity: float = 1.0

    @property
    def fraction(self) -> float:
        """Branching fraction of the row."""
        return self.multiplicity * sum(f.value for f in self.fractions)

    @property
    def error(self) -> float:
        """Uncertainty of the branching fraction."""
        return self.multiplicity * float(np.sqrt(sum(f.error**2 for f in self.fractions)))


def _nodes(daughters: Sequence[int | Node]) -> tuple[Node, ...]:
    return tuple(d if isinstance(d, Node) else Node(d) for d in daughters)


def _flat(*pdg_ids: int) -> tuple[Mode, ...]:
    """Return a final state of its own, flat in phase space."""
    return (Mode(1.0, _nodes(pdg_ids)),)


def _with(flat: Sequence[int], *resonant: tuple[float, Sequence[int | Node]]) -> tuple[Mode, ...]:
    """Return resonant modes with their shares, the rest of the row flat."""
    modes = tuple(Mode(share, _nodes(daughters)) for share, daughters in resonant)
    return (Mode(1.0 - sum(m.share for m in modes), _nodes(flat)), *modes)


def _states(*weighted: tuple[float, Sequence[int | Node]]) -> tuple[Mode, ...]:
    """Return charge states of one row with their weights."""
    total = sum(weight for weight, _ in weighted)
    return tuple(Mode(weight / total, _nodes(daughters)) for weight, daughters in weighted)


def _both(*others: int | Node) -> tuple[Mode, ...]:
    """Return a row with K_S or K_L, half each."""
    return _states((1.0, (K_SHORT, *others)), (1.0, (K_LONG, *others)))


def _row(
    name: str, identifier: int, value: float, error: float, modes: tuple[Mode, ...], multiplicity: float = 1.0
) -> FinalState:
    return FinalState(name, (Fraction(value, error, f"M070.{identifier}"),), modes, multiplicity)


_P, _M, _Z = PION, -PION, PION0
_KKPI: Final = _states(
    (1.0, (PHOTON, KAON, -KAON, _Z)),
    (1.0, (PHOTON, K_SHORT, K_LONG, _Z)),
    (2.0, (PHOTON, K_SHORT, KAON, _M)),
    (2.0, (PHOTON, K_LONG, KAON, _M)),
)
# Shares of resonances are ratios of measured fractions: M070.20, .26, .24, .121, .122, .445, .34, .441, .37, .30, .101,
# .58, times those of the resonance (omega -> 3 pi 0.892, phi -> K+K- 0.501, K_S K_L 0.336, isospin for K*).
FINAL_STATES: Final[tuple[FinalState, ...]] = (
    _row("e+ e-", 1, 5.971e-2, 0.032e-2, _flat(-ELECTRON, ELECTRON)),
    _row("mu+ mu-", 2, 5.961e-2, 0.033e-2, _flat(-MUON, MUON)),
    _row("2(e+ e-)", 472, 5.48e-5, 0.55e-5, _flat(ELECTRON, -ELECTRON, ELECTRON, -ELECTRON)),
    _row("e+ e- mu+ mu-", 473, 3.53e-5, 0.26e-5, _flat(ELECTRON, -ELECTRON, MUON, -MUON)),
    _row("pi0 e+ e-", 271, 8.06e-7, 0.49e-7, _flat(_Z, ELECTRON, -ELECTRON)),
    _row("eta e+ e-", 272, 1.42e-5, 0.08e-5, _flat(ETA, ELECTRON, -ELECTRON)),
    _row("eta' e+ e-", 273, 6.59e-5, 0.18e-5, _flat(ETA_PRIME, ELECTRON, -ELECTRON)),
    _row("pi+ pi-", 6, 1.469e-4, 0.141e-4, _flat(_P, _M)),
    _row(
        "pi+ pi- pi0",
        7,
        1.996e-2,
        0.073e-2,
        _with((_P, _M, _Z), (0.31, (_RHO0, _Z)), (0.315, (_RHO_PLUS, _M)), (0.315, (_RHO_MINUS, _P))),
    ),
    _row("2(pi+ pi-)", 8, 3.20e-3, 0.25e-3, _flat(_P, _M, _P, _M)),
    _row("2(pi+ pi-) pi0", 9, 4.215e-2, 0.385e-2, _with((_P, _M, _P, _M, _Z), (0.181, (_OMEGA, _P, _M)))),
    _row("3(pi+ pi-)", 10, 4.286e-3, 0.393e-3, _flat(_P, _M, _P, _M, _P, _M)),
    _row(
        "3(pi+ pi-) pi0",
        11,
        2.862e-2,
        0.553e-2,
        _with((_P, _M, _P, _M, _P, _M, _Z), (0.265, (_OMEGA, _P, _M, _P, _M))),
    ),
    _row("4(pi+ pi-) pi0", 12, 9.0e-3, 3.0e-3, _flat(_P, _M, _P, _M, _P, _M, _P, _M, _Z)),
    _row("2(pi+ pi- pi0)", 210, 1.610e-2, 0.205e-2, _flat(_P, _M, _P, _M, _Z, _Z)),
    _row("pi+ pi- 3pi0", 358, 1.875e-2, 0.858e-2, _flat(_P, _M, _Z, _Z, _Z)),
    _row("2(pi+ pi-) 3pi0", 411, 6.239e-2, 0.930e-2, _flat(_P, _M, _P, _M, _Z, _Z, _Z)),
    _row("pi+ pi- 4pi0", 419, 6.47e-3, 1.27e-3, _flat(_P, _M, _Z, _Z, _Z, _Z)),
    _row("eta pi+ pi- pi0", 420, 1.172e-2, 0.203e-2, _with((ETA, _P, _M, _Z), (0.133, (_OMEGA, ETA)))),
    _row("eta pi+ pi- 3pi0", 422, 4.87e-3, 1.04e-3, _flat(ETA, _P, _M, _Z, _Z, _Z)),
    _row("eta pi+ pi- 2pi0", 359, 2.368e-3, 0.483e-3, _flat(ETA, _P, _M, _Z, _Z)),
    _row("eta 2(pi+ pi-)", 201, 2.289e-3, 0.277e-3, _flat(ETA, _P, _M, _P, _M)),
    _row("eta 3(pi+ pi-)", 202, 7.24e-4, 1.47e-4, _flat(ETA, _P, _M, _P, _M, _P, _M)),
    _row("eta 2(pi+ pi- pi0)", 418, 1.646e-3, 0.535e-3, _flat(ETA, _P, _M, _P, _M, _Z, _Z)),
    _row("eta pi+ pi-", 239, 3.78e-4, 0.68e-4, _flat(ETA, _P, _M)),
    _row("K+ K-", 13, 3.058e-4, 0.053e-4, _flat(KAON, -KAON)),
    _row("K_S K_L", 75, 1.953e-4, 0.113e-4, _flat(K_SHORT, K_LONG)),
    _row("K+ K- pi0", 334, 2.88e-3, 0.12e-3, _with((KAON, -KAON, _Z), (0.699, (KAON, _K_STAR_PI0)))),
    _row(
        "K0 K+- pi-+",
        335,
        5.290e-3,
        0.472e-3,
        _states(
            (0.181, (K_SHORT, KAON, _M)),
            (0.181, (K_LONG, KAON, _M)),
            (0.190, (KAON, Node(-K_STAR, leaves(K_SHORT, _M)))),
            (0.190, (KAON, Node(-K_STAR, leaves(K_LONG, _M)))),
            (0.129, (K_SHORT, _K_STAR0_CHARGED)),
            (0.129, (K_LONG, _K_STAR0_CHARGED)),
        ),
        2.0,
    ),
    _row("K_S K_L pi0", 336, 2.062e-3, 0.262e-3, _flat(K_SHORT, K_LONG, _Z)),
    _row(
        "K+ K- pi+ pi-",
        16,
        7.04e-3,
        0.96e-3,
        _with((KAON, -KAON, _P, _M), (0.541, (_K_STAR0_CHARGED, -KAON, _P)), (0.067, (_PHI_CHARGED, _P, _M))),
    ),
    _row("K+ K- 2pi0", 234, 2.125e-3, 0.223e-3, _flat(KAON, -KAON, _Z, _Z)),
    _row(
        "K_S K_L pi+ pi-",
        296,
        3.762e-3,
        0.568e-3,
        _with((K_SHORT, K_LONG, _P, _M), (0.084, (_PHI_NEUTRAL, _P, _M))),
    ),
    _row(
        "K_S K_S pi+ pi- and K_L K_L pi+ pi-",
        297,
        1.682e-3,
        0.189e-3,
        _states((1.0, (K_SHORT, K_SHORT, _P, _M)), (1.0, (K_LONG, K_LONG, _P, _M))),
        2.0,
    ),
    _row("K_S K_L 2pi0", 337, 1.863e-3, 0.427e-3, _flat(K_SHORT, K_LONG, _Z, _Z)),
    _row("K0 K+- pi-+ pi0", 341, 5.733e-3, 0.486e-3, _both(KAON, _M, _Z), 2.0),
    _row(
        "K+ K- pi+ pi- pi0",
        18,
        1.516e-2,
        0.266e-2,
        _with((KAON, -KAON, _P, _M, _Z), (0.090, (_OMEGA, KAON, -KAON))),
    ),
    _row("K+ K- 3pi0", 452, 1.610e-3, 0.288e-3, _flat(KAON, -KAON, _Z, _Z, _Z)),
    _row("K0 K+- pi-+ 2pi0", 453, 5.299e-3, 0.712e-3, _both(KAON, _M, _Z, _Z), 2.0),
    _row("K0 K+- pi-+ pi+ pi-", 454, 6.257e-3, 0.430e-3, _both(KAON, _M, _P, _M), 2.0),
    _row("K0 K+- pi-+ omega", 101, 3.440e-3, 0.453e-3, _both(KAON, _M, _OMEGA), 2.0 * 0.8925),
    _row("K+ K- 2(pi+ pi-)", 17, 3.1e-3, 1.3e-3, _flat(KAON, -KAON, _P, _M, _P, _M)),
    _row("2(K+ K-)", 19, 7.234e-4, 0.807e-4, _flat(KAON, -KAON, KAON, -KAON)),
    _row("K+ K- K_S K_S", 298, 4.16e-4, 0.75e-4, _flat(KAON, -KAON, K_SHORT, K_SHORT)),
    _row("eta K+ K- pi+ pi-", 238, 4.687e-3, 0.707e-3, _flat(ETA, KAON, -KAON, _P, _M)),
    _row("eta K+ K-", 455, 8.61e-4, 2.97e-4, _with((ETA, KAON, -KAON), (0.43, (_PHI_CHARGED, ETA)))),
    _row("eta K_S K_L", 340, 1.447e-3, 0.335e-3, _with((ETA, K_SHORT, K_LONG), (0.171, (_PHI_NEUTRAL, ETA)))),
    _row("eta K0 K+- pi-+", 230, 2.18e-3, 0.40e-3, _both(ETA, KAON, _M), 2.0),
    _row("p anti-p", 50, 2.1205e-3, 0.0287e-3, _flat(PROTON, -PROTON)),
    _row("p anti-p pi0", 52, 1.192e-3, 0.080e-3, _flat(PROTON, -PROTON, _Z)),
    _row("p anti-n pi- + c.c.", 53, 2.121e-3, 0.087e-3, _flat(PROTON, -NEUTRON, _M), 2.0),
    _row("p anti-p pi+ pi-", 54, 5.99e-3, 0.48e-3, _flat(PROTON, -PROTON, _P, _M)),
    _row(
        "p anti-p pi+ pi- pi0",
        55,
        2.336e-3,
        0.868e-3,
        _with((PROTON, -PROTON, _P, _M, _Z), (0.373, (PROTON, -PROTON, _OMEGA))),
    ),
    _row("p anti-p eta", 56, 1.513e-3, 0.023e-3, _flat(PROTON, -PROTON, ETA)),
    _row("n anti-n", 64, 2.087e-3, 0.158e-3, _flat(NEUTRON, -NEUTRON)),
    _row("n anti-n pi+ pi-", 65, 3.8e-3, 3.6e-3, _flat(NEUTRON, -NEUTRON, _P, _M)),
    _row("Lambda anti-Lambda", 60, 1.882e-3, 0.079e-3, _flat(LAMBDA, -LAMBDA)),
    _row("Sigma0 anti-Sigma0", 63, 1.172e-3, 0.032e-3, _flat(SIGMA0, -SIGMA0)),
    _row("Sigma+ anti-Sigma-", 247, 1.071e-3, 0.036e-3, _flat(SIGMA_PLUS, -SIGMA_PLUS)),
    _row("Xi- anti-Xi+", 62, 9.73e-4, 0.081e-3, _flat(XI_MINUS, -XI_MINUS)),
    _row("Xi0 anti-Xi0", 248, 1.166e-3, 0.043e-3, _flat(XI0, -XI0)),
    _row("Lambda anti-Sigma- pi+ + c.c.", 71, 1.256e-3, 0.050e-3, _flat(LAMBDA, -SIGMA_PLUS, _P)),
    _row("Lambda anti-Sigma+ pi- + c.c.", 449, 1.208e-3, 0.068e-3, _flat(LAMBDA, -SIGMA_MINUS, _M)),
    _row("p K- anti-Lambda + c.c.", 72, 8.65e-4, 1.12e-4, _flat(PROTON, -KAON, -LAMBDA)),
    _row("n K0 anti-Lambda + c.c.", 225, 6.46e-4, 1.09e-4, _both(NEUTRON, -LAMBDA), 2.0),
    _row("Lambda anti-Lambda eta", 228, 1.62e-4, 0.17e-4, _flat(LAMBDA, -LAMBDA, ETA)),
    _row("Lambda anti-Lambda pi+ pi-", 261, 4.3e-3, 1.0e-3, _flat(LAMBDA, -LAMBDA, _P, _M)),
    _row("gamma eta_c", 85, 1.819e-2, 0.147e-2, _flat(PHOTON, ETA_C)),
    _row("gamma eta'", 84, 5.28e-3, 0.06e-3, _flat(PHOTON, ETA_PRIME)),
    _row("gamma eta", 83, 1.090e-3, 0.013e-3, _flat(PHOTON, ETA)),
    _row(
        "gamma pi pi",
        283,
        1.15e-3,
        0.05e-3,
        _states((1.0, (PHOTON, _Z, _Z)), (2.0, (PHOTON, _P, _M))),
        3.0,
    ),
    _row(
        "gamma K anti-K",
        378,
        8.1e-4,
        0.4e-4,
        _states((1.0, (PHOTON, K_SHORT, K_SHORT)), (1.0, (PHOTON, K_LONG, K_LONG)), (2.0, (PHOTON, KAON, -KAON))),
        4.0,
    ),
    FinalState(
        "gamma K anti-K pi",
        (Fraction(2.842e-3, 0.648e-3, "M070.89"), Fraction(7.91e-4, 1.29e-4, "M070.175")),
        _KKPI,
    ),
    _row("gamma 2(pi+ pi-)", 95, 2.80e-3, 0.50e-3, _with((PHOTON, _P, _M, _P, _M), (0.5, (PHOTON, _RHO0, _RHO0)))),
    _row("gamma pi+ pi- 2pi0", 99, 8.3e-3, 3.1e-3, _flat(PHOTON, _P, _M, _Z, _Z)),
    _row(
        "gamma eta pi pi",
        96,
        6.127e-3,
        1.011e-3,
        _states((1.0, (PHOTON, ETA, _Z, _Z)), (2.0, (PHOTON, ETA, _P, _M))),
    ),
    _row("gamma K+ K- pi+ pi-", 143, 2.1e-3, 0.6e-3, _flat(PHOTON, KAON, -KAON, _P, _M)),
    _row("gamma p anti-p", 90, 3.8e-4, 1.0e-4, _flat(PHOTON, PROTON, -PROTON)),
)
# J/psi -> gamma gg, M070.250; what the radiative rows leave of it is fragmented.
GAMMA_GG: Final = Fraction(8.79e-2, 1.05e-2, "M070.250")


class FractionError(LnvError):
    """A table of branching fractions that cannot be."""


def measured_fraction(rows: Sequence[FinalState] = FINAL_STATES) -> float:
    """Return the sum of all rows.

    Raises:
        FractionError: The sum is above one, or a row's shares do not add up to one.
    """
    for row in rows:
        shares = [mode.share for mode in row.modes]
        if abs(sum(shares) - 1.0) > _ROUNDING or min(shares) < 0.0:
            msg = f"final state {row.name!r}: got shares {shares} of its modes, wanted some that add up to 1, none < 0"
            raise FractionError(msg)
    if (total := sum(row.fraction for row in rows)) > 1.0:
        msg = f"the branching fractions of {len(rows)} final states add up to {total:.4f}, wanted at most 1"
        raise FractionError(msg)
    return total


def _products(node: Node) -> tuple[int, ...]:
    """Return the codes that a node ends in."""
    return sum((_products(d) for d in node.daughters), ()) if node.daughters else (node.pdg_id,)


@lru_cache(maxsize=256)
def _label(code: int) -> int:
    """Return a number of 62 bits for a kind of particle; sums of them tell final states apart."""
    return (zlib.crc32(str(code).encode()) << 30) ^ zlib.crc32(f"again {code}".encode())


def signature_of(codes: Sequence[int]) -> int:
    """Return the signature of a final state with these codes; photons beside leptons are radiation, not counted."""
    is_leptonic = any(abs(c) in _LEPTONS for c in codes)
    total = sum(_label(c) for c in codes if not (is_leptonic and c == PHOTON))
    return int(np.array(total % 2**64, dtype=np.uint64).astype(np.int64))


def signatures(row: FinalState) -> frozenset[int]:
    """Return the signatures of a row's charge states, conjugates included."""
    found = set()
    for mode in row.modes:
        codes = sum((_products(d) for d in mode.daughters), ())
        found |= {signature_of(codes), signature_of([conjugate(c) for c in codes])}
    return frozenset(found)


@dataclass(frozen=True)
class Observed:
    """What each event decayed to.

    Attributes:
        signature: Signature of the final state, (n_events,).
        is_forbidden: Whether gluons cannot make it, (n_events,): by G parity an even number of pions (with a photon
            from the J/psi: an odd one) and nothing but eta and eta'; by C parity neutral particles that are their own
            antiparticles, with an even number of photons and K_L.
    """

    signature: IntArray
    is_forbidden: BoolArray


def observe(table: Particles) -> Observed:
    """Return the final states of events."""
    stops = _is_stop(table)
    event, code, n = table.event[stops], table.pdg_id[stops], table.n_events
    size = np.abs(code)

    def number(chosen: BoolArray) -> FloatArray:
        return np.bincount(event, weights=chosen, minlength=n).astype(np.float64)

    counted = ~((number(np.isin(size, _LEPTONS)) > 0)[event] & (code == PHOTON))
    kinds, which = np.unique(code, return_inverse=True)
    labels = np.array([signature_of([int(c)]) for c in kinds], dtype=np.int64)
    signature = np.zeros(n, dtype=np.int64)
    np.add.at(signature, event[counted], labels[which[counted]])
    is_direct = (code == PHOTON) & (table.mother[stops] == 0)
    is_light = number(~np.isin(size, _LIGHT)) == 0
    is_neutral = number(~np.isin(code, _SELF_CONJUGATE)) == 0
    wrong_g = number(np.isin(size, _PIONS) | is_direct) % 2 == 0
    wrong_c = number((code == K_LONG) | is_direct) % 2 == 0
    return Observed(signature, (is_light & wrong_g) | (is_neutral & wrong_c))


def _is_stop(table: Particles) -> BoolArray:
    """Return which particles make up the final states: neither decayed on nor below one that is already counted."""
    has_daughters = np.zeros(len(table.event), dtype=np.bool_)
    mothers = table.offsets[table.event] + table.mother
    has_mother = table.mother >= 0
    has_daughters[mothers[has_mother]] = True
    is_stopping = np.isin(np.abs(table.pdg_id), STOPS) | ~has_daughters
    is_below = np.zeros(len(table.event), dtype=np.bool_)
    while True:
        covered = (is_stopping | is_below)[np.where(has_mother, mothers, 0)] & has_mother
        if np.array_equal(covered, is_below):
            return np.asarray(is_stopping & ~is_below)
        is_below = covered


def count(observed: Sequence[IntArray], rows: Sequence[FinalState] = FINAL_STATES) -> IntArray:
    """Return how many events of several arrays of signatures each row has, (rows,)."""
    found, number = np.unique(np.concatenate(list(observed)), return_counts=True)
    return np.array([number[np.isin(found, list(signatures(row)))].sum() for row in rows], dtype=np.int64)


def tree_of(mode: Mode) -> Node:
    """Return the decay tree of a mode."""
    return Node(JPSI, mode.daughters)
