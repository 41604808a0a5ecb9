"""The notebooks run from top to bottom on a small sample set, and hold no output."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from click.testing import CliRunner
from nbclient import NotebookClient

from jpsi_lnv.processors.cli import lnv

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))
DATASETS = "signal,majorana_2nu_*,kkpipi,pseudo_data"


def invoke(*arguments):
    outcome = CliRunner().invoke(lnv, [str(a) for a in arguments])
    assert outcome.exit_code == 0, outcome.output


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The `ci` sample set, its completed fileset and a result."""
    directory = tmp_path_factory.mktemp("notebooks")
    invoke("simulate", "--set", "ci", "--output", directory, "--workers", 1)
    fileset = directory / "fileset.json"
    invoke("fileset", "complete", directory / "ci" / "fileset.json", "--output", fileset)
    invoke("run", fileset, "--datasets", DATASETS, "--executor", "iterative", "--output", directory / "results")
    invoke("background", "--output", directory / "results")
    return directory


@pytest.mark.fast
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_the_pair_agrees_and_stores_no_output(script):
    paired = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    written = jupytext.read(script)
    assert [(c.cell_type, c.source) for c in paired.cells] == [(c.cell_type, c.source) for c in written.cells], (
        "renew it: jupytext --to ipynb notebooks/*.py"
    )
    assert not any(c.get("outputs") or c.get("execution_count") for c in paired.cells)


@pytest.mark.fast
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_cells_are_short(script):
    cells = jupytext.read(script).cells
    assert max(len(c.source.splitlines()) for c in cells if c.cell_type == "code") <= 25


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_it_runs(script, samples, monkeypatch, tmp_path):
    monkeypatch.setenv("LNV_FILESET", str(samples / "fileset.json"))
    monkeypatch.setenv("LNV_RESULTS", str(samples / "results" / "accumulator.zip"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = jupytext.read(script)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute(
        env=dict(os.environ)
    )
    shown = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in shown if o.output_type == "error"]
    said = "".join(o.get("text", "") for o in shown)
    assert not re.search("equal .*: False|complete: False", said)
    drawn = [o for o in shown if "image/png" in o.get("data", {})]
    assert drawn or "matplotlib" not in script.read_text()


def test_the_example_of_the_readme_runs(samples, tmp_path):
    (tmp_path / "samples").symlink_to(samples)
    example = re.search(r"```python\n(.*?)```", (NOTEBOOKS.parent / "README.md").read_text(), re.DOTALL)[1]
    assert len(example.splitlines()) <= 10
    environment = os.environ | {"MPLBACKEND": "agg"}
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    limits = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    assert set(limits) == {"rolke", "recommended", "feldman-cousins", "bayesian"}
    assert all(value > 0 for value in limits.values())
