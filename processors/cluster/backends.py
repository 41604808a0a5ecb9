"""What runs the work of a command: this process, processes of this machine, or a dask cluster, started when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect, dashboard
from jpsi_lnv.processors.cluster.preflight import prepare
from jpsi_lnv.processors.console import console
from jpsi_lnv.processors.progress import bar
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import (
    DebugExecutor,
    FuturesExecutor,
    GuardedExecutor,
    IterativeExecutor,
    MakeExecutor,
)

EXECUTORS: Final = ("iterative", "futures", "dask")
# One more, which leaves errors as they are; not for the command line's choice of executors.
DEBUG: Final = "debug"


@contextmanager
def make_executors(name: str, where: ClusterOptions, report: Path | None = None) -> Iterator[MakeExecutor]:
    """Start what an executor needs; yield the function that makes one, with its progress bar, per stage of a run.

    Args:
        name: ``iterative``, ``futures``, ``dask`` or ``debug``.
        where: The cluster, for ``dask``; its number of workers counts for ``futures`` too.
        report: Where dask's performance report goes; None: nowhere.
    """
    with ExitStack() as stack:
        kinds: dict[str, Callable[..., GuardedExecutor]] = {
            "iterative": IterativeExecutor,
            DEBUG: DebugExecutor,
            "futures": partial(FuturesExecutor, workers=where.workers),
        }
        cls = kinds[name] if name in kinds else _dask(stack, where, report)

        def make(stage: str, total: int, sink: Callable[[dict[str, Any]], None]) -> GuardedExecutor:
            advance = stack.enter_context(
                bar(stage, total, unit="events" if stage in ("processing", "simulating") else "bytes")
            )
            return cls(sink=sink, advance=advance)

        yield make


def _dask(stack: ExitStack, where: ClusterOptions, report: Path | None) -> Callable[..., GuardedExecutor]:
    client = stack.enter_context(connect(where))
    console().print(f"dask dashboard: {dashboard(client)}", soft_wrap=True)
    prepare(client, where.no_workers_timeout)
    if report is not None:
        from distributed import performance_report  # noqa: PLC0415 only here

        stack.enter_context(performance_report(filename=str(report)))
    return partial(DaskExecutor, client=client, no_workers_timeout=where.no_workers_timeout)
