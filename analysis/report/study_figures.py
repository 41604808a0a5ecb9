"""Figures of the studies behind a limit: Punzi scan, systematic uncertainties, the limit under other choices."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.optimization import NEARLY
from jpsi_lnv.analysis.report import limit_tables, style
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.study_tables import overall_sources

HEADROOM: Final = 1.4
# Details of a row of the table of systematic uncertainties that are a difference of data and simulation.
DIFFERENCES: Final = {"electron": "electron_sigma", "kaon": "kaon_sigma", "difference": "sigma"}
# Variables that a Punzi scan knows: label of the axis, and in words.
VARIABLES: Final = {
    "chi2_4c": (r"$\chi^2_\mathrm{4C}$", "χ²₄C"),
    "m_kkee": (r"$M(K^\pm K^\pm e^\mp e^\mp)$ [GeV/$c^2$]", "M(KKee)"),
}
SCANS: Final = {
    "background_scan": ("n_bkg", "Assumed background [events]", "the assumed background"),
    "chi2_scan": ("chi2_4c_max", r"$\chi^2_\mathrm{4C}$ below", "the requirement on χ²₄C"),
}


def pictures(source: Source) -> list[Picture]:
    """Return every figure whose study was made."""
    scan = source.extras.get("optimization")
    made = (
        optimization(scan) if scan else None,
        _sources(source),
        _pulls(source),
        *(_scan(source, name) for name in SCANS),
    )
    return [picture for picture in made if picture is not None]


def optimization(found: dict[str, Any]) -> Picture:
    """Return the figure of merit, the efficiency and the background against a requirement.

    Args:
        found: Content of ``optimization.json``.
    """
    rows, variable = found["scan"], found["variable"]
    label, words = VARIABLES.get(variable, (variable, variable))
    x, merit, efficiency, background = (
        np.array([r[key] for r in rows]) for key in (variable, "figure_of_merit", "efficiency", "n_bkg")
    )

    def draw(axes: Axes) -> None:
        curves = {"figure of merit": (merit, "-"), "efficiency": (efficiency, "--"), "background": (background, ":")}
        for name, (values, look) in curves.items():
            largest = values.max()
            axes.plot(x, values / largest if largest else values, look, label=f"{name}, largest {largest:.3g}")
        axes.axvspan(*found["plateau"], color=style.BAND_1, alpha=0.5, label=f"within {1 - NEARLY:.0%} of the largest")
        axes.axvline(found["chosen"], color=style.REGION, label=f"chosen: {found['chosen']:g}")
        axes.set_xlabel(f"{label} below")
        axes.set_xlim(x[0], x[-1])
        axes.set_ylabel("Fraction of the largest value")
        axes.set_ylim(0, HEADROOM)
        axes.legend(loc="upper center", ncols=2, fontsize=9)

    return Picture(
        "optimization",
        f"Punzi figure of merit against the requirement on {words}",
        f"Largest at {found['best']:g}; the selection has {found['chosen']:g}.",
        draw,
    )


def _sources(source: Source) -> Picture | None:
    rows = overall_sources(source)
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        y = np.arange(len(rows))
        axes.barh(y - 0.2, [100 * r["value"] for r in rows], height=0.38, color=style.SIGNAL, label="measured")
        published = [100 * (r["published"] or 0.0) for r in rows]
        axes.barh(y + 0.2, published, height=0.38, color=style.COLOURS[1], label="published, arXiv:2507.06872")
        _name_rows(axes, [r["title"] for r in rows])
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
        axes.errorbar(pulls, np.arange(len(found)), xerr=1.0, fmt="o", color=style.DATA)
        axes.axvline(0.0, color=style.COLOURS[-1])
        _name_rows(axes, [f"{name}\n{100 * value:+.2f} ± {100 * sigma:.2f} %" for name, value, sigma in found])
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


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params(axis="y", which="minor", left=False, right=False)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _scan(source: Source, name: str) -> Picture | None:
    records = source.extras.get("limit_checks", {}).get(name, [])
    if not records:
        return None
    key, label, words = SCANS[name]
    x = [r[key] for r in records]

    def draw(axes: Axes) -> None:
        observed = [np.nan if r["n_up"] is None else r["n_up"] for r in records]
        median = [(limit_tables.expected(r) or np.nan) * r["n_jpsi"] for r in records]
        axes.plot(x, median, "--", color=style.SIGNAL, label="expected median")
        if not np.isnan(observed).all():
            axes.plot(x, observed, "o-", color=style.DATA, label="observed")
        axes.set_xlabel(label)
        axes.set_ylabel("Upper limit on produced events")
        axes.set_ylim(0, HEADROOM * np.nanmax([*observed, *median]))
        axes.legend(loc="upper right")

    return Picture(
        name,
        f"The overall limit against {words}",
        "How much the result hangs on this choice; the rest of the inputs stays.",
        draw,
    )
