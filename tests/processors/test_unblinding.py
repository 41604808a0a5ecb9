"""The box opens only with a reason, and only for the cuts that were frozen."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.books.fileset import Dataset
from jpsi_lnv.processors.books.unblinding import BlindingError
from jpsi_lnv.processors.commands import freeze

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


def test_nothing_frozen_is_refused(tmp_path):
    with pytest.raises(BlindingError, match="lnv freeze"):
        unblinding.unblind(FILESET, SELECTION, REASON, tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cuts": 3, "cuts_digest": "x"}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "frozen.json"
    path.write_text(text)
    with pytest.raises(BlindingError, match=r"(is not JSON|wanted an object|not a file of `lnv freeze`)"):
        unblinding.unblind(FILESET, SELECTION, REASON, path)


def test_a_changed_digest_is_refused(frozen):
    record = json.loads(frozen.read_text()) | {"cuts_digest": "0"}
    frozen.write_text(json.dumps(record))
    with pytest.raises(BlindingError, match="another digest"):
        unblinding.unblind(FILESET, SELECTION, REASON, frozen)


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
    done = CliRunner().invoke(freeze.command, ["--file", str(path)])
    assert done.exit_code == 0
    assert SELECTION.digest() in done.output
    assert json.loads(path.read_text())["cuts_digest"] == SELECTION.digest()
