"""A picture: what is drawn, and the words that go with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jpsi_lnv.analysis.report import style


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
    left: float = style.LEFT

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
        with style.style():
            figure, axes = style.new_figure(self.left)
            self.draw(axes)
            style.stamp(axes, label, flags)
            return figure
