"""Compute the upper limits from a merged result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from jpsi_lnv.analysis import derived, majorana, results
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.limits import cautions, gather, likelihood, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sideband import SideBand
from jpsi_lnv.analysis.majorana import Normalisation
from jpsi_lnv.analysis.majorana import read as read_curve
from jpsi_lnv.analysis.report import mass_scan, result
from jpsi_lnv.analysis.report import studies as study_tables
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.processors.console import (
    ALLOW_INCOMPLETE,
    FILE,
    N_JPSI,
    PAIRING,
    FiniteRange,
    console,
    refuse_unused,
    result_options,
    show,
    wrote,
)

# Stem of a file and its content -> its path.
Save = Callable[[str, Mapping[str, Any]], Path]
# Seed of the toys of the coverage curves.
SEED = 20250706


def _side_bands(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[SideBand, ...]:
    try:
        pairs = [(float(m), float(tau)) for m, tau in (text.split(",") for text in given)]
        return tuple(SideBand(f"side band {i + 1}", m, tau) for i, (m, tau) in enumerate(pairs))
    except ValueError as error:
        msg = f"got {', '.join(given)} ({error}); wanted M,TAU such as 3,10"
        raise click.BadParameter(msg) from error


@click.command()
@result_options
@click.option(
    "--method",
    type=click.Choice([*methods.METHODS, "all"]),
    default=methods.PUBLICATION,
    help="Method that is shown beside the publication's and the recommended limit.",
)
@click.option(
    "--confidence-level",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.90,
    help="As a fraction.",
)
@click.option(
    "--systematics",
    type=FILE,
    help="JSON of fractions.  [default: systematics.json of `lnv systematics` where the control samples ran]",
)
@click.option(
    "--background",
    type=FiniteRange(min=0),
    metavar="N",
    help="Expected events.  [default: background.json of `lnv background` where background samples ran, else 0]",
)
@click.option("--background-sigma", type=FiniteRange(min=0), default=0.0, help="Uncertainty of N > 0 in events.")
@click.option(
    "--side-band",
    "side_bands",
    multiple=True,
    metavar="M,TAU",
    callback=_side_bands,
    help="Instead of --background: M events counted where TAU times as many are expected; may be repeated.",
)
@click.option(
    "--lead",
    type=click.Choice([methods.PUBLICATION, methods.RECOMMENDED]),
    default=methods.PUBLICATION,
    help="Which of the two limits is the first record and leads the report.",
)
@N_JPSI
@PAIRING
@click.option("--expected", is_flag=True, help="Hide the observed events; writes limits_expected.json instead.")
@click.option("--checks", is_flag=True, help="Scan background and chi2 cut, p-values, coverage, likelihood besides.")
@click.option("--mixing", type=FILE, help="CSV m_majorana, branching_fraction at |V_eN|^2 = 1: limits on |V_eN|^2.")
@click.option(
    "--mixing-power", type=FiniteRange(min=0, min_open=True), default=1.0, help="B ~ (|V_eN|^2)^power of --mixing."
)
@click.option("--closure", is_flag=True, help="Recompute the published limits from the published inputs instead.")
@ALLOW_INCOMPLETE
def command(
    *,
    accumulator: Path,
    output: Path,
    method: str,
    confidence_level: float,
    systematics: Path | None,
    background: float | None,
    background_sigma: float,
    side_bands: tuple[SideBand, ...],
    lead: str,
    n_jpsi: float | None,
    pairing: str,
    expected: bool,
    checks: bool,
    mixing: Path | None,
    mixing_power: float,
    closure: bool,
    allow_incomplete: bool,
) -> None:
    """Compute the upper limits: overall first, then at each simulated Majorana mass.

    Background and systematic uncertainties are those that `lnv background` and `lnv systematics` wrote from the same
    result, unless they are given. Writes limits.json and prints the table. The yield limit n_up is in produced events;
    that on the branching fraction is n_up/N(J/psi). What 90 % means differs by method and is printed below the table.
    """
    _refuse_contradictions(background, background_sigma, side_bands)
    if mixing is None:
        refuse_unused(["mixing_power"], "without --mixing")
    if closure:
        known = {parameter.name for parameter in click.get_current_context().command.params if parameter.name}
        refuse_unused(sorted(known - {"closure", "output"}), "with --closure, which takes the published inputs")
        _show_closure(output)
        return
    given = _given_background(background, background_sigma, side_bands)
    merged = results.read(accumulator)
    merged.require_complete(allow_incomplete=allow_incomplete)
    if not expected:
        gather.require_own_number(merged, n_jpsi)
    choices = gather.choose(merged, output, systematics=systematics, background=given, n_jpsi=n_jpsi, pairing=pairing)
    inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
    if expected:
        inputs = [i.without_observation() for i in inputs]
    names = _names(method, lead)
    limits = [
        [methods.upper_limit(i, method=name, confidence_level=confidence_level) for name in names] for i in inputs
    ]
    curve = read_curve(mixing, power=mixing_power) if mixing else None
    options = {
        "method": method,
        "lead": lead,
        "confidence_level": confidence_level,
        "expected": expected,
        "pairing": pairing,
    }
    save = partial(derived.write, output, results=merged, options=options, files=choices.files)
    shown = _shown(merged, limits, curve)
    shown.limits[0]["ranking"] = _ranking(limits[0][0], choices)
    show(result.methods(shown), mass_scan.by_method(shown), mass_scan.scan(shown))
    for line in (result.sentence(shown), *filter(None, [result.cautions(shown)])):
        console().print(line, markup=False, soft_wrap=True)
    stem = "limits_expected" if expected else "limits"
    if not (checks and _says_more(output, stem, shown)):
        wrote(save(stem, {"limits": shown.limits}))
    # Windows in mean and difference are for both pairs.
    if not expected and pairing == majorana.BOTH:
        _scan_masses(save, merged, choices, inputs[0], confidence_level)
    if checks:
        # Intervals that share events have no p-value of their own.
        found = _show_checks(save, shown, inputs if pairing == majorana.BOTH else inputs[:1], choices, confidence_level)
        _write_likelihoods(output, inputs, choices, found)


def _refuse_contradictions(n_bkg: float | None, sigma: float, side_bands: tuple[SideBand, ...]) -> None:
    """Raise UsageError for options of the background of which one would be ignored."""
    if side_bands and n_bkg is not None:
        msg = f"got --background {n_bkg:g} with --side-band; wanted one of them"
        raise click.UsageError(msg)
    if n_bkg is None and sigma:
        msg = f"got --background-sigma {sigma:g} without --background N, whose uncertainty it is"
        raise click.UsageError(msg)


def _scan_masses(
    save: Save, merged: results.Results, choices: gather.Choices, overall: LimitInputs, confidence_level: float
) -> None:
    """Write the scan over all masses, and say what its smallest p-value is."""
    from jpsi_lnv.analysis.limits import mass_scan as fine_scan  # noqa: PLC0415

    rng = np.random.default_rng(SEED)
    found = fine_scan.to_dict(merged, choices, overall.background, confidence_level=confidence_level, rng=rng)
    if found is None:
        return
    console().print(f"scan of {len(found['limits'])} masses: {_p_values(found['significance'])}")
    wrote(save("mass_scan", found))


def _p_values(found: Mapping[str, Any]) -> str:
    trials = f"trials factor {found['trials_factor']:.3g}"
    if found["local_p"] is None:
        return f"no p-value, {trials}"
    at = f"{found['m_majorana']:.3f} GeV/c²"
    return f"smallest local p {found['local_p']:.2g} at {at}, global p {found['global_p']:.2g}, {trials}"


def _given_background(n_bkg: float | None, sigma: float, side_bands: tuple[SideBand, ...]) -> gather.Estimate | None:
    """Return the background of the command line, None without one."""
    if n_bkg is None and not side_bands:
        return None
    try:
        return gather.given_background(n_bkg or 0.0, sigma, side_bands)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _names(method: str, lead: str) -> list[str]:
    """Return the methods in their order: the one that leads, the other of the two, and what is asked for besides."""
    both = sorted((methods.PUBLICATION, methods.RECOMMENDED), key=lambda name: name != lead)
    return [*both, *(name for name in methods.METHODS if name not in both and method in (name, "all"))]


def _shown(merged: results.Results, limits: Sequence[Sequence[methods.Limit]], curve: Normalisation | None) -> Source:
    """Return what shows the limits."""
    return Source(merged, tuple(_record(limit, curve) for by_method in limits for limit in by_method))


def _ranking(overall: methods.Limit, choices: gather.Choices) -> list[dict[str, Any]]:
    """Return what each source of uncertainty does to the overall limit."""
    from jpsi_lnv.analysis.limits import studies  # noqa: PLC0415

    return studies.ranking(overall, choices.systematics.sources if choices.systematics else {})


def _record(limit: methods.Limit, curve: Normalisation | None) -> dict[str, Any]:
    mixing = _mixing(limit, curve)
    said = list(cautions.of(limit))
    if (mixing.get("mixing_ul") or 0.0) > 1.0:
        said.append("|V_eN|^2 above 1 is unphysical: the limit excludes no mixing")
    return limit.to_dict() | {"cautions": said} | mixing


def _says_more(output: Path, stem: str, shown: Source) -> bool:
    """Return whether the stored limits are of this result and hold all of these, by more methods."""
    path = derived.derived(output, stem)
    if not path.exists() or derived.difference(
        stored := derived.load(path, derived.DERIVED[stem]), shown.results, output
    ):
        return False
    return len(stored["limits"]) > len(shown.limits) and all(record in stored["limits"] for record in shown.limits)


def _mixing(limit: methods.Limit, curve: Normalisation | None) -> dict[str, float | None]:
    if curve is None:
        return {}
    mass, branching_fraction = limit.inputs.m_majorana, limit.branching_fraction_ul
    has_limit = mass is not None and branching_fraction is not None
    return {"mixing_ul": curve.mixing(mass, branching_fraction) if has_limit else None}  # type: ignore[arg-type]


def _show_checks(
    save: Save, shown: Source, inputs: Sequence[LimitInputs], choices: gather.Choices, confidence_level: float
) -> Mapping[str, Any]:
    """Print and write the checks, and return them."""
    from jpsi_lnv.analysis.limits import coverage, reach, studies  # noqa: PLC0415 only this option needs them

    merged, overall, scan = shown.results, inputs[0], inputs[1:]
    found = {
        "background_scan": studies.background_scan(overall),
        "chi2_scan": studies.chi2_scan(merged, overall, merged.cuts),
        "p_values": studies.p_values(scan),
        "overall_p": studies.overall_p(overall),
        "against_luminosity": reach.against_luminosity(overall),
        "against_background": reach.against_background(overall),
        "conjugate_channels": studies.conjugate_channels(merged, overall, choices),
        "periods": studies.periods(merged, overall, choices),
    }
    curves = coverage.curves(delta_sys=overall.delta_sys, seed=SEED, confidence_level=confidence_level)
    extras = {"limit_checks": found, "coverage": {"curves": curves}}
    show(*study_tables.checks(dataclasses.replace(shown, extras=extras)))
    for caution in study_tables.combination_cautions(found):
        console().print(caution, markup=False, soft_wrap=True)
    wrote(save("limit_checks", found), save("coverage", {"curves": curves}))
    return found


def _write_likelihoods(
    output: Path, inputs: Sequence[LimitInputs], choices: gather.Choices, checks: Mapping[str, Any]
) -> None:
    """Write the likelihood of the overall search alone, and all in one file; none while events are hidden."""
    if inputs[0].n_obs is None:
        return
    combined = {key: checks[key] for key in ("conjugate_channels", "periods") if checks[key]}
    found = likelihood.of_search(inputs, combined, choices.sources_of)
    wrote(
        write_json(output / derived.LIKELIHOOD, found["overall"]["pyhf"]),
        write_json(output / derived.LIKELIHOOD_HS3, found["overall"]["hs3"]),
        write_json(output / derived.LIKELIHOODS, found),
    )


def _show_closure(output: Path) -> None:
    from jpsi_lnv.analysis.report import closure  # noqa: PLC0415 only this option reads the publication

    show(closure.row_table(), closure.relation_table())
    wrote(write_json(output / derived.CLOSURE, closure.to_dict()))
