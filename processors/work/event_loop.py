"""The event loop of a run's client and cluster, in a thread of its own.

Dask would start one itself, but gives its thread 10 s and fails with a bare AssertionError on a machine that is busier,
and after a failed connection it leaves the thread behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from distributed.utils import get_loop_factory
from tornado.ioloop import IOLoop

from jpsi_lnv.processors.work.executors import ClusterError

NAME: Final = "event loop of the cluster"
# Time in s after which the thread of the loop has to run, and after which it has to end.
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 30.0


@contextmanager
def event_loop() -> Iterator[IOLoop]:
    """Run an event loop of the kind that dask is configured for; what is left in it at the end is cancelled.

    Raises:
        ClusterError: Its thread does not run after 60 s.
    """
    started: Future[tuple[IOLoop, asyncio.Event]] = Future()
    factory = get_loop_factory()

    async def stay() -> None:
        if not started.set_running_or_notify_cancel():
            return
        stop = asyncio.Event()
        started.set_result((IOLoop.current(), stop))
        await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(stay())

    thread = threading.Thread(target=run, daemon=True, name=NAME)
    thread.start()
    try:
        loop, stop = started.result(timeout=START_TIMEOUT)
    except TimeoutError as error:
        started.cancel()
        msg = f"dask's event loop did not start within {START_TIMEOUT:g} s: the machine is overloaded; try again later"
        raise ClusterError(msg) from error
    try:
        yield loop
    finally:
        loop.add_callback(stop.set)
        thread.join(timeout=STOP_TIMEOUT)
