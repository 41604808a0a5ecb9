"""What the control samples say: efficiencies in data over those in simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.datasets import CONTROL, CONTROL_EE, CONTROL_KKPI0, CONTROL_PPBARPIPI, DATA
from jpsi_lnv.analysis.efficiency import Efficiency, RatioMap, add_maps, efficiency_map, ratio
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results, SelectionResult

# Species of the tracks -> the control sample that measures them.
PROBES: Final[Mapping[Species, str]] = {Species.E: CONTROL_EE, Species.K: CONTROL_KKPI0}
FIT: Final = CONTROL_PPBARPIPI
MAPS: Final = ("tracking", "pid")


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
    """Whether data and simulation of every control sample are there."""
    selections = (*PROBES.values(), FIT)
    return all(results.ran(selection, kind) for selection in selections for kind in (DATA, CONTROL))


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
    """Return data over simulation of the ``tracking`` or ``pid`` efficiency of a species.

    Raises:
        ResultsError: A control sample is missing, empty, or stored with other bins.
    """
    data, simulation = (
        [efficiency_map(histogram(s, PROBES[species], name)) for s in side]
        for side in of_selection(results, PROBES[species])
    )
    edges = {(tuple(m.p_edges), tuple(m.cos_theta_edges)) for m in data + simulation}
    if len(edges) > 1:
        msg = f"{PROBES[species]}: the maps {name!r} of data and simulation have different bins; run both again"
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


def step_difference(results: Results, step: str, before: str) -> Difference:
    """Return the difference of the share of p pbar pi pi events that pass `step` of those that pass `before`.

    Raises:
        ResultsError: A control sample is missing, or nothing passes.
    """
    data, simulation = (_share(side, step, before) for side in of_selection(results, FIT))
    relative = np.hypot(data.sigma / data.value, simulation.sigma / simulation.value)
    return Difference(data.value / simulation.value - 1.0, float(relative * data.value / simulation.value))


def _share(selections: list[SelectionResult], step: str, before: str) -> Efficiency:
    n_passed, n_total = (sum(s.cutflow[name] for s in selections) for name in (step, before))
    if n_passed == 0:
        msg = f"{FIT}: none of {n_total} events passes {step!r}; run on more events"
        raise ResultsError(msg)
    return Efficiency(n_passed, n_total)
