"""Estimate the background from exclusive decays, the continuum and inclusive events."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import background, derived, normalization
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.processors.console import print_table, wrote
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
    found = channels[None]
    rows = [
        {
            "dataset": c.name,
            "process": c.process,
            "direct": c.n_direct,
            "weight": f"{c.weight:.3g}",
            "kinematic": c.n_kinematic,
            "n_bkg": f"{c.n_bkg:.2g}",
            "sigma": f"{c.sigma:.2g}",
        }
        for c in sorted(found.contributions, key=lambda c: -c.sigma)
    ]
    total = found.total
    footer = f"total {total.value:.3g} ± {total.sigma:.2g} events: {total.source}"
    if found.continuum:
        footer += f"; continuum {found.continuum.value:.3g} ± {found.continuum.sigma:.2g}: {found.continuum.source}"
    if found.inclusive_limit is not None:
        footer += f"; no inclusive event survives: below {found.inclusive_limit:.3g} at 90 %, shown only"
    print_table("Expected background in the signal region", rows, footer=footer)
    path = derived.write(output, "background", background.to_json(channels), merged, {"n_jpsi": number})
    wrote(path)
