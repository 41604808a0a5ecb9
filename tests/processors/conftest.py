"""Fixtures of the tests of runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from run_cases import make_fileset


@pytest.fixture(scope="session")
def small_fileset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed fileset of two datasets in five files, one of them empty."""
    return make_fileset(tmp_path_factory.mktemp("small"), {"signal": [350, 0, 420], "other": [500, 230]})
