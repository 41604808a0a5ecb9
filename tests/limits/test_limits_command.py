"""`lnv limits` on merged results written by the same code that a run uses."""

from __future__ import annotations

import pytest

from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.limits import gather

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
    records, printed = run(merged(), "--method", "all")
    assert [r["method"] for r in records[:4]] == ["rolke", "cls", "feldman-cousins", "bayesian"]
    assert len(records) == 12
    assert records[0]["expected_is_certain"]
    assert "expected bands coincide" in printed


def test_limits_on_the_mixing_follow_a_given_curve(run, tmp_path, merged):
    curve = tmp_path / "curve.csv"
    curve.write_text("m_majorana,branching_fraction\n0.5,1e-7\n1.5,1e-7\n")
    records, printed = run(merged(), "--mixing", str(curve))
    assert records[0]["mixing_ul"] is None
    for record in records[1:]:
        assert record["mixing_ul"] == pytest.approx(record["branching_fraction_ul"] / 1e-7)
    assert "|V(eN)|² limit" in printed


def test_a_background_given_on_the_command_line_is_said_so(run, merged):
    records, _ = run(merged(), "--background", "0.5", "--background-sigma", "0.2")
    assert records[0]["n_bkg"] == 0.5
    assert records[0]["provenance"]["n_bkg"] == "command line"
    assert records[0]["n_up"] < 23.187


@pytest.mark.parametrize(
    "text", ["{}", "not json", '{"overall": -0.1}', '{"overall": NaN}', '{"overall": 0.1, "per_mass": 3}']
)
def test_systematics_of_another_form_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"other\.json.*(wanted|make it with `lnv systematics`)"):
        gather.read_systematics(path)
