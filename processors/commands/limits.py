"""Compute the upper limits from a merged result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from analysis import results
from analysis.limits import gather, methods
from processors.console import console, print_table, write_json

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--accumulator", type=FILE, help="Merged result; default: accumulator.zip in the output directory.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), help="Directory.")
@click.option("--method", type=click.Choice([*methods.METHODS, "all"]), default="rolke", help="How the limit is set.")
@click.option(
    "--confidence-level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.90, help="Fraction."
)
@click.option("--systematics", type=FILE, help="JSON of relative systematic uncertainties (fractions).")
@click.option("--background", type=click.FloatRange(min=0), default=0.0, help="Expected background in events.")
@click.option("--background-sigma", type=click.FloatRange(min=0), default=0.0, help="Its uncertainty in events.")
@click.option("--expected", is_flag=True, help="Hide the observed events: expected limits only.")
@click.option("--allow-incomplete", is_flag=True, help="Accept a result that does not cover every event.")
def command(
    *,
    accumulator: Path | None,
    output: Path,
    method: str,
    confidence_level: float,
    systematics: Path | None,
    background: float,
    background_sigma: float,
    expected: bool,
    allow_incomplete: bool,
) -> None:
    """Compute the upper limits: overall first, then at each simulated Majorana mass.

    Writes limits.json and prints the table. n_up is the limit on produced events, that on the branching fraction is
    n_up/N(J/psi). At 90 % `rolke` cuts the profile likelihood at 2.706, a two-sided chi2 quantile.
    """
    merged = results.read(accumulator or output / "accumulator.zip")
    merged.require_complete(allow_incomplete=allow_incomplete)
    choices = gather.Choices(
        systematics=gather.read_systematics(systematics) if systematics else None,
        n_bkg=background,
        n_bkg_sigma=background_sigma,
        background_source="assumed" if background == 0.0 else "command line",
    )
    inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
    if expected:
        inputs = [i.without_observation() for i in inputs]
    names = list(methods.METHODS) if method == "all" else [method]
    limits = [methods.upper_limit(i, method=m, confidence_level=confidence_level) for i in inputs for m in names]
    print_table(f"Upper limits at {confidence_level:.0%} CL", [_row(limit) for limit in limits], footer=_footer(limits))
    path = write_json(output / "limits.json", {"limits": [limit.to_dict() for limit in limits]})
    console().print(f"wrote {path}")


def _row(limit: methods.Limit) -> dict[str, Any]:
    inputs, n_jpsi = limit.inputs, limit.inputs.n_jpsi
    branching_fraction = limit.branching_fraction_ul
    return {
        "mass [GeV/c2]": "all" if inputs.m_majorana is None else f"{inputs.m_majorana:.3f}",
        "method": limit.method,
        "n_obs": "hidden" if inputs.n_obs is None else inputs.n_obs,
        "n_bkg": inputs.n_bkg,
        "efficiency [%]": f"{100 * inputs.efficiency:.2f}",
        "delta_sys [%]": f"{100 * inputs.delta_sys:.1f}",
        "n_up": "" if limit.n_up is None else f"{limit.n_up:.2f}",
        "BF limit": "" if branching_fraction is None else f"{branching_fraction:.2e}",
        "expected BF limit": f"{limit.expected.median / n_jpsi:.2e}",
    }


def _footer(limits: list[methods.Limit]) -> str:
    provenance = limits[0].inputs.provenance
    return "; ".join(f"{name}: {source}" for name, source in provenance.items())
