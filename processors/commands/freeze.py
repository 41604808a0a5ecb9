"""Freeze the cuts before the data are unblinded."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.processors.books.unblinding import FROZEN, freeze
from jpsi_lnv.processors.console import console


@click.command()
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=FROZEN, help="File to write.")
@click.option("--replace", is_flag=True, help="Give up other cuts that are frozen already.")
def command(*, path: Path, replace: bool) -> None:
    """Write the cuts that are final with time, commit and digest.

    `lnv run --unblind REASON` opens the box only for a run with exactly these cuts.
    """
    record = freeze(SELECTION, path, replace=replace)
    console().print(f"cuts {record['cuts_digest']} frozen at {record['time']}, commit {record['commit']}: {path}")
