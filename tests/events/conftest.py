"""Large `.dst` files, which ROOT makes of the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

N_MADE = 3_000
# Forms in which other programs copy a file, by ROOT's compression settings (algorithm * 100 + level).
FORMS = {"zlib": 106, "lzma": 204, "lz4": 404, "zstd": 505, "none": 0, "cycles": 101, "directory": 101, "empty": 101}


@pytest.fixture(scope="session")
def made_by_root(boss_file, tmp_path_factory):
    """Name -> file: of `N_MADE` events, and copies of the real one in every form."""
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
    seeded = enumerate(kinds.items(), 1)
    calls = [dst_files.making(boss_file, files[n], N_MADE, seed=seed, **kind) for seed, (n, kind) in seeded]
    for form, compression in FORMS.items():
        files[form] = directory / f"{form}.dst"
        calls.append(["copy_file", str(boss_file.resolve()), str(files[form]), form, compression])
    assert dst_files.root_calls(boss_file, calls) == [N_MADE] * len(kinds) + [10] * (len(FORMS) - 1) + [0]
    return files


@pytest.fixture(scope="session")
def made_files(made_by_root):
    """Name -> file of `N_MADE` events: like data, like simulation, and with baskets that end at no common event."""
    return {name: file for name, file in made_by_root.items() if name not in FORMS}
