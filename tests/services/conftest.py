"""Fixtures of the tests on real services."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import slurm
from run_cases import write_site
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
    return write_site(tmp_path / "site.toml", node)


@pytest.fixture
def hep_job(site, monkeypatch):
    """The site, and commands on PATH that stand in for HepJob's and submit to the real node."""
    monkeypatch.setenv("PATH", str(Path(slurm.__file__).parent / "hep_job"), prepend=os.pathsep)
    return site
