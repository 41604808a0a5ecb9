"""Dead workers, schedulers and clients cost time, never an event and never a number."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from distributed import wait
from distributed.scheduler import NoWorkerError
from hand_cluster import hand_cluster
from proxy import proxy
from run_cases import assert_same, run

from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work import dask_loop
from jpsi_lnv.processors.work.dask_loop import DaskExecutor, DaskLoop
from jpsi_lnv.processors.work.executors import ClusterError, IterativeExecutor

pytestmark = pytest.mark.usefixtures("quick_workers")

SUPPORT = Path(__file__).parents[1] / "support"


def slowly():
    """Return an action that workers get by value."""

    def action(events):
        time.sleep(0.1)

    return action


class Trouble(threading.Thread):
    """Do something once a run has stored its first parts."""

    def __init__(self, output, action, delay=0.0):
        super().__init__(daemon=True)
        self.output, self.action, self.delay = output, action, delay
        self.done = False

    def run(self):
        deadline = time.monotonic() + 30
        while not list(self.output.rglob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(self.delay)
        self.action()
        self.done = True


def n_stored(output):
    return len(list(output.rglob("*.part")))


def test_all_workers_killed_under_a_nanny(small_fileset, tmp_path, reference):
    with connect(ClusterOptions(workers=2)) as client:
        pids = list(client.run(os.getpid).values())
        Trouble(tmp_path, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids]).start()
        result, _ = run(small_fileset, tmp_path, partial(DaskExecutor, client=client), action=slowly())
    assert result.is_complete
    assert_same(result, reference)


def resume_iteratively(small_fileset, output):
    """Finish a run in this process; return its result and how many events came from parts."""
    result, _ = run(small_fileset, output, IterativeExecutor, action=slowly(), resume=True)
    return result, result.bookkeeping["totals"]["events_resumed"]


def test_all_workers_gone_then_resume(small_fileset, tmp_path, reference):
    output = tmp_path / "r"
    with hand_cluster(tmp_path) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        client.wait_for_workers(2, timeout=60)
        Trouble(output, lambda: [cluster.kill_worker(i) for i in (0, 1)]).start()
        make = partial(DaskExecutor, client=client, no_workers_timeout=2.0)
        with pytest.raises(ClusterError, match="no worker for 2 s; start workers, then `lnv run --resume`"):
            run(small_fileset, output, make, action=slowly())
    assert n_stored(output) > 0
    result, n_resumed = resume_iteratively(small_fileset, output)
    assert 0 < n_resumed < 1500
    assert_same(result, reference)
    assert result.is_complete


@pytest.mark.parametrize(("what", "said"), [("cut", "the scheduler is gone"), ("stall", "has not answered for 3 s")])
def test_a_client_whose_link_is_lost_says_so_and_resumes(small_fileset, tmp_path, reference, monkeypatch, what, said):
    monkeypatch.setattr(dask_loop, "ANSWER_TIMEOUT", 3.0)
    monkeypatch.setattr(dask_loop, "FAREWELL", 0.5)
    output = tmp_path / "r"
    with (
        hand_cluster(tmp_path) as cluster,
        proxy(cluster.port) as link,
        connect(ClusterOptions(cluster=cluster.address_of(link.port))) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        Trouble(output, getattr(link, what)).start()
        with pytest.raises(ClusterError, match=rf"{said}.*`lnv run --resume`"):
            run(small_fileset, output, partial(DaskExecutor, client=client), action=slowly())
        link.go_on()
    result, n_resumed = resume_iteratively(small_fileset, output)
    assert 0 < n_resumed < 1500
    assert_same(result, reference)


def test_a_worker_whose_link_is_cut_costs_nothing(small_fileset, tmp_path, reference):
    with (
        hand_cluster(tmp_path, n_workers=0) as cluster,
        proxy(cluster.port) as link,
        connect(ClusterOptions(cluster=cluster.address)) as client,
    ):
        for cluster.through in (link.port, None):
            cluster.start_worker()
        client.wait_for_workers(2, timeout=60)
        trouble = Trouble(tmp_path / "r", link.cut)
        trouble.start()
        result, books = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client), action=slowly())
        trouble.join()
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1
    assert books.failed == []
    assert_same(result, reference)


def test_workers_that_die_with_a_finished_result_are_missed(tmp_path):
    """Finished, but not fetched yet: nobody can compute it again, and nobody says so."""
    with hand_cluster(tmp_path, n_workers=1) as cluster, connect(ClusterOptions(cluster=cluster.address)) as client:
        client.wait_for_workers(1, timeout=30)
        future = client.submit(dict)
        wait(future)
        cluster.kill_worker(0)
        with (
            DaskLoop(client, dict, lambda _: None, 2.0) as loop,
            pytest.raises(ClusterError, match="no worker for 2 s"),
        ):
            loop._result(future)


def test_a_result_that_the_scheduler_gives_up_is_one_error():
    """Which of the two notices first that all workers are gone, the scheduler or the loop, is a matter of timing."""

    def give_up():
        raise NoWorkerError("chunk-1", 1.0)

    with (
        connect(ClusterOptions(workers=1)) as client,
        DaskLoop(client, dict, lambda _: None, 60.0) as loop,
        pytest.raises(ClusterError, match=r"no worker is left.*--resume"),
    ):
        loop._call(give_up)


def test_an_address_without_a_scheduler_is_an_error(tmp_path):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ClusterError, match="no connection"),
        connect(ClusterOptions(cluster="tcp://127.0.0.1:9")),
    ):
        pass


@pytest.fixture
def quick_to_give_up(monkeypatch):
    import dask

    monkeypatch.setattr(dask_loop, "SILENCE", 2.0)
    with dask.config.set({"distributed.scheduler.worker-ttl": "6s"}):
        yield


def test_a_worker_that_hangs_is_said_and_given_up(small_fileset, tmp_path, reference, quick_to_give_up, caplog):
    with connect(ClusterOptions(workers=2)) as client:
        pids = list(client.run(os.getpid).values())
        trouble = Trouble(tmp_path, lambda: os.kill(pids[0], signal.SIGSTOP))
        trouble.start()
        result, books = run(small_fileset, tmp_path, partial(DaskExecutor, client=client), action=slowly())
        trouble.join()
    assert trouble.done
    assert books.failed == []
    assert_same(result, reference)
    assert "nothing has finished for" in caplog.text


def test_a_worker_that_hangs_with_a_finished_result_is_said(
    small_fileset, tmp_path, reference, quick_to_give_up, monkeypatch, caplog
):
    wait_for_any = DaskLoop._wait
    stopped = []

    def stop_the_first_holder(loop):
        done = wait_for_any(loop)
        if done and not stopped:
            (address,) = loop._client.who_has(done)[done[0].key]
            stopped.append(pids[address])
            os.kill(pids[address], signal.SIGSTOP)
        return done

    monkeypatch.setattr(DaskLoop, "_wait", stop_the_first_holder)
    with connect(ClusterOptions(workers=2)) as client:
        pids = client.run(os.getpid)
        result, books = run(small_fileset, tmp_path, partial(DaskExecutor, client=client), action=slowly())
    assert stopped
    assert books.failed == []
    assert_same(result, reference)
    assert "nothing has finished for" in caplog.text


def test_a_chunk_that_needs_more_memory_than_there_is_says_so(small_fileset, tmp_path):
    def grow(events):
        if events.metadata["dataset"] == "other" and events.metadata["entrystart"] == 100:
            rows = [bytearray(50_000_000) for _ in range(100)]
            time.sleep(10 + len(rows))

    with connect(ClusterOptions(workers=1, memory="700MB")) as client:
        result, _ = run(small_fileset, tmp_path, partial(DaskExecutor, client=client), action=grow)
    failed = result.bookkeeping["failed_chunks"]
    assert {(r["start"], r["stop"]) for r in failed} == {(100, 200)}
    assert all("700 MB of memory: give --memory more, or a smaller --chunksize" in r["message"] for r in failed)


def test_too_little_memory_for_any_worker_is_refused():
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--memory", "100MB"])
    assert caught.value.code == 2
