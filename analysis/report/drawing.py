"""What a section of the report is made of, and how figures and their histograms look.

mplhep's ROOT style, smaller, ticks on all sides, colours for colour-blind readers. Figures are made without pyplot: no
window, no state between them, the same bytes every time.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Any, Final, TypeVar

import hist
import matplotlib as mpl
import mplhep
import numpy as np
from cycler import cycler
from fontTools import subset
from hist.intervals import poisson_interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.report.tables import Table
from jpsi_lnv.analysis.results import SelectionResult

# Okabe and Ito, https://jfly.uni-koeln.de/color/: told apart with every kind of colour vision.
DATA: Final = "#000000"
SIGNAL: Final = "#0072B2"
REGION: Final = "#D55E00"
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999")
BAND_1: Final = "#8FD694"
BAND_2: Final = "#F7E68C"

# The frame, as fractions of the figure.
LEFT: Final = 0.15
RIGHT: Final = 0.96
BOTTOM: Final = 0.15
TOP: Final = 0.93

_RC: Final[dict[str, Any]] = {
    "figure.figsize": (6.0, 4.6),
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 13,
    # The second has the letters and charges that the first lacks.
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "axes.linewidth": 1.2,
    "axes.axisbelow": False,
    "axes.unicode_minus": True,
    "axes.prop_cycle": cycler("color", COLOURS),
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.fontsize": 11,
    "xtick.major.size": 7,
    "xtick.minor.size": 3.5,
    "ytick.major.size": 7,
    "ytick.minor.size": 3.5,
    "xaxis.labellocation": "center",
    "yaxis.labellocation": "center",
    "mathtext.fallback": "cm",
    "svg.hashsalt": "jpsi-lnv",
    "pdf.fonttype": 42,
}
# A file that says when it was made would differ each time.
_METADATA: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the field within this context."""
    root: dict[str, Any] = mplhep.style.ROOT
    with mpl.rc_context(root | _RC):  # type: ignore[arg-type] # matplotlib types each key
        yield


def new_figure(left: float = LEFT) -> tuple[Figure, Axes]:
    """Return an empty figure that belongs to nobody else, and its axes.

    The frame is at the same place in every figure, and nothing has to be measured to find it.

    Args:
        left: Where the frame begins, as a fraction of the width: more than usual for long labels.
    """
    figure = Figure()
    return figure, figure.add_axes((left, BOTTOM, RIGHT - left, TOP - BOTTOM))


def stamp(axes: Axes, label: str, flags: Sequence[str] = ()) -> None:
    """Write above the axes what the events are, and in red what a reader must know before the numbers.

    Args:
        axes: Axes.
        label: Such as ``Fast simulation``.
        flags: Such as ``BLIND``.
    """
    axes.text(0.0, 1.015, label, transform=axes.transAxes, ha="left", va="bottom", style="italic", fontsize=11)
    axes.text(
        1.0,
        1.015,
        " · ".join(flags),
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        weight="bold",
        color=REGION,
        fontsize=11,
    )


@contextmanager
def _outlines() -> Iterator[None]:
    """Let a PDF hold the outlines of its letters without the tables that say how to set them, which took the longest.

    In a PDF letters are set.
    """
    default = subset.Options._drop_tables_default
    subset.Options._drop_tables_default = [*default, "GDEF", "GPOS", "GSUB"]
    try:
        yield
    finally:
        subset.Options._drop_tables_default = default


def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a ``png``, ``pdf`` or ``svg`` file: the same for the same figure."""
    buffer = io.BytesIO()
    # Fonts and resolution are looked up when a figure is written, not when it is drawn.
    with style(), _outlines():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


def save(figure: Figure, directory: Path, name: str, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write a figure under several formats and return the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{kind}" for kind in kinds]
    for path, kind in zip(paths, kinds, strict=True):
        path.write_bytes(encode(figure, kind))
    return paths


MEV: Final = 1000.0
# Decimals of a bin width that are no rounding of its edges.
DIGITS: Final = 6
LINES: Final = ("-", "--", ":")
# A bin width below this many GeV is written in MeV.
SMALLEST_WIDTH: Final = 0.1
_UNIT: Final = re.compile(r"\[(.*)\]$")
LOG_HEADROOM: Final = 15.0
# Entries of a legend that it holds, and what it grows by for each further one.
ENTRIES_IN_HEADROOM: Final = 3
LOG_ROOM_PER_ENTRY: Final = 3.0
# Below the height of a single event, as a fraction of it.
LOG_FOOTROOM: Final = 0.3
# A limit on the x axis, and the side that is kept: 1 above, -1 below.
Edge = tuple[float, int]
# Length of the arrow at a limit, as a fraction of the axes, where the next limit leaves room.
ARROW: Final = 0.07
# Share of the height that the upper one of two axes has, and the gap between them.
UPPER: Final = 0.7
GAP: Final = 0.03
# Half of the range of a ratio, at least, and what is shown of it above one, at most.
RATIO_REACH: Final = 0.3
RATIO_MOST: Final = 3.0
# Free space above the highest point, as a multiple of it.
HEADROOM: Final = 1.45

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """One figure of the report, not drawn yet.

    Attributes:
        name: Name of its files.
        title: What it shows, a few words.
        explanation: One sentence on how to read it; with the title also the text for those who cannot see it.
        draw: Draws it into empty axes.
        left: Where the frame begins, as a fraction of the width.
    """

    name: str
    title: str
    explanation: str
    draw: Callable[[Axes], None]
    left: float = LEFT

    @property
    def alternative(self) -> str:
        """Text in place of the picture."""
        return f"{self.title}. {self.explanation}"

    def figure(self, label: str = "", flags: Sequence[str] = ()) -> Figure:
        """Return the figure with its label and its flags.

        Args:
            label: Whose events are shown.
            flags: What a reader must know first.
        """
        with style():
            figure, axes = new_figure(self.left)
            self.draw(axes)
            stamp(axes, label, flags)
            return figure


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes:
        name: Anchor.
        title: Heading.
        introduction: A sentence or two.
        pictures: Its figures.
        tables: Its tables.
        folded: Tables that the page shows on request.
    """

    name: str
    title: str
    introduction: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """Return every table, folded or not."""
        return self.tables + self.folded


def present(*found: T | None) -> tuple[T, ...]:
    """Return what is there: tables and pictures that a result cannot fill are None."""
    return tuple(each for each in found if each is not None)


def total(searches: Mapping[str, SelectionResult], name: str, choice: str | None = None) -> hist.Hist | None:
    """Return the sum of one histogram over datasets, or of one slice of it; None if no dataset has it."""
    found: list[Any] = [s.histograms[name] for s in searches.values() if name in s.histograms]
    summed: Any = sum(found[1:], found[0]) if found else None
    return summed if choice is None or summed is None else summed[choice, :]


def n_entries(histogram: hist.Hist | None) -> int:
    """Return the entries of a histogram with those outside its axes; 0 of no histogram."""
    return 0 if histogram is None else int(histogram.sum(flow=True))


def content(histogram: hist.Hist) -> float:
    """Return the sum of a histogram of counts or weights, with what lies outside its axes."""
    return float(histogram.sum(flow=True))


def step_plot(axes: Axes, histogram: hist.Hist, *, label: str, scale: float = 1.0, **look: Any) -> None:
    """Draw a histogram as a line of steps without error bars."""
    (axis,) = histogram.axes
    mplhep.histplot(histogram.values() * scale, axis.edges, ax=axes, yerr=False, label=label, flow="none", **look)


def points(axes: Axes, histogram: hist.Hist, *, label: str, scale: float = 1.0) -> None:
    """Draw a histogram of counts as points with Poisson errors; empty bins have none."""
    values, (axis,) = histogram.values(), histogram.axes
    shown = values > 0
    low, high = poisson_interval(values[shown])
    bars = scale * np.stack([values[shown] - low, high - values[shown]])
    axes.errorbar(axis.centers[shown], scale * values[shown], yerr=bars, fmt="o", color=DATA, label=label)


def upper_end(histogram: hist.Hist) -> float:
    """Return the upper end of the highest Poisson error bar."""
    return float(poisson_interval(histogram.values().max(keepdims=True))[1, 0])


def label_counts(axes: Axes, histogram: hist.Hist, of: str = "Events") -> None:
    """Label both axes of a spectrum: its variable, and counts per bin width in the variable's unit."""
    (axis,) = histogram.axes
    unit = match.group(1) if (match := _UNIT.search(axis.label)) else ""
    width = round(float(axis.widths[0]), DIGITS)
    if unit.startswith("GeV") and width < SMALLEST_WIDTH:
        unit, width = unit.replace("GeV", "MeV"), round(MEV * width, DIGITS)
    shown = f"{width:.1f}" if width >= 1.0 else f"{width:.2g}"
    axes.set_xlabel(axis.label)
    axes.set_xlim(axis.edges[0], axis.edges[-1])
    axes.set_ylabel(f"{of} / ({shown} {unit})" if unit else f"{of} / {shown}")


def edges(axes: Axes, limits: Sequence[Edge], height: float) -> None:
    """Draw the limits of a requirement: a red line each, with an arrow towards the side that is kept.

    Args:
        axes: Axes.
        limits: Values on the x axis, with 1 if what lies above is kept, -1 if what lies below is.
        height: Length of the lines as a fraction of the axes.
    """
    low, high = axes.get_xlim()
    between = float(np.diff(sorted(x for x, _ in limits)).min(initial=high - low))
    arrow = min(ARROW * (high - low), 0.4 * between)
    for x, side in limits:
        axes.axvline(x, 0.0, height, color=REGION, linewidth=1.8)
        axes.annotate(
            "",
            xy=(x + side * arrow, height),
            xytext=(x, height),
            xycoords=axes.get_xaxis_transform(),
            arrowprops={"arrowstyle": "-|>", "color": REGION, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0},
        )


def below(axes: Axes) -> Axes:
    """Return new axes below, which share the horizontal one: where a ratio is drawn."""
    left, bottom, width, height = axes.get_position().bounds
    axes.set_position((left, bottom + (1.0 - UPPER) * height, width, UPPER * height))
    axes.tick_params(labelbottom=False)
    lower = axes.figure.add_axes((left, bottom, width, (1.0 - UPPER - GAP) * height), sharex=axes)
    lower.set_xlabel(axes.get_xlabel())
    axes.set_xlabel("")
    return lower


def at_points(x: FloatArray, values: FloatArray, errors: FloatArray | None = None) -> hist.Hist:
    """Return a histogram with a narrow bin at each of some increasing points, as mplhep compares them.

    Between these bins there are empty ones.
    """
    half = 0.25 * float(np.diff(x).min(initial=1.0))
    filled = hist.Hist(
        hist.axis.Variable(np.stack([x - half, x + half], axis=1).ravel()), storage=hist.storage.Weight()
    )
    filled.view().value[::2] = values
    filled.view().variance[::2] = 0.0 if errors is None else np.square(errors)
    return filled


def ratio(axes: Axes, first: hist.Hist, second: hist.Hist, words: str) -> None:
    """Draw the first of two histograms over the second below the axes, with the uncertainties of both.

    Args:
        axes: The axes above.
        first: The dividend.
        second: The divisor, with the same axis.
        words: What the ratio is, for the numbers behind the figure.
    """
    lower, limits = below(axes), axes.get_xlim()
    shown = mplhep.comp.get_comparison(first, second, "ratio")[0]
    reach = max(RATIO_REACH, 1.2 * float(np.nanmax(np.abs(shown[np.isfinite(shown)] - 1.0), initial=0.0)))
    mplhep.comp.comparison(
        first, second, lower, xlabel=lower.get_xlabel(), comparison_ylabel="ratio", flow="none", label=words,
        comparison_ylim=(max(1.0 - reach, 0.0), 1.0 + min(reach, RATIO_MOST)), color=DATA, markersize=6,
    )  # fmt: skip
    lower.set_xlim(limits)


def looks() -> list[dict[str, str]]:
    """Return colours and line styles of curves, the most different first."""
    return [{"color": color, "linestyle": line} for line, color in product(LINES, COLOURS)]


def name_rows(axes: Axes, names: Sequence[str], **look: Any) -> None:
    """Write names beside the rows 0, 1, … of axes."""
    axes.set_yticks(range(len(names)), names, **look)
    axes.tick_params(axis="y", which="minor", left=False, right=False)


def shapes(groups: Sequence[tuple[str, hist.Hist]], cut: Sequence[Edge]) -> Callable[[Axes], None]:
    """Return what draws histograms scaled to one, on a logarithmic axis, with the limits of a cut."""

    def draw(axes: Axes) -> None:
        simulated = [(label, h) for label, h in groups if label != "data"]
        for (label, h), look in zip(simulated, cycle(looks()), strict=False):
            step_plot(axes, h, label=label, scale=1.0 / content(h), **look)
        for label, h in groups:
            if label == "data":
                points(axes, h, label=label, scale=1.0 / content(h))
        label_counts(axes, groups[0][1], "Fraction")
        axes.set_yscale("log")
        highest = max(float(h.values().max()) / content(h) for _, h in groups)
        headroom = LOG_HEADROOM * LOG_ROOM_PER_ENTRY ** max(len(groups) - ENTRIES_IN_HEADROOM, 0)
        axes.set_ylim(LOG_FOOTROOM / max(content(h) for _, h in groups), headroom * highest)
        edges(axes, cut, 0.55)
        axes.legend(loc="upper right", fontsize=9)

    return draw
