"""A real SLURM node: the same result, also when a job is killed in the middle."""

import subprocess
import threading
import time
from functools import partial

import dask
import pytest
from run_cases import assert_same, run

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor


def slowly():
    def action(events):
        time.sleep(0.2)

    return action


def kill_a_job(output):
    """Kill one running job as a whole once the first part is stored."""
    while not list(output.rglob("*.part")):
        time.sleep(0.05)
    jobs = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True).stdout
    subprocess.run(["scancel", "--signal=KILL", "--full", jobs.split()[0]], check=True)


@pytest.mark.parametrize("disturbed", [False, True])
def test_slurm_gives_the_same(small_fileset, reference, site, tmp_path, disturbed):
    output = tmp_path / "r"
    with connect(ClusterOptions(cluster="slurm", workers=2, site=site)) as client:
        client.wait_for_workers(2, timeout=60)
        if disturbed:
            threading.Thread(target=kill_a_job, args=[output], daemon=True).start()
        result, books = run(small_fileset, output, partial(DaskExecutor, client=client), action=slowly())
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        settings = client.run(lambda: dask.config.get("distributed.worker.profile.enabled"))
    assert set(settings.values()) == {False}
    assert books.failed == []
    assert result.is_complete
    assert_same(result, reference)
    assert n_workers == (1 if disturbed else 2)


def test_the_number_of_jobs_follows_the_work(small_fileset, reference, site, tmp_path):
    with connect(ClusterOptions(cluster="slurm", workers=2, site=site, adapt=True)) as client:
        client.wait_for_workers(1, timeout=60)
        result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client), action=slowly())
    assert_same(result, reference)


def test_no_job_is_left(node):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout.strip():
            return
        time.sleep(0.5)
    pytest.fail("jobs are left in the queue")
