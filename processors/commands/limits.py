"""Compute the upper limits from a merged result."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What limits are asked for.

    Attributes:
        method: Shown beside the publication's and the recommended one, or "all".
        lead: Which of those two is the first record.
        confidence_level: As a fraction.
        expected: Whether the observed events stay hidden.
        pairing: How candidates belong to a mass.
    """

    method: str
    lead: str
    confidence_level: float
    expected: bool
    pairing: str

    @property
    def stem(self) -> str:
        """Stem of the file of the limits."""
        return "limits_expected" if self.expected else "limits"

    @property
    def names(self) -> list[str]:
        """The methods in order: the one that leads, the other of the two, and what is asked for besides."""
        both = sorted(methods.BOTH, key=lambda name: name != self.lead)
        return [*both, *(name for name in methods.METHODS if name not in both and self.method in (name, "all"))]


def background_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a given background; the command gets it as `background`, None for the estimated one."""

    @functools.wraps(function)
    def command(
        *, background: float | None, background_sigma: float, side_bands: tuple[SideBand, ...], **given: Any
    ) -> Any:
        return function(background=_given_background(background, background_sigma, side_bands), **given)

    options = (
        click.option(
            "--background",
            type=FiniteRange(min=0),
            metavar="N",
            help="Expected events.  [default: background.json of `lnv background` where backgrounds ran, else 0]",
        ),
        click.option(
            "--background-sigma", type=FiniteRange(min=0), default=0.0, help="Uncertainty of N > 0 in events."
        ),
        click.option(
            "--side-band",
            "side_bands",
            multiple=True,
            metavar="M,TAU",
            callback=_side_bands,
            help="Instead of --background: M events counted where TAU times as many are expected; may be repeated.",
        ),
    )
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


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
@background_options
@click.option(
    "--lead",
    type=click.Choice(methods.BOTH),
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
    systematics: Path | None,
    background: gather.Estimate | None,
    n_jpsi: float | None,
    checks: bool,
    mixing: Path | None,
    mixing_power: float,
    closure: bool,
    allow_incomplete: bool,
    **given: Any,
) -> None:
    """Compute the upper limits: overall first, then at each simulated Majorana mass.

    Background and systematic uncertainties are those that `lnv background` and `lnv systematics` wrote from the same
    result, unless they are given. Writes limits.json and prints the table. The yield limit n_up is in produced events;
    that on the branching fraction is n_up/N(J/psi). What 90 % means differs by method and is printed below the table.
    """
    if mixing is None:
        refuse_unused(["mixing_power"], "without --mixing")
    if closure:
        _show_closure(output)
        return
    asked = Asked(**given)
    merged = results.read(accumulator)
    merged.require_complete(allow_incomplete=allow_incomplete)
    if not asked.expected:
        gather.require_own_number(merged, n_jpsi)
    choices = gather.choose(
        merged, output, systematics=systematics, background=background, n_jpsi=n_jpsi, pairing=asked.pairing
    )
    inputs = _inputs(merged, choices, asked)
    shown = _compute(merged, choices, inputs, asked, read_curve(mixing, power=mixing_power) if mixing else None)
    save = partial(derived.write, output, results=merged, options=asdict(asked), files=choices.files)
    if not (checks and _says_more(output, asked.stem, shown)):
        wrote(save(asked.stem, {"limits": shown.limits}))
    # Windows in mean and difference are for both pairs.
    if not asked.expected and asked.pairing == majorana.BOTH:
        _scan_masses(save, merged, choices, inputs[0], asked.confidence_level)
    if checks:
        _write_likelihoods(output, inputs, choices, _show_checks(save, shown, inputs, choices, asked))


def _inputs(merged: results.Results, choices: gather.Choices, asked: Asked) -> list[LimitInputs]:
    """Return the inputs of the overall limit, then of each mass."""
    inputs = [gather.overall(merged, choices), *gather.per_mass(merged, choices)]
    return [i.without_observation() for i in inputs] if asked.expected else inputs


def _compute(
    merged: results.Results,
    choices: gather.Choices,
    inputs: Sequence[LimitInputs],
    asked: Asked,
    curve: Normalisation | None,
) -> Source:
    """Compute, print and return the limits."""
    limits = [
        methods.upper_limit(i, method=name, confidence_level=asked.confidence_level)
        for i in inputs
        for name in asked.names
    ]
    shown = Source(merged, tuple(_record(limit, curve) for limit in limits))
    shown.limits[0]["ranking"] = _ranking(limits[0], choices)
    show(result.methods(shown), mass_scan.by_method(shown), mass_scan.scan(shown))
    for line in (result.sentence(shown), *filter(None, [result.cautions(shown)])):
        console().print(line, markup=False, soft_wrap=True)
    return shown


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
    """Return the background of the command line, None without one.

    Raises:
        UsageError: One of the options would be ignored, or a number is impossible.
    """
    if side_bands and n_bkg is not None:
        msg = f"got --background {n_bkg:g} with --side-band; wanted one of them"
        raise click.UsageError(msg)
    if n_bkg is None and sigma:
        msg = f"got --background-sigma {sigma:g} without --background N, whose uncertainty it is"
        raise click.UsageError(msg)
    if n_bkg is None and not side_bands:
        return None
    try:
        return gather.given_background(n_bkg or 0.0, sigma, side_bands)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


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
    """Return the observed and the median expected limit on the mixing; None where there is no such limit."""
    if curve is None:
        return {}
    limits = {"mixing_ul": limit.n_up, "expected_mixing_ul": limit.expected.median}
    mass, n_jpsi = limit.inputs.m_majorana, limit.inputs.n_jpsi
    return {
        name: None if mass is None or n_up is None or not math.isfinite(n_up) else curve.mixing(mass, n_up / n_jpsi)
        for name, n_up in limits.items()
    }


def _show_checks(
    save: Save, shown: Source, inputs: Sequence[LimitInputs], choices: gather.Choices, asked: Asked
) -> Mapping[str, Any]:
    """Print and write the checks, and return them."""
    from jpsi_lnv.analysis.limits import coverage, reach, studies  # noqa: PLC0415 only this option needs them

    merged, overall = shown.results, inputs[0]
    # Intervals that share events have no p-value of their own.
    scan = inputs[1:] if asked.pairing == majorana.BOTH else ()
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
    curves = coverage.curves(delta_sys=overall.delta_sys, seed=SEED, confidence_level=asked.confidence_level)
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
    """Print and write the closure with the publication."""
    from jpsi_lnv.analysis.report import closure  # noqa: PLC0415 only this option reads the publication

    known = {parameter.name for parameter in click.get_current_context().command.params if parameter.name}
    refuse_unused(sorted(known - {"closure", "output"}), "with --closure, which takes the published inputs")
    show(closure.row_table(), closure.relation_table())
    wrote(write_json(output / derived.CLOSURE, closure.to_dict()))
