"""The figure of M(Ke): phase space, and the peaks of some of the Majorana neutrinos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import hist
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.datasets import MAJORANA, SIGNAL, mass_mev
from jpsi_lnv.analysis.report import drawing, style
from jpsi_lnv.analysis.report.drawing import MEV
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.source import SEARCH, Source
from jpsi_lnv.analysis.selection.steps import SECTION_III

LAST: Final = SECTION_III[-1].name
# Masses of which the curves can still be told apart, and bins that are drawn as one.
N_MASSES: Final = 5
REBIN: Final = 2
# Names and titles of the figures, by mode.
NAMES: Final = {"2nu": "m_ke", "1nu": "m_ke_1nu"}
TITLES: Final = {"2nu": "both pairs from neutrinos", "1nu": "one pair from a neutrino"}


class Curve(NamedTuple):
    """Fitted M(Ke) of the selected candidates of neutrinos of one mass in GeV/c^2."""

    m_majorana: float
    counts: hist.Hist


def pictures(source: Source) -> list[Picture]:
    """Return a figure for each way to make neutrinos that was simulated, or of phase space alone."""
    phase_space = _phase_space(source)
    curves = {mode: _curves(source, mode) for mode in NAMES}
    modes = [mode for mode in NAMES if curves[mode]] or [mode for mode in ("2nu",) if phase_space is not None]
    return [_picture(mode, phase_space, curves[mode]) for mode in modes]


def _picture(mode: str, phase_space: hist.Hist | None, curves: Sequence[Curve]) -> Picture:
    shown = [curves[i] for i in spread(len(curves), N_MASSES)]

    def draw(axes: Axes) -> None:
        if phase_space is not None:
            _step(axes, phase_space, label="phase space", color=style.DATA)
        for curve, color in zip(shown, style.COLOURS, strict=False):
            _step(axes, curve.counts, label=rf"$m_\nu$ = {curve.m_majorana:.3f} GeV/$c^2$", color=color)
        drawing.label_counts(axes, shown[0].counts if phase_space is None else phase_space, "Fraction")
        axes.set_yscale("log")
        lowest, highest = axes.get_ylim()
        axes.set_ylim(lowest, highest * drawing.LOG_HEADROOM)
        axes.legend(loc="upper right", fontsize=10, ncols=2)

    title = "Fitted M(Ke) of selected candidates"
    return Picture(NAMES[mode], f"{title}, {TITLES[mode]}" if curves else title, _caption(shown, curves), draw)


def spread(n: int, most: int) -> list[int]:
    """Return at most `most` of the indices below `n`, evenly spread, both ends among them."""
    return sorted(set(np.linspace(0, n - 1, min(n, most)).round().astype(int).tolist()))


def _phase_space(source: Source) -> hist.Hist | None:
    found = [h for s in source.searches(SIGNAL).values() if (h := _selected(s.histograms)) is not None]
    return sum(found[1:], found[0]) if found else None


def _curves(source: Source, mode: str) -> list[Curve]:
    """Return the curves of one mode, by mass; datasets of one mass, such as those of several periods, are one."""
    found: dict[int, list[hist.Hist]] = {}
    for dataset in source.results.of_kind(MAJORANA).values():
        counts = _selected(dataset.selections[SEARCH].histograms) if SEARCH in dataset.selections else None
        if counts is not None and dataset.metadata.majorana_mode == mode:
            found.setdefault(mass_mev(dataset.metadata.m_majorana or 0.0), []).append(counts)
    return [Curve(mass / MEV, sum(h[1:], h[0])) for mass, h in sorted(found.items())]


def _selected(histograms: dict[str, hist.Hist]) -> hist.Hist | None:
    if "m_ke" not in histograms:
        return None
    counts: Any = histograms["m_ke"][LAST, :: hist.rebin(REBIN)]
    return counts if counts.sum() else None


def _step(axes: Axes, counts: hist.Hist, *, label: str, color: str) -> None:
    scale = 1.0 / drawing.n_entries(counts)
    drawing.step_plot(axes, counts, label=label, scale=scale, linewidth=1.1, color=color)


def _caption(shown: Sequence[Curve], curves: Sequence[Curve]) -> str:
    text = "All four kaon-electron pairs of each candidate, each sample scaled to one."
    if shown:
        text += " A neutrino is a peak at its mass; pairs that do not come from one neutrino spread around it."
    if len(shown) < len(curves):
        text += f" Drawn are {len(shown)} of {len(curves)} masses."
    return text
