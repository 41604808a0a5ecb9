"""The systematic uncertainties: every source beside the published one, and what the control samples show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.datasets import mass_mev
from jpsi_lnv.analysis.report import drawing, paper, result
from jpsi_lnv.analysis.report.drawing import Picture, Section, name_rows, present
from jpsi_lnv.analysis.report.mass_scan import PERCENT, PUBLISHED_LABEL, TABLE_2
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import PLACE, PLACES, Field, Table, fixed, located, percent

# Details of a row of the table of systematic uncertainties that are a difference of data and simulation.
TABLE_1: Final = f"{paper.SOURCE}, Table 1"
TABLES_AT: Final = "systematics.json#/tables"
DIFFERENCES: Final = {"electron": "electron_sigma", "kaon": "kaon_sigma", "difference": "sigma"}


_SOURCES: Final = (
    Field("title", "source"),
    Field("value", "measured", percent(2), "%"),
    Field("published", "published", percent(1), "%", TABLE_1),
    Field("method", "how"),
)
# Heads of the columns of the table per mass.
_SHORT: Final = {
    "n_jpsi": "N(J/ψ)",
    "tracking": "tracking",
    "pid": "PID",
    "kinematic_fit": "4C fit",
    "signal_region": "region",
    "hypotheses": "other hyp.",
    "multiplicity": "4 tracks",
    "mc_statistics": "MC stat.",
    "mc_modelling": "MC model",
}
_RANKING: Final = (
    Field("source", "source"),
    Field("value", "uncertainty", percent(2), "%"),
    Field("n_up", "N up without", fixed(3)),
    Field("effect", "effect", percent(2), "%"),
)
_PER_MASS: Final = (
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),
    *(Field(key, head, percent(2), "%") for key, head in _SHORT.items()),
    Field("total", "total", percent(2), "%"),
    Field("published", "published", percent(1), "%", TABLE_2),
)


def section(source: Source) -> Section:
    """Return the section of the systematic uncertainties."""
    return Section(
        "systematics",
        "Systematic uncertainties",
        "How well the efficiency is known, from control samples and from other models of the decay.",
        present(_sources(source), _ranking(source), _pulls(source)),
        present(overall(source), ranking(source), per_mass(source)),
    )


def overall_sources(source: Source) -> list[dict[str, Any]]:
    """Return the measured rows of the overall systematic uncertainty with the published ones; empty if not measured."""
    tables = source.extras.get("systematics", {}).get("tables", [])
    rows = located(tables[0]["rows"], f"{TABLES_AT}/0/rows") if tables else []
    return [r | {"published": _published(r["source"])} for r in rows]


def _published(name: str) -> float | None:
    value = paper.SYSTEMATIC_PERCENT.get(name)
    return None if value is None else PERCENT * value


def overall(source: Source, given: Mapping[str, float] | None = None) -> Table | None:
    """Return every source of the overall search; None if none was measured.

    Args:
        source: Results with ``systematics.json``.
        given: Source -> fraction of another measurement, which gets a column of its own.
    """
    rows = overall_sources(source)
    if not rows:
        return None
    total = {
        "source": "total",
        "title": "total",
        "value": source.extras["systematics"]["overall"],
        "published": PERCENT * paper.SYSTEMATIC_PERCENT_TOTAL,
        "method": "in quadrature",
        PLACE: "systematics.json#",
        PLACES: {"value": "/overall"},
    }
    fields = (*_SOURCES, Field("given", "given", percent(1), "%", "--compare")) if given else _SOURCES
    listed = tuple(row | {"given": (given or {}).get(row["source"])} for row in (*rows, total))
    return Table("systematics", "Systematic uncertainties of the overall search", fields, listed, _note(source))


def _note(source: Source) -> str:
    """Return the differences of data and simulation, and what the models of the decay give."""
    said = [f"{name}: {100 * value:+.2f} ± {100 * sigma:.2f} %" for name, value, sigma in differences(source)]
    models = {key: 100 * value for key, value in overall_sources(source)[-1].get("details", {}).items()}
    if "mean_of_models" in models:
        said.append(
            f"efficiency of the models {models['mean_of_models']:.2f} %, of phase space {models['efficiency']:.2f} %, "
            f"largest relative difference {models['largest_difference']:.2f} %"
        )
    return "; ".join(said)


def per_mass(source: Source) -> Table | None:
    """Return every source and the total at each mass; None if none was measured."""
    tables = source.extras.get("systematics", {}).get("tables", [])[1:]
    published = {mass_mev(p.m_majorana): PERCENT * p.delta_sys_percent for p in paper.MASS_SCAN}
    rows = tuple(
        {row["source"]: row["value"] for row in table["rows"]}
        | {"m_majorana": table["m_majorana"], "total": table["total"]}
        | {"published": published.get(mass_mev(table["m_majorana"])), PLACE: f"{TABLES_AT}/{i}"}
        | {PLACES: {row["source"]: f"/rows/{k}/value" for k, row in enumerate(table["rows"])}}
        for i, table in enumerate(tables, 1)
    )
    title = "Systematic uncertainties at each mass"
    return Table("systematics_per_mass", title, _PER_MASS, rows) if rows else None


def ranking(source: Source) -> Table | None:
    """Return what each source of uncertainty does to the overall limit; None where `lnv limits` did not say."""
    first = result.headline(source) or {}
    rows = located(first.get("ranking", ()), f"{first.get(PLACE)}/ranking")
    note = f"method {first.get('method')}; effect: by how much the limit is larger than without the source"
    title = "Sources of uncertainty by their effect on the overall limit"
    return Table("ranking", title, _RANKING, rows, note) if rows else None


def _ranking(source: Source) -> Picture | None:
    table = ranking(source)
    if table is None:
        return None
    rows = [row for row in table.rows if row["effect"] is not None]

    def draw(axes: Axes) -> None:
        effects = [100.0 * row["effect"] for row in rows]
        axes.barh(np.arange(len(rows)), effects, height=0.6, color=drawing.SIGNAL, label="effect on the limit")
        name_rows(axes, [row["source"] for row in rows], fontsize=10)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axvline(0.0, color=drawing.COLOURS[-1], linewidth=1)
        axes.set_xlabel("Change of the limit by the source [%]")

    return Picture(
        "ranking",
        "Sources of uncertainty by their effect on the overall limit",
        "By how much the limit is larger than without the source: what is worth measuring better stands above.",
        draw,
        left=0.37,
    )


def _sources(source: Source) -> Picture | None:
    rows = overall_sources(source)
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        y = np.arange(len(rows))
        axes.barh(y - 0.2, [100 * r["value"] for r in rows], height=0.38, color=drawing.SIGNAL, label="measured")
        published = [100 * (r["published"] or 0.0) for r in rows]
        axes.barh(y + 0.2, published, height=0.38, color=drawing.COLOURS[1], label=PUBLISHED_LABEL)
        name_rows(axes, [r["title"] for r in rows], fontsize=9)
        # Above the first row is room for the legend.
        axes.set_ylim(len(rows) - 0.4, -2.0)
        axes.set_xlabel("Relative uncertainty [%]")
        axes.legend(loc="upper right")

    return Picture(
        "systematics",
        "Systematic uncertainties by source",
        "Measured on this result's control samples, beside those of the publication's detector and data.",
        draw,
        left=0.37,
    )


def differences(source: Source) -> list[tuple[str, float, float]]:
    """Return (name, difference of data and simulation, its uncertainty) of every source that was measured so."""
    return [
        (f"{r['title']}, {name}" if name != "difference" else r["title"], r["details"][name], r["details"][sigma])
        for r in overall_sources(source)
        for name, sigma in DIFFERENCES.items()
        if name in r.get("details", {}) and r["details"].get(sigma)
    ]


def _pulls(source: Source) -> Picture | None:
    found = differences(source)
    if not found:
        return None

    def draw(axes: Axes) -> None:
        pulls = [value / sigma for _, value, sigma in found]
        axes.errorbar(pulls, np.arange(len(found)), xerr=1.0, fmt="o", color=drawing.DATA)
        axes.axvline(0.0, color=drawing.COLOURS[-1])
        name_rows(
            axes, [f"{name}\n{100 * value:+.2f} ± {100 * sigma:.2f} %" for name, value, sigma in found], fontsize=9
        )
        axes.set_ylim(len(found) - 0.4, -0.6)
        reach = max(3.0, *(abs(p) + 1.5 for p in pulls))
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("(data - simulation) / uncertainty")

    return Picture(
        "systematic_pulls",
        "Differences of data and simulation in the control samples",
        "Per track for tracking and identification; in units of the statistical uncertainty.",
        draw,
        left=0.37,
    )
