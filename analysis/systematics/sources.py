"""The sources of systematic uncertainty of the publication's section IV, one function each.

Every uncertainty is relative to the efficiency (or to N(J/psi)), a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jpsi_lnv.analysis import normalization
from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.efficiency import Efficiency, mean_difference
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics.control import Difference, ratio_map, step_difference

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


def n_jpsi(results: Results) -> Uncertainty:
    """Return the uncertainty of the number of J/psi."""
    count = normalization.n_jpsi(results)
    return Uncertainty("n_jpsi", "N(J/psi)", count.sigma / count.value, count.source)


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
    return _of_step(results, "kinematic_fit", "chi2_4C kinematic fit and cut", "chi2_4c", "near_jpsi")


def signal_region(results: Results) -> Uncertainty:
    """Return the uncertainty of the signal region, from p pbar pi+ pi-."""
    return _of_step(results, "signal_region", "signal region", "signal_region", "chi2_4c")


def _of_step(results: Results, source: str, title: str, step: str, before: str) -> Uncertainty:
    difference = step_difference(results, step, before)
    details = {"difference": difference.value, "sigma": difference.sigma}
    return Uncertainty(source, title, difference.size, "control sample p pbar pi pi", details)


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
    return Uncertainty("mc_modelling", "MC modeling", abs(mean - reference) / reference, method, details)
