"""Check what is frozen against the present code before the box is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.report.tables import Field, Table, text, yes_no
from jpsi_lnv.processors.books.unblinding import BINDING, FROZEN, BlindingError, compare
from jpsi_lnv.processors.console import FILE, card_options, show

_FIELDS: Final = (
    Field("what", "what"),
    Field("deposited", "deposited", text),
    Field("frozen", "frozen", text),
    Field("now", "now", text),
    Field("is_same", "same", yes_no),
)


@click.command()
@card_options
@click.option("--check", is_flag=True, help="Compare; this command opens nothing.")
@click.option("--deposited", metavar="LINE", help="The line that `lnv freeze` printed, from where it was deposited.")
@click.option("--frozen", type=FILE, default=FROZEN, help="File of `lnv freeze`.")
@click.option("--calibration", type=FILE, help="Calibration of the blind data.  [default: the package's own constants]")
def command(*, card: Card, check: bool, deposited: str | None, frozen: Path, calibration: Path | None) -> None:
    """Compare what is frozen with the present cuts, calibration and code, and with the deposited line.

    The exit status is not 0 if cuts or calibration differ, or the record is not the deposited one. Other code is shown
    and goes into the result when the box is opened, with `lnv run FILESET --unblind REASON`.
    """
    if not check:
        msg = "got no --check; the box is opened by `lnv run FILESET --unblind REASON`"
        raise click.UsageError(msg)
    found = compare(frozen, deposited, card.cuts, calibration)
    rows = tuple({**vars(c), "what": c.what.replace("_", " "), "is_same": c.is_same} for c in found)
    show(Table("frozen", str(frozen), _FIELDS, rows))
    wrong = [c.what for c in found if not c.is_same and (c.what in BINDING or c.deposited not in (None, c.frozen))]
    if wrong:
        msg = f"{frozen}: {', '.join(name.replace('_', ' ') for name in wrong)} differ; the box stays closed"
        raise BlindingError(msg)
