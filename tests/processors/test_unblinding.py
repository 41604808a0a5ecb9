"""The box opens only with a reason, and only for the cuts that were frozen."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import cards, provenance
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.books.fileset import Dataset
from jpsi_lnv.processors.books.unblinding import BlindingError
from jpsi_lnv.processors.commands import freeze, unblind

pytestmark = pytest.mark.fast

REASON = "the analysis is approved"
FILESET = {
    "data": Dataset("data", DatasetMetadata(kind="data", sqrt_s=3.0969), ()),
    "signal": Dataset("signal", DatasetMetadata(kind="signal", sqrt_s=3.0969), ()),
}


@pytest.fixture
def frozen(tmp_path):
    path = tmp_path / "frozen.json"
    unblinding.freeze(SELECTION, path)
    return path


def test_the_frozen_decay_makes_the_box_and_no_other_is_frozen_beside_it(tmp_path):
    path, other = tmp_path / "frozen.json", cards.read("jpsi_pipiee").cuts
    unblinding.freeze(other, path)
    assert unblinding.box(path) == other
    with pytest.raises(BlindingError, match=r"other cuts are frozen .*final_state"):
        unblinding.freeze(SELECTION, path)


def test_the_record_holds_reason_time_cuts_and_commit(frozen):
    opened, record = unblinding.unblind(FILESET, SELECTION, REASON, frozen)
    assert not opened["data"].metadata.is_blind
    assert opened["signal"] == FILESET["signal"]
    assert record["reason"] == REASON
    assert record["datasets"] == ["data"]
    assert record["cuts_digest"] == SELECTION.digest()
    assert record["time"] >= record["frozen"]["time"]
    assert "commit" in record
    json.dumps(record)


@pytest.mark.parametrize("reason", ["", "   ", "why not"])
def test_a_reason_in_words_is_wanted(frozen, reason):
    with pytest.raises(BlindingError, match="wanted the reason"):
        unblinding.unblind(FILESET, SELECTION, reason, frozen)


def test_other_cuts_are_refused_by_name(frozen):
    changed = dataclasses.replace(SELECTION, chi2_4c_max=25.0)
    with pytest.raises(BlindingError, match=r"chi2_4c_max 20\.0 -> 25\.0"):
        unblinding.unblind(FILESET, changed, REASON, frozen)


def test_other_cuts_run_on_simulation_alone_once_cuts_are_frozen(frozen, tmp_path):
    changed = dataclasses.replace(SELECTION, chi2_4c_max=25.0)
    recorded = Dataset("data", DatasetMetadata(kind="data", sqrt_s=3.0969, is_simulation=False), ())
    unblinding.require_frozen(SELECTION, frozen, {"data": recorded})
    unblinding.require_frozen(changed, tmp_path / "none.json", {"data": recorded})
    unblinding.require_frozen(changed, frozen, {"signal": FILESET["signal"]})
    with pytest.raises(BlindingError, match=r"'data' holds recorded events: chi2_4c_max 20\.0 -> 25\.0"):
        unblinding.require_frozen(changed, frozen, {"data": recorded})


def test_nothing_frozen_is_refused(tmp_path):
    with pytest.raises(BlindingError, match="lnv freeze"):
        unblinding.unblind(FILESET, SELECTION, REASON, tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cuts": 3, "cuts_digest": "x"}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "frozen.json"
    path.write_text(text)
    with pytest.raises(BlindingError, match=r"(is not JSON|wanted an object|not a file of `lnv freeze`)"):
        unblinding.unblind(FILESET, SELECTION, REASON, path)


@pytest.mark.parametrize(
    "changed", [{"cuts_digest": "0"}, {"commit": "another"}, {"time": "1999-01-01"}, {"calibration_digest": "0"}]
)
def test_a_record_that_was_changed_is_refused(frozen, changed):
    record = json.loads(frozen.read_text()) | changed
    frozen.write_text(json.dumps(record))
    with pytest.raises(BlindingError, match="was changed after it was written"):
        unblinding.unblind(FILESET, SELECTION, REASON, frozen)


def test_the_record_says_who_asked_and_what_differs(frozen, monkeypatch):
    same = unblinding.unblind(FILESET, SELECTION, REASON, frozen)[1]
    assert "@" in same["who"]
    assert same["differs"] == ""
    monkeypatch.setattr(provenance, "source_digest", lambda: "othercode")
    other = unblinding.unblind(FILESET, SELECTION, REASON, frozen)[1]
    assert other["differs"].endswith("-> othercode")
    assert other["frozen"]["digest"] == same["frozen"]["digest"]


@pytest.fixture
def other_tables(tmp_path):
    """The package's calorimeter tables, written in another way: only their digest differs."""
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(json.loads(emc_pid.PATH.read_text()), indent=3))
    return path


def test_another_calibration_is_refused(frozen, monkeypatch, other_tables):
    monkeypatch.setattr(emc_pid, "PATH", other_tables)
    with pytest.raises(BlindingError, match="calibration is not the frozen one: got digest"):
        unblinding.unblind(FILESET, SELECTION, REASON, frozen)


def test_an_opened_dataset_carries_the_reason(frozen):
    opened, _ = unblinding.unblind(FILESET, SELECTION, REASON, frozen)
    assert opened["data"].metadata.open_reason == REASON


def test_the_box_is_of_the_frozen_cuts_or_of_the_packages_own(tmp_path):
    assert unblinding.box(tmp_path / "none.json") == SELECTION
    changed = dataclasses.replace(SELECTION, m_signal_max=3.13)
    unblinding.freeze(changed, tmp_path / "frozen.json")
    assert unblinding.box(tmp_path / "frozen.json") == changed


def test_the_deposited_line_is_compared_with_record_and_package(frozen, monkeypatch):
    record = unblinding.read_frozen(frozen)
    line = unblinding.line(record)
    assert "\n" not in line
    assert all(c.is_same for c in unblinding.compare(frozen, line))
    assert {c.what for c in unblinding.compare(frozen)} == {c.what for c in unblinding.compare(frozen, line)}
    other = line.replace(record["cuts_digest"], "0" * 16)
    assert [c.what for c in unblinding.compare(frozen, other) if not c.is_same] == ["cuts_digest"]
    with pytest.raises(BlindingError, match="wanted the one that `lnv freeze` printed"):
        unblinding.compare(frozen, "the cuts are final")


def test_the_command_checks(frozen, monkeypatch, other_tables):
    def run(*arguments):
        return CliRunner().invoke(unblind.command, ["--frozen", str(frozen), *arguments])

    line = unblinding.line(unblinding.read_frozen(frozen))
    assert run("--check").exit_code == run("--check", "--deposited", line).exit_code == 0
    assert run().exit_code == 2
    refused = run("--check", "--deposited", line.replace("record ", "record 0"))
    assert "digest differ" in str(refused.exception)
    monkeypatch.setattr(provenance, "source_digest", lambda: "othercode")
    shown = run("--check", "--deposited", line)
    assert shown.exit_code == 0
    assert "othercode" in shown.output
    monkeypatch.setattr(emc_pid, "PATH", other_tables)
    assert "calibration digest differ" in str(run("--check").exception)


def test_nothing_blind_is_refused(frozen):
    with pytest.raises(BlindingError, match="none of the datasets"):
        unblinding.unblind({"signal": FILESET["signal"]}, SELECTION, REASON, frozen)


def test_freezing_again_keeps_the_first_time(frozen):
    assert unblinding.freeze(SELECTION, frozen) == json.loads(frozen.read_text())
    changed = dataclasses.replace(SELECTION, chi2_4c_max=25.0)
    with pytest.raises(BlindingError, match="--replace"):
        unblinding.freeze(changed, frozen)
    assert unblinding.freeze(changed, frozen, replace=True)["cuts"]["chi2_4c_max"] == 25.0


def test_the_command_freezes(tmp_path):
    path = tmp_path / "frozen.json"
    done = CliRunner().invoke(freeze.command, ["--output", str(path)])
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == unblinding.line(unblinding.read_frozen(path))
    assert json.loads(path.read_text())["cuts_digest"] == SELECTION.digest()
