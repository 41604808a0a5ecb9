"""Freeze the cuts before the data are unblinded."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.processors.books.unblinding import FROZEN, freeze, line
from jpsi_lnv.processors.console import FILE, card_options, wrote


@click.command()
@card_options
@click.option("--output", type=FILE, default=FROZEN, help="File of the record.")
@click.option("--replace", is_flag=True, help="Give up other cuts that are frozen already.")
@click.option("--calibration", type=FILE, help="Calibration of the blind data.  [default: the package's own constants]")
def command(*, card: Card, output: Path, replace: bool, calibration: Path | None) -> None:
    """Write the decay and the cuts that are final, with time, commit and the digests of cuts, calibration and code.

    The line that is printed holds all digests: deposit it where nobody of the analysis can change it. From now on the
    box of blind data is that of these cuts, and `lnv run --unblind REASON` opens it only for a run with exactly them.
    """
    click.echo(line(freeze(card.cuts, output, replace=replace, calibration=calibration)))
    wrote(output)
