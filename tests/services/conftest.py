"""Fixtures of the tests on real services."""

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import slurm
from run_cases import make_fileset, run

from processors.executors import IterativeExecutor


@pytest.fixture(scope="session")
def small_fileset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed fileset of two datasets in five files, one of them empty."""
    return make_fileset(tmp_path_factory.mktemp("small"), {"signal": [350, 0, 420], "other": [500, 230]})


@pytest.fixture(scope="session")
def reference(small_fileset, tmp_path_factory):
    """The undisturbed result."""
    return run(small_fileset, tmp_path_factory.mktemp("reference"), IterativeExecutor)[0]


@pytest.fixture(scope="module")
def node():
    if absent := slurm.missing():
        pytest.skip(f"{', '.join(absent)} not installed: make ci-packages")
    # The socket's path must stay short.
    with tempfile.TemporaryDirectory(prefix="slurm") as directory, slurm.slurm_node(Path(directory)) as configuration:
        yield configuration


@pytest.fixture
def site(node, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(
        f"""
[slurm]
queue = "debug"
cores = 1
processes = 1
memory = "2GB"
walltime = "00:10:00"
interface = "lo"
python = "{sys.executable}"
local_directory = "{tmp_path}"
log_directory = "{tmp_path}/logs"
job_script_prologue = ["export SLURM_CONF={node}"]
maximum_jobs = 2
"""
    )
    return path
