"""Systematic uncertainties: what control samples say, the sources of the publication's section IV, and their table.

Every uncertainty is relative to the efficiency (or to N(J/psi)), a fraction; the table holds the overall ones and those
at each mass of a Majorana neutrino.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import hist
import numpy as np

from jpsi_lnv.analysis import majorana, normalization
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.channel import Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.datasets import (
    CONTROL,
    CONTROL_CONVERSION,
    CONTROL_EE,
    CONTROL_EEEE,
    CONTROL_KKPI0,
    CONTROL_KKPIPI,
    CONTROL_PPBARPIPI,
    DATA,
    SEARCH,
    SIGNAL,
    mass_text,
)
from jpsi_lnv.analysis.efficiency import Efficiency, RatioMap, add_maps, efficiency_map, mean_difference, ratio
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection.search import HELIX_UNCORRECTED
from jpsi_lnv.analysis.systematics import modelling

# Species of the tracks -> the control sample that measures them.
PROBES: Final[Mapping[Species, str]] = {Species.E: CONTROL_EE, Species.K: CONTROL_KKPI0}
# Map and species -> samples that add what the first one lacks, where a result has them.
MORE_PROBES: Final[Mapping[tuple[str, Species], tuple[str, ...]]] = {
    ("pid", Species.E): (CONTROL_EEEE, CONTROL_CONVERSION)
}
SIGMA_MIN: Final = 1e-6  # smallest uncertainty of a bin of a map
FIT: Final = CONTROL_PPBARPIPI
MAPS: Final = ("tracking", "pid")
FIT_TITLE: Final = "chi2_4C kinematic fit and cut"
MODELLING_TITLE: Final = "MC modeling"
# How the 4C fit's uncertainty is had: from the control sample, or a share of what corrections of helices change.
CONTROL_SAMPLE: Final = "control"
FIT_RULES: Final[Mapping[str, tuple[float, str]]] = {
    "helix": (1.0, "signal with minus without helix corrections"),
    "half-helix": (0.5, "half of signal with minus without helix corrections"),
}
# Name of the overall search.
OVERALL: Final = "overall"
_DECAYS: Final = {FIT: "p pbar pi pi", CONTROL_KKPIPI: "K+ K- pi pi"}


@dataclass(frozen=True)
class Difference:
    """Relative difference of an efficiency, data over simulation less 1, with its statistical uncertainty."""

    value: float
    sigma: float

    @property
    def size(self) -> float:
        """What an uncorrected simulation can be wrong by: the difference, or what it is known to if that is more."""
        return max(abs(self.value), self.sigma)


def has_samples(results: Results) -> bool:
    """Whether data and simulation of every control sample are there, and measure the tracks of the decay."""
    has_all = all(has_sample(results, selection) for selection in (*PROBES.values(), FIT))
    return has_all and are_measured(results.channel)


def are_measured(channel: Channel) -> bool:
    """Whether the tracks of a decay are those that control samples measure: two like `TRACKS` of either charge."""
    return bool(channel.pairs) and set(channel.tracks) == {name for names in TRACKS.values() for name in names}


def require_measured(channel: Channel) -> None:
    """Raise ResultsError for a decay whose tracks no control samples measure."""
    if not are_measured(channel):
        known = ", ".join(name for names in TRACKS.values() for name in names)
        msg = (
            f"{channel.reaction}: no control samples for its tracks {', '.join(channel.tracks)}, there are those of "
            f"{known}; give the uncertainties from elsewhere, `lnv limits --systematics FILE`"
        )
        raise ResultsError(msg)


def has_sample(results: Results, selection: str) -> bool:
    """Whether data and simulation of one control sample are there."""
    return all(results.ran(selection, kind) for kind in (DATA, CONTROL))


def of_selection(results: Results, selection: str) -> tuple[list[SelectionResult], list[SelectionResult]]:
    """Return what a control selection found in data and in simulation.

    Raises:
        ResultsError: One of the two is missing.
    """
    samples = []
    for kind, what in ((DATA, "data"), (CONTROL, "its simulation")):
        found = [d.selections[selection] for d in results.ran(selection, kind).values()]
        if not found:
            msg = (
                f"no dataset of kind {kind!r} with selection {selection!r}: the control sample of {what} is missing; "
                "add it to the fileset, or give the uncertainties with --systematics FILE"
            )
            raise ResultsError(msg)
        samples.append(found)
    return samples[0], samples[1]


def ratio_map(results: Results, species: Species, name: str) -> RatioMap:
    """Return data over simulation of the ``tracking`` or ``pid`` efficiency of a species, from all its samples.

    Raises:
        ResultsError: A control sample is missing, empty, or stored with other bins.
    """
    return combine([sample_map(results, selection, name) for selection in samples_of(results, species, name)])


def samples_of(results: Results, species: Species, name: str) -> list[str]:
    """Return the control samples of a result that measure a map."""
    return [PROBES[species], *(s for s in MORE_PROBES.get((name, species), ()) if has_sample(results, s))]


def combine(maps: Sequence[RatioMap]) -> RatioMap:
    """Return the mean of maps of independent samples, each bin weighted with its inverse squared uncertainty."""
    weights = np.stack([1.0 / np.square(np.maximum(m.sigma, SIGMA_MIN)) for m in maps])
    value = (weights * np.stack([m.value for m in maps])).sum(axis=0) / weights.sum(axis=0)
    return RatioMap(maps[0].p_edges, maps[0].cos_theta_edges, value, 1.0 / np.sqrt(weights.sum(axis=0)))


def sample_map(results: Results, selection: str, name: str) -> RatioMap:
    """Return data over simulation of one control sample.

    Raises:
        ResultsError: It is missing, empty, or stored with different bins.
    """
    data, simulation = (
        [efficiency_map(histogram(s, selection, name)) for s in side] for side in of_selection(results, selection)
    )
    edges = {(tuple(m.p_edges), tuple(m.cos_theta_edges)) for m in data + simulation}
    if len(edges) > 1:
        msg = f"{selection}: the maps {name!r} of data and simulation have different bins; run both again"
        raise ResultsError(msg)
    return ratio(add_maps(data), add_maps(simulation))


def histogram(selection: SelectionResult, where: str, name: str) -> hist.Hist:
    """Return a stored histogram.

    Raises:
        ResultsError: The result has none of this name.
    """
    if name not in selection.histograms:
        msg = f"{where}: no histogram {name!r}; got {sorted(selection.histograms)}; the result is of another version"
        raise ResultsError(msg)
    return selection.histograms[name]


def step_difference(results: Results, step: str, before: str, sample: str = FIT) -> Difference:
    """Return the difference of the share of a control sample's events that pass `step` of those that pass `before`.

    Raises:
        ResultsError: A control sample is missing, or nothing passes.
    """
    data, simulation = (_share(side, step, before, sample) for side in of_selection(results, sample))
    relative = np.hypot(data.sigma / data.value, simulation.sigma / simulation.value)
    return Difference(data.value / simulation.value - 1.0, float(relative * data.value / simulation.value))


def _share(selections: list[SelectionResult], step: str, before: str, sample: str) -> Efficiency:
    n_passed, n_total = (sum(s.cutflow[name] for s in selections) for name in (step, before))
    if n_passed == 0:
        msg = f"{sample}: none of {n_total} events passes {step!r}; run on more events"
        raise ResultsError(msg)
    return Efficiency(n_passed, n_total)


Candidates = Mapping[str, AnyArray]

# Names of a candidate's tracks by species, as the candidate table has them.
TRACKS: Mapping[Species, tuple[str, str]] = {Species.K: ("k1", "k2"), Species.E: ("e1", "e2")}


@dataclass(frozen=True)
class Uncertainty:
    """One row of the table.

    Attributes:
        source: Key of the row.
        title: The row's words in the publication.
        value: Relative standard uncertainty, a fraction.
        method: How it was had.
        details: Numbers it was made of.
    """

    source: str
    title: str
    value: float
    method: str
    details: dict[str, float] = field(default_factory=dict)


def n_jpsi() -> Uncertainty:
    """Return the uncertainty of the number of J/psi, which all periods share."""
    return Uncertainty("n_jpsi", "N(J/psi)", normalization.N_JPSI_RELATIVE, "Chin. Phys. C 46, 074001 (2022)")


def track_difference(results: Results, name: str, species: Species, candidates: Candidates) -> Difference:
    """Return the difference of ``tracking`` or ``pid`` efficiency per track, averaged over the candidates' tracks.

    Raises:
        ResultsError: A control sample is missing, or there are no candidates.
    """
    p, cos_theta = (
        np.concatenate([np.asarray(candidates[f"{column}_{t}"]) for t in TRACKS[species]])
        for column in ("p", "cos_theta")
    )
    return Difference(*mean_difference(ratio_map(results, species, name), p, cos_theta))


def tracking(results: Results, candidates: Candidates) -> Uncertainty:
    """Return the uncertainty of the MDC tracking: two electrons and two kaons, from e+e- (gamma) and pi0 K+K-."""
    return _of_tracks(results, candidates, "tracking", "MDC tracking")


def pid(results: Results, candidates: Candidates) -> Uncertainty:
    """Return the uncertainty of the particle identification, from the same samples."""
    return _of_tracks(results, candidates, "pid", "PID")


def _of_tracks(results: Results, candidates: Candidates, name: str, title: str) -> Uncertainty:
    """Add up the tracks of a candidate: what is wrong with one is wrong with all of its kind, hence linearly."""
    per_track = {species: track_difference(results, name, species, candidates) for species in TRACKS}
    total = sum(len(TRACKS[species]) * d.size for species, d in per_track.items())
    details: dict[str, float] = {}
    for species, label in ((Species.E, "electron"), (Species.K, "kaon")):
        details |= {label: per_track[species].value, f"{label}_sigma": per_track[species].sigma}
    return Uncertainty(name, title, total, "control samples, linear over four tracks", details)


def kinematic_fit(results: Results) -> Uncertainty:
    """Return the uncertainty of the 4C fit with the requirement on chi2, from p pbar pi+ pi-."""
    return _of_step(results, "kinematic_fit", FIT_TITLE, "chi2_4c", "near_jpsi")


def helix_corrections(results: Results, rule: str) -> Uncertainty:
    """Return the uncertainty of the 4C fit from the signal with and without corrections of its helices.

    Args:
        results: A merged accumulator.
        rule: ``helix``: the difference, ``half-helix``: half of it, as different analyses of BESIII take it.

    Raises:
        ResultsError: No signal was run with corrections and the selection `variations`.
    """
    varied = f"{SEARCH}_{HELIX_UNCORRECTED}"
    ran = [d.selections for d in results.ran(varied, SIGNAL).values()]
    n_with, n_without = (sum(last(s[name].cutflow) for s in ran) for name in (SEARCH, varied))
    if not n_with:
        msg = (
            "no signal passes with and without corrections of helices; wanted a dataset of kind 'signal' whose "
            f"'calibration' has them, with the selections {SEARCH!r} and 'variations': see `lnv helix-corrections`"
        )
        raise ResultsError(msg)
    difference = n_without / n_with - 1.0
    share, words = FIT_RULES[rule]
    details = {"difference": difference, "n_with": float(n_with), "n_without": float(n_without)}
    return Uncertainty("kinematic_fit", FIT_TITLE, share * abs(difference), words, details)


def last(cutflow: Mapping[str, int]) -> int:
    """Return the events that pass every step."""
    return list(cutflow.values())[-1]


def signal_region(results: Results) -> Uncertainty:
    """Return the uncertainty of the signal region, from p pbar pi+ pi-."""
    return _of_step(results, "signal_region", "signal region", "signal_region", "chi2_4c")


def hypotheses(results: Results) -> Uncertainty:
    """Return the uncertainty of the veto of other hypotheses, from K+ K- pi+ pi-."""
    return _of_step(results, "hypotheses", "veto of other hypotheses", "smallest_chi2", "signal_region", CONTROL_KKPIPI)


def multiplicity(results: Results) -> Uncertainty:
    """Return the uncertainty of the electrons' PID in events of four tracks.

    The correction of 2(e+ e-) less that of e+ e- (gamma), the mean over bins that both have: half of the probes come
    from events of two tracks, and all of the signal's from four.
    """
    two, four = (sample_map(results, sample, "pid") for sample in (CONTROL_EE, CONTROL_EEEE))
    weight = 1.0 / (np.square(two.sigma) + np.square(four.sigma))
    difference = Difference(
        float((weight * (four.value - two.value)).sum() / weight.sum()), float(1.0 / np.sqrt(weight.sum()))
    )
    details = {"difference": difference.value, "sigma": difference.sigma}
    value = len(TRACKS[Species.E]) * difference.size
    return Uncertainty("multiplicity", "PID of electrons in four tracks", value, "2(e+ e-) less e+ e- (gamma)", details)


def _of_step(results: Results, source: str, title: str, step: str, before: str, sample: str = FIT) -> Uncertainty:
    difference = step_difference(results, step, before, sample)
    details = {"difference": difference.value, "sigma": difference.sigma}
    return Uncertainty(source, title, difference.size, f"control sample {_DECAYS[sample]}", details)


def mc_statistics(efficiency: Efficiency) -> Uncertainty:
    """Return the uncertainty of the size of the signal sample."""
    counts = {"n_passed": float(efficiency.n_passed), "n_produced": float(efficiency.n_total)}
    return Uncertainty("mc_statistics", "MC statistics", efficiency.sigma / efficiency.value, "binomial", counts)


def mc_modelling(reference: float, others: Mapping[str, float], method: str) -> Uncertainty:
    """Return the uncertainty of the decay model: the difference to the mean of other models' efficiencies.

    The publication states the largest difference without the rule that led to its number; the largest is among the
    details.

    Args:
        reference: Efficiency of the model in use.
        others: Name -> efficiency of the other models, at least one.
        method: What is compared.
    """
    mean = math.fsum(others.values()) / len(others)
    largest = max(abs(e - reference) for e in others.values()) / reference
    details = {"efficiency": reference, "mean_of_models": mean, "largest_difference": largest}
    return Uncertainty("mc_modelling", MODELLING_TITLE, abs(mean - reference) / reference, method, details)


def of_angles(candidates: Candidates, m_majorana: float) -> Uncertainty:
    """Return the uncertainty of the angles of J/psi -> nu nu, nu -> K e at a mass in GeV/c^2.

    Any model between the extreme ones is as good as another: a uniform distribution, whose standard deviation is its
    width over sqrt(12).
    """
    changes = modelling.angular(candidates, m_majorana)
    width = max(changes.values()) - min(changes.values())
    return Uncertainty("mc_modelling", MODELLING_TITLE, width / math.sqrt(12.0), "angles of J/psi -> nu nu", changes)


# Rules of the modelling uncertainty: of the overall search; and at a mass, the angles of the decay that is tested, or
# the difference of the two decays that were simulated.
RULES: Final = ("average", "largest")
ANGLES: Final = "angles"
TWO_DECAYS: Final = "two-decays"
MASS_RULES: Final = (ANGLES, TWO_DECAYS)


@dataclass(frozen=True)
class Budget:
    """The uncertainties of one efficiency.

    Attributes:
        m_majorana: Mass in GeV/c^2; None for the overall search.
        rows: One per source, in the order of the publication.
    """

    m_majorana: float | None
    rows: tuple[Uncertainty, ...]

    @property
    def total(self) -> float:
        """All sources in quadrature, a fraction."""
        return math.hypot(*(row.value for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON types."""
        return {"m_majorana": self.m_majorana, "total": self.total, "rows": [asdict(row) for row in self.rows]}


def measure(
    results: Results, rule: str = "average", fit_rule: str = CONTROL_SAMPLE, mass_rule: str = ANGLES
) -> list[Budget]:
    """Return the table of the overall search, then those of the simulated masses in increasing order.

    Args:
        results: A merged accumulator with signal, Majorana and control samples.
        rule: Modelling of the overall search: the difference to the "average" of the Majorana models, or the "largest".
        fit_rule: The 4C fit's uncertainty: that of the "control" sample, or what corrections of "helix" change in the
            signal, or "half-helix" of that; the same at all masses.
        mass_rule: Modelling at a mass: what the "angles" of J/psi -> nu nu can change, or the difference of the
            efficiencies of "two-decays", to two neutrinos and to one.

    Raises:
        ResultsError: A sample is missing or empty.
        ValueError: A rule is unknown.
    """
    for given, known in ((rule, RULES), (fit_rule, (CONTROL_SAMPLE, *FIT_RULES)), (mass_rule, MASS_RULES)):
        if given not in known:
            msg = f"rule is {given!r}; wanted one of {tuple(known)}"
            raise ValueError(msg)
    budgets = [overall(results, rule), *(at_mass(results, mass, mass_rule) for mass in majorana.by_mass(results))]
    if fit_rule == CONTROL_SAMPLE:
        return budgets
    of_fit = helix_corrections(results, fit_rule)
    return [replace(b, rows=tuple(of_fit if r.source == of_fit.source else r for r in b.rows)) for b in budgets]


def overall(results: Results, rule: str = "average") -> Budget:
    """Return the table of the overall search, whose efficiency is that of phase space."""
    signal = results.of_kind(SIGNAL)
    efficiency = _some(normalization.signal_efficiency(signal))
    models = {
        f"{mode} {mass_text(mass / 1000)}": e.value
        for mode in ("2nu", "1nu")
        for mass, e in modelling.efficiencies(results, mode).items()
    }
    if not models:
        msg = f"no dataset of kind 'majorana' among {sorted(results.datasets)}: no other model; add some to the fileset"
        raise ResultsError(msg)
    model = mc_modelling(efficiency.value, models, f"{len(models)} Majorana models, {rule}")
    if rule == "largest":
        model = replace(model, value=model.details["largest_difference"])
    return Budget(None, _rows(results, candidates(signal), efficiency, model))


def at_mass(results: Results, mass_mev: float, rule: str = ANGLES) -> Budget:
    """Return the table at one mass, whose efficiency is that of J/psi -> nu nu in its interval."""
    datasets, m_majorana = majorana.by_mass(results)[mass_mev], mass_mev / 1000
    efficiency, selected = normalization.signal_efficiency(datasets), candidates(datasets)
    n_inside = sum(majorana.survivors(m_majorana, d.selections[SEARCH]) for d in datasets.values())
    counted = _some(Efficiency(n_inside, efficiency.n_total))
    if rule == TWO_DECAYS:
        other, method = modelling.single_neutrino(results, mass_mev)
        model = mc_modelling(efficiency.value, {"1nu": other}, method)
    else:
        model = of_angles(_where(selected, majorana.belongs(selected, m_majorana)), m_majorana)
    return Budget(m_majorana, _rows(results, selected, counted, model))


def _some(efficiency: Efficiency) -> Efficiency:
    if efficiency.n_passed == 0:
        msg = f"none of {efficiency.n_total} produced signal events passes: no relative uncertainty; run on more events"
        raise ResultsError(msg)
    return efficiency


def _where(selected: Candidates, is_chosen: BoolArray) -> Candidates:
    return {column: values[is_chosen] for column, values in selected.items()}


def candidates(datasets: Mapping[str, DatasetResult]) -> Candidates:
    """Return the selected candidates of datasets as one table.

    Raises:
        ResultsError: There is no dataset, or one whose candidates have no charge.
    """
    tables = {name: normalization.search_of(name, d).candidates for name, d in datasets.items()}
    if not tables:
        msg = f"no dataset of kind {SIGNAL!r}: nothing to measure an efficiency on; add some to the fileset"
        raise ResultsError(msg)
    for name, table in tables.items():
        if "charge" not in table:
            msg = f"dataset {name!r}: its candidates have no 'charge', got {sorted(table)}; `lnv run` it again"
            raise ResultsError(msg)
    first, *_ = tables.values()
    return {column: np.concatenate([t[column] for t in tables.values()]) for column in first}


def channels(results: Results) -> dict[str, Candidates]:
    """Return the selected candidates of every count: the overall search, its conjugate channels and periods, masses.

    Their names are those of the limits: `OVERALL`, of the conjugate decays, `period_name` and masses as in the file.
    """
    datasets = results.of_kind(SIGNAL)
    signal = candidates(datasets)
    conjugates = results.channel.conjugates
    by_charge = {name: _where(signal, np.asarray(signal["charge"]) == sign) for name, sign in conjugates.items()}
    years = {d.metadata.period for d in datasets.values() if d.metadata.period is not None}
    by_period = {
        period_name(year): candidates({n: d for n, d in datasets.items() if d.metadata.period == year})
        for year in (sorted(years) if len(years) > 1 else ())
    }
    by_mass = {mass_text(m / 1000): candidates(found) for m, found in majorana.by_mass(results).items()}
    found = {OVERALL: signal} | by_charge | by_period | by_mass
    return {name: selected for name, selected in found.items() if len(selected["charge"])}


def period_name(period: int | None) -> str:
    """Return the name of a data-taking period as a channel."""
    return f"period {period}"


def _rows(
    results: Results, selected: Candidates, efficiency: Efficiency, model: Uncertainty
) -> tuple[Uncertainty, ...]:
    return (
        n_jpsi(),
        tracking(results, selected),
        pid(results, selected),
        kinematic_fit(results),
        signal_region(results),
        *([hypotheses(results)] if has_sample(results, CONTROL_KKPIPI) else []),
        *([multiplicity(results)] if has_sample(results, CONTROL_EEEE) else []),
        mc_statistics(efficiency),
        model,
    )


def to_json(tables: list[Budget]) -> dict[str, Any]:
    """Return tables in the form that ``lnv limits --systematics FILE`` reads, with every row."""
    first, *rest = tables
    return {
        "source": "measured",
        "overall": first.total,
        "per_mass": {mass_text(table.m_majorana or 0.0): table.total for table in rest},
        "tables": [table.to_dict() for table in tables],
    }
