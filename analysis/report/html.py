"""The report as one HTML file that needs no network and runs without a server."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jpsi_lnv.analysis.report import limit_tables, status
from jpsi_lnv.analysis.report.contents import Section
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Table


def page(source: Source, sections: Sequence[Section], images: Mapping[str, bytes]) -> str:
    """Return the whole page.

    Args:
        source: What the report is made from.
        sections: Sections in order.
        images: Name of a picture -> its PNG file.
    """
    environment = Environment(
        loader=PackageLoader("jpsi_lnv.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title="Search for J/ψ → K⁺K⁺e⁻e⁻ + c.c.",
        sentence=limit_tables.sentence(source),
        facts=facts(source),
        flags=status.flags(source),
        label=status.label(source.results),
        sections=sections,
        image=lambda name: base64.b64encode(images[name]).decode("ascii"),
        cells=_cells,
    )


def facts(source: Source) -> dict[str, str]:
    """Return what the summary box says in a few words each."""
    bookkeeping, provenance = source.results.bookkeeping, source.results.provenance
    first = limit_tables.headline(source)
    found = {"complete": "yes" if source.results.is_complete else "no"}
    if first is not None:
        shown = {c.key: (c.title, c.show(limit_tables.row(first)[c.key])) for c in limit_tables.number_fields(source)}
        found = dict(shown.values()) | found
    events = bookkeeping.get("totals", {}).get("events_processed")
    return found | {
        "events processed": "unknown" if events is None else f"{events:,}".replace(",", " "),
        "datasets": str(len(source.results.datasets)),
        "commit": str(provenance.get("commit")),
        "cuts": str(provenance.get("cuts_digest")),
    }


def _cells(table: Table) -> list[list[dict[str, Any]]]:
    """Return rows of cells: what is shown, the raw value to sort by, the field."""
    return [
        [
            {"shown": shown, "value": _sortable(row.get(field.key)), "field": field}
            for shown, field in zip(cells, table.fields, strict=True)
        ]
        for row, cells in zip(table.rows, table.cells(), strict=True)
    ]


def _sortable(value: Any) -> str:
    return "" if value is None else str(value)
