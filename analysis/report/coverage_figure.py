"""Figure of the coverage of every method against the true signal, from what `lnv limits --checks` left."""

from __future__ import annotations

from typing import Any, Final

from matplotlib.axes import Axes

from jpsi_lnv.analysis.report import style
from jpsi_lnv.analysis.report.pictures import Picture
from jpsi_lnv.analysis.report.source import Source

STEM: Final = "coverage"
# Range of the vertical axis, with room above for the legend.
RANGE: Final = (0.7, 1.12)
# Methods that give the same limit at some counts lie on each other there: the later ones are broken lines.
DASHES: Final = ("-", "-", "--", ":", "-.")


def pictures(source: Source) -> list[Picture]:
    """Return the figure of the exact curves, and that of the toys with an uncertain efficiency."""
    curves: list[dict[str, Any]] = source.extras.get(STEM, {}).get("curves", [])
    exact = [curve for curve in curves if curve["delta_sys"] == 0.0]
    smeared = [curve for curve in curves if curve["delta_sys"] > 0.0]
    found = []
    if exact:
        found.append(_picture(STEM, exact, "the efficiency is known; sums over the count, exact"))
    if smeared:
        level = f"{100.0 * smeared[0]['delta_sys']:.1f} %"
        found.append(
            _picture(f"{STEM}_toys", smeared, f"relative efficiency uncertainty {level}; toys, binomial errors")
        )
    return found


def _picture(name: str, curves: list[dict[str, Any]], condition: str) -> Picture:
    worst = min(curves, key=lambda curve: curve["smallest"])

    def draw(axes: Axes) -> None:
        for curve, color, dashes in zip(curves, style.COLOURS, DASHES, strict=False):
            axes.plot(curve["signal"], curve["probability"], dashes, color=color, label=curve["method"], linewidth=1.2)
            if max(curve["error"]) > 0.0:
                low, high = (
                    [p + sign * e for p, e in zip(curve["probability"], curve["error"], strict=True)]
                    for sign in (-1, 1)
                )
                axes.fill_between(curve["signal"], low, high, color=color, alpha=0.3, linewidth=0)
        axes.axhline(curves[0]["confidence_level"], color=style.DATA, linestyle="--", linewidth=1)
        axes.set_xlim(0, max(curves[0]["signal"]))
        axes.set_ylim(*RANGE)
        axes.set_xlabel("True signal [expected events]")
        axes.set_ylabel("Coverage")
        axes.legend(loc="upper right", ncols=2)

    return Picture(
        name,
        "How often each method's limit holds the true signal",
        f"No background, {condition}. Smallest: {worst['smallest']:.3f} for {worst['method']} at a signal of "
        f"{worst['smallest_at']:.2f}.",
        draw,
    )
