"""The selected candidates of the data."""

from __future__ import annotations

from typing import Any, Final

from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH
from jpsi_lnv.analysis.outputs import ACCUMULATOR
from jpsi_lnv.analysis.report.drawing import Section
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Field, Table, fixed, located
from jpsi_lnv.analysis.results import SelectionResult
from jpsi_lnv.analysis.selection.search import M_KE_NAMES

CANDIDATES_SHOWN: Final = 30
_CANDIDATES: Final = (
    Field("dataset", "dataset"),
    Field("run", "run", str),
    Field("event", "event", str),
    Field("m_kkee", "M(KKee)", fixed(4), "GeV/c²"),
    *(Field(name, f"M({name[2:4].upper()[0]}{name[3]} e{name[5]})", fixed(3), "GeV/c²") for name in M_KE_NAMES),
    Field("chi2_kkee", "χ²₄C", fixed(1)),
)


def section(source: Source) -> Section:
    """Return the section of the candidates."""
    table = candidates(source, DATA, CONTINUUM)
    introduction = "Events of the data that pass every requirement, as far as they are not hidden."
    return Section("candidates", "Candidates", introduction, tables=(table,) if table.rows else ())


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
    return [{"dataset": name} | {key: column[i].item() for key, column in search.candidates.items()} for i in range(n)]
