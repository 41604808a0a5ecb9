"""Spectra of the data with the expected background of each process stacked, and signal as large as its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hist
import mplhep
import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis import background
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report import drawing, result
from jpsi_lnv.analysis.report.drawing import Edge, Picture, total
from jpsi_lnv.analysis.report.source import Source, cuts_of
from jpsi_lnv.analysis.report.tables import decay, in_powers
from jpsi_lnv.analysis.selection.steps import STAGES

# The last step before the mass window, and the last of all.
BEFORE_REGION, LAST = STAGES[-2:]
# Bins that are drawn as one, of the mass of all particles and of pairs.
REBIN_MASS, REBIN_PAIR = 5, 10
# Processes that are told apart in a stack; the others are one.
SHOWN_MAX: Final = 5
OTHERS: Final = "other processes"
LEGEND_COLUMNS: Final = 2
# What is drawn at least of a range of the vertical axis, in powers of ten, and at most.
DECADES: Final = (3.0, 7.0)

Candidates = background.Candidates


@dataclass(frozen=True)
class Weighted:
    """The candidates of one process of background, and what each stands for.

    Attributes:
        name: The process.
        candidates: Column -> values.
        expected: (N,) events of the data per candidate.
        failing: The same of those that fail one step only, whose name they have as `failed`; None without them.
    """

    name: str
    candidates: Candidates
    expected: AnyArray
    failing: Weighted | None = None

    def spectrum(self, axis: Any, columns: Sequence[str], chosen: BoolArray) -> hist.Hist:
        """Return the expected events against columns of the candidates that are chosen, each column counted."""
        filled = hist.Hist(axis, storage=hist.storage.Double())
        for column in columns:
            filled.fill(np.asarray(self.candidates[column])[chosen], weight=self.expected[chosen])
        return filled

    def all_but(self, step: str, axis: Any, column: str, chosen: BoolArray) -> hist.Hist:
        """Return the spectrum of the candidates that are chosen and of those that fail one step only."""
        filled = self.spectrum(axis, (column,), chosen)
        if self.failing is not None:
            filled += self.failing.spectrum(axis, (column,), np.asarray(self.failing.candidates["failed"]) == step)
        return filled


def processes(source: Source) -> tuple[Weighted, ...]:
    """Return the processes of `background.json` with the candidates of the result; none without an estimate.

    The candidates give the shape; in the signal region their sum is what the file says.
    """
    content = source.extras.get("background")
    if content is None:
        return ()
    inside = background.in_signal_region(cuts_of(source.results))
    stored = {p["name"]: p["expected"] for p in content["channels"][0]["processes"]}
    try:
        samples, _ = background.weighted(source.results, content["n_jpsi"])
    except ResultsError:
        return ()
    found = []
    for sample in samples:
        sum_inside = float(sample.expected[inside(sample.candidates)].sum())
        scale = stored.get(sample.name, 0.0) / sum_inside if sum_inside else 1.0
        failing = Weighted(sample.name, sample.failing, scale * sample.failing_expected) if sample.failing else None
        found.append(Weighted(sample.name, sample.candidates, scale * sample.expected, failing))
    return tuple(sorted(found, key=lambda w: -float(w.expected.sum())))


def mass(source: Source) -> Picture | None:
    """Return the mass of all particles before the requirement on it; None if neither data nor signal were searched."""
    cuts = cuts_of(source.results)
    name, title = cuts.channel.mass, f"M({cuts.channel.symbols}) after all other requirements"
    window = ((cuts.m_signal_min, 1), (cuts.m_signal_max, -1))
    where = f"The signal region is {cuts.m_signal_min:.2f} to {cuts.m_signal_max:.2f} GeV/c²."
    return _picture(source, name, title, where, BEFORE_REGION, below_chi2, window)


def pairs(source: Source) -> Picture | None:
    """Return the mass of pairs in the selected candidates; None without pairs, or if nothing was searched."""
    channel = cuts_of(source.results).channel
    if not channel.pairs:
        return None
    where = f"Every candidate counts with its four pairs of {channel.pair_words}."
    title = f"M({channel.pair_symbols}) of the selected candidates"
    return _picture(source, channel.pair, title, where, LAST, in_region, ())


def below_chi2(table: Candidates, cuts: Cuts) -> BoolArray:
    """Return which candidates pass all but the requirement on the mass of all particles."""
    return np.asarray(table["chi2_4c"] < cuts.chi2_4c_max)


def in_window(table: Candidates, cuts: Cuts) -> BoolArray:
    """Return which candidates pass all but the requirement on chi2."""
    mass = table[cuts.channel.mass]
    return np.asarray((mass >= cuts.m_signal_min) & (mass <= cuts.m_signal_max))


def in_region(table: Candidates, cuts: Cuts) -> BoolArray:
    """Return which candidates lie in the signal region."""
    return background.in_signal_region(cuts)(table)


def _picture(
    source: Source,
    name: str,
    title: str,
    where: str,
    stage: str,
    passes: Callable[[Candidates, Cuts], BoolArray],
    limits: Sequence[Edge],
) -> Picture | None:
    channel = cuts_of(source.results).channel
    columns, rebin = (channel.pair_names, REBIN_PAIR) if name == channel.pair else ((name,), REBIN_MASS)
    data, signal = (_rebinned(total(source.searches(kind), name, stage), rebin) for kind in (DATA, SIGNAL))
    shown = signal if data is None else data
    if shown is None:
        return None
    stack = _stack(source, shown.axes[0], columns, passes)
    bound = _bound(source, limits)
    n_limit = _events_at_limit(source)
    n_data = drawing.n_entries(data)
    low, high = _reach(data, stack)
    below = _below(stack, low)

    def draw(axes: Axes) -> None:
        _draw_background(axes, shown.axes[0], stack, bound)
        if signal is not None and drawing.n_entries(signal):
            label = "signal, one event" if n_limit is None else "signal at its limit"
            scale = (n_limit or 1.0) / drawing.n_entries(signal) * len(columns)
            drawing.step_plot(axes, signal, label=label, color=drawing.SIGNAL, scale=scale)
        if data is not None and n_data:
            drawing.points(axes, data, label="data")
        drawing.label_counts(axes, shown)
        named = [(h, name) for h, name in zip(*axes.get_legend_handles_labels(), strict=True) if name not in below]
        legend_rows = -(-len(named) // LEGEND_COLUMNS)
        room = drawing.LOG_ROOM_PER_ENTRY ** max(0, legend_rows - drawing.ENTRIES_IN_HEADROOM)
        axes.set(yscale="log", ylim=(low, high * drawing.LOG_HEADROOM * room))
        drawing.edges(axes, limits, 0.6)
        if named:
            axes.legend(*zip(*named, strict=True), loc="upper right", fontsize=9, ncols=LEGEND_COLUMNS)

    said = [f"{n_data} entr{'y' if n_data == 1 else 'ies'} of data{' (points)' * bool(n_data)}." * (data is not None)]
    said += [where, _expectation(stack, below)]
    said.append("Hatched: its bound at 90 % in the signal region, spread evenly." if bound else "")
    said.append(f"Signal has {n_limit:.3g} events, as many as the limit allows." if n_limit is not None else "")
    return Picture(name if name == channel.mass else f"{name}_data", title, " ".join(s for s in said if s), draw)


def _draw_background(
    axes: Axes, bins: Any, stack: Sequence[tuple[str, hist.Hist]], bound: tuple[float, float, float] | None
) -> None:
    """Draw the stack of processes, and hatched the bound: from, to, and events per unit of the axis."""
    if stack:
        names, spectra = zip(*stack, strict=True)
        colours = drawing.COLOURS[1 : len(names) + 1]
        mplhep.histplot(
            [h.values() for h in spectra], bins.edges, ax=axes, stack=True, histtype="fill",
            label=list(names), color=list(colours), flow="none",
        )  # fmt: skip
    if bound is not None:
        low, high, per_width = bound
        top, label = per_width * bins.widths[0], "background, 90 % bound"
        axes.fill_between([low, high], 0.0, top, facecolor="none", edgecolor="0.4", hatch="////", label=label)


def _reach(data: hist.Hist | None, stack: Sequence[tuple[str, hist.Hist]]) -> tuple[float, float]:
    """Return between what a logarithmic axis lies: from the smallest background to the data, within `DECADES`."""
    highest = max(1.0, 0.0 if data is None else drawing.upper_end(data))
    smallest = min([float(v) for _, h in stack for v in h.values() if v > 0.0], default=1.0)
    return highest / 10.0 ** float(np.clip(np.log10(highest / smallest), *DECADES)), highest


def _below(stack: Sequence[tuple[str, hist.Hist]], low: float) -> list[str]:
    """Return the processes of a stack, the lowest first, that an axis from `low` on shows nothing of."""
    tops = np.cumsum([h.values() for _, h in stack], axis=0)
    return [name for (name, _), top in zip(stack, tops, strict=True) if top.max() < low]


def _expectation(stack: Sequence[tuple[str, hist.Hist]], below: Sequence[str]) -> str:
    n_bkg = sum(drawing.content(h) for _, h in stack)
    hidden = f"; below the axis lie {', '.join(below)}" if below else ""
    return f"Background is stacked by process: {in_powers(n_bkg)} entries expected{hidden}." if stack else ""


def _rebinned(histogram: Any, rebin: int) -> hist.Hist | None:
    found: hist.Hist | None = None if histogram is None else histogram[:: hist.rebin(rebin)]
    return found


def _stack(
    source: Source, axis: Any, columns: Sequence[str], passes: Callable[[Candidates, Cuts], BoolArray]
) -> list[tuple[str, hist.Hist]]:
    """Return the expected spectrum of each of the largest processes, and of all others together, smallest first."""
    cuts = cuts_of(source.results)
    found = [(decay(w.name), w.spectrum(axis, columns, passes(w.candidates, cuts))) for w in processes(source)]
    found = sorted(((n, h) for n, h in found if h.sum() > 0.0), key=lambda pair: -float(pair[1].sum()))
    rest: list[Any] = [h for _, h in found[SHOWN_MAX:]]
    return [*([(OTHERS, sum(rest[1:], rest[0]))] if rest else []), *found[:SHOWN_MAX][::-1]]


def _bound(source: Source, limits: Sequence[Edge]) -> tuple[float, float, float] | None:
    """Return the ends of the signal region, and the bound at 90 % on the background in it per width."""
    content = source.extras.get("background")
    if content is None or len(limits) != len(("low", "high")):
        return None
    low, high = (x for x, _ in limits)
    return low, high, content["channels"][0]["quoted"]["upper_90"] / (high - low)


def _events_at_limit(source: Source) -> float | None:
    """Return the signal events that the limit of the headline allows, or the expected limit; None without limits."""
    first = result.headline(source)
    if first is None:
        return None
    n_up = first["n_up"] if first["n_up"] is not None else first["expected_n_up"]["median"]
    return None if n_up is None else float(n_up * first["efficiency"])
