"""Write a result in the form of another program."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.report import root_file
from jpsi_lnv.processors.console import console, result_options, wrote


@click.command()
@click.option("--root", is_flag=True, help="Histograms, cut flows and candidates as a ROOT file.")
@result_options
def command(*, root: bool, accumulator: Path, output: Path) -> None:
    """Write a result as ROOT reads it: histograms.root, with directories dataset/selection.

    A histogram that tells categories apart, such as the steps of the selection, is a directory with one per category.
    """
    if not root:
        msg = "got no form; wanted --root"
        raise click.UsageError(msg)
    path = output / derived.ROOT_FILE
    n_written = root_file.write(path, results.read(accumulator))
    console().print(f"{n_written} histograms")
    wrote(path)
