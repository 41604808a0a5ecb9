"""Tables of the limits: the result, the scan over neutrino masses, the methods side by side."""

from __future__ import annotations

from typing import Any, Final

from analysis.report.source import Source
from analysis.report.tables import NOTHING, Column, Table, fixed, percent

PER_1E9: Final = 1e9


def _observed(value: int | None) -> str:
    return "hidden" if value is None else str(value)


def _mass(value: float | None) -> str:
    return "all" if value is None else f"{value:.3f}"


NUMBERS: Final = (
    Column("n_obs", "N obs", _observed),
    Column("n_bkg", "N bkg", fixed(2)),
    Column("efficiency", "efficiency", percent(2), "%"),
    Column("delta_sys", "Δ sys", percent(1), "%"),
    Column("n_up", "N up", fixed(2)),
    Column("branching_fraction_ul", "B upper limit", fixed(2, scale=PER_1E9), "10⁻⁹"),
    Column("expected", "expected", fixed(2, scale=PER_1E9), "10⁻⁹"),
)
_SCAN: Final = (Column("m_majorana", "M(ν)", _mass, "GeV/c²"), *NUMBERS)  # noqa: RUF001 nu
_METHODS: Final = (Column("method", "method"), *NUMBERS, Column("confidence_level_means", "what its CL means"))


def headline(source: Source) -> dict[str, Any] | None:
    """Return the record of the overall limit, the first of `limits.json`; None without one."""
    return next((r for r in source.limits if r["m_majorana"] is None), None)


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of `limits.json` with the median expected branching fraction."""
    median = record.get("expected_n_up", {}).get("median")
    return record | {"expected": None if median is None else median / record["n_jpsi"]}


def scan(source: Source) -> Table | None:
    """Return the limit at every mass by the method of the headline; None without limits."""
    first = headline(source)
    if first is None:
        return None
    chosen = [r for r in source.limits if r["method"] == first["method"]]
    return Table(
        name="limits",
        title=f"Upper limits at {100 * first['confidence_level']:.0f}% confidence level, method {first['method']}",
        columns=_SCAN,
        rows=tuple(row(r) for r in chosen),
        note=_note(first),
    )


def methods(source: Source) -> Table | None:
    """Return the overall limit by every method in `limits.json`; None if there is one method only."""
    overall = [r for r in source.limits if r["m_majorana"] is None]
    if len(overall) <= 1:
        return None
    return Table(
        name="methods",
        title="The overall limit by different methods",
        columns=_METHODS,
        rows=tuple(row(r) for r in overall),
        note="the first is the result",
    )


def sentence(source: Source) -> str:
    """Return the result in one sentence."""
    first = headline(source)
    if first is None:
        return "No limit was computed yet: run `lnv limits`."
    level = f"{100 * first['confidence_level']:.0f}% confidence level ({first['method']})"
    shown = fixed(2, scale=PER_1E9)
    expected = shown(row(first)["expected"])
    if first["n_obs"] is None:
        return f"The data are hidden; the expected upper limit on B is {expected} × 10⁻⁹ at {level}."  # noqa: RUF001
    limit = shown(first["branching_fraction_ul"])
    seen = f"{first['n_obs']} event{'' if first['n_obs'] == 1 else 's'} observed"
    if limit == NOTHING:
        return f"{seen}: there is no finite upper limit at {level}."
    return f"B(J/ψ → K⁺K⁺e⁻e⁻ + c.c.) < {limit} × 10⁻⁹ at {level}; {seen}, {expected} × 10⁻⁹ expected."  # noqa: RUF001


def _note(first: dict[str, Any]) -> str:
    sources = "; ".join(f"{name}: {where}" for name, where in first.get("provenance", {}).items())
    return f"{first.get('confidence_level_means', '')}. {sources}".strip(". ")
