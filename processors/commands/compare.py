"""Compare two results: limits, efficiencies, cut flows and spectra beside each other, on a page."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.report import comparison, page, source
from jpsi_lnv.analysis.report.comparison import SIDES, Comparison
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.tables import Table
from jpsi_lnv.processors.console import ALLOW_STALE, DIRECTORY, PATH, bar, console, show, uncollected, wrote

# Numbers of both results that are printed, and what stands once in a row.
SHOWN = ("n", "efficiency", "n_obs", "branching_fraction_ul", "expected")
NAMING = ("dataset", "m_majorana", "method", "ratio", "ratio_error")


@click.command()
@click.argument("results", metavar="RESULT RESULT", nargs=2, type=PATH)
@click.option("--output", type=DIRECTORY, default=Path("comparison"), help="Directory of the page and its files.")
@click.option("--pdf", is_flag=True, help="Print the page as compare.pdf besides, with Chromium.")
@ALLOW_STALE
@uncollected()
def command(*, results: tuple[Path, Path], output: Path, pdf: bool, allow_stale: bool) -> None:
    """Set two results beside each other: two sets of requirements, two periods, or before and after a change.

    A RESULT is a directory in which `lnv run` and the commands after it wrote, or an accumulator in one. Prints limits
    and efficiencies, and writes compare.html with its figures and tables.
    """
    sources = (_read(results[0], allow_stale=allow_stale), _read(results[1], allow_stale=allow_stale))
    found = Comparison(_names(results), sources)
    made = comparison.page(found)
    show(comparison.differences(found), _narrow(comparison.datasets(found)), _narrow(comparison.limits(found)))
    console().print(made.sentence, markup=False, soft_wrap=True)
    with bar("drawing", len(made.pictures), unit="figures") as advance:
        written = page.leave(output, made, advance)
    if pdf:
        written.append(page.to_pdf(written[0]))
    wrote(*written)
    console().print(f"open {written[0]}", markup=False, soft_wrap=True)


def _narrow(table: Table | None) -> Table | None:
    """Return the columns of a table that a terminal has room for."""
    return table and table.only(*(f"{key}.{side}" for key in SHOWN for side in SIDES), *NAMING)


def _read(result: Path, *, allow_stale: bool) -> Source:
    is_file = result.suffix == Path(derived.ACCUMULATOR).suffix
    directory, accumulator = (result.parent, result) if is_file else (result, None)
    return source.read(directory, accumulator, allow_stale=allow_stale)


def _names(results: tuple[Path, Path]) -> tuple[str, str]:
    """Return what tells two results apart: the last part of their paths that differs, or the paths as they are given.

    Raises:
        click.UsageError: They are the same.
    """
    first, second = (path.parent if path.name == derived.ACCUMULATOR else path for path in map(Path.resolve, results))
    if first == second:
        msg = f"got {results[0]} twice; wanted two results"
        raise click.UsageError(msg)
    for a, b in zip(reversed(first.parts), reversed(second.parts), strict=False):
        if a != b:
            return a, b
    return str(results[0]), str(results[1])
