"""Everything a report leaves on disk: figures, tables in four formats, the cut flow, the HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import derived, documents
from jpsi_lnv.analysis.report import html, render, selection_tables, status, style
from jpsi_lnv.analysis.report.contents import Section
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Table

FIGURES: Final = "figures"
TABLES: Final = "tables"
PAGE: Final = "report.html"


def write(
    output: Path, source: Source, sections: Sequence[Section], advance: Callable[[int], None] = lambda _: None
) -> list[Path]:
    """Write all files of a report and return the ones to look at first.

    Args:
        output: Directory.
        source: What the report is made from.
        sections: Its sections.
        advance: Called with 1 after each figure.
    """
    label, flags = status.label(source.results), [flag.label for flag in status.flags(source)]
    images = {}
    for picture in (p for section in sections for p in section.pictures):
        figure = picture.figure(label, flags)
        png, _ = style.save(figure, output / FIGURES, picture.name)
        images[picture.name] = png.read_bytes()
        advance(1)
    for table in (t for section in sections for t in section.all_tables):
        write_table(output / TABLES, table)
    flows = derived.write(output, "cutflow", {"datasets": selection_tables.cutflow_record(source)}, source.results)
    documents.write_text(output / PAGE, html.page(source, sections, images))
    return [output / PAGE, flows, output / FIGURES, output / TABLES]


def write_table(directory: Path, table: Table) -> None:
    """Write a table as LaTeX, CSV, Markdown and JSON."""
    documents.write_text(directory / f"{table.name}.tex", render.latex(table))
    documents.write_text(directory / f"{table.name}.csv", render.comma_separated(table))
    documents.write_text(directory / f"{table.name}.md", render.markdown(table))
    documents.write_text(directory / f"{table.name}.json", as_json(render.record(table)))


def as_json(payload: Any) -> str:
    """Return JSON text without NaN."""
    return json.dumps(payload, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
