"""Show Table 1 and Table 2 of the publication beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.report import side_by_side
from jpsi_lnv.processors.console import print_table, wrote
from jpsi_lnv.processors.options import result_options


@click.command()
@result_options
def command(*, accumulator: Path, output: Path) -> None:
    """Show both tables side by side with the publication, from what `systematics` and `limits` derived from a result.

    Writes paper_tables.json. As long as the data are blind, the limits are the expected ones.
    """
    merged = results.read(accumulator)
    systematics = derived.read(output, "systematics", merged)
    limits = derived.read(output, "limits", merged)["limits"]
    first, second = side_by_side.table_1(systematics), side_by_side.table_2(limits)
    overall = next(record for record in limits if record["m_majorana"] is None)
    print_table("Table 1: systematic uncertainties [%]", first)
    print_table("Table 2: ours | published", [_pairs(row) for row in second], footer=_footer(overall))
    used = [output / f"{stem}.json" for stem in ("systematics", "limits")]
    path = derived.write(output, "paper_tables", {"table_1": first, "table_2": second}, merged, files=used)
    wrote(path)


def _pairs(row: dict[str, Any]) -> dict[str, str]:
    """Return each quantity as ``ours | published`` in one cell."""
    names = {"efficiency [%]": "published", "n_obs": "published n_obs", "n_bkg": "published n_bkg"}
    names |= {"delta_sys [%]": "published delta_sys", "limit [1e-9]": "published limit"}
    cells = {ours: f"{'-' if row[ours] is None else row[ours]} | {row[theirs]}" for ours, theirs in names.items()}
    return {"mass": row["mass"]} | cells


def _footer(overall: dict[str, Any]) -> str:
    shown = "observed" if overall["n_obs"] is not None else "expected, the data are blind"
    return f"limits: {shown}, for the published N(J/psi); the simulation is a fast one, agreement is not required"
