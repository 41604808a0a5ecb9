"""Tables of the studies behind a limit: systematic uncertainties, background, other choices, decay chains."""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.analysis.report import paper
from jpsi_lnv.analysis.report.limit_tables import exponent, number_fields, row
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed, percent, significant

PERCENT: Final = 0.01
_SOURCES: Final = (
    Field("title", "source"),
    Field("value", "measured", percent(2), "%"),
    Field("published", "published", percent(1), "%"),
    Field("method", "how"),
)
_PER_MASS: Final = (
    Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),  # noqa: RUF001 nu
    Field("value", "measured", percent(2), "%"),
    Field("published", "published", percent(1), "%"),
)
_BACKGROUND: Final = (
    Field("name", "dataset"),
    Field("process", "process"),
    Field("n_direct", "pass", count),
    Field("n_kinematic", "kinematic", count),
    Field("n_bkg", "N bkg", significant(2)),
    Field("sigma", "±", significant(2)),
)
_CHAINS: Final = (
    Field("dataset", "dataset"),
    Field("chain", "decay chain"),
    Field("events", "events", count),
    Field("share [%]", "share", fixed(2), "%"),
)


def all_tables(source: Source) -> tuple[Table, ...]:
    """Return every table whose study was made."""
    made = (
        _systematics(source),
        _systematics_per_mass(source),
        _background(source),
        *_scans(source),
        _chains(source),
    )
    return tuple(table for table in made if table is not None and table.rows)


def overall_sources(source: Source) -> list[dict[str, Any]]:
    """Return the measured rows of the overall systematic uncertainty with the published ones; empty if not measured."""
    tables = source.extras.get("systematics", {}).get("tables", [])
    rows = tables[0]["rows"] if tables else []
    return [r | {"published": _published(r["source"])} for r in rows]


def _published(name: str) -> float | None:
    value = paper.SYSTEMATIC_PERCENT.get(name)
    return None if value is None else PERCENT * value


def _systematics(source: Source) -> Table | None:
    rows = overall_sources(source)
    if not rows:
        return None
    total = {
        "title": "total",
        "value": source.extras["systematics"]["overall"],
        "published": PERCENT * paper.SYSTEMATIC_PERCENT_TOTAL,
        "method": "in quadrature",
    }
    return Table("systematics", "Systematic uncertainties of the overall search", _SOURCES, (*rows, total))


def _systematics_per_mass(source: Source) -> Table | None:
    measured = source.extras.get("systematics", {}).get("per_mass", {})
    published = {f"{p.m_majorana:.3f}": PERCENT * p.delta_sys_percent for p in paper.MASS_SCAN}
    rows = [{"m_majorana": float(m), "value": v, "published": published.get(m)} for m, v in measured.items()]
    return Table("systematics_per_mass", "Total systematic uncertainty at each mass", _PER_MASS, tuple(rows))


def _background(source: Source) -> Table | None:
    found = source.extras.get("background")
    if found is None:
        return None
    total = found["total"]
    return Table(
        "background",
        "Expected background in the signal region",
        _BACKGROUND,
        tuple(found["contributions"]),
        note=f"total {total['value']:.3g} ± {total['sigma']:.2g} events: {total['source']}",
    )


def _scans(source: Source) -> list[Table]:
    """Return the limit against the assumed background and against the chi2 requirement."""
    checks = source.extras.get("limit_checks", {})
    scans = {
        "background_scan": ("Limit against the assumed background", ()),
        "chi2_scan": (
            "Limit against the requirement on χ²₄C",
            (Field("chi2_4c_max", "χ²₄C below", fixed(0)),),
        ),
    }
    columns = number_fields(source) if exponent(source) else ()
    return [
        Table(name, title, (*first, *columns), tuple(row(r) for r in checks.get(name, [])))
        for name, (title, first) in scans.items()
        if columns
    ]


def _chains(source: Source) -> Table | None:
    found = source.extras.get("topology")
    if found is None:
        return None
    step = found["all_but"]
    what = f"fail the step {step} only" if step else "pass the selection"
    return Table("topology", f"Decay chains of simulated events that {what}", _CHAINS, tuple(found["chains"]))
