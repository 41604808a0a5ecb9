"""`lnv report`: everything it prints and writes comes from the result."""

import dataclasses
import io
import json
import re
import shutil

import pytest
from click.testing import CliRunner
from rich.console import Console

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report import page, render, source
from jpsi_lnv.analysis.report.tables import count
from jpsi_lnv.processors.cli import lnv

from .conftest import make_limits, make_results

N_CHANGED = 1237


def invoke(*arguments):
    return CliRunner().invoke(lnv, ["report", *map(str, arguments)])


def without_pictures(found):
    """Return the sections of a report without figures, which take most of the time."""
    return [dataclasses.replace(section, pictures=()) for section in page.sections(found)]


def test_it_prints_the_cut_flow_and_the_result(reported):
    text = reported.text
    assert "Cut flow of signal" in text
    assert "Cut flow of pseudo_data" in text
    assert "signal region of M(KKee)" in text
    assert re.search(r"1 event observed", text)


def test_it_writes_every_file(reported):
    directory = reported.output
    found = source.read(directory)
    for section in page.sections(found):
        for picture in section.pictures:
            for kind in ("png", "pdf", "csv"):
                assert (directory / "figures" / f"{picture.name}.{kind}").stat().st_size > 50
        for table in section.all_tables:
            assert (directory / "tables" / f"{table.name}.csv").exists()
            assert f'href="{table.name}.csv"' in (directory / "tables" / "index.html").read_text()
    for kind in ("tex", "md", "json"):
        assert (directory / "tables" / f"tables.{kind}").stat().st_size > 1000
    assert not list(directory.rglob(".*partial*"))


def test_the_cut_flow_is_ordered_and_starts_with_all_events(reported):
    directory = reported.output
    record = derived.read(directory, "cutflow", results.read(directory / "accumulator.zip"))["datasets"]
    steps = [row["step"] for row in record["signal"]["search"]]
    assert steps == list(results.read(directory / "accumulator.zip").datasets["signal"].selections["search"].cutflow)
    assert steps[0] == "all"
    last = record["signal"]["search"][-1]
    assert last["efficiency"] == pytest.approx(600 / 4000)
    assert last["efficiency_error"] == pytest.approx((0.15 * 0.85 / 4000) ** 0.5)


def test_a_changed_number_is_found_everywhere(tmp_path):
    merged = make_results()
    flow = merged.datasets["signal"].selections["search"].cutflow
    flow["chi2_4c"] = N_CHANGED
    found = source.Source(merged, make_limits(merged))
    page.write(tmp_path, found, without_pictures(found))
    shown = count(N_CHANGED)
    record = json.loads((tmp_path / "cutflow.json").read_text())["datasets"]
    assert N_CHANGED in [row["n"] for row in record["signal"]["search"]]
    assert shown in (tmp_path / "report.html").read_text()
    tables = tmp_path / "tables"
    assert shown in (tables / "tables.md").read_text()
    assert r"1\,237" in (tables / "tables.tex").read_text()
    assert f",{N_CHANGED}," in (tables / "cutflow.csv").read_text()
    assert f'"signal.n": {N_CHANGED}' in (tables / "tables.json").read_text()


def test_a_changed_limit_is_found_everywhere(output, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    content = json.loads((directory / "limits.json").read_text())
    content["limits"][0]["branching_fraction_ul"] = 7.77e-9
    (directory / "limits.json").write_text(json.dumps(content))
    outcome = invoke("--output", directory, "--no-figures")
    assert re.search("< 7.77 . 10⁻⁹", outcome.output)
    found = source.read(directory)
    page.write(directory, found, without_pictures(found))
    assert (directory / "report.html").read_text().count("7.77") >= 3
    assert "7.77" in (directory / "tables" / "tables.tex").read_text()


def test_limits_of_another_result_are_refused_unless_told(output, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    content = json.loads((directory / "limits.json").read_text())
    content["made_from"]["counts_digest"] = "0" * 16
    (directory / "limits.json").write_text(json.dumps(content))
    assert "--allow-stale" in str(invoke("--output", directory, "--no-figures").exception)
    told = invoke("--output", directory, "--no-figures", "--allow-stale")
    assert "OTHER LIMITS" in told.output
    assert "No limit belongs to this result" in told.output


@pytest.mark.skipif(not any(map(shutil.which, page.BROWSERS)), reason="no chromium: make ci-packages")
def test_the_page_is_printed_with_every_table(reported, tmp_path):
    shutil.copy(reported.output / "report.html", tmp_path)
    content = page.to_pdf(tmp_path / "report.html").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 5


def test_without_a_browser_nothing_is_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResultsError, match="install Chromium"):
        page.to_pdf(tmp_path / "report.html")


def test_an_older_accumulator_is_reported_from_where_it_lies(output, tmp_path):
    older = tmp_path / "older.zip"
    shutil.copy(output / "accumulator.zip", older)
    outcome = invoke("--accumulator", older, "--output", tmp_path / "new", "--no-figures")
    assert outcome.exit_code == 0
    assert "No limit was computed yet" in outcome.output
    assert not (tmp_path / "new").exists()


def test_a_missing_result_is_one_line(tmp_path):
    outcome = invoke("--output", tmp_path)
    assert isinstance(outcome.exception, ResultsError)
    assert "lnv run" in str(outcome.exception)


def test_broken_limits_are_named(output, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    (directory / "limits.json").write_text("{")
    assert "limits.json" in str(invoke("--output", directory).exception)
    (directory / "limits.json").write_text("[]")
    assert "holds list; wanted an object" in str(invoke("--output", directory).exception)
    (directory / "limits.json").write_text("{}")
    assert "limits.json: holds no 'limits'; make it again with `lnv limits`" in str(
        invoke("--output", directory).exception
    )


def test_an_unknown_dataset_is_wrong_usage(output):
    outcome = invoke("--output", output, "--dataset", "nothing", "--no-figures")
    assert outcome.exit_code == 2
    assert "nothing" in outcome.output


def test_plot_draws_one_figure_and_lists_all(output, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    runner = CliRunner()
    assert "chi2_4c_m_kkee" in runner.invoke(lnv, ["plot", "--output", str(directory)]).output
    outcome = runner.invoke(lnv, ["plot", "m_kkee", "--format", "svg", "--output", str(directory)])
    assert outcome.exit_code == 0, outcome.output
    assert [p.name for p in (directory / "figures").iterdir()] == ["m_kkee.svg"]
    assert runner.invoke(lnv, ["plot", "nothing", "--output", str(directory)]).exit_code == 2


def test_a_figure_of_another_result_is_refused_unless_told(output, tmp_path):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    content = json.loads((directory / "limits.json").read_text())
    content["made_from"]["counts_digest"] = "0" * 16
    (directory / "limits.json").write_text(json.dumps(content))
    call = ["plot", "--output", str(directory)]
    assert CliRunner().invoke(lnv, call).exit_code == 0
    assert "--allow-stale" in str(CliRunner().invoke(lnv, [*call, "m_kkee"]).exception)
    assert CliRunner().invoke(lnv, [*call, "m_kkee", "--allow-stale"]).exit_code == 0


def test_files_of_a_page_of_before_are_removed(whole, tmp_path):
    before = ("tables/gone.csv", "tables/gone.tex", "tables/cutflow.md", "figures/gone.png")
    for name in before:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sections = without_pictures(whole)
    page.write(tmp_path, whole, sections)
    tables = {t.name for s in sections for t in s.all_tables}
    together = {"index.html", "tables.tex", "tables.md", "tables.json"}
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {f"{name}.csv" for name in tables} | together
    assert not list((tmp_path / "figures").iterdir())


def test_words_of_a_stranger_stay_words(tmp_path):
    """A result from elsewhere cannot put markup into the page, the terminal or LaTeX, nor files anywhere."""
    merged = make_results(process="<script>alert(1)</script> [/bold] & $x$ \\input{y}")
    merged.datasets["../../outside"] = merged.datasets["pseudo_data"]
    found = source.Source(merged, make_limits(merged))
    page.write(tmp_path / "in" / "here", found, without_pictures(found))
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    assert "<script>alert" not in (tmp_path / "in" / "here" / "report.html").read_text()
    text = (tmp_path / "in" / "here" / "tables" / "tables.tex").read_text()
    assert r"\input" not in text
    for section in page.sections(found):
        for table in section.all_tables:
            Console(file=io.StringIO()).print(render.terminal(table))


def test_published_numbers_stand_beside_ours(whole):
    found = next(t for s in page.sections(whole) for t in s.all_tables if t.name == "limits_beside_published")
    row = next(r for r in found.rows if r["m_majorana"] == 0.9)
    assert row["efficiency_published"] == pytest.approx(0.1626)
    assert row["limit_published"] == pytest.approx(1.11e-9)
