"""Measured systematics and estimated background reach the limit, and say so; given ones still can."""

from __future__ import annotations

import dataclasses
import json

import click
import numpy as np
import pytest

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.limits import gather, measured
from jpsi_lnv.analysis.normalization import Count
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.processors.commands import limits

pytestmark = pytest.mark.fast


def dataset(kind, n_passed, n_produced, selection="search", **metadata):
    record = DatasetMetadata.from_dict("d", {"kind": kind, "sqrt_s": M_JPSI, "blind": False} | metadata)
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


def test_an_estimate_replaces_the_given_background(result):
    estimated = measured.Backgrounds(Count(0.3, 0.1, "exclusive"), {900: Count(0.01, 0.02, "exclusive")})
    choices = gather.Choices(n_bkg=5.0, estimated=estimated)
    inputs = gather.overall(result, choices)
    assert (inputs.n_bkg, inputs.n_bkg_sigma) == (0.3, 0.1)
    assert inputs.provenance["n_bkg"] == "exclusive"
    assert choices.background(0.9).value == 0.01


def test_signal_of_different_periods_is_weighted_as_the_data_are(result):
    passed = {2009: 100, 2012: 200, 2018: 3000}
    produced = {2009: 1000, 2012: 1000, 2018: 10_000}
    samples = {f"signal_{p}": dataset("signal", passed[p], produced[p], period=p) for p in passed}
    of_periods = dataclasses.replace(result, datasets={"data": result.datasets["data"]} | samples)
    inputs = gather.overall(of_periods, gather.Choices())
    assert inputs.efficiency == pytest.approx((224 * 0.1 + 1088.5 * 0.2 + 8774 * 0.3) / 10086.5)
    assert "weighted" in inputs.provenance["efficiency"]
    of_one = dataclasses.replace(result, datasets={"signal_2009": samples["signal_2009"]})
    assert gather.overall(of_one, gather.Choices()).efficiency == 0.1


def test_defaults_without_samples(result):
    choices = limits.choose(result, None, None, 0.0)
    assert choices.systematics is None
    assert choices.background(None) == Count(0.0, 0.0, "assumed")


def test_given_numbers_win(result):
    choices = limits.choose(result, None, "1.5", 0.5)
    assert choices.background(None) == Count(1.5, 0.5, "command line")
    for text in ("-1", "many", "nan", "inf"):
        with pytest.raises(click.BadParameter, match="wanted 'estimated'"):
            limits.choose(result, None, text, 0.0)


def test_what_cannot_be_had_is_named(result):
    with pytest.raises(gather.ResultsError, match="misid"):
        limits.choose(result, None, "estimated", 0.0)
    with pytest.raises(gather.ResultsError):
        limits.choose(result, "measured", None, 0.0)
    assert not measured.has_control_samples(result)
    assert not measured.has_background_samples(result)


def test_systematics_of_results(result, monkeypatch):
    monkeypatch.setattr(measured, "has_control_samples", lambda results: True)
    monkeypatch.setattr(measured, "systematics", lambda results: measured.Systematics(0.08, {900: 0.1}))
    choices = limits.choose(result, None, None, 0.0)
    inputs = gather.overall(result, choices)
    assert inputs.delta_sys == 0.08
    assert inputs.provenance["delta_sys"] == "measured from control samples"
    assert choices.systematics.of(0.9) == 0.1


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
    assert limits.choose(same, str(path), None, 0.0).systematics.overall == 0.1
    for name, value in made_from.items():
        other = dataclasses.replace(result, provenance=made_from | {name: "xyz"})
        with pytest.raises(gather.ResultsError, match=f"another {name}: {value}, here it is xyz.*lnv systematics"):
            limits.choose(other, str(path), None, 0.0)


def test_a_file_in_percent_is_refused(result, tmp_path):
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"overall": 7.1}))
    with pytest.raises(gather.ResultsError, match=r"7\.1: wanted a fraction in \[0, 1\], not percent"):
        limits.choose(result, str(path), None, 0.0)


def test_a_file_from_elsewhere_needs_no_origin(result, tmp_path):
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"overall": 0.07}))
    assert limits.choose(result, str(path), None, 0.0).systematics.overall == 0.07


def test_a_result_of_other_requirements_is_refused(result):
    stored = dataclasses.asdict(SELECTION)
    assert dataclasses.replace(result, provenance={"cuts": stored | {"chi2_4c_max": 9.0}}).cuts.chi2_4c_max == 9.0
    with pytest.raises(gather.ResultsError, match="'muon_veto'"):
        _ = dataclasses.replace(result, provenance={"cuts": stored | {"muon_veto": 1}}).cuts
    with pytest.raises(gather.ResultsError, match="'chi2_4c_max'"):
        _ = dataclasses.replace(
            result, provenance={"cuts": {k: v for k, v in stored.items() if k != "chi2_4c_max"}}
        ).cuts
