"""Compute the upper limits from a merged result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.limits import gather, measured, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.mixing import Normalisation
from jpsi_lnv.analysis.limits.mixing import read as read_curve
from jpsi_lnv.processors import limit_tables
from jpsi_lnv.processors.console import console, print_table, write_json
from jpsi_lnv.processors.options import ALLOW_INCOMPLETE, FILE, FiniteRange, result_options

# Seed of the toys of the coverage curves.
SEED = 20250706


@click.command()
@result_options
@click.option("--method", type=click.Choice([*methods.METHODS, "all"]), default="rolke", help="How the limit is set.")
@click.option(
    "--confidence-level", type=FiniteRange(0, 1, min_open=True, max_open=True), default=0.90, help="Fraction."
)
@click.option(
    "--systematics",
    metavar="measured|FILE",
    help="From the control samples, or a JSON of fractions; default: measured where the control samples are there.",
)
@click.option(
    "--background",
    metavar="estimated|N",
    help="From exclusive samples with PID weights, or events; default: estimated where the samples are there, else 0.",
)
@click.option("--background-sigma", type=FiniteRange(min=0), default=0.0, help="Uncertainty of N in events.")
@click.option("--expected", is_flag=True, help="Hide the observed events: expected limits only.")
@click.option("--checks", is_flag=True, help="Also scan background and chi2 cut, p-values, coverage, likelihood.")
@click.option("--mixing", type=FILE, help="CSV m_majorana, branching_fraction at |V_eN|^2 = 1: limits on |V_eN|^2.")
@click.option("--mixing-power", type=FiniteRange(min=0, min_open=True), default=1.0, help="B ~ (|V_eN|^2)^power.")
@click.option("--closure", is_flag=True, help="Recompute the published limits from the published inputs instead.")
@ALLOW_INCOMPLETE
def command(
    *,
    accumulator: Path,
    output: Path,
    method: str,
    confidence_level: float,
    systematics: str | None,
    background: str | None,
    background_sigma: float,
    expected: bool,
    checks: bool,
    mixing: Path | None,
    mixing_power: float,
    closure: bool,
    allow_incomplete: bool,
) -> None:
    """Compute the upper limits: overall first, then at each simulated Majorana mass.

    Writes limits.json and prints the table. The yield limit n_up is in produced events; that on the branching fraction
    is n_up/N(J/psi). What 90 % means differs by method and is printed below the table.
    """
    if closure and checks:
        msg = "got --closure with --checks; wanted one of them: the published inputs have no candidates to check"
        raise click.UsageError(msg)
    if closure:
        _show_closure(output)
        return
    merged = results.read(accumulator)
    merged.require_complete(allow_incomplete=allow_incomplete)
    choices = choose(merged, systematics, background, background_sigma)
    inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
    if expected:
        inputs = [i.without_observation() for i in inputs]
    names = list(methods.METHODS) if method == "all" else [method]
    limits = [
        [methods.upper_limit(i, method=name, confidence_level=confidence_level) for name in names] for i in inputs
    ]
    curve = read_curve(mixing, power=mixing_power) if mixing else None
    _show_limits(output, merged, limits, curve)
    if checks:
        _show_checks(output, merged, inputs, confidence_level)


def choose(merged: results.Results, systematics: str | None, background: str | None, sigma: float) -> gather.Choices:
    """Return what the limits take besides counts and efficiencies.

    Args:
        merged: The result.
        systematics: ``measured``, the path of a file, or None for measured ones where there are control samples.
        background: ``estimated``, a number of events, or None for an estimate where there are background samples.
        sigma: Uncertainty of a given number of events.

    Raises:
        ResultsError: What is asked for cannot be had from the result, or the file has another form.
        click.UsageError: The background is neither a word that is known nor a number of events, or it is an estimate
            and an uncertainty is given besides.
    """
    if systematics is None and measured.has_control_samples(merged):
        systematics = measured.MEASURED
    if background is None and measured.has_background_samples(merged):
        background = measured.ESTIMATED
    given = None
    if systematics == measured.MEASURED:
        found = measured.systematics(merged)
        given = gather.GivenSystematics("measured from control samples", found.overall, found.per_mass)
    elif systematics is not None:
        given = gather.read_systematics(Path(systematics))
        if given.made_from:
            derived.require({derived.MADE_FROM: given.made_from}, merged, Path(systematics), "lnv systematics")
    if background == measured.ESTIMATED and sigma:
        msg = f"got --background-sigma {sigma:g} with an estimate, which has its own; wanted --background N with it"
        raise click.UsageError(msg)
    if background == measured.ESTIMATED:
        return gather.Choices(systematics=given, estimated=measured.backgrounds(merged))
    source = "assumed" if background is None else "command line"
    return gather.Choices(
        systematics=given, n_bkg=_events(background or "0"), n_bkg_sigma=sigma, background_source=source
    )


def _events(text: str) -> float:
    try:
        events = float(text)
    except ValueError:
        events = -1.0
    if not 0.0 <= events < float("inf"):
        msg = f"got {text!r}; wanted 'estimated' or a number of events that is not negative"
        raise click.BadParameter(msg, param_hint="--background")
    return events


def _show_limits(
    output: Path, merged: results.Results, limits: Sequence[Sequence[methods.Limit]], curve: Normalisation | None
) -> None:
    first = limits[0]
    power = limit_tables.power_of_ten(first[0])
    title = f"Upper limits at {100 * first[0].confidence_level:.4g} % CL, branching fractions in 1e{power}"
    rows = [limit_tables.limit_row(by_method, power) | _mixing(by_method[0], curve) for by_method in limits]
    print_table(title, rows, footer=limit_tables.limit_footer(first))
    records = [limit.to_dict() | _mixing(limit, curve) for by_method in limits for limit in by_method]
    path = derived.write(output, "limits", {"limits": records}, merged)
    console().print(f"wrote {path}")


def _mixing(limit: methods.Limit, curve: Normalisation | None) -> dict[str, float | None]:
    if curve is None:
        return {}
    mass, branching_fraction = limit.inputs.m_majorana, limit.branching_fraction_ul
    has_limit = mass is not None and branching_fraction is not None
    return {"mixing_ul": curve.mixing(mass, branching_fraction) if has_limit else None}  # type: ignore[arg-type]


def _show_checks(output: Path, merged: results.Results, inputs: Sequence[LimitInputs], confidence_level: float) -> None:
    from jpsi_lnv.analysis.limits import coverage, likelihood, studies  # noqa: PLC0415 only this option needs them

    overall, scan = inputs[0], inputs[1:]
    found = {
        "background_scan": studies.background_scan(overall),
        "chi2_scan": studies.chi2_scan(merged, overall, merged.cuts),
        "p_values": studies.p_values(scan),
        "conjugate_channels": studies.conjugate_channels(merged, overall),
        "periods": studies.periods(merged, overall),
    }
    curves = coverage.curves(delta_sys=overall.delta_sys, seed=SEED, confidence_level=confidence_level)
    for title, rows in limit_tables.check_tables(found, curves):
        print_table(title, rows)
    written = [
        derived.write(output, "limit_checks", found, merged),
        derived.write(output, "coverage", {"curves": curves}, merged),
    ]
    if overall.n_obs is not None:
        written.append(write_json(output / "likelihood.json", likelihood.workspace(overall)))
    console().print(f"wrote {', '.join(str(path) for path in written)}")


def _show_closure(output: Path) -> None:
    from jpsi_lnv.analysis.report import closure  # noqa: PLC0415 only this option reads the publication

    content = closure.to_dict()
    rows = [limit_tables.closure_row(row) for row in closure.rows()]
    print_table("Published limits in 1e-9, recomputed from the published inputs", rows)
    relations = [*content["agreements"], *content["conflicts"]]
    print_table("Relations between published numbers", [limit_tables.relation_row(r) for r in relations])
    console().print(f"wrote {write_json(output / 'closure.json', content)}")
