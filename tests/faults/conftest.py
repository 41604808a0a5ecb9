"""Fixtures of the tests of faults."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from run_fixtures import reference, small_fileset  # noqa: F401 fixtures
