"""Make one result of the shares of a run (`lnv run --part`), wherever and in whatever order they were done."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import unblinding
from jpsi_lnv.processors.books.checkpoints import output_lock
from jpsi_lnv.processors.books.unblinding import FROZEN
from jpsi_lnv.processors.console import DIRECTORY, FILE, PLUGIN, card_options
from jpsi_lnv.processors.plugin import load
from jpsi_lnv.processors.run import RunOptions, finish, merge


@click.command()
@click.argument("fileset", metavar="FILESET", type=FILE)
@click.argument("shares", metavar="DIRECTORY...", nargs=-1, required=True, type=DIRECTORY)
@click.option("--output", type=DIRECTORY, default=Path("results"), help="Directory of the results.")
@click.option("--datasets", help="Shell patterns of the datasets that the shares are of, as given to `lnv run`.")
@click.option("--unblind", metavar="REASON", help="The reason that was given to `lnv run --unblind`.")
@click.option("--frozen", type=FILE, default=FROZEN, help="File of `lnv freeze`: the box of blind data.")
@card_options
@PLUGIN
def command(
    *,
    fileset: Path,
    shares: tuple[Path, ...],
    output: Path,
    datasets: str | None,
    unblind: str | None,
    frozen: Path,
    card: Card,
    plugin: Path | None,
) -> None:
    """Make one result of the shares of a run over FILESET, the outputs of `lnv run --part`.

    The exit status is not 0 unless every event of every file is in the result exactly once. What is missing is done by
    the same share again, or all at once by `lnv run --resume` into the output of this command.
    """
    chosen = filesets.select(filesets.load(fileset), datasets)
    unblinding.require_frozen(card.cuts, frozen, chosen)
    box = unblinding.box(frozen)
    options = RunOptions(output=output, card=card, cuts=card.cuts, box=box, plugin=load(plugin))
    chosen = options.plugin.attach(chosen)
    if unblind is not None:
        chosen, record = unblinding.unblind(chosen, options.cuts, unblind, frozen)
        options = dataclasses.replace(options, unblinding=record)
    with output_lock(output):
        finish(merge(chosen, shares, options), options)
