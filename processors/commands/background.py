"""Estimate the background from exclusive decays, the continuum and inclusive events."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import background, background_checks, derived, misid_rates, normalization
from jpsi_lnv.analysis.report import background as report
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.processors.console import FILE, N_JPSI, PAIRING, merged_result, show, wrote


@click.command()
@merged_result
@N_JPSI
@click.option("--misid", type=FILE, help="JSON of measured misidentification rates, used instead of simulated ones.")
@PAIRING
def command(*, merged: Results, output: Path, n_jpsi: float | None, misid: Path | None, pairing: str) -> None:
    """Estimate the background in the signal region and at each Majorana mass.

    Exclusive decays count with the rates of misidentification, events off the resonance and inclusive ones as they
    are. Writes background.json, from which `lnv limits` takes the counts, and misid.json, the rates in use in the form
    that --misid reads.
    """
    number = normalization.n_jpsi(merged, n_jpsi).value
    found = background.estimate(merged, number, misid, pairing)
    content = background.to_json(found) | background_checks.to_json(merged, found)
    source = Source(merged, extras={"background": content})
    show(report.contributions(source), report.per_mass(source), report.closure(source), report.overlaps(source))
    options, files = {"n_jpsi": number, "pairing": pairing}, [misid] if misid else []
    rates = derived.write(output, "misid", misid_rates.to_json(found.rates), merged, files=files)
    wrote(derived.write(output, "background", content, merged, options, [rates, *files]), rates)
