"""Tables that documentation shows: the steps of the selection, the columns of the ntuple, the closure relations."""

from __future__ import annotations

from typing import Final

from jpsi_lnv.analysis.events.schema import COLLECTIONS, META, Column
from jpsi_lnv.analysis.report import closure, tables
from jpsi_lnv.analysis.report.tables import Table, fixed, percent, significant
from jpsi_lnv.analysis.selection.steps import SECTION_III

_STEPS: Final = (tables.Field("name", "step"), tables.Field("rule", "requirement on an event"))
_OF_COLUMNS: Final = (
    tables.Field("name", "branch"),
    tables.Field("dtype", "type"),
    tables.Field("unit", "unit"),
    tables.Field("meaning", "meaning"),
    tables.Field("required", "required"),
)
_RELATIONS: Final = (
    tables.Field("what", "relation"),
    tables.Field("published", "published"),
    tables.Field("computed", "computed", significant(4)),
    tables.Field("holds", "holds"),
    tables.Field("remark", "remark"),
)
_ROWS: Final = (
    tables.Field("m_majorana", "M(ν)", fixed(3), "GeV/c²"),  # noqa: RUF001 nu
    tables.Field("n_obs", "N obs", str),
    tables.Field("efficiency", "ε", percent(2), "%"),
    tables.Field("delta_sys", "Δ sys", percent(1), "%"),
    tables.Field("n_up", "N up", fixed(2)),
    tables.Field("published", "published", fixed(2), "10⁻⁹"),
    tables.Field("recomputed", "recomputed", fixed(3), "10⁻⁹"),
    tables.Field("ratio", "ratio", fixed(3)),
)


def steps() -> Table:
    """Return the steps of the selection in their order."""
    rows = ({"name": s.name, "rule": (s.rule.__doc__ or "").splitlines()[0]} for s in SECTION_III)
    return Table("steps", "Steps of the selection", _STEPS, tuple(rows))


def columns(collection: str) -> Table:
    """Return the columns of one collection of the ntuple, such as ``Track``; event scalars have no name."""
    return _columns(collection or "event scalars", COLLECTIONS[collection], f"{collection}_" if collection else "")


def meta() -> Table:
    """Return the columns of the tree that says what an ntuple was made of."""
    return _columns("Meta", META, "")


def _columns(title: str, listed: tuple[Column, ...], prefix: str) -> Table:
    rows = [
        {
            "name": prefix + c.name,
            "dtype": c.dtype,
            "unit": c.unit,
            "meaning": c.meaning,
            "required": "yes" if c.required else "no",
        }
        for c in listed
    ]
    return Table(f"columns_{title.lower().replace(' ', '_')}", f"Columns: {title}", _OF_COLUMNS, tuple(rows))


def closure_rows() -> Table:
    """Return the published scan beside its recomputation from the published inputs."""
    return Table(
        "closure",
        "Published limits, recomputed from the published inputs",
        _ROWS,
        tuple(vars(row) for row in closure.rows()),
        note="ratio: published over recomputed",
    )


def closure_relations() -> Table:
    """Return the relations between published numbers, those that hold first."""
    rows = [
        {
            "what": r.what,
            "published": " / ".join(f"{p:g}" for p in r.published),
            "computed": r.computed,
            "holds": "yes" if r.holds else "no",
            "remark": r.remark or None,
        }
        for r in closure.relations()
    ]
    return Table("closure_relations", "Relations between published numbers", _RELATIONS, tuple(rows))
