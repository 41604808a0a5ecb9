"""Selections of a user's own: as the page shows them, on every executor, and closed to what is blind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from blind_worlds import RECORDED_METADATA, make_worlds
from click.testing import CliRunner
from coffea.util import coffea_console

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.processors import interactive, plugin
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.plugin import PluginError

PAGE = Path(__file__).parents[2] / "docs" / "howto_plugin.md"
PSEUDO_DATA = {"kind": "data", "is_simulation": True, "blind": False}
EVERYTHING = """
from jpsi_lnv import Step
def every(events):
    return events.n_good >= 0
def counted(chunk):
    return {"cutflow": chunk.cut_flow((Step("every", "every event", every),))}
SELECTIONS = {"counted": counted}
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(coffea_console, "quiet", True)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return make_worlds(tmp_path_factory.mktemp("worlds"), (7, 23), has_truth=False)


def fileset_of(file, directory, **metadata):
    record = DatasetMetadata.from_dict("events", {"sqrt_s": 3.0969, "selections": ["search"]} | metadata)
    path = directory / "fileset.json"
    path.write_text(json.dumps(filesets.to_raw({"events": filesets.Dataset("events", record, (file,))}, directory)))
    return path


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "fast_kaons.py"
    path.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1])
    return path


def own(file, directory, code, **metadata):
    path = directory / "own.py"
    path.write_text(code)
    merged = interactive.run(fileset_of(file, directory, **metadata), plugin=path, chunksize=500)
    return merged.datasets["events"].selections["counted"].cutflow


@pytest.mark.parametrize("executor", ["iterative", "futures", "dask"])
def test_the_example_runs_on_every_executor_and_is_in_the_report(worlds, example, tmp_path, executor):
    fileset = fileset_of(worlds[0].with_hidden, tmp_path, **PSEUDO_DATA)
    output = tmp_path / "results"
    command = ["run", fileset, "--plugin", example, "--executor", executor, "--chunksize", "700", "--output", output]
    done = CliRunner().invoke(lnv, [str(word) for word in command], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    merged = results.read(output / derived.ACCUMULATOR)
    found = merged.datasets["events"].selections["fast_kaons"]
    assert found.cutflow["all"] == merged.datasets["events"].n_events > found.cutflow["fast_kaon"] > 0
    assert found.histograms["p_kaon"].sum() > 0
    assert merged.provenance["plugin"] == {"file": example.name, "digest": plugin.load(example).digest}
    if executor == "iterative":
        done = CliRunner().invoke(lnv, ["report", "--output", str(output)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert (output / "figures" / "fast_kaons_p_kaon.png").exists()
        assert (
            "a kaon above" in (output / "report.html").read_text()
            or "fast kaon" in (output / "report.html").read_text()
        )


def test_nothing_of_a_plugin_tells_how_many_events_are_hidden(worlds, tmp_path):
    found = []
    for i, file in enumerate(f for world in worlds for f in (world.with_hidden, world.without)):
        directory = tmp_path / str(i)
        directory.mkdir()
        found.append(own(file, directory, EVERYTHING, **RECORDED_METADATA))
    assert all(flow == found[0] for flow in found)
    assert found[0]["every"] == found[0]["all"] > 0


def test_simulation_is_seen_whole(worlds, tmp_path):
    flow = own(worlds[1].with_hidden, tmp_path, EVERYTHING, **PSEUDO_DATA)
    assert flow["all"] == worlds[1].with_hidden.num_entries


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def broken(:", "cannot be used as a plugin .SyntaxError"),
        ("1 / 0", "cannot be used as a plugin .ZeroDivisionError"),
        ("", "got NoneType as SELECTIONS; wanted SELECTIONS, a dict of names and functions"),
        ("SELECTIONS = {'mine': 3}", r"got SELECTIONS\['mine'\] = 3"),
        ("SELECTIONS = {'search': print}", "the name 'search' is taken"),
    ],
)
def test_what_is_no_plugin_is_refused(tmp_path, code, message):
    path = tmp_path / "own.py"
    path.write_text(code)
    with pytest.raises(PluginError, match=message):
        plugin.load(path)


@pytest.mark.parametrize(
    "returned", ["3", "{}", "{'cutflow': {}, 'mass': 1}", "{'cutflow': {}, 'histograms': {'h': 1}}"]
)
def test_what_a_plugin_may_not_return_is_said(worlds, tmp_path, returned):
    code = f"def counted(chunk):\n    return {returned}\nSELECTIONS = {{'counted': counted}}\n"
    path = tmp_path / "own.py"
    path.write_text(code)
    fileset = fileset_of(worlds[0].with_hidden, tmp_path, **PSEUDO_DATA)
    command = ["run", fileset, "--plugin", path, "--executor", "iterative", "--output", tmp_path / "results"]
    done = CliRunner().invoke(lnv, [str(word) for word in command])
    assert "selection 'counted' of the plugin" in str(done.exception)
