"""The processor is one of coffea's: its own executors run it, and find what a run of ours finds."""

from __future__ import annotations

import coffea.processor
import pytest
from coffea.util import coffea_console
from run_cases import make_fileset

from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books.chunks import work_items
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor, process_chunks

SELECTIONS = ["search", "control_ee", "control_kkpi0", "control_ppbarpipi", "variations"]


@pytest.fixture
def fileset(tmp_path):
    return filesets.load(make_fileset(tmp_path, {"one": [300, 120], "two": [200]}, selections=SELECTIONS))


@pytest.mark.parametrize("executor", [coffea.processor.IterativeExecutor, coffea.processor.FuturesExecutor])
def test_coffeas_own_executors_run_it(fileset, executor, monkeypatch):
    monkeypatch.setattr(coffea_console, "quiet", True)
    plain = {
        name: {"files": {file.path: TREE for file in dataset.files}, "metadata": dataset.metadata.to_dict()}
        for name, dataset in fileset.items()
    }
    runner = coffea.processor.Runner(executor(), schema=BesSchema, chunksize=150, metadata_cache={})
    found = runner(plain, SearchProcessor())
    ours = process_chunks(work_items(fileset, 100), SearchProcessor(), IterativeExecutor())["out"]
    assert found.keys() == ours.keys()
    for name, of_dataset in found.items():
        assert of_dataset["ledger"] == ours[name]["ledger"]
        assert set(SELECTIONS) - {"variations"} <= of_dataset.keys() == ours[name].keys()
        for selection in of_dataset.keys() - {"ledger"}:
            assert of_dataset[selection]["cutflow"] == ours[name][selection]["cutflow"]
            assert of_dataset[selection].get("histograms") == ours[name][selection].get("histograms")
