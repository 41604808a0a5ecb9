"""Compute the upper limits from a merged result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from analysis import results
from analysis.limits import gather, methods
from processors.console import console, print_table, write_json

FILE = click.Path(path_type=Path, dir_okay=False)
NANO = 1e9


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
@click.option("--closure", is_flag=True, help="Recompute the published limits from the published inputs instead.")
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
    closure: bool,
    allow_incomplete: bool,
) -> None:
    """Compute the upper limits: overall first, then at each simulated Majorana mass.

    Writes limits.json and prints the table. The yield limit n_up is in produced events; that on the branching fraction
    is n_up/N(J/psi). What 90 % means differs by method and is printed below the table.
    """
    if closure:
        _show_closure(output)
        return
    merged = results.read(accumulator or output / "accumulator.zip")
    merged.require_complete(allow_incomplete=allow_incomplete)
    choices = gather.Choices(
        systematics=gather.read_systematics(systematics) if systematics else None,
        n_bkg=background,
        n_bkg_sigma=background_sigma,
        background_source="command line" if background or background_sigma else "assumed",
    )
    inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
    if expected:
        inputs = [i.without_observation() for i in inputs]
    names = list(methods.METHODS) if method == "all" else [method]
    limits = [
        [methods.upper_limit(i, method=name, confidence_level=confidence_level) for name in names] for i in inputs
    ]
    _show_limits(output, limits)


def _show_limits(output: Path, limits: Sequence[Sequence[methods.Limit]]) -> None:
    first = limits[0]
    title = (
        f"Upper limits at {first[0].confidence_level:.4g} CL: yields in produced events, branching fractions in 1e-9"
    )
    print_table(title, [_row(by_method) for by_method in limits], footer=_footer(first))
    records = [limit.to_dict() for by_method in limits for limit in by_method]
    path = write_json(output / "limits.json", {"limits": records})
    console().print(f"wrote {path}")


def _row(by_method: Sequence[methods.Limit]) -> dict[str, Any]:
    inputs = by_method[0].inputs
    row: dict[str, Any] = {
        "m(nu)": "all" if inputs.m_majorana is None else f"{inputs.m_majorana:.3f}",
        "n": "-" if inputs.n_obs is None else str(inputs.n_obs),
        "b": f"{inputs.n_bkg:.3g}",
        "eff %": f"{100 * inputs.efficiency:.2f}",
        "sys %": f"{100 * inputs.delta_sys:.1f}",
    }
    if len(by_method) == 1:
        row |= {"N_up": _number(by_method[0].n_up), "BF": _nano(by_method[0].branching_fraction_ul)}
    else:
        row |= {methods.METHODS[limit.method].label: _nano(limit.branching_fraction_ul) for limit in by_method}
    return row | {"expected": _nano(by_method[0].expected.median / inputs.n_jpsi)}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _nano(value: float | None) -> str:
    return "-" if value is None else f"{NANO * value:.2f}"


def _footer(by_method: Sequence[methods.Limit]) -> str:
    meanings = [f"{limit.method}: {methods.METHODS[limit.method].meaning}" for limit in by_method]
    sources = [f"{name}: {source}" for name, source in by_method[0].inputs.provenance.items()]
    certain = ["expected bands coincide: without background zero events are the only outcome"]
    return "\n".join([*meanings, *sources, *(certain if by_method[0].expected.is_certain else [])])


def _show_closure(output: Path) -> None:
    from analysis.report import closure  # noqa: PLC0415 only this option reads the publication

    content = closure.to_dict()
    print_table(
        "Published limits in 1e-9, recomputed from the published inputs", [_closure_row(r) for r in closure.rows()]
    )
    relations = [*content["agreements"], *content["conflicts"]]
    print_table("Relations between published numbers", [_relation_row(r) for r in relations])
    console().print(f"wrote {write_json(output / 'closure.json', content)}")


def _closure_row(row: Any) -> dict[str, Any]:
    return {
        "m(nu)": f"{row.m_majorana:.3f}",
        "n": str(row.n_obs),
        "eff %": f"{100 * row.efficiency:.2f}",
        "sys %": f"{100 * row.delta_sys:.1f}",
        "published": f"{row.published:.2f}",
        "10.087e9": f"{row.recomputed:.3f}",
        "ratio": f"{row.ratio:.3f}",
        "10.87e9": f"{row.recomputed_inferred:.3f}",
        "ratio'": f"{row.ratio_inferred:.3f}",
    }


def _relation_row(relation: dict[str, Any]) -> dict[str, Any]:
    return {
        "relation": relation["what"],
        "published": " / ".join(f"{p:g}" for p in relation["published"]),
        "computed": f"{relation['computed']:.4g}",
        "holds": "yes" if relation["holds"] else "no",
        "remark": relation["remark"],
    }
