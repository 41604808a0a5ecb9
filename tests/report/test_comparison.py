"""`lnv compare`: two results beside each other, by what they hold."""

import json
import shutil

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.report import comparison, figure_data, source
from jpsi_lnv.analysis.report.comparison import Comparison
from jpsi_lnv.processors.cli import lnv

from .conftest import make_limits, make_results
from .test_places import Cells, Result

N_CHANGED = 1237


def of(merged):
    return source.Source(merged, make_limits(merged))


@pytest.fixture(scope="module")
def other():
    """The result of looser requirements on the same events."""
    merged = make_results()
    merged.datasets["signal"].selections["search"].cutflow["signal_region"] = 660
    cuts = merged.provenance["cuts"] | {"chi2_4c_max": 40.0}
    return type(merged)(merged.datasets, merged.provenance | {"cuts": cuts, "commit": "fedcba"}, merged.bookkeeping)


@pytest.fixture(scope="module")
def compared(whole, other):
    return Comparison(("tight", "loose"), (whole, of(other)))


def test_a_result_and_its_copy_are_the_same(whole):
    found = Comparison(("a", "b"), (whole, of(make_results())))
    assert found.has_same_counts
    assert comparison.differences(found) is None
    assert {row["ratio"] for row in comparison.limits(found).rows} == {1.0}
    assert {row["ratio"] for row in comparison.datasets(found).rows} <= {1.0, None}
    assert "the same counts" in comparison.sentence(found)


def test_what_differs_is_listed(compared):
    rows = {row["what"]: (row["first"], row["second"]) for row in comparison.differences(compared).rows}
    assert rows == {"cut chi2_4c_max": (20.0, 40.0), "commit": ("abcdef123456", "fedcba")}


def test_efficiencies_and_their_ratio_have_errors(compared):
    row = next(row for row in comparison.datasets(compared).rows if row["dataset"] == "signal")
    assert (row["n.first"], row["n.second"]) == (600, 660)
    assert row["ratio"] == pytest.approx(1.1)
    first, second = 0.15 * 0.85 / 4000, 0.165 * 0.835 / 4000
    assert row["ratio_error"] == pytest.approx(1.1 * (first / 0.15**2 + second / 0.165**2) ** 0.5)


def test_cut_flows_stand_beside_each_other_step_by_step(compared):
    table = comparison.cutflows(compared)
    last = table.rows[-1]
    assert (last["signal.first"], last["signal.second"], last["signal.ratio"]) == (600, 660, 1.1)
    assert table.groups == ("events, tight", "events, loose", "second over first")


def test_limits_follow_the_efficiency(compared):
    overall = comparison.limits(compared).rows[0]
    assert overall["m_majorana"] is None
    assert overall["ratio"] == pytest.approx(1 / 1.1, rel=1e-3)


def test_datasets_of_two_periods_are_paired_by_what_they_are(whole):
    merged = make_results()
    renamed = {("pseudo_data_2018" if n == "pseudo_data" else n): d for n, d in merged.datasets.items()}
    found = Comparison(("a", "b"), (whole, of(type(merged)(renamed, merged.provenance, merged.bookkeeping))))
    assert "pseudo_data / pseudo_data_2018" in [pair.name for pair in found.pairs]
    assert found.alone == []


def test_a_dataset_of_one_result_alone_is_named(whole):
    merged = make_results()
    del merged.datasets["kkpipi"]
    found = Comparison(("a", "b"), (whole, of(merged)))
    assert found.alone == ["kkpipi (a)"]


def test_every_figure_of_both_has_data(compared):
    pictures = comparison.page(compared).pictures
    assert {"limits_observed_compared", "efficiency_compared", "m_kkee_signal_compared"} <= {p.name for p in pictures}
    for picture in pictures:
        series = {row.get("series") for row in figure_data.table(picture.name, picture.figure()).rows}
        assert {"tight", "loose", "second / first"} <= series, picture.name


@pytest.fixture(scope="module")
def directories(output, other, tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    shutil.copytree(output, directory / "tight")
    (directory / "loose").mkdir()
    results.write(directory / "loose" / "accumulator.zip", other)
    derived.write(directory / "loose", "limits", {"limits": make_limits(other)}, other)
    return directory


def invoke(*arguments):
    return CliRunner().invoke(lnv, ["compare", *map(str, arguments)])


def test_the_page_holds_the_numbers_of_both(directories, tmp_path):
    outcome = invoke(directories / "tight", directories / "loose" / "accumulator.zip", "--output", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert "times the first" in outcome.output
    cells, both = Cells((tmp_path / "compare.html").read_text()), Result(directories)
    located = [c for c in cells.numbers if c["data-value"] and c["data-place"] != comparison.BESIDE]
    assert len(located) > 150
    assert {c["data-value"] for c in located} >= {"20.0", "40.0", "abcdef123456", "fedcba"}
    for cell in located:
        assert both.holds(cell["data-place"], cell["data-value"]), cell
    assert (tmp_path / "tables" / "index.html").read_text().count("compare.html") == 2


def test_every_count_at_the_top_says_what_it_counts(directories, tmp_path):
    invoke(directories / "tight", directories / "loose", "--output", tmp_path)
    both = Result(directories)
    cuts, *datasets = [
        [both.at(place) for place in places.split(comparison.AND)]
        for places in Cells((tmp_path / "compare.html").read_text()).facts
    ]
    first, second = datasets[0]
    flows = [[side[n]["selections"]["search"]["cutflow"] for n in first] for side in (first, second)]
    assert datasets == [[first, second]] * 3
    counted = (
        sum(cuts[0][name] != cuts[1][name] for name in cuts[0]),
        len(first.keys() & second.keys()),
        len(first.keys() ^ second.keys()),
        sum(a != b for a, b in zip(*flows, strict=True)),
    )
    shown = comparison.facts(
        Comparison(("tight", "loose"), tuple(source.read(directories / n) for n in ("tight", "loose")))
    )
    assert [fact.shown for fact in shown] == [str(n) for n in counted] == ["1", "6", "0", "1"]


def test_a_result_is_not_compared_with_itself(directories):
    outcome = invoke(directories / "tight", directories / "loose" / ".." / "tight")
    assert outcome.exit_code == 2
    assert "wanted two results" in outcome.output


def test_limits_of_another_result_are_refused_unless_told(directories, tmp_path):
    stale = tmp_path / "stale"
    shutil.copytree(directories / "loose", stale)
    content = json.loads((stale / "limits.json").read_text())
    content["made_from"]["counts_digest"] = "0" * 16
    (stale / "limits.json").write_text(json.dumps(content))
    refused = invoke(directories / "tight", stale, "--output", tmp_path / "page")
    assert "--allow-stale" in str(refused.exception)
    assert not (tmp_path / "page").exists()
    told = invoke(directories / "tight", stale, "--output", tmp_path / "page", "--allow-stale")
    assert "no limits of both" in told.output
    assert "OTHER LIMITS (stale)" in (tmp_path / "page" / "compare.html").read_text()
