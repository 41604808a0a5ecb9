"""What is shown of every candidate of the data: masses, the fit under each hypothesis, its tracks."""

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.report import candidates, figure_data
from jpsi_lnv.analysis.report.tables import NOTHING

from .conftest import make_results

pytestmark = pytest.mark.fast


@pytest.fixture
def tables(whole):
    merged = make_results()
    selected = merged.datasets["pseudo_data"].selections["search"].candidates
    for k, track in enumerate(("k1", "k2", "e1", "e2")):
        selected[f"p_{track}"] = np.array([0.5 + k])
        selected[f"e_over_p_{track}"] = np.array([0.1 * k])
    selected["chi2_kkkk"] = np.array([np.inf])
    return candidates.section(dataclasses.replace(whole, results=merged)).tables


def test_every_track_of_a_candidate_has_a_row(tables):
    _, tracks = tables
    assert [row["track"] for row in tracks.rows] == ["kaon 1", "kaon 2", "electron 1", "electron 2"]
    assert [row["p"] for row in tracks.rows] == [0.5, 1.5, 2.5, 3.5]
    place = tracks.fields[4].place(tracks.rows[2])
    assert place == "accumulator.zip/candidates/pseudo_data/search.parquet#/0/p_e1"


def test_a_hypothesis_without_a_fit_is_no_number(tables):
    table, _ = tables
    (cells,) = table.cells()
    assert cells[[f.key for f in table.fields].index("chi2_kkkk")] == NOTHING


def test_candidates_without_stored_tracks_have_no_table_of_them(whole):
    assert [t.name for t in candidates.section(whole).tables] == ["candidates"]


HELIX = {"dr": 0.01, "phi0": 0.5, "kappa": 1.6, "dz": 0.2, "tanl": 0.4}


@pytest.fixture
def displayed(whole):
    merged = make_results()
    selected = merged.datasets["pseudo_data"].selections["search"].candidates
    selected["field"] = np.array([1.0])
    for k, track in enumerate(("k1", "k2", "e1", "e2")):
        selected[f"p_{track}"] = np.array([0.7])
        for name, value in HELIX.items():
            selected[f"{name}_{track}"] = np.array([value + k if name == "phi0" else -value if k > 1 else value])
    return candidates.section(dataclasses.replace(whole, results=merged))


def test_every_event_with_its_tracks_is_displayed(displayed):
    (picture,) = displayed.pictures
    rows = figure_data.table(picture.name, picture.figure()).rows
    along, side = (
        [row for row in rows if row["series"].startswith("K1+") and row["series"].endswith(end)]
        for end in ("GeV/c", "against z")
    )
    assert (along[0]["x"], along[0]["y"]) == pytest.approx((0.01 * np.cos(0.5), 0.01 * np.sin(0.5)))
    assert np.hypot(along[-1]["x"], along[-1]["y"]) == pytest.approx(95.0, abs=2.0)
    assert side[0]["x"] == pytest.approx(0.2)
    assert abs(side[-1]["y"]) == pytest.approx(np.hypot(along[-1]["x"], along[-1]["y"]))


def test_events_without_stored_tracks_have_no_display(whole):
    assert candidates.section(whole).pictures == ()
