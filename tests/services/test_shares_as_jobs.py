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


def command_of(shown, what):
    """Return the words of a command that `lnv batch` tells."""
    return shlex.split(shown.partition(f"{what}:")[2].splitlines()[0])


def wait_for_the_queue():
    deadline = time.monotonic() + 300
    while subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_array_of_slurm_with_one_job_lost_and_done_again(fileset, site, tmp_path):
    invoke("run", fileset, "--executor", "iterative", "--trust-units", "--output", tmp_path / "one")
    shares = tmp_path / "shares"
    words = ["batch", "--cluster", "slurm", "--site", site, "--parts", "3", "--output", shares]
    shown = invoke(*words, "run", fileset, "--chunksize", "100", "--trust-units")
    submit = command_of(shown, "submit")
    (job,) = [
        w for w in subprocess.run(submit, check=True, capture_output=True, text=True).stdout.split() if w.isdigit()
    ]
    subprocess.run(["scancel", f"{job}_2"], check=True)
    wait_for_the_queue()
    logs = {path.name: path.read_text() for path in (shares / "logs").iterdir()}
    assert "share 1/3 is whole" in logs["1.log"], logs
    directories = [path for path in shares.iterdir() if path.name.isdigit()]
    assert command_of(shown, "then")[:3] == ["lnv", "merge", str(fileset)]
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
    words = ["batch", "--cluster", "htcondor", "--site", site, "--parts", "20", "--output", tmp_path / "x"]
    assert "submit: condor_submit" in invoke(*words, "run", fileset)
    lines = (tmp_path / "x" / "job.sub").read_text().splitlines()
    assert {"arguments = $(Process)", "request_memory = 4GB", "accounting_group = physics", "queue 20"} <= set(lines)


def test_a_job_by_hand_does_the_share_of_its_number(fileset, tmp_path):
    """As HTCondor calls it: with the number of the job, from 0."""
    words = ["batch", "--cluster", "htcondor", "--parts", "2", "--output", tmp_path / "x"]
    invoke(*words, "run", fileset, "--trust-units")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    job = [str(tmp_path / "x" / "job.sh"), "1"]
    done = subprocess.run(job, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "share 2/2 is whole" in done.stdout
    assert Path(tmp_path / "x" / "2" / "bookkeeping.json").exists()


def test_a_sample_set_as_jobs_of_hep_sub(hep_job, tmp_path, monkeypatch):
    """What jobs did is not done again by the command that finishes."""
    monkeypatch.chdir(tmp_path)
    batch = ["batch", "--cluster", "hep_sub", "--site", hep_job, "--parts", "2"]
    shown = invoke(*batch, "simulate", "--set", "ci")
    submit = command_of(shown, "submit")
    assert submit[:6] == ["hep_sub", str(tmp_path / "shares" / "job.sh"), "-argu", "%{ProcId}", "-n", "2"]
    told = subprocess.run(submit, check=True, capture_output=True, text=True).stdout
    assert told.startswith("2 job(s) submitted to cluster ")
    wait_for_the_queue()
    logs = [(tmp_path / "shares" / "logs" / str(k)).read_text() for k in (0, 1)]
    assert ["share 1/2 of ci is whole" in logs[0], "share 2/2 of ci is whole" in logs[1]] == [True, True], logs
    assert not (tmp_path / "samples" / "ci" / "fileset.json").exists()
    assert command_of(shown, "then") == ["lnv", "simulate", "--set", "ci", "--if-missing"]
    assert "ci: 0 files written with 0 events" in invoke("simulate", "--set", "ci", "--if-missing")
    assert (tmp_path / "samples" / "ci" / "fileset.json").exists()
