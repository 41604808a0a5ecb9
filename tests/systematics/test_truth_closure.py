"""Every map of data over simulation, averaged over the signal's tracks, is what the generated particles say."""

from __future__ import annotations

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.efficiency import Efficiency, mean_difference
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection import control_probes as control
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL
from jpsi_lnv.analysis.systematics import table

SIDES = {"control": NOMINAL, "data": DATA_LIKE}
PROCESSES = processes.CONTROLS | processes.BACKGROUNDS | {"signal": processes.SIGNAL}
SAMPLES = {
    "ee": ("control_ee", control.ElectronProbes),
    "eeee": ("control_eeee", control.FourElectronProbes),
    "ee_converted": ("control_conversion", control.ConversionProbes),
    "kkpi0": ("control_kkpi0", control.KaonProbes),
}
CODES = {Species.E: 11, Species.K: 321}


def views(name, side, n_blocks):
    recipe = production.Recipe(processes=((PROCESSES[name], 1.0),), sqrt_s=M_JPSI, parameters=SIDES[side])
    for block in range(n_blocks):
        made = make_block(production.make_block(recipe, f"{name} {side}", block, production.BLOCK_EVENTS, 11))
        yield SearchEvents(ArrayColumns(made.values, made.offsets, made.n_events), SELECTION, M_JPSI)


def sample(name, side):
    selection, view = SAMPLES[name]
    found = [control.fill(view(events)) for events in views(name, side, 1)]
    histograms = {key: sum(h[key] for h in found[1:]) + found[0][key] for key in found[0]}
    metadata = DatasetMetadata(kind=side, sqrt_s=M_JPSI, blind=False)
    return DatasetResult(metadata, 1, 1, {selection: SelectionResult({"all": 1}, histograms)})


@pytest.fixture(scope="module")
def measured():
    return Results({f"{n} {s}": sample(n, s) for n in SAMPLES for s in SIDES}, {}, {"complete": True})


def generated(events):
    """Return of the decay's own particles |PDG code|, momentum, cos theta, and of each track its particle or -1."""
    columns = events.columns
    first = columns.offsets("Gen")
    p3 = np.stack([columns.flat("Gen", f"p{axis}") for axis in "xyz"], axis=1).astype(np.float64)
    p = np.linalg.norm(p3, axis=1)
    code = np.where(columns.flat("Gen", "mother") == 0, np.abs(columns.flat("Gen", "pdg_id")), 0)
    row = np.repeat(first[:-1], np.diff(events.offsets)) + columns.flat("Track", "gen")
    with np.errstate(invalid="ignore", divide="ignore"):
        return code, p, p3[:, 2] / p, row


def truth(side):
    """Return (map, species) -> particles that pass, all of them, and momentum and cos theta of those that pass."""
    found = {(name, species): [[], [], [], []] for name in table.MAPS for species in CODES}
    for events in views("signal", side, 2):
        code, p, cos_theta, row = generated(events)
        view = control.ElectronProbes(events)
        is_found = np.zeros(len(code), dtype=bool)
        is_found[row[events.is_good]] = True
        decided = {Species.E: view._is_electron, Species.K: view._is_kaon}
        for species, wanted in CODES.items():
            expected = (code == wanted) & (np.abs(cos_theta) < 0.93) & (p > 0.1)
            good = events.is_good & (code[row] == wanted)
            passed = {"tracking": np.flatnonzero(expected & is_found), "pid": row[good & decided[species]]}
            for name, n in (("tracking", expected.sum()), ("pid", good.sum())):
                at = passed[name]
                for column, value in zip(found[name, species], (len(at), n, p[at], cos_theta[at]), strict=True):
                    column.append(value)
    return {key: (sum(k), sum(n), np.concatenate(p), np.concatenate(c)) for key, (k, n, p, c) in found.items()}


@pytest.fixture(scope="module")
def truths():
    return {side: truth(side) for side in SIDES}


@pytest.mark.parametrize("species", list(CODES))
@pytest.mark.parametrize("name", table.MAPS)
def test_a_map_is_the_truth_within_two_standard_deviations(measured, truths, name, species):
    n_passed, n_total, p, cos_theta = truths["control"][name, species]
    simulation, data = Efficiency(n_passed, n_total), Efficiency(*truths["data"][name, species][:2])
    wanted = data.value / simulation.value - 1.0
    sigma_wanted = np.hypot(data.sigma / data.value, simulation.sigma / simulation.value)
    got, sigma = mean_difference(table.ratio_map(measured, species, name), p, cos_theta)
    assert abs(got - wanted) < 2.0 * np.hypot(sigma, sigma_wanted)
    assert sigma < 0.06
