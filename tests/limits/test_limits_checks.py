"""`lnv limits --checks`: scans, p-values, channels, coverage, likelihood."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import gather, methods, studies
from jpsi_lnv.analysis.report import source
from jpsi_lnv.analysis.report import studies as study_report

GIVEN = gather.GivenSystematics("given", 0.07, {})
CHOICES = gather.Choices(systematics=GIVEN)


def test_checks_answer_what_a_referee_asks(run, tmp_path, merged):
    _, printed = run(merged(), "--checks")
    checks = json.loads((tmp_path / "limit_checks.json").read_text())
    assert checks["background_scan"][0]["n_up"] == pytest.approx(23.187, abs=1e-3)
    assert not checks["background_scan"][-1]["expected_is_certain"]
    at_the_cut = next(r for r in checks["chi2_scan"] if r["chi2_4c_max"] == 20.0)
    assert (at_the_cut["n_obs"], at_the_cut["efficiency"]) == (1, pytest.approx(0.1583))
    assert checks["p_values"][0]["local_p"] is None
    assert {p["m_majorana"] for p in checks["p_values"]} == {1.2}
    assert checks["overall_p"] is None
    assert [row["luminosity"] for row in checks["against_luminosity"]] == [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    assert checks["against_background"][0]["expected_branching_fraction_ul"] == pytest.approx(
        14.628 / 10087e6, rel=1e-3
    )
    both = checks["conjugate_channels"]
    assert [c["n_obs"] for c in both["channels"]] == [1, 0]
    assert both["n_up"] == pytest.approx(23.187, rel=1e-3)
    curves = {(c["method"], c["delta_sys"]): c for c in json.loads((tmp_path / "coverage.json").read_text())["curves"]}
    assert curves["rolke", 0.0]["smallest"] == pytest.approx(0.865, abs=1e-3)
    assert curves["bounded-profile", 0.0]["smallest"] == pytest.approx(0.743, abs=1e-3)
    assert max(curves["recommended", 0.07]["error"]) < 0.004
    assert json.loads((tmp_path / "likelihood.json").read_text())["observations"][0]["data"] == [1.0]
    every = json.loads((tmp_path / "likelihoods.json").read_text())
    assert sorted(every) == ["0.700", "1.200", "conjugate_channels", "overall"]
    assert every["overall"]["hs3"] == json.loads((tmp_path / "likelihood.hs3.json").read_text())
    names = [d["name"] for d in every["conjugate_channels"]["hs3"]["distributions"]]
    assert len(set(names)) == len(names) == 4
    assert "Conjugate channels" in printed


def test_sources_are_ranked_by_what_they_do_to_the_limit(run, tmp_path, merged):
    inputs = gather.overall(merged(), gather.Choices(systematics=GIVEN))
    limit = methods.upper_limit(inputs, method="rolke")
    rows = studies.ranking(limit, {"small": 0.01, "large": 0.0692820323})
    assert [row["source"] for row in rows][:3] == ["all of them", "large", "small"]
    known = methods.upper_limit(dataclasses.replace(inputs, delta_sys=0.01), method="rolke")
    assert rows[1]["n_up"] == pytest.approx(known.n_up)
    assert rows[1]["effect"] == pytest.approx(limit.n_up / known.n_up - 1)
    assert rows[-1] == {"source": "expected background", "value": None, "n_up": limit.n_up, "effect": 0.0}


def test_the_first_limit_carries_the_ranking_even_of_hidden_events(run, tmp_path, merged):
    run(merged(blind=True))
    first, *others = json.loads((tmp_path / "limits.json").read_text())["limits"]
    assert {row["source"] for row in first["ranking"]} >= {"all of them", "expected background"}
    assert all("ranking" not in record for record in others)


def test_checks_of_blinded_data_hide_the_events(run, tmp_path, merged):
    run(merged(blind=True), "--checks")
    checks = json.loads((tmp_path / "limit_checks.json").read_text())
    assert {r["n_obs"] for r in checks["chi2_scan"] + checks["background_scan"]} == {None}
    assert checks["p_values"] == []
    assert checks["conjugate_channels"] is None
    assert not (tmp_path / "likelihood.json").exists()


def test_periods_are_combined_where_every_dataset_names_its_own(dataset, merged):
    result = merged()
    inputs = gather.overall(result, gather.Choices(systematics=GIVEN))
    assert studies.periods(result, inputs, CHOICES) is None
    pairs = [[0.8, 0.9, 1.201, 1.199]]
    for name in ("signal", "data"):
        del result.datasets[name]
    for period, passed in ((2009, 1500), (2019, 1600)):
        result.datasets[f"signal_{period}"] = dataset("signal", 10_000, pairs * passed, period=period)
        events = pairs if period == 2019 else []
        n_jpsi = {2009: 225e6, 2019: 8774e6}[period]
        result.datasets[f"data_{period}"] = dataset("data", 1_000, events, period=period, n_jpsi=n_jpsi, blind=False)
    inputs = gather.overall(result, gather.Choices(systematics=GIVEN))
    found = studies.periods(result, inputs, CHOICES)
    assert [c["name"] for c in found["channels"]] == ["period 2009", "period 2019"]
    assert [c["n_obs"] for c in found["channels"]] == [0, 1]
    weighted = (225 * 0.15 + 8774 * 0.16) / (225 + 8774)
    assert inputs.efficiency == pytest.approx(weighted)
    assert found["n_up"] == pytest.approx(23.187 * 0.1583 / weighted, rel=1e-3)
    assert studies.periods(result, inputs.without_observation(), CHOICES) is None


def of_periods(dataset, merged):
    """Return a result whose signal is of single periods, the largest one with the fewest simulated events."""
    result = merged()
    del result.datasets["signal"]
    for period, passed, produced in ((2009, 2000, 10_000), (2012, 1700, 10_000), (2018, 300, 2000)):
        result.datasets[f"signal_{period}"] = dataset(
            "signal", produced, [[1.0, 1.1, 1.2, 1.3]] * passed, period=period
        )
    return result


def test_the_scan_gives_the_limit_of_the_search_at_its_own_requirement(run, tmp_path, dataset, merged):
    records, _ = run(of_periods(dataset, merged), "--checks")
    checks = json.loads((tmp_path / "limit_checks.json").read_text())
    at_the_cut = next(r for r in checks["chi2_scan"] if r["chi2_4c_max"] == 20.0)
    assert records[0]["efficiency"] == pytest.approx((224 * 0.2 + 1088.5 * 0.17 + 8774 * 0.15) / 10086.5)
    for name in ("efficiency", "n_obs", "n_up"):
        assert at_the_cut[name] == pytest.approx(records[0][name])
    efficiencies = [c["efficiency"] for c in checks["conjugate_channels"]["channels"]]
    assert efficiencies == pytest.approx([records[0]["efficiency"]] * 2)
    assert checks["conjugate_channels"]["n_up"] == pytest.approx(records[0]["n_up"], rel=1e-3)


def test_conjugate_channels_share_the_uncertainty_of_the_background(merged):
    """Two halves of one experiment give its limit, here the referee's 28.35."""
    result = merged()
    candidates = result.datasets["data"].selections["search"].candidates
    candidates["charge"] = np.array([1, -1])
    choices = gather.Choices(systematics=GIVEN, background=gather.given_background(2.0, 2.0))
    inputs = dataclasses.replace(gather.overall(result, choices), n_obs=2, efficiency=0.1583)
    found = studies.conjugate_channels(result, inputs, choices)
    assert [c["n_obs"] for c in found["channels"]] == [1, 1]
    assert found["n_up"] == pytest.approx(28.35, abs=0.01)


def test_sources_that_the_channels_share_move_them_together_and_own_ones_average_out(merged, tmp_path):
    """The sources of `systematics.json` reach the likelihood of the channels by name."""
    result = merged()
    result.datasets["data"].selections["search"].candidates["charge"] = np.array([1, -1])
    names = ("overall", "K+K+e-e-", "K-K-e+e+")

    def combined(sources):
        path = tmp_path / "systematics.json"
        path.write_text(json.dumps({"source": "maps", "overall": 0.3, "sources": sources}))
        choices = gather.Choices(systematics=gather.read_systematics(path))
        return studies.conjugate_channels(result, gather.overall(result, choices), choices)

    whole, shared = combined({}), combined({"tracking_kaon_1": dict.fromkeys(names, 0.3)})
    own = combined({f"mc_statistics {name}": {name: 0.3} for name in names})
    assert [c["sources"] for c in whole["channels"]] == [{"efficiency": 0.3}] * 2
    assert [c["sources"] for c in shared["channels"]] == [{"tracking_kaon_1": 0.3}] * 2
    assert shared["n_up"] == pytest.approx(whole["n_up"], rel=1e-9)
    assert own["n_up"] < 0.97 * shared["n_up"]


def test_sources_that_do_not_add_up_to_the_uncertainty_are_refused(tmp_path):
    path = tmp_path / "systematics.json"
    path.write_text('{"overall": 0.07, "sources": {"pid_kaon_1": {"overall": 0.05}}}')
    with pytest.raises(ResultsError, match=r"sources of overall add up to 0\.05, its uncertainty is 0\.07"):
        gather.read_systematics(path)


def test_the_coverage_figure_shows_every_method(merged, run, tmp_path):
    run(merged(), "--checks")
    found = study_report.coverage_pictures(source.read(tmp_path))
    assert [picture.name for picture in found] == ["coverage", "coverage_toys"]
    assert "0.743 for bounded-profile" in found[0].explanation
    axes = found[1].figure().axes[0]
    assert {line.get_label() for line in axes.lines} >= {"rolke", "recommended", "bayesian", "feldman-cousins"}
