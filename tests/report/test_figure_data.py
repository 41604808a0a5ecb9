"""The numbers behind a figure are those that were drawn."""

import numpy as np
import pytest

from jpsi_lnv.analysis.report import drawing, figure_data, page

pytestmark = pytest.mark.fast


def rows_of(draw):
    with drawing.style():
        figure, axes = drawing.new_figure()
        draw(axes)
    return figure_data.table("f", figure).rows


def test_lines_points_and_bands():
    def draw(axes):
        axes.plot([1, 2], [3, np.nan], label="line")
        axes.errorbar([1.0], [5.0], yerr=[[1.0], [2.0]], fmt="o", label="points")
        axes.fill_between([1, 2], [0, 1], [2, 3], label="band")
        axes.axhline(3.0)

    rows = rows_of(draw)
    assert rows[0] == {"series": "points", "x": 1.0, "y": 5.0, "y_low": 4.0, "y_high": 7.0}
    assert rows[1:3] == ({"series": "line", "x": 1.0, "y": 3.0}, {"series": "line", "x": 2.0, "y": None})
    assert rows[3:] == (
        {"series": "band", "x": 1.0, "y_low": 0.0, "y_high": 2.0},
        {"series": "band", "x": 2.0, "y_low": 1.0, "y_high": 3.0},
    )


def test_bins_bars_and_planes():
    def draw(axes):
        axes.stairs([4.0], [0.0, 2.0], label="bins")
        axes.barh([1.0], [3.0], height=0.5, label="bars")
        axes.pcolormesh([0, 1, 2], [0, 1], np.ma.masked_equal([[0.0, 7.0]], 0.0))

    rows = {row.get("series"): row for row in rows_of(draw)}
    assert rows["bins"] == {"series": "bins", "x_low": 0.0, "x_high": 2.0, "y": 4.0}
    assert rows["bars"] == {"series": "bars", "x_low": 0.0, "x_high": 3.0, "y_low": 0.75, "y_high": 1.25}
    assert rows[None] == {"x_low": 1.0, "x_high": 2.0, "y_low": 0.0, "y_high": 1.0, "value": 7.0}


def test_rows_of_a_named_axis_have_its_names():
    def draw(axes):
        axes.plot([10, 20], [0, 1], "o", label="n")
        axes.set_yticks([0, 1], ["first", "second"])

    assert [row["name"] for row in rows_of(draw)] == ["first", "second"]


def test_every_figure_of_a_report_has_data(whole):
    for name, picture in page.pictures(whole).items():
        assert figure_data.table(name, picture.figure()).rows, name


def test_the_limits_behind_their_figure_are_those_of_the_result(whole):
    table = figure_data.table("limits_yield", page.pictures(whole)["limits_yield"].figure())
    observed = [row["y"] for row in table.rows if row["series"] == "observed, rolke"]
    assert observed == [r["n_up"] for r in whole.limits if r["method"] == "rolke" and r["m_majorana"] is not None]
