"""Large `.dst` files, which ROOT makes of the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

N_MADE = 3_000


@pytest.fixture(scope="session")
def made_files(boss_file, tmp_path_factory):
    """Name -> file of `N_MADE` events: like data, like simulation, and with baskets that end at no common event."""
    if "ROOT_PYTHON" not in os.environ:
        pytest.skip("make root (or set ROOT_PYTHON to a Python with ROOT)")
    sys.path.insert(0, str(Path(__file__).parents[2]))
    try:
        from benchmarks import dst_files
    finally:
        sys.path.pop(0)
    directory = tmp_path_factory.mktemp("made")
    kinds = {"data": {"is_data": True}, "simulation": {}, "no flush": {"flush": 0}}
    files = {name: directory / f"{name.replace(' ', '_')}.dst" for name in kinds}
    calls = [dst_files.making(boss_file, files[n], N_MADE, seed=i, **kind) for i, (n, kind) in enumerate(kinds.items())]
    assert dst_files.root_calls(boss_file, calls) == [N_MADE] * len(kinds)
    return files
