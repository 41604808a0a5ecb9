"""How the limit moves with the choices that were made: the cut, the background, the method's coverage, decay chains."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.channel import Channel
from jpsi_lnv.analysis.limits.methods import RECOMMENDED
from jpsi_lnv.analysis.optimization import NEARLY
from jpsi_lnv.analysis.report import drawing, result
from jpsi_lnv.analysis.report.drawing import Picture, Section, present
from jpsi_lnv.analysis.report.source import RECAST_CLOSURE, Source
from jpsi_lnv.analysis.report.tables import (
    PLACE,
    Field,
    Table,
    count,
    decay,
    fixed,
    located,
    percent,
    significant,
    superscript,
)
from jpsi_lnv.analysis.selection.search import mass_axis

HEADROOM: Final = 1.4
SCANS: Final = {
    "background_scan": ("n_bkg", "Assumed background [events]", "the assumed background"),
    "chi2_scan": ("chi2_4c_max", r"$\chi^2_\mathrm{4C}$ below", "the requirement on χ²₄C"),
}


COVERAGE: Final = "coverage"
# Range of the vertical axis, with room above for the legend.
RANGE: Final = (0.7, 1.12)
# Methods that give the same limit at some counts lie on each other there: the later ones are broken lines.
DASHES: Final = ("-", "-", "--", ":", "-.")


CHECKS_AT: Final = "limit_checks.json#"
_CHAINS: Final = (
    Field("dataset", "dataset"),
    Field("chain", "decay chain", decay),
    Field("n", "events", count),
    Field("share", "share", percent(2), "%"),
)
_P_VALUES: Final = (
    Field("n_bkg", "background in all masses", significant(3)),
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),
    Field("local_p", "local p", significant(3)),
    Field("global_p", "global p", significant(3)),
)
_CHANNELS: Final = (
    Field("name", "channel"),
    Field("n_obs", "N obs", count),
    Field("efficiency", "ε", percent(2), "%"),
    Field("n_up", "N up", fixed(2)),
)
_DISCOVERIES: Final = (
    ("evidence_3_sigma", r"found at $3\sigma$", "s--"),
    ("discovery_5_sigma", r"found at $5\sigma$", "^:"),
)
_REACH: Final = (
    Field("expected_branching_fraction_ul", "expected limit", significant(3)),
    Field("evidence_3_sigma", "found at 3σ", significant(3)),
    Field("discovery_5_sigma", "found at 5σ", significant(3)),
)
_ASSUMED: Final = Field("n_bkg", "N bkg", significant(3))
# First columns of the tables of what is expected, against what in words, and label of the axis.
REACH: Final = {
    "against_luminosity": (
        (Field("luminosity", "luminosity of the data ×", significant(3)), _ASSUMED),
        "the luminosity",
        "Luminosity [that of the data]",
    ),
    "against_background": ((_ASSUMED,), "an assumed background, known to a tenth", "Assumed background [events]"),
}
_COVERAGE: Final = (
    Field("method", "method"),
    Field("delta_sys", "Δ sys", percent(1), "%"),
    Field("smallest", "smallest", fixed(3)),
    Field("error", "±", fixed(3)),
    Field("smallest_at", "at signal", fixed(2)),
)
_RECAST: Final = (
    Field("method", "method"),
    Field("n_obs", "N obs", result.observed),
    Field("n_bkg", "N bkg", significant(2)),
    Field("efficiency", "ε", percent(2), "%"),
    Field("efficiency_error", "±", percent(2), "%"),
    Field("branching_fraction_ul", "B limit", significant(3)),
    Field("expected", "expected", significant(3)),
)
_MAP: Final = (
    Field("mode", "model"),
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),
    Field("simulated", "ε simulated", percent(2), "%"),
    Field("error", "±", percent(2), "%"),
    Field("looked_up", "ε of the map", percent(2), "%"),
    Field("deviation", "deviation", percent(1), "%"),
    Field("beyond", "beyond 2σ", percent(1), "%"),
)
_CHANNEL_TITLES: Final = {"conjugate_channels": "Conjugate channels", "periods": "Data-taking periods"}


def section(source: Source) -> Section:
    """Return the section of the studies that were made."""
    closure = source.extras.get(RECAST_CLOSURE)
    scan, topology = source.extras.get("optimization"), source.extras.get("topology")
    return Section(
        "studies",
        "Studies",
        "How the limit moves with the choices that were made.",
        present(
            *coverage_pictures(source),
            optimization(scan) if scan else None,
            *(_scan(source, name) for name in SCANS),
            *(_reach_picture(source, name) for name in REACH),
        ),
        (*checks(source), *present(chains(topology) if topology and topology["chains"] else None)),
        present(scan_table(scan) if scan else None, map_closure(closure) if closure else None),
    )


def checks(source: Source) -> tuple[Table, ...]:
    """Return the tables of `lnv limits --checks` that have rows."""
    found = source.extras.get("limit_checks", {})
    combined = (_channels(name, found[name]) for name in _CHANNEL_TITLES if found.get(name))
    reach = (_reach(found, name) for name in REACH)
    return present(*_scan_tables(source), *reach, _p_values(found.get("p_values", [])), *combined, _coverages(source))


def _reach(found: dict[str, Any], name: str) -> Table | None:
    """Return what is expected against the luminosity or an assumed background; None without it."""
    if not found.get(name):
        return None
    first, words, _ = REACH[name]
    p = found.get("overall_p")
    of_search = "" if p is None else f"; P(≥ N obs) of the overall search from its background: {p:.2g}"
    note = f"limit: median of the recommended one; found: by half of all experiments{of_search}"
    rows = located(found[name], f"{CHECKS_AT}/{name}")
    return Table(name, f"Expected limit and reach against {words}", (*first, *_REACH), rows, note)


def _reach_picture(source: Source, name: str) -> Picture | None:
    records = source.extras.get("limit_checks", {}).get(name, [])
    if not records:
        return None
    (first, *_), words, label = REACH[name]
    rows = [r for r in records if r[first.key] > 0.0]
    x = [r[first.key] for r in rows]

    def draw(axes: Axes) -> None:
        looks = (("expected_branching_fraction_ul", "expected limit", "o-"), *_DISCOVERIES)
        for (key, what, look), color in zip(looks, drawing.COLOURS, strict=False):
            reached = [np.nan if r[key] is None else r[key] for r in rows]
            axes.plot(x, reached, look, color=color, label=what)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel(r"$B$")
        lowest, highest = axes.get_ylim()
        axes.set_ylim(lowest, highest * drawing.LOG_HEADROOM)
        axes.legend(loc="upper right")

    caption = "Median of the recommended limit, and what half of all experiments would find."
    return Picture(name, f"Expected limit and reach against {words}", caption, draw)


def _p_values(rows: list[dict[str, Any]]) -> Table | None:
    note = "without background a p-value of seen events has no meaning"
    title = "Smallest p-value of the mass scan against the assumed background"
    return Table("p_values", title, _P_VALUES, located(rows, f"{CHECKS_AT}/p_values"), note) if rows else None


def _channels(name: str, combined: dict[str, Any]) -> Table:
    together = {"name": "together", "n_up": combined["n_up"], PLACE: f"{CHECKS_AT}/{name}"}
    title = f"{_CHANNEL_TITLES[name]} in one likelihood"
    rows = (*located(combined["channels"], f"{CHECKS_AT}/{name}/channels"), together)
    return Table(name, title, _CHANNELS, rows, ". ".join(combined.get("cautions", ())))


def combination_cautions(found: dict[str, Any]) -> tuple[str, ...]:
    """Return what must be said of the combined limits of `lnv limits --checks`.

    Args:
        found: Content of ``limit_checks.json``.
    """
    named = [(words, found.get(name) or {}) for name, words in _CHANNEL_TITLES.items()]
    return tuple(f"{words} in one likelihood: {said}" for words, of in named for said in of.get("cautions", ()))


def _coverages(source: Source) -> Table | None:
    curves = source.extras.get(COVERAGE, {}).get("curves", [])
    rows = tuple(c | {"error": max(c["error"]) or None} for c in located(curves, "coverage.json#/curves"))
    note = "sums over the count are exact and have no error"
    title = "Smallest coverage for 0 to 20 signal events"
    return Table(COVERAGE, title, _COVERAGE, rows, note) if rows else None


def recast(content: dict[str, Any]) -> Table:
    """Return efficiency and limits of a model.

    Args:
        content: Content of ``recast.json``.
    """
    of_model = {key: content[key] for key in ("efficiency", "efficiency_error")}
    limits = located(content["limits"], "recast.json#/limits") or ({},)
    rows = tuple({**r, **of_model, "expected": result.expected(r) if r else None} for r in limits)
    title = f"The model of {content['events']['file']}"
    means = [f"{r['method']}: {r['confidence_level_means']}" for r in content["limits"]]
    return Table("recast", title, _RECAST, rows, ". ".join([content["source"], *means]))


def map_closure(content: dict[str, Any]) -> Table:
    """Return the efficiencies of models as simulated and as looked up in the map.

    Args:
        content: Content of ``recast_closure.json``.
    """
    from jpsi_lnv.analysis.recast_map import WANTED, WANTED_FROM, WORST  # noqa: PLC0415 loads the simulation

    about, rows = content["map"], located(content["closure"], f"{RECAST_CLOSURE}.json#/closure")
    low = [abs(r["deviation"]) for r in rows if (r["m_majorana"] or WANTED_FROM) < WANTED_FROM]
    note = (
        f"{about['file']}, digest {about['digest']}, {count(about['n'])} simulated decays; from {WANTED_FROM:g} GeV/c² "
        f"on {content['n_beyond']} models deviate by more than {WANTED:.0%} beyond 2σ of counting; below, by "
        f"{max(low, default=0.0):.1%} at most; a model whose masses deviate by more than {WORST:.0%} is refused"
    )
    return Table(RECAST_CLOSURE, "Closure of the published map of the efficiency", _MAP, rows, note)


def scan_table(found: dict[str, Any], every: int = 1) -> Table:
    """Return the scan of a requirement, one row in `every`.

    Args:
        found: Content of ``optimization.json``.
        every: Bins of the scan per row.
    """
    best = max(found["scan"], key=lambda row: row["figure_of_merit"])["figure_of_merit"]
    now = min(found["scan"], key=lambda row: abs(row[found["variable"]] - found["chosen"]))["figure_of_merit"]
    low, high = found["plateau"]
    fields = (
        Field(found["variable"], f"{found['words']} below", significant(4)),
        Field("efficiency", "ε", percent(2), "%"),
        Field("n_bkg", "N bkg", significant(3)),
        Field("figure_of_merit", "figure of merit", significant(4)),
        Field("figure_of_merit_low", "band from", significant(4)),
        Field("figure_of_merit_high", "to", significant(4)),
    )
    return Table(
        "optimization",
        "Punzi figure of merit",
        fields,
        located(found["scan"], "optimization.json#/scan")[every - 1 :: every],
        note=f"largest at {found['best']:g}; within 1 % of it from {low:g} to {high:g}; the selection has "
        f"{found['chosen']:g}, {now / best:.1%} of the largest",
    )


def _scan_tables(source: Source) -> list[Table]:
    """Return the limit against the assumed background and against the chi2 requirement."""
    checks = source.extras.get("limit_checks", {})
    scans = {
        "background_scan": ("Limit against the assumed background", ()),
        "chi2_scan": (
            "Limit against the requirement on χ²₄C",
            (Field("chi2_4c_max", "χ²₄C below", fixed(0)),),
        ),
    }
    power = result.exponent(source)
    other = Field("other_ul", f"B limit, {RECOMMENDED}", fixed(2, scale=10.0**-power), superscript(power))
    columns = (*result.number_fields(source), other) if power else ()
    return [
        Table(
            name,
            title,
            (*first, *columns),
            tuple(result.row(r, f"{CHECKS_AT}/{name}/{i}") for i, r in enumerate(checks[name])),
        )
        for name, (title, first) in scans.items()
        if columns and checks.get(name)
    ]


def chains(found: dict[str, Any]) -> Table:
    """Return the decay chains of simulated events that pass, or fail one step only.

    Args:
        found: Content of ``topology.json``.
    """
    step = found["all_but"]
    what = f"fail the step {step} only" if step else "pass the selection"
    return Table(
        "topology",
        f"Decay chains of simulated events that {what}",
        _CHAINS,
        located(found["chains"], "topology.json#/chains"),
    )


def variable_words(variable: str, channel: Channel) -> dict[str, str]:
    """Return the label of an axis of a Punzi scan, and how the variable is called in a text."""
    if variable == channel.mass:
        return {"label": mass_axis(channel).label, "words": f"M({channel.symbols})"}
    return {"label": r"$\chi^2_\mathrm{4C}$", "words": "χ²₄C"}


def optimization(found: dict[str, Any]) -> Picture:
    """Return the figure of merit, the efficiency and the background against a requirement.

    Args:
        found: Content of ``optimization.json``.
    """
    rows, variable = found["scan"], found["variable"]
    label, words = found["label"], found["words"]
    x, merit, efficiency, background = (
        np.array([r[key] for r in rows]) for key in (variable, "figure_of_merit", "efficiency", "n_bkg")
    )
    band = [np.array([r.get(f"figure_of_merit_{end}", np.nan) for r in rows]) for end in ("low", "high")]

    def draw(axes: Axes) -> None:
        curves = {"figure of merit": (merit, "-"), "efficiency": (efficiency, "--"), "background": (background, ":")}
        for name, (values, look) in curves.items():
            largest = values.max()
            axes.plot(x, values / largest if largest else values, look, label=f"{name}, largest {largest:.3g}")
        low, high = (end / merit.max() for end in band)
        axes.fill_between(x, low, high, color=drawing.SIGNAL, alpha=0.2, linewidth=0, label="statistical band")
        within = f"within {1 - NEARLY:.0%} of the largest"
        axes.axvspan(*found["plateau"], color=drawing.BAND_1, alpha=0.5, label=within)
        axes.axvline(found["chosen"], color=drawing.REGION, label=f"chosen: {found['chosen']:g}")
        axes.set_xlabel(f"{label} below")
        axes.set_xlim(x[0], x[-1])
        axes.set_ylabel("Fraction of the largest value")
        axes.set_ylim(0, HEADROOM)
        axes.legend(loc="upper center", ncols=2, fontsize=9)

    return Picture(
        "optimization",
        f"Punzi figure of merit against the requirement on {words}",
        f"Largest at {found['best']:g}; the selection has {found['chosen']:g}. The band is what the numbers of "
        "simulated events leave open, one more background event of the largest weight among it: a step inside it means "
        "nothing.",
        draw,
    )


def _scan(source: Source, name: str) -> Picture | None:
    records = source.extras.get("limit_checks", {}).get(name, [])
    if not records:
        return None
    key, label, words = SCANS[name]
    x = [r[key] for r in records]

    def draw(axes: Axes) -> None:
        observed = [np.nan if r["n_up"] is None else r["n_up"] for r in records]
        median = [(result.expected(r) or np.nan) * r["n_jpsi"] for r in records]
        axes.plot(x, median, "--", color=drawing.SIGNAL, label="expected median")
        if not np.isnan(observed).all():
            axes.plot(x, observed, "o-", color=drawing.DATA, label=f"observed, {records[0]['method']}")
        other = [np.nan if r.get("other_ul") is None else r["other_ul"] * r["n_jpsi"] for r in records]
        if not np.isnan(other).all():
            axes.plot(x, other, "v--", color=drawing.REGION, markerfacecolor="none", label=f"observed, {RECOMMENDED}")
        axes.set_xlabel(label)
        axes.set_ylabel("Upper limit on produced events")
        axes.set_ylim(0, HEADROOM * np.nanmax([*observed, *median, *other]))
        axes.legend(loc="upper right")

    return Picture(
        name,
        f"The overall limit against {words}",
        "How much the result hangs on this choice; the rest of the inputs stays.",
        draw,
    )


def coverage_pictures(source: Source) -> list[Picture]:
    """Return the figure of the exact curves, and that of the toys with an uncertain efficiency."""
    curves: list[dict[str, Any]] = source.extras.get(COVERAGE, {}).get("curves", [])
    exact = [curve for curve in curves if curve["delta_sys"] == 0.0]
    smeared = [curve for curve in curves if curve["delta_sys"] > 0.0]
    found = []
    if exact:
        found.append(_coverage(COVERAGE, exact, "the efficiency is known; sums over the count, exact"))
    if smeared:
        level = f"{100.0 * smeared[0]['delta_sys']:.1f} %"
        found.append(
            _coverage(f"{COVERAGE}_toys", smeared, f"relative efficiency uncertainty {level}; toys, binomial errors")
        )
    return found


def _coverage(name: str, curves: list[dict[str, Any]], condition: str) -> Picture:
    worst = min(curves, key=lambda curve: curve["smallest"])

    def draw(axes: Axes) -> None:
        for curve, color, dashes in zip(curves, drawing.COLOURS, DASHES, strict=False):
            axes.plot(curve["signal"], curve["probability"], dashes, color=color, label=curve["method"], linewidth=1.2)
            if max(curve["error"]) > 0.0:
                low, high = (
                    [p + sign * e for p, e in zip(curve["probability"], curve["error"], strict=True)]
                    for sign in (-1, 1)
                )
                axes.fill_between(curve["signal"], low, high, color=color, alpha=0.3, linewidth=0)
        axes.axhline(curves[0]["confidence_level"], color=drawing.DATA, linestyle="--", linewidth=1)
        axes.set_xlim(0, max(curves[0]["signal"]))
        axes.set_ylim(*RANGE)
        axes.set_xlabel("True signal [expected events]")
        axes.set_ylabel("Coverage")
        axes.legend(loc="upper right", ncols=2)

    return Picture(
        name,
        "How often each method's limit holds the true signal",
        f"No background, {condition}. Smallest: {worst['smallest']:.3f} for {worst['method']} at a signal of "
        f"{worst['smallest_at']:.2f}.",
        draw,
    )
