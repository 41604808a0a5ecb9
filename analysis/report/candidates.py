"""The selected candidates of the data: masses and fits, tracks, and a display of each event."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.events.schema import HELIX
from jpsi_lnv.analysis.kinematics import along, radius
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.report.drawing import Picture, Section
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import PLACE, PLACES, Field, Table, file_name, fixed, located, significant
from jpsi_lnv.analysis.results import SelectionResult
from jpsi_lnv.analysis.selection.search import M_KE_NAMES, TRACKS
from jpsi_lnv.analysis.simulation.parameters import NOMINAL

CANDIDATES_SHOWN: Final = 30
# Other hypotheses of a candidate, and how they are read.
_ALTERNATIVES: Final = {"kkpipi": "KKππ", "kkkk": "KKKK", "pipipipi": "ππππ"}
_CANDIDATES: Final = (
    Field("dataset", "dataset"),
    Field("run", "run", str),
    Field("event", "event", str),
    Field("m_kkee", "M(KKee)", fixed(4), "GeV/c²"),
    *(Field(name, f"M({name[2:4].upper()[0]}{name[3]} e{name[5]})", fixed(3), "GeV/c²") for name in M_KE_NAMES),
    Field("chi2_kkee", "χ²₄C", fixed(1)),
    *(Field(f"chi2_{key}", f"as {words}", fixed(1)) for key, words in _ALTERNATIVES.items()),
)


# What is shown of every track of a candidate: column without the name of the track, head, how it is shown, unit.
_OF_TRACK: Final = (
    ("p", "p", fixed(3), "GeV/c"),
    ("cos_theta", "cos θ", fixed(3), ""),
    ("e_over_p", "E/p", fixed(3), ""),
    ("cl_e", "CL e", significant(2), ""),
    ("cl_pi", "CL π", significant(2), ""),
    ("cl_k", "CL K", significant(2), ""),
    ("delta_xy", "pair: gap", fixed(2), "cm"),
    ("radius", "radius", fixed(2), "cm"),
    ("m_ee", "m(ee)", fixed(3), "GeV/c²"),
)
# Events that are displayed, and points of a track.
DISPLAYED: Final = 12
N_POINTS: Final = 120
# Lower left corner, width and height of both views, as fractions of the figure; above them is room for words.
VIEWS: Final = ((0.11, 0.14, 0.385, 0.502), (0.605, 0.14, 0.385, 0.502))
WORDS_AT: Final = (0.11, 0.86)
# Radius and half length in cm of what the views show: beam pipe, inner wall and last layer of the drift chamber, time
# of flight counters, calorimeter.
DETECTOR: Final = (
    (NOMINAL.pipe_radius, NOMINAL.mdc_half_length),
    (NOMINAL.wall_radius, NOMINAL.mdc_half_length),
    (NOMINAL.mdc_radius_out, NOMINAL.mdc_half_length),
    (NOMINAL.tof_radius, NOMINAL.tof_barrel_z),
    (NOMINAL.emc_radius, NOMINAL.emc_endcap_z),
)
_TRACKS: Final = (
    Field("dataset", "dataset"),
    Field("run", "run", str),
    Field("event", "event", str),
    Field("track", "track"),
    *(Field(key, head, show, unit) for key, head, show, unit in _OF_TRACK),
)


def section(source: Source) -> Section:
    """Return the section of the candidates."""
    table = candidates(source, DATA, CONTINUUM)
    introduction = "Events of the data that pass every requirement, as far as they are not hidden."
    shown = tuple(t for t in (table, tracks(table)) if t.rows)
    return Section("candidates", "Candidates", introduction, displays(table), shown)


def displays(candidates: Table) -> tuple[Picture, ...]:
    """Return a display of each of the first candidates whose tracks are stored."""
    stored = [row for row in candidates.rows if {f"{HELIX[0]}_{TRACKS[0]}", "field"} <= row.keys()]
    return tuple(_display(row) for row in stored[:DISPLAYED])


def _display(row: Mapping[str, Any]) -> Picture:
    where = f"{row['dataset']}, run {row['run']}, event {row['event']}"

    def draw(axes: Axes) -> None:
        axes.set_position(VIEWS[0])
        other = axes.figure.add_axes(VIEWS[1])
        _outline(axes, other)
        for name, color in zip(TRACKS, drawing.COLOURS, strict=False):
            x, y, z = _track_points(row, name)
            words = f"{_track_name(name)}{'+' if row[f'kappa_{name}'] > 0 else '−'}, {row[f'p_{name}']:.2f} GeV/c"
            look: dict[str, Any] = {"color": color, "linestyle": "-" if name.startswith("k") else "--"}
            axes.plot(x, y, label=words, **look)
            # The half of the detector into which the track goes.
            other.plot(z, np.copysign(np.hypot(x, y), y[-1]), label=f"{words}, r against z", **look)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.09), ncols=2, fontsize=11)
        axes.figure.text(*WORDS_AT, _words(row), fontsize=12, linespacing=1.5)

    return Picture(
        file_name(f"event_{row['dataset']}_{row['run']}_{row['event']}"),
        f"Event display: {where}",
        "The four tracks from their helices up to the calorimeter, along the beams (left) and from the side (right, r "
        f"with the sign of y); M(KKee) = {row['m_kkee']:.4f} GeV/c², χ²₄C = {row['chi2_kkee']:.1f}.",
        draw,
    )


def _words(row: Mapping[str, Any]) -> str:
    """Return which event it is, and its fit, as a figure shows them."""
    where = f"{row['dataset']}, run {row['run']}, event {row['event']}"
    mass = rf"$M(K^\pm K^\pm e^\mp e^\mp)$ = {row['m_kkee']:.4f} GeV/$c^2$"
    return f"{where}\n{mass}, " + rf"$\chi^2_\mathrm{{4C}}$ = {row['chi2_kkee']:.1f}"


def _outline(axes: Axes, side: Axes) -> None:
    """Draw the detector along the beams and from the side."""
    for r, z in DETECTOR:
        axes.add_patch(Circle((0.0, 0.0), r, fill=False, color="0.7", linewidth=0.8))
        side.add_patch(Rectangle((-z, -r), 2.0 * z, 2.0 * r, fill=False, color="0.7", linewidth=0.8))
    reach, length = 1.1 * NOMINAL.emc_radius, 1.1 * NOMINAL.emc_endcap_z
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="x [cm]", ylabel="y [cm]")
    side.set(xlim=(-length, length), ylim=(-reach, reach), xlabel="z [cm]", ylabel="r [cm]")


def _track_points(row: Mapping[str, Any], name: str) -> tuple[Any, Any, Any]:
    """Return x, y, z in cm from the point nearest to the axis to the calorimeter, or for half a turn."""
    helix = [row[f"{parameter}_{name}"] for parameter in HELIX]
    half_turn = math.pi * radius(row[f"kappa_{name}"], row["field"])
    x, y, z = along(helix, row["field"], np.linspace(0.0, min(half_turn, 2.0 * NOMINAL.emc_radius), N_POINTS))
    inside = (np.hypot(x, y) < NOMINAL.emc_radius) & (np.abs(z) < NOMINAL.emc_endcap_z)
    end = len(x) if inside.all() else max(int(np.argmin(inside)), 1)
    return x[:end], y[:end], z[:end]


def _track_name(name: str) -> str:
    return f"{'K' if name.startswith('k') else 'e'}{name[1]}"


def tracks(candidates: Table) -> Table:
    """Return the four tracks of each candidate: momentum, direction, and what identifies it."""
    rows = tuple(_track(row, name) for row in candidates.rows for name in TRACKS if f"p_{name}" in row)
    note = (
        "measured momentum; confidence levels of the hypotheses electron, pion and kaon; pair: of an electron and the "
        "track of the other charge with which m(ee) is smallest, as the conversion veto sees it: gap of the circles, "
        "radius, m(ee)"
    )
    return Table("candidate_tracks", "Tracks of the selected candidates", _TRACKS, rows, note)


def _track(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    columns = {key: f"{key}_{name}" for key, *_ in _OF_TRACK}
    return {
        "dataset": row["dataset"],
        "run": row["run"],
        "event": row["event"],
        "track": f"{'kaon' if name.startswith('k') else 'electron'} {name[1]}",
        **{key: row.get(column) for key, column in columns.items()},
        PLACE: row[PLACE],
        PLACES: {key: f"/{column}" for key, column in columns.items()},
    }


def candidates(source: Source, *kinds: str) -> Table:
    """Return the first selected candidates of the datasets of some kinds."""
    listed = [
        row
        for name, search in source.searches(*kinds).items()
        for row in located(_rows(name, search), f"{ACCUMULATOR}/candidates/{name}/{SEARCH}.parquet#")
    ]
    left = len(listed) - CANDIDATES_SHOWN
    return Table(
        name="candidates",
        title="Selected candidates",
        fields=_CANDIDATES,
        rows=tuple(listed[:CANDIDATES_SHOWN]),
        note="masses of K e pairs after the fit: the first two are one pairing, the last two the other"
        + (f"; {left} more in the accumulator" if left > 0 else ""),
    )


def _rows(name: str, search: SelectionResult) -> list[dict[str, Any]]:
    n = len(next(iter(search.candidates.values()), ()))
    return [
        {"dataset": name} | {key: _plain(column[i].item()) for key, column in search.candidates.items()}
        for i in range(n)
    ]


def _plain(value: Any) -> Any:
    """Return a value, or None for the infinite chi2 of a hypothesis that cannot be fitted."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
