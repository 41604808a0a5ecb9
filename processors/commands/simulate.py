"""Make simulated samples: whole sets, or one dataset."""

from __future__ import annotations

import os
from pathlib import Path

import click

from analysis.simulation.samplesets import DEFAULT_SEED, SETS


@click.command("simulate")
@click.option("--set", "name", type=click.Choice(sorted(SETS)), default="demo", help="Sample set.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("samples"), help="Directory of all sample sets."
)
@click.option("--if-missing", is_flag=True, help="Keep files made before with the same recipe and code (resumes).")
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, help="Number of processes.")
@click.option("--seed", type=click.IntRange(0), default=DEFAULT_SEED, help="Seed of all random numbers.")
def command(name: str, output: Path, if_missing: bool, workers: int, seed: int) -> None:
    """Simulate a sample set and write its fileset."""
    from rich.console import Console  # noqa: PLC0415 - keeps `lnv --help` fast
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from analysis.simulation.samplesets import file_jobs, sample_set  # noqa: PLC0415
    from processors.simulate import FILESET, make  # noqa: PLC0415

    samples = sample_set(name, seed)
    total = sum(job.n_events for job in file_jobs(samples))
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(f"simulating {name}", total=total)
        made = make(samples, output, workers=workers, keep=if_missing, on_file=lambda n: progress.advance(task, n))
    console.print(
        f"{made.n_files} files written, {made.n_kept} kept, {made.n_events:,} new events; "
        f"fileset {made.directory / FILESET}"
    )
