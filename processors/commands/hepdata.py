"""Write a HEPData submission and the pyhf likelihood."""

from __future__ import annotations

from pathlib import Path

import click

from analysis.report import hepdata, source
from processors.console import console

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--accumulator", type=FILE, help="Merged result; default: accumulator.zip in the output directory.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), help="Directory.")
def command(*, accumulator: Path | None, output: Path) -> None:
    """Write a HEPData submission and the likelihood into the directory `hepdata` of the output directory.

    The submission holds the limits with their expected bands, the M(KKee) spectrum, cut flows and figures, and is
    checked by hepdata-validator. Needs the extra `hepdata`; no network.
    """
    written = hepdata.write(output / "hepdata", source.read(output, accumulator))
    console().print(f"wrote {', '.join(str(path) for path in written)}", soft_wrap=True)
