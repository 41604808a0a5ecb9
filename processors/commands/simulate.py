"""Make simulated samples: whole sets, or one dataset; or validate the simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.errors import IncompleteError
from jpsi_lnv.analysis.events.ntuple_writer import remove_partials
from jpsi_lnv.analysis.simulation import samplesets
from jpsi_lnv.analysis.simulation.samplesets import SampleSet
from jpsi_lnv.processors.cluster.backends import EXECUTORS, cluster_options, make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.commands.skim import Groups
from jpsi_lnv.processors.console import CARD, DIRECTORY, PART, bar, console, part_of, refuse_unused, show, wrote
from jpsi_lnv.processors.sample_files import (
    Books,
    SimulateItem,
    plan,
    prepare,
    read_books,
    simulate_file,
    write_fileset,
)

# Options that mean something with --validate.
_OF_VALIDATION: Final = {"validate", "output", "seed"}


@click.command()
@click.option("--set", "name", type=click.Choice(sorted(samplesets.SETS)), default="demo", help="Sample set.")
@click.option("--process", type=click.Choice(samplesets.PROCESS_NAMES), help="Only this process instead of a set.")
@click.option("--majorana", type=float, metavar="MASS", help="Only the signal through a neutrino of this mass in GeV.")
@click.option("--mode", type=click.Choice(["2nu", "1nu"]), default="2nu", help="With --majorana: neutrinos per event.")
@CARD
@click.option("--inclusive", is_flag=True, help="Only inclusive J/psi decays (needs the extra 'sim').")
@click.option("--events", type=int, default=10_000, help="Number of events without a set.")
@click.option("--keep", type=Groups(), metavar="GROUPS", default="none", help="Raw columns as of a skim: pid, muon.")
@click.option("--hypotheses", is_flag=True, help="A helix per mass hypothesis, with its energy loss, as BOSS has.")
@click.option(
    "--output", type=DIRECTORY, help="Directory of all sample sets.  [default: samples; with --validate results]"
)
@click.option("--if-missing", is_flag=True, help="Keep files made before of this recipe and code, make the rest.")
@PART
@click.option("--seed", type=click.IntRange(0), default=samplesets.DEFAULT_SEED, help="Seed of all random numbers.")
@click.option("--executor", type=click.Choice(EXECUTORS), default="futures", help="What runs the files.")
@cluster_options
@click.option("--validate", is_flag=True, help="Make no samples: compare the simulation with its references.")
def command(
    *,
    output: Path | None,
    if_missing: bool,
    part: str | None,
    executor: str,
    where: ClusterOptions,
    validate: bool,
    seed: int,
    hypotheses: bool,
    keep: tuple[str, ...],
    **chosen: Any,
) -> None:
    """Simulate a sample set and write its fileset beside the files.

    Events depend on the seed, the dataset and their number alone: executor and number of workers change nothing.
    """
    if validate:
        names = {parameter.name for parameter in click.get_current_context().command.params if parameter.name}
        refuse_unused(sorted(names - _OF_VALIDATION), "with --validate, which makes no samples")
        _validate(output or Path("results"), seed)
        return
    samples = _samples(seed, **chosen)
    samples = samplesets.with_columns(samples, keep, has_hypotheses=hypotheses)
    items = plan(samples, output or Path("samples"))
    directory = items[0].directory
    books = Books(directory, part_of(items, part), part)
    if if_missing:
        books.keep(read_books(directory))
    missing, n_kept = books.missing, len(books.made)
    prepare(directory, sum(len(item) for item in missing))
    books.write()
    failed = _simulate(missing, books, executor, where)
    _require_all(samples, books, failed)
    if part is None:
        wrote(write_fileset(samples, directory))
    n_events = sum(len(item) for item in missing)
    what = samples.name if part is None else f"share {part} of {samples.name} is whole"
    console().print(f"{what}: {len(missing)} files written with {n_events} events, {n_kept} kept")


def _samples(
    seed: int,
    *,
    name: str,
    process: str | None,
    majorana: float | None,
    mode: str,
    card: Card,
    inclusive: bool,
    events: int,
) -> SampleSet:
    """Return the set that was asked for, or a set of one dataset.

    Raises:
        click.UsageError: More than one dataset was asked for.
    """
    asked = {"--process": process is not None, "--majorana": majorana is not None, "--inclusive": inclusive}
    if len(given := [option for option, is_there in asked.items() if is_there]) > 1:
        msg = f"got {' and '.join(given)}; wanted one of them: each makes one dataset"
        raise click.UsageError(msg)
    refuse_unused(["name"] if given else ["events"], f"with {given[0]}" if given else "with a set")
    if majorana is None:
        refuse_unused(["mode"], "without --majorana")
    channel = card.cuts.channel
    if majorana is not None:
        dataset = samplesets.majorana_point(majorana, mode, events, channel)
    elif inclusive:
        dataset = samplesets.inclusive(events)
    elif process is not None:
        dataset = samplesets.exclusive(process, events, channel)
    else:
        return samplesets.sample_set(name, seed, channel)
    return SampleSet(samplesets.set_name(dataset.name, channel), seed, (dataset,))


def _simulate(items: list[SimulateItem], books: Books, executor: str, where: ClusterOptions) -> list[dict[str, Any]]:
    """Write files; return the records of failures."""
    failed: list[dict[str, Any]] = []
    if not items:
        return failed

    def sink(group: dict[str, Any]) -> None:
        books.enter(group)
        failed.extend(group.get("failed", []))

    try:
        with make_executors(executor, where) as make:
            make("simulating", sum(len(item) for item in items), sink)(items, simulate_file, {})
    finally:
        remove_partials(item.directory / item.job.path for item in items)
    return failed


def _require_all(samples: SampleSet, books: Books, failed: list[dict[str, Any]]) -> None:
    """Raise IncompleteError for a missing file, and say why it is missing."""
    for failure in failed:
        click.echo(f"failed: {failure['message']}", err=True)
    if books.missing:
        msg = (
            f"{len(books.missing)} of {len(books.items)} files of set {samples.name!r} are missing; "
            "mend it and call the command again with --if-missing"
        )
        raise IncompleteError(msg)


def _validate(results: Path, seed: int) -> None:
    """Print the validation table and write it with its figure; unmet wishes are shown, not failed."""
    from jpsi_lnv.analysis.documents import write_json  # noqa: PLC0415
    from jpsi_lnv.analysis.report import simulation, validation  # noqa: PLC0415 draws figures

    with bar("validating", validation.N_STEPS, unit="steps") as advance:
        found = validation.validate(seed, advance).to_dict()
    show(*simulation.tables(found))
    path = write_json(results / derived.VALIDATION, found)
    figures = simulation.save_figures(found, results)
    wrote(path, *figures)
