"""List the decay chains of simulated events that pass the selection."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import click

from jpsi_lnv.analysis import derived, topology
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.steps import STAGES
from jpsi_lnv.processors.console import console, print_table, wrote
from jpsi_lnv.processors.options import merged_result

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
    what = f"fail {step} only" if step else "pass the selection"
    if rows:
        print_table(f"Decay chains of simulated events that {what}", rows)
    else:
        console().print(f"none of the simulated events of {len(topology.count(merged))} datasets {what}")
    _write_csv(output / "topology.csv", rows)
    options = {"all_but": step, "separate_conjugates": separate_conjugates}
    path = derived.write(output, "topology", {"all_but": step, "chains": rows}, merged, options)
    wrote(path, output / "topology.csv")


def _rows(dataset: str, counts: Counter[str]) -> list[dict[str, Any]]:
    total = sum(counts.values())
    return [
        {"dataset": dataset, "chain": topology.describe(text), "events": n, "share [%]": round(100 * n / total, 2)}
        for text, n in counts.most_common()
    ]


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["dataset", "chain", "events", "share [%]"])
        writer.writeheader()
        writer.writerows(rows)
