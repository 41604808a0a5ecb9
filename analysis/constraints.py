"""What the particles of a candidate obey in its fit: masses of sums of them, and a particle that is not seen.

The fit itself is `kinfit.constrained`; what cannot be met is refused here, before there is an event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

# Constraints of a final state that is seen whole.
CLOSED: Final = 4
# Codes of the neutrinos, of which the particle data group's table has no masses.
NEUTRINOS: Final = (12, 14, 16)


@dataclass(frozen=True)
class Mass:
    """The sum of some particles has a mass.

    Attributes:
        places: Places of the particles in a candidate.
        mass: In GeV/c^2.
    """

    places: tuple[int, ...]
    mass: float


@dataclass(frozen=True)
class Constraints:
    """What the particles of a candidate must obey.

    Attributes:
        n: Number of particles that are seen.
        masses: Masses of sums of them.
        missing: Mass of the one particle that is not seen, in GeV/c^2; None: all are seen, and their sum is the initial
            four-momentum.

    Raises:
        ValueError: A place that does not exist, a mass that is negative, or a constraint that follows from the others
            or contradicts them.
    """

    n: int
    masses: tuple[Mass, ...] = ()
    missing: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no candidate could meet."""
        seen = set()
        for mass in self.masses:
            places = frozenset(mass.places)
            if len(places) < max(len(mass.places), 2) or not places <= {*range(self.n)} or places in seen:
                msg = (
                    f"a mass of the particles {mass.places}: wanted two or more different ones of 0 to {self.n - 1}, "
                    "and one mass of them"
                )
                raise ValueError(msg)
            seen.add(places)
        for value in (*(m.mass for m in self.masses), self.missing or 0.0):
            if not (math.isfinite(value) and value >= 0.0):
                msg = f"a mass of {value} GeV/c^2: wanted zero or more"
                raise ValueError(msg)
        if (rank := self._rank()) < self.ndf:
            msg = f"{self.ndf} constraints on {self.n} particles of which {rank} are independent: wanted all"
            raise ValueError(msg)

    @property
    def ndf(self) -> int:
        """Degrees of freedom of the chi2: the number of constraints."""
        return len(self.masses) + (CLOSED if self.missing is None else 1)

    def _rank(self) -> int:
        """Return how many gradients by the momenta are independent, at momenta of no special kind."""
        p = np.random.default_rng(1).normal(size=(self.n, 3))
        velocity = p / np.sqrt(1.0 + np.square(p).sum(axis=1, keepdims=True))
        rows = []
        if self.missing is None:
            rows = [*(np.tile(axis, (self.n, 1)) for axis in np.eye(3)), velocity]
        for mass in (*self.masses, *([] if self.missing is None else [Mass((*range(self.n),), self.missing)])):
            places = list(mass.places)
            total = p[places].sum(axis=0)
            row = np.zeros((self.n, 3))
            row[places] = velocity[places] - total / np.hypot(np.linalg.norm(total), 1.0 + mass.mass)
            rows.append(row)
        return int(np.linalg.matrix_rank(np.reshape(rows, (len(rows), -1))))


class Neutral(NamedTuple):
    """A particle without charge, as the particle data group has it: name, mass in GeV/c^2, code and LaTeX."""

    name: str
    mass: float
    code: int
    latex: str


@cache
def neutral(name: str) -> Neutral:
    """Return a neutral particle by its name, such as ``pi0``, ``K(S)0`` or EvtGen's ``K_S0``.

    Raises:
        ValueError: There is none of that name.
    """
    from particle import Particle, ParticleNotFound  # noqa: PLC0415 - its table takes a second

    for find in (Particle.from_name, Particle.from_evtgen_name):
        try:
            found: Any = find(name)
        except (ParticleNotFound, ValueError):
            continue
        mass = 0.0 if abs(found.pdgid) in NEUTRINOS else found.mass
        if found.charge == 0 and mass is not None:
            return Neutral(found.name, mass / 1e3, int(found.pdgid), found.latex_name)
    msg = f"no neutral particle {name!r}; wanted a name of the particle data group, such as pi0, K(S)0, eta, nu(e)"
    raise ValueError(msg)


@dataclass(frozen=True)
class Intermediate:
    """What some particles of a final state come from: their sum is fitted to its mass.

    Attributes:
        of: Its name.
        particles: Names of the particles in a candidate, such as ``gamma1``.
        window: Smallest and largest measured mass in GeV/c^2 that is fitted: far from the mass a fit finds nothing.
    """

    of: str
    particles: tuple[str, ...]
    window: tuple[float, float]

    def __str__(self) -> str:
        """Return it as requirements have it, such as ``pi0: gamma1 gamma2 0.115 0.15``."""
        return f"{self.of}: {' '.join(self.particles)} {self.window[0]:g} {self.window[1]:g}"


def intermediate(text: str) -> Intermediate:
    """Return what a text such as ``pi0: gamma1 gamma2 0.115 0.15`` says.

    Raises:
        ValueError: It says something else.
    """
    of, _, rest = text.partition(":")
    *particles, low, high = rest.split() if len(rest.split()) > 2 else ("", "", "")  # noqa: PLR2004 both ends of a window
    try:
        return Intermediate(of.strip(), tuple(particles), (float(low), float(high)))
    except ValueError:
        wanted = "a name, its particles and a window of their mass, such as 'pi0: gamma1 gamma2 0.115 0.15'"
        msg = f"intermediates {text!r}: wanted {wanted}"
        raise ValueError(msg) from None
