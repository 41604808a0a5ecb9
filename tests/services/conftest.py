"""Fixtures of the tests on real services."""

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import slurm
from run_fixtures import reference, small_fileset  # noqa: F401 fixtures


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
