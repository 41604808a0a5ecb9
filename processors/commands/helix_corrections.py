"""Measure corrections of simulated helices from the pulls of control samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.report.tables import Field, Table
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics import helix
from jpsi_lnv.processors.console import merged_result, show, wrote

FILE_NAME: Final = "helix.json"


def _measured(value: tuple[float, float]) -> str:
    """Return a number with its standard uncertainty."""
    return f"{value[0]:.3f} ± {value[1]:.3f}"


_OF_TRACK: Final = (
    Field("period", "period", str),
    Field("species", "species"),
    Field("charge", "charge", lambda charge: f"{charge:+d}"),
)
_PULLS: Final = (
    *_OF_TRACK,
    Field("sample", "sample"),
    Field("parameter", "parameter"),
    *(
        Field(f"{kind}_{what}", f"{what}, {kind}", _measured)
        for kind in ("data", "simulation")
        for what in ("mean", "width")
    ),
)
_CORRECTIONS: Final = (
    *_OF_TRACK,
    *(
        Field(f"{what}_{name}", f"{what[0]} of {name}", _measured)
        for name in helix.PARAMETERS
        for what in ("mean", "width")
    ),
    Field("control_sample", "control sample"),
)


@click.command("helix-corrections")
@merged_result
def command(*, merged: Results, output: Path) -> None:
    """Measure shifts and widths of the helices of simulated tracks, per species, charge and period.

    The result needs the selection `helix_pulls` in its data and in the simulation of J/psi -> K+ K- pi+ pi-,
    p pbar pi+ pi- or 2(e+ e-): name it among the "selections" of their metadata. Writes helix.json into the output
    directory, which a calibration names as "helix" of its simulated runs.
    """
    found = helix.measure(merged)
    show(
        Table("helix_pulls", "Pulls of the 4C fit", _PULLS, tuple(map(_pull, found.pulls))),
        Table("helix_corrections", "Corrections, in errors", _CORRECTIONS, tuple(map(_correction, found.entries))),
    )
    for line in missing(found.entries):
        click.echo(f"warning: {line}", err=True)
    wrote(write_json(output / FILE_NAME, found.to_json()))


def missing(entries: Sequence[helix.Entry]) -> list[str]:
    """Return a line per period and species that has no correction there and has one elsewhere: it stays as it is."""
    of_period: dict[int, set[str]] = {}
    for entry in entries:
        of_period.setdefault(helix.period_of(entry), set()).add(entry.species)
    every = set().union(*of_period.values())
    return [
        f"period {period}: fewer than {helix.N_MIN} candidates with {species}, which stays uncorrected"
        for period, species_there in of_period.items()
        for species in sorted(every - species_there)
    ]


def _pull(pull: helix.Pull) -> dict[str, Any]:
    species, charge = pull.track
    row = {"period": pull.period, "species": species, "charge": charge, "sample": pull.sample}
    of = {"data": pull.data, "simulation": pull.simulation}
    means = {f"{kind}_mean": (core.mean, core.mean_error) for kind, core in of.items()}
    widths = {f"{kind}_width": (core.width, core.width_error) for kind, core in of.items()}
    return row | {"parameter": pull.parameter} | means | widths


def _correction(entry: helix.Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"period": helix.period_of(entry), "species": entry.species, "charge": entry.charge}
    for what in ("mean", "width"):
        for i, name in enumerate(helix.PARAMETERS):
            row[f"{what}_{name}"] = (getattr(entry, what)[i], getattr(entry, f"{what}_error")[i])
    return row | {"control_sample": entry.control_sample}
