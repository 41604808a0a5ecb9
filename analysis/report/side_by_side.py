"""Table 1 and Table 2 of the publication beside ours, row by row."""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.analysis.datasets import mass_mev
from jpsi_lnv.analysis.report import paper

PERCENT: Final = 100.0
BILLION: Final = 1e9
TITLES: Final = {
    "n_jpsi": "N(J/psi)",
    "tracking": "MDC tracking",
    "pid": "PID",
    "kinematic_fit": "chi2_4C kinematic fit and chi2_4C cut",
    "signal_region": "signal region",
    "mc_statistics": "MC statistics",
    "mc_modelling": "MC modeling",
}


def table_1(systematics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of Table 1 with ours, in percent.

    Args:
        systematics: Content of ``systematics.json``.
    """
    overall = next(t for t in systematics["tables"] if t["m_majorana"] is None)
    ours = {row["source"]: row["value"] for row in overall["rows"]}
    rows = [
        {"source": title, "ours": round(PERCENT * ours[key], 2), "published": paper.SYSTEMATIC_PERCENT[key]}
        for key, title in TITLES.items()
    ]
    total = {"ours": round(PERCENT * overall["total"], 2), "published": paper.SYSTEMATIC_PERCENT_TOTAL}
    return [*rows, {"source": "total", **total}]


def table_2(limits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of Table 2 with ours: every published mass, empty where it was not simulated.

    The limit is the observed one, or, as long as the data are blind, the median of the expected ones. It is the limit
    of the yield over the published number of J/psi: pseudo-data stand for fewer.

    Args:
        limits: Records of ``limits.json``.
    """
    ours = {mass_mev(r["m_majorana"]): r for r in limits if r["m_majorana"] is not None}
    return [_row_2(point, ours.get(mass_mev(point.m_majorana), {})) for point in paper.MASS_SCAN]


def _row_2(point: paper.MassPoint, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "mass": f"{point.m_majorana:.3f}",
        "efficiency [%]": _scaled(record.get("efficiency"), PERCENT),
        "published": point.efficiency_percent,
        "n_obs": record.get("n_obs"),
        "published n_obs": point.n_obs,
        "n_bkg": _scaled(record.get("n_bkg"), 1.0),
        "published n_bkg": point.n_bkg,
        "delta_sys [%]": _scaled(record.get("delta_sys"), PERCENT),
        "published delta_sys": point.delta_sys_percent,
        "limit [1e-9]": _scaled(_limit(record), BILLION),
        "published limit": point.branching_fraction_ul_1e9,
    }


def _limit(record: dict[str, Any]) -> float | None:
    n_up = record.get("n_up")
    if n_up is None and "expected_n_up" in record:
        n_up = record["expected_n_up"]["median"]
    return None if n_up is None else float(n_up) / paper.N_JPSI


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(f"{factor * value:.3g}")
