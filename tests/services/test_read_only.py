"""An installation that cannot be written, a user without a home: everything runs, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_cases import assert_same

import jpsi_lnv
from jpsi_lnv.analysis import results

SUPPORT = Path(__file__).parents[1] / "support"
COMMAND = """
from run_cases import counting
from jpsi_lnv.analysis.selection import registry
registry.SELECTIONS["count"] = counting()
from jpsi_lnv.processors.cli import main
if __name__ == "__main__":
    main()
"""
# No home can be made there, by root neither.
HOME = "/proc/none"


@pytest.fixture
def read_only_package(tmp_path):
    """The package in a file system that is mounted read-only; its parent, for PYTHONPATH."""
    source, place = tmp_path / "source", tmp_path / "package"
    shutil.copytree(Path(jpsi_lnv.__file__).parent, source / "jpsi_lnv", ignore=shutil.ignore_patterns("__pycache__"))
    place.mkdir()
    mounts = [["mount", "--bind", source, place], ["mount", "-o", "remount,bind,ro", place]]
    if os.getuid() != 0 or subprocess.run(mounts[0], check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount: run as root, as .ci/run does")
    try:
        subprocess.run(mounts[1], check=True)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def homeless(package, temporary):
    hidden = ("NUMBA_", "XDG_", "JPSI_LNV_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    temporary.mkdir()
    path = os.pathsep.join([str(package), str(SUPPORT)])
    return environment | {"PYTHONPATH": path, "HOME": HOME, "TMPDIR": str(temporary)}


@pytest.mark.parametrize("executor", ["iterative", "dask"])
def test_a_run_without_home_from_a_read_only_package(small_fileset, tmp_path, reference, read_only_package, executor):
    script, output = tmp_path / "script.py", tmp_path / "r"
    script.write_text(COMMAND)
    call = ["run", small_fileset, "--executor", executor, "--output", output, "--trust-units"]
    call += ["--workers", "1"] if executor == "dask" else []
    environment = homeless(read_only_package, tmp_path / "tmp")
    done = subprocess.run([sys.executable, script, *call], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same(results.read(output / "accumulator.zip"), reference)
    assert list((tmp_path / "tmp").glob("jpsi_lnv*")) == []
    assert not Path(HOME).exists()
    # Without a cache of the user's own, verified files are remembered beside the results.
    assert (output / ".verified.json").exists()
