"""Measure the systematic uncertainties from the control samples."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived, normalization
from jpsi_lnv.analysis.datasets import SIGNAL
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.systematics import overall, per_mass
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics import corrections, table
from jpsi_lnv.processors.console import FILE, console, merged_result, show, wrote


@click.command()
@merged_result
@click.option("--rule", type=click.Choice(table.RULES), default="average", help="MC modelling of the overall search.")
@click.option(
    "--kinematic-fit",
    "fit_rule",
    type=click.Choice([table.CONTROL_SAMPLE, *table.FIT_RULES]),
    default=table.CONTROL_SAMPLE,
    help="Uncertainty of the 4C fit: the control sample's, or what helix corrections change in the signal, or half.",
)
@click.option(
    "--at-mass",
    "mass_rule",
    type=click.Choice(table.MASS_RULES),
    default=table.ANGLES,
    help="MC modelling at a mass: angles of the decay to two neutrinos, or its difference to that to one neutrino.",
)
@click.option("--compare", type=FILE, help="JSON of other values with 'sources', shown beside the measured ones.")
def command(*, merged: Results, output: Path, rule: str, fit_rule: str, mass_rule: str, compare: Path | None) -> None:
    """Measure every row of the table of systematic uncertainties from a merged result.

    Writes systematics.json, which `lnv limits` reads.
    """
    table.require_measured(merged.channel)
    channels = table.channels(merged)
    maps = corrections.sources(merged, channels)
    tables = [corrections.at_least(t, maps) for t in table.measure(merged, rule, fit_rule, mass_rule)]
    other = read_comparison(compare) if compare else {}
    content = table.to_json(tables)
    found = Source(merged, extras={"systematics": content})
    show(overall(found, other), per_mass(found))
    named = corrections.named_sources(tables, maps, channels)
    content |= {"efficiency": _correct(merged, output), "sources": named}
    rules = {"rule": rule, "kinematic_fit": fit_rule, "at_mass": mass_rule}
    path = derived.write(output, "systematics", content, merged, rules)
    wrote(path, output / derived.CORRECTIONS)


def _correct(merged: Results, output: Path) -> dict[str, float]:
    """Write the corrections, print and return the corrected efficiency of the signal."""
    corrections.write(corrections.derive(merged), output / derived.CORRECTIONS)
    signal = merged.of_kind(SIGNAL)
    n_produced = normalization.signal_efficiency(signal).n_total
    efficiency = corrections.corrected_efficiency(merged, table.candidates(signal), n_produced)
    console().print(
        f"efficiency {efficiency['uncorrected']:.2%}, corrected for tracking and PID {efficiency['corrected']:.2%}, "
        f"relative uncertainty {efficiency['statistical']:.2%} (stat.), {efficiency['systematic']:.2%} (syst.)"
    )
    return efficiency


def read_comparison(path: Path) -> dict[str, float]:
    """Return source -> fraction of a JSON file with ``{"sources": {...}, "overall": total}``.

    Raises:
        ResultsError: The file is missing or has another form.
    """
    given = derived.load(path, "lnv systematics")
    try:
        return {str(k): float(v) for k, v in given["sources"].items()} | {"total": float(given["overall"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: nothing to compare with ({type(error).__name__}: {error}); wanted 'sources' and 'overall'"
        raise ResultsError(msg) from error
