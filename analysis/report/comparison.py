"""Two results beside each other: limits, cut flows, efficiencies, spectra, and what differs in how they were made.

Datasets are paired by name, those that are left by what they are. Results of the same events are not independent: the
uncertainties of ratios take them for such, and are upper bounds then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import hist
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.channel import WORDS, Channel
from jpsi_lnv.analysis.datasets import DATA, MAJORANA, SEARCH, SIGNAL, DatasetMetadata
from jpsi_lnv.analysis.derived import ACCUMULATOR, COMPARISON
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.report import drawing, result, selection, tables
from jpsi_lnv.analysis.report.drawing import Picture, Section, present, total
from jpsi_lnv.analysis.report.mass_scan import M_NU_LABEL, mass
from jpsi_lnv.analysis.report.page import Page
from jpsi_lnv.analysis.report.result import Fact
from jpsi_lnv.analysis.report.source import Flag, Source, cuts_of, flags, label
from jpsi_lnv.analysis.report.tables import DIVIDED, PLACE, PLACES, Field, Table, count, fixed, percent, significant
from jpsi_lnv.analysis.results import DatasetResult
from jpsi_lnv.analysis.selection.steps import STAGES

# Keys of what the first and the second result have.
SIDES: Final = ("first", "second")
# Numbers of a limit and of a dataset: key -> head, how it is shown, unit.
Numbers = Mapping[str, tuple[str, Callable[[Any], str], str]]
_OF_LIMIT: Final[Numbers] = {
    "n_obs": ("N obs", result.observed, ""),
    "n_bkg": ("N bkg", significant(2), ""),
    "efficiency": ("ε", percent(2), "%"),
    "delta_sys": ("Δ sys", percent(1), "%"),
    "n_jpsi": ("N(J/ψ)", significant(4), ""),
    "branching_fraction_ul": ("B limit", significant(3), ""),
    "expected": ("expected", significant(3), ""),
}
_OF_DATASET: Final[Numbers] = {
    "n_produced": ("produced", count, ""),
    "n": ("selected", count, ""),
    "efficiency": ("ε", percent(3), "%"),
    "efficiency_error": ("± of ε", percent(3), "%"),
}
# Where a number lies below the place of its record, if not under its key.
_AT: Final = {"expected": ("expected_n_up/median", "n_jpsi")}
MANIFEST: Final = f"{ACCUMULATOR}/manifest.json"
DATASETS: Final = f"{MANIFEST}#/datasets"
# Between the places of both results in that of a number that counts what they hold.
AND: Final = " and "
# Values against the mass: masses in GeV/c^2, values, and their errors where they have any.
Curve = tuple[FloatArray, FloatArray, FloatArray | None]
BESIDE: Final = "the columns beside it"
# How the points of both results look, so that equal ones are both seen.
_POINTS: Final[tuple[dict[str, Any], ...]] = (
    {"fmt": "o", "markersize": 8, "color": drawing.COLOURS[0]},
    {"fmt": "s", "markersize": 5, "color": drawing.COLOURS[1]},
)
# What says how a result came to be, and how it is called.
ORIGIN: Final = {"commit": "commit", "source_digest": "code", "fileset_digest": "files", "python": "Python"}


class Pair(NamedTuple):
    """The same dataset in both results."""

    name: str
    both: tuple[DatasetResult, DatasetResult]
    names: tuple[str, str]

    @property
    def flows(self) -> list[dict[str, int]]:
        """The cut flow of the search in both."""
        return [dataset.selections[SEARCH].cutflow for dataset in self.both]


@dataclass(frozen=True)
class Comparison:
    """Two results.

    Attributes:
        names: What they are called.
        sources: The results with what was made from them.
    """

    names: tuple[str, str]
    sources: tuple[Source, Source]

    def each(self) -> Iterator[tuple[str, Source]]:
        """Yield name and source of both."""
        return zip(self.names, self.sources, strict=True)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Datasets with a search that both have: of one name; of those left over, the only ones that are the same."""
        first, second = (source.results.ran(SEARCH) for source in self.sources)
        same = {name: name for name in first if name in second}
        like = [_only_ones({n: d for n, d in side.items() if n not in same}) for side in (first, second)]
        same |= {name: like[1][what] for what, name in like[0].items() if what in like[1]}
        return [Pair(a if a == b else f"{a} / {b}", (first[a], second[b]), (a, b)) for a, b in same.items()]

    @cached_property
    def alone(self) -> list[str]:
        """Datasets with a search that only one of the results has."""
        paired = [{pair.names[i] for pair in self.pairs} for i in range(len(SIDES))]
        return [
            f"{name} ({side})"
            for (side, source), known in zip(self.each(), paired, strict=True)
            for name in source.results.ran(SEARCH)
            if name not in known
        ]

    @property
    def has_same_counts(self) -> bool:
        """Whether every count of every dataset is the same in both."""
        first, second = (source.results.identity["counts_digest"] for source in self.sources)
        return first == second


def _only_ones(datasets: Mapping[str, DatasetResult]) -> dict[tuple[Any, ...], str]:
    """Return what a dataset is -> its name, of those that nothing else is."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, dataset in datasets.items():
        found.setdefault(_what(dataset.metadata), []).append(name)
    return {what: names[0] for what, names in found.items() if len(names) == 1}


def _what(metadata: DatasetMetadata) -> tuple[Any, ...]:
    process = "" if metadata.kind == DATA else metadata.process
    return metadata.kind, process, metadata.m_majorana, metadata.majorana_mode, round(metadata.sqrt_s, 3)


def page(found: Comparison) -> Page:
    """Return the page of two results."""
    data = [f"{name}: {said}" for name, source in found.each() if (said := result.data_sentence(source))]
    marked = [Flag(f"{f.label} ({name})", f.explanation) for name, source in found.each() for f in flags(source)]
    made = (_limits(found), _selection(found), _spectra(found), _origin(found))
    return Page(
        file=COMPARISON,
        title=f"{found.names[0]} and {found.names[1]}, compared",
        sentence=sentence(found),
        sections=tuple(s for s in made if s.pictures or s.all_tables),
        data=" ".join(data),
        label=", ".join(dict.fromkeys(label(source.results) for source in found.sources if label(source.results))),
        flags=marked,
        facts=facts(found),
    )


def sentence(found: Comparison) -> str:
    """Return in one sentence whether the counts are the same, and what became of the limit."""
    counted = f"The results have {'the same' if found.has_same_counts else 'different'} counts"
    first, second = (result.headline(source) for source in found.sources)
    if first is None or second is None:
        return f"{counted}; there are no limits of both."
    what, (old, new) = _limits_of([first, second])
    if old is None or new is None:
        return f"{counted}; there is no finite limit of both."
    values = " and ".join(
        f"{tables.in_powers(value, 2)} ({name})" for value, name in zip((old, new), found.names, strict=True)
    )
    return f"{counted}; the {what} limits are {values}, the second {new / old:.3g} times the first."


def _limits_of(records: Sequence[Mapping[str, Any]]) -> tuple[str, list[float | None]]:
    """Return the observed limits of two records or, where one is hidden or none, the expected ones."""
    seen = [record["branching_fraction_ul"] for record in records]
    return ("expected", [result.expected(dict(r)) for r in records]) if None in seen else ("observed", seen)


def facts(found: Comparison) -> tuple[Fact, ...]:
    """Return what there is to compare, at a glance."""
    n_flows = sum(pair.flows[0] != pair.flows[1] for pair in found.pairs)
    requirements, datasets = (_places(found, at) for at in (f"{MANIFEST}#/provenance/cuts", DATASETS))
    return (
        Fact("requirements that differ", str(len(_changed(found))), requirements, "requirements of the selection"),
        Fact("datasets in both", str(len(found.pairs)), datasets, "by name, or by what they are"),
        Fact("in one only", str(len(found.alone)), datasets, ", ".join(found.alone) or "no dataset"),
        Fact("cut flows that differ", str(n_flows), datasets, "of the search, among the datasets in both"),
    )


def _places(found: Comparison, at: str) -> str:
    """Return where in both results something lies that is counted."""
    return AND.join(f"{name}/{at}" for name in found.names)


def _changed(found: Comparison) -> dict[str, tuple[Any, Any]]:
    """Return the requirements that differ, by name, as they are stored."""
    first, second = (source.results.provenance.get("cuts", {}) for source in found.sources)
    names = dict.fromkeys((*first, *second))
    return {n: (first.get(n), second.get(n)) for n in names if first.get(n) != second.get(n)}


def _limits(found: Comparison) -> Section:
    pictures = [_scan(found, *of) for of in (("branching_fraction_ul", "observed"), ("expected", "expected"))]
    words = "Limits of one method at one mass; the ratio is that of the second result to the first."
    return Section("limits", "Limits", words, present(*pictures), present(limits(found)))


def limits(found: Comparison) -> Table | None:
    """Return the limits that both results have, by mass and method; None without any."""
    rows = tuple(_limit_row(key, records) for key, records in _records(found).items())
    fields = (
        Field("m_majorana", "M(ν)", mass, "GeV/c²"),
        Field("method", "method"),
        *_fields(found, _OF_LIMIT),
        Field("ratio", "ratio of limits", fixed(3), at=BESIDE),
    )
    note = "ratio of the observed limits or, where one is hidden, of the expected ones"
    return Table("limits_compared", "Limits of both results", fields, rows, note) if rows else None


def _records(found: Comparison) -> dict[tuple[float | None, str], list[dict[str, Any]]]:
    """Return of each limit that both results have both records with their places, by mass and method."""
    first, second = (
        {
            (r["m_majorana"], r["method"]): result.row(r, f"{name}/{result.LIMITS_AT}/{i}")
            for i, r in enumerate(source.limits)
        }
        for name, source in found.each()
    )
    return {key: [first[key], second[key]] for key in first if key in second}


def _limit_row(key: tuple[float | None, str], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    _, (old, new) = _limits_of(records)
    row = _beside(records, _OF_LIMIT)
    row[PLACES]["m_majorana"] = f"{records[0][PLACE]}/m_majorana"
    return row | {"m_majorana": key[0], "method": key[1], "ratio": None if None in (old, new) else new / old}  # type: ignore[operator] # None was looked for


def _beside(records: Sequence[Mapping[str, Any]], numbers: Numbers) -> dict[str, Any]:
    """Return numbers of two records in one row, each with its place."""
    row: dict[str, Any] = {PLACES: {}}
    for side, record in zip(SIDES, records, strict=True):
        for key in numbers:
            parts = [f"{record[PLACE]}/{part}" for part in _AT.get(key, (key,))]
            row[f"{key}.{side}"] = record.get(key)
            row[PLACES][f"{key}.{side}"] = record.get(PLACES, {}).get(key) or DIVIDED.join(parts)
    return row


def _fields(found: Comparison, numbers: Numbers) -> tuple[Field, ...]:
    """Return the columns of two results, those of one number beside each other."""
    return tuple(
        Field(f"{key}.{side}", f"{head}, {name}", show, unit)
        for key, (head, show, unit) in numbers.items()
        for side, name in zip(SIDES, found.names, strict=True)
    )


def _scan(found: Comparison, key: str, words: str) -> Picture | None:
    """Return the limits of the first method against the mass; of both results, at the masses of both."""
    first = result.headline(found.sources[0])
    scans = [r for (m, method), r in _records(found).items() if first and m is not None and method == first["method"]]
    both = [sorted(side, key=lambda r: r["m_majorana"]) for side in zip(*scans, strict=True)]
    curves = [result.values(side, key) for side in both]
    if not curves or any(np.isnan(curve).any() for curve in curves):
        return None
    exponent = result.exponent(found.sources[0])
    axis = rf"Upper limit on $B$ [$10^{{{exponent}}}$]"
    scaled = [(result.values(s, "m_majorana"), 10.0**-exponent * c, None) for s, c in zip(both, curves, strict=True)]
    return Picture(
        f"limits_{words}_compared",
        f"The {words} limits against the neutrino's mass",
        f"Method {both[0][0]['method']}, {len(both[0])} masses of both results; below: the second over the first.",
        partial(_draw_curves, found.names, axis, scaled),
    )


def _draw_curves(names: Sequence[str], axis: str, curves: Sequence[Curve], axes: Axes) -> None:
    """Draw values of both results against the neutrino's mass, with the ratio below."""
    for (x, y, errors), of, look in zip(curves, names, _POINTS, strict=True):
        axes.errorbar(x, y, yerr=errors, label=of, markerfacecolor="none", **look)
    axes.set_xlabel(M_NU_LABEL)
    axes.set_ylabel(axis)
    axes.set_ylim(0, result.HEADROOM * max(float(y.max()) for _, y, _ in curves))
    axes.legend(loc="upper right")
    first, second = (drawing.at_points(*curve) for curve in curves)
    drawing.ratio(axes, second, first, "second / first")


def _selection(found: Comparison) -> Section:
    return Section(
        "selection",
        "Selection",
        "What the selection leaves of every dataset that both results have, step by step.",
        present(_efficiencies(found)),
        present(datasets(found), cutflows(found)),
    )


def datasets(found: Comparison) -> Table | None:
    """Return produced and selected events of every dataset of both, with the ratio of the efficiencies."""
    rows = tuple(_dataset_row(found, pair) for pair in found.pairs)
    fields = (
        Field("dataset", "dataset"),
        *_fields(found, _OF_DATASET),
        Field("ratio", "ratio of ε", fixed(4), at=BESIDE),
        Field("ratio_error", "±", fixed(4), at=BESIDE),
    )
    note = "ratio: second over first; ±: as if both were of different events, an upper bound for the same ones"
    return Table("efficiencies_compared", "Efficiencies of both results", fields, rows, note) if rows else None


def _dataset_row(found: Comparison, pair: Pair) -> dict[str, Any]:
    records = []
    for side, dataset, name in zip(found.names, pair.both, pair.names, strict=True):
        last = selection.cutflow_rows(dataset.selections[SEARCH].cutflow, dataset.n_produced)[-1]
        at = f"{side}/{DATASETS}/{name}"
        passed = f"{at}/selections/{SEARCH}/cutflow/{last['step']}"
        places = {"n": passed, "efficiency": f"{passed}{DIVIDED}{at}/n_produced", "efficiency_error": BESIDE}
        records.append(last | {"n_produced": dataset.n_produced, PLACE: at, PLACES: places})
    ratio, error = _ratio([r["efficiency"] for r in records], [r["efficiency_error"] for r in records])
    return _beside(records, _OF_DATASET) | {"dataset": pair.name, "ratio": ratio, "ratio_error": error}


def _ratio(values: Sequence[float | None], errors: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the second value over the first with the uncertainty of independent ones; None over nothing."""
    (old, new), (of_old, of_new) = values, errors
    if not old or not new:
        return None, None
    ratio = new / old
    return ratio, ratio * float(np.hypot((of_old or 0.0) / old, (of_new or 0.0) / new))


def cutflows(found: Comparison) -> Table | None:
    """Return the cut flows of every dataset of both: events of the first, of the second, and their ratio."""
    rows: dict[str, dict[str, Any]] = {}
    titles = selection.titles(cuts_of(found.sources[0].results))
    for pair in found.pairs:
        for step in dict.fromkeys(name for flow in pair.flows for name in flow):
            row = rows.setdefault(step, {"title": titles.get(step, step), PLACES: {}})
            for side, of, dataset, flow in zip(SIDES, found.names, pair.names, pair.flows, strict=True):
                row[f"{pair.name}.{side}"] = flow.get(step)
                at = f"{of}/{DATASETS}/{dataset}/selections/{SEARCH}/cutflow/{step}"
                row[PLACES][f"{pair.name}.{side}"] = at
            row[f"{pair.name}.ratio"] = _ratio([flow.get(step) for flow in pair.flows], (None, None))[0]
    groups = {side: (f"events, {name}", count) for side, name in zip(SIDES, found.names, strict=True)}
    fields = [
        Field(f"{pair.name}.{key}", pair.name, show, at=BESIDE, group=group)
        for key, (group, show) in {**groups, "ratio": ("second over first", fixed(3))}.items()
        for pair in found.pairs
    ]
    title = "Cut flows of both results"
    fields = [Field("title", "after"), *fields]
    return Table("cutflow_compared", title, tuple(fields), tuple(rows.values())) if rows else None


def _efficiencies(found: Comparison) -> Picture | None:
    """Return the efficiency against the mass, of the way to make neutrinos with the most masses; None below two."""
    chosen: dict[str | None, list[Pair]] = {}
    for pair in found.pairs:
        if all(dataset.metadata.kind == MAJORANA for dataset in pair.both):
            chosen.setdefault(pair.both[0].metadata.majorana_mode, []).append(pair)
    best = max(chosen.values(), key=len, default=[])
    scan = sorted(best, key=lambda pair: pair.both[0].metadata.m_majorana or 0.0)
    if len(scan) < len(SIDES):
        return None
    curves = [_efficiency_curve([pair.both[i] for pair in scan]) for i in range(len(SIDES))]
    mode = scan[0].both[0].metadata.majorana_mode
    return Picture(
        "efficiency_compared",
        "Efficiency of the selection against the neutrino's mass",
        f"{len(scan)} masses, mode {mode}, binomial errors; below: the second over the first, with errors as of "
        "independent events.",
        partial(_draw_curves, found.names, "Efficiency [%]", curves),
    )


def _efficiency_curve(datasets: Sequence[DatasetResult]) -> Curve:
    """Return mass in GeV/c^2, efficiency and its error in percent."""
    masses = np.array([d.metadata.m_majorana for d in datasets], dtype=np.float64)
    passed = np.array([d.selections[SEARCH].n_passed for d in datasets])
    produced = np.array([max(d.n_produced, 1) for d in datasets])
    return masses, 100.0 * passed / produced, 100.0 * binomial_sigma(passed, produced)


def _overlaid(channel: Channel) -> dict[str, tuple[str | None, int, str]]:
    """Return the spectra that are overlaid: the slice of the first axis, bins drawn as one, and what it shows."""
    lightest = WORDS[channel.kinds[0]].word
    return {
        channel.mass: (STAGES[-2], 5, f"M({channel.symbols}) after all other requirements"),
        channel.pair: (STAGES[-1], 10, f"fitted M({channel.pair_symbols}) of selected candidates"),
        "chi2_4c": (STAGES[0], 4, "χ²₄C of the best candidate"),
        "n_minus_1_alternative_hypotheses": (None, 10, "how much worse the best other hypothesis fits"),
        "n_minus_1_conversion_veto": (None, 2, "radius of the nearest conversion"),
        "e_over_p": (lightest, 3, f"E/p of {lightest}s"),
    }


def _spectra(found: Comparison) -> Section:
    overlaid = _overlaid(cuts_of(found.sources[0].results).channel)
    pictures = [_spectrum(found, kind, name, *how) for kind in (SIGNAL, DATA) for name, how in overlaid.items()]
    words = "Spectra of both results; below: the second over the first, with errors as of independent events."
    return Section("spectra", "Spectra", words, present(*pictures))


def _spectrum(found: Comparison, kind: str, name: str, choice: str | None, rebin: int, words: str) -> Picture | None:
    """Return one spectrum of both results; None if one of them has none, or other bins."""
    sums = [total(source.searches(kind), name, choice) for source in found.sources]
    shown: list[Any] = [h[:: hist.rebin(rebin)] for h in sums if h is not None and h.sum()]
    if len(shown) < len(SIDES) or shown[0].axes != shown[1].axes:
        return None
    weighted = [_scaled(h, 1.0 / n) for h, n in zip(shown, _produced(found, kind), strict=True)]

    def draw(axes: Axes) -> None:
        for h, of, color in zip(weighted, found.names, drawing.COLOURS, strict=False):
            drawing.step_plot(axes, h, label=of, color=color)
        drawing.label_counts(axes, shown[0], "Fraction" if kind == SIGNAL else "Events")
        axes.set_ylim(0, drawing.HEADROOM * max(float(h.values().max()) for h in weighted))
        axes.legend(loc="upper right")
        drawing.ratio(axes, weighted[1], weighted[0], "second / first")

    of = "signal, as fractions of the produced events" if kind == SIGNAL else "data"
    counts = " and ".join(f"{drawing.n_entries(h)} ({name})" for h, name in zip(shown, found.names, strict=True))
    return Picture(f"{name}_{kind}_compared", f"{words[0].upper()}{words[1:]}", f"Of the {of}: {counts} entries.", draw)


def _produced(found: Comparison, kind: str) -> list[int]:
    """Return how many events of signal each result has; of data, which are taken as they are, one."""
    if kind != SIGNAL:
        return [1, 1]
    return [sum(d.n_produced for d in source.results.ran(SEARCH, kind).values()) for source in found.sources]


def _scaled(histogram: hist.Hist, scale: float) -> hist.Hist:
    """Return a histogram of counts times a scale, with the variances of the counts."""
    weighted = hist.Hist(*histogram.axes, storage=hist.storage.Weight())
    weighted.view().value = histogram.values() * scale
    weighted.view().variance = histogram.values() * scale**2
    return weighted


def _origin(found: Comparison) -> Section:
    words = "What differs in how the results were made; what is not listed is the same."
    return Section("origin", "Origin", words, tables=present(differences(found)), folded=present(_alone(found)))


def differences(found: Comparison) -> Table | None:
    """Return requirements, code, files and versions that differ; None if nothing does."""
    rows: dict[str, tuple[str, Sequence[Any]]] = {f"cut {n}": (f"cuts/{n}", v) for n, v in _changed(found).items()}
    stored = [source.results.provenance for source in found.sources]
    rows |= {words: (key, [s.get(key) for s in stored]) for key, words in ORIGIN.items()}
    packages = [s.get("packages", {}) for s in stored]
    names = dict.fromkeys((*packages[0], *packages[1]))
    rows |= {name: (f"packages/{name}", [p.get(name) for p in packages]) for name in names}
    listed = tuple(
        {"what": what, **dict(zip(SIDES, both, strict=True))}
        | {PLACES: {s: f"{of}/{MANIFEST}#/provenance/{at}" for s, of in zip(SIDES, found.names, strict=True)}}
        for what, (at, both) in rows.items()
        if both[0] != both[1]
    )
    fields = (Field("what", "what"), *(Field(s, name) for s, name in zip(SIDES, found.names, strict=True)))
    return Table("differences", "What differs", fields, listed) if listed else None


def _alone(found: Comparison) -> Table | None:
    rows = tuple({"dataset": name} for name in found.alone)
    title = "Datasets that only one of the results has"
    return Table("alone", title, (Field("dataset", "dataset"),), rows) if rows else None
