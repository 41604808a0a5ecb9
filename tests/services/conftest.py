"""Fixtures of the tests on real services."""

import os
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


SITE = """
[slurm]
queue = "debug"
walltime = "00:10:00"
{common}
[hep_sub]
group = "physics"
walltime = "short"
{common}
"""
COMMON = """
cores = 1
processes = 1
memory = "2GB"
interface = "lo"
python = "{python}"
local_directory = "{directory}"
log_directory = "{directory}/logs"
job_script_prologue = ["export SLURM_CONF={node}"]
maximum_jobs = 2
"""


@pytest.fixture
def site(node, tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(common=COMMON.format(python=sys.executable, directory=tmp_path, node=node)))
    return path


@pytest.fixture
def hep_job(site, monkeypatch):
    """The site, and commands on PATH that stand in for HepJob's and submit to the real node."""
    monkeypatch.setenv("PATH", str(Path(slurm.__file__).parent / "hep_job"), prepend=os.pathsep)
    return site
