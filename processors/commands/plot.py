"""Draw single figures of the report, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis.report import contents, source, status, style
from jpsi_lnv.processors.console import print_table, wrote
from jpsi_lnv.processors.options import result_options


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@result_options
@click.option("--format", "kind", type=click.Choice(["pdf", "png", "svg"]), default="pdf", help="Format of the files.")
def command(*, names: tuple[str, ...], accumulator: Path, output: Path, kind: str) -> None:
    """Draw the figures NAME... into the directory `figures` of the output directory; without a NAME list them."""
    found = source.read(output, accumulator)
    pictures = {p.name: p for section in contents.sections(found) for p in section.pictures}
    if not names:
        print_table("figures", [{"name": p.name, "shows": p.title} for p in pictures.values()])
        return
    if unknown := [name for name in names if name not in pictures]:
        msg = (
            f"there is no figure {unknown[0]!r} of what lies in {output}; there are {', '.join(pictures)}; others come "
            "with `lnv limits`, `lnv limits --checks`, `lnv optimize`"
        )
        raise click.BadParameter(msg, param_hint="NAME")
    flags = [flag.label for flag in status.flags(found)]
    for name in names:
        figure = pictures[name].figure(status.label(found.results), flags)
        (path,) = style.save(figure, output / "figures", name, [kind])
        wrote(path)
