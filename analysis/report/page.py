"""The report as a whole: its sections in order, the HTML page, and every file it leaves on disk."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from jpsi_lnv.analysis import derived, documents
from jpsi_lnv.analysis.channel import Channel
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
from jpsi_lnv.analysis.report.result import Fact
from jpsi_lnv.analysis.report.source import Flag, Source, cuts_of, flags, is_of_publication, label
from jpsi_lnv.analysis.report.tables import Field, Table

# Endings of files that a page leaves for its figures and tables, or left in former versions.
WRITTEN: Final = {".csv", ".png", ".pdf", ".tex", ".md", ".json"}
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
    "χ²₄C": "quality of the fit of the tracks to the four-momentum of the beams: small is good",
    "PID": "identification of a particle by energy loss, time of flight and calorimeter",
    "kinematic": "simulated events that pass all but the identification; they count with its probability",
    "needs": "tracks that must be taken for others: 2 π → e are two pions, each taken for an electron",
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
    closes = is_of_publication(source.results)
    made = (module.section(source) for module in SECTIONS if closes or module is not closure)
    return tuple(s for s in made if s.pictures or s.all_tables)


_FIGURES: Final = (Field("name", "name"), Field("title", "what it shows"))


def figures(source: Source) -> Table:
    """Return the list of the figures."""
    return Table("figures", "Figures", _FIGURES, tuple(vars(picture) for picture in pictures(source).values()))


def pictures(source: Source) -> dict[str, Picture]:
    """Return every figure of the report by its name."""
    return {picture.name: picture for section in sections(source) for picture in section.pictures}


@dataclass(frozen=True)
class Page:
    """A page that is not written yet: what stands at its top, and its sections.

    Attributes:
        file: Name of the file.
        title: Its title.
        sentence: What it says, in one sentence.
        sections: Its sections, in order.
        data: Whose events were searched, said before all else; empty where there is nothing to say.
        label: What stands above every figure, such as ``Fast simulation``.
        flags: What a reader must know before the numbers.
        facts: The numbers of the headline.
        glossary: Symbols and what they mean.
    """

    file: str
    title: str
    sentence: str
    sections: Sequence[Section]
    data: str = ""
    label: str = ""
    flags: Sequence[Flag] = ()
    facts: Sequence[Fact] = ()
    glossary: Mapping[str, str] = field(default_factory=lambda: GLOSSARY)

    @property
    def pictures(self) -> list[Picture]:
        """All its figures."""
        return [picture for section in self.sections for picture in section.pictures]

    @property
    def tables(self) -> list[Table]:
        """All its tables."""
        return [table for section in self.sections for table in section.all_tables]


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
    written = leave(output, report(source, sections), advance)
    flows = derived.write(output, "cutflow", {"datasets": selection.cutflow_record(source)}, source.results)
    documents.write_json(output / derived.CLOSURE, closure.to_dict())
    return [*written, flows]


def report(source: Source, sections: Sequence[Section]) -> Page:
    """Return the page of a result."""
    channel = cuts_of(source.results).channel
    return Page(
        file=derived.PAGE,
        title=f"Search for J/ψ → {channel.in_powers}",
        sentence=result.sentence(source),
        sections=sections,
        data=result.data_sentence(source),
        label=label(source.results),
        flags=flags(source),
        facts=result.facts(source),
        glossary=glossary(channel),
    )


def glossary(channel: Channel) -> dict[str, str]:
    """Return the symbols of a search, in the order in which a reader meets them."""
    masses = {f"M({channel.symbols})": "invariant mass of all tracks, near that of the J/ψ for signal"}
    if channel.pairs:
        masses[f"M({channel.pair_symbols})"] = f"invariant mass of {channel.pair_words}, after the kinematic fit"
    return GLOSSARY | masses


def leave(output: Path, page: Page, advance: Callable[[int], None] = lambda _: None) -> list[Path]:
    """Write a page with its figures and tables, and return page, index of the tables, and directory of the figures.

    Args:
        output: Directory.
        page: The page.
        advance: Called with 1 after each figure.
    """
    stamp = page.label, [flag.label for flag in page.flags]
    drawn = {}
    for picture in page.pictures:
        drawn[picture.name] = draw(picture, stamp, output / derived.FIGURES)
        advance(1)
    kinds = ("png", "pdf", "csv")
    _remove_others(output / derived.FIGURES, {f"{picture.name}.{kind}" for picture in page.pictures for kind in kinds})
    write_tables(output / derived.TABLES, page.tables, page.file)
    documents.write_text(output / page.file, html(page, drawn))
    return [output / page.file, output / derived.TABLES / "index.html", output / derived.FIGURES]


@dataclass(frozen=True)
class Drawn:
    """A figure as the page holds it: the PNG file, and its numbers as CSV."""

    png: bytes
    data: str


def draw(picture: Picture, stamp: tuple[str, Sequence[str]], directory: Path) -> Drawn:
    """Write a figure as PNG and PDF, and its numbers as CSV."""
    figure = picture.figure(*stamp)
    png, _ = drawing.save(figure, directory, picture.name)
    data = render.comma_separated(figure_data.table(picture.name, figure))
    documents.write_text(directory / f"{picture.name}.csv", data)
    return Drawn(png.read_bytes(), data)


def write_tables(directory: Path, tables: Sequence[Table], page: str = derived.PAGE) -> None:
    """Write one CSV file per table; all of them as LaTeX, Markdown and JSON; and an index of them."""
    parts = [part for table in tables for part in table.parts()]
    files = {f"{table.name}.csv": render.comma_separated(table) for table in tables} | {
        "tables.tex": "\n".join(map(render.latex, parts)),
        "tables.md": "\n".join(f"## {p.title}\n\n{render.markdown(p)}" for p in parts),
        "index.html": _template("tables.html.j2").render(tables=tables, page=page),
    }
    for name, text in files.items():
        documents.write_text(directory / name, text)
    documents.write_json(directory / "tables.json", [render.record(table) for table in tables])
    _remove_others(directory, {"tables.json", *files})


def _remove_others(directory: Path, names: Container[str]) -> None:
    """Remove the files that a page of before left and this one has not."""
    for path in directory.glob("*"):
        if path.suffix in WRITTEN and path.name not in names:
            path.unlink()


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("jpsi_lnv.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def html(page: Page, drawn: Mapping[str, Drawn]) -> str:
    """Return the whole page as one file.

    Args:
        page: The page.
        drawn: Name of a picture -> what was drawn.
    """
    return _template("report.html.j2").render(
        page=page,
        glossary=page.glossary,
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
