"""A decay that is searched for, and what else its tracks may be: the final state and the assignments it competes with.

The publication (III, par. 3) wants the chi2 of K K e e to be the smallest among the assignments K K e e, K+ K- pi+ pi-,
K+ K- K+ K- and pi+ pi- pi+ pi-. An alternative stands for every distinct way to give its particles to the tracks of
their charges: K+ K- pi+ pi- has four, one track of each charge is a kaon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby, permutations, product
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species

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
    """A final state of charged particles.

    Attributes:
        final_state: Names of its particles; like ones stand beside each other.
        alternatives: Final states of the same charges that its tracks may come from instead.

    Raises:
        ValueError: An unknown particle, like ones apart, an alternative of other charges.
    """

    final_state: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would be counted twice, and alternatives that the tracks cannot be."""
        if len([*groupby(self.slots)]) > len({*self.slots}):
            msg = f"{' '.join(self.final_state)}: wanted like particles beside each other"
            raise ValueError(msg)
        for alternative in self.alternatives:
            if sorted(slot(name).charge for name in alternative) != sorted(self.charges):
                msg = f"{' '.join(alternative)} has other charges than {' '.join(self.final_state)}"
                raise ValueError(msg)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The places of a candidate's tracks."""
        return tuple(slot(name) for name in self.final_state)

    @property
    def charges(self) -> tuple[int, ...]:
        """Charges of the tracks; the conjugate decay has the opposite ones."""
        return tuple(s.charge for s in self.slots)

    @property
    def species(self) -> tuple[Species, ...]:
        """Species of the tracks."""
        return tuple(s.species for s in self.slots)

    @property
    def masses(self) -> tuple[float, ...]:
        """Masses of the tracks in GeV/c^2."""
        return tuple(SPECIES_MASS[species] for species in self.species)

    @property
    def kinds(self) -> tuple[Species, ...]:
        """The different species of the tracks, the lightest first."""
        return tuple(sorted({*self.species}, key=SPECIES_MASS.__getitem__))

    @property
    def hypotheses(self) -> tuple[Species, ...]:
        """The species that the tracks are fitted and identified as: their values index arrays of these."""
        return tuple(Species)[: max(Species.K, *self.assignments.ravel()) + 1]

    @property
    def considered(self) -> tuple[str, ...]:
        """Names of the hypotheses in the identification, in the order of `Species`."""
        return tuple(species.name.lower() for species in self.hypotheses)

    @property
    def name(self) -> str:
        """Name of the final state in keys, such as ``kkee``."""
        return name_of(self.final_state)

    @property
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
        names = (name[:-1].lower() for name in self.final_state)
        return tuple(f"{name}{species[: k + 1].count(species[k])}" for k, name in enumerate(names))

    @property
    def symbols(self) -> str:
        """The particles in a text, such as ``KKee``."""
        return symbols_of(self.final_state)

    @property
    def signed(self) -> str:
        """The particles with their charges in a text, such as ``K± K± e∓ e∓``."""
        signs = ("+", "-") if self.is_self_conjugate else ("±", "∓")
        return " ".join(WORDS[s.species].symbol + signs[s.charge != self.charges[0]] for s in self.slots)

    @property
    def in_powers(self) -> str:
        """The particles with their charges as powers, such as ``K⁺K⁺e⁻e⁻ + c.c.``."""
        own = "".join(WORDS[s.species].symbol + ("⁺" if s.charge > 0 else "⁻") for s in self.slots)
        return own + ("" if self.is_self_conjugate else " + c.c.")

    @property
    def reaction(self) -> str:
        """The particles as a reaction has them, such as ``K+ K+ e- e- + c.c.``."""
        return " ".join(self.final_state) + ("" if self.is_self_conjugate else " + c.c.")

    @property
    def conjugates(self) -> dict[str, int]:
        """The decay and its conjugate, such as ``K+K+e-e-``, with the charge of their first particle."""
        if self.is_self_conjugate:
            return {}
        own, sign = "".join(self.final_state), self.charges[0]
        return {own: sign, own.translate(str.maketrans("+-", "-+")): -sign}

    @property
    def latex(self) -> str:
        """The particles in LaTeX, such as ``KKee``."""
        return in_latex(self.species)

    @property
    def latex_signed(self) -> str:
        """The particles with their charges in LaTeX."""
        return self.signed_latex(range(len(self.slots)))

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
        of_sign = [[s.species for s in map(slot, alternative) if s.charge == sign] for sign in signs]
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
def read(final_state: str, alternatives: str = "") -> Channel:
    """Return the channel of texts such as ``K+ K+ e- e-`` and ``K+ K- pi+ pi-, K+ K- K+ K-``.

    Raises:
        ValueError: There is no such channel.
    """
    others = (tuple(text.split()) for text in alternatives.split(","))
    return Channel(tuple(final_state.split()), tuple(filter(None, others)))


def symbols_of(final_state: tuple[str, ...]) -> str:
    """Return a final state in a text, such as ``KKππ``."""
    return "".join(WORDS[slot(name).species].symbol for name in final_state)


def name_of(final_state: tuple[str, ...]) -> str:
    """Return the name of a final state in keys, such as ``kkpipi``: the heaviest first."""
    heaviest_first = sorted(final_state, key=lambda name: -SPECIES_MASS[slot(name).species])
    return "".join(name[:-1] for name in heaviest_first).lower()


KKEE: Final = read("K+ K+ e- e-", "K+ K- pi+ pi-, K+ K- K+ K-, pi+ pi- pi+ pi-")
