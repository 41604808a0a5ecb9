"""Make a run table with BESIII's interaction points, for `lnv skim`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.events.run_table import JPSI_RUNS, RunTable, from_offlinedb, read_run_table, to_json
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed
from jpsi_lnv.processors.console import FILE, show, wrote

_FIELDS: Final = (
    Field("period", "period", str),
    Field("runs", "runs", count),
    Field("first", "first", str),
    Field("last", "last", str),
    Field("sqrt_s", "√s", fixed(4), "GeV"),
    Field("x", "mean x", fixed(4), "cm"),
    Field("y", "mean y", fixed(4), "cm"),
    Field("z", "mean z", fixed(4), "cm"),
)


@click.command("run-table")
@click.option("--offlinedb", type=FILE, required=True, help="SQLite copy of BESIII's data base offlinedb.")
@click.option("--release", required=True, metavar="R", help="Release of BOSS that reconstructed the events: 7.0.8.")
@click.option("--runs", type=FILE, help="Run table with the ranges wanted.  [default: those of the J/psi samples]")
@click.option("--output", type=FILE, default=Path("runs.json"), help="File of the run table.")
def command(offlinedb: Path, release: str, runs: Path | None, output: Path) -> None:
    """Write a run table with interaction point and spread of every run, from a copy of BESIII's data base.

    Energy, field and period are those of the ranges. Simulation has the points of the runs that it simulates.
    """
    table = from_offlinedb(offlinedb, release, JPSI_RUNS if runs is None else read_run_table(runs))
    write_json(output, to_json(table))
    show(_summary(table, f"{offlinedb} for BOSS {release}"))
    wrote(output)


def _summary(table: RunTable, title: str) -> Table:
    """Return one row per period: its runs, and the mean of their interaction points."""
    rows = []
    for period in sorted({c.period for c in table.rows}):
        own = [c for c in table.rows if c.period == period]
        mean = [sum(values) / len(own) for values in zip(*(c.ip for c in own if c.ip), strict=True)]
        edges = {"first": own[0].first, "last": own[-1].last, "sqrt_s": own[0].sqrt_s}
        rows.append({"period": period, "runs": len(own), **edges, **dict(zip("xyz", mean, strict=True))})
    return Table("run_table", title, _FIELDS, tuple(rows))
