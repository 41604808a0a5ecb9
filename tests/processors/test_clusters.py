"""The event loop of client and cluster: slow starts are waited for, and nothing of it stays."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import dask
import pytest

from jpsi_lnv.processors.cluster import clusters
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.executors import ClusterError

pytestmark = pytest.mark.usefixtures("quick_workers")


def start_slowly(monkeypatch, seconds):
    """Let every loop of dask start as late as on a machine that is busy with other things."""

    def new_loop():
        time.sleep(seconds)
        return asyncio.new_event_loop()

    monkeypatch.setattr(clusters, "get_loop_factory", lambda: new_loop)


def wait_for_end_of(thread_names, before):
    """Wait until no thread is left that was not there before; return those that are."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [t.name for t in threading.enumerate() if t not in before and t.name in thread_names]
        if not left:
            break
        time.sleep(0.05)
    return left


def test_a_loop_that_starts_late_is_waited_for(monkeypatch):
    start_slowly(monkeypatch, 0.5)
    with connect(ClusterOptions(workers=1)) as client:
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.fast
def test_a_loop_that_does_not_start_is_one_clear_error_and_ends_when_it_does(monkeypatch):
    before = threading.enumerate()
    start_slowly(monkeypatch, 0.5)
    monkeypatch.setattr(clusters, "START_TIMEOUT", 0.1)
    with (
        pytest.raises(ClusterError, match=r"did not start within 0\.1 s: the machine is overloaded"),
        connect(ClusterOptions()),
    ):
        pass
    assert wait_for_end_of({clusters.LOOP_NAME}, before) == []


@pytest.mark.fast
def test_a_connection_that_fails_leaves_no_thread():
    before = threading.enumerate()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
            pytest.raises(ClusterError, match="no connection"),
            connect(ClusterOptions(cluster=address)),
        ):
            pass
    assert wait_for_end_of({clusters.LOOP_NAME, "IO loop"}, before) == []


def test_what_is_born_of_the_loop_holds_ctrl_c_back():
    """A terminal sends it to the workers too, while they may still be importing."""
    program = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    born = Future()
    with clusters.event_loop() as loop:
        call = [sys.executable, "-c", program]
        loop.add_callback(lambda: born.set_result(subprocess.run(call, check=True, capture_output=True).stdout))
        assert born.result(60).strip() == b"True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
