"""Every command of stage 2 works on, or refuses in one line, what a result may be: empty, blind, half, of one kind."""

import dataclasses
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from jpsi_lnv.analysis import results
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
    search = results.SelectionResult(dict(zip(NAMES, counts, strict=True)), book(), {}, columns)
    record = DatasetMetadata.from_dict("d", {"kind": "signal", "sqrt_s": 3.0969, "is_simulation": True} | metadata)
    return results.DatasetResult(record, n_events, n_events, {"search": search})


DATA = {"kind": "data", "n_jpsi": 1e9, "blind": False}
UNCOUNTED = DATA | {"n_jpsi": None}
MAJORANA = {"kind": "majorana", "m_majorana": 1.2, "majorana_mode": "2nu"}
COMPLETE = {"complete": True, "problems": [], "datasets": {}, "totals": {}, "faults": [], "failed_chunks": [],
            "skipped_files": []}  # fmt: skip
RESULTS = {
    "no dataset": ({}, COMPLETE),
    "no event": ({"signal": dataset(0), "data": dataset(0, **DATA)}, COMPLETE),
    "no candidate": ({"signal": dataset(1000), "data": dataset(1000, **DATA)}, COMPLETE),
    "data only": ({"data": dataset(1000, 2, **DATA)}, COMPLETE),
    "signal only": ({"signal": dataset(1000, 150)}, COMPLETE),
    "blind data": ({"signal": dataset(1000, 150), "data": dataset(1000, **(DATA | {"blind": True}))}, COMPLETE),
    "data without n_jpsi": ({"signal": dataset(1000, 150), "data": dataset(1000, 1, **UNCOUNTED)}, COMPLETE),
    "a mass without an event": ({"signal": dataset(1000, 150), "m": dataset(0, **MAJORANA)}, COMPLETE),
    "incomplete": ({"signal": dataset(1000, 150), "data": dataset(1000, 1, **DATA)},
                   COMPLETE | {"complete": False, "problems": ["a hole"]}),
}  # fmt: skip
COMMANDS = {
    "limits": ["limits"],
    "all limits": ["limits", "--method", "all"],
    "checks": ["limits", "--checks"],
    "systematics": ["systematics"],
    "background": ["background"],
    "optimize": ["optimize"],
    "topology": ["topology"],
    "report": ["report"],
    "plot": ["plot", "m_kkee"],
    "hepdata": ["hepdata"],
    "paper": ["paper"],
}


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
    outcome = CliRunner().invoke(lnv, [*COMMANDS[command], "--output", str(output)])
    if outcome.exception is None:
        return
    if isinstance(outcome.exception, SystemExit):
        assert outcome.output.splitlines()[-1].startswith("Error: "), outcome.output
        return
    assert isinstance(outcome.exception, LnvError), repr(outcome.exception)
    assert "\n" not in str(outcome.exception)
