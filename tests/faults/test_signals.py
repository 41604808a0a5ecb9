"""A run that is told to stop stops: in one line, with the status of its signal, and without a process left."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jpsi_lnv.processors import cli
from jpsi_lnv.processors.cluster import clusters
from jpsi_lnv.processors.work.executors import ClusterError

SUPPORT = Path(__file__).parents[1] / "support"
# `lnv` with a selection whose chunks take a while; workers find it by its name. Started as from a terminal: where the
# tests run in the background of a shell, Ctrl-C is ignored, and what they start inherits that.
COMMAND = """
import signal, sys
sys.path.insert(0, {support!r})
from slow_selection import slow
from jpsi_lnv.analysis.selection import registry
registry.SELECTIONS["count"] = slow
from jpsi_lnv.processors.cli import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
"""


def start(script, fileset, output, *arguments):
    script.write_text(COMMAND.format(support=str(SUPPORT)))
    command = [
        sys.executable,
        str(script),
        "run",
        str(fileset),
        "--output",
        str(output),
        "--chunksize",
        "50",
        "--trust-units",
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )


def wait_for_parts(process, output):
    deadline = time.monotonic() + 120
    while not list(output.rglob("*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_session(session):
    """Return the processes of a session that are left."""
    left = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process.cmdline())
        except (ProcessLookupError, psutil.NoSuchProcess, PermissionError):
            continue
    return left


@pytest.mark.parametrize("executor", ["iterative", "futures", "dask"])
@pytest.mark.parametrize(("number", "to_all", "status"), [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130)])
def test_a_run_that_is_stopped_leaves_parts_and_nothing_else(
    small_fileset, tmp_path, reference, executor, number, to_all, status
):
    output = tmp_path / "r"
    workers = [] if executor == "iterative" else ["--workers", "2"]
    process = start(tmp_path / "slow.py", small_fileset, output, "--executor", executor, *workers)
    wait_for_parts(process, output)
    (os.killpg if to_all else os.kill)(process.pid, number)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    stopped = f"stopped: what was finished is stored in {output}, continue with --resume"
    assert [line for line in said.splitlines() if line] == [stopped]
    assert "Traceback" not in shown
    deadline = time.monotonic() + 10
    while in_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert in_session(process.pid) == []


class _LastWord:
    """Gets a signal while it is finalized, where Python ignores what is raised."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        time.sleep(0.001)


def _finalize_and_wait(number):
    _LastWord(number)
    time.sleep(5)


def _collect_and_wait(number):
    def callback(phase, info):
        if phase == "start":
            os.kill(os.getpid(), number)
            time.sleep(0.001)

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    time.sleep(5)


@pytest.mark.fast
@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
@pytest.mark.parametrize("wait", [_finalize_and_wait, _collect_and_wait])
def test_a_signal_that_comes_to_a_finalizer_is_not_lost(number, ends, wait):
    before = signal.signal(number, cli._stop)
    try:
        with pytest.raises(ends):
            wait(number)
    finally:
        signal.signal(number, before)


@pytest.mark.fast
@pytest.mark.parametrize("first", [KeyboardInterrupt, SystemExit, ClusterError, TimeoutError])
def test_the_reason_counts_more_than_what_fails_after_it(first):
    @clusters._reason_first()
    def end_badly():
        try:
            raise first
        finally:
            raise OSError("the worker did not end")

    with pytest.raises(OSError if first is TimeoutError else first):
        end_badly()
