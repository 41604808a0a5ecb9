"""Estimate the background from exclusive decays, the continuum and inclusive events."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import background, derived, normalization
from jpsi_lnv.analysis.report.background import contributions
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.processors.console import show, wrote
from jpsi_lnv.processors.options import N_JPSI, merged_result


@click.command()
@merged_result
@N_JPSI
def command(*, merged: Results, output: Path, n_jpsi: float | None) -> None:
    """Estimate the background in the signal region and at each Majorana mass, and write background.json.

    Exclusive decays count with misidentification weights. What zero surviving inclusive events would exclude is shown
    and enters nothing.
    """
    number = n_jpsi or normalization.n_jpsi(merged).value
    channels = background.per_channel(merged, number)
    content = background.to_json(channels)
    show(contributions(Source(merged, extras={"background": content})))
    path = derived.write(output, "background", content, merged, {"n_jpsi": number})
    wrote(path)
