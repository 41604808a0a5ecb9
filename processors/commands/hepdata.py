"""Write a HEPData submission and the pyhf likelihood."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.report import hepdata, source
from jpsi_lnv.processors.console import result_options, wrote


@click.command()
@result_options
@click.option("--inspire", type=click.IntRange(1), metavar="N", help="Number of the publication's record in INSPIRE.")
def command(*, accumulator: Path, output: Path, inspire: int | None) -> None:
    """Write a HEPData submission and the likelihood into the directory `hepdata` of the output directory.

    The submission holds the limits with their expected bands, the efficiencies with their covariance, the mass
    spectrum, cut flows and figures, and is checked by hepdata-validator. Needs the extra `hepdata`; no network.
    """
    written = hepdata.write(output / derived.HEPDATA, source.read(output, accumulator), inspire)
    wrote(*written)
