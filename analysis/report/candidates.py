"""The selected candidates of the data: masses and fits, tracks, and a display of each event."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from jpsi_lnv.analysis.channel import WORDS, Channel, name_of, symbols_of
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.events.schema import HELIX
from jpsi_lnv.analysis.kinematics import along, radius
from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.report.drawing import Picture, Section
from jpsi_lnv.analysis.report.source import Source, cuts_of
from jpsi_lnv.analysis.report.tables import PLACE, PLACES, Field, Table, file_name, fixed, located, significant
from jpsi_lnv.analysis.results import SelectionResult
from jpsi_lnv.analysis.simulation.parameters import NOMINAL

CANDIDATES_SHOWN: Final = 30
_EVENT: Final = (Field("dataset", "dataset"), Field("run", "run", str), Field("event", "event", str))
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


def _fields(channel: Channel) -> tuple[Field, ...]:
    """Return what is shown of every candidate."""
    symbols = _symbols(channel)
    pairs = (f"M({symbols[channel.tracks[a]]} {symbols[channel.tracks[b]]})" for a, b in channel.pairs)
    others = {name_of(other): symbols_of(other) for other in channel.alternatives}
    return (
        *_EVENT,
        Field(channel.mass, f"M({channel.symbols})", fixed(4), "GeV/c²"),
        *(Field(name, head, fixed(3), "GeV/c²") for name, head in zip(channel.pair_names, pairs, strict=True)),
        Field(f"chi2_{channel.name}", "χ²₄C", fixed(1)),
        *(Field(f"chi2_{name}", f"as {words}", fixed(1)) for name, words in others.items()),
    )


def _symbols(channel: Channel) -> dict[str, str]:
    """Return how each track is called in a text, such as ``K1``."""
    return {
        name: WORDS[species].symbol + name[-1] for name, species in zip(channel.tracks, channel.species, strict=True)
    }


def _fields_of_track(channel: Channel) -> tuple[Field, ...]:
    """Return what is shown of every track of a candidate: columns without the name of the track."""
    return (
        Field("p", "p", fixed(3), "GeV/c"),
        Field("cos_theta", "cos θ", fixed(3)),
        Field("e_over_p", "E/p", fixed(3)),
        *(Field(f"cl_{s.name.lower()}", f"CL {WORDS[s].symbol}", significant(2)) for s in channel.hypotheses),
        Field("delta_xy", "pair: gap", fixed(2), "cm"),
        Field("radius", "radius", fixed(2), "cm"),
        Field("m_ee", "m(ee)", fixed(3), "GeV/c²"),
    )


def section(source: Source) -> Section:
    """Return the section of the candidates."""
    table = candidates(source, DATA, CONTINUUM)
    introduction = "Events of the data that pass every requirement, as far as they are not hidden."
    channel = cuts_of(source.results).channel
    shown = tuple(t for t in (table, tracks(table, channel)) if t.rows)
    return Section("candidates", "Candidates", introduction, displays(table, channel), shown)


def displays(candidates: Table, channel: Channel) -> tuple[Picture, ...]:
    """Return a display of each of the first candidates whose tracks are stored."""
    stored = [row for row in candidates.rows if {f"{HELIX[0]}_{channel.tracks[0]}", "field"} <= row.keys()]
    return tuple(_display(row, channel) for row in stored[:DISPLAYED])


def _display(row: Mapping[str, Any], channel: Channel) -> Picture:
    where = f"{row['dataset']}, run {row['run']}, event {row['event']}"

    def draw(axes: Axes) -> None:
        axes.set_position(VIEWS[0])
        other = axes.figure.add_axes(VIEWS[1])
        _outline(axes, other)
        for (name, symbol), color in zip(_symbols(channel).items(), drawing.COLOURS, strict=False):
            x, y, z = _track_points(row, name)
            words = f"{symbol}{'+' if row[f'kappa_{name}'] > 0 else '−'}, {row[f'p_{name}']:.2f} GeV/c"
            is_first = name.rstrip("0123456789") == channel.tracks[0].rstrip("0123456789")
            look: dict[str, Any] = {"color": color, "linestyle": "-" if is_first else "--"}
            axes.plot(x, y, label=words, **look)
            # The half of the detector into which the track goes.
            other.plot(z, np.copysign(np.hypot(x, y), y[-1]), label=f"{words}, r against z", **look)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.09), ncols=2, fontsize=11)
        axes.figure.text(*WORDS_AT, _words(row, channel), fontsize=12, linespacing=1.5)

    return Picture(
        file_name(f"event_{row['dataset']}_{row['run']}_{row['event']}"),
        f"Event display: {where}",
        "The tracks from their helices up to the calorimeter, along the beams (left) and from the side (right, r "
        f"with the sign of y); M({channel.symbols}) = {row[channel.mass]:.4f} GeV/c², "
        f"χ²₄C = {row[f'chi2_{channel.name}']:.1f}.",
        draw,
    )


def _words(row: Mapping[str, Any], channel: Channel) -> str:
    """Return which event it is, and its fit, as a figure shows them."""
    where = f"{row['dataset']}, run {row['run']}, event {row['event']}"
    mass = f"$M({channel.latex_signed})$ = {row[channel.mass]:.4f} GeV/$c^2$"
    return f"{where}\n{mass}, " + rf"$\chi^2_\mathrm{{{channel.fit_name}}}$ = {row[f'chi2_{channel.name}']:.1f}"


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


def tracks(candidates: Table, channel: Channel) -> Table:
    """Return the tracks of each candidate: momentum, direction, and what identifies it."""
    fields = _fields_of_track(channel)
    named = tuple(zip(channel.tracks, channel.species, strict=True))
    rows = tuple(
        _track(row, name, f"{WORDS[species].word} {name[-1]}", fields)
        for row in candidates.rows
        for name, species in named
        if f"p_{name}" in row
    )
    *words, last = (WORDS[species].word for species in channel.hypotheses)
    note = (
        f"measured momentum; confidence levels of the hypotheses {', '.join(words)} and {last}; pair: of an "
        "electron and the "
        "track of the other charge with which m(ee) is smallest, as the conversion veto sees it: gap of the circles, "
        "radius, m(ee)"
    )
    return Table(
        "candidate_tracks", "Tracks of the selected candidates", (*_EVENT, Field("track", "track"), *fields), rows, note
    )


def _track(row: Mapping[str, Any], name: str, words: str, fields: Sequence[Field]) -> dict[str, Any]:
    columns = {field.key: f"{field.key}_{name}" for field in fields}
    return {
        "dataset": row["dataset"],
        "run": row["run"],
        "event": row["event"],
        "track": words,
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
    left, channel = len(listed) - CANDIDATES_SHOWN, cuts_of(source.results).channel
    of_pairs = "masses of pairs after the fit: the first two are one pairing, the last two the other"
    notes = [of_pairs] if channel.pairs else []
    return Table(
        name="candidates",
        title="Selected candidates",
        fields=_fields(channel),
        rows=tuple(listed[:CANDIDATES_SHOWN]),
        note="; ".join([*notes, *([f"{left} more in the accumulator"] if left > 0 else [])]),
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
