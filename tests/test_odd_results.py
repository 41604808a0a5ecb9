"""Every command of stage 2 works on, or refuses in one line, what a result may be: empty, blind, half, of one kind."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.selection.search import book
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.processors.cli import lnv

NAMES = ["all", *(step.name for step in SECTION_III)]
CANDIDATES = ("run", "event", "m_kkee", "m_k1e1", "m_k2e2", "m_k1e2", "m_k2e1", "chi2_kkee")


def dataset(n_events, n_passed=0, **metadata):
    counts = np.linspace(n_events, n_passed, len(NAMES)).astype(int).tolist()
    columns = {name: np.full(n_passed, 3.09 if name == "m_kkee" else 1.3) for name in CANDIDATES}
    search = results.SelectionResult(dict(zip(NAMES, counts, strict=True)), book(KKEE), {}, columns)
    record = DatasetMetadata.from_dict("d", {"kind": "signal", "sqrt_s": 3.0969, "is_simulation": True} | metadata)
    return results.DatasetResult(record, n_events, n_events, {"search": search})


DATA = {"kind": "data", "n_jpsi": 1e9, "blind": False}
UNCOUNTED = DATA | {"n_jpsi": None}
OFF = {"kind": "continuum", "sqrt_s": 3.08, "luminosity": 100.0, "blind": False}
MAJORANA = {"kind": "majorana", "m_majorana": 1.2, "majorana_mode": "2nu"}
COMPLETE = {"complete": True, "problems": [], "datasets": {}, "faults": [], "failed_chunks": [], "skipped_files": []}
RESULTS = {
    "no dataset": ({}, COMPLETE),
    "no event": ({"signal": dataset(0), "data": dataset(0, **DATA)}, COMPLETE),
    "no candidate": ({"signal": dataset(1000), "data": dataset(1000, **DATA)}, COMPLETE),
    "data only": ({"data": dataset(1000, 2, **DATA)}, COMPLETE),
    "signal only": ({"signal": dataset(1000, 150)}, COMPLETE),
    "blind data": ({"signal": dataset(1000, 150), "data": dataset(1000, **(DATA | {"blind": True}))}, COMPLETE),
    "data without n_jpsi": ({"signal": dataset(1000, 150), "data": dataset(1000, 1, **UNCOUNTED)}, COMPLETE),
    "control only": ({"control": dataset(1000, 0, kind="control")}, COMPLETE),
    "side bands only": ({"off": dataset(100, 1, **OFF), "inclusive": dataset(100, 1, kind="inclusive")}, COMPLETE),
    "a mass without an event": ({"signal": dataset(1000, 150), "m": dataset(0, **MAJORANA)}, COMPLETE),
    "incomplete": ({"signal": dataset(1000, 150), "data": dataset(1000, 1, **DATA)},
                   COMPLETE | {"complete": False, "problems": ["a hole"]}),
}  # fmt: skip
COMMANDS = {
    "limits": ["limits"],
    "all limits": ["limits", "--method", "all"],
    "checks": ["limits", "--checks"],
    "expected limits": ["limits", "--expected"],
    "limits of a number of J/psi": ["limits", "--n-jpsi", "2009+2012"],
    "limits of a known background": ["limits", "--background", "0.5", "--background-sigma", "0.2"],
    "closure": ["limits", "--closure"],
    "systematics": ["systematics"],
    "background": ["background"],
    "optimize": ["optimize"],
    "topology": ["topology"],
    "report": ["report"],
    "plot": ["plot", "m_kkee"],
    "hepdata": ["hepdata"],
    "paper": ["paper"],
}
# What may follow each other: the report then reads what the others wrote.
CHAIN = (["systematics"], ["background", "--n-jpsi", "1e9"], ["limits", "--n-jpsi", "1e9"], ["hepdata"], ["report"])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("odd")
    provenance = {"cuts": dataclasses.asdict(SELECTION), "cuts_digest": SELECTION.digest(), "fileset_digest": "0"}
    for name, (datasets, books) in RESULTS.items():
        results.write(directory / name / ACCUMULATOR, results.Results(datasets, provenance, books))
    return directory


@pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_or_refuses_in_one_line(stored, tmp_path, command, result):
    output = tmp_path / "r"
    shutil.copytree(stored / result, output)
    works_or_refuses([*COMMANDS[command], "--output", str(output)])


@pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")
@pytest.mark.parametrize("result", RESULTS)
def test_commands_after_each_other_work_or_refuse_in_one_line(stored, tmp_path, result):
    output = tmp_path / "r"
    shutil.copytree(stored / result, output)
    for command in CHAIN:
        works_or_refuses([*command, "--output", str(output)])


def works_or_refuses(arguments):
    outcome = CliRunner().invoke(lnv, arguments)
    if outcome.exception is None:
        return
    if isinstance(outcome.exception, SystemExit):
        assert outcome.output.splitlines()[-1].startswith("Error: "), outcome.output
        return
    assert isinstance(outcome.exception, LnvError), repr(outcome.exception)
    assert "\n" not in str(outcome.exception)


def stored_limit(stored, tmp_path, result, *arguments):
    """Return how `lnv limits` ends, and the number of J/psi of its first limit."""
    output = tmp_path / "r"
    shutil.copytree(stored / result, output)
    outcome = CliRunner().invoke(lnv, ["limits", "--output", str(output), *arguments])
    limits = output / "limits.json"
    return outcome, json.loads(limits.read_text())["limits"][0] if limits.exists() else {}


@pytest.mark.parametrize("result", ["signal only", "data without n_jpsi"])
def test_a_limit_without_a_number_of_jpsi_is_refused_and_takes_the_one_given(stored, tmp_path, result):
    outcome, limit = stored_limit(stored, tmp_path, result)
    assert "--n-jpsi" in str(outcome.exception)
    assert limit == {}
    outcome, limit = stored_limit(stored, tmp_path / "given", result, "--n-jpsi", "2009+2012")
    assert outcome.exception is None
    assert limit["n_jpsi"] == pytest.approx(1312.5e6)
    assert limit["provenance"]["n_jpsi"] == "command line"


def test_another_number_of_jpsi_than_that_of_the_counted_data_is_refused(stored, tmp_path):
    outcome, limit = stored_limit(stored, tmp_path, "no candidate", "--n-jpsi", "1e10")
    assert "got --n-jpsi 1e+10; the metadata of the data, whose 0 events are counted, say 1e+09" in str(
        outcome.exception
    )
    assert limit == {}
