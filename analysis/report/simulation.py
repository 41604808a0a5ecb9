"""What the report shows of the simulation's validation: figures and tables from ``validation.json``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes

from jpsi_lnv.analysis.report import drawing
from jpsi_lnv.analysis.report.drawing import Picture, Section
from jpsi_lnv.analysis.report.mass_scan import M_NU_LABEL
from jpsi_lnv.analysis.report.source import SIMULATION, VALIDATION, Source
from jpsi_lnv.analysis.report.tables import Field, Table, decay, fixed, located, percent, significant, yes_no

_COMPARISONS: Final = (
    Field("quantity", "quantity"),
    Field("got", "simulation", significant(4)),
    Field("wanted", "wanted"),
    Field("is_met", "met", yes_no),
)
_IDENTIFICATION: Final = (
    Field("species", "species"),
    Field("p_min", "p from", fixed(1), "GeV/c"),
    Field("p_max", "p to", fixed(1), "GeV/c"),
    Field("e_over_p", "mean E/p", fixed(2)),
    Field("as_electron", "as electron", percent(2), "%"),
    Field("as_kaon", "as kaon", percent(2), "%"),
)
_FRACTIONS: Final = (
    Field("state", "final state", decay),
    Field("measured", "measured", significant(3)),
    Field("error", "±", significant(2)),
    Field("got", "simulated", significant(3)),
    Field("pull", "pull", fixed(1)),
)
_SINGLE: Final = (
    Field("species", "species"),
    Field("momentum", "p", fixed(2), "GeV/c"),
    Field("published", "published", percent(1), "%"),
    Field("got", "simulated", percent(1), "%"),
)
_SURVIVAL: Final = (
    Field("momentum", "p", fixed(1), "GeV/c"),
    Field("length", "length", fixed(0), "cm"),
    Field("wanted", "exp(−L m / p cτ)", percent(1), "%"),
    Field("got", "simulated", percent(1), "%"),
)
_MASSES: Final = (
    Field("m_majorana", "mass", fixed(3), "GeV/c²"),
    Field("published", "published", percent(2), "%"),
    Field("efficiency", "all permutations", percent(2), "%"),
    Field("efficiency_one", "one permutation", percent(2), "%"),
)
_SENSITIVITY: Final = (
    Field("parameter", "parameter"),
    Field("value", "value", significant(3)),
    Field("low", "from", significant(3)),
    Field("high", "to", significant(3)),
    Field("at_low", "efficiency there", percent(1), "%"),
    Field("at_high", "and there", percent(1), "%"),
    Field("statistics", "±", percent(1), "%"),
)
_MUONS: Final = (
    Field("species", "species"),
    Field("p_min", "p from", fixed(1), "GeV/c"),
    Field("p_max", "p to", fixed(1), "GeV/c"),
    Field("cos_theta_min", "|cos θ| from", fixed(2)),
    Field("cos_theta_max", "|cos θ| to", fixed(2)),
    Field("depth", "mean depth", fixed(1), "cm"),
    Field("max_hits", "mean hits in the fullest layer", fixed(2)),
    Field("rate", "as muon", percent(3), "%"),
)


def section(source: Source) -> Section:
    """Return the section of the simulation; empty if it was not validated."""
    found = source.extras.get(VALIDATION)
    introduction = "The fast simulation beside its references, from lnv simulate --validate; made from no result."
    if found is None:
        return Section("simulation", "Simulation", introduction)
    comparisons, *folded = tables(found)
    return Section("simulation", "Simulation", introduction, pictures(found), (comparisons,), tuple(folded))


def pictures(found: dict[str, Any]) -> tuple[Picture, ...]:
    """Return the figures: efficiency against the neutrino's mass, identification against momentum.

    Args:
        found: Content of ``validation.json``.
    """
    return (
        Picture(
            "validation_efficiency",
            "Efficiency of the search in the fast simulation",
            "No parameter of the detector was chosen by an efficiency.",
            partial(_draw_efficiency, found["efficiency"]),
        ),
        Picture(
            "validation_single_particles",
            "Efficiency of single particles to make a track",
            "Points: single pi- and p through BOSS; the turn-on and the plateau were fitted to them.",
            partial(_draw_single, found["single_particles"]),
        ),
        Picture(
            "validation_identification",
            "Tracks of the fast simulation read as electron or kaon",
            "Shares of the tracks of each species that pass the requirements of the other.",
            partial(_draw_identification, found["identification"]),
        ),
    )


def tables(found: dict[str, Any]) -> tuple[Table, ...]:
    """Return the comparisons with the references, the identification by species and momentum, the inclusive decays."""
    of_pulls = "the pull has the error of counting alone; final states stop at π⁰, η, η'(958), K⁰ and hyperons"
    of_ranges = "relative change of the phase-space efficiency at the ends of each parameter's range"
    of_muons = "by the package's network, of tracks of 0.5 GeV/c in reach; half a track is added to those read as muons"
    made, note = partial(_table, found), found["note"]
    return (
        made("validation", "rows", "The fast simulation against what is published of the detector", _COMPARISONS, note),
        made("validation_identification", "identification", "Identification of simulated tracks", _IDENTIFICATION),
        made("validation_fractions", "fractions", "Final states of inclusive decays", _FRACTIONS, of_pulls),
        made("validation_masses", "efficiency", "Efficiencies beside Table 2", _MASSES, note),
        made("validation_single", "single_particles", "Single particles that make a track", _SINGLE),
        made("validation_survival", "kaon_survival", "Kaons that fly a length", _SURVIVAL),
        made("validation_muons", "muons", "Tracks in the muon chambers, and those read as muons", _MUONS, of_muons),
        made("validation_sensitivity", "sensitivity", "What the assumptions are worth", _SENSITIVITY, of_ranges),
    )


def _table(found: dict[str, Any], name: str, key: str, title: str, fields: tuple[Field, ...], note: str = "") -> Table:
    """Return one list of ``validation.json`` as a table."""
    return Table(name, title, fields, located(found[key], f"{VALIDATION}.json#/{key}"), note)


def save_figures(found: dict[str, Any], directory: Path) -> list[Path]:
    """Write the figures and return their files."""
    return [file for p in pictures(found) for file in drawing.save(p.figure(SIMULATION), directory, p.name)]


def _draw_efficiency(points: list[dict[str, Any]], axes: Axes) -> None:
    mass = [p["m_majorana"] for p in points]
    axes.plot(mass, [100 * p["published"] for p in points], "o", color=drawing.DATA, label="published")
    axes.plot(mass, [100 * p["efficiency"] for p in points], color=drawing.SIGNAL, label="all permutations")
    axes.plot(mass, [100 * p["efficiency_one"] for p in points], "--", color=drawing.SIGNAL, label="one permutation")
    axes.set_xlabel(M_NU_LABEL)
    axes.set_ylabel("Efficiency [%]")
    axes.set_ylim(bottom=0)
    axes.legend()


def _draw_single(rows: list[dict[str, Any]], axes: Axes) -> None:
    for species, color in (("pi", drawing.DATA), ("p", drawing.SIGNAL)):
        own = [row for row in rows if row["species"] == species]
        momentum = [row["momentum"] for row in own]
        axes.plot(momentum, [100 * row["published"] for row in own], "o", color=color, label=f"{species}, BOSS")
        axes.plot(momentum, [100 * row["got"] for row in own], color=color, label=f"{species}, fast simulation")
    axes.set_xlabel(r"$p$ [GeV/$c$]")
    axes.set_ylabel("Tracks found [%]")
    axes.legend()


def _draw_identification(rows: list[dict[str, Any]], axes: Axes) -> None:
    """Draw what a species is read as; shares of zero have no place on the axis."""
    for species in dict.fromkeys(row["species"] for row in rows):
        own = [row for row in rows if row["species"] == species]
        momentum = [(row["p_min"] + row["p_max"]) / 2 for row in own]
        for key, line in (("as_electron", "-"), ("as_kaon", "--")):
            shares = np.array([row[key] for row in own])
            if shares.any():
                shown = np.where(shares > 0, shares, np.nan)
                axes.plot(momentum, shown, f"o{line}", label=f"{species} {key.replace('_', ' ')}")
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 3.0)
    axes.set_xlabel(r"$p$ [GeV/$c$]")
    axes.set_ylabel("Share of the tracks")
    axes.legend(ncols=2, fontsize="x-small")
