"""From simulation to the limit through the commands, and the same numbers from every executor and chunk size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.results import read
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.cli import main

pytestmark = pytest.mark.usefixtures("quick_workers")

N_EVENTS = 6000
CHUNK_SIZES = (1000, 2500, 100_000)
SAMPLES = {
    "signal": (processes.SIGNAL, {"kind": "signal"}),
    "majorana_2nu_1200": (
        processes.majorana(1.2, "2nu"),
        {"kind": "majorana", "m_majorana": 1.2, "majorana_mode": "2nu"},
    ),
    "eeee": (processes.BACKGROUNDS["eeee"], {"kind": "background"}),
    "pseudo_data": (
        processes.BACKGROUNDS["kkpipi"],
        {"kind": "data", "is_simulation": True, "n_jpsi": 10087e6, "blind": False},
    ),
}


def lnv(*arguments):
    """Run a command; return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("samples")
    plain = {}
    for name, (channel, metadata) in SAMPLES.items():
        recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=3.0969)
        with NtupleWriter(directory / f"{name}.root", basket_events=1000) as writer:
            writer.extend(production.make_block(recipe, name, 0, N_EVENTS, 5))
        record = DatasetMetadata.from_dict(name, {"sqrt_s": 3.0969, **metadata})
        plain[name] = {"files": {f"{name}.root": "Events"}, "metadata": record.to_dict()}
    (directory / "plain.json").write_text(json.dumps(plain))
    assert lnv("fileset", "complete", directory / "plain.json", "--output", directory / "fileset.json") == 0
    return directory / "fileset.json"


def run(fileset, output, executor, chunksize):
    arguments = ["run", fileset, "--executor", executor, "--chunksize", chunksize, "--output", output]
    workers = () if executor == "iterative" else ("--workers", 2)
    assert lnv(*arguments, *workers) == 0
    return read(Path(output) / "accumulator.zip")


@pytest.fixture(scope="module")
def reference(fileset, tmp_path_factory):
    output = tmp_path_factory.mktemp("reference")
    return output, run(fileset, output, "iterative", CHUNK_SIZES[0])


def assert_equal(one, other):
    assert one.datasets.keys() == other.datasets.keys()
    for name, dataset in one.datasets.items():
        mine, theirs = dataset.selections["search"], other.datasets[name].selections["search"]
        assert (mine.cutflow, mine.status) == (theirs.cutflow, theirs.status)
        assert mine.histograms == theirs.histograms
        for column, values in mine.candidates.items():
            np.testing.assert_array_equal(values, theirs.candidates[column])


@pytest.mark.parametrize("chunksize", CHUNK_SIZES)
@pytest.mark.parametrize("executor", ["iterative", "futures", "dask"])
def test_every_executor_and_chunk_size_gives_equal_results(fileset, reference, tmp_path, executor, chunksize):
    result = run(fileset, tmp_path, executor, chunksize)
    assert result.is_complete
    assert_equal(result, reference[1])


def test_every_event_is_accounted_for(reference):
    for dataset in reference[1].datasets.values():
        assert dataset.n_produced == dataset.n_events == N_EVENTS
        assert dataset.selections["search"].cutflow["all"] == N_EVENTS


def test_candidates_are_sorted_and_counted(reference):
    selection = reference[1].datasets["signal"].selections["search"]
    events = selection.candidates["event"]
    runs = selection.candidates["run"]
    assert len(events) == selection.n_passed > 0
    assert (np.lexsort((events, runs)) == np.arange(len(events))).all()


def test_limits_come_from_the_saved_result(reference):
    output, result = reference
    assert lnv("limits", "--accumulator", output / "accumulator.zip", "--output", output) == 0
    first = json.loads((output / "limits.json").read_text())["limits"][0]
    assert first["m_majorana"] is None
    assert first["method"] == "rolke"
    assert first["confidence_level"] == pytest.approx(0.9)
    passed = result.datasets["signal"].selections["search"].n_passed
    assert first["efficiency"] == pytest.approx(passed / N_EVENTS)
    assert first["branching_fraction_ul"] == pytest.approx(first["n_up"] / 10087e6)


def test_covariances_that_are_none_stop_the_run_and_leave_no_result(tmp_path, capsys):
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)
    columns = production.make_block(recipe, "signal", 0, N_EVENTS, 5)
    # The upper triangle taken for the lower one, as a reader may do: element i of the one is element order[i].
    place = {(row, column): i for i, (row, column) in enumerate(zip(*np.tril_indices(5), strict=True))}
    order = [place[column, row] for row, column in zip(*np.triu_indices(5), strict=True)]
    misread = {f"Track_cov{i}": columns[f"Track_cov{j}"] for i, j in enumerate(order)}
    columns |= misread
    with NtupleWriter(tmp_path / "signal.root") as writer:
        writer.extend(columns)
    metadata = DatasetMetadata.from_dict("signal", {"kind": "signal", "sqrt_s": 3.0969}).to_dict()
    plain = {"signal": {"files": {"signal.root": "Events"}, "metadata": metadata}}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    assert lnv("fileset", "complete", tmp_path / "plain.json", "--output", tmp_path / "fileset.json") == 0
    arguments = ["run", tmp_path / "fileset.json", "--executor", "iterative", "--output", tmp_path / "results"]
    assert lnv(*arguments) == 1
    assert "typical correlation" in capsys.readouterr().err
    assert lnv(*arguments, "--trust-units") == 1
    assert "not positive definite" in capsys.readouterr().err
    assert not (tmp_path / "results" / "accumulator.zip").exists()
