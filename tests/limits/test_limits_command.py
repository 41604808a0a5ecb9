"""`lnv limits` on merged results written by the same code that a run uses."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.limits import gather, rolke
from jpsi_lnv.processors.cli import lnv

pytestmark = pytest.mark.fast


def test_the_publications_inputs_give_its_yield_limit(run, merged):
    records, printed = run(merged())
    assert [r["m_majorana"] for r in records] == [None, 0.7, 1.2]
    assert [r["n_obs"] for r in records] == [1, 0, 1]
    first = records[0]
    assert first["method"] == "rolke"
    assert first["n_up"] == pytest.approx(23.187, abs=1e-3)
    assert first["branching_fraction_ul"] == pytest.approx(23.187 / 10087e6, rel=1e-4)
    assert "23.19" in printed


def test_blinded_data_give_the_expected_limit_only(run, merged):
    records, printed = run(merged(blind=True))
    assert {r["n_obs"] for r in records} == {None}
    assert {r["n_up"] for r in records} == {None}
    assert records[0]["expected_n_up"]["median"] == pytest.approx(12.6, abs=0.05)
    assert "blinded: data" in " ".join(printed.split())


def test_expected_hides_what_was_observed_and_leaves_the_result_alone(run, merged, tmp_path):
    run(merged(), "--method", "all")
    before = (tmp_path / "limits.json").read_bytes()
    records, _ = run(merged(), "--expected")
    assert {r["n_obs"] for r in records} == {None}
    assert (tmp_path / "limits.json").read_bytes() == before


def test_checks_keep_limits_by_more_methods(run, merged, tmp_path):
    result = merged()
    run(result, "--method", "all")
    before = (tmp_path / "limits.json").read_bytes()
    run(result, "--checks")
    assert (tmp_path / "limits.json").read_bytes() == before
    run(result, "--checks", "--confidence-level", "0.95")
    assert (tmp_path / "limits.json").read_bytes() != before


def test_an_incomplete_result_is_refused_unless_allowed(run, merged):
    with pytest.raises(IncompleteError, match="--allow-incomplete"):
        run(merged(complete=False))
    records, _ = run(merged(complete=False), "--allow-incomplete")
    assert len(records) == 3


def test_a_mass_without_a_given_uncertainty_is_named(run, tmp_path, merged, dataset):
    result = merged()
    result.datasets["extra"] = dataset("majorana", 10, [[0.6] * 4], m_majorana=0.6, majorana_mode="2nu")
    with pytest.raises(ResultsError, match=r"publication.*0\.6"):
        run(result)


def test_a_result_without_signal_has_no_limit(run, merged):
    result = merged()
    del result.datasets["signal"]
    with pytest.raises(ResultsError, match="kind 'signal'"):
        run(result)


def test_every_method_at_every_mass(run, merged):
    records, printed = run(merged(), "--method", "all", method=None)
    every = ["rolke", "recommended", "feldman-cousins", "bayesian", "bounded-profile"]
    assert [r["method"] for r in records[:5]] == every
    assert len(records) == 15
    assert records[0]["expected_is_certain"]
    assert "expected bands coincide" in printed


def test_two_limits_stand_side_by_side(run, merged):
    records, printed = run(merged(), method=None)
    assert [r["method"] for r in records[:2]] == ["rolke", "recommended"]
    assert [r["role"] for r in records[:2]] == ["convention of the publication", "recommended for a new search"]
    assert [r["n_up"] for r in records[:2]] == pytest.approx([23.187, 24.746], abs=1e-3)
    for number in ("2.30", "2.45"):
        assert number in printed


def test_the_recommended_limit_can_lead(run, merged):
    records, _ = run(merged(), "--lead", "recommended", method=None)
    assert [r["method"] for r in records[:2]] == ["recommended", "rolke"]


def test_a_configuration_chooses_which_limit_leads(run, merged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lnv.toml").write_text('[limits]\nlead = "recommended"\nconfidence-level = 0.95\n')
    records, _ = run(merged(), method=None)
    assert [r["method"] for r in records[:2]] == ["recommended", "rolke"]
    assert records[0]["confidence_level"] == 0.95
    records, _ = run(merged(), "--lead", "rolke", method=None)
    assert [r["method"] for r in records[:2]] == ["rolke", "recommended"]


def test_any_pair_is_a_named_choice(run, merged, dataset, tmp_path):
    result = merged()
    result.datasets["data"] = dataset("data", 50_000, [[1.2, 1.5, 1.0, 0.7]], n_jpsi=10087e6, blind=False)
    both, _ = run(result)
    assert [r["n_obs"] for r in both] == [1, 0, 0]
    of_any, _ = run(result, "--pairing", "any")
    assert [r["n_obs"] for r in of_any] == [1, 1, 1]
    made_from = json.loads((tmp_path / "limits.json").read_text())["made_from"]
    assert made_from["options"]["pairing"] == "any"


def test_side_bands_on_the_command_line(run, merged):
    """One side band is the Poisson background of the profile limit, and the prior of the recommended one."""
    records, _ = run(merged(), "--side-band", "3,10", method=None)
    band = {"n_bkg_region": 3, "tau": 10.0, "efficiency": 0.1583, "efficiency_sigma": 0.07 * 0.1583}
    by_hand = rolke.upper_limit(rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=1, **band)
    assert records[0]["n_up"] == pytest.approx(by_hand, rel=1e-9)
    assert records[0]["side_bands"] == [{"name": "side band 1", "m": 3.0, "tau": 10.0, "factors": {}}]
    assert records[1]["n_bkg"] == pytest.approx(0.3)
    assert "3 at tau 10" in records[1]["provenance"]["n_bkg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--side-band", "-1,10"], "m=-1: wanted zero or more"),
        (["--side-band", "1,0"], "tau=0: wanted more than zero"),
        (["--side-band", "1"], "wanted M,TAU"),
        (["--background", "0", "--background-sigma", "0.5"], "wanted a side band"),
        (["--side-band", "1,2", "--background", "1"], "wanted one of them"),
    ],
)
def test_impossible_backgrounds_are_one_line(tmp_path, options, message):
    outcome = CliRunner().invoke(lnv, ["limits", "--output", str(tmp_path), *options])
    assert outcome.exit_code == 2
    assert message in " ".join(outcome.output.split())


def test_a_mean_and_a_width_are_read_as_a_side_band_and_the_formula_is_said(run, merged):
    records, printed = run(merged(), "--background", "2", "--background-sigma", "0.5", method="recommended")
    assert records[0]["side_bands"] == [{"name": "background", "m": 16.0, "tau": 8.0, "factors": {}}]
    assert "m = (b/sigma)^2 = 16, tau = b/sigma^2 = 8" in " ".join(printed.split())


def test_limits_on_the_mixing_follow_a_given_curve(run, tmp_path, merged):
    curve = tmp_path / "curve.csv"
    curve.write_text("m_majorana,branching_fraction\n0.5,1e-7\n1.5,1e-7\n")
    records, printed = run(merged(), "--mixing", str(curve))
    assert records[0]["mixing_ul"] is None
    for record in records[1:]:
        assert record["mixing_ul"] == pytest.approx(record["branching_fraction_ul"] / 1e-7)
        expected = record["expected_n_up"]["median"] / record["n_jpsi"]
        assert record["expected_mixing_ul"] == pytest.approx(expected / 1e-7)
    assert "|V(eN)|² limit" in printed
    assert "unphysical" not in printed
    curve.write_text("m_majorana,branching_fraction\n0.5,1e-9\n1.5,1e-9\n")
    records, printed = run(merged(), "--mixing", str(curve))
    assert records[1]["mixing_ul"] > 1
    assert "|V_eN|^2 above 1 is unphysical" in printed


def test_a_background_given_on_the_command_line_is_said_so(run, merged):
    records, _ = run(merged(), "--background", "0.5", "--background-sigma", "0.2")
    assert records[0]["n_bkg"] == 0.5
    assert records[0]["provenance"]["n_bkg"].startswith("command line")
    assert records[0]["n_up"] < 23.187


@pytest.mark.parametrize(
    "text", ["{}", "not json", '{"overall": -0.1}', '{"overall": NaN}', '{"overall": 0.1, "per_mass": 3}']
)
def test_systematics_of_another_form_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json.*(wanted|make it with `lnv systematics`)"):
        gather.read_systematics(path)
