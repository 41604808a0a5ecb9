"""The table of requirements, made from `analysis.cuts`: the README, the documentation and the report show this one."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.report import render
from jpsi_lnv.analysis.report.tables import Field, Table

# A page holds the table between these.
BEGIN: Final = "<!-- cuts -->"
END: Final = "<!-- /cuts -->"

_COLUMNS: Final = (
    Field("meaning", "requirement"),
    Field("value", "value", str),
    Field("unit", "unit", str),
    Field("name", "name in `analysis.cuts`"),
    Field("source", "source"),
)


def cuts(selection: Cuts = SELECTION) -> Table:
    """Return every requirement with its value, unit and place in the publication."""
    return Table("cuts", "Requirements of the selection", _COLUMNS, tuple(_row(f, selection) for f in _fields()))


def _fields() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(Cuts)


def _row(field: dataclasses.Field[Any], selection: Cuts) -> dict[str, str]:
    value = getattr(selection, field.name)
    shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"
    return {"value": shown, "name": field.name} | {key: field.metadata[key] for key in ("meaning", "unit", "source")}


def markdown(selection: Cuts = SELECTION) -> str:
    """Return the table for Markdown pages, names as code."""
    table = cuts(selection)
    rows = tuple({**row, "name": f"`{row['name']}`"} for row in table.rows)
    return render.markdown(dataclasses.replace(table, rows=rows))


def insert(page: str, selection: Cuts = SELECTION) -> str:
    """Return a Markdown page with the table between its markers renewed.

    Raises:
        ValueError: The page lacks the markers.
    """
    before, opened, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (opened and closed):
        msg = f"the page has no {BEGIN} ... {END} to hold the table"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n{markdown(selection)}{END}{after}"
