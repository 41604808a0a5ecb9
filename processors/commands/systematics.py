"""Measure the systematic uncertainties from the control samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jpsi_lnv.analysis import derived, normalization
from jpsi_lnv.analysis.datasets import SIGNAL
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics import corrections, table
from jpsi_lnv.analysis.systematics.table import Table
from jpsi_lnv.processors.console import console, print_table, wrote
from jpsi_lnv.processors.options import FILE, merged_result

# Heads of the columns of the table per mass.
SHORT = {
    "n_jpsi": "N(J/psi)",
    "tracking": "tracking",
    "pid": "PID",
    "kinematic_fit": "4C fit",
    "signal_region": "region",
    "mc_statistics": "MC stat.",
    "mc_modelling": "MC model",
}
CORRECTIONS = "corrections.json"


@click.command()
@merged_result
@click.option("--rule", type=click.Choice(table.RULES), default="average", help="MC modelling of the overall search.")
@click.option("--compare", type=FILE, help="JSON of other values with 'sources', shown beside the measured ones.")
def command(*, merged: Results, output: Path, rule: str, compare: Path | None) -> None:
    """Measure every row of the table of systematic uncertainties from a merged result.

    Writes systematics.json, which `lnv limits` reads.
    """
    tables = table.measure(merged, rule)
    other = read_comparison(compare) if compare else {}
    print_table("Systematic uncertainties [%]", overall_rows(tables[0], other), footer=_per_track(tables[0]))
    if tables[1:]:
        print_table("at each Majorana mass [%]", [_mass_row(t) for t in tables[1:]])
    efficiency = _correct(merged, output)
    content = table.to_json(tables) | {"efficiency": efficiency}
    path = derived.write(output, "systematics", content, merged, {"rule": rule})
    wrote(path, output / CORRECTIONS)


def _correct(merged: Results, output: Path) -> dict[str, float]:
    """Write the corrections, print and return the corrected efficiency of the signal."""
    corrections.write(corrections.derive(merged), output / CORRECTIONS)
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


def overall_rows(measured: Table, other: dict[str, float]) -> list[dict[str, Any]]:
    """Return the rows of the overall table, measured and given side by side, in percent."""
    rows = [(row.source, row.title, row.value, row.method) for row in measured.rows]
    rows.append(("total", "total", measured.total, "in quadrature"))
    return [
        {"source": title, "measured": f"{100 * value:.2f}"}
        | ({"given": f"{100 * other[key]:.1f}" if key in other else ""} if other else {})
        | {"how": method}
        for key, title, value, method in rows
    ]


def _per_track(measured: Table) -> str:
    """Return the differences per track and of the steps, data over simulation less 1, and the models, in percent."""
    parts = []
    for row in measured.rows:
        for name in ("electron", "kaon", "difference"):
            if name in row.details:
                sigma = row.details["sigma" if name == "difference" else f"{name}_sigma"]
                label = row.title if name == "difference" else f"{row.title} per {name}"
                parts.append(f"{label}: {100 * row.details[name]:+.2f} ± {100 * sigma:.2f}")
    models = measured.rows[-1].details
    parts.append(
        f"MC models: average {100 * models['mean_of_models']:.2f}, phase space {100 * models['efficiency']:.2f}"
    )
    parts.append(f"largest relative difference {100 * models['largest_difference']:.2f}")
    return "; ".join(parts)


def _mass_row(measured: Table) -> dict[str, Any]:
    values = {SHORT[row.source]: f"{100 * row.value:.2f}" for row in measured.rows}
    return {"mass": f"{measured.m_majorana:.3f}"} | values | {"total": f"{100 * measured.total:.2f}"}
