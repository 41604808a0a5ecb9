"""The search at each mass of a Majorana neutrino: limits and efficiencies with the published ones, masses of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import hist
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.channel import Channel
from jpsi_lnv.analysis.datasets import MAJORANA, SEARCH, SIGNAL, mass_mev, mass_text
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.limits.methods import BOTH, METHODS
from jpsi_lnv.analysis.report import drawing, paper, result
from jpsi_lnv.analysis.report.drawing import MEV, Picture, Section, present
from jpsi_lnv.analysis.report.result import BANDS, HEADROOM, LIMITS_AT, quantile, values
from jpsi_lnv.analysis.report.source import Source, cuts_of, is_of_publication
from jpsi_lnv.analysis.report.tables import (
    DIVIDED,
    PLACE,
    PLACES,
    Field,
    Table,
    count,
    fixed,
    in_powers,
    located,
    percent,
    significant,
    superscript,
)
from jpsi_lnv.analysis.selection.steps import STAGES

ALL: Final = "all"
PERCENT: Final = 0.01


M_NU_LABEL: Final = r"$M(\nu_M)$ [GeV/$c^2$]"
PUBLISHED: Final[dict[str, Any]] = {
    "marker": "s",
    "linestyle": "none",
    "color": drawing.SIGNAL,
    "markerfacecolor": "none",
}
PUBLISHED_LABEL: Final = "published, arXiv:2507.06872"
# Two samples of J/psi are the same one if their sizes agree to this.
SAME_SAMPLE: Final = 0.05
BILLION: Final = 1e9


LAST: Final = STAGES[-1]
# Masses of which the curves can still be told apart, and bins that are drawn as one.
N_MASSES: Final = 5
REBIN: Final = 2
# Ends of the names, and titles of the figures, by mode.
ENDS: Final = {"2nu": "", "1nu": "_1nu"}
TITLES: Final = {"2nu": "both pairs from neutrinos", "1nu": "one pair from a neutrino"}


def mass(value: float | None) -> str:
    """Return the mass of a search as a cell shows it."""
    return ALL if value is None else mass_text(value)


_M_MAJORANA: Final = Field("m_majorana", "M(ν)", mass, "GeV/c²")
_MIXING: Final = (
    Field("mixing_ul", "|V(eN)|² limit", significant(3)),
    Field("expected_mixing_ul", "expected", significant(3)),
)
TABLE_2: Final = f"{paper.SOURCE}, Table 2"
_BESIDE: Final = (
    _M_MAJORANA,
    Field("n_obs", "N obs", result.observed),
    Field("n_obs_published", "published", count, at=TABLE_2),
    Field("n_bkg", "N bkg", significant(2)),
    Field("n_bkg_published", "published", significant(2), at=TABLE_2),
    Field("efficiency", "ε", percent(2), "%"),
    Field("efficiency_published", "published", percent(2), "%", TABLE_2),
    Field("delta_sys", "Δ sys", percent(1), "%"),
    Field("delta_sys_published", "published", percent(1), "%", TABLE_2),
    Field("limit", "B limit", fixed(2, scale=BILLION), "10⁻⁹"),
    Field("limit_published", "published", fixed(2, scale=BILLION), "10⁻⁹", TABLE_2),
    Field("limit_beside", "B limit, the other method", fixed(2, scale=BILLION), "10⁻⁹"),
)
FINE_SCAN: Final = "mass_scan"
FINE_SCAN_AT: Final = f"{FINE_SCAN}.json#/limits"
# Distance in GeV/c^2 of the centres of the fine scan that its table shows.
SHOWN_EVERY: Final = 0.025
# Room for a legend of both limits beside what was published.
MORE_ROOM: Final = 1.2


class Curve(NamedTuple):
    """Fitted masses of pairs in the selected candidates of neutrinos of one mass in GeV/c^2."""

    m_majorana: float
    counts: hist.Hist


def section(source: Source) -> Section:
    """Return the section of the scan over neutrino masses."""
    return Section(
        "mass_scan",
        "Mass scan",
        f"J/ψ → {cuts_of(source.results).channel.in_powers} through a Majorana neutrino of each simulated mass"
        + (", and what was published." if _published(source) else "."),
        (*_limit_pictures(source), *present(fine_scan_picture(source)), *pair_pictures(source)),
        present(scan(source), fine_scan(source)),
        present(beside_published(source), by_method(source)),
    )


def _published(source: Source) -> tuple[paper.MassPoint, ...]:
    """Return the published points; none for another decay."""
    return tuple(paper.MASS_SCAN) if is_of_publication(source.results) else ()


def scan_records(source: Source) -> list[dict[str, Any]]:
    """Return the records of one mass each, by the method of the headline, in increasing order."""
    first = result.headline(source)
    rows = (result.row(r, f"{LIMITS_AT}/{i}") for i, r in enumerate(source.limits) if r["m_majorana"] is not None)
    found = [r for r in rows if first and r["method"] == first["method"]]
    return sorted(found, key=lambda r: r["m_majorana"])


def scan(source: Source) -> Table | None:
    """Return the limit at every mass by the method of the headline; None without limits."""
    first = result.headline(source)
    if first is None:
        return None
    records = (first, *scan_records(source))
    mixing = _MIXING if any("mixing_ul" in r for r in records) else ()
    return Table(
        name="limits",
        title=f"Upper limits at {100 * first['confidence_level']:.4g}% confidence level, method {first['method']}",
        fields=(_M_MAJORANA, *result.number_fields(source), *result.beside_fields(source), *mixing),
        rows=tuple(result.row_beside(source, r) for r in records),
        note=result.note(source, first),
    )


def beside_published(source: Source) -> Table | None:
    """Return Table 2 of the publication with ours beside it, empty where a mass was not simulated; None if none was.

    The limit is the observed one or, as long as events are hidden, the median of the expected ones. It is the limit of
    the yield over the published number of J/psi: pseudo-data stand for fewer.
    """
    ours = {mass_mev(r["m_majorana"]): r for r in scan_records(source)}
    rows = [_beside(source, point, ours.get(mass_mev(point.m_majorana), {})) for point in _published(source)]
    if not any("n_obs" in row for row in rows):
        return None
    published = in_powers(paper.N_JPSI, 3)
    note = f"published: {paper.SOURCE}; our limits are those of the yield over its number of J/ψ, {published}"
    return Table("limits_beside_published", "Table 2 of the publication, and ours", _BESIDE, tuple(rows), note)


def _beside(source: Source, point: paper.MassPoint, record: dict[str, Any]) -> dict[str, Any]:
    other = result.beside(source, record) if record else {}
    (limit, at), (limit_beside, at_beside) = map(_over_published, (record, other))
    places = {"m_majorana": TABLE_2, "limit": at}
    if other:
        places["limit_beside"] = f"{other[PLACE]}{at_beside}"
    ours = {key: record[key] for key in (PLACE, "n_obs", "n_bkg", "efficiency", "delta_sys") if key in record}
    return ours | {
        "m_majorana": point.m_majorana,
        PLACES: places,
        "limit": limit,
        "limit_beside": limit_beside,
        "n_obs_published": point.n_obs,
        "n_bkg_published": point.n_bkg,
        "efficiency_published": PERCENT * point.efficiency_percent,
        "delta_sys_published": PERCENT * point.delta_sys_percent,
        "limit_published": point.branching_fraction_ul_1e9 / BILLION,
    }


def _over_published(record: dict[str, Any]) -> tuple[float | None, str]:
    """Return the limit of the yield, or the expected one, over the published number of J/psi, and where it stands."""
    if not record:
        return None, ""
    n_up, at = record["n_up"], "/n_up"
    if n_up is None:
        n_up, at = record["expected_n_up"]["median"], "/expected_n_up/median"
    return None if n_up is None else n_up / paper.N_JPSI, f"{at}{DIVIDED}{paper.N_JPSI:.0f}"


def by_method(source: Source) -> Table | None:
    """Return the limit on the branching fraction at every mass by every method; None if there is one method only."""
    labels = {m: METHODS[m].label if m in METHODS else m for m in (r["method"] for r in source.limits)}
    if len(labels) <= 1 or result.headline(source) is None:
        return None
    rows: dict[float | None, dict[str, Any]] = {}
    for i, record in enumerate(source.limits):
        first = {"m_majorana": record["m_majorana"], PLACE: f"{LIMITS_AT}/{i}", PLACES: {}}
        row = rows.setdefault(record["m_majorana"], first)
        row[record["method"]] = record["branching_fraction_ul"]
        row[PLACES][record["method"]] = f"{LIMITS_AT}/{i}/branching_fraction_ul"
    limit = result.number_fields(source)[-2]
    fields = [Field(name, label, limit.show, limit.unit) for name, label in labels.items()]
    return Table("limits_by_method", "Upper limits by method", (_M_MAJORANA, *fields), tuple(rows.values()))


def _limit_pictures(source: Source) -> list[Picture]:
    records = scan_records(source)
    return (
        [_branching_fractions(source, records), _yields(source, records), _efficiency(source, records)]
        if records
        else []
    )


def _draw_bands(axes: Axes, x: FloatArray, records: Sequence[dict[str, Any]], scale: float | FloatArray) -> None:
    """Draw the median expected limit over x, and its bands where they have any width."""
    for low, high, color, label in BANDS:
        lower, upper = scale * quantile(records, low), scale * quantile(records, high)
        if np.any(upper > lower):
            axes.fill_between(x, lower, upper, color=color, label=f"expected {label}")
    axes.plot(x, scale * quantile(records, "median"), "--", color=drawing.DATA, label="expected median")


def _finish_scan(axes: Axes, label: str) -> None:
    axes.set_xlabel(M_NU_LABEL)
    axes.set_ylabel(label)
    axes.set_ylim(0, axes.get_ylim()[1] * HEADROOM * MORE_ROOM)
    axes.legend(loc="upper right")


def _branching_fractions(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    power, decay = result.exponent(source), cuts_of(source.results).channel.in_powers
    scale = 10.0**-power
    mass = values(records, "m_majorana")
    published = _published(source) if abs(records[0]["n_jpsi"] / paper.N_JPSI - 1.0) < SAME_SAMPLE else ()

    def draw(axes: Axes) -> None:
        _draw_bands(axes, mass, records, scale)
        _draw_both(source, axes, records, "branching_fraction_ul", scale)
        if published:
            limits = [r.branching_fraction_ul_1e9 * scale / BILLION for r in published]
            axes.plot([r.m_majorana for r in published], limits, label=PUBLISHED_LABEL, **PUBLISHED)
        _finish_scan(axes, rf"Upper limit on $B$ [$10^{{{power}}}$]")

    return Picture(
        "limits",
        f"Upper limits on B(J/ψ → {decay}) through a Majorana neutrino, against its mass",
        f"{_described(records)}, and the limit beside it; the bands hold 68 % "
        "and 95 % of the outcomes without signal and have no width where no background is expected.",
        draw,
    )


def _described(records: Sequence[dict[str, Any]]) -> str:
    missing = sum(r["n_obs"] is not None and r["n_up"] is None for r in records)
    words = f"{len(records)} masses, method {records[0]['method']}, {in_powers(records[0]['n_jpsi'], 3)} J/ψ"
    return f"{words}, {missing} without a finite limit" if missing else words


def _draw_published(axes: Axes, published: Mapping[float, float]) -> None:
    """Draw published values, by mass in MeV/c^2, if there are any."""
    if published:
        axes.plot([m / MEV for m in published], list(published.values()), label=PUBLISHED_LABEL, **PUBLISHED)


def _ratio(
    axes: Axes, mass: FloatArray, ours: FloatArray, published: Mapping[float, float], errors: FloatArray | None = None
) -> None:
    """Draw ours over published values below, at the masses of both, if there are any."""
    if not published:
        return
    over = np.array([published.get(mass_mev(m), np.nan) for m in mass])
    drawing.ratio(axes, drawing.at_points(mass, ours, errors), drawing.at_points(mass, over), "ours / published")


def _draw_both(source: Source, axes: Axes, records: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> None:
    """Draw the observed limits by both methods or, while events are hidden, the expected ones by the other."""
    mass = values(records, "m_majorana")
    if not np.isnan(values(records, key)).all():
        axes.plot(
            mass, values(records, key, scale), "o-", color=drawing.DATA, label=f"observed, {records[0]['method']}"
        )
    others = [result.beside(source, r) for r in records]
    if not all(others):
        return
    name, observed = others[0]["method"], values(others, key, scale)
    if np.isnan(observed).all():
        per_event = values(others, "n_jpsi") if key == "n_up" else 1.0
        axes.plot(
            mass, scale * per_event * quantile(others, "median"), ":", color=drawing.REGION, label=f"expected, {name}"
        )
        return
    axes.plot(mass, observed, "v--", color=drawing.REGION, markerfacecolor="none", label=f"observed, {name}")


def _yields(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    mass, observed = values(records, "m_majorana"), values(records, "n_up")
    points = _published(source)
    published = {mass_mev(r.m_majorana): r.branching_fraction_ul_1e9 / BILLION * paper.N_JPSI for r in points}
    beside = "; squares: published limits times the published number of J/ψ; below: ours over published"
    best = np.where(np.isnan(observed), quantile(records, "median") * values(records, "n_jpsi"), observed)

    def draw(axes: Axes) -> None:
        _draw_bands(axes, mass, records, values(records, "n_jpsi"))
        _draw_both(source, axes, records, "n_up")
        _draw_published(axes, published)
        _finish_scan(axes, "Upper limit on produced events")
        _ratio(axes, mass, best, published)

    return Picture(
        "limits_yield",
        "Upper limits on the number of produced decays against the neutrino's mass",
        "The limit before division by the number of J/ψ, so that samples of any size compare"
        f"{beside if published else ''}.",
        draw,
    )


def _efficiency(source: Source, records: Sequence[dict[str, Any]]) -> Picture:
    mass, efficiency = values(records, "m_majorana"), values(records, "efficiency", 100.0)
    produced = np.array([n_produced(source, r["m_majorana"]) for r in records], dtype=np.float64)
    published = {mass_mev(r.m_majorana): r.efficiency_percent for r in _published(source)}
    beside = "; squares: the published efficiencies, of another simulation; below: ours over published"
    errors = 100.0 * np.nan_to_num(binomial_sigma(produced * efficiency / 100.0, produced))

    def draw(axes: Axes) -> None:
        axes.errorbar(mass, efficiency, yerr=errors, fmt="o", color=drawing.DATA, label="this result")
        _draw_published(axes, published)
        _finish_scan(axes, "Efficiency [%]")
        _ratio(axes, mass, efficiency, published, errors)

    return Picture(
        "efficiency",
        "Efficiency against the neutrino's mass",
        f"Both masses of pairs in the interval around the mass, {len(records)} simulated masses, binomial errors"
        f"{beside if published else ''}.",
        draw,
    )


def n_produced(source: Source, m_majorana: float) -> int:
    """Return the events produced for one mass of J/psi -> nu nu."""
    found = source.results.of_kind(MAJORANA).values()
    of_mode = [d for d in found if d.metadata.majorana_mode == "2nu" and d.metadata.m_majorana is not None]
    return sum(d.n_produced for d in of_mode if mass_mev(d.metadata.m_majorana or 0.0) == mass_mev(m_majorana))


def _fine_records(source: Source) -> list[dict[str, Any]]:
    """Return the records of the scan over all masses with their places; none unless events are shown."""
    found = located(source.extras.get(FINE_SCAN, {}).get("limits", []), FINE_SCAN_AT)
    return [r for r in found if r["n_obs"] is not None]


def fine_scan(source: Source) -> Table | None:
    """Return both limits of the scan over all masses, every 25 MeV and where events are; None without the scan."""
    records = _fine_records(source)
    if not records:
        return None
    first = records[0]["m_majorana"]
    regular = {round(first + SHOWN_EVERY * i, 4) for i in range(len(records))}
    rows = [r for i, r in enumerate(records) if round(r["m_majorana"], 4) in regular or _is_peak(records, i)]
    unit, written = superscript(result.exponent(source)), fixed(2, scale=10.0 ** -result.exponent(source))
    fields = (
        Field("m_majorana", "M(ν)", fixed(4), "GeV/c²"),
        Field("n_obs", "N obs", count),
        Field("n_bkg", "N bkg", significant(2)),
        Field("efficiency", "ε", percent(2), "%"),
        Field("delta_sys", "Δ sys", percent(1), "%"),
        *(Field(f"branching_fraction_ul_{name}", f"B limit, {name}", written, unit) for name in BOTH),
        Field("local_p", "local p", significant(2)),
    )
    title = f"Both limits at every mass: {len(records)} windows, shown every {1000.0 * SHOWN_EVERY:g} MeV and at events"
    return Table("fine_scan", title, fields, tuple(rows), _fine_note(source))


def _is_peak(records: Sequence[dict[str, Any]], i: int) -> bool:
    """Return whether a window is in the middle of those that hold the same events."""
    n = records[i]["n_obs"]
    first = last = i
    while n and first > 0 and records[first - 1]["n_obs"] == n:
        first -= 1
    while n and last + 1 < len(records) and records[last + 1]["n_obs"] == n:
        last += 1
    return bool(n) and i == (first + last) // 2


def _fine_note(source: Source) -> str:
    found = source.extras[FINE_SCAN]["significance"]
    words = f"windows in mean and difference of both masses of pairs; trials factor {found['trials_factor']:.3g}"
    if found["local_p"] is None:
        return f"{words}; no p-value without events or background"
    at = f"{found['m_majorana']:.4f} GeV/c²"
    return f"{words}; smallest local p {found['local_p']:.2g} at {at}, global p {found['global_p']:.2g}"


def fine_scan_picture(source: Source) -> Picture | None:
    """Return both limits against every mass; None without the scan or with hidden events."""
    records = _fine_records(source)
    if not records:
        return None
    power = result.exponent(source)
    mass = values(records, "m_majorana")

    def draw(axes: Axes) -> None:
        for name, look in zip(BOTH, ("-", "--"), strict=True):
            limits = values(records, f"branching_fraction_ul_{name}", 10.0**-power)
            axes.plot(mass, limits, look, color=drawing.COLOURS[BOTH.index(name)], linewidth=1.1, label=name)
        _finish_scan(axes, rf"Upper limit on $B$ [$10^{{{power}}}$]")

    return Picture("fine_scan", "Both limits at every mass", f"{len(records)} windows; {_fine_note(source)}.", draw)


def pair_pictures(source: Source) -> list[Picture]:
    """Return a figure for each way to make neutrinos that was simulated, or of phase space alone."""
    phase_space = _phase_space(source)
    curves = {mode: _curves(source, mode) for mode in ENDS}
    modes = [mode for mode in ENDS if curves[mode]] or [mode for mode in ("2nu",) if phase_space is not None]
    channel = cuts_of(source.results).channel
    return [_of_pairs(channel, mode, phase_space, curves[mode]) for mode in modes]


def _of_pairs(channel: Channel, mode: str, phase_space: hist.Hist | None, curves: Sequence[Curve]) -> Picture:
    shown = [curves[i] for i in spread(len(curves), N_MASSES)]

    def draw(axes: Axes) -> None:
        if phase_space is not None:
            _step(axes, phase_space, label="phase space", color=drawing.DATA)
        for curve, color in zip(shown, drawing.COLOURS, strict=False):
            _step(axes, curve.counts, label=rf"$m_\nu$ = {mass_text(curve.m_majorana)} GeV/$c^2$", color=color)
        drawing.label_counts(axes, shown[0].counts if phase_space is None else phase_space, "Fraction")
        axes.set_yscale("log")
        lowest, highest = axes.get_ylim()
        axes.set_ylim(lowest, highest * drawing.LOG_HEADROOM)
        axes.legend(loc="upper right", fontsize=10, ncols=2)

    title = f"Fitted M({channel.pair_symbols}) of selected candidates"
    words = f"{title}, {TITLES[mode]}" if curves else title
    return Picture(f"{channel.pair}{ENDS[mode]}", words, _caption(shown, curves), draw)


def spread(n: int, most: int) -> list[int]:
    """Return at most `most` of the indices below `n`, evenly spread, both ends among them."""
    return sorted(set(np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()))


def _phase_space(source: Source) -> hist.Hist | None:
    pair = cuts_of(source.results).channel.pair
    found = [h for s in source.searches(SIGNAL).values() if (h := _selected(s.histograms, pair)) is not None]
    return sum(found[1:], found[0]) if found else None


def _curves(source: Source, mode: str) -> list[Curve]:
    """Return the curves of one mode, by mass; datasets of one mass, such as those of several periods, are one."""
    pair, found = cuts_of(source.results).channel.pair, dict[float, list[hist.Hist]]()
    for dataset in source.results.ran(SEARCH, MAJORANA).values():
        counts = _selected(dataset.selections[SEARCH].histograms, pair)
        if counts is not None and dataset.metadata.majorana_mode == mode:
            found.setdefault(mass_mev(dataset.metadata.m_majorana or 0.0), []).append(counts)
    return [Curve(mass / MEV, sum(h[1:], h[0])) for mass, h in sorted(found.items())]


def _selected(histograms: dict[str, hist.Hist], pair: str) -> hist.Hist | None:
    if pair not in histograms:
        return None
    counts: Any = histograms[pair][LAST, :: hist.rebin(REBIN)]
    return counts if counts.sum() else None


def _step(axes: Axes, counts: hist.Hist, *, label: str, color: str) -> None:
    scale = 1.0 / drawing.n_entries(counts)
    drawing.step_plot(axes, counts, label=label, scale=scale, linewidth=1.1, color=color)


def _caption(shown: Sequence[Curve], curves: Sequence[Curve]) -> str:
    text = "All four pairs of each candidate, each sample scaled to one."
    if shown:
        text += " A neutrino is a peak at its mass; pairs that do not come from one neutrino spread around it."
    if len(shown) < len(curves):
        text += f" Drawn are {len(shown)} of {len(curves)} masses."
    return text
