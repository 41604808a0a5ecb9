"""The result of the search: the limit in one sentence, and the overall limit by every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH, mass_text
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.limits.methods import BOTH, METHODS
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.report.drawing import Picture, Section, name_rows, present
from jpsi_lnv.analysis.report.source import LIMITS, Source, cuts_of, label
from jpsi_lnv.analysis.report.tables import (
    DIVIDED,
    PLACE,
    PLACES,
    Field,
    Table,
    count,
    decay,
    fixed,
    in_powers,
    percent,
    power,
    significant,
    superscript,
    yes_no,
)

BANDS: Final = (
    ("minus_2_sigma", "plus_2_sigma", drawing.BAND_2, r"$\pm 2\sigma$"),
    ("minus_1_sigma", "plus_1_sigma", drawing.BAND_1, r"$\pm 1\sigma$"),
)
HEADROOM: Final = 1.5
# Searches that a caution names one by one.
N_NAMED: Final = 5
METHODS_NOTE: Final = (
    "the first two are the result: the publication's convention and the limit to quote in a new search; the others are "
    "cross-checks, of which exact constructions may get stronger with an uncertain efficiency, since a measurement "
    "that fluctuates tells equal counts apart"
)
# Places of all records, and of that of the headline.
LIMITS_AT: Final = "limits.json#/limits"
FIRST: Final = f"{LIMITS_AT}/0"
# A background of fewer standard uncertainties than this is given as a bound: one-sided, 90 %, of a normal distribution.
SIGNIFICANT: Final = 2.0
UPPER_AT_90: Final = 1.2816
_BAND_MEANS: Final = (
    "what repeated experiments without signal would give: the median, and the range that holds 68 % of them"
)


@dataclass(frozen=True)
class Fact:
    """One number of the headline.

    Attributes:
        term: What it is.
        shown: Its value as the reader sees it.
        place: File and JSON pointer of the value; empty if it is counted or words.
        meaning: What it means and where it comes from.
    """

    term: str
    shown: str
    place: str
    meaning: str


def observed(value: int | None) -> str:
    """Return observed events as a cell shows them."""
    return "hidden" if value is None else str(value)


def section(source: Source) -> Section:
    """Return the section of the result."""
    return Section("result", "Result", method_sentence(source), present(_methods(source)), present(methods(source)))


def headline(source: Source) -> dict[str, Any] | None:
    """Return the record of the overall limit, the first of `limits.json`; None without one, or with a stale one."""
    return None if LIMITS in source.foreign else next(iter(overall(source)), None)


def overall(source: Source) -> list[dict[str, Any]]:
    """Return the records of the overall limit, one per method; that of the headline is the first."""
    return [row(r, f"{LIMITS_AT}/{i}") for i, r in enumerate(source.limits) if r["m_majorana"] is None]


def expected(record: dict[str, Any], quantile: str = "median") -> float | None:
    """Return a quantile of the expected limit on the branching fraction."""
    n_up = record.get("expected_n_up", {}).get(quantile)
    return None if n_up is None else n_up / record["n_jpsi"]


def exponent(source: Source) -> int:
    """Return the power of ten in which this result's branching fractions are written."""
    first = headline(source)
    if first is None:
        return 0
    found = [first["branching_fraction_ul"], expected(first), *(r["branching_fraction_ul"] for r in source.limits)]
    return power(next((value for value in found if value), None))


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
        Field("expected", "expected", branching_fraction, unit, f"/expected_n_up/median{DIVIDED}/n_jpsi"),
    )


def beside_fields(source: Source) -> tuple[Field, ...]:
    """Return the column of the other of the two limits that stand side by side; none without it."""
    first = headline(source)
    other = beside(source, first) if first else {}
    if not other:
        return ()
    written = fixed(2, scale=10.0 ** -exponent(source))
    return (Field("other_ul", f"B limit, {other['method']}", written, superscript(exponent(source))),)


def beside(source: Source, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the same search by the other of the two methods that stand side by side; empty without."""
    for i, r in enumerate(source.limits):
        if r["m_majorana"] == record["m_majorana"] and r["method"] in BOTH and r["method"] != record["method"]:
            return row(r, f"{LIMITS_AT}/{i}")
    return {}


def row_beside(source: Source, record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a record with the limit by the other method."""
    other = beside(source, record)
    place = {"other_ul": f"{other[PLACE]}/branching_fraction_ul"} if other else {}
    return record | {"other_ul": other.get("branching_fraction_ul"), PLACES: record.get(PLACES, {}) | place}


def row(record: dict[str, Any], place: str) -> dict[str, Any]:
    """Return a record of a limit with its place and the median expected branching fraction."""
    return record | {"expected": expected(record), PLACE: place}


def methods(source: Source) -> Table | None:
    """Return the overall limit by every method in `limits.json`; None if there is one method only."""
    records = overall(source)
    if len(records) <= 1 or headline(source) is None:
        return None
    return Table(
        name="methods",
        title="The overall limit by different methods",
        fields=(
            Field("method", "method"),
            Field("role", "what it is for"),
            *number_fields(source)[-3:],
            Field("confidence_level_means", "what its confidence level means"),
        ),
        rows=tuple(records),
        note=METHODS_NOTE,
    )


def data_sentence(source: Source) -> str:
    """Return whose events were searched, what was put into them first; empty where no data were searched."""
    searched = source.results.ran(SEARCH, DATA)
    said = [d.metadata.process or name for name, d in searched.items()]
    if not said:
        return ""
    words = decay("; ".join(said))
    claim = " These numbers are no measurement." if label(source.results) else ""
    return f"{words[0].upper()}{words[1:]}.{claim}"


def sentence(source: Source) -> str:
    """Return the result in one sentence."""
    first = headline(source)
    if first is None:
        stale = source.foreign.get(LIMITS)
        return f"No limit belongs to this result: {stale}." if stale else "No limit was computed yet: run `lnv limits`."
    level = f"{100 * first['confidence_level']:.4g}% confidence level"
    median = shown(source, expected(first))
    fraction = f"B(J/ψ → {cuts_of(source.results).channel.in_powers})"
    if first["n_obs"] is None:
        return f"Without signal a limit of {median} on {fraction} is expected at {level}; no event is shown."
    seen = f"{first['n_obs']} event{'' if first['n_obs'] == 1 else 's'} observed"
    if first["branching_fraction_ul"] is None:
        return f"{seen}: there is no finite upper limit at {level}."
    limit = shown(source, first["branching_fraction_ul"])
    said = f"{fraction} < {limit} at {level} ({_role(first)}){_beside(source, first)}"
    return f"{said}; {seen}. Without signal a limit of {median} is expected."


def _role(record: dict[str, Any]) -> str:
    method = str(record["method"])
    label = METHODS[method].label if method in METHODS else method
    return f"{label}, {record['role']}" if record.get("role") else label


def _beside(source: Source, first: dict[str, Any]) -> str:
    """Return the limit by the other method, in words; empty without one."""
    other = beside(source, first)
    return f", < {shown(source, other['branching_fraction_ul'])} ({_role(other)})" if other else ""


def cautions(source: Source) -> str:
    """Return what must be said of the limits, each with the searches it is said of; empty without."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in source.limits:
        where = "all" if record["m_majorana"] is None else mass_text(record["m_majorana"])
        for caution in record.get("cautions", ()):
            found.setdefault((record["method"], caution), []).append(where)
    return ". ".join(f"{method}: {said} ({_some(where)})" for (method, said), where in found.items())


def _some(where: Sequence[str]) -> str:
    more = f" and {len(where) - N_NAMED} more" if len(where) > N_NAMED else ""
    return ", ".join(where[:N_NAMED]) + more


def facts(source: Source) -> tuple[Fact, ...]:
    """Return the numbers of the headline in the order in which they make the limit."""
    found = []
    if (first := headline(source)) is not None:
        found = [
            Fact("number of J/ψ", in_powers(first["n_jpsi"], 3), "n_jpsi", "J/ψ decays that the data stand for"),
            Fact("observed events", observed(first["n_obs"]), "n_obs", "events of the data that pass all requirements"),
            _background(source, first),
            Fact("efficiency", f"{first['efficiency']:.2%}", "efficiency", _why(first, "efficiency")),
            Fact(
                "systematic uncertainty",
                f"{first['delta_sys']:.1%}",
                "delta_sys",
                f"of the efficiency and the number of J/ψ together, relative; {_why(first, 'delta_sys')}",
            ),
            Fact("limit", _or_hidden(source, first), "branching_fraction_ul", method_sentence(source)),
            *_other_limit(source, first),
            Fact("expected limit", _band(source, first), "expected_n_up", _BAND_MEANS),
        ]
        found = [f if "#" in f.place else replace(f, place=f"{FIRST}/{f.place}") for f in found]
    return (*found, *_state(source))


def _other_limit(source: Source, first: dict[str, Any]) -> tuple[Fact, ...]:
    other = beside(source, first)
    if not other:
        return ()
    said = f"{_role(other)}: {other['confidence_level_means']}"
    return (Fact("limit beside it", _or_hidden(source, other), f"{other[PLACE]}/branching_fraction_ul", said),)


def _or_hidden(source: Source, record: dict[str, Any]) -> str:
    value = record["branching_fraction_ul"]
    return "hidden" if record["n_obs"] is None else "none" if value is None else f"< {shown(source, value)}"


def _band(source: Source, record: dict[str, Any]) -> str:
    low, median, high = (expected(record, name) for name in ("minus_1_sigma", "median", "plus_1_sigma"))
    if record.get("expected_is_certain") or low == high:
        return f"{shown(source, median)}, without a band"
    digits = fixed(2, scale=10.0 ** -exponent(source))
    return f"{shown(source, median)}, 68 % between {digits(low)} and {digits(high)}"


def _why(record: dict[str, Any], key: str) -> str:
    return decay(record.get("provenance", {}).get(key, "its origin was not stored"))


def _background(source: Source, record: dict[str, Any]) -> Fact:
    """Return the background: as `lnv background` quotes it if the limit was made with that, else from the limit."""
    why = _why(record, "n_bkg")
    channel = source.extras.get("background", {}).get("channels", [{}])[0]
    if "background" in source.foreign or channel.get("total", {}).get("value") != record["n_bkg"]:
        return Fact("background", background(record), "n_bkg", f"events expected without signal; {why}")
    quoted = channel["quoted"]
    means = f"events expected without signal: median and bound, led by {decay(quoted['leading'])}; {why}"
    shown = f"{in_powers(quoted['centre'])} (< {in_powers(quoted['upper_90'])} at 90 %)"
    return Fact("background", shown, "background.json#/channels/0/quoted/centre", means)


def background(record: dict[str, Any]) -> str:
    """Return the expected background as value and uncertainty or, where it is compatible with none, as a bound."""
    value, sigma = record["n_bkg"], record["n_bkg_sigma"]
    if sigma == 0.0:
        return f"{value:.3g}, taken as exact"
    if value > SIGNIFICANT * sigma:
        return f"{value:.2g} ± {sigma:.1g}"
    return f"< {in_powers(value + UPPER_AT_90 * sigma)} at 90 %"


def _state(source: Source) -> tuple[Fact, ...]:
    """Return whether the result is open and complete, and what made it."""
    bookkeeping, provenance = source.results.bookkeeping, source.results.provenance
    books, manifest = f"{ACCUMULATOR}/bookkeeping.json#", f"{ACCUMULATOR}/manifest.json#"
    blind = [name for name, d in source.results.ran(SEARCH, DATA, CONTINUUM).items() if d.metadata.is_blind]
    events = bookkeeping.get("totals", {}).get("events_processed")
    return (
        Fact("signal region", "blind" if blind else "open", "", "whether events in the signal region are shown"),
        Fact("complete", yes_no(source.results.is_complete), f"{books}/complete", "every event is covered once"),
        Fact("events processed", count(events), f"{books}/totals/events_processed", "events read by the run"),
        Fact("datasets", str(len(source.results.datasets)), f"{manifest}/datasets", "simulated and recorded"),
        Fact("commit", str(provenance.get("commit")), f"{manifest}/provenance/commit", "version of the code"),
        Fact(
            "cuts",
            str(provenance.get("cuts_digest")),
            f"{manifest}/provenance/cuts_digest",
            "digest of all requirements",
        ),
    )


def method_sentence(source: Source) -> str:
    """Return what the confidence level of the result means; empty without limits."""
    first = headline(source)
    if first is None:
        return ""
    return f"Confidence level of the method {first['method']}: {first.get('confidence_level_means', 'not said')}."


def shown(source: Source, branching_fraction: float | None) -> str:
    """Return a branching fraction in the power of ten of this result."""
    power_of_ten = exponent(source)
    return f"{fixed(2, scale=10.0**-power_of_ten)(branching_fraction)} × {superscript(power_of_ten)}"


def note(source: Source, first: dict[str, Any]) -> str:
    """Return what the confidence levels mean, where the inputs come from, and what must be said beside the limits."""
    other = beside(source, first)
    sources = "; ".join(f"{name}: {decay(where)}" for name, where in first.get("provenance", {}).items())
    both = [first, other] if other else [first]
    said = [*(f"{r['method']}: {r.get('confidence_level_means', '')}" for r in both), sources]
    if first.get("expected_is_certain"):
        said.append("expected bands coincide: without background zero events are the only outcome")
    return ". ".join(each for each in (*said, cautions(source)) if each)


def quantile(records: Sequence[dict[str, Any]], name: str, scale: float = 1.0) -> FloatArray:
    """Return a quantile of the expected branching fraction of each record; NaN where there is none."""
    values = [expected(r, name) for r in records]
    return scale * np.array([np.nan if v is None else v for v in values])


def values(records: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> FloatArray:
    """Return one value of each record, times `scale`; NaN where there is none."""
    return scale * np.array([np.nan if r[key] is None else r[key] for r in records], dtype=np.float64)


def _methods(source: Source) -> Picture | None:
    records = overall(source)
    if len(records) <= 1 or headline(source) is None:
        return None
    power_of_ten = exponent(source)
    scale = 10.0**-power_of_ten
    seen = values(records, "branching_fraction_ul", scale)
    y = np.arange(len(records))

    def draw(axes: Axes) -> None:
        for low, high, color, words in BANDS:
            left, right = quantile(records, low, scale), quantile(records, high, scale)
            if np.any(right > left):
                axes.barh(y, right - left, left=left, height=0.6, color=color, label=f"expected {words}")
        median = quantile(records, "median", scale)
        axes.plot(median, y, "|", color=drawing.SIGNAL, markersize=18, markeredgewidth=2, label="expected median")
        if not np.isnan(seen).all():
            axes.plot(seen, y, "o", color=drawing.DATA, markersize=6, label="observed")
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
