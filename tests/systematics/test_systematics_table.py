"""Planted differences come out of the table; missing samples are named."""

from __future__ import annotations

import math

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.results import write
from jpsi_lnv.analysis.systematics import table
from jpsi_lnv.analysis.systematics.table import Difference
from jpsi_lnv.processors.commands import systematics

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def tables(measured):
    return table.measure(measured)


def rows_of(of):
    return {row.source: row for row in of.rows}


def test_planted_differences_are_recovered_within_their_uncertainties(tables):
    rows = rows_of(tables[0])
    for label in ("electron", "kaon"):
        for name, planted in (("tracking", -0.02), ("pid", 0.01)):
            found, sigma = rows[name].details[label], rows[name].details[f"{label}_sigma"]
            assert abs(found - planted) < 4 * sigma
            assert sigma < 0.002
    assert rows["kinematic_fit"].details["difference"] == pytest.approx(
        -0.03, abs=4 * rows["kinematic_fit"].details["sigma"]
    )
    assert rows["signal_region"].value == pytest.approx(0.004, rel=0.05)


def test_tracks_add_linearly_and_sources_in_quadrature(tables):
    rows = rows_of(tables[0])
    details = rows["tracking"].details
    assert rows["tracking"].value == pytest.approx(2 * abs(details["electron"]) + 2 * abs(details["kaon"]))
    assert rows["tracking"].value == pytest.approx(0.08, rel=0.1)
    assert tables[0].total == pytest.approx(math.sqrt(sum(r.value**2 for r in tables[0].rows)))


def test_rows_are_those_of_the_publication(tables):
    wanted = ["n_jpsi", "tracking", "pid", "kinematic_fit", "signal_region", "mc_statistics", "mc_modelling"]
    for of in tables:
        assert [row.source for row in of.rows] == wanted


def test_statistics_and_number_of_jpsi(tables):
    rows = rows_of(tables[0])
    assert rows["mc_statistics"].value == pytest.approx(math.sqrt(0.84 / 16_000))
    assert rows["n_jpsi"].value == pytest.approx(44 / 10087)


def test_statistics_at_a_mass_are_those_of_its_interval(tables):
    light, heavy = (rows_of(t)["mc_statistics"] for t in tables[1:])
    assert light.details["n_passed"] == 1350
    assert light.value == pytest.approx(math.sqrt((1 - 0.135) / 1350))
    assert heavy.value == pytest.approx(math.sqrt((1 - 0.153) / 1530))


def test_modelling(tables, measured):
    overall, light, heavy = (
        rows_of(t)["mc_modelling"] for t in (tables[0], *table.measure(measured, mass_rule="two-decays")[1:])
    )
    assert overall.value == pytest.approx(abs((0.15 + 0.17 + 0.18) / 3 - 0.16) / 0.16)
    assert overall.details["largest_difference"] == pytest.approx(0.02 / 0.16)
    assert light.value == pytest.approx(0.03 / 0.15)
    assert heavy.value == pytest.approx(0.01 / 0.17)
    assert "interpolated" in heavy.method
    assert rows_of(table.overall(measured, "largest"))["mc_modelling"].value == pytest.approx(0.02 / 0.16)
    with pytest.raises(ValueError, match="rule is 'best'"):
        table.measure(measured, "best")


def test_the_model_at_a_mass_is_the_decay_that_is_tested(tables, measured, drop):
    """A sample of another decay is not needed, and does not matter."""
    light = rows_of(tables[1])["mc_modelling"]
    assert light.method == "angles of J/psi -> nu nu"
    alone = table.measure(drop(measured, "n_0700"))
    assert rows_of(alone[1])["mc_modelling"].value == light.value


def test_a_difference_smaller_than_what_is_known_counts_as_that():
    assert Difference(0.001, 0.004).size == 0.004
    assert Difference(-0.01, 0.004).size == 0.01


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("control_data", "control sample of data is missing"),
        ("control_mc", "control sample of its simulation is missing"),
        ("signal", "no signal dataset"),
    ],
)
def test_missing_samples_are_named(measured, drop, name, message):
    with pytest.raises(ResultsError, match=message):
        table.measure(drop(measured, name))


def test_the_difference_of_two_decays_needs_both(measured, drop):
    with pytest.raises(ResultsError, match="mode '1nu'"):
        table.measure(drop(measured, "n_0700"), mass_rule="two-decays")


def test_no_model_at_all(measured, drop):
    alone = measured
    for name in ("m_0700", "m_0900", "n_0700"):
        alone = drop(alone, name)
    with pytest.raises(ResultsError, match="no other model"):
        table.measure(alone)


def test_masses(tables):
    assert [t.m_majorana for t in tables] == [None, 0.7, 0.9]


def test_sources_stand_alone(measured):
    assert table.n_jpsi().source == "n_jpsi"


def test_the_command_writes_what_the_limit_reads(measured, tables, tmp_path):
    write(tmp_path / "accumulator.zip", measured)
    other = tmp_path / "other.json"
    other.write_text('{"sources": {"tracking": 0.02}, "overall": 0.07}')
    done = CliRunner().invoke(
        systematics.command, ["--output", str(tmp_path), "--compare", str(other)], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "corrected for tracking and PID" in done.output
    given = gather.read_systematics(tmp_path / "systematics.json")
    assert given.overall == pytest.approx(tables[0].total)
    assert given.of(0.9) == pytest.approx(tables[2].total)


def test_a_file_to_compare_with_has_a_form(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(ResultsError, match="nothing to compare with"):
        systematics.read_comparison(path)
