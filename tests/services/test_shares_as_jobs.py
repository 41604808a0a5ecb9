"""A run in shares as jobs: on a real SLURM node, and the scripts and commands of the other batch systems."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from run_cases import assert_same, make_fileset

from jpsi_lnv.analysis import results
from jpsi_lnv.processors.cli import lnv


def invoke(*arguments):
    shown = CliRunner().invoke(lnv, [str(a) for a in arguments], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.fixture
def fileset(tmp_path):
    return make_fileset(tmp_path / "s", {"signal": [300, 200], "other": [250]}, selections=["search"])


def wait_for_the_queue():
    deadline = time.monotonic() + 300
    while subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_array_of_slurm_with_one_job_lost_and_done_again(fileset, site, tmp_path):
    invoke("run", fileset, "--executor", "iterative", "--trust-units", "--output", tmp_path / "one")
    shares = tmp_path / "shares"
    words = ["batch", fileset, "--cluster", "slurm", "--site", site, "--parts", "3", "--output", shares]
    shown = invoke(*words, "--", "--chunksize", "100", "--trust-units")
    submit = shown.partition("submit: ")[2].splitlines()[0].split()
    (job,) = [
        w for w in subprocess.run(submit, check=True, capture_output=True, text=True).stdout.split() if w.isdigit()
    ]
    subprocess.run(["scancel", f"{job}_2"], check=True)
    wait_for_the_queue()
    logs = {path.name: path.read_text() for path in (shares / "logs").iterdir()}
    assert "share 1/3 is whole" in logs["1.log"], logs
    directories = [path for path in shares.iterdir() if path.name.isdigit()]
    merge = ["merge", str(fileset), "--output", str(tmp_path / "r")]
    lost = CliRunner().invoke(lnv, [*merge, *map(str, directories)])
    assert "incomplete" in str(lost.exception)
    subprocess.run([*submit[:1], "--array=2", *submit[1:]], check=True)
    wait_for_the_queue()
    invoke(*merge, *(shares / str(k) for k in (3, 1, 2)))
    one, merged = (results.read(tmp_path / name / "accumulator.zip") for name in ("one", "r"))
    assert merged.is_complete
    assert_same(merged, one)


def test_the_submit_file_of_htcondor(fileset, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[htcondor]\nmemory = "4GB"\n[htcondor.job_extra_directives]\naccounting_group = "physics"\n')
    words = ["batch", fileset, "--cluster", "htcondor", "--site", site, "--parts", "20", "--output", tmp_path / "x"]
    assert "submit: condor_submit" in invoke(*words)
    lines = (tmp_path / "x" / "job.sub").read_text().splitlines()
    assert {"arguments = $(Process)", "request_memory = 4GB", "accounting_group = physics", "queue 20"} <= set(lines)


def test_a_job_by_hand_does_the_share_of_its_number(fileset, tmp_path):
    """As HTCondor and hep_sub call it: with the number of the job, from 0."""
    words = ["batch", fileset, "--cluster", "hep_sub", "--parts", "2", "--output", tmp_path / "x"]
    command = shlex.split(invoke(*words, "--", "--trust-units").partition("submit: ")[2].splitlines()[0])
    assert command[:6] == ["hep_sub", str(tmp_path / "x" / "job.sh"), "-argu", "%{ProcId}", "-n", "2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    done = subprocess.run([command[1], "1"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "share 2/2 is whole" in done.stdout
    assert Path(tmp_path / "x" / "2" / "bookkeeping.json").exists()
