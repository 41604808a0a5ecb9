"""Tables of the simulation for the documentation: detector parameters, processes, continuum cross sections."""

from __future__ import annotations

import dataclasses
from typing import Final

from jpsi_lnv.analysis.report.tables import Field, Table
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL, DetectorParameters
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS, Process

_PARAMETER_COLUMNS: Final = (
    Field("meaning", "meaning"),
    Field("nominal", "value", str),
    Field("data_like", "data-like, if it differs"),
    Field("unit", "unit"),
    Field("source", "source"),
)
_PROCESS_COLUMNS: Final = (
    Field("name", "name"),
    Field("process", "process"),
    Field("branching_fraction", "branching fraction", str),
    Field("source", "PDG identifiers, or source"),
)
_CONTINUUM_COLUMNS: Final = (
    Field("process", "process"),
    Field("value", "cross section [pb]", str),
    Field("sqrt_s", "at [GeV]", str),
    Field("source", "source"),
)


def parameters() -> Table:
    """Return every parameter of the detector with its source."""
    rows = []
    for field in dataclasses.fields(DetectorParameters):
        nominal, data_like = getattr(NOMINAL, field.name), getattr(DATA_LIKE, field.name)
        changed = "" if nominal == data_like else f"{data_like:g}"
        described = {key: field.metadata[key] for key in ("meaning", "unit", "source")}
        rows.append({"nominal": f"{nominal:g}", "data_like": changed, **described})
    return Table("parameters", "Parameters of the detector", _PARAMETER_COLUMNS, tuple(rows))


def processes() -> Table:
    """Return the simulated J/psi decays with their branching fractions."""
    named = {**BACKGROUNDS, **CONTROLS}
    return Table(
        "processes",
        "Simulated decays of the J/psi",
        _PROCESS_COLUMNS,
        tuple(_process(name, c) for name, c in named.items()),
    )


def _process(name: str, process: Process) -> dict[str, str]:
    source = ", ".join(f.pdg_id or f.source for f in process.fractions)
    value = f"{process.branching_fraction:.3g}"
    return {"name": name, "process": process.reaction, "branching_fraction": value, "source": source}


def continuum() -> Table:
    """Return the processes off the resonance with their cross sections."""
    rows = tuple(
        {"process": process.reaction, "value": f"{c.value:g}", "sqrt_s": f"{c.sqrt_s:g}", "source": c.source}
        for process, c in CONTINUUM.values()
    )
    return Table("continuum", "Processes off the resonance; they scale with 1/s", _CONTINUUM_COLUMNS, rows)
