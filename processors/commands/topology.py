"""List the decay chains of simulated events that pass the selection."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from jpsi_lnv.analysis import derived, documents, topology
from jpsi_lnv.analysis.datasets import TOPOLOGY
from jpsi_lnv.analysis.report import render
from jpsi_lnv.analysis.report.studies import chains
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.steps import STAGES
from jpsi_lnv.processors.console import console, merged_result, show, wrote

# Without a candidate the steps before these fail all later ones too: none of them can be the only one.
DECIDED_ON_CANDIDATES = STAGES[1:]


@click.command()
@merged_result
@click.option(
    "--all-but",
    "step",
    type=click.Choice(DECIDED_ON_CANDIDATES),
    help="Events that fail this step only, instead of those that pass all.",
)
@click.option("--separate-conjugates", is_flag=True, help="Count a chain and its charge conjugate apart.")
def command(*, merged: Results, output: Path, step: str | None, separate_conjugates: bool) -> None:
    """List decay chains with counts, most frequent first, per dataset.

    Writes topology.csv and topology.json.
    """
    rows = []
    for dataset, counts in topology.count(merged, step).items():
        shown = counts if separate_conjugates else topology.merge_conjugates(counts)
        rows += _rows(dataset, shown)
    content = {"all_but": step, "chains": rows}
    table = chains(content)
    if rows:
        show(table)
    else:
        what = f"fail {step} only" if step else "pass the selection"
        ran = merged.ran(TOPOLOGY)
        n_events = sum(dataset.n_events for dataset in ran.values())
        console().print(f"none of {n_events} simulated events of {', '.join(ran)} {what}", soft_wrap=True)
    documents.write_text(output / derived.TOPOLOGY_CSV, render.comma_separated(table))
    options = {"all_but": step, "separate_conjugates": separate_conjugates}
    path = derived.write(output, "topology", content, merged, options)
    wrote(path, output / derived.TOPOLOGY_CSV)


def _rows(dataset: str, counts: Counter[str]) -> list[dict[str, Any]]:
    total = sum(counts.values())
    return [
        {"dataset": dataset, "chain": topology.describe(text), "n": n, "share": n / total}
        for text, n in counts.most_common()
    ]
