"""Studies beside the limit: what other commands left is shown as they left it."""

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.limits import gather, mass_scan, methods, reach, studies
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.report import background as background_report
from jpsi_lnv.analysis.report import page, render
from jpsi_lnv.analysis.report import studies as study_report
from jpsi_lnv.analysis.report import systematics as systematics_report

from .conftest import map_closed, validated

pytestmark = pytest.mark.fast


def section(found, name):
    return next(s for s in page.sections(found) if s.name == name)


def test_every_study_has_its_table_and_figure(studied):
    shown, measured = section(studied, "studies"), section(studied, "systematics")
    assert {t.name for t in shown.all_tables} == {"background_scan", "topology", "optimization"}
    assert {p.name for p in shown.pictures} == {"optimization", "background_scan"}
    assert {t.name for t in measured.tables} == {"systematics", "systematics_per_mass"}
    assert {p.name for p in measured.pictures} == {"systematics", "systematic_pulls"}
    for picture in (*shown.pictures, *measured.pictures):
        assert picture.figure("Fast simulation").axes[0].get_xlabel()


def test_measured_uncertainties_stand_beside_the_published_ones(studied):
    found = next(t for t in section(studied, "systematics").tables if t.name == "systematics")
    rows = {row["title"]: row for row in found.rows}
    assert rows["tracking"]["published"] == pytest.approx(0.020)
    assert rows["total"]["value"] == pytest.approx(np.hypot(0.005, np.hypot(0.021, 0.05)))
    assert "2.10" in render.latex(found)


def test_pulls_are_differences_in_units_of_their_uncertainty(studied):
    wanted = [("tracking, electron", 0.012, 0.004), ("kinematic fit", -0.05, 0.02)]
    assert systematics_report.differences(studied) == wanted


def test_without_studies_there_is_no_section(whole):
    assert not {"studies", "systematics"} & {s.name for s in page.sections(whole)}


def test_background_of_the_command_is_shown(estimated):
    shown = section(estimated, "background")
    assert {t.name for t in shown.tables} == {"background", "background_per_mass", "background_rates"}
    folded = ["misid_rates", "background_closure", "background_overlaps", "not_simulated"]
    assert [t.name for t in shown.folded] == folded
    processes = render.markdown(shown.tables[0])
    assert "| 1 π → e, 1 K → e |" in processes
    assert "| 0.02 |" in processes
    assert "inclusive is hidden" in shown.tables[0].note
    assert "at 90 %" in shown.introduction


def test_the_expected_background_is_shown_against_assumed_rates(estimated):
    shown = section(estimated, "background")
    rows = shown.tables[2].rows
    assert rows[2]["0.01"] == pytest.approx(100 * rows[0]["0.001"])
    picture = next(p for p in shown.pictures if p.name == "background_rates")
    axes = picture.figure("Fast simulation").axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert len(axes.lines) == 6


def test_what_background_alone_would_show_is_no_statement_on_the_published_event(estimated):
    text = background_report.words(estimated.extras["background"])
    assert "not how likely the published event is to be background" in text


def test_the_validation_of_the_simulation_has_its_own_section(whole):
    shown = section(dataclasses.replace(whole, extras={"validation": validated()}), "simulation")
    assert [p.name for p in shown.pictures] == [
        "validation_efficiency",
        "validation_single_particles",
        "validation_identification",
    ]
    for picture in shown.pictures:
        assert picture.figure("Fast simulation").axes[0].get_legend().get_texts()
    assert "68.3 | 68 within 10% | yes" in render.markdown(shown.tables[0])
    assert "90.00" in render.markdown(shown.folded[0])
    assert "simulation" not in [s.name for s in page.sections(whole)]


def test_closure_is_shown_with_a_limit(whole):
    assert {t.name for t in section(whole, "closure").folded} == {"closure", "closure_relations"}


def test_the_closure_of_the_map_says_what_it_reaches(studied):
    shown = section(dataclasses.replace(studied, extras={**studied.extras, "recast_closure": map_closed()}), "studies")
    found = next(t for t in shown.all_tables if t.name == "recast_closure")
    assert [r["m_majorana"] for r in found.rows] == [0.6, 0.9]
    assert "digest abc" in found.note
    assert "on 0 models deviate by more than 3%" in found.note
    assert "below, by 5.0% at most" in found.note


def test_the_scan_over_all_masses_shows_both_limits(studied):
    masses = np.round(0.6 + 0.001 * np.arange(601), 4)
    events = (masses > 0.7069) & (masses < 0.7131)
    inputs = [
        LimitInputs(n_obs=int(n), n_bkg=0.1, efficiency=0.2, delta_sys=0.07, n_jpsi=1e10, m_majorana=float(m))
        for m, n in zip(masses, events, strict=True)
    ]
    significance = {"local_p": 0.095, "m_majorana": 0.71, "global_p": 0.9, "trials_factor": 40.0}
    content = {"limits": mass_scan.records(inputs), "significance": significance}
    shown = section(dataclasses.replace(studied, extras={**studied.extras, "mass_scan": content}), "mass_scan")
    found = next(t for t in shown.all_tables if t.name == "fine_scan")
    assert {"B limit, rolke", "B limit, recommended"} <= {field.head for field in found.fields}
    assert [row["m_majorana"] for row in found.rows if row["n_obs"]] == [0.71]
    assert len(found.rows) == 25 + 1
    assert "smallest local p 0.095 at 0.7100 GeV/c², global p 0.9" in found.note
    axes = next(p for p in shown.pictures if p.name == "fine_scan").figure("Fast simulation").axes[0]
    assert [line.get_label() for line in axes.lines] == ["rolke", "recommended"]


def test_both_limits_stand_in_the_figures_and_tables_of_the_published_masses(studied):
    shown = section(studied, "mass_scan")
    for name in ("limits", "limits_yield"):
        axes = next(p for p in shown.pictures if p.name == name).figure("Fast simulation").axes[0]
        labels = {line.get_label() for line in axes.lines}
        assert {"observed, rolke", "observed, recommended"} <= labels
    beside = next(t for t in shown.all_tables if t.name == "limits_beside_published")
    assert any(row.get("limit_beside") for row in beside.rows)


def test_the_reach_of_more_data_has_tables_and_figures(studied):
    inputs = gather.overall(studied.results, gather.Choices(background=gather.given_background(0.3, 0.1)))
    checks = {
        "background_scan": studies.background_scan(inputs),
        "chi2_scan": [],
        "against_luminosity": reach.against_luminosity(inputs),
        "against_background": reach.against_background(inputs),
        "overall_p": studies.overall_p(inputs),
    }
    shown = section(dataclasses.replace(studied, extras={**studied.extras, "limit_checks": checks}), "studies")
    tables = {t.name: t for t in shown.all_tables}
    assert [row["luminosity"] for row in tables["against_luminosity"].rows] == list(reach.LUMINOSITIES)
    assert "P(≥ N obs) of the overall search" in tables["against_background"].note
    assert {"against_luminosity", "against_background"} <= {p.name for p in shown.pictures}
    scan = tables["background_scan"]
    assert "B limit, recommended" in [field.head for field in scan.fields]
    without = dataclasses.replace(inputs, n_bkg=0.0, n_bkg_sigma=0.0, side_bands=())
    recommended = methods.upper_limit(without, method="recommended")
    assert scan.rows[0]["other_ul"] == pytest.approx(recommended.branching_fraction_ul)


def test_a_combination_with_another_rule_says_so_in_its_table():
    combined = {"channels": [{"name": "a", "n_obs": 0, "efficiency": 0.1}], "n_up": 3.0, "cautions": ["differs"]}
    found = {"conjugate_channels": combined, "periods": None}
    assert study_report.combination_cautions(found) == ("Conjugate channels in one likelihood: differs",)
