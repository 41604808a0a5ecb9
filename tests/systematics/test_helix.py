"""Corrections of helices: what is planted in one sample is found in it, and another one corrected agrees with it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis import datasets, results
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import CalibrationError, ResultsError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.objects import emc_pid, helix_correction
from jpsi_lnv.analysis.objects.calibration import Calibration, Constants, RunRange
from jpsi_lnv.analysis.objects.helix_correction import Entry
from jpsi_lnv.analysis.selection import helix_pulls, search
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL
from jpsi_lnv.analysis.systematics import helix, table
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.commands import helix_corrections

N_EVENTS = 12_000
SAMPLES = ("kkpipi", "ppbarpipi")


@cache
def block(name, seed, n=N_EVENTS, detector=NOMINAL):
    channels = processes.CONTROLS | processes.BACKGROUNDS | {"signal": processes.SIGNAL}
    recipe = production.Recipe(processes=((channels[name], 1.0),), sqrt_s=M_JPSI, parameters=detector)
    made = make_block(production.make_block(recipe, name, 0, n, seed))
    values = dict(made.values) | {"run": np.full(n, -53200, np.int32), "period": np.full(n, 2018, np.int32)}
    return made, values


def pulls_of(seed, entries, kind, n=N_EVENTS, samples=SAMPLES, detector=NOMINAL):
    """Return the histograms of simulated samples whose helices are corrected by entries."""
    calibration = None
    if entries:
        found = helix_correction.of_runs(entries, 53000, 54000, "a file")
        calibration = Calibration("a file", "", (RunRange(1, 99999, Constants(emc_pid.load(), helix=found)),))
    total = {}
    for name in samples:
        made, values = block(name, seed, n, detector)
        part = ArrayColumns(values, made.offsets, n)
        chunk = Chunk(
            part, "d", DatasetMetadata(kind=kind, sqrt_s=M_JPSI, blind=False), SELECTION, SELECTION, calibration
        )
        found = helix_pulls.select(chunk)[datasets.HELIX_PULLS]["histograms"]
        total = {key: total[key] + h for key, h in found.items()} if total else found
    return total


def result(data, simulation):
    def of(kind, histograms):
        metadata = DatasetMetadata(kind=kind, sqrt_s=M_JPSI, selections=(datasets.HELIX_PULLS,))
        found = results.SelectionResult(cutflow={"all": 1}, histograms=histograms)
        return results.DatasetResult(metadata, 1, 1, {datasets.HELIX_PULLS: found})

    return results.Results({"data": of("data", data), "simulation": of("control", simulation)}, {}, {})


def planted(seed=7):
    rng = np.random.default_rng(seed)
    return [
        Entry(
            first=52940,
            last=59141,
            species=species,
            charge=charge,
            mean=tuple(rng.uniform(-0.3, 0.3, 3).tolist()),
            width=tuple(rng.uniform(1.05, 1.3, 3).tolist()),
            control_sample="made up",
            source="this test",
        )
        for species in ("k", "pi", "p")
        for charge in (1, -1)
    ]


def distance(a, b):
    """Return the probability that two spectra of chi2 are of one distribution."""
    a, b = (h.values()[:60].reshape(-1, 2).sum(axis=1) for h in (a, b))
    seen = a + b > 10
    return stats.chi2_contingency(np.stack([a[seen], b[seen]])).pvalue


def test_what_is_planted_is_found_and_the_corrected_simulation_agrees():
    truth = planted()
    data, simulation = pulls_of(1, truth, "data"), pulls_of(2, [], "control")
    found = helix.measure(result(data, simulation))
    assert len(found.entries) == len(truth)
    of = {(e.species, e.charge): e for e in truth}
    deviations = []
    for entry in found.entries:
        wanted = of[entry.species, entry.charge]
        for what in ("mean", "width"):
            off = np.subtract(getattr(entry, what), getattr(wanted, what))
            deviations += (off / getattr(entry, f"{what}_error")).tolist()
    assert np.abs(deviations).max() < 3.5
    assert stats.chi2.sf(np.square(deviations).sum(), len(deviations)) > 1e-3
    # What a fit of momenta sees best is known well.
    assert max(e.mean_error[1] for e in found.entries) < 0.06
    corrected = pulls_of(3, found.entries, "control")
    for name in SAMPLES:
        key = f"{name}_chi2"
        assert distance(data[key], simulation[key]) < 1e-6
        assert distance(data[key], corrected[key]) > 1e-3


def test_second_derivatives_are_those_of_a_parabola():
    found = helix._hessian(lambda x: 3.0 * x[0] ** 2 + 2.0 * x[0] * x[1] + 5.0 * x[1] ** 2, np.array([0.3, -0.2]))
    np.testing.assert_allclose(found, [[6.0, 2.0], [2.0, 10.0]], rtol=1e-6)


def test_samples_that_are_alike_need_no_correction():
    found = helix.measure(result(pulls_of(1, [], "data"), pulls_of(2, [], "control")))
    pulls = [(np.array(e.mean) / e.mean_error) for e in found.entries]
    assert np.abs(pulls).max() < 3.5
    for entry in found.entries:
        assert (np.subtract(entry.width, 1.0) < 3.5 * np.array(entry.width_error)).all()


def test_pulls_are_standard_normal_and_move_as_their_response_says():
    """Widths, whose errors are 0.7 %, then a shift of one parameter by one error, against the sum of the responses."""
    detector = replace(NOMINAL, pull_width_2009=1.0, pull_width_2012=1.0, pull_width_2018=1.0, pull_tail=0.0)
    plain, *others = (pulls_of(s, [], "control", samples=("ppbarpipi",), detector=detector) for s in (1, 2, 3))
    together = sum((of["ppbarpipi_pulls"] for of in others), plain["ppbarpipi_pulls"])
    for j in range(helix_pulls.N_PARAMETERS):
        core = helix.fit_core(together[{"period": 2, "parameter": j}])
        assert core.width == pytest.approx(1.0, abs=0.03)
        assert core.mean == pytest.approx(0.0, abs=0.05)
    shift = (0.0, 0.5, 0.0)
    moved = Entry(first=1, last=99999, species="p", charge=1, mean=shift, width=(1, 1, 1), control_sample="", source="")
    after = pulls_of(1, [moved], "control", samples=("ppbarpipi",), detector=detector)
    response = helix._responses(plain, "ppbarpipi", 2018)[0][:, 1]
    for j in range(helix_pulls.N_PARAMETERS):
        cores = [helix.fit_core(h["ppbarpipi_pulls"][{"period": 2, "parameter": j}]) for h in (plain, after)]
        assert cores[1].mean - cores[0].mean == pytest.approx(0.5 * response[j], abs=0.03)


def test_any_chunks_add_up_to_the_same():
    made, _ = block("ppbarpipi", 5, 2000)
    metadata = DatasetMetadata(kind="control", sqrt_s=M_JPSI)

    def found(first, last):
        part = made.cut(first, last)
        chunk = Chunk(ArrayColumns(part.values, part.offsets, part.n_events), "d", metadata, SELECTION)
        return helix_pulls.select(chunk)[datasets.HELIX_PULLS]["histograms"]

    whole, parts = found(0, 2000), [found(0, 700), found(700, 701), found(701, 2000)]
    for name, histogram in whole.items():
        assert parts[0][name] + parts[1][name] + parts[2][name] == histogram


def test_the_file_is_read_as_it_is_written(tmp_path):
    found = helix.measure(result(pulls_of(1, planted(), "data"), pulls_of(2, [], "control")))
    path = tmp_path / "helix.json"
    path.write_text(json.dumps(found.to_json()))
    assert helix_correction.read(path) == found.entries


def test_a_result_without_pulls_says_what_to_add():
    empty = results.Results({}, {}, {})
    with pytest.raises(ResultsError, match=r"kind 'data' with selection 'helix_pulls': add it"):
        helix.measure(empty)
    few = pulls_of(1, [], "data", n=100)
    with pytest.raises(ResultsError, match="wanted 200 of a sample"):
        helix.measure(result(few, few))


def signal_result(entries):
    """A result of the signal with variations, its helices corrected by entries."""
    made, values = block("signal", 4, 6000)
    found = helix_correction.of_runs(entries, 53000, 54000, "a file")
    calibration = Calibration("a file", "", (RunRange(1, 99999, Constants(emc_pid.load(), helix=found)),))
    metadata = DatasetMetadata(kind="signal", sqrt_s=M_JPSI, selections=("search", "variations"))
    chunk = Chunk(ArrayColumns(values, made.offsets, made.n_events), "s", metadata, SELECTION, SELECTION, calibration)
    output = search.select(chunk) | search.select_varied(chunk)
    selections = {name: results.SelectionResult(of["cutflow"]) for name, of in output.items()}
    return results.Results({"s": results.DatasetResult(metadata, 6000, 6000, selections)}, {}, {})


def test_the_systematic_is_with_minus_without_or_half_of_it_and_says_which():
    kaons = [e for e in planted() if e.species == "k"]
    result = signal_result(kaons)
    selections = result.datasets["s"].selections
    n, n_without = (table.last(selections[name].cutflow) for name in ("search", "search_helix_uncorrected"))
    assert n_without > n > 0
    whole, half = (table.helix_corrections(result, rule) for rule in ("helix", "half-helix"))
    assert whole.value == pytest.approx(n_without / n - 1)
    assert half.value == pytest.approx(whole.value / 2)
    assert whole.method == "signal with minus without helix corrections"
    assert half.method == "half of signal with minus without helix corrections"
    with pytest.raises(ResultsError, match="wanted a dataset of kind 'signal' whose 'calibration' has them"):
        table.helix_corrections(results.Results({}, {}, {}), "helix")


def test_the_example_file_holds_the_published_numbers_for_their_own_runs():
    path = Path(__file__).parents[2] / "docs" / "examples" / "helix_psi3686.json"
    entries = helix_correction.read(path)
    assert {(e.first, e.last) for e in entries} == {(8093, 9025), (25338, 27090), (66257, 69292)}
    found = helix_correction.of_runs(entries, 25338, 27090, path)
    np.testing.assert_allclose(found.mean[2], [[0.08, 0.31, -0.03], [0.12, -0.14, -0.04]])
    np.testing.assert_allclose(np.sqrt(1 + found.extra[2] ** 2), [[1.23, 1.19, 1.08], [1.18, 1.18, 1.07]])
    with pytest.raises(CalibrationError, match="wanted such as hold all runs 52940-59015"):
        helix_correction.of_runs(entries, 52940, 59015, path)


def test_corrected_simulation_has_the_chi2_of_data_whose_errors_have_tails_too():
    """Data-like events differ in the width of correlated errors with tails, which independent shifts only stand for."""
    data = pulls_of(1, [], "data", detector=DATA_LIKE)
    simulation = pulls_of(2, [], "control")
    corrected = pulls_of(3, helix.measure(result(data, simulation)).entries, "control")
    for name in SAMPLES:
        key = f"{name}_chi2"
        assert distance(data[key], simulation[key]) < 1e-6
        assert distance(data[key], corrected[key]) > 1e-3


def test_the_command_shows_pulls_and_corrections_and_writes_the_file(tmp_path, capsys):
    found = result(pulls_of(1, planted(), "data"), pulls_of(2, [], "control"))
    results.write(tmp_path / "accumulator.zip", replace(found, bookkeeping={"complete": True}))
    with pytest.raises(SystemExit) as caught:
        main(["helix-corrections", "--output", str(tmp_path), "--allow-incomplete"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "Pulls of the 4C fit" in shown
    assert "Corrections, in errors" in shown
    assert len(helix_correction.read(tmp_path / "helix.json")) == 6


def test_species_without_enough_candidates_in_a_period_are_named():
    kaons, others = planted()[:2], [replace(e, first=8093, last=10878) for e in planted()[2:]]
    assert helix_corrections.missing([*planted()[2:], *others]) == []
    assert helix_corrections.missing([*planted(), *others]) == [
        "period 2009: fewer than 200 candidates with k, which stays uncorrected"
    ]
    assert helix_corrections.missing([*kaons, *others])[0].startswith("period 2018")
