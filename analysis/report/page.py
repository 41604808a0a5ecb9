"""The report as a whole: its sections in order, the HTML page, and every file it leaves on disk."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from jpsi_lnv.analysis import derived, documents
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report import (
    background,
    candidates,
    closure,
    drawing,
    figure_data,
    mass_scan,
    origin,
    render,
    result,
    selection,
    simulation,
    studies,
    systematics,
)
from jpsi_lnv.analysis.report.drawing import Picture, Section
from jpsi_lnv.analysis.report.source import Source, flags, label, stamp
from jpsi_lnv.analysis.report.tables import Field, Table

# Programs that print a page.
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Symbols of the tables and figures, in the order in which a reader meets them.
GLOSSARY: Final = {
    "J/ψ": "the charm-anticharm meson of 3.097 GeV/c² whose decays are searched",
    "c.c.": "the charge-conjugate decay, counted together with the one written",
    "B": "branching fraction: the share of all J/ψ that decay so",
    "N obs": "observed events: events of the data that pass every requirement",
    "N bkg": "events expected among them from other decays",
    "ε": "efficiency: the share of produced signal decays that pass every requirement",
    "Δ sys": "relative systematic uncertainty of efficiency and number of J/ψ together",
    "N up": "upper limit on the number of produced signal decays: events over efficiency",
    "B limit": "upper limit on the branching fraction: N up over the number of J/ψ",
    "expected": "median of the limits that repeated experiments without signal would give",
    "± 1σ, ± 2σ": "ranges that hold 68 % and 95 % of those limits",
    "M(ν)": "mass of the Majorana neutrino through which the signal decays",
    "M(KKee)": "invariant mass of the four tracks, near that of the J/ψ for signal",
    "M(Ke)": "invariant mass of a kaon and an electron of opposite charge, after the kinematic fit",
    "χ²₄C": "quality of the fit of the four tracks to the four-momentum of the beams: small is good",
    "PID": "identification of a particle by energy loss, time of flight and calorimeter",
    "kinematic": "simulated events that pass all but the identification; they count with its probability",
    "weight": "data events that one simulated event stands for",
}
# One module per section, in the order of the page.
SECTIONS: Final = (
    result,
    selection,
    background,
    systematics,
    mass_scan,
    candidates,
    studies,
    simulation,
    closure,
    origin,
)


def sections(source: Source) -> tuple[Section, ...]:
    """Return the sections that the source can fill."""
    made = (module.section(source) for module in SECTIONS)
    return tuple(s for s in made if s.pictures or s.all_tables)


_FIGURES: Final = (Field("name", "name"), Field("title", "what it shows"))


def figures(source: Source) -> Table:
    """Return the list of the figures."""
    return Table("figures", "Figures", _FIGURES, tuple(vars(picture) for picture in pictures(source).values()))


def pictures(source: Source) -> dict[str, Picture]:
    """Return every figure of the report by its name."""
    return {picture.name: picture for section in sections(source) for picture in section.pictures}


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
    drawn = {}
    for picture in (p for section in sections for p in section.pictures):
        drawn[picture.name] = draw(picture, source, output / derived.FIGURES)
        advance(1)
    tables = tuple(t for section in sections for t in section.all_tables)
    write_tables(output / derived.TABLES, tables)
    flows = derived.write(output, "cutflow", {"datasets": selection.cutflow_record(source)}, source.results)
    documents.write_json(output / derived.CLOSURE, closure.to_dict())
    documents.write_text(output / derived.PAGE, html(source, sections, drawn))
    return [output / derived.PAGE, output / derived.TABLES / "index.html", output / derived.FIGURES, flows]


@dataclass(frozen=True)
class Drawn:
    """A figure as the page holds it: the PNG file, and its numbers as CSV."""

    png: bytes
    data: str


def draw(picture: Picture, source: Source, directory: Path) -> Drawn:
    """Write a figure as PNG and PDF, and its numbers as CSV."""
    figure = picture.figure(*stamp(source))
    png, _ = drawing.save(figure, directory, picture.name)
    data = render.comma_separated(figure_data.table(picture.name, figure))
    documents.write_text(directory / f"{picture.name}.csv", data)
    return Drawn(png.read_bytes(), data)


def write_tables(directory: Path, tables: Sequence[Table]) -> None:
    """Write one CSV file per table; all of them as LaTeX, Markdown and JSON; and an index of them."""
    for table in tables:
        documents.write_text(directory / f"{table.name}.csv", render.comma_separated(table))
    parts = [part for table in tables for part in table.parts()]
    documents.write_text(directory / "tables.tex", "\n".join(map(render.latex, parts)))
    documents.write_text(directory / "tables.md", "\n".join(f"## {p.title}\n\n{render.markdown(p)}" for p in parts))
    documents.write_json(directory / "tables.json", [render.record(table) for table in tables])
    documents.write_text(directory / "index.html", _template("tables.html.j2").render(tables=tables))


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("jpsi_lnv.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def html(source: Source, sections: Sequence[Section], drawn: Mapping[str, Drawn]) -> str:
    """Return the whole page.

    Args:
        source: What the report is made from.
        sections: Sections in order.
        drawn: Name of a picture -> what was drawn.
    """
    return _template("report.html.j2").render(
        title="Search for J/ψ → K⁺K⁺e⁻e⁻ + c.c.",
        sentence=result.sentence(source),
        facts=result.facts(source),
        data=result.data_sentence(source),
        glossary=GLOSSARY,
        flags=flags(source),
        label=label(source.results),
        sections=sections,
        drawn=drawn,
        cells=_cells,
        encoded=lambda content: base64.b64encode(content.encode() if isinstance(content, str) else content).decode(),
        as_csv=render.comma_separated,
    )


def _cells(table: Table) -> list[list[dict[str, Any]]]:
    """Return rows of cells: what is shown, the raw value to sort by, where it comes from, the field."""
    return [
        [
            {"shown": shown, "value": _sortable(row.get(field.key)), "place": field.place(row), "field": field}
            for shown, field in zip(cells, table.fields, strict=True)
        ]
        for row, cells in zip(table.rows, table.cells(), strict=True)
    ]


def _sortable(value: Any) -> str:
    return "" if value is None else str(value)


def to_pdf(page: Path) -> Path:
    """Print the page with Chromium, every table unfolded, and return the PDF beside it.

    Raises:
        ResultsError: There is no Chromium, or it fails.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        msg = f"{page}: nothing to print it with; wanted one of {', '.join(BROWSERS)} on PATH: install Chromium"
        raise ResultsError(msg)
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-pdf-header-footer", f"--user-data-dir={profile}", f"--print-to-pdf={target}"]
        # Its sandbox does not work for root, as whom containers run.
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        done = subprocess.run([browser, *options, page.resolve().as_uri()], capture_output=True, check=False)  # noqa: S603
    if done.returncode or not target.exists():
        msg = f"{page}: {browser} did not print it (status {done.returncode}); print it from a browser"
        raise ResultsError(msg)
    return target
