"""What the background estimate stores per chunk: maps of what tracks are taken for, and candidates without PID."""

from __future__ import annotations

from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.candidate_table import M_KE, TRACKS
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection.misidentified import ROLES, SPECIES, MisidentifiedEvents, roles, true_species
from jpsi_lnv.analysis.selection.search_events import SearchEvents

SPECIES_AXIS: Final = hist.axis.StrCategory(SPECIES, name="species", label="generated species")
ROLE_AXIS: Final = hist.axis.StrCategory(ROLES, name="role", label="taken for")
P: Final = hist.axis.Variable(
    [0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6], name="p", label="$p$ [GeV/$c$]"
)
ABS_COS_THETA: Final = hist.axis.Variable([0.0, 0.4, 0.8, 0.93], name="abs_cos_theta", label=r"$|\cos\theta|$")


def maps(columns: Columns, view: SearchEvents) -> hist.Hist:
    """Return how often a track of each species, momentum and angle is taken for an electron or a kaon."""
    filled = hist.Hist(SPECIES_AXIS, P, ABS_COS_THETA, ROLE_AXIS, storage=hist.storage.Int64())
    counts, role = roles(view)
    kappa, tanl = columns.flat("Track", "kappa")[counts], columns.flat("Track", "tanl")[counts]
    species = np.array(SPECIES)[true_species(columns)[counts]]
    cos_theta = np.abs(tracks.cos_theta(tanl))
    filled.fill(species, tracks.momentum(kappa, tanl), cos_theta, np.array(ROLES)[role[counts]])
    return filled


def table(columns: Columns, view: MisidentifiedEvents) -> dict[str, AnyArray]:
    """Return one row per chosen candidate: run, event, chi2, masses; per track p, |cos theta| and species."""
    chosen = view.is_chosen
    best = view.best[chosen]
    kappa, tanl = columns.flat("Track", "kappa"), columns.flat("Track", "tanl")
    species = true_species(columns)
    rows: dict[str, AnyArray] = {name: columns.scalar(name)[best.event] for name in ("run", "event")}
    rows |= {"chi2_4c": best.chi2_4c, "m_kkee": view.best_m_kkee[chosen]}
    rows |= dict(zip(M_KE, view.m_ke[chosen].T, strict=True))
    for i, name in enumerate(TRACKS):
        at = view.best_tracks[chosen, i]
        rows[f"p_{name}"] = tracks.momentum(kappa[at], tanl[at])
        rows[f"abs_cos_theta_{name}"] = np.abs(tracks.cos_theta(tanl[at]))
        rows[f"species_{name}"] = species[at]
    return rows
