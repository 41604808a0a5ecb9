"""`lnv limits` on merged results written by the same code that a run uses."""

from __future__ import annotations

import json

import hist
import numpy as np
import pytest
from click.testing import CliRunner

from analysis import results
from analysis.datasets import DatasetMetadata
from analysis.errors import IncompleteError, ResultsError
from analysis.histograms import CHI2_4C, M_KKEE_COARSE
from analysis.limits.majorana import M_KE_COLUMNS
from processors.cli import lnv

pytestmark = pytest.mark.fast


def dataset(kind, n_produced, masses, **metadata):
    """Return one dataset whose candidates have the given (m_k1e1, m_k2e2, m_k1e2, m_k2e1)."""
    columns = np.asarray(masses, dtype=np.float64).reshape(-1, 4)
    candidates = {name: columns[:, i] for i, name in enumerate(M_KE_COLUMNS)}
    candidates["charge"] = np.where(np.arange(len(columns)) % 2, -1, 1)
    plane = hist.Hist(CHI2_4C, M_KKEE_COARSE, storage=hist.storage.Int64())
    plane.fill(np.linspace(0.0, 19.9, len(columns)), np.full(len(columns), 3.0969))
    search = results.SelectionResult(
        {"all": n_produced, "signal_region": len(columns)}, {"chi2_4c_m_kkee": plane}, candidates=candidates
    )
    described = DatasetMetadata(kind=kind, sqrt_s=3.0969, **metadata)
    return results.DatasetResult(described, n_produced, n_produced, {"search": search})


def merged(*, blind=False, complete=True):
    """Return a result with the publication's efficiencies and its one event."""
    pairs = [[0.8, 0.9, 1.201, 1.199]]
    datasets = {
        "signal": dataset("signal", 10_000, [[1.0, 1.1, 1.2, 1.3]] * 1583),
        "majorana": dataset("majorana", 10_000, pairs * 1747, m_majorana=1.2, majorana_mode="2nu"),
        "majorana_low": dataset("majorana", 10_000, [[0.7, 0.7, 1, 1]] * 1415, m_majorana=0.7, majorana_mode="2nu"),
        "data": dataset("data", 50_000, [] if blind else pairs, n_jpsi=10087e6, blind=blind),
    }
    return results.Results(datasets, {}, {"complete": complete})


SYSTEMATICS = {"source": "publication", "overall": 0.07, "per_mass": {"0.7": 0.169, "1.200": 0.072}}


@pytest.fixture
def run(tmp_path):
    """Run the command in a directory of its own; returns (records, what was printed)."""

    def runner(result, *options):
        results.write(tmp_path / "accumulator.zip", result)
        (tmp_path / "given.json").write_text(json.dumps(SYSTEMATICS))
        options = ["--systematics", str(tmp_path / "given.json"), *options]
        outcome = CliRunner().invoke(lnv, ["limits", "--output", str(tmp_path), *options])
        if outcome.exception:
            raise outcome.exception
        return json.loads((tmp_path / "limits.json").read_text())["limits"], outcome.output

    return runner


def test_the_publications_inputs_give_its_yield_limit(run):
    records, printed = run(merged())
    assert [r["m_majorana"] for r in records] == [None, 0.7, 1.2]
    assert [r["n_obs"] for r in records] == [1, 0, 1]
    first = records[0]
    assert first["method"] == "rolke"
    assert first["n_up"] == pytest.approx(23.187, abs=1e-3)
    assert first["branching_fraction_ul"] == pytest.approx(23.187 / 10087e6, rel=1e-4)
    assert "23.19" in printed


def test_blinded_data_give_the_expected_limit_only(run):
    records, printed = run(merged(blind=True))
    assert {r["n_obs"] for r in records} == {None}
    assert {r["n_up"] for r in records} == {None}
    assert records[0]["expected_n_up"]["median"] == pytest.approx(12.6, abs=0.05)
    assert "blinded: data" in printed


def test_expected_hides_what_was_observed(run):
    records, _ = run(merged(), "--expected")
    assert {r["n_obs"] for r in records} == {None}


def test_an_incomplete_result_is_refused_unless_allowed(run):
    with pytest.raises(IncompleteError, match="--allow-incomplete"):
        run(merged(complete=False))
    records, _ = run(merged(complete=False), "--allow-incomplete")
    assert len(records) == 3


def test_a_mass_without_a_given_uncertainty_is_named(run, tmp_path):
    result = merged()
    result.datasets["extra"] = dataset("majorana", 10, [[0.6] * 4], m_majorana=0.6, majorana_mode="2nu")
    with pytest.raises(ResultsError, match=r"publication.*0\.6"):
        run(result)


def test_a_result_without_signal_has_no_limit(run):
    result = merged()
    del result.datasets["signal"]
    with pytest.raises(ResultsError, match="kind 'signal'"):
        run(result)


def test_every_method_at_every_mass(run):
    records, printed = run(merged(), "--method", "all")
    assert [r["method"] for r in records[:4]] == ["rolke", "cls", "feldman-cousins", "bayesian"]
    assert len(records) == 12
    assert records[0]["expected_is_certain"]
    assert "expected bands coincide" in printed


def test_checks_answer_what_a_referee_asks(run, tmp_path):
    _, printed = run(merged(), "--checks")
    checks = json.loads((tmp_path / "limit_checks.json").read_text())
    assert checks["background_scan"][0]["n_up"] == pytest.approx(23.187, abs=1e-3)
    assert not checks["background_scan"][-1]["expected_is_certain"]
    at_the_cut = next(r for r in checks["chi2_scan"] if r["chi2_4c_max"] == 20.0)
    assert (at_the_cut["n_obs"], at_the_cut["efficiency"]) == (1, pytest.approx(0.1583))
    assert checks["p_values"][0]["local_p"] is None
    assert {p["m_majorana"] for p in checks["p_values"]} == {1.2}
    both = checks["conjugate_channels"]
    assert [c["n_obs"] for c in both["channels"]] == [1, 0]
    assert both["n_up"] == pytest.approx(23.187, rel=1e-3)
    curves = {(c["method"], c["delta_sys"]): c for c in json.loads((tmp_path / "coverage.json").read_text())["curves"]}
    assert curves["rolke", 0.0]["smallest"] == pytest.approx(0.865, abs=1e-3)
    assert curves["rolke bounded", 0.0]["smallest"] == pytest.approx(0.743, abs=1e-3)
    assert max(curves["cls", 0.07]["error"]) < 0.004
    assert json.loads((tmp_path / "likelihood.json").read_text())["observations"][0]["data"] == [1.0]
    assert "Conjugate channels" in printed


def test_checks_of_blinded_data_hide_the_events(run, tmp_path):
    run(merged(blind=True), "--checks")
    checks = json.loads((tmp_path / "limit_checks.json").read_text())
    assert {r["n_obs"] for r in checks["chi2_scan"] + checks["background_scan"]} == {None}
    assert checks["p_values"] == []
    assert checks["conjugate_channels"] is None
    assert not (tmp_path / "likelihood.json").exists()


def test_limits_on_the_mixing_follow_a_given_curve(run, tmp_path):
    curve = tmp_path / "curve.csv"
    curve.write_text("m_majorana,branching_fraction\n0.5,1e-7\n1.5,1e-7\n")
    records, printed = run(merged(), "--mixing", str(curve))
    assert records[0]["mixing_ul"] is None
    for record in records[1:]:
        assert record["mixing_ul"] == pytest.approx(record["branching_fraction_ul"] / 1e-7)
    assert "mixing ul" in printed


def test_a_background_given_on_the_command_line_is_said_so(run):
    records, _ = run(merged(), "--background", "0.5", "--background-sigma", "0.2")
    assert records[0]["n_bkg"] == 0.5
    assert records[0]["provenance"]["n_bkg"] == "command line"
    assert records[0]["n_up"] < 23.187
