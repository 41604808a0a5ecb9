"""The selected candidates of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH
from jpsi_lnv.analysis.derived import ACCUMULATOR
from jpsi_lnv.analysis.report.drawing import Section
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import PLACE, PLACES, Field, Table, fixed, located, significant
from jpsi_lnv.analysis.results import SelectionResult
from jpsi_lnv.analysis.selection.search import M_KE_NAMES, TRACKS

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
    return Section("candidates", "Candidates", introduction, tables=tuple(t for t in (table, tracks(table)) if t.rows))


def tracks(candidates: Table) -> Table:
    """Return the four tracks of each candidate: momentum, direction, and what identifies it."""
    rows = tuple(_track(row, name) for row in candidates.rows for name in TRACKS if f"p_{name}" in row)
    note = "measured momentum; confidence levels of the hypotheses electron, pion and kaon"
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
        note="masses of K e pairs after the fit" + (f"; {left} more in the accumulator" if left > 0 else ""),
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
