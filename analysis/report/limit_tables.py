"""Tables of the limits: the result, the scan over neutrino masses, the methods side by side."""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.analysis.datasets import mass_mev
from jpsi_lnv.analysis.report import paper
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Field, Table, fixed, percent, power, significant, superscript

ALL: Final = "all"
PERCENT: Final = 0.01
NANO: Final = 1e-9


def _observed(value: int | None) -> str:
    return "hidden" if value is None else str(value)


def _mass(value: float | None) -> str:
    return ALL if value is None else f"{value:.3f}"


_BESIDE: Final = (
    Field("m_majorana", "M(ν)", _mass, "GeV/c²"),  # noqa: RUF001 nu
    Field("n_obs", "N obs", _observed),
    Field("efficiency", "ε", percent(2), "%"),
    Field("efficiency_published", "published", percent(2), "%"),
    Field("n_up", "N up", fixed(2)),
    Field("n_up_published", "published", fixed(2)),
)


def headline(source: Source) -> dict[str, Any] | None:
    """Return the record of the overall limit, the first of `limits.json`; None without one."""
    return next((r for r in source.limits if r["m_majorana"] is None), None)


def scan_records(source: Source) -> list[dict[str, Any]]:
    """Return the records of one mass each, by the method of the headline, in increasing order."""
    first = headline(source)
    found = [r for r in source.limits if r["m_majorana"] is not None and first and r["method"] == first["method"]]
    return sorted(found, key=lambda r: r["m_majorana"])


def expected(record: dict[str, Any], quantile: str = "median") -> float | None:
    """Return a quantile of the expected limit on the branching fraction."""
    n_up = record.get("expected_n_up", {}).get(quantile)
    return None if n_up is None else n_up / record["n_jpsi"]


def exponent(source: Source) -> int:
    """Return the power of ten in which this result's branching fractions are written."""
    first = headline(source)
    return 0 if first is None else power(first["branching_fraction_ul"] or expected(first))


def number_fields(source: Source) -> tuple[Field, ...]:
    """Return the columns of a limit's numbers."""
    unit = superscript(exponent(source))
    branching_fraction = fixed(2, scale=10.0 ** -exponent(source))
    return (
        Field("n_obs", "N obs", _observed),
        Field("n_bkg", "N bkg", significant(2)),
        Field("efficiency", "ε", percent(2), "%"),
        Field("delta_sys", "Δ sys", percent(1), "%"),
        Field("n_up", "N up", fixed(2)),
        Field("branching_fraction_ul", "B limit", branching_fraction, unit),
        Field("expected", "expected", branching_fraction, unit),
    )


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of `limits.json` with the median expected branching fraction."""
    return record | {"expected": expected(record)}


def scan(source: Source) -> Table | None:
    """Return the limit at every mass by the method of the headline; None without limits."""
    first = headline(source)
    if first is None:
        return None
    return Table(
        name="limits",
        title=f"Upper limits at {100 * first['confidence_level']:.4g}% confidence level, method {first['method']}",
        fields=(Field("m_majorana", "M(ν)", _mass, "GeV/c²"), *number_fields(source)),  # noqa: RUF001 nu
        rows=tuple(row(r) for r in (first, *scan_records(source))),
        note=_note(first),
    )


def beside_published(source: Source) -> Table | None:
    """Return efficiency and yield limit at every mass beside the published ones; None if no mass was published."""
    published = {mass_mev(p.m_majorana): p for p in paper.MASS_SCAN}
    rows = [
        {
            "m_majorana": r["m_majorana"],
            "n_obs": r["n_obs"],
            "efficiency": r["efficiency"],
            "efficiency_published": PERCENT * p.efficiency_percent,
            "n_up": r["n_up"],
            "n_up_published": p.branching_fraction_ul_1e9 * NANO * paper.N_JPSI,
        }
        for r in scan_records(source)
        if (p := published.get(mass_mev(r["m_majorana"]))) is not None
    ]
    if not rows:
        return None
    note = f"published: {paper.SOURCE}; its limits times its number of J/ψ, so that samples of any size compare"
    return Table("limits_beside_published", "Limits beside the published ones", _BESIDE, tuple(rows), note)


def methods(source: Source) -> Table | None:
    """Return the overall limit by every method in `limits.json`; None if there is one method only."""
    overall = [r for r in source.limits if r["m_majorana"] is None]
    if len(overall) <= 1:
        return None
    return Table(
        name="methods",
        title="The overall limit by different methods",
        fields=(
            Field("method", "method"),
            *number_fields(source)[-3:],
            Field("confidence_level_means", "what its confidence level means"),
        ),
        rows=tuple(row(r) for r in overall),
        note="the first is the result",
    )


def sentence(source: Source) -> str:
    """Return the result in one sentence."""
    first = headline(source)
    if first is None:
        return "No limit was computed yet: run `lnv limits`."
    level = f"{100 * first['confidence_level']:.4g}% confidence level"
    if first["n_obs"] is None:
        return f"Expected: B(J/ψ → K⁺K⁺e⁻e⁻ + c.c.) < {_shown(source, expected(first))} at {level}; no event is shown."
    seen = f"{first['n_obs']} event{'' if first['n_obs'] == 1 else 's'} observed"
    if first["branching_fraction_ul"] is None:
        return f"{seen}: there is no finite upper limit at {level}."
    limit = _shown(source, first["branching_fraction_ul"])
    return f"B(J/ψ → K⁺K⁺e⁻e⁻ + c.c.) < {limit} at {level}; {seen}, {_shown(source, expected(first))} expected."


def method_sentence(source: Source) -> str:
    """Return what the confidence level of the result means; empty without limits."""
    first = headline(source)
    if first is None:
        return ""
    return f"Confidence level of the method {first['method']}: {first.get('confidence_level_means', 'not said')}."


def _shown(source: Source, branching_fraction: float | None) -> str:
    power_of_ten = exponent(source)
    number = fixed(2, scale=10.0**-power_of_ten)(branching_fraction)
    return f"{number} × {superscript(power_of_ten)}"  # noqa: RUF001 the multiplication sign


def _note(first: dict[str, Any]) -> str:
    sources = "; ".join(f"{name}: {where}" for name, where in first.get("provenance", {}).items())
    return f"{first.get('confidence_level_means', '')}. {sources}".strip(". ")
