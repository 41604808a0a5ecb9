"""The search at one mass of a Majorana neutrino that decays to K e, twice in an event: its samples and candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.datasets import MAJORANA, mass_mev
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection.search import M_KE_NAMES

# Width of a mass interval in GeV/c^2: publication, section V.B.
INTERVAL_WIDTH: Final = 0.025


def by_mass(results: Results, mode: str = "2nu") -> dict[int, dict[str, DatasetResult]]:
    """Return the samples of a mode at each simulated mass in MeV/c^2, in increasing order.

    Samples of one mass, such as those of several periods, belong together.
    """
    found: dict[int, dict[str, DatasetResult]] = {}
    for name, dataset in results.of_kind(MAJORANA).items():
        if dataset.metadata.majorana_mode == mode and dataset.metadata.m_majorana is not None:
            found.setdefault(mass_mev(dataset.metadata.m_majorana), {})[name] = dataset
    return dict(sorted(found.items()))


def paired_masses(candidates: Mapping[str, AnyArray]) -> FloatArray:
    """Return both fitted M(Ke) of each candidate (N, 2) in the pairing whose masses differ least, in GeV/c^2.

    The two Ke pairs come from two neutrinos of one mass, and either kaon can belong to either electron.

    Raises:
        ResultsError: The candidates lack the columns of `M_KE_NAMES`.
    """
    if missing := [name for name in M_KE_NAMES if name not in candidates]:
        msg = f"the candidates lack {missing}; got {sorted(candidates)}; make the result again with `lnv run`"
        raise ResultsError(msg)
    masses = np.stack([np.asarray(candidates[name], dtype=np.float64) for name in M_KE_NAMES], axis=-1)
    straight, crossed = masses[:, :2], masses[:, 2:]
    is_straight = np.abs(np.diff(straight)) <= np.abs(np.diff(crossed))
    return np.where(is_straight, straight, crossed)


def in_interval(masses: FloatArray, m_majorana: float) -> BoolArray:
    """Return which candidates (N,) have both masses (N, 2) in the interval around `m_majorana`: [m - w/2, m + w/2)."""
    offset = masses - m_majorana
    is_inside = (offset >= -0.5 * INTERVAL_WIDTH) & (offset < 0.5 * INTERVAL_WIDTH)
    return np.asarray(np.all(is_inside, axis=-1))


def count(candidates: Mapping[str, AnyArray], m_majorana: float) -> int:
    """Return how many candidates have both M(Ke) in the interval around `m_majorana`."""
    return int(np.count_nonzero(in_interval(paired_masses(candidates), m_majorana)))


def survivors(m_majorana: float, search: SelectionResult) -> int:
    """Return how many events that pass a search have both M(Ke) in the interval around a mass in GeV/c^2."""
    # A search that selects nothing stores no column.
    return count(search.candidates, m_majorana) if search.n_passed else 0
