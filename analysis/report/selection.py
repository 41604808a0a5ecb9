"""The selection: its requirements, the cut flow of every dataset, and the variables it decides on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, starmap
from typing import Any, Final

import hist
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import BACKGROUND, DATA, INCLUSIVE, MISID, MISID_FAILED, SEARCH, SIGNAL
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.efficiency import binomial_sigma
from jpsi_lnv.analysis.report import drawing, render, spectra
from jpsi_lnv.analysis.report.drawing import Edge, Picture, Section, present, total
from jpsi_lnv.analysis.report.source import Source, cuts_of
from jpsi_lnv.analysis.report.tables import (
    PLACE,
    PLACES,
    Field,
    Table,
    count,
    decay,
    file_name,
    located,
    percent,
    yes_no,
)
from jpsi_lnv.analysis.results import DatasetResult
from jpsi_lnv.analysis.selection.registry import SELECTIONS
from jpsi_lnv.analysis.selection.search import plane
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS, STAGES, of_channel

BACKGROUNDS: Final = (BACKGROUND, INCLUSIVE)
# Backgrounds in the figure of the cut flow.
FLOWS_MAX: Final = 5
BEST_CANDIDATE: Final = STAGES[0]
# Bins that are drawn as one.
REBIN: Final = {
    "chi2_4c": 2,
    "n_minus_1_chi2_4c": 2,
    "n_minus_1_alternative_hypotheses": 5,
    "n_minus_1_conversion_veto": 2,
    "n_minus_1_signal_region": 5,
}
# Histograms of tracks by role, and what they show.
ROLES: Final = {"e_over_p": "E/p", "dedx_chi": "χ of dE/dx", "confidence_level": "Confidence level"}


# Where every number of a cut flow lies.
CUTFLOW: Final = "cutflow.json#/datasets"
# A page holds the table between these, and in it what the publication asks for: sources that begin so.
BEGIN: Final = "<!-- cuts -->"
END: Final = "<!-- /cuts -->"
PUBLISHED: Final = "III, par. "


_CUTFLOW: Final = (
    Field("title", "after"),
    Field("n", "events", count),
    Field("efficiency_step", "step", percent(2), "%"),
    Field("efficiency", "total", percent(3), "%"),
    Field("efficiency_error", "±", percent(3), "%"),
)
# Variable of a step that the candidates without identification carry, None: their mass; and which pass all others.
_OF_STEP: Final = {
    "alternative_hypotheses": ("chi2_difference", spectra.in_region),
    "chi2_4c": ("chi2_4c", spectra.in_window),
    "conversion_veto": ("conversion_radius", spectra.in_region),
    "signal_region": (None, spectra.below_chi2),
}
# Variables of the conversion veto and what they are.
CONVERSIONS: Final = {
    "delta_xy": ("gap of the two circles", "all pairs; a negative gap is an overlap"),
    "radius": ("radius of the point where they touch", "pairs whose circles touch"),
    "m_ee": ("m(ee) at that point", "pairs whose circles touch in the material"),
}
# What the wide table shows of every step: key -> group of columns, how it is shown, unit.
_WIDE: Final = {
    "n": ("events", count, ""),
    "efficiency": ("of the produced events", percent(3), "%"),
    "efficiency_step": ("of the step before", percent(2), "%"),
}
_OVERVIEW: Final = (
    Field("dataset", "dataset"),
    Field("kind", "kind"),
    Field("n_produced", "produced", count),
    Field("n", "selected", count),
    Field("efficiency", "ε", percent(3), "%"),
    Field("efficiency_error", "±", percent(3), "%"),
)


def requirement(value: Any) -> str:
    """Return the value of a requirement as a cell shows it."""
    return yes_no(value) if isinstance(value, bool) else str(value)


_CUTS: Final = (
    Field("meaning", "requirement"),
    Field("value", "value", requirement),
    Field("unit", "unit"),
    Field("name", "name in `analysis.cuts`"),
    Field("source", "source"),
)


def section(source: Source) -> Section:
    """Return the section of the selection."""
    shown = (s for d in source.results.datasets.values() for s in d.selections if s not in {SEARCH, MISID_FAILED})
    ran = dict.fromkeys(shown)
    return Section(
        "selection",
        "Selection",
        "Every requirement, what it leaves of every dataset, and the distribution of its variable after all others.",
        pictures(source, cuts_of(source.results)),
        present(cutflows(source, SEARCH), overview(source), cuts(cuts_of(source.results))),
        present(*(cutflows(source, selection) for selection in ran)),
    )


def pictures(source: Source, cuts: Cuts = SELECTION) -> tuple[Picture, ...]:
    """Return the figures of the cut flow and of the variables that the result can fill."""
    return present(
        _cutflow(source),
        *_n_minus_1(source, cuts),
        *_conversions(source, cuts),
        _chi2(source, cuts),
        _chi2_against_mass(source, cuts),
        *(_of_role(source, name) for name in ROLES),
        *_own(source),
    )


def _own(source: Source) -> Iterator[Picture]:
    """Return the histograms of one variable that selections of the user's own filled, all datasets in each."""
    ran = dict.fromkeys(s for d in source.results.datasets.values() for s in d.selections if s not in SELECTIONS)
    for selection in ran:
        datasets = source.results.ran(selection)
        for name in dict.fromkeys(h for d in datasets.values() for h in d.selections[selection].histograms):
            found = {n: d.selections[selection].histograms.get(name) for n, d in datasets.items()}
            filled = {n: h for n, h in found.items() if h is not None and h.ndim == 1}
            if filled:
                yield Picture(
                    f"{selection}_{name}",
                    f"{name} of the selection {selection}",
                    "A selection of the user's own, the events of each dataset as they were read.",
                    partial(_draw_own, filled),
                )


def _draw_own(filled: Mapping[str, hist.Hist], axes: Axes) -> None:
    for name, histogram in filled.items():
        drawing.step_plot(axes, histogram, label=name)
    drawing.label_counts(axes, next(iter(filled.values())))
    axes.set_ylim(0.0, drawing.HEADROOM * max(float(h.values().max()) for h in filled.values()) or 1.0)
    axes.legend()


def binomial_error(passed: int, total: int) -> float | None:
    """Return the binomial standard error of passed/total; None of nothing."""
    return float(binomial_sigma(passed, total)) if total > 0 else None


def titles(cuts: Cuts) -> dict[str, str]:
    """Return what each step of the search requires, by its name."""
    return {ALL_EVENTS: "events read"} | {step.name: step.title for step in of_channel(cuts.channel)}


def cutflow_rows(cutflow: Mapping[str, int], n_produced: int, cuts: Cuts = SELECTION) -> list[dict[str, Any]]:
    """Return one row per step: events, efficiency of the step and of all steps so far with its binomial error.

    Args:
        cutflow: Step -> events that pass it and all before.
        n_produced: Events produced, what total efficiencies refer to.
        cuts: The requirements.
    """
    words, rows = titles(cuts), []
    before = n_produced
    for step, n in cutflow.items():
        rows.append(
            {
                "step": step,
                "title": words.get(step, step.replace("_", " ")),
                "n": n,
                "efficiency_step": n / before if before else None,
                "efficiency": n / n_produced if n_produced else None,
                "efficiency_error": binomial_error(n, n_produced),
            }
        )
        before = n
    return rows


def cutflow(name: str, dataset: DatasetResult, selection: str = SEARCH, cuts: Cuts = SELECTION) -> Table:
    """Return the cut flow of one dataset."""
    made = f"{decay(dataset.metadata.process or dataset.metadata.kind)}: {count(dataset.n_produced)} events produced. "
    rows = cutflow_rows(dataset.selections[selection].cutflow, dataset.n_produced, cuts)
    return Table(
        name=file_name(f"cutflow_{name}" if selection == SEARCH else f"cutflow_{name}_{selection}"),
        title=f"Cut flow of {name}" + ("" if selection == SEARCH else f", {selection}"),
        fields=_CUTFLOW,
        rows=located(rows, f"{CUTFLOW}/{name}/{selection}"),
        note=made + _hidden([name] if dataset.metadata.is_blind else []),
    )


def _hidden(blind: Sequence[str]) -> str:
    rows = "events in the signal region are hidden from every row but the first of"
    return f"{rows} {', '.join(blind)}" if blind else ""


def cutflows(source: Source, selection: str) -> Table | None:
    """Return the cut flow of a selection in all its datasets, one beside the other; None if it ran in none.

    Each dataset has a column of events, one of their share of the produced ones, and one of what a step keeps of them.
    """
    datasets = source.results.ran(selection)
    if not datasets:
        return None
    rows: dict[str, dict[str, Any]] = {}
    for name, dataset in datasets.items():
        flow = cutflow_rows(dataset.selections[selection].cutflow, dataset.n_produced, cuts_of(source.results))
        for i, found in enumerate(flow):
            row = rows.setdefault(found["step"], {"title": found["title"], PLACES: {}})
            for key in _WIDE:
                row[f"{name}.{key}"] = found[key]
                row[PLACES][f"{name}.{key}"] = f"{CUTFLOW}/{name}/{selection}/{i}/{key}"
    fields = (
        Field(f"{name}.{key}", name, show, unit, group=group)
        for key, (group, show, unit) in _WIDE.items()
        for name in datasets
    )
    return Table(
        name="cutflow" if selection == SEARCH else f"cutflow_{selection}",
        title="Cut flow" if selection == SEARCH else f"Cut flow of the selection {selection}",
        fields=(Field("title", "after"), *fields),
        rows=tuple(rows.values()),
        note=_hidden([name for name, d in datasets.items() if d.metadata.is_blind]),
    )


def overview(source: Source) -> Table:
    """Return what the whole selection leaves of every dataset."""
    return Table(
        name="datasets",
        title="What the selection leaves of every dataset",
        fields=_OVERVIEW,
        rows=tuple(starmap(_overview_row, source.results.ran(SEARCH).items())),
        note="efficiency: selected over produced events, with its binomial error",
    )


def _overview_row(name: str, dataset: DatasetResult) -> dict[str, Any]:
    passed = dataset.selections[SEARCH].n_passed
    return {
        "dataset": name,
        "kind": dataset.metadata.kind + (", blind" if dataset.metadata.is_blind else ""),
        "n_produced": dataset.n_produced,
        "n": passed,
        "efficiency": passed / dataset.n_produced if dataset.n_produced else None,
        "efficiency_error": binomial_error(passed, dataset.n_produced),
        PLACE: f"{CUTFLOW}/{name}/{SEARCH}/{len(dataset.selections[SEARCH].cutflow) - 1}",
        PLACES: {"n_produced": f"{CUTFLOW}/{name}/n_produced"},
    }


def cutflow_record(source: Source) -> dict[str, Any]:
    """Return the content of `cutflow.json`: per dataset what it is, and per selection its cut flow in order."""
    made_with = cuts_of(source.results)
    return {
        name: {
            "kind": d.metadata.kind,
            "is_blind": d.metadata.is_blind,
            "n_produced": d.n_produced,
            "n_events": d.n_events,
            **{s: cutflow_rows(found.cutflow, d.n_produced, made_with) for s, found in d.selections.items()},
        }
        for name, d in source.results.datasets.items()
    }


def cuts(selection: Cuts = SELECTION) -> Table:
    """Return every requirement with its value, unit and place in the publication."""
    return Table(
        "cuts", "Requirements of the selection", _CUTS, tuple(_row(f, selection) for f in dataclasses.fields(Cuts))
    )


def _row(field: dataclasses.Field[Any], selection: Cuts) -> dict[str, Any]:
    at = {"value": f"{ACCUMULATOR}/manifest.json#/provenance/cuts/{field.name}"}
    described = {key: field.metadata[key] for key in ("meaning", "unit", "source")}
    return {"value": getattr(selection, field.name), "name": field.name, PLACES: at, **described}


def markdown(selection: Cuts = SELECTION, sources: str = "") -> str:
    """Return the table for Markdown pages, names as code: the requirements whose source begins as given."""
    table = cuts(selection)
    rows = tuple({**row, "name": f"`{row['name']}`"} for row in table.rows if row["source"].startswith(sources))
    return render.markdown(dataclasses.replace(table, rows=rows))


def insert(page: str, selection: Cuts = SELECTION) -> str:
    """Return a Markdown page with the table of the publication's requirements between its markers renewed.

    Raises:
        ValueError: The page lacks the markers.
    """
    before, opened, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (opened and closed):
        msg = f"the page has no {BEGIN} ... {END} to hold the table"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n{markdown(selection, PUBLISHED)}{END}{after}"


def _cutflow(source: Source) -> Picture | None:
    produced = {name: max(d.n_produced, 1) for name, d in source.results.datasets.items()}
    flows = {
        name: np.array(list(s.cutflow.values()), dtype=float) / produced[name]
        for name, s in source.searches(SIGNAL, DATA, *BACKGROUNDS).items()
        if any(s.cutflow.values())
    }
    if not flows:
        return None
    steps = next(iter(source.searches(SIGNAL, DATA, *BACKGROUNDS).values())).cutflow
    words = titles(cuts_of(source.results))
    # The last steps count first: what comes furthest, and of such the most frequent.
    backgrounds = flows.keys() & source.searches(*BACKGROUNDS).keys()
    furthest = sorted(backgrounds, key=lambda name: (*-flows[name][::-1], name))
    shown, data = [name for name in flows if name not in furthest[FLOWS_MAX:]], source.searches(DATA)

    def draw(axes: Axes) -> None:
        for name, look in zip(shown, cycle(drawing.looks()), strict=False):
            own: dict[str, Any] = look | ({"color": drawing.DATA} if name in data else {})
            axes.plot(np.ma.masked_equal(flows[name], 0.0), np.arange(len(steps)), marker="o", label=name, **own)
        drawing.name_rows(axes, [words.get(s, s) for s in steps], fontsize=10)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("fraction of produced events")
        axes.legend(loc="lower left", fontsize=9)

    left_out = len(flows) - len(shown)
    which = f" Backgrounds: those that come furthest; the table has {left_out} more." if left_out else ""
    return Picture(
        "cutflow",
        "Events that remain after each step",
        f"Fraction of the produced events of each dataset; a line ends where nothing remains.{which}",
        draw,
        left=0.44,
    )


def _n_minus_1(source: Source, cuts: Cuts) -> list[Picture]:
    limits = {
        "alternative_hypotheses": ((0.0, 1),),
        "chi2_4c": ((cuts.chi2_4c_max, -1),),
        "conversion_veto": ((cuts.conversion_radius_min, -1), (cuts.conversion_radius_max, 1)),
        "signal_region": ((cuts.m_signal_min, 1), (cuts.m_signal_max, -1)),
    }
    found = {step: _groups(source, f"n_minus_1_{step}") + _weighted(source, step) for step in limits}
    return [
        Picture(
            f"n_minus_1_{step}",
            f"All requirements but one: {titles(cuts)[step]}",
            "Each sample scaled to one after every other requirement; the arrows show what this one keeps. "
            "Background: candidates without identification, weighted with its probability.",
            drawing.shapes(groups, limits[step]),
        )
        for step, groups in found.items()
        if groups
    ]


def _conversions(source: Source, cuts: Cuts) -> list[Picture]:
    """Return each variable of the veto for generated conversions and for the pairs of signal."""
    gap, mass = cuts.conversion_delta_xy_max, cuts.conversion_m_ee_max
    limits: dict[str, list[Edge]] = {
        "delta_xy": [(-gap, -1), (gap, 1)],
        "radius": [(cuts.conversion_radius_min, -1), (cuts.conversion_radius_max, 1)],
        "m_ee": [(mass, 1)],
    }
    with_truth = {name: d.selections[MISID] for name, d in source.results.ran(MISID).items()}
    found = {}
    for variable in CONVERSIONS:
        samples = {"converted photons": with_truth, "signal": source.searches(SIGNAL), "data": source.searches(DATA)}
        name = f"conversion_{variable}"
        found[variable] = _not_empty([(words, total(of, name)) for words, of in samples.items()], 1)
    return [
        Picture(
            f"conversion_{variable}",
            f"Conversion veto: {CONVERSIONS[variable][0]}",
            f"Pairs of an electron and a track of the other charge, read as e⁺e⁻: {CONVERSIONS[variable][1]}. Those of "
            "generated converted photons against those of signal after all other requirements, each scaled to one; the "
            "arrows show what is kept.",
            drawing.shapes(groups, limits[variable]),
        )
        for variable, groups in found.items()
        if groups
    ]


def _weighted(source: Source, step: str) -> list[tuple[str, hist.Hist]]:
    """Return the expected background of each process against the variable of a step that its candidates carry."""
    name, cuts = f"n_minus_1_{step}", cuts_of(source.results)
    column, passes = _OF_STEP[step][0] or cuts.channel.mass, _OF_STEP[step][1]
    like = total(source.searches(), name)
    found = spectra.processes(source)
    if like is None or any(column not in w.candidates for w in found):
        return []
    named = [(decay(w.name), w.all_but(step, like.axes[0], column, passes(w.candidates, cuts))) for w in found]
    return _not_empty(named[: spectra.SHOWN_MAX], REBIN.get(name, 1))


def _groups(source: Source, name: str, choice: str | None = None) -> list[tuple[str, hist.Hist]]:
    """Return the histogram of data, signal and each background dataset, those that are not empty."""
    named = [("data", source.searches(DATA)), ("signal", source.searches(SIGNAL))]
    named += [(dataset, {dataset: s}) for dataset, s in source.searches(*BACKGROUNDS).items()]
    return _not_empty([(label, total(searches, name, choice)) for label, searches in named], REBIN.get(name, 1))


def _not_empty(named: Sequence[tuple[str, Any]], rebin: int) -> list[tuple[str, hist.Hist]]:
    """Return the histograms with any content, `rebin` bins drawn as one."""
    return [(label, h[:: hist.rebin(rebin)]) for label, h in named if h is not None and h.sum()]


def _chi2(source: Source, cuts: Cuts) -> Picture | None:
    groups = _groups(source, "chi2_4c", BEST_CANDIDATE)
    if not groups:
        return None
    return Picture(
        "chi2_4c",
        "χ²₄C of the best candidate",
        f"Each sample scaled to one; the arrow shows what is kept, χ²₄C < {cuts.chi2_4c_max:g}.",
        drawing.shapes(groups, [(cuts.chi2_4c_max, -1)]),
    )


def _chi2_against_mass(source: Source, cuts: Cuts) -> Picture | None:
    searches = source.searches(SIGNAL) or source.searches(DATA)
    name = plane(cuts.channel)
    histogram = total(searches, name)
    if histogram is None or not drawing.n_entries(histogram):
        return None

    def draw(axes: Axes) -> None:
        counts, chi2, mass = histogram.to_numpy()
        mesh = axes.pcolormesh(chi2, mass, np.ma.masked_equal(counts.T, 0), cmap="viridis", rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label="Events")
        axes.set_xlabel(histogram.axes[0].label)
        axes.set_ylabel(histogram.axes[1].label)
        x, y = [0.0, cuts.chi2_4c_max], [cuts.m_signal_min, cuts.m_signal_max]
        axes.plot([*x, *x[::-1]], [y[0], y[0], y[1], y[1]], color=drawing.REGION, linewidth=1.5)

    return Picture(
        name,
        f"M({cuts.channel.symbols}) against χ²₄C after all other requirements",
        f"Events of {', '.join(searches)}; the box is the signal region.",
        draw,
    )


def _of_role(source: Source, name: str) -> Picture | None:
    searches = source.searches(SIGNAL) or source.searches(DATA)
    histogram = total(searches, name)
    if histogram is None or not drawing.n_entries(histogram):
        return None
    slices: list[tuple[str, Any]] = [(role, histogram[role, :]) for role in histogram.axes[0]]
    title = ROLES[name]

    def draw(axes: Axes) -> None:
        for (role, h), color in zip(slices, drawing.COLOURS, strict=False):
            drawing.step_plot(axes, h, label=role, color=color)
        drawing.label_counts(axes, slices[0][1], "Tracks")
        axes.set_ylim(0, drawing.HEADROOM * max(h.values().max() for _, h in slices))
        axes.legend(loc="upper right")

    return Picture(
        name,
        f"{title} of the tracks of best candidates, by role",
        f"Tracks of {', '.join(searches)} that were taken as {' or '.join(histogram.axes[0])}.",
        draw,
    )
