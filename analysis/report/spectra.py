"""Figures of the events: masses, chi2, identification, cut flow and the requirements one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import hist
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.report import drawing, m_ke_figure, style
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.selection_tables import TITLES
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.results import SelectionResult
from jpsi_lnv.analysis.selection.steps import SECTION_III

BACKGROUNDS: Final = ("background", "inclusive")
# The last step before the mass window: what the M(KKee) figure shows.
BEFORE_REGION: Final = SECTION_III[-2].name
BEST_CANDIDATE: Final = "kinematic_fit"
# Bins that are drawn as one.
REBIN: Final = {"chi2_4c": 2, "n_minus_1_chi2_4c": 2, "n_minus_1_alternative_hypotheses": 5}

# Histograms of tracks by role, and what they show.
ROLES: Final = {"e_over_p": "E/p", "dedx_chi": "χ of dE/dx", "confidence_level": "Confidence level"}


def pictures(source: Source, cuts: Cuts = SELECTION) -> list[Picture]:
    """Return every figure of events that the result can fill."""
    drawn = [_m_kkee(source, cuts), *m_ke_figure.pictures(source)]
    drawn += [_chi2(source, cuts), _chi2_against_mass(source, cuts)]
    drawn += [_of_role(source, name) for name in ROLES]
    drawn += [_cutflow(source), *_n_minus_1(source, cuts)]
    return [picture for picture in drawn if picture is not None]


def total(searches: Mapping[str, SelectionResult], name: str, choice: str | None = None) -> hist.Hist | None:
    """Return the sum of one histogram over datasets, or of one slice of it; None if no dataset has it."""
    found: list[Any] = [s.histograms[name] for s in searches.values() if name in s.histograms]
    summed: Any = sum(found[1:], found[0]) if found else None
    return summed if choice is None or summed is None else summed[choice, :]


def _m_kkee(source: Source, cuts: Cuts) -> Picture | None:
    data = total(source.searches(DATA), "m_kkee", BEFORE_REGION)
    signal = total(source.searches(SIGNAL), "m_kkee", BEFORE_REGION)
    shown = signal if data is None else data
    if shown is None:
        return None

    def draw(axes: Axes) -> None:
        if data is not None:
            drawing.points(axes, data, label="data")
        peak = 1.0 if data is None else max(float(data.values().max()), 1.0)
        if signal is not None and drawing.n_entries(signal):
            scale = peak / float(signal.values().max())
            drawing.step_plot(axes, signal, label="signal shape", color=style.SIGNAL, scale=scale, alpha=0.8)
        drawing.label_counts(axes, shown)
        axes.set_ylim(0, drawing.HEADROOM * (peak if data is None else drawing.upper_end(data)))
        drawing.arrows(axes, (cuts.m_kkee_min, cuts.m_kkee_max), 0.75)
        axes.legend(loc="upper right")

    window = f"{cuts.m_kkee_min:.2f} to {cuts.m_kkee_max:.2f} GeV/c²"
    return Picture(
        "m_kkee",
        "M(KKee) after all other requirements",
        f"{drawing.n_entries(data)} data events (points) and the shape of simulated signal, scaled to the "
        f"highest point (line); the arrows are the signal region, {window}.",
        draw,
    )


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
        f"Each sample scaled to one; the arrow is the requirement χ²₄C < {cuts.chi2_4c_max:g}.",
        drawing.shapes(groups, [cuts.chi2_4c_max]),
    )


def _chi2_against_mass(source: Source, cuts: Cuts) -> Picture | None:
    searches = source.searches(SIGNAL) or source.searches(DATA)
    histogram = total(searches, "chi2_4c_m_kkee")
    if histogram is None or not drawing.n_entries(histogram):
        return None

    def draw(axes: Axes) -> None:
        counts, chi2, mass = histogram.to_numpy()
        mesh = axes.pcolormesh(chi2, mass, np.ma.masked_equal(counts.T, 0), cmap="viridis", rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label="Events")
        axes.set_xlabel(histogram.axes[0].label)
        axes.set_ylabel(histogram.axes[1].label)
        x, y = [0.0, cuts.chi2_4c_max], [cuts.m_kkee_min, cuts.m_kkee_max]
        axes.plot([*x, *x[::-1]], [y[0], y[0], y[1], y[1]], color=style.REGION, linewidth=1.5)

    return Picture(
        "chi2_4c_m_kkee",
        "M(KKee) against χ²₄C after all other requirements",
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
        for (role, h), color in zip(slices, style.COLOURS, strict=False):
            drawing.step_plot(axes, h, label=role, color=color)
        drawing.label_counts(axes, slices[0][1], "Tracks")
        axes.set_ylim(0, drawing.HEADROOM * max(h.values().max() for _, h in slices))
        axes.legend(loc="upper right")

    return Picture(
        name,
        f"{title} of the tracks of best candidates, by role",
        f"Tracks of {', '.join(searches)} that were taken as electron or kaon.",
        draw,
    )


def _cutflow(source: Source) -> Picture | None:
    flows = {
        name: np.array(list(s.cutflow.values()), dtype=float)
        for name, s in source.searches(SIGNAL, DATA, *BACKGROUNDS).items()
        if s.cutflow
    }
    if not flows:
        return None
    steps = next(iter(source.searches(SIGNAL, DATA, *BACKGROUNDS).values())).cutflow

    def draw(axes: Axes) -> None:
        produced = {name: source.results.datasets[name].n_produced for name in flows}
        for (name, n), color in zip(flows.items(), style.COLOURS * len(flows), strict=False):
            fraction = np.ma.masked_equal(n / max(produced[name], 1), 0.0)
            axes.plot(fraction, np.arange(len(n)), "o-", label=name, color=color)
        axes.set_yticks(range(len(steps)), [TITLES.get(s, s) for s in steps], fontsize=10)
        axes.tick_params(axis="y", which="minor", left=False, right=False)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("fraction of produced events")
        axes.legend(loc="best", fontsize=9)

    return Picture(
        "cutflow",
        "Events that remain after each step",
        "Fraction of the produced events of each dataset; a line ends where nothing remains.",
        draw,
        left=0.44,
    )


def _n_minus_1(source: Source, cuts: Cuts) -> list[Picture]:
    limits = {
        "alternative_hypotheses": (0.0,),
        "chi2_4c": (cuts.chi2_4c_max,),
        "conversion_veto": (cuts.conversion_radius_min, cuts.conversion_radius_max),
        "signal_region": (cuts.m_kkee_min, cuts.m_kkee_max),
    }
    found = {step: _groups(source, f"n_minus_1_{step}") for step in limits}
    return [
        Picture(
            f"n_minus_1_{step}",
            f"All requirements but one: {TITLES[step]}",
            "Each sample scaled to one after every other requirement; the arrows are this one's values.",
            drawing.shapes(groups, limits[step]),
        )
        for step, groups in found.items()
        if groups
    ]
