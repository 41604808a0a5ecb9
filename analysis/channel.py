"""A decay that is searched for, and what else its tracks may be: the final state and the assignments it competes with.

A final state is of charged particles, and of photons after them; the masses of what some of them come from, such as a
pi0, and one neutral particle that is not seen are constraints of its fit.

The publication (III, par. 3) wants the chi2 of K K e e to be the smallest among the assignments K K e e, K+ K- pi+ pi-,
K+ K- K+ K- and pi+ pi- pi+ pi-. An alternative stands for every distinct way to give its particles to the tracks of
their charges: K+ K- pi+ pi- has four, one track of each charge is a kaon.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, groupby, permutations, product
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.constraints import CLOSED, Constraints, Intermediate, Mass, Neutral, intermediate, neutral

SPECIES_OF: Final = {"e": Species.E, "pi": Species.PI, "K": Species.K, "p": Species.P, "mu": Species.MU}
SIGNS: Final = {"+": 1, "-": -1}


class Words(NamedTuple):
    """What a species is called: in words, in a text, in LaTeX."""

    word: str
    symbol: str
    latex: str


WORDS: Final[Mapping[Species, Words]] = {
    Species.E: Words("electron", "e", "e"),
    Species.PI: Words("pion", "π", r"\pi"),
    Species.K: Words("kaon", "K", "K"),
    Species.P: Words("proton", "p", "p"),
    Species.MU: Words("muon", "μ", r"\mu"),
}

PHOTON: Final = "gamma"
Permutations = Literal["one", "all"]


@dataclass(frozen=True)
class Slot:
    """A place of a final state: which species, of which charge."""

    species: Species
    charge: int


def slot(name: str) -> Slot:
    """Return the slot of a particle, such as ``K+``.

    Raises:
        ValueError: No charged particle of that name.
    """
    species, sign = SPECIES_OF.get(name[:-1]), SIGNS.get(name[-1:])
    if species is None or sign is None:
        known = ", ".join(f"{s}{c}" for s in SPECIES_OF for c in SIGNS)
        msg = f"no particle {name!r}; there are {known}"
        raise ValueError(msg)
    return Slot(species, sign)


@dataclass(frozen=True)
class Channel:
    """A final state of charged particles and photons.

    Attributes:
        final_state: Names of its particles, photons last; like ones stand beside each other.
        alternatives: Final states of the same charges that its tracks may come from instead, with the same photons.
        intermediates: What some of the particles come from.
        missing: Name of the one neutral particle that is not seen; empty: all are.

    Raises:
        ValueError: An unknown particle, like ones apart, an alternative of other charges, or masses that the particles
            cannot have.
    """

    final_state: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()
    intermediates: tuple[Intermediate, ...] = ()
    missing: str = ""

    def __post_init__(self) -> None:
        """Refuse what would be counted twice, alternatives that the tracks cannot be, masses that cannot be."""
        text = " ".join(self.final_state)
        if len([*groupby(self.slots)]) > len({*self.slots}) or self.final_state[: len(self.slots)] != self._charged:
            msg = f"{text}: wanted like particles beside each other, photons last"
            raise ValueError(msg)
        for alternative in self.alternatives:
            charged = _charged(alternative)
            if sorted(slot(name).charge for name in charged) != sorted(self.charges):
                msg = f"{' '.join(alternative)} has other charges than {text}"
                raise ValueError(msg)
            if len(alternative) - len(charged) != self.n_photons:
                msg = f"{' '.join(alternative)} has other photons than {text}"
                raise ValueError(msg)
        for mass in self.intermediates:
            self._require(mass)
        if self.intermediates or self.missing:
            self._require_constraints()

    def _require(self, mass: Intermediate) -> None:
        """Raise ValueError for a mass that its particles cannot have."""
        m, (low, high) = neutral(mass.of).mass, mass.window
        if unknown := [name for name in mass.particles if name not in self.particles]:
            wrong = f"no particle {unknown[0]!r}, wanted among {', '.join(self.particles)}"
        elif not 0.0 <= low < m < high < math.inf:
            wrong = f"its window {low:g} to {high:g} GeV/c^2, wanted one around its mass, {m:.6g}"
        elif (charge := sum(self.charges[k] for k in self._places(mass) if k < len(self.slots))) != 0:
            wrong = f"the charges of its particles add up to {charge:+d}, wanted 0"
        elif (least := self._least(mass)) > m:
            wrong = f"its particles weigh {least:.6g} GeV/c^2, wanted at most its mass, {m:.6g}"
        elif self.alternatives and any(k < len(self.slots) for k in self._places(mass)):
            wrong = "has charged particles, which alternatives give other masses; wanted no alternatives beside it"
        else:
            return
        msg = f"intermediates '{mass}': {wrong}"
        raise ValueError(msg)

    def _least(self, mass: Intermediate) -> float:
        """Return the least mass that the particles of an intermediate can have, masses inside it as they are."""
        places, inner = {*self._places(mass)}, 0.0
        for other in sorted(self.intermediates, key=lambda m: -len(m.particles)):
            if {*self._places(other)} < {*self._places(mass)} and {*self._places(other)} <= places:
                inner += neutral(other.of).mass
                places -= {*self._places(other)}
        return inner + sum(self.masses[k] for k in places if k < len(self.slots))

    def _require_constraints(self) -> None:
        """Raise ValueError for constraints that follow from each other, or that contradict each other."""
        try:
            self.constraints  # noqa: B018 made to be checked
        except ValueError as error:
            msg = f"intermediates '{', '.join(map(str, self.intermediates))}', missing {self.missing!r}: {error}"
            raise ValueError(msg) from None

    @property
    def _charged(self) -> tuple[str, ...]:
        return _charged(self.final_state)

    @property
    def n_photons(self) -> int:
        """Photons of a candidate."""
        return len(self.final_state) - len(self._charged)

    @cached_property
    def unseen(self) -> Neutral | None:
        """The particle that is not seen."""
        return neutral(self.missing) if self.missing else None

    @cached_property
    def particles(self) -> tuple[str, ...]:
        """Name of each particle in a candidate, such as ``k1`` or ``gamma2``: tracks, then photons."""
        return (*self.tracks, *(f"{PHOTON}{k + 1}" for k in range(self.n_photons)))

    def _places(self, mass: Intermediate) -> tuple[int, ...]:
        return tuple(self.particles.index(name) for name in mass.particles)

    @cached_property
    def constraints(self) -> Constraints:
        """What the fit of a candidate constrains."""
        masses = tuple(Mass(self._places(mass), neutral(mass.of).mass) for mass in self.intermediates)
        return Constraints(len(self.final_state), masses, self.unseen.mass if self.unseen else None)

    @property
    def fit_name(self) -> str:
        """The fit by the number of its constraints, such as ``4C``."""
        return f"{CLOSED if self.is_closed else self.constraints.ndf}C"

    @property
    def is_closed(self) -> bool:
        """Whether the four-momentum is all that the fit constrains."""
        return not self.intermediates and not self.missing

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The places of a candidate's tracks."""
        return tuple(slot(name) for name in self._charged)

    @cached_property
    def rows(self) -> IntArray:
        """Which of `fit_masses` the tracks and photons have under every assignment, (H, n + photons)."""
        of_photons = np.full((len(self.assignments), self.n_photons), len(self.hypotheses))
        return np.concatenate([self.assignments, of_photons], axis=1)

    @cached_property
    def fit_masses(self) -> tuple[float, ...]:
        """Masses of the hypotheses, and of the photon after them, in GeV/c^2."""
        return (*(SPECIES_MASS[species] for species in self.hypotheses), 0.0)

    @cached_property
    def _orders(self) -> tuple[tuple[int, int], ...]:
        """For each particle: the one before it that it comes after, or -1; and how many can stand in its place.

        Like particles can change places if no mass tells them apart. Of the ways that this gives, one is counted: each
        particle comes before all that can stand in its place while those before it stay.
        """
        kinds = (*self.slots, *(PHOTON for _ in range(self.n_photons)))
        pools = [[k for k, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)]
        masses = {(mass.of, frozenset(self._places(mass))) for mass in self.intermediates}
        group = []
        for chosen in product(*(permutations(pool) for pool in pools)):
            to = dict(zip(chain(*pools), chain(*chosen), strict=True))
            if {(of, frozenset(to[k] for k in places)) for of, places in masses} == masses:
                group.append([to[k] for k in range(len(kinds))])
        after, sizes = [-1] * len(kinds), []
        for k in range(len(kinds)):
            orbit = {way[k] for way in group}
            sizes.append(len(orbit))
            for other in orbit - {k}:
                after[other] = k
            group = [way for way in group if way[k] == k]
        return tuple(zip(after, sizes, strict=True))

    @cached_property
    def after(self) -> IntArray:
        """Place of the particle that each one comes after in a candidate, or -1, (n + photons,)."""
        return np.array([after for after, _ in self._orders], dtype=np.int64)

    def n_orders(self, places: slice) -> int:
        """Return in how many orders some particles are the same candidate."""
        return math.prod(size for _, size in self._orders[places])

    @cached_property
    def charges(self) -> tuple[int, ...]:
        """Charges of the tracks; the conjugate decay has the opposite ones."""
        return tuple(s.charge for s in self.slots)

    @cached_property
    def species(self) -> tuple[Species, ...]:
        """Species of the tracks."""
        return tuple(s.species for s in self.slots)

    @cached_property
    def masses(self) -> tuple[float, ...]:
        """Masses of the tracks in GeV/c^2."""
        return tuple(SPECIES_MASS[species] for species in self.species)

    @cached_property
    def kinds(self) -> tuple[Species, ...]:
        """The different species of the tracks, the lightest first."""
        return tuple(sorted({*self.species}, key=SPECIES_MASS.__getitem__))

    @cached_property
    def hypotheses(self) -> tuple[Species, ...]:
        """The species that the tracks are fitted and identified as: their values index arrays of these."""
        return tuple(Species)[: max(int(Species.K), int(self.assignments.max())) + 1]

    @cached_property
    def considered(self) -> tuple[str, ...]:
        """Names of the hypotheses in the identification, in the order of `Species`."""
        return tuple(species.name.lower() for species in self.hypotheses)

    @cached_property
    def name(self) -> str:
        """Name of the final state in keys, such as ``kkee``."""
        return name_of(self.final_state) + re.sub(r"\W", "", self.missing).lower()

    @cached_property
    def mass(self) -> str:
        """Name of the mass of all particles, such as ``m_kkee``."""
        return f"m_{self.name}"

    @property
    def pair(self) -> str:
        """Name of the mass of a pair, such as ``m_ke``."""
        return f"m_{name_of(self.final_state[0:4:2])}"

    @property
    def pair_symbols(self) -> str:
        """A pair in a text, such as ``Ke``."""
        return symbols_of(self.final_state[0:4:2])

    @property
    def pair_words(self) -> str:
        """A pair in words, such as ``a kaon and an electron``."""
        words = (WORDS[s].word for s in self.species[0:4:2])
        return " and ".join(f"{'an' if word.startswith('e') else 'a'} {word}" for word in words)

    @property
    def pair_threshold(self) -> float:
        """Sum of the masses of a pair in GeV/c^2."""
        return sum(self.masses[place] for place in self.pairs[0])

    @cached_property
    def tracks(self) -> tuple[str, ...]:
        """Name of each track, such as ``k1``: like species are numbered."""
        species = self.species
        names = (name[:-1].lower() for name in self._charged)
        return tuple(f"{name}{species[: k + 1].count(species[k])}" for k, name in enumerate(names))

    @property
    def symbols(self) -> str:
        """The particles in a text, such as ``KKee``."""
        return symbols_of(self.final_state) + self.missing

    @property
    def signed(self) -> str:
        """The particles with their charges in a text, such as ``K± K± e∓ e∓``."""
        signs = ("+", "-") if self.is_self_conjugate else ("±", "∓")
        charged = (WORDS[s.species].symbol + signs[s.charge != self.charges[0]] for s in self.slots)
        return " ".join((*charged, *self._neutral("γ", self.missing)))

    def _neutral(self, photon: str, missing: str) -> tuple[str, ...]:
        """Return what stands for the particles without charge."""
        return (photon,) * self.n_photons + ((missing,) if self.missing else ())

    @property
    def in_powers(self) -> str:
        """The particles with their charges as powers, such as ``K⁺K⁺e⁻e⁻ + c.c.``."""
        own = "".join(WORDS[s.species].symbol + ("⁺" if s.charge > 0 else "⁻") for s in self.slots)
        own += "".join(self._neutral("γ", self.missing))
        return own + ("" if self.is_self_conjugate else " + c.c.")

    @property
    def reaction(self) -> str:
        """The particles as a reaction has them, such as ``K+ K+ e- e- + c.c.``."""
        return " ".join((*self.final_state, *self._neutral(PHOTON, self.missing)[self.n_photons :])) + (
            "" if self.is_self_conjugate else " + c.c."
        )

    @property
    def conjugates(self) -> dict[str, int]:
        """The decay and its conjugate, such as ``K+K+e-e-``, with the charge of their first particle."""
        if self.is_self_conjugate:
            return {}
        own, sign = "".join(self._charged), self.charges[0]
        return {own: sign, own.translate(str.maketrans("+-", "-+")): -sign}

    @property
    def latex(self) -> str:
        """The particles in LaTeX, such as ``KKee``."""
        return " ".join((in_latex(self.species), *self._neutral_latex))

    @property
    def latex_signed(self) -> str:
        """The particles with their charges in LaTeX."""
        return " ".join((self.signed_latex(range(len(self.slots))), *self._neutral_latex))

    @property
    def _neutral_latex(self) -> tuple[str, ...]:
        return self._neutral(r"\gamma", self.unseen.latex if self.unseen else "")

    def signed_latex(self, places: Iterable[int]) -> str:
        """Return some of the particles with their charges in LaTeX."""
        signs = ("^+", "^-") if self.is_self_conjugate else (r"^\pm", r"^\mp")
        slots = (self.slots[k] for k in places)
        return " ".join(WORDS[s.species].latex + signs[s.charge != self.charges[0]] for s in slots)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Places of what may come from one of two like particles, as a neutrino in J/psi -> nu nu.

        For final states of two like particles of one charge and two of the other: the two ways to pair them, one after
        the other. None for others.
        """
        if self.n_photons or not self.is_closed:
            return ()
        a, b = 2 * self.slots[:1], 2 * self.slots[-1:]
        return ((0, 2), (1, 3), (0, 3), (1, 2)) if self.slots == a + b and a[0].charge == -b[0].charge else ()

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Names of the masses of `pairs`, such as ``m_k1e1``."""
        return tuple(f"m_{self.tracks[a]}{self.tracks[b]}" for a, b in self.pairs)

    @property
    def is_self_conjugate(self) -> bool:
        """Whether the conjugate decay has the same particles."""
        return sorted((s.species, s.charge) for s in self.slots) == sorted((s.species, -s.charge) for s in self.slots)

    @cached_property
    def assignments(self) -> IntArray:
        """Species (H, n) of the tracks under every assignment; the first is the final state itself."""
        return np.array([species for _, species in self._named], dtype=np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of every assignment, such as ``kkpipi``: those of one alternative share it."""
        return tuple(name for name, _ in self._named)

    @cached_property
    def _named(self) -> tuple[tuple[str, tuple[Species, ...]], ...]:
        own = (name_of(self.final_state), self.species)
        return (own, *((name_of(other), species) for other in self.alternatives for species in self._ways(other)))

    def _ways(self, alternative: tuple[str, ...]) -> list[tuple[Species, ...]]:
        """Return every distinct assignment of an alternative's species to the tracks of their charges."""
        signs = list(dict.fromkeys(self.charges))
        of_sign = [[s.species for s in map(slot, _charged(alternative)) if s.charge == sign] for sign in signs]
        ways = []
        for chosen in product(*(dict.fromkeys(permutations(species)) for species in of_sign)):
            rest = {sign: iter(species) for sign, species in zip(signs, chosen, strict=True)}
            ways.append(tuple(next(rest[charge]) for charge in self.charges))
        return ways

    def competing(self, policy: Permutations, cand: IntArray, chi2_pid: FloatArray) -> BoolArray:
        """Return which assignments each candidate competes with.

        Args:
            policy: "all" assignments of an alternative, or the "one" whose PID chi2, summed over the tracks, is the
                smallest; a tie, as of tracks without PID, goes to the first.
            cand: (N, n) track indices.
            chi2_pid: (T, S) PID chi2 of each track, in the order of `Species`.

        Returns:
            (N, H) mask over `assignments`.
        """
        if policy not in {"one", "all"}:
            msg = f"permutations is {policy!r}, wanted 'one' or 'all'"
            raise ValueError(msg)
        mask = np.ones((len(cand), len(self.assignments)), dtype=np.bool_)
        for rows in self._rows_of.values():
            if policy == "one" and len(rows) > 1:
                total = np.stack([chi2_pid[cand, self.assignments[h]].sum(axis=1) for h in rows], axis=1)
                mask[:, rows] = total.argmin(axis=1)[:, None] == np.arange(len(rows))
        return mask

    def smallest_by_name(self, chi2: FloatArray) -> dict[str, FloatArray]:
        """Return the smallest chi2 of each alternative, each (N,), from chi2 ``(N, H)`` over `assignments`."""
        return {name: chi2[:, rows].min(axis=1) for name, rows in self._rows_of.items()}

    @cached_property
    def _rows_of(self) -> dict[str, npt.NDArray[np.intp]]:
        """Rows of `assignments` of each name."""
        names = np.array(self.names)
        return {str(name): np.flatnonzero(names == name) for name in dict.fromkeys(self.names)}


def species_of_track(track: str) -> Species:
    """Return the species of a track by its name in a candidate, such as ``k1``."""
    letters = track.rstrip("0123456789")
    return next(species for name, species in SPECIES_OF.items() if name.lower() == letters)


def in_latex(species: Iterable[Species]) -> str:
    """Return species in LaTeX, such as ``KKee``."""
    letters = (WORDS[s].latex for s in species)
    return "".join(f"{letter} " if letter.startswith("\\") else letter for letter in letters).strip()


@cache
def read(final_state: str, alternatives: str = "", intermediates: str = "", missing: str = "") -> Channel:
    """Return the channel of texts such as ``K+ K+ e- e-`` and ``K+ K- pi+ pi-, K+ K- K+ K-``.

    Args:
        final_state: Its particles.
        alternatives: Other final states.
        intermediates: What some of its particles come from, such as ``pi0: gamma1 gamma2 0.115 0.15``.
        missing: The particle that is not seen.

    Raises:
        ValueError: There is no such channel.
    """
    others = (tuple(text.split()) for text in alternatives.split(","))
    of = tuple(intermediate(text) for text in intermediates.split(",") if text.strip())
    return Channel(tuple(final_state.split()), tuple(filter(None, others)), of, missing)


def _charged(final_state: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in final_state if name != PHOTON)


def symbols_of(final_state: tuple[str, ...]) -> str:
    """Return a final state in a text, such as ``KKππ``."""
    photons = len(final_state) - len(charged := _charged(final_state))
    return "".join(WORDS[slot(name).species].symbol for name in charged) + "γ" * photons


def name_of(final_state: tuple[str, ...]) -> str:
    """Return the name of a final state in keys, such as ``kkpipi``: the heaviest first."""
    photons = len(final_state) - len(charged := _charged(final_state))
    heaviest_first = sorted(charged, key=lambda name: -SPECIES_MASS[slot(name).species])
    return "".join(name[:-1] for name in heaviest_first).lower() + PHOTON * photons


KKEE: Final = read("K+ K+ e- e-", "K+ K- pi+ pi-, K+ K- K+ K-, pi+ pi- pi+ pi-")
