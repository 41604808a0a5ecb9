"""The whole search on the `ci` sample set: every executor and every cluster gives one accumulator."""

import pytest
from click.testing import CliRunner
from run_cases import assert_same

from jpsi_lnv.analysis import results
from jpsi_lnv.processors.cli import lnv

pytestmark = pytest.mark.usefixtures("quick_workers")

# Not a divisor of anything, so that every file ends in a chunk of another size.
CHUNKSIZE = 3_000


def invoke(*arguments):
    result = CliRunner().invoke(lnv, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("samples")
    invoke("simulate", "--set", "ci", "--output", directory, "--executor", "iterative")
    completed = directory / "ci" / "completed.json"
    invoke("fileset", "complete", directory / "ci" / "fileset.json", "--output", completed)
    return completed


@pytest.fixture(scope="module")
def undisturbed(samples, tmp_path_factory):
    output = tmp_path_factory.mktemp("iterative")
    invoke("run", samples, "--executor", "iterative", "--output", output)
    return results.read(output / "accumulator.zip")


def run_with(samples, output, *arguments):
    shown = invoke("run", samples, "--output", output, "--chunksize", CHUNKSIZE, "--verify", "size", *arguments)
    result = results.read(output / "accumulator.zip")
    assert result.is_complete
    return result, shown


@pytest.mark.parametrize(
    "arguments", [("--executor", "futures"), ("--executor", "dask"), ("--executor", "dask", "--no-tls")]
)
def test_local_executors_agree(samples, undisturbed, tmp_path, arguments):
    result, shown = run_with(samples, tmp_path, *arguments)
    assert_same(result, undisturbed)
    assert ("dask dashboard: http" in shown) == ("dask" in arguments)


def test_slurm_agrees(samples, undisturbed, tmp_path, site):
    result, _ = run_with(samples, tmp_path, "--executor", "dask", "--cluster", "slurm", "--site", site)
    assert_same(result, undisturbed)
    assert len(result.bookkeeping["totals"]["peak_memory_bytes"]) == 2


def test_doctor_runs_a_task_in_a_job(site, tmp_path):
    shown = invoke("doctor", "--cluster", "slurm", "--site", site, "--workers", 1, "--output", tmp_path)
    assert "#SBATCH -p debug" in shown
    assert "all is well" in shown
    assert (tmp_path / "doctor.json").exists()


def test_doctor_shows_the_log_of_a_job_that_fails(site, tmp_path):
    text = site.read_text()
    site.write_text(
        text.replace("job_script_prologue = [", 'job_script_prologue = ["echo my node is broken; exit 3", ')
    )
    result = CliRunner().invoke(
        lnv,
        ["doctor", "--cluster", "slurm", "--site", str(site), "--no-workers-timeout", "6", "--output", str(tmp_path)],
    )
    assert result.exit_code != 0
    assert "my node is broken" in result.output
    assert "no worker came within 6 s" in str(result.exception)
