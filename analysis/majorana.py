"""The search at one mass of a Majorana neutrino that decays twice in an event, to K e: samples, candidates, mixing.

The pairs of tracks that a neutrino may decay to are those whose masses a table of candidates has, as `m_k1e1`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.datasets import MAJORANA, mass_mev
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult

# Width of a mass interval in GeV/c^2: publication, section V.B.
INTERVAL_WIDTH: Final = 0.025
# How a candidate belongs to a mass: a choice, for the publication does not say. See `belongs`.
BOTH: Final = "both"
ANY: Final = "any"
PAIRINGS: Final = (BOTH, ANY)
N_PAIRS: Final = 4
_PAIR: Final = re.compile(r"m_([a-z]+\d)([a-z]+\d)")


def by_mass(results: Results, mode: str = "2nu") -> dict[float, dict[str, DatasetResult]]:
    """Return the samples of a mode at each simulated mass in MeV/c^2, in increasing order.

    Samples of one mass, such as those of several periods, belong together.
    """
    found: dict[float, dict[str, DatasetResult]] = {}
    for name, dataset in results.of_kind(MAJORANA).items():
        if dataset.metadata.majorana_mode == mode and dataset.metadata.m_majorana is not None:
            found.setdefault(mass_mev(dataset.metadata.m_majorana), {})[name] = dataset
    return dict(sorted(found.items()))


def paired_masses(candidates: Mapping[str, AnyArray]) -> FloatArray:
    """Return both fitted masses of each candidate (N, 2) in the pairing whose masses differ least, in GeV/c^2.

    The two pairs come from two neutrinos of one mass, and either kaon can belong to either electron.

    Raises:
        ResultsError: The candidates have no pairs.
    """
    return nearest_pairing(masses_of_pairs(candidates))


def pairs(candidates: Mapping[str, AnyArray]) -> dict[str, tuple[str, str]]:
    """Return the tracks of every pair by the name of its mass: the two ways to pair them, one after the other.

    Raises:
        ResultsError: The candidates have no such pairs.
    """
    named = {name: match.groups() for name in candidates if (match := _PAIR.fullmatch(name))}
    if len(named) != N_PAIRS:
        msg = (
            f"the candidates have {len(named)} masses of pairs, wanted {N_PAIRS} such as m_k1e1; got "
            f"{sorted(candidates)}; make the result again with `lnv run`, of a decay to two pairs"
        )
        raise ResultsError(msg)
    return {name: (first, second) for name, (first, second) in named.items()}


def masses_of_pairs(candidates: Mapping[str, AnyArray]) -> FloatArray:
    """Return the fitted masses of `pairs` of each candidate (N, 4) in GeV/c^2."""
    return np.stack([np.asarray(candidates[name], dtype=np.float64) for name in pairs(candidates)], axis=-1)


def nearest_pairing(masses: FloatArray) -> FloatArray:
    """Return of M(K1e1), M(K2e2), M(K1e2), M(K2e1) (N, 4) the pairing whose masses differ least (N, 2)."""
    straight, crossed = masses[:, :2], masses[:, 2:]
    is_straight = np.abs(np.diff(straight)) <= np.abs(np.diff(crossed))
    return np.where(is_straight, straight, crossed)


def in_interval(masses: FloatArray, m_majorana: float) -> BoolArray:
    """Return which candidates (N,) have both masses (N, 2) in the interval around `m_majorana`: [m - w/2, m + w/2)."""
    offset = masses - m_majorana
    is_inside = (offset >= -0.5 * INTERVAL_WIDTH) & (offset < 0.5 * INTERVAL_WIDTH)
    return np.asarray(np.all(is_inside, axis=-1))


def belongs(candidates: Mapping[str, AnyArray], m_majorana: float, pairing: str = BOTH) -> BoolArray:
    """Return which candidates (N,) belong to a mass in GeV/c^2.

    Args:
        candidates: Their columns.
        m_majorana: The mass.
        pairing: One of `PAIRINGS`: both masses of the pairing whose masses differ least lie in the interval, as for two
            neutrinos, or any of the four, as for one neutrino beside a kaon and an electron.
    """
    if pairing == BOTH:
        return in_interval(paired_masses(candidates), m_majorana)
    return np.asarray(np.any([in_interval(m[:, None], m_majorana) for m in masses_of_pairs(candidates).T], axis=0))


def count(candidates: Mapping[str, AnyArray], m_majorana: float, pairing: str = BOTH) -> int:
    """Return how many candidates belong to a mass in GeV/c^2."""
    return int(np.count_nonzero(belongs(candidates, m_majorana, pairing)))


def survivors(m_majorana: float, search: SelectionResult, pairing: str = BOTH) -> int:
    """Return how many events that pass a search belong to a mass in GeV/c^2."""
    # A search that selects nothing stores no column.
    return count(search.candidates, m_majorana, pairing) if search.n_passed else 0


COLUMNS: Final = ("m_majorana", "branching_fraction")


@dataclass(frozen=True)
class Normalisation:
    """Branching fraction at |V_eN|² = 1 against the mass.

    Attributes:
        m_majorana: Masses in GeV/c^2, increasing (M,).
        branching_fraction: Branching fraction at |V_eN|² = 1 (M,).
        power: The branching fraction goes with (|V_eN|²)**power: 1 for an on-shell neutrino whose width is dominated
            by the same mixing, 2 where its width is fixed by other channels.
        source: File it comes from.
    """

    m_majorana: FloatArray
    branching_fraction: FloatArray
    power: float
    source: str

    def mixing(self, m_majorana: float, branching_fraction: float) -> float:
        """Return |V_eN|² of a branching fraction at one mass; the curve is interpolated in its logarithm.

        Raises:
            ResultsError: The curve does not reach this mass.
        """
        if not self.m_majorana[0] <= m_majorana <= self.m_majorana[-1]:
            reach = f"{self.m_majorana[0]:g} to {self.m_majorana[-1]:g}"
            msg = f"{self.source}: no normalisation at mass {m_majorana:g} GeV/c^2; the curve goes from {reach}"
            raise ResultsError(msg)
        unit = np.exp(np.interp(m_majorana, self.m_majorana, np.log(self.branching_fraction)))
        return float((branching_fraction / unit) ** (1.0 / self.power))


def read(path: Path, *, power: float = 1.0) -> Normalisation:
    """Read a CSV file with the columns ``m_majorana`` (GeV/c^2) and ``branching_fraction`` (at |V_eN|² = 1).

    Raises:
        ResultsError: The file is missing, lacks a column, or holds numbers that are not positive or not increasing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        msg = f"{path}: no normalisation ({type(error).__name__}: {error}); wanted CSV with the columns {COLUMNS}"
        raise ResultsError(msg) from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
    masses, values = table.T
    if len(table) == 0 or not (np.all(np.isfinite(table)) and np.all(values > 0.0) and np.all(np.diff(masses) > 0.0)):
        msg = f"{path}: got {len(table)} rows; wanted increasing masses and positive branching fractions"
        raise ResultsError(msg)
    return Normalisation(masses, values, power, str(path))
