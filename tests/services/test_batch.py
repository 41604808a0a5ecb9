"""Batch systems without their daemons: submit files as text, and what they refuse."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect, make_batch
from jpsi_lnv.processors.work.executors import ClusterError

# dask-jobqueue leaves clusters that it refused, and job processes, to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def collect_what_is_left():
    yield
    gc.collect()


def script(tmp_path, batch, text):
    site = tmp_path / "site.toml"
    site.write_text(text)
    with make_batch(ClusterOptions(cluster=batch, site=site)) as cluster:
        return cluster.job_script()


@pytest.mark.parametrize("site", sorted(EXAMPLES.glob("*.toml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("batch", ["slurm", "htcondor"])
def test_the_examples_make_job_scripts(site, batch, tmp_path):
    text = site.read_text()
    for interface in ("ib0", "eth0"):
        text = text.replace(f'interface = "{interface}"', 'interface = "lo"')
    made = script(tmp_path, batch, text.replace('"logs"', f'"{tmp_path}/logs"'))
    assert "distributed.cli.dask_worker" in made or "dask worker" in made
    assert "--nthreads 1" in made
    assert "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False" in made


def test_the_submit_file_of_htcondor(tmp_path):
    made = script(
        tmp_path,
        "htcondor",
        '[htcondor]\ncores = 2\nprocesses = 2\nmemory = "4GB"\ndisk = "3GB"\ninterface = "lo"\n'
        f'log_directory = "{tmp_path}/logs"\njob_script_prologue = ["source /cvmfs/setup.sh"]\n'
        'python = "/opt/python"\n[htcondor.job_extra_directives]\naccounting_group = "physics"\n',
    )
    lines = [line.strip() for line in made.splitlines()]
    assert "RequestCpus = MY.DaskWorkerCores" in lines
    assert "+DaskWorkerCores = 2" in lines or "MY.DaskWorkerCores = 2" in lines
    assert "accounting_group = physics" in lines
    assert any("/opt/python -m distributed.cli.dask_worker tls://127.0.0.1:" in line for line in lines)
    assert any("source /cvmfs/setup.sh" in line for line in lines)
    assert any(f"{tmp_path}/logs" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[slurm", ["is not TOML"]),
        ("[htcondor]\ncores = 1\n", ["no table [slurm]", "htcondor"]),
        ('[slurm]\ncores = 1\nmemory = "2GB"\nqueu = "short"\n', ["queu"]),
        ("[slurm]\ncores = 1\n", ["memory"]),
    ],
)
def test_a_wrong_preset_is_one_line(tmp_path, text, words):
    with pytest.raises(ClusterError) as caught:
        script(tmp_path, "slurm", text)
    assert all(word in str(caught.value) for word in words)
    assert "site.toml" in str(caught.value)


def test_ctrl_c_stays_what_it_was():
    """dask-jobqueue makes it the end of the program with status 0, when it is imported."""
    code = (
        "import signal; from jpsi_lnv.processors.cluster.clusters import batch_class\n"
        "before = signal.getsignal(signal.SIGINT); batch_class('slurm')\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("batch", ["slurm", "hep_sub"])
def test_a_batch_system_that_refuses_jobs_ends_the_run(batch, tmp_path, monkeypatch):
    for name in ("sbatch", "hep_sub"):
        (tmp_path / name).write_text("#!/bin/sh\necho no such queue >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    site = tmp_path / "site.toml"
    site.write_text(f'[{batch}]\ncores = 1\nmemory = "2GB"\ninterface = "lo"\nlog_directory = "{tmp_path}"\n')
    with (
        pytest.raises(ClusterError, match=r"the batch system refuses 2 of 2 job\(s\), see above"),
        connect(ClusterOptions(cluster=batch, workers=2, site=site)),
    ):
        pass


def test_an_unknown_cluster_is_named():
    with pytest.raises(ClusterError, match="cluster 'pbs' is unknown"), connect(ClusterOptions(cluster="pbs")):
        pass
