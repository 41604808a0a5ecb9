"""Look whether chi of dE/dx and of the time of flight is standard normal, and measure what corrects it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.analysis.constants import PERIOD_RUNS
from jpsi_lnv.analysis.datasets import CONTROL, DATA, PID_CHI
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.objects import calibration, chi_correction
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed, yes_no
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics import pid_chi
from jpsi_lnv.processors.console import merged_result, show, wrote

DIRECTORY_NAME: Final = "chi"
_FIELDS: Final = (
    Field("kind", "events"),
    Field("period", "period", str),
    Field("species", "species"),
    Field("subsystem", "subsystem"),
    Field("n", "tracks", count),
    Field("mean", "mean", fixed(3)),
    Field("error", "+-", fixed(3)),
    Field("rms", "rms", fixed(3)),
    Field("rms_error", "+-", fixed(3)),
    Field("is_met", "normal", yes_no),
)
_NOTE: Final = (
    f"tracks with |chi| < {pid_chi.WINDOW:g}; normal: mean 0 and rms {pid_chi.RMS:.4f} within "
    f"{pid_chi.TOLERANCE:.0%} or {pid_chi.N_SIGMA:g} standard uncertainties"
)


@click.command("chi-corrections")
@merged_result
def command(*, merged: Results, output: Path) -> None:
    """Show mean and rms of chi of tagged e, pi, K, per period, and measure what makes chi normal.

    The result needs the selection `pid_chi` in its data or in the simulation of control samples: name it among the
    "selections" of their metadata. Writes chi/data.json and chi/simulation.json into the output directory, calibrations
    that name the corrections of either. Where such corrections were in force, the table shows what they left, and
    nothing is written.
    """
    found = pid_chi.samples(merged)
    show(Table("pid_chi", "chi of tagged tracks", _FIELDS, tuple(map(_row, found)), note=_NOTE))
    if any("chi" in of.get("constants", ()) for of in merged.provenance.get("calibration", {}).values()):
        click.echo("a calibration with corrections of chi was in force: the table shows what it left", err=True)
        return
    wrote(*write(merged, output / DIRECTORY_NAME))


def write(merged: Results, directory: Path) -> list[Path]:
    """Write the corrections of data and of simulation, a calibration of each, and return the calibrations."""
    source = ", ".join(f"{key} {value}" for key, value in merged.identity.items())
    written = []
    for kind, name in ((DATA, "data"), (CONTROL, "simulation")):
        histograms = pid_chi.summed(merged, kind)
        is_simulation = all(d.metadata.is_simulation for d in merged.ran(PID_CHI, kind).values())
        ranges = []
        for period, (first, last) in PERIOD_RUNS.items():
            if of := pid_chi.corrections(histograms, period):
                file = write_json(
                    directory / f"{name}_{period}.json", chi_correction.to_json(of, f"measured: {source}")
                )
                ranges.append({"first": first, "last": last, "simulation": is_simulation, "chi": file.name})
        content = {"format": calibration.FORMAT, "source": "lnv chi-corrections", "ranges": ranges}
        written += [write_json(directory / f"{name}.json", content)] if ranges else []
    return written


def _row(sample: pid_chi.Sample) -> dict[str, Any]:
    derived = {name: getattr(sample, name) for name in ("error", "rms_error", "is_met")}
    return vars(sample) | derived
