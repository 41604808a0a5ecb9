"""The colliding beams: period, run, interaction point, crossing angle, energy spread and initial-state radiation."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE, M_ELECTRON, M_JPSI
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation.decays import FINE_STRUCTURE
from jpsi_lnv.analysis.simulation.parameters import (
    ENERGY_SPREAD,
    JPSI_MASS_SPREAD,
    LONGITUDINAL_SPREAD,
    N_RUNS,
    PERIODS,
    RUN_SPREAD,
    VERTEX_SPREAD,
)

# Largest share of the beam energy that an initial-state photon takes; harder ones leave the range of the selection.
ISR_MAX: Final = 0.35
_RUN_SEED: Final = 2111_07571


class PeriodError(LnvError):
    """A data-taking period that the simulation does not know."""


class Beams(NamedTuple):
    """Per event: period (index), run, mean interaction point (n, 3), true vertex (n, 3) in cm, field in T."""

    period: IntArray
    run: IntArray
    ip: FloatArray
    vertex: FloatArray
    field: FloatArray

    def take(self, events: IntArray) -> Beams:
        """Return the chosen events."""
        return Beams(*(values[events] for values in self))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def run_points() -> FloatArray:
    """Return the mean interaction point of every run in cm, (periods, N_RUNS, 3): the same for all datasets."""
    rng = np.random.default_rng(_RUN_SEED)
    means = np.array([p.beam_spot for p in PERIODS])
    return np.asarray(means[:, None] + rng.normal(size=(len(PERIODS), N_RUNS, 3)) * RUN_SPREAD)


def cross(rng: np.random.Generator, n: int, years: tuple[int, ...] = ()) -> Beams:
    """Return period, run and vertex of n events, the periods in the shares of the J/psi sample.

    Args:
        rng: Source of random numbers.
        n: Number of events.
        years: Periods to choose from; empty: all.

    Raises:
        PeriodError: A year is no period, so it has no share of the data.
    """
    if unknown := sorted(set(years) - {p.year for p in PERIODS}):
        msg = f"period {unknown[0]}: it has no share of the data; known are {[p.year for p in PERIODS]}"
        raise PeriodError(msg)
    shares = np.array([p.fraction if not years or p.year in years else 0.0 for p in PERIODS])
    period = rng.choice(len(PERIODS), n, p=shares / shares.sum())
    number = rng.integers(N_RUNS, size=n)
    ip = run_points()[period, number]
    vertex = ip + rng.normal(size=(n, 3)) * VERTEX_SPREAD
    first = np.array([p.first_run for p in PERIODS])
    return Beams(period, first[period] + number, ip, vertex, np.array([p.field for p in PERIODS])[period])


def jpsi_momentum(rng: np.random.Generator, n: int) -> FloatArray:
    """Return four-momenta of J/psi in the laboratory in GeV, (n, 4)."""
    return _laboratory(rng, rng.normal(M_JPSI, JPSI_MASS_SPREAD, n))


def virtual_photon(rng: np.random.Generator, sqrt_s: float, n: int) -> tuple[FloatArray, FloatArray]:
    """Return the hadronic system and the initial-state photon of e+e- annihilations, both (n, 4) in GeV.

    The photon goes along one of the beams; its spectrum is the leading-log radiator (beta x^(beta - 1) with the hard
    factor 1 - x + x^2/2), times 1/(1 - x) for a cross section that falls with 1/s.
    """
    beams = _laboratory(rng, rng.normal(sqrt_s, ENERGY_SPREAD * sqrt_s / M_JPSI, n))
    energy = np.sqrt(beams[:, 3] ** 2 - (beams[:, :3] ** 2).sum(axis=1)) * _isr_share(rng, sqrt_s, n) / 2.0
    side = np.where(rng.uniform(size=n) < 0.5, -1.0, 1.0)  # noqa: PLR2004 either beam
    photon = np.zeros((n, 4))
    photon[:, 2], photon[:, 3] = side * energy, energy
    return beams - photon, photon


def _isr_share(rng: np.random.Generator, sqrt_s: float, n: int) -> FloatArray:
    """Return the photon's energy over the beam energy, (n,)."""
    beta = 2.0 * FINE_STRUCTURE / np.pi * (2.0 * np.log(sqrt_s / M_ELECTRON) - 1.0)
    share = np.empty(n)
    pending = np.arange(n)
    while pending.size:
        x = ISR_MAX * rng.uniform(size=pending.size) ** (1.0 / beta)
        weight = (1.0 - x + x * x / 2.0) / (1.0 - x)
        bound = 1.0 + ISR_MAX**2 / 2.0 / (1.0 - ISR_MAX)
        is_accepted = rng.uniform(size=pending.size) * bound < weight
        share[pending[is_accepted]] = x[is_accepted]
        pending = pending[~is_accepted]
    return share


def _laboratory(rng: np.random.Generator, mass: FloatArray) -> FloatArray:
    n = len(mass)
    px = mass * np.tan(HALF_CROSSING_ANGLE)
    pz = rng.normal(0.0, LONGITUDINAL_SPREAD, n)
    return np.stack([px, np.zeros(n), pz, np.sqrt(mass**2 + px**2 + pz**2)], axis=-1)
