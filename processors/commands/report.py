"""Show the cut flow and the result; write figures, tables and report.html."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis.datasets import DATA, SEARCH, SIGNAL
from jpsi_lnv.analysis.report import page, result, selection, source
from jpsi_lnv.analysis.report.tables import Table
from jpsi_lnv.processors.console import ALLOW_STALE, bar, console, result_options, show, uncollected, wrote


@click.command()
@result_options
@click.option("--dataset", "datasets", multiple=True, help="Print the cut flow of this dataset too; may be repeated.")
@click.option("--no-figures", is_flag=True, help="Print the tables only and write no file.")
@click.option("--pdf", is_flag=True, help="Print the page as report.pdf besides, with Chromium.")
@ALLOW_STALE
@uncollected()
def command(
    *,
    accumulator: Path,
    output: Path,
    datasets: tuple[str, ...],
    no_figures: bool,
    pdf: bool,
    allow_stale: bool,
) -> None:
    """Print cut flow and result, and write report.html with its figures (PNG, PDF, CSV) and tables (CSV, LaTeX, …).

    Reads what `lnv run` and the commands after it left in the output directory. A result that is blinded, incomplete
    or made with other cuts is labelled so in every figure.
    """
    if no_figures and pdf:
        msg = "got --no-figures with --pdf; wanted one of them: the PDF is the page with its figures"
        raise click.UsageError(msg)
    found = source.read(output, accumulator, allow_stale=allow_stale)
    sections = page.sections(found)
    show(*_shown(found, datasets))
    for flag in source.flags(found):
        console().print(f"{flag.label}: {flag.explanation}", markup=False, soft_wrap=True)
    for line in filter(None, (result.data_sentence(found), result.sentence(found))):
        console().print(line, markup=False, soft_wrap=True)
    if no_figures:
        return
    with bar("drawing", sum(len(s.pictures) for s in sections), unit="figures") as advance:
        written = page.write(output, found, sections, advance)
    if pdf:
        written.append(page.to_pdf(written[0]))
    wrote(*written)
    console().print(f"open {written[0]}", markup=False, soft_wrap=True)


def _shown(found: source.Source, datasets: tuple[str, ...]) -> list[Table]:
    """Return what is printed: the cut flows of signal, data and the named datasets, and all datasets."""
    searched = found.results.ran(SEARCH)
    if unknown := sorted(set(datasets) - set(searched)):
        msg = f"no dataset {unknown[0]!r} with a search in the result; there are {sorted(searched)}"
        raise click.BadParameter(msg, param_hint="--dataset")
    named = {*found.results.of_kind(SIGNAL, DATA), *datasets}
    cuts = source.cuts_of(found.results)
    flows = [selection.cutflow(name, d, cuts=cuts) for name, d in searched.items() if name in named]
    return [*flows, selection.overview(found)]
