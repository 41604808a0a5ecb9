"""Fixtures that the tests of faults and of services share: a small fileset, and what an undisturbed run makes of it."""

from pathlib import Path

import pytest
from run_cases import make_fileset, run

from jpsi_lnv.processors.work.executors import IterativeExecutor


@pytest.fixture(scope="session")
def small_fileset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed fileset of two datasets in five files, one of them empty."""
    return make_fileset(tmp_path_factory.mktemp("small"), {"signal": [350, 0, 420], "other": [500, 230]})


@pytest.fixture(scope="session")
def reference(small_fileset, tmp_path_factory):
    """The undisturbed result."""
    return run(small_fileset, tmp_path_factory.mktemp("reference"), IterativeExecutor)[0]
