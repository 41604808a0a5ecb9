"""The processor is one of coffea's: its own executors run it, and find what a run of ours finds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import coffea.processor
import pytest
from coffea.util import coffea_console
from run_cases import make_fileset

import jpsi_lnv
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books.chunks import work_items
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor, process_chunks

SELECTIONS = ["search", "control_ee", "control_kkpi0", "control_ppbarpipi", "variations"]


PAGE = Path(__file__).parents[2] / "docs" / "howto_coffea.md"


@pytest.fixture
def path(tmp_path):
    return make_fileset(tmp_path, {"one": [300, 120], "two": [200]}, selections=SELECTIONS)


@pytest.fixture
def fileset(path):
    return filesets.load(path)


@pytest.mark.parametrize("executor", [coffea.processor.IterativeExecutor, coffea.processor.FuturesExecutor])
def test_coffeas_own_executors_run_it(path, fileset, executor, monkeypatch):
    monkeypatch.setattr(coffea_console, "quiet", True)
    plain = jpsi_lnv.read_fileset(path)
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


def test_the_page_for_coffea_users_runs_on_all_its_executors(tmp_path):
    (tmp_path / "samples").mkdir()
    make_fileset(tmp_path / "samples", {"signal": [300, 120], "other": [50]}, selections=["search"])
    script = tmp_path / "page.py"
    script.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1])
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("True {'all': 420, 'good_tracks':")
