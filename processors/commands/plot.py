"""Draw single figures of the report, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.report import drawing, page, source
from jpsi_lnv.processors.console import ALLOW_STALE, refuse_unused, result_options, show, wrote


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@result_options
@ALLOW_STALE
@click.option("--format", "kind", type=click.Choice(["pdf", "png", "svg"]), default="pdf", help="Format of the files.")
def command(*, names: tuple[str, ...], accumulator: Path, output: Path, allow_stale: bool, kind: str) -> None:
    """Draw the figures NAME... into the directory `figures` of the output directory; without a NAME list them."""
    if not names:
        refuse_unused(["kind", "allow_stale"], "without a NAME, where nothing is drawn")
    found = source.read(output, accumulator, allow_stale=allow_stale or not names)
    if not names:
        show(page.figures(found))
        return
    pictures = page.pictures(found)
    if unknown := [name for name in names if name not in pictures]:
        msg = (
            f"there is no figure {unknown[0]!r} of what lies in {output}; there are {', '.join(pictures)}; others come "
            "with `lnv limits`, `lnv limits --checks`, `lnv optimize`"
        )
        raise click.BadParameter(msg, param_hint="NAME")
    for name in names:
        figure = pictures[name].figure(*source.stamp(found))
        (path,) = drawing.save(figure, output / derived.FIGURES, name, [kind])
        wrote(path)
