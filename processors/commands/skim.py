"""Turn BOSS .dst files into ntuples, with a preselection and exact normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DATA, KINDS, MAJORANA, SEARCH, SIGNAL, SQRT_S_MAX
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.errors import IncompleteError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.mapping import read_map
from jpsi_lnv.analysis.events.ntuple_writer import remove_partials
from jpsi_lnv.analysis.events.run_table import PERIODS, Conditions, RunTable, describe, read_run_table, uniform
from jpsi_lnv.processors import skim_plan
from jpsi_lnv.processors.books.fileset import check_name
from jpsi_lnv.processors.cluster.backends import EXECUTORS, cluster_options, make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.console import (
    CARD,
    DIRECTORY,
    FILE,
    PART,
    CalibrationFile,
    FiniteRange,
    console,
    part_of,
    refuse_unused,
    show,
    wrote,
)
from jpsi_lnv.processors.skim_plan import SkimItem, SkimOptions, is_done, plan, read_books
from jpsi_lnv.processors.skimming import PRESELECTIONS, Skim, forget, meter

ENERGY = FiniteRange(0, SQRT_S_MAX, min_open=True)
# The solenoid gives 1 T; a number in kG would be read as a field that bends every track into a curl.
FIELD = FiniteRange(0, 2, min_open=True)
CALIBRATION_HELP = (
    "Constants of the identification for the runs of the dataset, or 'simulated'; recorded events need one."
)
KEEP_HELP = (
    "Columns to keep beside the rest: groups separated by commas, or none. "
    + "; ".join(f"{name}: {what}" for name, what in schema.GROUPS.items())
    + "."
)

_NO_POINT: Final = (
    "WARNING: EACH EVENT'S OWN VERTEX STANDS FOR THE INTERACTION POINT, AND IS NONE: it is fitted to the tracks whose "
    "distance to the interaction point is cut on, and moves with them; where an event has no vertex, the mean of the "
    "file serves. Make a run table with `lnv run-table --offlinedb FILE --release R`."
)


class Groups(click.ParamType):
    """Names of groups of columns, separated by commas."""

    name = "groups"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the groups in the order of the table, or end with a usage error."""
        names = [] if value == "none" else str(value).split(",")
        if unknown := [name for name in names if name not in schema.GROUPS]:
            self.fail(f"got {unknown[0]!r}; wanted some of {', '.join(schema.GROUPS)}, or none", param, ctx)
        if "ends" in names and "pid" not in names:
            self.fail("got 'ends' without 'pid', whose records they are", param, ctx)
        return tuple(name for name in schema.GROUPS if name in names)


# Options that say the same of all runs.
_OF_ALL_RUNS: Final = ("sqrt_s", "field", "period")


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--output", type=DIRECTORY, required=True, help="Directory of the ntuples, books and fileset.")
@click.option("--dataset", default="skim", help="Name of the dataset.")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Kind of the dataset.  [default: data, or inclusive]")
@click.option("--preselection", type=click.Choice(list(PRESELECTIONS)), default="search", help="Events to keep.")
@CARD
@click.option("--all", "keeps_all", is_flag=True, help="Keep all events: short for --preselection all.")
@click.option("--mapping", type=FILE, help="TOML: the FILEs are ntuples of your own, and this says what is what.")
@click.option("--run-table", type=FILE, help="JSON: interaction point, energy, field and period of each run.")
@click.option("--sqrt-s", type=ENERGY, metavar="GEV", help="Centre-of-mass energy in GeV, without a run table.")
@click.option("--field", type=FIELD, metavar="TESLA", default=1.0, help="Magnetic field in T, without a run table.")
@click.option(
    "--period",
    type=click.Choice([str(p) for p in PERIODS]),
    default="2018",
    help="Period, without a run table.",
)
@click.option("--keep", type=Groups(), metavar="GROUPS", default=",".join(schema.KEPT), help=KEEP_HELP)
@click.option("--calibration", type=CalibrationFile(), metavar="FILE", help=CALIBRATION_HELP)
@click.option("--count", type=click.Choice(["tree", "job"]), default="tree", help="Events that a file stands for.")
@click.option("--trust-units", is_flag=True, help="Go on where numbers cannot be what their units say.")
@PART
@click.option("--executor", type=click.Choice(EXECUTORS), default="futures", help="What runs the skim.")
@cluster_options
@click.option("--chunksize", type=click.IntRange(1), default=2_500, help="Events in memory at a time.")
def command(
    *,
    files: tuple[str, ...],
    executor: str,
    where: ClusterOptions,
    mapping: Path | None,
    run_table: Path | None,
    sqrt_s: float | None,
    field: float,
    period: str,
    preselection: str,
    keeps_all: bool,
    card: Card,
    kind: str | None,
    part: str | None,
    **given: Any,
) -> None:
    """Turn BOSS .dst FILEs, by path, root:// or https://, into ntuples that the search runs on.

    What is done already, with the same files, options and code, is not done again. The exit status is not 0 unless
    every file was skimmed.
    """
    check_name(given["dataset"])
    if kind == MAJORANA:
        msg = f"got --kind {MAJORANA}: only a fileset says mass and mode; skim with --kind {SIGNAL}, mend its metadata"
        raise click.UsageError(msg)
    mapped = None if mapping is None else read_map(mapping)
    if mapped is None:
        refuse_unused(["trust_units"], "without --mapping: BOSS's files have BOSS's units")
    else:
        refuse_unused(["keep"], f"with --mapping {mapping}, which names every column")
    is_complete = mapped is not None and not mapped.needs_runs
    if is_complete:
        refuse_unused(["run_table", *_OF_ALL_RUNS], f"with --mapping {mapping}, which holds what they say")
    if run_table is not None:
        refuse_unused(_OF_ALL_RUNS, "with --run-table, which holds what they say")
    if keeps_all:
        refuse_unused(["preselection"], "with --all")
    if keeps_all or preselection != SEARCH:
        refuse_unused(["card"], "without --preselection search, whose decay it says")
    if card.cuts.track_helix != SELECTION.track_helix:
        msg = f"card {card.name!r}: a preselection looks at {SELECTION.track_helix} helices alone; wanted --all"
        raise click.UsageError(msg)
    options = SkimOptions(
        runs=RunTable(()) if is_complete else conditions(run_table, sqrt_s, field, int(period), is_dst=mapped is None),
        mapping=mapped,
        preselection="all" if keeps_all else preselection,
        cuts=card.cuts,
        **given,
    )
    if part is None:
        make_ntuples(files, options, kind, executor, where)
    else:
        _make_share(files, options, part, executor, where)


def make_ntuples(
    files: Sequence[str], options: SkimOptions, kind: str | None, executor: str, where: ClusterOptions
) -> Path:
    """Skim files and return their completed fileset.

    Args:
        files: Paths or addresses.
        options: How the skim is done.
        kind: Kind of the dataset; None: ``data`` or, for simulation, ``inclusive``.
        executor: What runs it.
        where: The cluster, for ``dask``.

    Raises:
        IncompleteError: A file could not be skimmed; the others were.
    """
    items = plan(files, options)
    failed = _skim([item for item in items if not is_done(item)], options, executor, where)
    return _finish(items, options, kind, failed)


def _make_share(files: Sequence[str], options: SkimOptions, part: str, executor: str, where: ClusterOptions) -> None:
    """Skim one share of the files."""
    items = part_of(plan(files, options), part)
    failed = _skim([item for item in items if not is_done(item)], options, executor, where)
    _require_all(items, failed)
    console().print(f"share {part} is whole: {len(items)} ntuples")


def conditions(
    run_table: Path | None, sqrt_s: float | None, field: float = 1.0, period: int = 2018, *, is_dst: bool = True
) -> RunTable:
    """Return the run table, or the same conditions for all runs, with a warning that says which."""
    if run_table is not None:
        return read_run_table(run_table)
    if sqrt_s is None:
        msg = "got neither --run-table nor --sqrt-s; wanted the energy of the beams from one of them"
        raise click.UsageError(msg)
    same = Conditions(sqrt_s=sqrt_s, field=field, period=period)
    click.secho(f"warning: no --run-table: all runs get {describe(same)}.", err=True, bold=True)
    if is_dst:
        click.secho(_NO_POINT, err=True, bold=True, fg="red")
    return uniform(same)


def _skim(items: Sequence[SkimItem], options: SkimOptions, executor: str, where: ClusterOptions) -> list[Any]:
    """Write what is missing; return the failures."""
    if not items:
        return []
    failed: list[Any] = []
    try:
        with make_executors(executor, where, has_bar=False) as make, meter(items):
            run = make("skimming", sum(len(i) for i in items), lambda group: failed.extend(group.get("failed", [])))
            run(items, Skim(options), {})
    finally:
        remove_partials(item.output for item in items)
        forget(items)
    return failed


def _finish(items: list[SkimItem], options: SkimOptions, kind: str | None, failed: list[Any]) -> Path:
    """Show and write what there is; a missing output ends in an error."""
    books = read_books(items)
    table = skim_plan.table(f"{options.dataset} ({options.preselection})", books)
    write_json(options.output / derived.SKIM, {"files": table.rows, "failed": failed})
    if books:
        show(table)
        for line in (*skim_plan.job_warnings(books), *skim_plan.fallback_warnings(books)):
            click.echo(f"warning: {line}", err=True)
    _require_all(items, failed)
    if skim_plan.stands_for_nothing(books):
        click.echo(f"warning: no input has an event: dataset {options.dataset!r} is not in the fileset", err=True)
        return options.output / skim_plan.FILESET
    if left_out := skim_plan.without_photons(options):
        click.echo(f"warning: the mapping has no column of Shower: no {', '.join(left_out)}, which read them", err=True)
    if kind == DATA and any(source.is_simulation for book in books for source in book.sources):
        click.echo(f"warning: --kind {DATA} for simulated files: a limit takes their events as observed", err=True)
    if options.calibration is None and not all(source.is_simulation for book in books for source in book.sources):
        click.echo("warning: recorded events without --calibration: the search wants one in the fileset", err=True)
    path = skim_plan.make_fileset(items, options, kind)
    wrote(path)
    return path


def _require_all(items: Sequence[SkimItem], failed: list[Any]) -> None:
    """Raise IncompleteError for a missing ntuple, and say why it is missing."""
    for failure in failed:
        click.echo(f"failed: {failure['message']}", err=True)
    if n_missing := sum(not is_done(item) for item in items):
        msg = f"{n_missing} of {len(items)} ntuples are missing; mend it and call the command again"
        raise IncompleteError(msg)
