"""The expected background in the signal region, from a merged accumulator.

Exclusive J/psi decays count with misidentification weights (`analysis.selection.misidentified`), the continuum by its
surviving events; inclusive events only show what their absence would exclude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import hist
import numpy as np
import numpy.typing as npt

from analysis import normalization
from analysis.candidate_table import TRACKS
from analysis.cuts import Cuts
from analysis.efficiency import clopper_pearson
from analysis.errors import ResultsError
from analysis.normalization import UPPER_AT_90, Count, Survivors, all_passed
from analysis.results import DatasetResult, Results
from analysis.selection.misidentified import ROLES, SPECIES

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Candidates = Mapping[str, npt.NDArray[Any]]
Passes = Callable[[Candidates], BoolArray]

MISID: Final = "misid"
# Role of each track of a candidate.
ROLE_OF: Final = {"k1": "kaon", "k2": "kaon", "e1": "electron", "e2": "electron"}
# Upper end of the exact one-sigma interval of a Poisson mean when nothing is seen.
UPPER_OF_NONE: Final = 1.841


@dataclass(frozen=True)
class Probabilities:
    """What tracks are taken for.

    Attributes:
        p_edges: (P + 1,) in GeV/c.
        cos_theta_edges: (C + 1,) of |cos theta|.
        value: (species, P, C, role) probabilities.
        sigma: The same, one standard uncertainty upwards.
    """

    p_edges: FloatArray
    cos_theta_edges: FloatArray
    value: FloatArray
    sigma: FloatArray

    def raised(self, species: int, role: int) -> Probabilities:
        """Return the probabilities with those of one species for one role a standard uncertainty higher."""
        value = self.value.copy()
        value[species, ..., role] += self.sigma[species, ..., role]
        return replace(self, value=value)


@dataclass(frozen=True)
class Contribution:
    """What one dataset adds to the background.

    Attributes:
        name: The dataset.
        process: Its process.
        n_direct: Simulated events that pass the whole selection.
        weight: Data events that one simulated event stands for.
        n_kinematic: Candidates without identification in the signal region.
        n_bkg: Expected events.
        sigma: Standard uncertainty: kinematic sample and maps.
    """

    name: str
    process: str
    n_direct: int
    weight: float
    n_kinematic: int
    n_bkg: float
    sigma: float


@dataclass(frozen=True)
class Background:
    """The expected background.

    Attributes:
        contributions: One per exclusive dataset.
        continuum: Expected continuum events; None without such datasets.
        inclusive_limit: Upper limit at 90 % that no surviving inclusive event gives; shown only. None without inclusive
            events.
    """

    contributions: tuple[Contribution, ...]
    continuum: Count | None
    inclusive_limit: float | None

    @property
    def total(self) -> Count:
        """Sum and uncertainty of exclusive decays and continuum."""
        values = [(c.n_bkg, c.sigma) for c in self.contributions]
        values += [(self.continuum.value, self.continuum.sigma)] if self.continuum else []
        source = f"{len(self.contributions)} exclusive decays with PID weights"
        if self.continuum:
            source += f", continuum ({self.continuum.source})"
        return Count(math.fsum(v for v, _ in values), math.hypot(*(s for _, s in values)), source)


def in_signal_region(cuts: Cuts) -> Passes:
    """Return the function that says which candidates pass chi2 and signal region."""

    def passes(table: Candidates) -> BoolArray:
        m_kkee = table["m_kkee"]
        inside = (m_kkee >= cuts.m_kkee_min) & (m_kkee <= cuts.m_kkee_max)
        return np.asarray(inside & (table["chi2_4c"] < cuts.chi2_4c_max))

    return passes


def estimate(
    results: Results,
    passes: Passes | None = None,
    n_jpsi: float | None = None,
    survivors: Survivors = all_passed,
) -> Background:
    """Return the background among the candidates that a function selects; by default in the signal region.

    Args:
        results: A merged accumulator.
        passes: Says which candidates count; None: those in the signal region.
        n_jpsi: Number of J/psi; None: that of the data.
        survivors: Counts the continuum events that `passes` selects among the candidates of a search.

    Raises:
        ResultsError: No background dataset ran with the selection "misid", or one lacks its branching fraction.
    """
    datasets = exclusive(results)
    probabilities = measure(results)
    chosen = passes or in_signal_region(results.cuts)
    number = n_jpsi or normalization.n_jpsi(results).value
    contributions = tuple(
        contribute(name, d, normalization.exclusive_weight(name, d, number), probabilities, chosen)
        for name, d in datasets.items()
    )
    continuum = normalization.continuum(results, number, survivors)
    return Background(contributions, continuum, inclusive_limit(results, number))


def exclusive(results: Results) -> dict[str, DatasetResult]:
    """Return the J/psi background datasets that ran with the selection "misid"."""
    found = {n: d for n, d in results.of_kind("background", "control").items() if MISID in d.selections}
    if not found:
        msg = (
            f"no dataset of kind 'background' with the selection {MISID!r} among {sorted(results.datasets)}: "
            "add it to their metadata, or give the background with --background N"
        )
        raise ResultsError(msg)
    return found


def measure(results: Results) -> Probabilities:
    """Return the probabilities from the tracks of all simulated datasets; an empty bin takes its species' mean."""
    maps = [d.selections[MISID].histograms["roles"] for d in results.datasets.values() if MISID in d.selections]
    counts = np.sum([m.values() for m in maps], axis=0)
    total = counts.sum(axis=-1, keepdims=True)
    _, upper = clopper_pearson(counts, total)
    of_species = counts.sum(axis=(1, 2), keepdims=True)
    mean = of_species / np.maximum(of_species.sum(axis=-1, keepdims=True), 1)
    is_filled = np.broadcast_to(total > 0, counts.shape)
    value = np.where(is_filled, counts / np.maximum(total, 1), np.broadcast_to(mean, counts.shape))
    sigma = np.where(is_filled, upper - value, value)
    edges = [np.asarray(maps[0].axes[name].edges) for name in ("p", "abs_cos_theta")]
    return Probabilities(edges[0], edges[1], value, sigma)


def weights(probabilities: Probabilities, table: Candidates) -> FloatArray:
    """Return the probability that the four tracks of each candidate are taken for what it needs, shape (N,)."""
    product = np.ones(len(table["m_kkee"]))
    for track in TRACKS:
        p = _bin(probabilities.p_edges, table[f"p_{track}"])
        cos_theta = _bin(probabilities.cos_theta_edges, table[f"abs_cos_theta_{track}"])
        role = ROLES.index(ROLE_OF[track])
        product *= probabilities.value[np.asarray(table[f"species_{track}"]), p, cos_theta, role]
    return product


def contribute(
    name: str,
    dataset: DatasetResult,
    weight: float,
    probabilities: Probabilities,
    passes: Passes,
) -> Contribution:
    """Return what one dataset adds.

    Its uncertainty has two parts: the number of kinematic candidates (where there is none, the upper end of the Poisson
    interval of none times the mean weight of all stored candidates), and the maps, each species and role raised by
    its uncertainty in every bin at once.
    """
    table = dataset.selections[MISID].candidates
    chosen = passes(table)
    inside = {column: values[chosen] for column, values in table.items()}
    probability = weights(probabilities, inside)
    if len(probability):
        of_counts = float(np.sqrt(np.square(probability).sum()))
    else:
        of_counts = UPPER_OF_NONE * float(weights(probabilities, table).mean()) if len(chosen) else 0.0
    nominal = float(probability.sum())
    of_maps = [
        float(weights(probabilities.raised(species, role), inside).sum()) - nominal
        for species in range(len(SPECIES))
        for role in range(1, len(ROLES))
    ]
    direct = dataset.selections["search"].n_passed if "search" in dataset.selections else 0
    sigma = weight * math.hypot(of_counts, *of_maps)
    return Contribution(name, dataset.metadata.process, direct, weight, len(probability), weight * nominal, sigma)


def inclusive_limit(results: Results, n_jpsi: float) -> float | None:
    """Return the background at 90 % that no surviving inclusive event leaves possible; None without such events."""
    datasets = results.of_kind("inclusive")
    if not datasets:
        return None
    n = sum(normalization.require_produced(name, d) for name, d in datasets.items())
    survivors = sum(normalization.search_of(name, d).n_passed for name, d in datasets.items())
    return n_jpsi / n * UPPER_AT_90 if survivors == 0 else None


def spectrum(results: Results, like: hist.Hist, n_jpsi: float | None = None) -> hist.Hist:
    """Return the expected exclusive background in the axes ``chi2_4c`` and ``m_kkee`` of a histogram."""
    filled = hist.Hist(*like.axes, storage=hist.storage.Weight())
    probabilities, number = measure(results), n_jpsi or normalization.n_jpsi(results).value
    for name, dataset in exclusive(results).items():
        table = dataset.selections[MISID].candidates
        weight = normalization.exclusive_weight(name, dataset, number) * weights(probabilities, table)
        filled.fill(*(table[axis.name] for axis in like.axes), weight=weight)
    return filled


def _bin(edges: FloatArray, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
