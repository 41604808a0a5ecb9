"""The numbers behind a figure, read back from what was drawn: what a reader sees is what the table holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import FixedLocator

from jpsi_lnv.analysis.report.tables import Field, Table, significant

Row = dict[str, Any]
# Label that matplotlib gives to what has none.
_UNNAMED: Final = "_"
_COLOURS: Final = "<colorbar>"
_FIELDS: Final = (
    Field("series", "series"),
    Field("name", "name"),
    *(Field(key, key.replace("_", " "), significant(6)) for key in ("x", "x_low", "x_high", "y", "y_low", "y_high")),
    Field("value", "value", significant(6)),
)


def table(name: str, figure: Figure) -> Table:
    """Return everything with a name that was drawn, one row per point or bin.

    Args:
        name: Name of the figure.
        figure: The figure.
    """
    rows = tuple(row for axes in figure.axes if axes.get_label() != _COLOURS for row in _rows(axes))
    used = {key for row in rows for key in row}
    return Table(name, f"Data of the figure {name}", tuple(f for f in _FIELDS if f.key in used), rows)


def _rows(axes: Axes) -> Iterator[Row]:
    """Return what was drawn into axes; where the vertical axis has names, each row has that of its place."""
    is_named = isinstance(axes.yaxis.get_major_locator(), FixedLocator)
    names = [label.get_text().partition("\n")[0] for label in axes.get_yticklabels()] if is_named else []
    for row in _drawn(axes):
        ends = [row[key] for key in ("y", "y_low", "y_high") if row.get(key) is not None]
        at = round(sum(ends) / len(ends)) if ends else -1
        yield row | ({"name": names[at]} if 0 <= at < len(names) else {})


def _drawn(axes: Axes) -> Iterator[Row]:
    inside: set[Any] = set()
    for container in axes.containers:
        inside.update(_parts(container))
        yield from _of(container)
    for artist in (*axes.lines, *axes.patches, *axes.collections):
        if artist not in inside:
            yield from _of(artist)


def _parts(container: Any) -> Iterator[Any]:
    for part in container:
        yield from part if isinstance(part, tuple) else (part,)


def _of(artist: Any) -> Iterator[Row]:
    read = next((read for kind, read in _READERS if isinstance(artist, kind)), None)
    label = str(artist.get_label())
    if read is None or (label.startswith(_UNNAMED) and isinstance(artist, Line2D | PolyCollection)):
        return
    name = {} if label.startswith(_UNNAMED) else {"series": label}
    yield from (name | {key: _plain(value) for key, value in row.items()} for row in read(artist))


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _line(line: Line2D) -> Iterator[Row]:
    x, y = (np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan) for values in line.get_data())
    yield from ({"x": a, "y": b} for a, b in zip(x, y, strict=True))


def _points(container: ErrorbarContainer) -> Iterator[Row]:
    line, _, bars = container.lines
    segments = [bar.get_segments() for bar in bars]
    for i, point in enumerate(_line(line) if line is not None else ()):
        yield point | dict(end for ends in segments if len(ends[i]) for end in _ends(*ends[i]))


def _ends(low: Any, high: Any) -> list[tuple[str, float]]:
    """Return the ends of an error bar, which is upright or lies."""
    column = int(low[0] == high[0])
    axis = "xy"[column]
    return [(f"{axis}_low", low[column]), (f"{axis}_high", high[column])]


def _steps(patch: StepPatch) -> Iterator[Row]:
    values, edges, baseline = patch.get_data()
    for i, value in enumerate(values):
        bottom = {} if baseline is None or not np.any(baseline) else {"y_low": np.ravel(baseline)[i]}
        yield {"x_low": edges[i], "x_high": edges[i + 1], "y": value} | bottom


def _bars(container: BarContainer) -> Iterator[Row]:
    for bar in container.patches:
        (x, y), width, height = bar.get_xy(), bar.get_width(), bar.get_height()
        yield {"x_low": x, "x_high": x + width, "y_low": y, "y_high": y + height}


def _band(band: PolyCollection) -> Iterator[Row]:
    ends: dict[float, list[float]] = {}
    for path in band.get_paths():
        for x, y in np.asarray(path.vertices).tolist():
            ends.setdefault(x, []).append(y)
    yield from ({"x": x, "y_low": min(y), "y_high": max(y)} for x, y in sorted(ends.items()))


def _mesh(mesh: QuadMesh) -> Iterator[Row]:
    corners: Any = np.asarray(mesh.get_coordinates())
    values: Any = np.ma.asarray(mesh.get_array())
    for i, k in np.argwhere(~np.ma.getmaskarray(values)):
        (x_low, y_low), (x_high, y_high) = corners[i, k], corners[i + 1, k + 1]
        yield {"x_low": x_low, "x_high": x_high, "y_low": y_low, "y_high": y_high, "value": values[i, k]}


_READERS: Final = (
    (Line2D, _line),
    (ErrorbarContainer, _points),
    (StepPatch, _steps),
    (BarContainer, _bars),
    (QuadMesh, _mesh),
    (PolyCollection, _band),
)
