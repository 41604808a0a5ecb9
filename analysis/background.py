"""The expected background in the signal region, from a merged accumulator.

Exclusive J/psi decays count with misidentification weights (`analysis.selection.misid`), the continuum by its
surviving events; inclusive events only show what their absence would exclude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import hist
import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis import majorana, normalization
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import BACKGROUND, CONTROL, INCLUSIVE, MISID, SEARCH
from jpsi_lnv.analysis.efficiency import clopper_pearson
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.normalization import UPPER_AT_90, Count, all_passed
from jpsi_lnv.analysis.results import DatasetResult, Results
from jpsi_lnv.analysis.selection.misid import ROLES, SPECIES
from jpsi_lnv.analysis.selection.search import TRACKS

Candidates = Mapping[str, AnyArray]
Passes = Callable[[Candidates], BoolArray]

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
        sigma: Standard uncertainty of all exclusive datasets together. It is not the sum in quadrature of theirs: the
            maps are the same for all, and datasets of one process are one sample.
        continuum: Expected continuum events; None without such datasets.
        inclusive_limit: Upper limit at 90 % that no surviving inclusive event gives; shown only. None without inclusive
            events.
    """

    contributions: tuple[Contribution, ...]
    sigma: float
    continuum: Count | None
    inclusive_limit: float | None

    @property
    def total(self) -> Count:
        """Sum and uncertainty of exclusive decays and continuum."""
        continuum = self.continuum or Count(0.0, 0.0, "")
        value = math.fsum(c.n_bkg for c in self.contributions) + continuum.value
        source = f"{len({c.process for c in self.contributions})} exclusive decays with PID weights"
        if self.continuum:
            source += f", continuum ({self.continuum.source})"
        return Count(value, math.hypot(self.sigma, continuum.sigma), source)


@dataclass(frozen=True)
class Expected:
    """What the candidates of one dataset stand for.

    Attributes:
        stored: (N,) expected events per stored candidate.
        is_inside: (N,) whether it counts.
        shifts: (M,) change of the expected events that count when one map, of a species and a role, rises by its
            uncertainty in every bin at once.
    """

    stored: FloatArray
    is_inside: BoolArray
    shifts: FloatArray

    @property
    def n_bkg(self) -> float:
        """Expected events."""
        return float(self.stored[self.is_inside].sum())


def in_signal_region(cuts: Cuts, m_majorana: float | None = None) -> Passes:
    """Return the function that says which candidates pass chi2 and signal region, and lie at a mass if one is given."""

    def passes(table: Candidates) -> BoolArray:
        m_kkee = table["m_kkee"]
        inside = (m_kkee >= cuts.m_kkee_min) & (m_kkee <= cuts.m_kkee_max) & (table["chi2_4c"] < cuts.chi2_4c_max)
        if m_majorana is not None:
            inside &= majorana.in_interval(majorana.paired_masses(table), m_majorana)
        return np.asarray(inside)

    return passes


def per_channel(results: Results, n_jpsi: float | None = None) -> dict[float | None, Background]:
    """Return the background of the overall search (None), then at each simulated Majorana mass in GeV/c^2."""
    masses = (mass / 1000 for mass in majorana.by_mass(results))
    return {mass: estimate(results, n_jpsi, mass) for mass in (None, *masses)}


def to_json(found: Mapping[float | None, Background]) -> dict[str, Any]:
    """Return estimates in the form of `background.json`: the overall one whole, the total of every channel."""
    overall = found[None]
    channels = [{"m_majorana": mass, "total": asdict(background.total)} for mass, background in found.items()]
    return asdict(overall) | {"total": asdict(overall.total), "channels": channels}


def totals(content: Mapping[str, Any]) -> dict[float | None, Count]:
    """Return the total of every channel of `background.json`: of the overall search (None) and at each mass."""
    return {channel["m_majorana"]: Count(**channel["total"]) for channel in content["channels"]}


def estimate(results: Results, n_jpsi: float | None = None, m_majorana: float | None = None) -> Background:
    """Return the background in the signal region.

    Args:
        results: A merged accumulator.
        n_jpsi: Number of J/psi; None: that of the data.
        m_majorana: Mass in GeV/c^2 at which candidates count; None: all.

    Raises:
        ResultsError: No background dataset ran with the selection "misid", or one lacks what its weight needs.
    """
    datasets = exclusive(results)
    probabilities = measure(results)
    chosen = in_signal_region(results.cuts, m_majorana)
    number = n_jpsi or normalization.n_jpsi(results).value
    weight_of = _weights_of_datasets(results, datasets, number)
    found = {name: expect(d, weight_of[name], probabilities, chosen) for name, d in datasets.items()}
    contributions = tuple(contribute(name, d, weight_of[name], found[name]) for name, d in datasets.items())
    samples = [[found[name] for name in of_process] for of_process in normalization.by_process(datasets).values()]
    survivors = all_passed if m_majorana is None else partial(majorana.survivors, m_majorana)
    continuum = normalization.continuum(results, number, survivors)
    return Background(contributions, sigma_of(samples), continuum, inclusive_limit(results, number))


def _weights_of_datasets(results: Results, datasets: Mapping[str, DatasetResult], number: float) -> dict[str, float]:
    return normalization.exclusive_weights(datasets, number, normalization.n_jpsi_by_period(results))


def exclusive(results: Results) -> dict[str, DatasetResult]:
    """Return the J/psi background datasets that ran with the selection "misid"."""
    found = results.ran(MISID, BACKGROUND, CONTROL)
    if not found:
        msg = (
            f"no dataset of kind 'background' with the selection {MISID!r} among {sorted(results.datasets)}: "
            "add it to their metadata, or give the background with --background N"
        )
        raise ResultsError(msg)
    return found


def measure(results: Results) -> Probabilities:
    """Return the probabilities from the tracks of all simulated datasets; an empty bin takes its species' mean."""
    maps = [d.selections[MISID].histograms["roles"] for d in results.ran(MISID).values()]
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


def expect(dataset: DatasetResult, weight: float, probabilities: Probabilities, passes: Passes) -> Expected:
    """Return what the candidates of one dataset stand for, each event of it for `weight` data events."""
    table = dataset.selections[MISID].candidates
    is_inside = passes(table)
    inside = {column: values[is_inside] for column, values in table.items()}
    nominal = weights(probabilities, table)
    shifts = [
        weights(probabilities.raised(species, role), inside).sum() - nominal[is_inside].sum()
        for species in range(len(SPECIES))
        for role in range(1, len(ROLES))
    ]
    return Expected(weight * nominal, is_inside, weight * np.array(shifts))


def sigma_of(samples: Sequence[Sequence[Expected]]) -> float:
    """Return the standard uncertainty of samples, each the datasets of one process, together.

    The numbers of candidates are independent from sample to sample; a map moves all samples at once.
    """
    shifts = np.sum([dataset.shifts for sample in samples for dataset in sample], axis=0)
    return math.hypot(*(_sigma_of_counts(sample) for sample in samples), *np.atleast_1d(shifts))


def _sigma_of_counts(sample: Sequence[Expected]) -> float:
    """Return the uncertainty from the number of kinematic candidates.

    Where there is none: the upper end of the Poisson interval of none, times the mean of all stored candidates.
    """
    inside = np.concatenate([dataset.stored[dataset.is_inside] for dataset in sample])
    if len(inside):
        return float(np.sqrt(np.square(inside).sum()))
    stored = np.concatenate([dataset.stored for dataset in sample])
    return UPPER_OF_NONE * float(stored.mean()) if len(stored) else 0.0


def contribute(name: str, dataset: DatasetResult, weight: float, expected: Expected) -> Contribution:
    """Return what one dataset adds, with the uncertainty that it has alone."""
    return Contribution(
        name=name,
        process=dataset.metadata.process,
        n_direct=dataset.selections[SEARCH].n_passed if SEARCH in dataset.selections else 0,
        weight=weight,
        n_kinematic=int(np.count_nonzero(expected.is_inside)),
        n_bkg=expected.n_bkg,
        sigma=sigma_of([[expected]]),
    )


def inclusive_limit(results: Results, n_jpsi: float) -> float | None:
    """Return the background at 90 % that no surviving inclusive event leaves possible; None without such events."""
    datasets = results.of_kind(INCLUSIVE)
    if not datasets:
        return None
    n = sum(normalization.require_produced(name, d) for name, d in datasets.items())
    survivors = sum(normalization.search_of(name, d).n_passed for name, d in datasets.items())
    return n_jpsi / n * UPPER_AT_90 if survivors == 0 else None


def spectrum(results: Results, like: hist.Hist, n_jpsi: float | None = None) -> hist.Hist:
    """Return the expected exclusive background in the axes ``chi2_4c`` and ``m_kkee`` of a histogram."""
    filled = hist.Hist(*like.axes, storage=hist.storage.Weight())
    probabilities, number = measure(results), n_jpsi or normalization.n_jpsi(results).value
    datasets = exclusive(results)
    weight_of = _weights_of_datasets(results, datasets, number)
    for name, dataset in datasets.items():
        table = dataset.selections[MISID].candidates
        weight = weight_of[name] * weights(probabilities, table)
        filled.fill(*(table[axis.name] for axis in like.axes), weight=weight)
    return filled


def _bin(edges: FloatArray, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
