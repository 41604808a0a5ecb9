"""The commands of stage 2 on a saved result: tables, files, figures and errors, without touching events."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult, write
from jpsi_lnv.analysis.selection import misid, search
from jpsi_lnv.processors.commands import background, optimize

pytestmark = pytest.mark.fast

# The results have no data, which would say how many J/psi there are.
NUMBER = ("--n-jpsi", "2009+2012+2017-2019")


def make_results(rng, complete=True):
    filled = search.book(KKEE)
    filled["chi2_4c_m_kkee"].fill(rng.chisquare(4, 5000) * 1.5, rng.normal(M_JPSI, 0.006, 5000))
    signal = SelectionResult({"all": 30_000, "signal_region": 4000}, filled)
    roles = misid.empty_map()
    n = 200_000
    taken = rng.choice(["none", "electron", "kaon"], n, p=[0.8, 0.1, 0.1])
    roles.fill(np.full(n, 2018), np.full(n, "pi"), rng.uniform(0, 1.6, n), rng.uniform(0, 0.93, n), taken)
    rows = {"run": np.ones(400, int), "event": np.arange(400), "chi2_4c": rng.uniform(0, 200, 400)}
    rows |= {"m_kkee": rng.uniform(3.0, 3.2, 400)} | {name: np.full(400, 1.0) for name in KKEE.pair_names}
    rows["decay"] = np.full(400, "443(211,-211,211,-211)")
    for track in KKEE.tracks:
        rows |= {f"p_{track}": rng.uniform(0.1, 1.5, 400), f"abs_cos_theta_{track}": rng.uniform(0, 0.9, 400)}
        rows[f"species_{track}"] = np.full(400, 2)
    histograms = {"roles": roles, "roles_loose": roles, **misid.combinations(KKEE, [])}
    selections = {
        "search": SelectionResult({"all": 1000, "signal_region": 0}),
        "misid": SelectionResult({"all": 1000, "loosened_identification": 1}, histograms, {}, rows),
    }
    of = DatasetMetadata(kind="background", sqrt_s=M_JPSI, branching_fraction=1e-4, process="J/psi -> 2(pi+ pi-)")
    datasets = {
        "signal": DatasetResult(DatasetMetadata(kind="signal", sqrt_s=M_JPSI), 30_000, 30_000, {"search": signal}),
        "pipipipi": DatasetResult(of, 1000, 1000, selections),
    }
    return Results(datasets, {}, {"complete": complete})


@pytest.fixture
def stored(tmp_path, rng):
    write(tmp_path / "accumulator.zip", make_results(rng))
    return tmp_path


def invoke(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def test_background(stored):
    done = invoke(background.command, "--output", stored, *NUMBER)
    assert done.exit_code == 0
    (overall,) = json.loads((stored / "background.json").read_text())["channels"]
    assert overall["total"]["value"] > 0
    assert overall["processes"][0]["name"] == "J/psi -> 2(pi+ pi-)"
    many = invoke(background.command, "--output", stored, "--n-jpsi", 2 * 10087e6)
    assert many.exit_code == 0
    (twice,) = json.loads((stored / "background.json").read_text())["channels"]
    assert twice["total"]["value"] == pytest.approx(2 * overall["total"]["value"])


def test_measured_rates_replace_simulated_ones(stored):
    assert invoke(background.command, "--output", stored, *NUMBER).exit_code == 0
    first = json.loads((stored / "background.json").read_text())
    measured = {"version": 1, "rates": {"pi_to_electron": {"value": 0.2, "kappa": 0.1, "source": "a measurement"}}}
    (stored / "mine.json").write_text(json.dumps(measured))
    done = invoke(background.command, "--output", stored, "--misid", stored / "mine.json", *NUMBER)
    assert done.exit_code == 0
    found = json.loads((stored / "background.json").read_text())
    # Two pions for electrons, which simulation gives one time in ten.
    ratio = found["channels"][0]["total"]["value"] / first["channels"][0]["total"]["value"]
    assert ratio == pytest.approx(4, rel=0.1)
    assert found["factors"]["pi_to_electron"]["source"] == "a measurement"
    assert set(found["made_from"]["files"]) == {"misid.json", "mine.json"}


@pytest.mark.parametrize("variable", optimize.VARIABLES)
def test_optimize(stored, variable):
    done = invoke(optimize.command, "--output", stored, "--variable", variable, *NUMBER)
    assert done.exit_code == 0
    record = json.loads((stored / "optimization.json").read_text())
    assert record["variable"] == ("m_kkee" if variable == optimize.MASS else variable)
    assert len(record["scan"]) in {80, 200}
    assert (stored / "optimization.png").stat().st_size > 10_000


@pytest.mark.parametrize("command", [background.command, optimize.command])
def test_missing_and_incomplete_results(command, tmp_path, rng):
    with pytest.raises(ResultsError, match="no such result"):
        invoke(command, "--output", tmp_path)
    write(tmp_path / "accumulator.zip", make_results(rng, complete=False))
    with pytest.raises(IncompleteError, match="--allow-incomplete"):
        invoke(command, "--output", tmp_path)
    assert invoke(command, "--output", tmp_path, "--allow-incomplete", *NUMBER).exit_code == 0


def test_a_result_without_the_histogram_is_refused(tmp_path, rng):
    results = make_results(rng)
    del results.datasets["signal"].selections["search"].histograms["chi2_4c_m_kkee"]
    write(tmp_path / "accumulator.zip", results)
    with pytest.raises(ResultsError, match="of another version"):
        invoke(optimize.command, "--output", tmp_path, *NUMBER)
