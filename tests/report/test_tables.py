"""Tables and their renderers: one record, the same cells everywhere."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jpsi_lnv.analysis.report import page, render, selection
from jpsi_lnv.analysis.report.tables import (
    NOTHING,
    Field,
    Table,
    count,
    decay,
    fixed,
    percent,
    power,
    significant,
    superscript,
)

pytestmark = pytest.mark.fast

TABLE = Table(
    "sample",
    "A table",
    (Field("name", "name"), Field("n", "events", count), Field("e", "ε", percent(1), "%")),
    ({"name": "χ²₄C < 20 & more_", "n": 12345, "e": 0.1583}, {"name": "a|b", "n": None, "e": None}),
    "a note",
)


@pytest.mark.parametrize(
    ("show", "value", "wanted"),
    [
        (count, 1234567, "1\u202f234\u202f567"),
        (count, 0, "0"),
        (count, None, NOTHING),
        (fixed(2), 1.005, "1.00"),
        (fixed(2), float("inf"), "∞"),
        (fixed(2), float("nan"), NOTHING),
        (fixed(2, scale=1e9), 2.1e-9, "2.10"),
        (percent(1), 0.07, "7.0"),
        (significant(2), 4.12e-7, "4.1 × 10⁻⁷"),
        (significant(2), 0.0, "0"),
    ],
)
def test_cells_are_written_as_the_field_does(show, value, wanted):
    assert show(value) == wanted


@given(st.floats(1e-12, 1e12))
def test_power_leaves_one_digit_before_the_point(value):
    # The last digit of a number just below a power of ten is a matter of rounding.
    assert 0.999999 <= value / 10.0 ** power(value) < 10.000001


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("J/psi -> K_S K+ pi- + c.c., K_S -> pi+ pi-", "J/ψ → K_S K⁺ π⁻ + c.c., K_S → π⁺ π⁻"),
        ("J/psi(1S) -> 2(e+ e-) (pi0 -> gamma gamma)", "J/ψ → 2(e⁺ e⁻) (π⁰ → γ γ)"),
        ("J/psi -> K+ K*(892)- + c.c., K*- -> K- pi0", "J/ψ → K⁺ K*(892)⁻ + c.c., K*⁻ → K⁻ π⁰"),
        ("J/psi -> nu_M nu_M + c.c., nu_M -> K+ e-, m = 0.575", "J/ψ → ν_M ν_M + c.c., ν_M → K⁺ e⁻, m = 0.575"),
        ("e+ e- -> p anti-p, pseudo-data of 2009-2012, no eta'", "e⁺ e⁻ → p anti-p, pseudo-data of 2009-2012, no η'"),
        ("f_0(980) -> K0 rho(770)0", "f_0(980) → K⁰ ρ(770)⁰"),
        ("K(2)*(1430)0 -> Sigma~- Delta(1232)++", "K(2)*(1430)⁰ → Σ~⁻ Δ(1232)⁺⁺"),
        ("m0 of run0, p-value 0 + 1, E/p - 1", "m0 of run0, p-value 0 + 1, E/p - 1"),
        (None, "–"),
    ],
)
def test_decays_are_printed_with_their_letters(words, printed):
    assert decay(words) == printed


def test_power_of_nothing_is_zero():
    assert power(None) == power(0.0) == power(float("inf")) == 0
    assert superscript(-9) == "10⁻⁹"


def test_latex_is_booktabs_in_plain_ascii():
    text = render.latex(TABLE)
    assert text.isascii()
    assert r"\toprule" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"$\chi$$^{2}$$_4$C $<$ 20 \& more\_ & 12\,345 & 15.8 \\" in text


def test_latex_of_every_table_of_a_report_is_ascii_and_aligned(whole):
    for table in (t for s in page.sections(whole) for t in s.all_tables):
        text = render.latex(table)
        assert text.isascii(), table.name
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(body) == len(table.rows)
        # An ampersand of a cell is escaped, so that the others separate columns.
        assert {line.replace(r"\&", "").count("&") for line in body} <= {len(table.fields) - 1}


def test_csv_holds_raw_values():
    rows = list(csv.DictReader(io.StringIO(render.comma_separated(TABLE))))
    assert rows[0] == {"name": "χ²₄C < 20 & more_", "n": "12345", "e": "0.1583"}
    assert rows[1]["n"] == ""


def test_json_holds_raw_values_and_heads():
    record = json.loads(json.dumps(render.record(TABLE)))
    assert record["rows"][0]["e"] == 0.1583
    assert record["columns"][2] == {"key": "e", "head": "ε", "unit": "%"}


def test_markdown_escapes_pipes_in_heads():
    table = Table("angles", "Angles", (Field("a", "|cos theta|"),), ({"a": 0.5},))
    assert render.markdown(table).splitlines()[0] == r"| \|cos theta\| |"


def test_markdown_escapes_pipes():
    lines = render.markdown(TABLE).splitlines()
    assert lines[0] == "| name | events | ε [%] |"
    assert lines[-1].startswith(r"| a\|b |")


def test_terminal_shows_every_cell():
    out = io.StringIO()
    Console(file=out, width=120).print(render.terminal(TABLE))
    for row in TABLE.cells():
        assert all(cell in out.getvalue() for cell in row)


def test_cut_table_names_every_requirement_with_its_value():
    text = selection.markdown()
    assert "| `chi2_4c_max` |" in text
    assert "| chi2 of the 4C fit below | 20.0 |" in text
