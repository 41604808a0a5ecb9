"""How many events a sample stands for: J/psi per period, luminosities, weights of backgrounds, continuum scaling.

Numbers of J/psi and luminosities: BESIII, Chin. Phys. C 46, 074001 (2022), doi:10.1088/1674-1137/ac5c2e.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jpsi_lnv.analysis.constants import M_JPSI, N_JPSI, N_JPSI_OF, N_JPSI_UNCERTAINTY
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, HOW_N_JPSI, INCLUSIVE, SEARCH, doubted_n_jpsi
from jpsi_lnv.analysis.efficiency import Efficiency
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult

# Counts events of a search: all that pass, or those near a mass.
Survivors = Callable[[SelectionResult], int]


@dataclass(frozen=True)
class Period:
    """A data-taking period.

    Attributes:
        n_jpsi: Number of J/psi.
        sigma: Its uncertainty.
        luminosity: Online integrated luminosity in pb^-1.
    """

    n_jpsi: float
    sigma: float
    luminosity: float


PERIODS: Final[Mapping[int, Period]] = {
    2009: Period(*N_JPSI_OF["2009"], 82.0),
    2012: Period(*N_JPSI_OF["2012"], 323.0),
    2018: Period(*N_JPSI_OF["2017-2019"], 2678.0),
}
# Period -> number of J/psi.
PUBLISHED: Final[Mapping[int, float]] = {year: period.n_jpsi for year, period in PERIODS.items()}
N_JPSI_RELATIVE: Final = N_JPSI_UNCERTAINTY / N_JPSI
LUMINOSITY_JPSI: Final = math.fsum(p.luminosity for p in PERIODS.values())


@dataclass(frozen=True)
class Count:
    """A number with its standard uncertainty and a word on its source."""

    value: float
    sigma: float
    source: str


@dataclass(frozen=True)
class SideBand:
    """Events that show background where no signal is.

    Attributes:
        n: Events seen; None while they are hidden.
        tau: Events in the side band for each one in the data.
    """

    n: int | None
    tau: float


def n_jpsi(results: Results, given: float | None = None) -> Count:
    """Return the number of J/psi to normalise to: the one that is given, else what the metadata of the data say.

    The relative uncertainty is that of the published number, which all periods share.

    Args:
        results: A merged accumulator.
        given: Number that somebody gives; None: nobody does.

    Raises:
        ResultsError: There are no data, a dataset of kind data does not state its number, or the given one is too small
            for the events of the data.
    """
    if given is not None:
        if reason := doubted_n_jpsi(given, sum(d.n_events for d in results.of_kind(DATA).values())):
            msg = f"got --n-jpsi {given:.6g}, {reason}"
            raise ResultsError(msg)
        return Count(given, given * N_JPSI_RELATIVE, "command line")
    stated = {name: d.metadata.n_jpsi for name, d in results.ran(SEARCH, DATA).items()}
    if not stated:
        msg = f"got no data, which say how many J/psi to normalise to; give --n-jpsi, such as {'+'.join(N_JPSI_OF)}"
        raise ResultsError(msg)
    if lacking := sorted(name for name, n in stated.items() if n is None):
        msg = f"dataset(s) {', '.join(lacking)} of kind {DATA!r} do not say how many J/psi they hold; {HOW_N_JPSI}"
        raise ResultsError(msg)
    total = math.fsum(n for n in stated.values() if n is not None)
    return Count(total, total * N_JPSI_RELATIVE, "metadata of the data")


def n_jpsi_by_period(results: Results) -> dict[int, float]:
    """Return the number of J/psi of each period: what the data's metadata say, else the published numbers."""
    found: dict[int, float] = {}
    for dataset in results.ran(SEARCH, DATA).values():
        period, number = dataset.metadata.period, dataset.metadata.n_jpsi
        if period is None or number is None:
            return dict(PUBLISHED)
        found[period] = found.get(period, 0.0) + number
    return found or dict(PUBLISHED)


def search_of(name: str, dataset: DatasetResult) -> SelectionResult:
    """Return what the search found in a dataset.

    Raises:
        ResultsError: The search did not run on it.
    """
    if SEARCH not in dataset.selections:
        msg = f"dataset {name!r}: no selection {SEARCH!r}; got {sorted(dataset.selections)}; add it to its metadata"
        raise ResultsError(msg)
    return dataset.selections[SEARCH]


def all_passed(search: SelectionResult) -> int:
    """Return the events that pass the whole search."""
    return search.n_passed


def signal_efficiency(datasets: Mapping[str, DatasetResult]) -> Efficiency:
    """Return the efficiency of signal samples taken together, whose events are mixed as the data are.

    Raises:
        ResultsError: There is no sample or no generated event, or samples are of single periods.
    """
    total = sum(require_produced(name, d) for name, d in datasets.items())
    if not datasets:
        msg = "no signal dataset: no efficiency; add one to the fileset"
        raise ResultsError(msg)
    if single := sorted(name for name, d in datasets.items() if d.metadata.period is not None):
        msg = (
            f"datasets {single} are of one period each, and wanted are samples that mix the periods as the data do: "
            "leave 'period' out of their metadata, or give the limits --systematics FILE"
        )
        raise ResultsError(msg)
    return Efficiency(sum(search_of(name, d).n_passed for name, d in datasets.items()), total)


def period_efficiency(
    datasets: Mapping[str, DatasetResult],
    n_jpsi_of: Mapping[int, float] = PUBLISHED,
    survivors: Survivors = all_passed,
) -> tuple[float, float]:
    """Return the efficiency of samples of single periods weighted by their numbers of J/psi, and its uncertainty.

    Args:
        datasets: Name -> sample, whose metadata name the period.
        n_jpsi_of: Period -> number of J/psi in the data.
        survivors: Counts the events of a sample's search that are asked for.

    Raises:
        ResultsError: A period is unknown or lacks a sample, or nothing was generated.
    """
    value = variance = 0.0
    for share, samples in _shares(datasets, n_jpsi_of):
        passed = sum(survivors(search_of(name, d)) for name, d in samples.items())
        of_samples = Efficiency(passed, _produced(samples))
        value += share * of_samples.value
        variance += (share * of_samples.sigma) ** 2
    return value, math.sqrt(variance)


def _shares(
    datasets: Mapping[str, DatasetResult], n_jpsi_of: Mapping[int, float]
) -> list[tuple[float, dict[str, DatasetResult]]]:
    """Return (share of the data's J/psi, samples) of each period."""
    of_period: dict[int, dict[str, DatasetResult]] = {}
    for name, dataset in datasets.items():
        period = dataset.metadata.period
        if period is None or period not in n_jpsi_of:
            msg = (
                f"dataset {name!r}: period {period!r} is none of {sorted(n_jpsi_of)}, those of the data; "
                f"give every one of {sorted(datasets)} its 'period' in the fileset, or none"
            )
            raise ResultsError(msg)
        of_period.setdefault(period, {})[name] = dataset
    if missing := sorted(set(n_jpsi_of) - set(of_period)):
        msg = (
            f"datasets {sorted(datasets)}: no dataset for the periods {missing}; got {sorted(of_period)}; "
            "add one per period of the data to the fileset, or leave 'period' out of their metadata"
        )
        raise ResultsError(msg)
    whole = math.fsum(n_jpsi_of.values())
    return [(n_jpsi_of[period] / whole, samples) for period, samples in of_period.items()]


def _produced(samples: Mapping[str, DatasetResult]) -> int:
    return sum(require_produced(name, d) for name, d in samples.items())


def require_produced(name: str, dataset: DatasetResult) -> int:
    """Return the number of generated events.

    Raises:
        ResultsError: There are none.
    """
    if dataset.n_produced <= 0:
        msg = f"dataset {name!r}: {dataset.n_produced} generated events; nothing can be normalised to them"
        raise ResultsError(msg)
    return dataset.n_produced


def exclusive_weights(
    datasets: Mapping[str, DatasetResult], number: float, n_jpsi_of: Mapping[int, float] = PUBLISHED
) -> dict[str, float]:
    """Return the J/psi data events that one simulated event of each background dataset stands for: B N(J/psi)/N_gen.

    Datasets of one process are one sample: N_gen is the sum over them or, if they are of different periods, over those
    of the dataset's period, to which the period's share of the J/psi belongs.

    Args:
        datasets: Name -> background dataset.
        number: Number of J/psi.
        n_jpsi_of: Period -> number of J/psi in the data; only the shares count.

    Raises:
        ResultsError: The metadata do not say which process a dataset is of, its branching fraction or its share of the
            J/psi, or nothing was generated.
    """
    weights: dict[str, float] = {}
    for of_process in by_process(datasets).values():
        fraction = _branching_fraction(of_process)
        is_of_periods = len({d.metadata.period for d in of_process.values()}) > 1
        for share, samples in _shares(of_process, n_jpsi_of) if is_of_periods else [(1.0, of_process)]:
            weights |= dict.fromkeys(samples, fraction * number * share / _produced(samples))
    return weights


def by_process(datasets: Mapping[str, DatasetResult]) -> dict[str, dict[str, DatasetResult]]:
    """Return the datasets of each process.

    Raises:
        ResultsError: One of several names no process, so that it may repeat another one.
    """
    found: dict[str, dict[str, DatasetResult]] = {}
    for name, dataset in datasets.items():
        found.setdefault(dataset.metadata.process, {})[name] = dataset
    if "" in found and len(datasets) > 1:
        msg = (
            f"datasets {sorted(found[''])} of {sorted(datasets)}: metadata lack 'process'; add it to the fileset, "
            "since datasets of the same process must count as one"
        )
        raise ResultsError(msg)
    return found


def _branching_fraction(of_process: Mapping[str, DatasetResult]) -> float:
    """Return the one branching fraction of the datasets of a process."""
    fractions = {name: d.metadata.branching_fraction for name, d in of_process.items()}
    fraction, *others = set(fractions.values())
    if others:
        msg = (
            f"datasets of one process have the branching fractions {fractions}; wanted the same, as they count as one "
            "sample: mend 'branching_fraction' in the fileset, or give different decays different names as 'process'"
        )
        raise ResultsError(msg)
    if fraction is None:
        msg = f"datasets {sorted(fractions)}: metadata lack 'branching_fraction'; add it to the fileset for the weight"
        raise ResultsError(msg)
    return fraction


def continuum_scale(points: Iterable[tuple[float, float]], luminosity: float = LUMINOSITY_JPSI) -> float:
    """Return the events at the J/psi that one event off the resonance stands for, all energies taken together.

    The cross section of the continuum falls as 1/s: L(J/psi)/m^2 over the sum of L_i/s_i.

    Args:
        points: (sqrt(s) in GeV, luminosity in pb^-1) of the energies.
        luminosity: Luminosity at the J/psi in pb^-1.

    Raises:
        ValueError: There is no energy.
    """
    exposure = math.fsum(lum / sqrt_s**2 for sqrt_s, lum in points)
    if exposure <= 0.0:
        msg = "no luminosity off the resonance: nothing to scale"
        raise ValueError(msg)
    return luminosity / M_JPSI**2 / exposure


def jpsi_luminosity(number: float) -> float:
    """Return the luminosity in pb^-1 that gives a number of J/psi: the published one in proportion."""
    return LUMINOSITY_JPSI * number / N_JPSI


def side_bands(results: Results, number: float, survivors: Survivors = all_passed) -> dict[str, SideBand]:
    """Return the datasets that show background by events that survive the search: off the resonance, and inclusive.

    Args:
        results: A merged accumulator.
        number: Number of J/psi in the data.
        survivors: Counts the events of a dataset's search that are asked for.

    Returns:
        Kind of dataset -> side band, for those that are there.

    Raises:
        ResultsError: A continuum dataset has no luminosity, or an inclusive one no generated event.
    """
    found = {}
    if datasets := results.of_kind(CONTINUUM):
        found[CONTINUUM] = SideBand(_survivors(datasets, survivors), 1.0 / _continuum_weight(datasets, number))
    if datasets := results.of_kind(INCLUSIVE):
        found[INCLUSIVE] = SideBand(_survivors(datasets, survivors), _produced(datasets) / number)
    return found


def _survivors(datasets: Mapping[str, DatasetResult], survivors: Survivors) -> int | None:
    if any(d.metadata.is_blind for d in datasets.values()):
        return None
    return sum(survivors(search_of(name, d)) for name, d in datasets.items())


def _continuum_weight(datasets: Mapping[str, DatasetResult], number: float) -> float:
    """Return the events at the J/psi that an event off the resonance stands for."""
    for name, dataset in datasets.items():
        if dataset.metadata.luminosity is None:
            msg = f"dataset {name!r}: kind 'continuum' without 'luminosity'; add it in pb^-1 to the fileset"
            raise ResultsError(msg)
    points = [(d.metadata.sqrt_s, d.metadata.luminosity or 0.0) for d in datasets.values()]
    return continuum_scale(points, jpsi_luminosity(number))
