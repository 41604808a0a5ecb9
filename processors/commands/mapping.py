"""Draft the mapping file of an ntuple of your own."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Draft the mapping file of an ntuple of your own."""


@command.command()
@click.argument("source", metavar="FILE")
@click.option("--tree", help="Name of the tree.  [default: the one with the most branches]")
def init(source: str, tree: str | None) -> None:
    """Print a mapping for FILE, a flat ntuple: its branches with types and ranges, and guesses marked as such.

    Send it to a file and read it: `lnv mapping init ana.root > mapping.toml`.
    """
    from jpsi_lnv.analysis.events.mapping_draft import draft  # noqa: PLC0415 reads ROOT files

    click.echo(draft(source, tree), nl=False)
