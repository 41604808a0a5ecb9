"""IHEP's HepJob: commands that stand in for its own submit to a real SLURM node."""

import subprocess
import threading
import time
from functools import partial

from click.testing import CliRunner
from run_cases import assert_same, run

from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor


def jobs(*columns):
    words = ["squeue", "-h", "-o", " ".join(columns)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def remove_a_job(output):
    """Remove one running job as HepJob does, once the first part is stored."""
    while not list(output.rglob("*.part")):
        time.sleep(0.05)
    subprocess.run(["hep_rm", jobs("%F")[0]], check=True)


def slowly():
    def action(events):
        time.sleep(0.2)

    return action


def test_workers_come_as_jobs_and_one_that_is_removed_costs_nothing(small_fileset, reference, hep_job, tmp_path):
    output = tmp_path / "r"
    with connect(ClusterOptions(cluster="hep_sub", workers=2, site=hep_job)) as client:
        client.wait_for_workers(2, timeout=60)
        # Group and memory are the preset's.
        assert jobs("%k", "%m") == ["physics 2000M"] * 2
        threading.Thread(target=remove_a_job, args=[output], daemon=True).start()
        result, books = run(small_fileset, output, partial(DaskExecutor, client=client), action=slowly())
        assert client.scheduler.address.startswith("tls://")
    assert books.failed == []
    assert_same(result, reference)
    assert len(list((tmp_path / "logs").glob("worker-*.sh"))) == 1
    deadline = time.monotonic() + 20
    while jobs("%i") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert jobs("%i") == []


def test_doctor_lets_a_job_do_a_chunk(hep_job, tmp_path):
    words = ["doctor", "--cluster", "hep_sub", "--site", hep_job, "--workers", "1", "--output", tmp_path]
    shown = CliRunner().invoke(lnv, list(map(str, words)), catch_exceptions=False)
    assert '--name "$1"' in shown.output
    assert "all is well" in shown.output
