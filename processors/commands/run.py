"""Run the selections over a fileset, on this machine or a cluster, and write the merged accumulator."""

from __future__ import annotations

import dataclasses
import pdb
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.datasets import HOW_N_JPSI
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.books.checkpoints import output_lock
from jpsi_lnv.processors.books.unblinding import FROZEN
from jpsi_lnv.processors.cluster.backends import EXECUTORS, cluster_options, is_debug, make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.commands.skim import ENERGY, conditions, make_ntuples
from jpsi_lnv.processors.console import FILE, PLUGIN, CalibrationFile, card_options, options_of, refuse_unused, show
from jpsi_lnv.processors.plugin import load
from jpsi_lnv.processors.run import RunOptions, finish, finish_part, process, ready
from jpsi_lnv.processors.skim_plan import SkimOptions

DST = ".dst"


@click.command()
@click.argument("files", metavar="FILESET | FILE.dst...", nargs=-1, required=True)
@click.option("--executor", type=click.Choice(EXECUTORS), default="dask", help="What runs the chunks.")
@cluster_options
@options_of(RunOptions, "options")
@click.option("--datasets", help="Shell patterns of dataset names, separated by commas, such as 'signal*,data'.")
@click.option("--test", is_flag=True, help="One chunk per dataset: the same as --max-files 1 --max-chunks 1.")
@click.option("--unblind", metavar="REASON", help="Open the box of blind data; the reason goes into the result.")
@click.option("--frozen", type=FILE, default=FROZEN, help="File of `lnv freeze`: the box of blind data.")
@click.option("--sqrt-s", type=ENERGY, metavar="GEV", help="For .dst files: centre-of-mass energy in GeV.")
@click.option("--run-table", type=FILE, help="For .dst files: JSON with the conditions of each run.")
@click.option("--calibration", type=CalibrationFile(), metavar="FILE", help="For .dst files: see `lnv skim`.")
@click.option("--performance-report", type=FILE, help="HTML file for dask's report of the run.")
@card_options
@PLUGIN
@click.option("--pdb", "post_mortem", is_flag=True, help="With --debug: open the debugger where the error happened.")
def command(
    *,
    files: tuple[str, ...],
    executor: str,
    where: ClusterOptions,
    options: RunOptions,
    card: Card,
    plugin: Path | None,
    datasets: str | None,
    test: bool,
    post_mortem: bool,
    performance_report: Path | None,
    unblind: str | None,
    frozen: Path,
    sqrt_s: float | None,
    run_table: Path | None,
    calibration: str | None,
) -> None:
    """Run the selections over FILESET, a completed fileset, and write the merged accumulator.

    For a quick look at a few BOSS files, give these instead: all their events become ntuples in OUTPUT/ntuples, as by
    `lnv skim --all --keep none`, and the selections run over them.

    The exit status is not 0 unless every event of every file is in the result exactly once. A run that is limited on
    request (--max-files, --max-chunks, --test) ends well, but its result is marked incomplete.
    """
    if not is_debug():
        refuse_unused(["post_mortem"], "without --debug: the debugger opens in this process only")
    if test:
        options = dataclasses.replace(options, max_files=options.max_files or 1, max_chunks=options.max_chunks or 1)
    fileset = _fileset(files, options.output, sqrt_s, run_table, calibration)
    chosen = filesets.select(filesets.load(fileset), datasets)
    box = unblinding.box(frozen)
    options = dataclasses.replace(options, card=card, cuts=card.cuts, plugin=load(plugin), box=box)
    if unblind is not None:
        chosen, record = unblinding.unblind(chosen, options.cuts, unblind, frozen)
        options = dataclasses.replace(options, unblinding=record)
    show(filesets.table(str(fileset), chosen))
    for name in filesets.without_n_jpsi(chosen):
        click.echo(f"warning: dataset {name!r} does not say how many J/psi it holds: no limit; {HOW_N_JPSI}", err=True)
    chosen, processor = ready(chosen, options, frozen)
    try:
        with output_lock(options.output):
            with (
                make_executors(executor, where, performance_report) as make,
                _debugger(is_wanted=post_mortem),
            ):
                books = process(chosen, processor, options, make)
            (finish_part if options.part else finish)(books, options)
    except (KeyboardInterrupt, SystemExit) as stop:
        stored = f"stopped: what was finished is stored in {options.output}, continue with --resume"
        click.echo(stored, err=True)
        stop.add_note(stored)
        raise


@contextmanager
def _debugger(*, is_wanted: bool) -> Iterator[None]:
    """Open the debugger where an error that is not one of ours happened, if it is wanted."""
    try:
        yield
    except LnvError:
        raise
    except Exception:
        if is_wanted:
            pdb.post_mortem()
        raise


def _fileset(
    files: tuple[str, ...], output: Path, sqrt_s: float | None, run_table: Path | None, calibration: str | None
) -> Path:
    """Return the fileset to run over; BOSS's files are skimmed first."""
    is_dst = [name.endswith(DST) for name in files]
    if not all(is_dst):
        if len(files) > 1 or (sqrt_s, run_table, calibration) != (None, None, None):
            given = ", ".join(files)
            msg = f"got {given}; wanted one fileset, or {DST} files alone with --sqrt-s, --run-table, --calibration"
            raise click.UsageError(msg)
        return Path(files[0])
    options = SkimOptions(
        output=output / "ntuples",
        dataset="quick_look",
        runs=conditions(run_table, sqrt_s),
        preselection="all",
        keep=(),
        calibration=calibration,
    )
    return make_ntuples(files, options, None, "iterative", ClusterOptions())
