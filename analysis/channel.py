"""A decay that is searched for, and what else its tracks may be: the final state and the assignments it competes with.

The publication (III, par. 3) wants the chi2 of K K e e to be the smallest among the assignments K K e e, K+ K- pi+ pi-,
K+ K- K+ K- and pi+ pi- pi+ pi-. An alternative stands for every distinct way to give its particles to the tracks of
their charges: K+ K- pi+ pi- has four, one track of each charge is a kaon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species

SPECIES_OF: Final = {"e": Species.E, "pi": Species.PI, "K": Species.K, "p": Species.P}
SIGNS: Final = {"+": 1, "-": -1}

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
        ValueError: An unknown particle, or an alternative of other charges.
    """

    final_state: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse alternatives that the tracks cannot be."""
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
        own = (_name(self.final_state), self.species)
        return (own, *((_name(other), species) for other in self.alternatives for species in self._ways(other)))

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


def _name(final_state: tuple[str, ...]) -> str:
    return "".join(name[:-1] for name in sorted(final_state, key=lambda n: -SPECIES_OF[n[:-1]])).lower()


KKEE: Final = Channel(
    ("K+", "K+", "e-", "e-"),
    (("K+", "K-", "pi+", "pi-"), ("K+", "K-", "K+", "K-"), ("pi+", "pi-", "pi+", "pi-")),
)
