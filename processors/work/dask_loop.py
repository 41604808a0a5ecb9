"""How the chunks of a run go through a `distributed` cluster: a window of tasks, each a group of chunks.

A finished group is fetched and its task is forgotten by the scheduler, so a lost worker costs the recomputation of one
group. The chunks of a group that is blamed for the death of workers are tried once more, each on its own, because the
scheduler blames every task that waited on the dead worker.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from dask.utils import key_split
from distributed import Client, Future
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker, NoWorkerError

from jpsi_lnv.processors.work.executors import (
    WINDOW_PER_THREAD,
    Advance,
    ClusterError,
    GuardedExecutor,
    Result,
    group_size,
    merge,
)
from jpsi_lnv.processors.work.guard import Guarded, failed_chunk

_LOG: Final = logging.getLogger(__name__)
WINDOW_MIN: Final = 32
# Interval in s at which the client looks whether the cluster still lives.
HEARTBEAT: Final = 1.0
# Part of the window that is submitted at once: a message to the scheduler costs more than a task in it.
WINDOW_PART: Final = 2
# How often workers are looked for, at least, in the time without any that ends a run.
LOOKS_PER_TIMEOUT: Final = 4
# States of a task that had finished, but whose worker died with the result: the scheduler runs it again.
RUNNING_AGAIN: Final = ("pending", "lost")
# Time in s after which a worker hands back what it has not begun of a group: however long chunks take, progress is
# seen, parts are stored, and a lost worker costs little more than a chunk.
GROUP_SECONDS: Final = 10.0
# Time in s for an answer of the scheduler; by then it has given up a silent worker on which it waits itself.
ANSWER_TIMEOUT: Final = 90.0
# Time in s without a finished group after which it is said what is waited for.
SILENCE: Final = 60.0
# Time in s for the scheduler to forget tasks that nobody wants any more.
FAREWELL: Final = 10.0
# State of every task once the connection to the scheduler is lost.
CANCELLED: Final = "cancelled"

# Items, the one that comes first at the end.
Group = list[Any]


def ask(client: Client, function: Callable[..., Any], *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
    """Call one of a client's coroutines and return its answer.

    Raises:
        ClusterError: The scheduler does not answer in time.
    """
    patience = ANSWER_TIMEOUT if timeout is None else timeout
    try:
        return client.sync(function, *args, callback_timeout=patience, **kwargs)
    except TimeoutError as error:
        msg = (
            f"cluster {client.scheduler.address if client.scheduler else ''}: the scheduler has not answered for "
            f"{patience:g} s: it is stopped, or the connection is cut; what was finished is kept: mend that, then "
            "`lnv run --resume`"
        )
        raise ClusterError(msg) from error


def forget_names() -> None:
    """Empty the cache in which dask keeps the names of the last 100 000 tasks, in every process that sees them."""
    key_split.cache_clear()


@dataclass(frozen=True)
class GroupTask:
    """What a worker does with a group.

    Args:
        function: Processes one item.
        seconds: Time in s after which no further item is begun.
    """

    function: Callable[[Any], Result]
    seconds: float

    def __call__(self, group: Group) -> tuple[Result, Group]:
        """Process the items from the end of a group; return the sum of their results, and the items that are left."""
        forget_names()
        left = list(group)
        return merge(self._in_time(left)), left

    def _in_time(self, left: Group) -> Iterator[Result]:
        late = time.monotonic() + self.seconds
        yield self.function(left.pop())
        while left and time.monotonic() < late:
            yield self.function(left.pop())


class DaskLoop:
    """One run's tasks on a cluster; a context manager that releases them.

    Args:
        client: Client of the cluster.
        function: What processes one item.
        advance: Called with the number of events of every chunk that is done.
        no_workers_timeout: Time in s without workers after which the run ends with an error.
    """

    def __init__(
        self, client: Client, function: Callable[[Any], Result], advance: Advance, no_workers_timeout: float
    ) -> None:
        self._client = client
        self._task = GroupTask(function, GROUP_SECONDS)
        self._advance = advance
        self._timeout = no_workers_timeout
        self._prefix = f"group-{uuid.uuid4().hex[:8]}"
        self._n_submitted = 0
        self._running: dict[Future, Group] = {}
        self._suspects: list[Any] = []
        # Futures as they finish, put there by dask's threads: nobody has to wait for all of them at once.
        self._finished: SimpleQueue[Future] = SimpleQueue()
        self._again: list[Future] = []
        self._threads = 0
        self._memory_limit = 0
        self._last_look = self._last_worker = self._last_sign = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.status == "running" and self._running:
            with suppress(ClusterError):
                ask(self._client, self._client._cancel, [*self._running], force=True, timeout=FAREWELL)
        self._running.clear()

    def groups(self, items: Sequence[Any]) -> Iterator[Result]:
        """Process all items and return their results, merged in groups, as they finish.

        Raises:
            ClusterError: The scheduler is gone, or no worker was there for the timeout.
        """
        waiting = list(reversed(items))
        self._look()
        self._memory_limit = max(self._call(ask, self._client, self._memory_limits), default=0)
        while waiting or self._running:
            self._fill(waiting)
            for future in self._wait():
                yield from self._take(future, waiting)
        for item in self._suspects:
            yield self._alone(item)

    def _fill(self, waiting: list[Any]) -> None:
        """Submit groups from the end of `waiting` once there is room for a part of the window."""
        window = max(WINDOW_MIN, self._threads * WINDOW_PER_THREAD)
        room = window - len(self._running)
        if waiting and room >= window // WINDOW_PART:
            self._watch(self._submit([self._next(waiting) for _ in range(room) if waiting]))

    def _next(self, waiting: list[Any]) -> Group:
        size = group_size(len(waiting), self._threads)
        group = waiting[-size:]
        del waiting[-size:]
        return group

    def _submit(self, groups: list[Group]) -> list[Future]:
        """Submit groups in one message, which carries the function once."""
        first, self._n_submitted = self._n_submitted, self._n_submitted + len(groups)
        keys = [f"{self._prefix}-{n}" for n in range(first, self._n_submitted)]
        futures: list[Future] = self._call(self._client.map, self._task, groups, key=keys, pure=False)
        self._running |= dict(zip(futures, groups, strict=True))
        return futures

    def _watch(self, futures: Iterable[Future]) -> None:
        for future in futures:
            future.add_done_callback(self._finished.put)

    def _wait(self) -> list[Future]:
        """Return the futures that finished, after a heartbeat at most."""
        if time.monotonic() - self._last_look > HEARTBEAT:
            self._look()
        try:
            done = [self._finished.get(timeout=HEARTBEAT)]
        except Empty:
            self._say_what_is_waited_for()
            return []
        self._last_sign = time.monotonic()
        while not self._finished.empty():
            done.append(self._finished.get())
        return done

    def _say_what_is_waited_for(self) -> None:
        silence = time.monotonic() - self._last_sign
        if silence > SILENCE:
            self._last_sign += SILENCE
            _LOG.warning(
                "%s: nothing has finished for %.0f s; %d group(s) of chunks wait for %d thread(s)",
                *(self._address, silence, len(self._running), self._threads),
            )

    def _look(self) -> None:
        """Count the threads that there are; end the run if there have been none for too long."""
        again, self._again = self._again, []
        self._watch(again)
        forget_names()
        self._threads = self._call(ask, self._client, self._count_threads)
        now = self._last_look = time.monotonic()
        if self._threads:
            self._last_worker = now
        elif now - self._last_worker > self._timeout:
            msg = f"{self._address}: no worker for {self._timeout:g} s; start workers, then `lnv run --resume`"
            raise ClusterError(msg)

    async def _count_threads(self) -> int:
        scheduler: Any = self._client.scheduler
        return sum((await scheduler.ncores()).values())

    async def _memory_limits(self) -> list[int]:
        scheduler: Any = self._client.scheduler
        return [w["memory_limit"] or 0 for w in (await scheduler.identity(n_workers=-1))["workers"].values()]

    def _take(self, future: Future, waiting: list[Any]) -> Iterator[Result]:
        """Yield the result of a future that is over; what is left of its group waits again."""
        if future.status in RUNNING_AGAIN:
            self._again.append(future)
            return
        if future.status == CANCELLED:
            self._call(future.result)
        group = self._running[future]
        try:
            result, left = self._fetch(future, group)
        except KilledWorker:
            self._suspects += group
            return
        finally:
            del self._running[future]
        waiting += left
        self._advance(sum(map(len, group)) - sum(map(len, left)))
        yield result

    def _fetch(self, future: Future, group: Group) -> tuple[Result, Group]:
        """Fetch the result of a finished group; an error outside the guard becomes a failure of all its chunks.

        Raises:
            KilledWorker: The group is blamed for the death of workers.
        """
        # Read once: a finished task whose worker dies now is run again, an error stays one.
        if future.status != "error":
            return self._result(future)
        error = future.exception()
        if isinstance(error, NoWorkerError):
            raise self._without_workers(error)
        if isinstance(error, KilledWorker):
            raise error
        return merge(failed_chunk(item, error, 1) for item in group), []

    def _alone(self, item: Any) -> Result:
        """Process one item while nothing else runs, so that a dead worker is blamed on the right chunk."""
        (future,) = self._submit([[item]])
        try:
            result, _ = self._result(future)
        except KilledWorker as error:
            result = failed_chunk(item, self._death(error), 1)
        del self._running[future]
        self._advance(len(item))
        return result

    def _death(self, error: KilledWorker) -> BaseException:
        """Return what to say of a chunk that killed its workers: that they had little memory, if they had a limit."""
        if not self._memory_limit:
            return error
        msg = (
            f"{error.allowed_failures + 1} workers died of it, each with at most {self._memory_limit / 1e6:.0f} MB of "
            "memory: give --memory more, or a smaller --chunksize, then `lnv run --resume`"
        )
        return ClusterError(msg)

    def _result(self, future: Future) -> tuple[Result, Group]:
        """Fetch a result; while it does not come, its worker may be gone with it, look for workers ever less often."""
        patience = HEARTBEAT
        while True:
            try:
                result: tuple[Result, Group] = self._call(future.result, timeout=patience)
            except TimeoutError:
                self._look()
                self._say_what_is_waited_for()
                patience = min(2.0 * patience, max(HEARTBEAT, self._timeout / LOOKS_PER_TIMEOUT))
            else:
                return result

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something that needs the scheduler; its loss becomes one clear error."""
        try:
            return function(*args, **kwargs)
        except TimeoutError:
            raise
        except NoWorkerError as error:
            raise self._without_workers(error) from error
        except (CancelledError, OSError, RuntimeError) as error:
            # A closed connection is seen a moment before the client's status changes.
            if self._client.status == "running" and not isinstance(error, (CancelledError, CommClosedError)):
                raise
            msg = (
                f"{self._address}: the scheduler is gone ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "what was finished is kept: start a cluster, then `lnv run --resume`"
            )
            raise ClusterError(msg) from error

    def _without_workers(self, error: NoWorkerError) -> ClusterError:
        return ClusterError(f"{self._address}: no worker is left ({error}); start workers, then `lnv run --resume`")

    @property
    def _address(self) -> str:
        scheduler = self._client.scheduler
        return f"cluster {scheduler.address if scheduler is not None else ''}".strip()


@dataclass
class DaskExecutor(GuardedExecutor):
    """Workers of a `distributed` cluster.

    Attributes:
        client: Client of the cluster.
        no_workers_timeout: Time in s without any worker after which the run ends with an error.
    """

    client: Any = None
    no_workers_timeout: float = 300.0

    name: ClassVar[str] = "dask"

    def groups(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process all items; chunks are merged on the workers and only the groups travel."""
        with DaskLoop(self.client, function, self.advance, self.no_workers_timeout) as loop:
            yield from loop.groups(items)
