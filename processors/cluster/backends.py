"""What runs the work of a command: this process, processes of this machine, or a dask cluster; and its options."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, announcement, connect
from jpsi_lnv.processors.cluster.preflight import prepare
from jpsi_lnv.processors.console import bar, console, options_of, refuse_unused
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import (
    DebugExecutor,
    FuturesExecutor,
    GuardedExecutor,
    IterativeExecutor,
    MakeExecutor,
)

EXECUTORS: Final = ("iterative", "futures", "dask")
# One more, which leaves errors as they are: that of ``lnv --debug``.
DEBUG: Final = "debug"


@contextmanager
def make_executors(
    name: str, where: ClusterOptions, report: Path | None = None, *, has_bar: bool = True
) -> Iterator[MakeExecutor]:
    """Start what an executor needs; yield the function that makes one, with its progress bar, per stage of a run.

    Args:
        name: ``iterative``, ``futures`` or ``dask``; with ``--debug`` all is done in this process, whatever it is.
        where: The cluster, for ``dask``; its number of workers counts for ``futures`` too.
        report: Where dask's performance report goes; None: nowhere.
        has_bar: Whether each stage shows a progress bar.
    """
    with ExitStack() as stack:
        kinds: dict[str, Callable[..., GuardedExecutor]] = {
            "iterative": IterativeExecutor,
            DEBUG: DebugExecutor,
            "futures": partial(FuturesExecutor, workers=where.n_workers),
        }
        chosen = DEBUG if is_debug() else name
        cls = kinds[chosen] if chosen in kinds else _dask(stack, where, report)

        def make(stage: str, total: int, sink: Callable[[dict[str, Any]], None]) -> GuardedExecutor:
            if not has_bar:
                return cls(sink=sink)
            unit = "events" if stage in ("processing", "simulating") else "bytes"
            return cls(sink=sink, advance=stack.enter_context(bar(stage, total, unit=unit)))

        yield make


def _dask(stack: ExitStack, where: ClusterOptions, report: Path | None) -> Callable[..., GuardedExecutor]:
    client = stack.enter_context(connect(where))
    for line in announcement(client, where):
        console().print(line, soft_wrap=True, markup=False)
    prepare(client, where.no_workers_timeout, is_ours=where.is_ours)
    if report is not None:
        from distributed import performance_report  # noqa: PLC0415 only here

        stack.enter_context(performance_report(filename=str(report)))
    return partial(DaskExecutor, client=client, no_workers_timeout=where.no_workers_timeout)


# Options of a cluster that an executor uses too.
_USED_BY: Final = {"futures": ("workers",)}


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a cluster to a command; it gets them as one argument `where`, a `ClusterOptions`."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        _require_dask(click.get_current_context())
        return function(**given)

    return options_of(ClusterOptions, "where")(command)


def _require_dask(ctx: click.Context) -> None:
    """Raise UsageError for options of a cluster that is not used: work would go where nobody wanted it."""
    executor = ctx.params.get("executor", "dask")
    names = [f.name for f in dataclasses.fields(ClusterOptions) if f.name not in _USED_BY.get(executor, ())]
    if is_debug() and "executor" in ctx.params:
        refuse_unused((*names, "executor", "performance_report"), "with --debug, which works in this process")
    elif executor != "dask":
        refuse_unused((*names, "performance_report"), f"with --executor {executor}")


def is_debug() -> bool:
    """Return whether the program was called with ``--debug``."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.find_root().params.get("debug"))
