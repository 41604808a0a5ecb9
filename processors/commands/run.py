"""Run the selections over a fileset, on this machine or a cluster, and write the merged accumulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from analysis import results
from analysis.errors import IncompleteError, ResultsError
from processors import fileset as filesets
from processors import verify
from processors.clusters import ClusterOptions, connect, dashboard
from processors.commands.fileset import rows
from processors.console import console, print_table, write_json
from processors.executors import DaskExecutor, FuturesExecutor, GuardedExecutor, IterativeExecutor
from processors.progress import bar
from processors.run import ACCUMULATOR, MakeExecutor, RunOptions, process, repeated_candidates, to_results
from processors.selections import load_processors

BOOKKEEPING = "bookkeeping.json"
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("fileset", metavar="FILESET", type=PATH)
@click.option("--output", type=PATH, default=Path("results"), help="Directory of the results.")
@click.option("--executor", type=click.Choice(["iterative", "futures", "dask"]), default="dask", help="What runs it.")
@click.option("--cluster", default="local", help="local, slurm, htcondor, tcp://HOST:PORT or tls://HOST:PORT.")
@click.option("--site", type=PATH, help="TOML file of site presets for slurm and htcondor (docs/examples).")
@click.option("--workers", type=click.IntRange(1), default=2, help="Worker processes or batch jobs.")
@click.option("--adapt", is_flag=True, help="Let the number of batch jobs follow the work, up to --workers.")
@click.option("--chunksize", type=click.IntRange(1), default=100_000, help="Largest number of events of a chunk.")
@click.option("--verify", "how", type=click.Choice(get_args(verify.How)), default="sha256", help="Check of each file.")
@click.option("--resume", is_flag=True, help="Do only what former runs of the same code and cuts left undone.")
@click.option("--skip-bad-files", is_flag=True, help="Leave bad files out, also of the normalisation.")
@click.option("--datasets", help="Shell patterns of dataset names, separated by commas, such as 'signal*'.")
@click.option("--max-files", type=click.IntRange(1), help="Files per dataset.")
@click.option("--max-chunks", type=click.IntRange(1), help="Chunks per dataset.")
def command(
    *,
    fileset: Path,
    output: Path,
    executor: str,
    cluster: str,
    site: Path | None,
    workers: int,
    adapt: bool,
    chunksize: int,
    how: verify.How,
    resume: bool,
    skip_bad_files: bool,
    datasets: str | None,
    max_files: int | None,
    max_chunks: int | None,
) -> None:
    """Run the selections over FILESET, a completed fileset, and write the merged accumulator."""
    chosen = filesets.select(filesets.load(fileset), datasets, max_files)
    print_table(f"{fileset}", rows(chosen))
    options = RunOptions(
        output=output,
        chunksize=chunksize,
        max_chunks=max_chunks,
        verification=how,
        resume=resume,
        skip_bad_files=skip_bad_files,
    )
    where = ClusterOptions(cluster=cluster, workers=workers, adapt=adapt, site=site)
    with make_executors(executor, where) as make:
        outcome = process(chosen, load_processors(chosen, options.cuts), options, make)
    finish(outcome, options)


@contextmanager
def make_executors(name: str, where: ClusterOptions) -> Iterator[MakeExecutor]:
    """Start what an executor needs and return the function that makes one per stage of the run, with its bar."""
    with ExitStack() as stack:
        if name == "dask":
            client = stack.enter_context(connect(where))
            console().print(f"dask dashboard: {dashboard(client)}")
            cls: Callable[..., GuardedExecutor] = partial(DaskExecutor, client=client)
        else:
            cls = IterativeExecutor if name == "iterative" else partial(FuturesExecutor, workers=where.workers)

        def make(stage: str, total: int, sink: Callable[[dict[str, Any]], None]) -> GuardedExecutor:
            advance = stack.enter_context(bar(stage, total, unit="events" if stage == "processing" else "B"))
            return cls(sink=sink, advance=advance)

        yield make


def finish(outcome: Any, options: RunOptions) -> None:
    """Write and show the result; an incomplete one is written too, and ends in an error.

    Raises:
        IncompleteError: Events are missing or there twice.
        ResultsError: The result cannot be written.
    """
    result = to_results(outcome, options)
    if repeated := repeated_candidates(result):
        outcome.problems = repeated
        result = to_results(outcome, options)
    try:
        results.write(options.output / ACCUMULATOR, result)
        write_json(options.output / BOOKKEEPING, result.bookkeeping)
    except OSError as error:
        msg = f"{options.output}: cannot write the result ({error.strerror}); free space, then `lnv run --resume`"
        raise ResultsError(msg) from error
    print_summary(result)
    if not result.is_complete:
        problems = result.bookkeeping["problems"]
        msg = f"the result in {options.output} is incomplete: {len(problems)} problem(s), the first: {problems[0]}"
        raise IncompleteError(msg)


def print_summary(result: results.Results) -> None:
    """Show what the run did."""
    books = result.bookkeeping
    print_table("processed", [{"dataset": n, **d} for n, d in books["datasets"].items()])
    totals = {k: v for k, v in books["totals"].items() if isinstance(v, (int, float))}
    console().print_json(json.dumps(totals))
