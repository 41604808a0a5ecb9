"""Coffea executors whose chunks are under guard and whose results arrive in groups.

All of them submit chunks in a bounded window and merge their results in groups; each group goes to a `sink` that stores
it, then into the total. So the memory of client and workers does not grow with the number of chunks, but for the sums
of ever more groups that wait to be added in pairs, and what is stored survives the client.

On a cluster a group is processed by one worker, one chunk after the other, and only the sum of its results travels: its
messages and its transfer are shared by all its chunks, and chunks of one file, which follow each other, find it open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from coffea.processor import ProcessorABC, Runner, accumulate
from coffea.processor.executor import ExecutorBase

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.processors.work import worker
from jpsi_lnv.processors.work.guard import Guarded, failed_chunk

Result = dict[str, Any]
Sink = Callable[[Result], None]
Advance = Callable[[int], None]

# Chunks, or groups of them, in flight per thread: enough that no worker waits for the client.
WINDOW_PER_THREAD: Final = 4
# Time in s after which an idle worker process ends; on a loaded machine the pause between two chunks is long.
WORKER_IDLE: Final = 300
# The most chunks in a group, and the least number of groups that a run, or a thread of it, is divided into: a lost
# worker costs a group, and the last one to finish keeps all others waiting.
GROUP_MAX: Final = 20
GROUPS_MIN: Final = 32
GROUPS_PER_THREAD: Final = 4


class ClusterError(LnvError):
    """A cluster cannot be reached, has no workers, or runs another source."""


def group_size(n_waiting: int, n_threads: int = 1) -> int:
    """Return how many of the chunks that wait make the next group: ever fewer towards the end."""
    return max(1, min(GROUP_MAX, n_waiting // max(GROUPS_MIN, GROUPS_PER_THREAD * n_threads)))


def merge(results: Iterable[Result]) -> Result:
    """Return the sum of results, as they come.

    Sums of equally many results are added, as a carry goes through binary digits, so that of N results none is copied
    much more than log2(N) times: added to the total one by one, tables of candidates are copied N times. There is one
    result at least.
    """
    sums: list[tuple[int, Result]] = []
    for result in results:
        n, total = 1, result
        while sums and sums[-1][0] == n:
            n, total = 2 * n, accumulate([sums.pop()[1], total])
        sums.append((n, total))
    totals = [total for _, total in sums]
    while len(totals) > 1:
        totals[-2:] = [accumulate(totals[-2:])]
    return totals[0]


def ignore_group(group: Result) -> None:
    """Store nothing."""


def ignore_events(n_events: int) -> None:
    """Show nothing."""


def process_chunks(items: Sequence[Any], processor: ProcessorABC, executor: GuardedExecutor) -> Result:
    """Let a processor loose on chunks; return coffea's result, with the records of the chunks that failed.

    Args:
        items: Coffea's work items.
        processor: The processor.
        executor: Where the chunks are processed.
    """
    if not items:
        return {"out": {}}
    runner = Runner(executor=executor, schema=BesSchema, metadata_cache={}, savemetrics=True)
    try:
        result: Result = runner.run(list(items), processor, uproot_options=worker.UPROOT_OPTIONS)
    finally:
        worker.close_file()
    return result


@dataclass
class GuardedExecutor(ExecutorBase, ABC):
    """Base of the executors: guards chunks, passes groups to the sink, merges them.

    Attributes:
        sink: Called with every merged group as it arrives.
        advance: Called with the number of events of every chunk that is done.
        attempts: How often an I/O error of a chunk is tried in all.
        backoff: Pause before the second attempt in s.
        retries: Coffea's own retries; always 0, the guard retries.
    """

    sink: Sink = ignore_group
    advance: Advance = ignore_events
    attempts: int = 3
    backoff: float = 0.5
    retries: int = 0

    name: ClassVar[str] = ""

    def __call__(self, items: Sequence[Any], function: Callable[[Any], Result], accumulator: Any) -> tuple[Any, int]:
        """Process all items; coffea's interface of an executor."""
        groups = self.groups(list(items), Guarded(function, self.attempts, self.backoff))
        return accumulate([merge(self._stored(groups))], accumulator), 0

    def _stored(self, groups: Iterator[Result]) -> Iterator[Result]:
        for group in groups:
            self.sink(group)
            yield group

    @abstractmethod
    def groups(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process all items and return their results merged in groups, in the order in which they finish."""


# Returns the executor of one stage: (its name, its events or bytes, what stores its groups) -> executor.
MakeExecutor = Callable[[str, int, Sink], GuardedExecutor]


@dataclass
class LocalExecutor(GuardedExecutor):
    """Base of the executors of this machine, which merges the results here."""

    def groups(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process all items and return their results merged in groups, in the order in which they finish."""
        size, pending = group_size(len(items)), []
        for result in self.results(items, function):
            pending.append(result)
            if len(pending) == size:
                yield merge(pending)
                pending = []
        if pending:
            yield merge(pending)

    @abstractmethod
    def results(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process all items and return the results one by one."""


@dataclass
class IterativeExecutor(LocalExecutor):
    """One chunk after the other in this process."""

    name: ClassVar[str] = "iterative"

    def results(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process the items in their order."""
        for item in items:
            result = function(item)
            self.advance(len(item))
            yield result


@dataclass
class DebugExecutor(IterativeExecutor):
    """One chunk after the other, not under guard: the first error ends the run where it happened."""

    name: ClassVar[str] = "debug"

    def results(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process the items in their order."""
        for item in items:
            yield function.unguarded(item)


@dataclass
class FuturesExecutor(LocalExecutor):
    """Processes of this machine.

    Attributes:
        workers: Number of processes.
    """

    workers: int = 2

    name: ClassVar[str] = "futures"

    def results(self, items: Sequence[Any], function: Guarded) -> Iterator[Result]:
        """Process the items in a pool; a pool that a chunk broke is renewed and its chunks are tried singly."""
        from loky.process_executor import TerminatedWorkerError  # noqa: PLC0415 workers have no use for it

        waiting = list(reversed(items))
        suspects: list[Any] = []
        while waiting:
            try:
                yield from self._from_pool(waiting, function, suspects)
            except TerminatedWorkerError:
                continue
        for item in suspects:
            yield self._alone(item, function)

    def _from_pool(self, waiting: list[Any], function: Guarded, running: list[Any]) -> Iterator[Result]:
        """Take items from the end of `waiting`; if the pool breaks, those that were in it are left in `running`."""
        from concurrent.futures import FIRST_COMPLETED, wait  # noqa: PLC0415

        import loky  # noqa: PLC0415

        futures: dict[Any, Any] = {}
        pool = loky.get_reusable_executor(max_workers=self.workers, timeout=WORKER_IDLE)
        try:
            while waiting or futures:
                while waiting and len(futures) < self.workers * WINDOW_PER_THREAD:
                    item = waiting.pop()
                    running.append(item)
                    futures[pool.submit(function, item)] = item
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    running.remove(futures[future])
                    self.advance(len(futures.pop(future)))
                    yield result
        except BaseException:
            # An error, or nobody wants the rest: loky would leave its processes at work.
            pool.shutdown(kill_workers=True)
            raise

    def _alone(self, item: Any, function: Guarded) -> Result:
        """Process one item in a process of its own, so that a crash is blamed on the right chunk."""
        import loky  # noqa: PLC0415
        from loky.process_executor import TerminatedWorkerError  # noqa: PLC0415

        with loky.ProcessPoolExecutor(max_workers=1) as pool:
            try:
                result: Result = pool.submit(function, item).result()
            except TerminatedWorkerError as error:
                result = failed_chunk(item, error, 1)
        self.advance(len(item))
        return result
