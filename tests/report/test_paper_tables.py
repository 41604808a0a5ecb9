"""Both tables have the publication's rows, and ours beside them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report import mass_scan, paper, systematics
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.results import Results, write
from jpsi_lnv.processors.commands import paper as command

pytestmark = pytest.mark.fast

SOURCES = [
    {"source": key, "title": key, "method": "given", "value": value / 100}
    for key, value in paper.SYSTEMATIC_PERCENT.items()
]
SYSTEMATICS = {"overall": 0.07, "tables": [{"m_majorana": None, "total": 0.07, "rows": SOURCES}]}
LIMITS = [
    {"method": "rolke", "n_jpsi": 1e7} | record
    for record in (
        {"m_majorana": None, "n_obs": None},
        {"m_majorana": 1.2, "n_obs": 1, "n_bkg": 0.0, "efficiency": 0.17, "delta_sys": 0.072, "n_up": 19.5},
        {"m_majorana": 0.9, "n_obs": None, "n_bkg": 1e-5, "efficiency": 0.16, "delta_sys": 0.07, "n_up": None}
        | {"expected_n_up": {"median": 11.2}},
    )
]


def of(limits=LIMITS):
    return Source(Results({}, {}, {}), tuple(limits), {"systematics": SYSTEMATICS})


def test_the_published_uncertainties_come_back():
    table = systematics.overall(of())
    assert len(table.rows) == 8
    for row in table.rows:
        assert row["value"] == pytest.approx(row["published"])


def test_every_published_mass_has_a_row():
    rows = {row["m_majorana"]: row for row in mass_scan.beside_published(of()).rows}
    assert len(rows) == 39
    assert rows[1.2]["n_obs"] == 1
    assert rows[1.2]["limit"] == pytest.approx(1.93e-9, abs=0.01e-9)
    assert rows[0.9]["limit"] == pytest.approx(1.11e-9, abs=0.01e-9)
    assert rows[0.575]["limit"] is None
    assert rows[0.575]["limit_published"] == pytest.approx(2.04e-9)


def invoke(directory):
    return CliRunner().invoke(command.command, ["--output", str(directory)], catch_exceptions=False)


def test_the_command(tmp_path):
    results = Results({}, {"cuts_digest": "abc"}, {"complete": True})
    write(tmp_path / "accumulator.zip", results)
    derived.write(tmp_path, "systematics", SYSTEMATICS, results)
    with pytest.raises(ResultsError, match="make it with `lnv limits`"):
        invoke(tmp_path)
    derived.write(tmp_path, "limits", {"limits": LIMITS}, results)
    done = invoke(tmp_path)
    assert done.exit_code == 0
    assert "the data are blind" in done.output
    written = json.loads((tmp_path / "paper_tables.json").read_text())
    assert len(written["table_2"]) == 39
    assert written["made_from"].items() >= results.identity.items()
    assert set(written["made_from"]["files"]) == {"systematics.json", "limits.json"}


def test_tables_of_different_results_are_refused(tmp_path):
    results, other = (Results({}, {"cuts_digest": d}, {"complete": True}) for d in ("abc", "xyz"))
    write(tmp_path / "accumulator.zip", results)
    derived.write(tmp_path, "systematics", SYSTEMATICS, other)
    derived.write(tmp_path, "limits", {"limits": LIMITS}, results)
    with pytest.raises(ResultsError, match="another cuts_digest: xyz, here it is abc; run `lnv systematics` again"):
        invoke(tmp_path)
