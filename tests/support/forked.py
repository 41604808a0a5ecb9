"""Processes that are forked from one that has loaded dask and our package: a new interpreter needs seconds to be there.

They are real processes all the same, in sessions of their own, and workers of a local cluster are made like them.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask

PRELOADED = [
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "jpsi_lnv.processors.cluster.preflight",
    "jpsi_lnv.processors.run",
]


@cache
def server() -> Any:
    """Start the process that is forked, once, and let dask's nannies use it; return its context."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # Before dask names what it would preload itself.
    forkserver.ensure_running()
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    return context


class Forked:
    """A process that runs a function, with the interface of `subprocess.Popen`.

    Args:
        function: What it runs; it is imported there by its name.
        arguments: Its arguments.
        directory: Where it works.
        environment: All its variables.
        log: File that gets what it writes.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], directory: Path, environment: Any, log: Path
    ) -> None:
        call = (function, arguments, directory, dict(environment), log)
        self._process = server().Process(target=_begin, args=call)
        self._process.start()
        self.pid = self._process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _begin(
    function: Callable[..., Any], arguments: tuple[Any, ...], directory: Path, environment: dict[str, str], log: Path
) -> None:
    os.setsid()
    with log.open("ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 as long as the process lives
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    dask.config.refresh()
    function(*arguments)


def run_dask(program: str, *words: str) -> None:
    """Be `dask scheduler` or `dask worker`."""
    from distributed.cli import dask_scheduler, dask_worker

    main = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[program]
    main(args=list(words), prog_name=f"dask {program}")
