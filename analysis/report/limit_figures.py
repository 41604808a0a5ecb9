"""Figures of the limits: against the neutrino mass with the published ones, and the efficiency behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from analysis import paper
from analysis.report import limit_tables, style
from analysis.report.pictures import Picture
from analysis.report.source import Source
from analysis.results import DatasetResult

BANDS: Final = (
    ("minus_2_sigma", "plus_2_sigma", style.BAND_2, r"$\pm 2\sigma$"),
    ("minus_1_sigma", "plus_1_sigma", style.BAND_1, r"$\pm 1\sigma$"),
)
PER_1E9: Final = limit_tables.PER_1E9
HEADROOM: Final = 1.6
M_NU_LABEL: Final = r"$M(\nu_M)$ [GeV/$c^2$]"


def pictures(source: Source) -> list[Picture]:
    """Return every figure of limits that the result can fill."""
    drawn = [_limits(source), _efficiency(source), _methods(source)]
    return [picture for picture in drawn if picture is not None]


def _scan(source: Source) -> list[dict[str, Any]]:
    first = limit_tables.headline(source)
    method = None if first is None else first["method"]
    found = [r for r in source.limits if r["m_majorana"] is not None and r["method"] == method]
    return sorted(found, key=lambda r: r["m_majorana"])


def expected(records: Sequence[dict[str, Any]], quantile: str) -> np.ndarray[Any, Any]:
    """Return one quantile of the expected branching fraction, in units of 1e-9."""
    return np.array([PER_1E9 * (r["expected_n_up"][quantile] or np.nan) / r["n_jpsi"] for r in records])


def _limits(source: Source) -> Picture | None:
    records = _scan(source)
    if not records:
        return None
    mass = np.array([r["m_majorana"] for r in records])
    observed = np.array([np.nan if (b := r["branching_fraction_ul"]) is None else PER_1E9 * b for r in records])

    def draw(axes: Axes) -> None:
        for low, high, color, label in BANDS:
            axes.fill_between(mass, expected(records, low), expected(records, high), color=color, label=label)
        axes.plot(mass, expected(records, "median"), "--", color=style.DATA, label="expected")
        if not np.isnan(observed).all():
            axes.plot(mass, observed, "o-", color=style.DATA, label="observed")
        _published(axes)
        axes.set_xlabel(M_NU_LABEL)
        axes.set_ylabel(r"Upper limit on $\mathcal{B}$ [$10^{-9}$]")
        axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM)
        axes.legend(loc="upper right", ncols=2)

    return Picture(
        "limits",
        "Upper limits on B(J/ψ → ν ν → K⁺K⁺e⁻e⁻) against the neutrino's mass",  # noqa: RUF001 nu
        f"{len(records)} masses, method {records[0]['method']}; the bands hold 68 % and 95 % of the outcomes without "
        "signal and have no width where no background is expected.",
        draw,
    )


def _published(axes: Axes) -> None:
    rows = paper.MASS_SCAN
    axes.plot(
        [r.m_majorana for r in rows],
        [r.branching_fraction_ul_1e9 for r in rows],
        "s",
        color=style.SIGNAL,
        markerfacecolor="none",
        label="arXiv:2507.06872",
    )


def _efficiency(source: Source) -> Picture | None:
    records = _scan(source)
    if not records:
        return None
    mass = np.array([r["m_majorana"] for r in records])
    efficiency = np.array([100.0 * r["efficiency"] for r in records])
    errors = 100.0 * np.array([_error(source, r) for r in records])

    def draw(axes: Axes) -> None:
        axes.errorbar(mass, efficiency, yerr=errors, fmt="o", color=style.SIGNAL, label="this result")
        axes.set_xlabel(M_NU_LABEL)
        axes.set_ylabel("Efficiency [%]")
        axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM)
        axes.legend(loc="upper right")

    return Picture(
        "efficiency",
        "Efficiency against the neutrino's mass",
        f"Both M(Ke) in the interval around the mass; {len(mass)} simulated masses, binomial errors.",
        draw,
    )


def _error(source: Source, record: dict[str, Any]) -> float:
    """Return the binomial error of an efficiency; the datasets of its mass say how many events it is made of."""
    produced = sum(d.n_produced for d in source.results.of_kind("majorana").values() if _is_of(d, record["m_majorana"]))
    efficiency = float(record["efficiency"])
    return float(np.sqrt(efficiency * (1.0 - efficiency) / produced)) if produced else 0.0


def _is_of(dataset: DatasetResult, m_majorana: float) -> bool:
    metadata = dataset.metadata
    return metadata.majorana_mode == "2nu" and bool(np.isclose(metadata.m_majorana or 0.0, m_majorana))


def _methods(source: Source) -> Picture | None:
    records = [r for r in source.limits if r["m_majorana"] is None]
    if len(records) <= 1:
        return None

    def draw(axes: Axes) -> None:
        y = np.arange(len(records))
        for low, high, color, label in BANDS:
            left, right = expected(records, low), expected(records, high)
            axes.barh(y, right - left, left=left, height=0.6, color=color, label=label)
        axes.plot(expected(records, "median"), y, "|", color=style.DATA, markersize=16, label="expected")
        observed = [r["branching_fraction_ul"] for r in records]
        seen = [(PER_1E9 * b, i) for i, b in enumerate(observed) if b is not None]
        if seen:
            axes.plot(*zip(*seen, strict=True), "o", color=style.DATA, label="observed")
        axes.set_yticks(y, [r["method"] for r in records])
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.set_ylim(len(records) + 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(r"Upper limit on $\mathcal{B}$ [$10^{-9}$]")
        axes.legend(loc="lower right", ncols=2)

    return Picture(
        "methods",
        "The overall limit by different methods",
        "Points are observed limits, ticks the expected median; bands as in the scan over masses.",
        draw,
    )
