"""The result of the search: the limit in one sentence, and the overall limit by every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.report import style
from jpsi_lnv.analysis.report.drawing import Picture, Section, name_rows, present
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Field, Table, fixed, percent, power, significant, superscript

BANDS: Final = (
    ("minus_2_sigma", "plus_2_sigma", style.BAND_2, r"$\pm 2\sigma$"),
    ("minus_1_sigma", "plus_1_sigma", style.BAND_1, r"$\pm 1\sigma$"),
)
HEADROOM: Final = 1.5


def observed(value: int | None) -> str:
    """Return observed events as a cell shows them."""
    return "hidden" if value is None else str(value)


def section(source: Source) -> Section:
    """Return the section of the result."""
    return Section("result", "Result", method_sentence(source), present(_methods(source)), present(methods(source)))


def headline(source: Source) -> dict[str, Any] | None:
    """Return the record of the overall limit, the first of `limits.json`; None without one."""
    return next(iter(overall(source)), None)


def overall(source: Source) -> list[dict[str, Any]]:
    """Return the records of the overall limit, one per method; that of the headline is the first."""
    return [r for r in source.limits if r["m_majorana"] is None]


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
        Field("n_obs", "N obs", observed),
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


def methods(source: Source) -> Table | None:
    """Return the overall limit by every method in `limits.json`; None if there is one method only."""
    records = overall(source)
    if len(records) <= 1:
        return None
    return Table(
        name="methods",
        title="The overall limit by different methods",
        fields=(
            Field("method", "method"),
            *number_fields(source)[-3:],
            Field("confidence_level_means", "what its confidence level means"),
        ),
        rows=tuple(row(r) for r in records),
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


def note(first: dict[str, Any]) -> str:
    """Return what the confidence level means, and where the inputs come from."""
    sources = "; ".join(f"{name}: {where}" for name, where in first.get("provenance", {}).items())
    said = [first.get("confidence_level_means", ""), sources]
    if first.get("expected_is_certain"):
        said.append("expected bands coincide: without background zero events are the only outcome")
    return ". ".join(each for each in said if each)


def quantile(records: Sequence[dict[str, Any]], name: str, scale: float = 1.0) -> FloatArray:
    """Return a quantile of the expected branching fraction of each record; NaN where there is none."""
    values = [expected(r, name) for r in records]
    return scale * np.array([np.nan if v is None else v for v in values])


def values(records: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> FloatArray:
    """Return one value of each record, times `scale`; NaN where there is none."""
    return scale * np.array([np.nan if r[key] is None else r[key] for r in records], dtype=np.float64)


def _methods(source: Source) -> Picture | None:
    records = overall(source)
    if len(records) <= 1:
        return None
    power_of_ten = exponent(source)
    scale = 10.0**-power_of_ten
    seen = values(records, "branching_fraction_ul", scale)
    y = np.arange(len(records))

    def draw(axes: Axes) -> None:
        for low, high, color, label in BANDS:
            left, right = quantile(records, low, scale), quantile(records, high, scale)
            if np.any(right > left):
                axes.barh(y, right - left, left=left, height=0.6, color=color, label=f"expected {label}")
        median = quantile(records, "median", scale)
        axes.plot(median, y, "|", color=style.SIGNAL, markersize=18, markeredgewidth=2, label="expected median")
        if not np.isnan(seen).all():
            axes.plot(seen, y, "o", color=style.DATA, markersize=6, label="observed")
        name_rows(axes, [r["method"] for r in records])
        axes.set_ylim(len(records), -0.7)
        highest = quantile(records, "plus_2_sigma", scale)
        axes.set_xlim(0, HEADROOM * np.nanmax([*seen, *median, *highest]))
        axes.set_xlabel(rf"Upper limit on $B$ [$10^{{{power_of_ten}}}$]")
        axes.legend(loc="lower right", ncols=2, markerscale=0.7)

    return Picture(
        "methods",
        "The overall limit by different methods",
        "Points: observed; bars: expected median. What each method calls its confidence level differs, see the table.",
        draw,
        left=0.25,
    )
