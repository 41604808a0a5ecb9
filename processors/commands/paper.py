"""Show Table 1 and Table 2 of the publication beside ours."""

from __future__ import annotations

from pathlib import Path

import click

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.report.mass_scan import beside_published
from jpsi_lnv.analysis.report.source import Source
from jpsi_lnv.analysis.report.systematics import overall
from jpsi_lnv.processors.console import console, result_options, show, wrote


@click.command()
@result_options
def command(*, accumulator: Path, output: Path) -> None:
    """Show both tables side by side with the publication, from what `systematics` and `limits` derived from a result.

    Writes paper_tables.json. As long as the data are blind, the limits are the expected ones.
    """
    merged = results.read(accumulator)
    systematics = derived.read(output, "systematics", merged)
    limits = derived.read(output, "limits", merged)["limits"]
    found = Source(merged, tuple(limits), {"systematics": systematics})
    tables = {"table_1": overall(found), "table_2": beside_published(found)}
    show(*tables.values())
    is_blind = any(record["n_obs"] is None for record in limits if record["m_majorana"] is None)
    shown = "expected, the data are blind" if is_blind else "observed"
    console().print(f"limits: {shown}; the simulation is a fast one, agreement is not required")
    used = [derived.derived(output, stem) for stem in ("systematics", "limits")]
    content = {name: table.rows if table else () for name, table in tables.items()}
    wrote(derived.write(output, "paper_tables", content, merged, files=used))
