"""Measured systematics and estimated background reach the limit, and say so; given ones still can."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.limits.sideband import SideBand
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.processors.cli import lnv

pytestmark = pytest.mark.fast


def dataset(kind, n_passed, n_produced, selection="search", **metadata):
    record = DatasetMetadata.from_dict(
        "d", {"kind": kind, "sqrt_s": M_JPSI, "blind": False, "is_simulation": True} | metadata
    )
    found = {selection: SelectionResult({"all": n_produced, "signal_region": n_passed})}
    return DatasetResult(record, n_produced, n_produced, found)


@pytest.fixture
def result():
    datasets = {
        "signal": dataset("signal", 1500, 10_000),
        "data": dataset("data", 2, 100, n_jpsi=1e9),
        "ee_data": dataset("data", 7, 100, selection="control_ee"),
    }
    return Results(datasets, {}, {"complete": True})


def test_control_data_are_not_counted_as_candidates(result):
    inputs = gather.overall(result, gather.Choices())
    assert inputs.n_obs == 2
    assert inputs.n_jpsi == 1e9
    assert inputs.provenance["n_jpsi"] == "metadata of the data"


def test_signal_of_different_periods_is_weighted_as_the_data_are(result):
    passed = {2009: 100, 2012: 200, 2018: 3000}
    produced = {2009: 1000, 2012: 1000, 2018: 10_000}
    samples = {f"signal_{p}": dataset("signal", passed[p], produced[p], period=p) for p in passed}
    of_periods = dataclasses.replace(result, datasets={"data": result.datasets["data"]} | samples)
    inputs = gather.overall(of_periods, gather.Choices())
    assert inputs.efficiency == pytest.approx((224 * 0.1 + 1088.5 * 0.2 + 8774 * 0.3) / 10086.5)
    assert "weighted" in inputs.provenance["efficiency"]
    of_one = dataclasses.replace(result, datasets={"signal_2009": samples["signal_2009"]})
    assert gather.overall(of_one, gather.Choices(n_jpsi=1e9)).efficiency == 0.1


def test_defaults_without_samples(result, tmp_path):
    choices = gather.choose(result, tmp_path)
    assert choices.systematics is None
    assert choices.background_of(None) == gather.NO_BACKGROUND
    assert choices.files == ()


def test_given_numbers_win(with_samples, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"overall": 0.05}))
    given = gather.given_background(1.5, 0.5)
    choices = gather.choose(with_samples, tmp_path, systematics=tmp_path / "mine.json", background=given)
    assert choices.background_of(None) == choices.background_of(0.9) == given
    assert choices.systematics.overall == 0.05
    assert choices.files == (tmp_path / "mine.json",)


@pytest.fixture
def with_samples(result):
    """A result in which control and background samples ran, so that commands before can have measured with them."""
    samples = {
        s: dataset("control", 10, 100, selection=s) for s in ("control_ee", "control_kkpi0", "control_ppbarpipi")
    }
    data = {f"{s}_data": dataset("data", 10, 100, selection=s) for s in samples}
    of_background = {"kkpipi": dataset("background", 0, 100, selection="misid")}
    return dataclasses.replace(result, datasets=result.datasets | samples | data | of_background)


def write_stages(directory, result, *, n_jpsi=1e9):
    """Write what the commands before leave."""
    channels = [
        {
            "m_majorana": mass,
            "total": {"value": value, "sigma": 0.1, "source": "exclusive"},
            "processes": [{"name": "kkpipi", "m": 3.0, "tau": 3.0 / value, "factors": {"pi to e": 0.3}}],
        }
        for mass, value in ((None, 0.3), (0.9, 0.01))
    ]
    derived.write(directory, "background", {"channels": channels}, result, {"n_jpsi": n_jpsi, "pairing": "both"})
    systematics = {"source": "measured", "overall": 0.08, "per_mass": {"0.900": 0.1}}
    derived.write(directory, "systematics", systematics, result, {"rule": "average"})


def test_the_limit_takes_what_the_commands_before_wrote(with_samples, tmp_path):
    write_stages(tmp_path, with_samples)
    choices = gather.choose(with_samples, tmp_path)
    inputs = gather.overall(with_samples, choices)
    assert (inputs.n_bkg, inputs.n_bkg_sigma, inputs.delta_sys) == (0.3, 0.1, 0.08)
    assert inputs.provenance["n_bkg"] == "exclusive"
    assert inputs.side_bands == (SideBand("kkpipi", 3.0, 10.0, (("pi to e", 0.3),)),)
    assert inputs.provenance["delta_sys"] == "measured (systematics.json)"
    assert choices.background_of(0.9).total.value == 0.01
    assert [path.name for path in choices.files] == ["systematics.json", "background.json"]


def test_a_background_of_another_number_of_jpsi_is_refused(with_samples, tmp_path):
    write_stages(tmp_path, with_samples, n_jpsi=5e9)
    with pytest.raises(ResultsError, match=r"background\.json: made with n_jpsi = 5000000000.*`lnv background` again"):
        gather.choose(with_samples, tmp_path)


def test_a_background_of_another_result_is_refused(with_samples, tmp_path):
    write_stages(tmp_path, with_samples)
    other = dataclasses.replace(with_samples, provenance={"cuts_digest": "abc"})
    derived.write(tmp_path, "systematics", {"overall": 0.08}, other)
    with pytest.raises(ResultsError, match=r"background\.json: made from a result with another cuts_digest"):
        gather.choose(other, tmp_path)


@pytest.mark.parametrize("stem", ["systematics", "background"])
def test_a_command_that_has_not_run_is_named(with_samples, tmp_path, stem):
    write_stages(tmp_path, with_samples)
    (tmp_path / f"{stem}.json").unlink()
    with pytest.raises(ResultsError, match=f"make it with `lnv {stem}`"):
        gather.choose(with_samples, tmp_path)


def test_a_mass_that_the_estimate_lacks_is_named(with_samples, tmp_path):
    write_stages(tmp_path, with_samples)
    with pytest.raises(ResultsError, match=r"background\.json: no background for mass 1\.2"):
        gather.choose(with_samples, tmp_path).background_of(1.2)


def test_an_uncertainty_without_a_background_is_refused(tmp_path):
    outcome = CliRunner().invoke(lnv, ["limits", "--background-sigma", "0.3", "--output", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "without --background N" in outcome.output


def test_blind_search_data_hide_the_observation(result):
    blind = dataclasses.replace(result.datasets["data"].metadata, blind=True)
    hidden = dataclasses.replace(result.datasets["data"], metadata=blind)
    inputs = gather.overall(dataclasses.replace(result, datasets=result.datasets | {"data": hidden}), gather.Choices())
    assert inputs.n_obs is None
    assert np.isclose(inputs.n_jpsi, 1e9)


def test_a_file_of_another_result_is_refused(result, tmp_path):
    made_from = {"cuts_digest": "abc", "fileset_digest": "def"}
    same = dataclasses.replace(result, provenance=made_from)
    path = derived.write(tmp_path, "systematics", {"overall": 0.1}, same)
    assert gather.choose(same, tmp_path, systematics=path).systematics.overall == 0.1
    for name, value in made_from.items():
        other = dataclasses.replace(result, provenance=made_from | {name: "xyz"})
        with pytest.raises(ResultsError, match=f"another {name}: {value}, here it is xyz.*lnv systematics"):
            gather.choose(other, tmp_path, systematics=path)


def test_a_file_in_percent_is_refused(result, tmp_path):
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"overall": 7.1}))
    with pytest.raises(ResultsError, match=r"7\.1: wanted a fraction in \[0, 1\], not percent"):
        gather.choose(result, tmp_path, systematics=path)


def test_a_file_from_elsewhere_needs_no_origin(result, tmp_path):
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"overall": 0.07}))
    assert gather.choose(result, tmp_path, systematics=path).systematics.overall == 0.07


def test_a_result_of_other_requirements_is_refused(result):
    stored = dataclasses.asdict(SELECTION)
    assert dataclasses.replace(result, provenance={"cuts": stored | {"chi2_4c_max": 9.0}}).cuts.chi2_4c_max == 9.0
    with pytest.raises(ResultsError, match="'muon_veto'"):
        _ = dataclasses.replace(result, provenance={"cuts": stored | {"muon_veto": 1}}).cuts
    with pytest.raises(ResultsError, match="'chi2_4c_max'"):
        _ = dataclasses.replace(
            result, provenance={"cuts": {k: v for k, v in stored.items() if k != "chi2_4c_max"}}
        ).cuts
