"""The background: M(KKee) of the data before the mass window, and the expected events in the signal region."""

from __future__ import annotations

from typing import Final

from matplotlib.axes import Axes

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.report.drawing import Picture, Section, present, total
from jpsi_lnv.analysis.report.source import Source, cuts_of
from jpsi_lnv.analysis.report.tables import Field, Table, count, located, significant
from jpsi_lnv.analysis.selection.steps import SECTION_III

# The last step before the mass window: what the M(KKee) figure shows.
BEFORE_REGION: Final = SECTION_III[-2].name


_BACKGROUND: Final = (
    Field("name", "dataset"),
    Field("process", "process"),
    Field("n_direct", "pass", count),
    Field("weight", "weight", significant(3)),
    Field("n_kinematic", "kinematic", count),
    Field("n_bkg", "N bkg", significant(2)),
    Field("sigma", "±", significant(2)),
)


def section(source: Source) -> Section:
    """Return the section of the background."""
    return Section(
        "background",
        "Background",
        "What other decays leave in the signal region, and the data around it.",
        present(_m_kkee(source, cuts_of(source.results))),
        present(contributions(source)),
    )


def contributions(source: Source) -> Table | None:
    """Return what each exclusive decay adds to the background; None if it was not estimated."""
    found = source.extras.get("background")
    if found is None:
        return None
    total, limit = found["total"], found.get("inclusive_limit")
    note = f"total {total['value']:.3g} ± {total['sigma']:.2g} events: {total['source']}"
    if limit is not None:
        note += f"; no inclusive event survives: below {limit:.3g} at 90 %, shown only"
    return Table(
        "background",
        "Expected background in the signal region",
        _BACKGROUND,
        tuple(sorted(located(found["contributions"], "background.json#/contributions"), key=lambda row: -row["sigma"])),
        note,
    )


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
            drawing.step_plot(axes, signal, label="signal shape", color=drawing.SIGNAL, scale=scale, alpha=0.8)
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
