"""The archive to take along, as an ordinary user of a farm has it: read-only, without network and home."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import pytest
from isolated import missing, open_to_all, run_isolated

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.provenance import source_digest

PROJECT = Path(__file__).parents[2]
MAKE = PROJECT / "bundle" / "make.py"
SIZE_MAX = 500e6
# The CPU time that a process spends on the kernels of its first chunk.
KERNELS = """
import sys, time
from pathlib import Path
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.run import RunOptions, process
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor
from numba.core.dispatcher import Dispatcher

spent, depth, compile = 0.0, 0, Dispatcher.compile

def timed(self, signature):
    global spent, depth
    depth, started = depth + 1, time.process_time()
    try:
        return compile(self, signature)
    finally:
        depth -= 1
        spent += 0 if depth else time.process_time() - started

Dispatcher.compile = timed
options = RunOptions(output=Path(sys.argv[2]), max_files=1, max_chunks=1, verification="none")
fileset = filesets.select(filesets.load(sys.argv[1]), "signal")
process(fileset, SearchProcessor(), options, lambda stage, total, sink: IterativeExecutor(sink=sink))
print("kernels", spent)
"""


def make(*arguments):
    if reason := missing():
        pytest.skip(reason)
    subprocess.run([sys.executable, str(MAKE), *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def place():
    """A directory that every user can reach; in memory, for 30 000 files are slow to write and to remove elsewhere."""
    with tempfile.TemporaryDirectory(prefix="bundle", dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def bundle(place):
    """A tree that was made somewhere else."""
    make("--tree", place / "made")
    return (place / "made").rename(place / "moved")


def inside(bundle, work, *command, **environment):
    done = run_isolated(bundle, bundle / "bin" / "python", work, *command, **environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def work(bundle):
    """A directory with a completed fileset of the small set, which the bundle has made."""
    directory = open_to_all(bundle.parent / "work")
    inside(bundle, directory, bundle / "bin" / "lnv", "simulate", "--set", "ci", "--executor", "iterative")
    inside(
        bundle,
        directory,
        bundle / "bin" / "lnv",
        "fileset",
        "complete",
        "samples/ci/fileset.json",
        "--output",
        "s.json",
    )
    return directory


def test_a_run_in_a_bundle_says_which_one_it_was(bundle, work):
    done = inside(bundle, work, bundle / "bin" / "lnv", "run", "s.json", "--workers", "1")
    origin = results.read(work / "results" / "accumulator.zip").provenance
    assert origin["bundle"] == json.loads((bundle / "bundle.json").read_text())["digest"]
    assert origin["source_digest"] == source_digest()
    assert done.stderr == ""
    assert list(work.glob("jpsi_lnv*")) == []


def test_with_its_kernels_the_first_chunk_costs_a_twentieth_of_a_compilation(bundle, work):
    (work / "kernels.py").write_text(KERNELS)
    call = [bundle / "bin" / "python", "kernels.py", "s.json"]
    shipped = inside(bundle, work, *call, "shipped")
    fresh = inside(bundle, work, *call, "fresh", JPSI_LNV_KERNELS="/nowhere")
    ours, theirs = (float(done.stdout.partition("kernels ")[2]) for done in (shipped, fresh))
    assert ours < theirs / 20


@pytest.mark.soak
def test_the_archive_is_small_and_runs_the_whole_analysis(place):
    make("--output", place / "dist")
    (archive,) = (place / "dist").iterdir()
    assert archive.stat().st_size <= SIZE_MAX
    with tarfile.open(archive) as packed:
        packed.extractall(place / "unpacked", filter="fully_trusted")
    archive.unlink()
    bundle, directory = place / "unpacked" / "jpsi-lnv", open_to_all(place / "whole")
    done = inside(bundle, directory, "make", "-f", bundle / "Makefile", "run")
    assert "wrote results/report.html" in done.stdout
    shutil.rmtree(bundle)


@pytest.mark.soak
def test_an_ordinary_user_runs_the_tests_of_faults_from_a_read_only_checkout(bundle):
    """With the interpreter of the bundle, since this one may lie where only root can read."""
    directory, packages = open_to_all(bundle.parent / "ordinary"), sysconfig.get_path("purelib")
    done = run_isolated(
        PROJECT, bundle / "bin" / "python", directory, bundle / "bin" / f"python{sysconfig.get_python_version()}",
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", PROJECT, "-c", PROJECT / "pyproject.toml",
        PROJECT / "tests" / "faults", network=True, PYTHONPATH=f"{PROJECT / 'src'}:{packages}",
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
