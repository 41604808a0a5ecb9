"""Figures of the limits: against the neutrino mass with the published ones, and the efficiency behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.datasets import mass_mev
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.report import limit_tables, paper, style
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.source import Source

BANDS: Final = (
    ("minus_2_sigma", "plus_2_sigma", style.BAND_2, r"$\pm 2\sigma$"),
    ("minus_1_sigma", "plus_1_sigma", style.BAND_1, r"$\pm 1\sigma$"),
)
HEADROOM: Final = 1.5
M_NU_LABEL: Final = r"$M(\nu_M)$ [GeV/$c^2$]"
PUBLISHED: Final[dict[str, Any]] = {
    "marker": "s",
    "linestyle": "none",
    "color": style.SIGNAL,
    "markerfacecolor": "none",
}
PUBLISHED_LABEL: Final = "published, arXiv:2507.06872"
# Two samples of J/psi are the same one if their sizes agree to this.
SAME_SAMPLE: Final = 0.05
BILLION: Final = 1e9


def pictures(source: Source) -> list[Picture]:
    """Return every figure of limits that the result can fill."""
    if limit_tables.headline(source) is None:
        return []
    records = limit_tables.scan_records(source)
    scans = [_branching_fractions(source, records), _yields(records), _efficiency(source, records)] if records else []
    overall = [r for r in source.limits if r["m_majorana"] is None]
    return [*scans, _methods(source, overall)] if len(overall) > 1 else scans


def quantile(records: Sequence[dict[str, Any]], name: str, scale: float = 1.0) -> FloatArray:
    """Return a quantile of the expected branching fraction of each record; NaN where there is none."""
    values = [limit_tables.expected(r, name) for r in records]
    return scale * np.array([np.nan if v is None else v for v in values])


def _values(records: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> FloatArray:
    return scale * np.array([np.nan if r[key] is None else r[key] for r in records], dtype=np.float64)


def _draw_bands(axes: Axes, x: FloatArray, records: Sequence[dict[str, Any]], scale: float | FloatArray) -> None:
    """Draw the median expected limit over x, and its bands where they have any width."""
    for low, high, color, label in BANDS:
        lower, upper = scale * quantile(records, low), scale * quantile(records, high)
        if np.any(upper > lower):
            axes.fill_between(x, lower, upper, color=color, label=f"expected {label}")
    axes.plot(x, scale * quantile(records, "median"), "--", color=style.DATA, label="expected median")


def _finish_scan(axes: Axes, label: str) -> None:
    axes.set_xlabel(M_NU_LABEL)
    axes.set_ylabel(label)
    axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM)
    axes.legend(loc="upper right")


def _branching_fractions(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    power = limit_tables.exponent(source)
    scale = 10.0**-power
    mass, observed = _values(records, "m_majorana"), _values(records, "branching_fraction_ul", scale)
    is_same_sample = abs(records[0]["n_jpsi"] / paper.N_JPSI - 1.0) < SAME_SAMPLE

    def draw(axes: Axes) -> None:
        _draw_bands(axes, mass, records, scale)
        if not np.isnan(observed).all():
            axes.plot(mass, observed, "o-", color=style.DATA, label="observed")
        if is_same_sample:
            limits = [r.branching_fraction_ul_1e9 * scale / BILLION for r in paper.MASS_SCAN]
            axes.plot([r.m_majorana for r in paper.MASS_SCAN], limits, label=PUBLISHED_LABEL, **PUBLISHED)
        _finish_scan(axes, rf"Upper limit on $B$ [$10^{{{power}}}$]")

    return Picture(
        "limits",
        "Upper limits on B(J/ψ → K⁺K⁺e⁻e⁻ + c.c.) through a Majorana neutrino, against its mass",
        f"{_described(records)}; the bands hold 68 % "
        "and 95 % of the outcomes without signal and have no width where no background is expected.",
        draw,
    )


def _described(records: Sequence[dict[str, Any]]) -> str:
    missing = sum(r["n_obs"] is not None and r["n_up"] is None for r in records)
    words = f"{len(records)} masses, method {records[0]['method']}, {records[0]['n_jpsi']:.4g} J/ψ"
    return f"{words}, {missing} without a finite limit" if missing else words


def _yields(records: Sequence[dict[str, Any]]) -> Picture:
    mass, observed = _values(records, "m_majorana"), _values(records, "n_up")

    def draw(axes: Axes) -> None:
        _draw_bands(axes, mass, records, _values(records, "n_jpsi"))
        if not np.isnan(observed).all():
            axes.plot(mass, observed, "o-", color=style.DATA, label="observed")
        published = [r.branching_fraction_ul_1e9 / BILLION * paper.N_JPSI for r in paper.MASS_SCAN]
        axes.plot([r.m_majorana for r in paper.MASS_SCAN], published, label=PUBLISHED_LABEL, **PUBLISHED)
        _finish_scan(axes, "Upper limit on produced events")

    return Picture(
        "limits_yield",
        "Upper limits on the number of produced decays against the neutrino's mass",
        "The limit before division by the number of J/ψ, so that samples of any size compare; squares: published "
        "limits times the published number of J/ψ.",
        draw,
    )


def _efficiency(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    mass, efficiency = _values(records, "m_majorana"), _values(records, "efficiency", 100.0)
    produced = np.array([_n_produced(source, r["m_majorana"]) for r in records], dtype=np.float64)
    errors = 100.0 * np.nan_to_num(binomial_sigma(produced * efficiency / 100.0, produced))

    def draw(axes: Axes) -> None:
        axes.errorbar(mass, efficiency, yerr=errors, fmt="o", color=style.DATA, label="this result")
        published = [r.efficiency_percent for r in paper.MASS_SCAN]
        axes.plot([r.m_majorana for r in paper.MASS_SCAN], published, label=PUBLISHED_LABEL, **PUBLISHED)
        _finish_scan(axes, "Efficiency [%]")

    return Picture(
        "efficiency",
        "Efficiency against the neutrino's mass",
        f"Both M(Ke) in the interval around the mass, {len(records)} simulated masses, binomial errors; squares: the "
        "published efficiencies, of another detector simulation.",
        draw,
    )


def _n_produced(source: Source, m_majorana: float) -> int:
    """Return the events produced for one mass of J/psi -> nu nu."""
    found = source.results.of_kind("majorana").values()
    of_mode = [d for d in found if d.metadata.majorana_mode == "2nu" and d.metadata.m_majorana is not None]
    return sum(d.n_produced for d in of_mode if mass_mev(d.metadata.m_majorana or 0.0) == mass_mev(m_majorana))


def _methods(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    power = limit_tables.exponent(source)
    scale = 10.0**-power
    observed = _values(records, "branching_fraction_ul", scale)
    y = np.arange(len(records))

    def draw(axes: Axes) -> None:
        for low, high, color, label in BANDS:
            left, right = quantile(records, low, scale), quantile(records, high, scale)
            if np.any(right > left):
                axes.barh(y, right - left, left=left, height=0.6, color=color, label=f"expected {label}")
        median = quantile(records, "median", scale)
        axes.plot(median, y, "|", color=style.SIGNAL, markersize=18, markeredgewidth=2, label="expected median")
        if not np.isnan(observed).all():
            axes.plot(observed, y, "o", color=style.DATA, markersize=6, label="observed")
        axes.set_yticks(y, [r["method"] for r in records])
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.set_ylim(len(records), -0.7)
        highest = quantile(records, "plus_2_sigma", scale)
        axes.set_xlim(0, HEADROOM * np.nanmax([*observed, *median, *highest]))
        axes.set_xlabel(rf"Upper limit on $B$ [$10^{{{power}}}$]")
        axes.legend(loc="lower right", ncols=2, markerscale=0.7)

    return Picture(
        "methods",
        "The overall limit by different methods",
        "Points: observed; bars: expected median. What each method calls its confidence level differs, see the table.",
        draw,
        left=0.25,
    )
