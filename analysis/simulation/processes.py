"""The processes: trees of particles, branching fractions with their PDG identifiers, continuum cross sections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from jpsi_lnv.analysis.channel import KKEE, Channel, Slot
from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.constraints import neutral
from jpsi_lnv.analysis.datasets import mass_text
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation.particles import (
    ELECTRON,
    ETA,
    ETA_PRIME,
    JPSI,
    K_SHORT,
    K_STAR,
    KAON,
    KINDS,
    MAJORANA_NEUTRINO,
    MUON,
    OMEGA,
    PHI,
    PHOTON,
    PION,
    PION0,
    PROTON,
    VIRTUAL_PHOTON,
)

FLAT: Final = "flat"
TRANSVERSE: Final = "1 + cos^2"
DALITZ: Final = "dalitz"  # meson -> e- e+ gamma
VIRTUAL: Final = "virtual photon"  # two hadrons and a virtual photon -> e- e+
BHABHA: Final = "bhabha"  # e- e+ scattered in the s and t channels, within `BHABHA_COSINE`
BHABHA_COSINE: Final = 0.93


@dataclass(frozen=True)
class Node:
    """One particle of a decay tree with its daughters.

    Attributes:
        pdg_id: PDG code.
        daughters: Daughters, none for a particle that the generator does not decay.
        angle: How the daughters are distributed: `FLAT` in phase space, the first `TRANSVERSE` about the beam or as
            in `BHABHA` scattering, as in a `DALITZ` decay, or with the last two from a `VIRTUAL` photon.
        mass: Mass in GeV/c^2 if it is not the one of the PDG code.
    """

    pdg_id: int
    daughters: tuple[Node, ...] = ()
    angle: str = FLAT
    mass: float | None = None


@dataclass(frozen=True)
class Fraction:
    """A branching fraction: value, absolute uncertainty, PDG identifier ("" for an assumption) and its source."""

    value: float
    error: float
    pdg_id: str
    source: str = "PDG 2026"


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        reaction: The reaction in words.
        tree: Its decay tree.
        fractions: Branching fractions whose product is the one of the chain; empty for the signal.
        is_conjugated: Whether half of the events are charge-conjugated.
        multiplicity: Number of equal decay chains that the product counts once (a choice of which meson decays how).
        is_converted: Whether a photon of every event is made to convert; the events then stand for the share that does.
        part_of: Reaction of whose events only these can have four tracks.
    """

    reaction: str
    tree: Node
    fractions: tuple[Fraction, ...] = ()
    is_conjugated: bool = False
    multiplicity: float = 1.0
    is_converted: bool = False
    part_of: str | None = None

    @property
    def branching_fraction(self) -> float | None:
        """Product of the branching fractions of the chain; None for the signal."""
        product = self.multiplicity
        for fraction in self.fractions:
            product *= fraction.value
        return product if self.fractions else None

    @property
    def relative_error(self) -> float:
        """Relative uncertainty of the branching fraction."""
        return math.hypot(*(fraction.error / fraction.value for fraction in self.fractions))


def leaves(*pdg_ids: int) -> tuple[Node, ...]:
    """Return particles without daughters."""
    return tuple(Node(code) for code in pdg_ids)


def jpsi(*daughters: int | Node, angle: str = FLAT) -> Node:
    """Return the tree of a J/psi decay."""
    return Node(JPSI, tuple(Node(d) if isinstance(d, int) else d for d in daughters), angle)


BF_PHI_KK: Final = Fraction(0.5011, 0.0050, "M004.1")
BF_OMEGA_3PI: Final = Fraction(0.8925, 0.0065, "M001.1")
BF_ETA_PRIME_PIPIEE: Final = Fraction(2.43e-3, 0.06e-3, "M002.10")
# J/psi -> eta' e+ e- over J/psi -> gamma eta', M070.273 over M070.84: how often a photon is virtual and becomes a pair.
BF_VIRTUAL: Final = Fraction(1.25e-2, 1.25e-2, "", "assumption: ratio of eta' e+ e- to gamma eta', to a factor of two")
# Bhabha events per J/psi in the same data: Born, pi alpha^2/2s ((3 + c^2)/(1 - c))^2 = 627 nb for |c| < 0.93, over
# 10.087e9 J/psi in 3083 pb^-1. They are no decays, but share the sample.
BF_BHABHA: Final = Fraction(0.1916, 0.0019, "", "calculated: Born cross section times 3083 pb^-1 over 10.087e9 J/psi")
BF_PI0_DALITZ: Final = Fraction(1.1735e-2, 0.0345e-2, "S009.2")

_PHI = Node(PHI, leaves(KAON, -KAON))
_OMEGA = Node(OMEGA, leaves(PION, -PION, PION0))
_ETA = Node(ETA, leaves(PHOTON, PHOTON))
_DALITZ = Node(PION0, leaves(ELECTRON, -ELECTRON, PHOTON), angle=DALITZ)

BACKGROUNDS: Final[Mapping[str, Process]] = MappingProxyType(
    {
        "kkpipi": Process(
            "J/psi -> K+ K- pi+ pi-", jpsi(KAON, -KAON, PION, -PION), (Fraction(7.04e-3, 0.96e-3, "M070.16"),)
        ),
        "pipipipi": Process(
            "J/psi -> 2(pi+ pi-)", jpsi(PION, -PION, PION, -PION), (Fraction(3.20e-3, 0.25e-3, "M070.8"),)
        ),
        "kkkk": Process("J/psi -> 2(K+ K-)", jpsi(KAON, -KAON, KAON, -KAON), (Fraction(7.23e-4, 0.81e-4, "M070.19"),)),
        "eeee": Process(
            "J/psi -> 2(e+ e-)",
            jpsi(ELECTRON, -ELECTRON, ELECTRON, -ELECTRON),
            (Fraction(5.48e-5, 0.55e-5, "M070.472"),),
        ),
        "eemumu": Process(
            "J/psi -> e+ e- mu+ mu-", jpsi(ELECTRON, -ELECTRON, MUON, -MUON), (Fraction(3.53e-5, 0.26e-5, "M070.473"),)
        ),
        "kkee": Process(
            "J/psi -> K+ K- e+ e-, virtual photon",
            jpsi(KAON, -KAON, ELECTRON, -ELECTRON, angle=VIRTUAL),
            (Fraction(8.1e-4, 0.4e-4, "M070.378"), BF_VIRTUAL),
            multiplicity=2.0,
        ),
        "pipiee": Process(
            "J/psi -> pi+ pi- e+ e-, virtual photon",
            jpsi(PION, -PION, ELECTRON, -ELECTRON, angle=VIRTUAL),
            (Fraction(1.15e-3, 0.05e-3, "M070.283"), BF_VIRTUAL),
            multiplicity=2.0,
        ),
        "ppbaree": Process(
            "J/psi -> p anti-p e+ e-, virtual photon",
            jpsi(PROTON, -PROTON, ELECTRON, -ELECTRON, angle=VIRTUAL),
            (Fraction(3.8e-4, 1.0e-4, "M070.90"), BF_VIRTUAL),
        ),
        "kskpi": Process(
            "J/psi -> K_S K+ pi- + c.c., K_S -> pi+ pi-",
            jpsi(Node(K_SHORT, leaves(PION, -PION)), KAON, -PION),
            (Fraction(5.29e-3, 0.47e-3, "M070.335"), Fraction(0.6920, 0.0005, "S012.1")),
            is_conjugated=True,
        ),
        "kkgamma": Process(
            "J/psi -> K+ K- gamma, the photon converts",
            jpsi(KAON, -KAON, PHOTON),
            (Fraction(8.1e-4, 0.4e-4, "M070.378"),),
            multiplicity=2.0,
            is_converted=True,
        ),
        "kkpi0_converted": Process(
            "J/psi -> K+ K- pi0, a photon converts",
            jpsi(KAON, -KAON, PION0),
            (Fraction(2.88e-3, 0.12e-3, "M070.334"),),
            is_converted=True,
            part_of="J/psi -> K+ K- pi0",
        ),
        "ee_converted": Process(
            "J/psi -> e+ e- gamma, the photon converts",
            jpsi(-ELECTRON, ELECTRON, angle=TRANSVERSE),
            (Fraction(5.971e-2, 0.032e-2, "M070.1"),),
            is_converted=True,
            part_of="J/psi -> e+ e- (gamma)",
        ),
        "bhabha_converted": Process(
            "e+ e- -> e- e+ gamma at the J/psi, the photon converts",
            Node(VIRTUAL_PHOTON, leaves(ELECTRON, -ELECTRON), BHABHA),
            (BF_BHABHA,),
            is_converted=True,
        ),
        "pipipi0": Process("J/psi -> pi+ pi- pi0", jpsi(PION, -PION, PION0), (Fraction(2.00e-2, 0.07e-2, "M070.7"),)),
        "pipipi0_dalitz": Process(
            "J/psi -> pi+ pi- pi0, pi0 -> gamma e+ e-",
            jpsi(PION, -PION, _DALITZ),
            (Fraction(2.00e-2, 0.07e-2, "M070.7"), BF_PI0_DALITZ),
        ),
        "kkpi0_dalitz": Process(
            "J/psi -> K+ K- pi0, pi0 -> gamma e+ e-",
            jpsi(KAON, -KAON, _DALITZ),
            (Fraction(2.88e-3, 0.12e-3, "M070.334"), BF_PI0_DALITZ),
        ),
        "kkstar": Process(
            "J/psi -> K+ K*(892)- + c.c., K*- -> K- pi0",
            jpsi(KAON, Node(-K_STAR, leaves(-KAON, PION0))),
            (Fraction(6.04e-3, 0.84e-3, "M070.121"), Fraction(1 / 3, 0.0, "", "isospin")),
            is_conjugated=True,
        ),
        "omegapipi": Process(
            "J/psi -> omega pi+ pi-", jpsi(_OMEGA, PION, -PION), (Fraction(8.54e-3, 0.96e-3, "M070.24"), BF_OMEGA_3PI)
        ),
        "omegakk": Process(
            "J/psi -> omega K+ K-", jpsi(_OMEGA, KAON, -KAON), (Fraction(1.52e-3, 0.31e-3, "M070.441"), BF_OMEGA_3PI)
        ),
        "phipipi": Process(
            "J/psi -> phi pi+ pi-", jpsi(_PHI, PION, -PION), (Fraction(9.37e-4, 1.54e-4, "M070.34"), BF_PHI_KK)
        ),
        "phieta": Process(
            "J/psi -> phi eta, eta -> gamma gamma",
            jpsi(_PHI, _ETA),
            (
                Fraction(7.38e-4, 0.62e-4, "M070.37"),
                BF_PHI_KK,
                Fraction(0.3936, 0.0018, "S014.1"),
            ),
        ),
        "gammaetaprime": Process(
            "J/psi -> gamma eta', eta' -> pi+ pi- e+ e-",
            jpsi(PHOTON, Node(ETA_PRIME, leaves(PION, -PION, ELECTRON, -ELECTRON))),
            (Fraction(5.28e-3, 0.06e-3, "M070.84"), BF_ETA_PRIME_PIPIEE),
        ),
    }
)

CONTROLS: Final[Mapping[str, Process]] = MappingProxyType(
    {
        "ee": Process(
            "J/psi -> e+ e- (gamma)",
            jpsi(-ELECTRON, ELECTRON, angle=TRANSVERSE),
            (Fraction(5.971e-2, 0.032e-2, "M070.1"),),
        ),
        "kkpi0": Process(
            "J/psi -> K+ K- pi0",
            jpsi(KAON, -KAON, PION0),
            (Fraction(2.88e-3, 0.12e-3, "M070.334"),),
        ),
        "ppbarpipi": Process(
            "J/psi -> p anti-p pi+ pi-", jpsi(PROTON, -PROTON, PION, -PION), (Fraction(5.99e-3, 0.48e-3, "M070.54"),)
        ),
    }
)

# Codes of the positive particles of each species.
POSITIVE: Final[Mapping[Species, int]] = MappingProxyType(
    {Species.E: -ELECTRON, Species.MU: -MUON, Species.PI: PION, Species.K: KAON, Species.P: PROTON}
)


def codes(slots: Sequence[Slot]) -> tuple[int, ...]:
    """Return the codes of particles of a channel."""
    return tuple(slot.charge * POSITIVE[slot.species] for slot in slots)


def signal(channel: Channel = KKEE) -> Process:
    """Return the decay that a channel searches for, flat in phase space."""
    reaction = f"J/psi -> {channel.reaction}, phase space"
    nodes = dict(enumerate(leaves(*codes(channel.slots), *(PHOTON,) * channel.n_photons)))
    # The smallest first: an omega of a pi0 gets that, not its photons.
    for mass, of in sorted(
        zip(channel.intermediates, channel.constraints.masses, strict=True), key=lambda m: len(m[1].places)
    ):
        inner = [nodes.pop(k) for k in of.places if k in nodes]
        nodes[of.places[0]] = Node(neutral(mass.of).code, tuple(inner), mass=of.mass)
    unseen = leaves(channel.unseen.code) if channel.unseen else ()
    return Process(reaction, jpsi(*nodes.values(), *unseen), is_conjugated=not channel.is_self_conjugate)


SIGNAL: Final = signal()

_NEUTRINO = Node(MAJORANA_NEUTRINO, leaves(KAON, ELECTRON))
# Chains whose last particles are K+ e- K+ e-, by the number of neutrinos: the first pair comes from the first of them.
CHAINS: Final = (
    jpsi(KAON, ELECTRON, KAON, ELECTRON),
    jpsi(_NEUTRINO, KAON, ELECTRON),
    jpsi(_NEUTRINO, _NEUTRINO),
)


def masses(mode: str, channel: Channel = KKEE) -> tuple[float, float]:
    """Return the masses in GeV/c^2 between which a neutrino can be.

    Raises:
        ValueError: The mode is unknown, or the channel has no pairs that neutrinos decay to.
    """
    if not channel.pairs:
        msg = f"{channel.reaction}: no neutrino decays to this; wanted two like particles of either charge"
        raise ValueError(msg)
    low = channel.pair_threshold
    limits = {"2nu": M_JPSI / 2, "1nu": M_JPSI - low}
    if mode not in limits:
        msg = f"majorana mode: got {mode!r}, wanted one of {sorted(limits)}"
        raise ValueError(msg)
    return low, limits[mode]


def majorana(mass: float, mode: str, channel: Channel = KKEE) -> Process:
    """Return the signal through Majorana neutrinos, such as nu -> K+ e-.

    Args:
        mass: Mass of the neutrino in GeV/c^2.
        mode: ``2nu`` for J/psi -> nu nu, ``1nu`` for J/psi -> nu K+ e-.
        channel: The decay that is searched for.

    Raises:
        ValueError: The mode is unknown, or the decay is forbidden by its kinematics.
    """
    low, high = masses(mode, channel)
    if not low < mass < high:
        msg = f"m_majorana: got {mass} GeV/c^2, wanted above {low:.4f} and below {high:.4f} for mode {mode}"
        raise ValueError(msg)
    pair = codes([channel.slots[place] for place in channel.pairs[0]])
    decay = " ".join(channel.final_state[place] for place in channel.pairs[0])
    neutrino = Node(MAJORANA_NEUTRINO, leaves(*pair), mass=mass)
    if mode == "2nu":
        tree, words = jpsi(neutrino, neutrino), "nu_M nu_M"
    else:
        tree, words = jpsi(neutrino, *pair), f"nu_M {decay}"
    return Process(f"J/psi -> {words} + c.c., nu_M -> {decay}, m = {mass_text(mass)}", tree, is_conjugated=True)


class CrossSectionError(LnvError):
    """A process has no cross section at an energy."""


@dataclass(frozen=True)
class CrossSection:
    """A continuum cross section at one energy, scaled to others near it with a power of s.

    Attributes:
        value: Cross section in pb.
        sqrt_s: Energy in GeV it is quoted at.
        source: Publication, or that it is an assumption.
        error: Standard uncertainty in pb.
        power: It falls with s to this power.
        valid: Energies in GeV between which the scaling is used.
    """

    value: float
    sqrt_s: float
    source: str
    error: float
    power: float = 1.0
    valid: tuple[float, float] = (3.0, 3.75)

    def at(self, sqrt_s: float) -> float:
        """Return the cross section in pb at another energy in GeV.

        Raises:
            CrossSectionError: The energy is outside the range.
        """
        low, high = self.valid
        if not low <= sqrt_s <= high:
            msg = f"no cross section at {sqrt_s} GeV: {self.source!r} is used from {low} to {high} GeV"
            raise CrossSectionError(msg)
        return self.value * (self.sqrt_s / sqrt_s) ** (2.0 * self.power)


def _continuum(products: str, *pdg_ids: int) -> Process:
    return Process(f"e+ e- -> {products}", Node(VIRTUAL_PHOTON, leaves(*pdg_ids)))


# Means of BaBar's bins without the J/psi: 3.0125 to 3.0625 and 3.1375, 3.1625 GeV, and 3.6125 to 3.6625 GeV.
_BABAR: Final = "BaBar, PRD 86, 012008 (HEPData 62222)"
_BES: Final = "BES, arXiv:0705.2276 (HEPData 26996)"
CONTINUUM: Final[Mapping[str, tuple[Process, CrossSection]]] = MappingProxyType(
    {
        "kkpipi": (
            _continuum("K+ K- pi+ pi-", KAON, -KAON, PION, -PION),
            CrossSection(
                462.0, 3.08, f"{_BABAR}, 179(9) pb at 3.64 GeV; {_BES}, 162(25) pb at 3.65", power=2.84, error=12.0
            ),
        ),
        # All J/psi -> 2(pi+ pi-) is electromagnetic (G parity), as all psi(2S) is: B(4 pi)/B(mu mu) sigma(mu mu) gives
        # 486 pb at 3.097 GeV and 190 pb at 3.686 GeV, hence the power.
        "pipipipi": (
            _continuum("2(pi+ pi-)", PION, -PION, PION, -PION),
            CrossSection(
                486.0,
                3.0969,
                f"M070.8/M070.2 and M071.24/M071.2 times sigma(mu mu); {_BES}, 178(23) pb at 3.65",
                power=2.70,
                error=39.0,
            ),
        ),
        "kkkk": (
            _continuum("2(K+ K-)", KAON, -KAON, KAON, -KAON),
            CrossSection(
                51.0, 3.08, f"{_BABAR}, 20(4) pb at 3.64 GeV; {_BES}, 24(7) pb at 3.65", power=2.80, error=4.5
            ),
        ),
        "ppbarpipi": (
            _continuum("p anti-p pi+ pi-", PROTON, -PROTON, PION, -PION),
            CrossSection(42.1, 3.65, f"{_BES}, 33(5) pb at 3.773; power as of the others", power=2.8, error=7.8),
        ),
        "eeee": (
            _continuum("2(e+ e-)", ELECTRON, -ELECTRON, ELECTRON, -ELECTRON),
            # At least the annihilation, B(eeee)/B(mu mu) sigma(mu mu) = 9.2e-4 times 6.4 nb; two photons add.
            CrossSection(
                20.0,
                3.67,
                "M070.472/M070.2 times sigma(mu mu), 5.9(6) pb, to an assumed 60; no measurement",
                error=15.0,
            ),
        ),
    }
)


@dataclass(frozen=True)
class Estimate:
    """A process that is too rare to simulate: its expected events in 10.087e9 J/psi, and where the number is from."""

    process: str
    n_expected: float
    source: str


_EPA: Final = "equivalent photons with form factors, cross section times 3083 pb^-1 times e -> K and K -> e"
NOT_SIMULATED: Final = (
    Estimate("e+ e- -> e+ e- K+ K-, two photons, both leptons seen (0.07 pb)", 2e-4, _EPA),
    Estimate("e+ e- -> e+ e- pi+ pi-, two photons (2.4 pb untagged)", 1e-3, f"{_EPA}, pi -> K and pi -> e"),
    Estimate("J/psi -> K_S K pi, K_S -> pi e nu", 1e-3, "product of fractions M070.335, S012.11; upper bound"),
    Estimate("J/psi -> phi e+ e-", 5e-4, "limit M070.384; upper bound"),
)


def known_mass(node: Node) -> float:
    """Return the mass of a node in GeV/c^2: its own, or the one of its code."""
    return KINDS[abs(node.pdg_id)].mass if node.mass is None else node.mass
