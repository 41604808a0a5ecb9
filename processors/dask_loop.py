"""How the chunks of a run go through a `distributed` cluster: a window of tasks, groups merged on the workers.

A finished group is fetched and its tasks are forgotten by the scheduler, so a lost worker costs the recomputation of
one group at most. A chunk that is blamed for the death of workers is tried once more on its own, because the scheduler
blames every chunk that waited on the dead worker.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from dask.utils import key_split
from distributed import Client, Future
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker, NoWorkerError

from processors.executors import HEARTBEAT, WINDOW_PER_THREAD, Advance, ClusterError, Result, merge
from processors.guard import failed_chunk

WINDOW_MIN: Final = 32
# Part of the window that is submitted at once: a message to the scheduler costs more than a task in it.
WINDOW_PART: Final = 2
# How often workers are looked for, at least, in the time without any that ends a run.
LOOKS_PER_TIMEOUT: Final = 4
# Merging runs before further chunks, so that chunk results do not pile up.
MERGE_PRIORITY: Final = 10
# States of a task that had finished, but whose worker died with the result: the scheduler runs it again.
RUNNING_AGAIN: Final = ("pending", "lost")
# State of every task once the connection to the scheduler is lost.
CANCELLED: Final = "cancelled"

Chunk = tuple[Future, Any]


def merge_chunks(results: Sequence[Result]) -> Result:
    """Return the sum of chunk results; the task that merges a group on a worker."""
    forget_names()
    return merge(results)


def forget_names() -> None:
    """Empty the cache in which dask keeps the names of the last 100 000 tasks, in every process that sees them."""
    key_split.cache_clear()


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
        self._function = function
        self._advance = advance
        self._timeout = no_workers_timeout
        self._prefix = f"chunk-{uuid.uuid4().hex[:8]}"
        self._n_submitted = 0
        self._chunks: dict[Future, Any] = {}
        self._done: list[Chunk] = []
        self._merges: dict[Future, list[Chunk]] = {}
        self._suspects: list[Any] = []
        # Futures as they finish, put there by dask's threads: nobody has to wait for all of them at once.
        self._finished: SimpleQueue[Future] = SimpleQueue()
        self._again: list[Future] = []
        self._anchor: Future | None = None
        self._window = WINDOW_MIN
        self._last_look = self._last_worker = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.status == "running" and (self._chunks or self._merges):
            self._client.cancel([*self._chunks, *self._merges], force=True)
        self._chunks.clear()
        self._done.clear()
        self._merges.clear()
        self._anchor = None

    def groups(self, items: Sequence[Any], size: int) -> Iterator[Result]:
        """Process all items and return their results, merged in groups of `size`, as they finish.

        Raises:
            ClusterError: The scheduler is gone, or no worker was there for the timeout.
        """
        waiting = list(reversed(items))
        self._look()
        # Dask forgets a family of tasks with its last member and keeps a record of each: one member stays, or every
        # merge would be a new family.
        self._anchor = self._call(self._client.submit, int, key=f"merge-{self._prefix}-anchor")
        while waiting or self._chunks or self._done or self._merges:
            self._fill(waiting)
            self._merge(size, rest=not waiting and not self._chunks)
            for future in self._wait():
                yield from self._take(future)
        for item in self._suspects:
            yield self._alone(item)

    def _fill(self, waiting: list[Any]) -> None:
        """Submit items from the end of `waiting` once there is room for a part of the window."""
        room = self._window - len(self._chunks)
        if waiting and room >= self._window // WINDOW_PART:
            items = waiting[-room:][::-1]
            del waiting[-room:]
            self._submit(items)

    def _submit(self, items: list[Any]) -> list[Future]:
        """Submit items in one message, which carries the function once."""
        first, self._n_submitted = self._n_submitted, self._n_submitted + len(items)
        keys = [f"{self._prefix}-{n}" for n in range(first, self._n_submitted)]
        futures: list[Future] = self._call(self._client.map, self._function, items, key=keys, pure=False)
        self._chunks |= dict(zip(futures, items, strict=True))
        self._watch(futures)
        return futures

    def _watch(self, futures: Iterable[Future]) -> None:
        for future in futures:
            future.add_done_callback(self._finished.put)

    def _merge(self, size: int, *, rest: bool) -> None:
        """Submit the merging of full groups; of what is left too if no further chunk will come."""
        while len(self._done) >= size or (rest and self._done):
            group, self._done = self._done[:size], self._done[size:]
            key = f"merge-{self._prefix}-{uuid.uuid4().hex[:8]}"
            futures = [future for future, _ in group]
            merged = self._call(
                self._client.submit, merge_chunks, futures, key=key, pure=False, priority=MERGE_PRIORITY
            )
            self._merges[merged] = group
            self._watch([merged])

    def _wait(self) -> list[Future]:
        """Return the futures that finished, after a heartbeat at most."""
        if time.monotonic() - self._last_look > HEARTBEAT:
            self._look()
        try:
            done = [self._finished.get(timeout=HEARTBEAT)]
        except Empty:
            return []
        while not self._finished.empty():
            done.append(self._finished.get())
        return done

    def _look(self) -> None:
        """Fit the window to the threads that there are; end the run if there have been none for too long."""
        again, self._again = self._again, []
        self._watch(again)
        forget_names()
        threads = sum(self._call(self._client.nthreads).values())
        now = self._last_look = time.monotonic()
        self._window = max(WINDOW_MIN, threads * WINDOW_PER_THREAD)
        if threads:
            self._last_worker = now
        elif now - self._last_worker > self._timeout:
            msg = f"{self._address}: no worker for {self._timeout:g} s; start workers, then `lnv run --resume`"
            raise ClusterError(msg)

    def _take(self, future: Future) -> Iterator[Result]:
        status = future.status
        if status in RUNNING_AGAIN:
            self._again.append(future)
            return
        if future in self._merges:
            yield from self._fetch(future, self._merges.pop(future))
            return
        if status == CANCELLED:
            self._call(future.result)
        item = self._chunks.pop(future)
        if status == "finished":
            self._done.append((future, item))
            self._advance(len(item))
        else:
            yield from self._erred(item, future.exception())

    def _erred(self, item: Any, error: BaseException) -> Iterator[Result]:
        """A task failed outside the guard: its worker died, or could not unpack it."""
        if isinstance(error, NoWorkerError):
            raise self._without_workers(error)
        if isinstance(error, KilledWorker):
            self._suspects.append(item)
            return
        self._advance(len(item))
        yield failed_chunk(item, error, 1)

    def _fetch(self, merged: Future, group: list[Chunk]) -> Iterator[Result]:
        """Fetch a merged group; if the merging failed, fetch its chunks one by one."""
        if merged.status == "finished":
            yield self._result(merged)
            return
        for future, item in group:
            try:
                yield self._result(future)
            except KilledWorker:
                self._suspects.append(item)

    def _alone(self, item: Any) -> Result:
        """Process one item while nothing else runs, so that a dead worker is blamed on the right chunk."""
        (future,) = self._submit([item])
        try:
            result = self._result(future)
        except KilledWorker as error:
            result = failed_chunk(item, error, 1)
        del self._chunks[future]
        self._advance(len(item))
        return result

    def _result(self, future: Future) -> Result:
        """Fetch a result; while it does not come, its worker may be gone with it, look for workers ever less often."""
        patience = HEARTBEAT
        while True:
            try:
                result: Result = self._call(future.result, timeout=patience)
            except TimeoutError:
                self._look()
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
