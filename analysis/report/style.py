"""How every figure looks: mplhep's ROOT style, smaller, ticks on all sides, colours for colour-blind readers.

Figures are made without pyplot: no window, no state between them, the same bytes every time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import mplhep
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a ``png``, ``pdf`` or ``svg`` file: the same for the same figure."""
    buffer = io.BytesIO()
    # Fonts and resolution are looked up when a figure is written, not when it is drawn.
    with style():
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


def save(figure: Figure, directory: Path, name: str, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write a figure under several formats and return the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{kind}" for kind in kinds]
    for path, kind in zip(paths, kinds, strict=True):
        path.write_bytes(encode(figure, kind))
    return paths
