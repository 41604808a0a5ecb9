"""What the search finds in a chunk: cut flow, histograms, status of the fits, candidates; and so under variations.

Every axis is declared once. Storage is Int64: unweighted counts add up exactly, so that any chunking and any executor
give equal histograms. Masses of the KKee system are scaled by m(J/psi)/sqrt(s), which leaves J/psi data alone and
brings continuum data into the same window. Units: GeV/c^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import variations
from jpsi_lnv.analysis.events.schema import EVENT, HELIX
from jpsi_lnv.analysis.kinfit.fourc import CHI2_MAX
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection import conversion
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.search_events import READS, SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, STAGES, apply, depth, passes_all_but

ROLES: Final = ("electron", "kaon")
# Bins of unit width.
N_CHI2: Final = round(CHI2_MAX)

M_KKEE: Final = hist.axis.Regular(400, 2.9, 3.3, name="m_kkee", label=r"$M(K^\pm K^\pm e^\mp e^\mp)$ [GeV/$c^2$]")
M_KKEE_COARSE: Final = hist.axis.Regular(80, 2.9, 3.3, name="m_kkee", label=r"$M(K^\pm K^\pm e^\mp e^\mp)$ [GeV/$c^2$]")
M_KE: Final = hist.axis.Regular(440, 0.4, 2.6, name="m_ke", label=r"$M(K^\pm e^\mp)$, fitted [GeV/$c^2$]")
CHI2_4C: Final = hist.axis.Regular(N_CHI2, 0.0, CHI2_MAX, name="chi2_4c", label=r"$\chi^2_\mathrm{4C}(KKee)$")
CHI2_DIFFERENCE: Final = hist.axis.Regular(
    2 * N_CHI2,
    -CHI2_MAX,
    CHI2_MAX,
    name="chi2_difference",
    label=r"smallest alternative $\chi^2_\mathrm{4C}$ - $\chi^2_\mathrm{4C}(KKee)$",
)
CONVERSION_RADIUS: Final = hist.axis.Regular(60, 0.0, 30.0, name="conversion_radius", label="conversion radius [cm]")
# Of pairs of an electron and a track of the other charge: what makes a conversion.
OF_CONVERSIONS: Final = (
    hist.axis.Regular(80, -2.0, 2.0, name="delta_xy", label="gap of the circles [cm]"),
    hist.axis.Regular(60, 0.0, 30.0, name="radius", label="radius of the pair [cm]"),
    hist.axis.Regular(60, 0.0, 0.3, name="m_ee", label=r"$m(ee)$ [GeV/$c^2$]"),
)
E_OVER_P: Final = hist.axis.Regular(150, 0.0, 1.5, name="e_over_p", label=r"$E/p$ [$c$]")
CONFIDENCE_LEVEL: Final = hist.axis.Regular(
    100, 0.0, 1.0, name="confidence_level", label="confidence level of its role"
)
DEDX_CHI: Final = hist.axis.Regular(120, -6.0, 6.0, name="dedx_chi", label=r"$\chi$ of dE/dx under its role")
ROLE: Final = hist.axis.StrCategory(ROLES, name="role", label="role")


# The stages have fixed categories, so that merging cannot reorder them.
STAGE: Final = hist.axis.StrCategory(STAGES, name="stage", label="after")

# Names of the four tracks of a candidate, in the order of its track indices.
TRACKS: Final = ("k1", "k2", "e1", "e2")
# The variation without corrections of helices.
HELIX_UNCORRECTED: Final = "helix_uncorrected"
_TYPES: Final = {column.name: column.dtype for column in EVENT}
# Fitted masses of kaon i and electron j, one way to pair them after the other.
M_KE_NAMES: Final = ("m_k1e1", "m_k2e2", "m_k1e2", "m_k2e1")


def select(chunk: Chunk) -> dict[str, Found]:
    """Return cut flow, histograms, fit status and candidates of J/psi -> K+ K+ e- e- + c.c."""
    view, decisions = chunk.events, chunk.decisions
    selected, is_recorded = np.all(decisions, axis=0), chunk.metadata.is_recorded_kind
    return {
        datasets.SEARCH: {
            "cutflow": chunk.cut_flow(SECTION_III, decisions),
            "histograms": fill(view, decisions),
            "status": view.fit_status,
            "candidates": candidates(view, selected) | (display(view, selected) if is_recorded else {}),
        }
    }


def select_varied(chunk: Chunk) -> dict[str, Found]:
    """Return the cut flow under every variation of the tracks, as ``search_<variation>``; what stays is read once.

    Where helices are corrected, ``search_helix_uncorrected`` is the one without.
    """
    view = chunk.events
    varied = {name: view.like(columns) for name, columns in variations(view.columns).items()}
    if view.correction is not None:
        varied[HELIX_UNCORRECTED] = SearchEvents(view.columns, view.cuts, view.sqrt_s, view.calibration.without_helix())
    return {
        f"{datasets.SEARCH}_{name}": {"cutflow": chunk.cut_flow(SECTION_III, apply(SECTION_III, of))}
        for name, of in varied.items()
    }


def book() -> dict[str, hist.Hist]:
    """Return the empty histograms of the search for one dataset.

    Returns:
        Name -> histogram. `n_minus_1_<step>` holds the variable of a step after all other steps, and
        `conversion_<variable>` a variable of the conversion veto after all other steps.
    """
    int64 = hist.storage.Int64
    return {
        "m_kkee": hist.Hist(STAGE, M_KKEE, storage=int64()),
        "m_ke": hist.Hist(STAGE, M_KE, storage=int64()),
        "chi2_4c": hist.Hist(STAGE, CHI2_4C, storage=int64()),
        "chi2_4c_m_kkee": hist.Hist(CHI2_4C, M_KKEE_COARSE, storage=int64()),
        "e_over_p": hist.Hist(ROLE, E_OVER_P, storage=int64()),
        "confidence_level": hist.Hist(ROLE, CONFIDENCE_LEVEL, storage=int64()),
        "dedx_chi": hist.Hist(ROLE, DEDX_CHI, storage=int64()),
        "n_minus_1_alternative_hypotheses": hist.Hist(CHI2_DIFFERENCE, storage=int64()),
        "n_minus_1_chi2_4c": hist.Hist(CHI2_4C, storage=int64()),
        "n_minus_1_conversion_veto": hist.Hist(CONVERSION_RADIUS, storage=int64()),
        "n_minus_1_signal_region": hist.Hist(M_KKEE, storage=int64()),
        **book_conversions(),
    }


def fill(view: SearchEvents, decisions: BoolArray) -> dict[str, hist.Hist]:
    """Return the histograms of a chunk.

    Args:
        view: The events.
        decisions: Every step's decision on every event, shape (steps, events).
    """
    filled, best = book(), view.best
    if not len(best.event):
        return filled
    of_best = decisions[:, best.event]
    reached = depth(of_best)
    for stage in STAGES:
        ends_here = reached == _index(stage) + 1
        filled["m_kkee"].fill(stage, view.best_m_kkee[ends_here])
        filled["m_ke"].fill(stage, view.m_ke[ends_here].ravel())
        filled["chi2_4c"].fill(stage, best.chi2_4c[ends_here])
    for name in ("m_kkee", "m_ke", "chi2_4c"):
        _add_later_stages(filled[name])
    others = passes_all_but(of_best, [_index("chi2_4c"), _index("signal_region")])
    filled["chi2_4c_m_kkee"].fill(best.chi2_4c[others], view.best_m_kkee[others])
    for step, values in _n_minus_1(view).items():
        rest = passes_all_but(of_best, [_index(step)])
        filled[f"n_minus_1_{step}"].fill(values[rest])
    fill_conversions(filled, view.conversions_of(passes_all_but(of_best, [_index("conversion_veto")])), view.cuts)
    _fill_tracks(filled, view, view.best_tracks[reached > _index(STAGES[0])])
    return filled


def _add_later_stages(histogram: hist.Hist) -> None:
    """Turn the candidates whose last stage it is into those that pass each stage: every later one's pass it too."""
    counts = histogram.view(flow=True)[: len(STAGES)]
    counts[:] = counts[::-1].cumsum(axis=0)[::-1]


def _index(step: str) -> int:
    return [s.name for s in SECTION_III].index(step)


def _n_minus_1(view: SearchEvents) -> dict[str, FloatArray]:
    """Return the variable of every step on candidates, one value per best candidate."""
    return {
        "alternative_hypotheses": view.chi2_difference,
        "chi2_4c": view.best.chi2_4c,
        "conversion_veto": view.conversion_radius,
        "signal_region": view.best_m_kkee,
    }


def book_conversions() -> dict[str, hist.Hist]:
    """Return the empty histograms of the variables of the conversion veto, `conversion_<variable>`."""
    return {f"conversion_{axis.name}": hist.Hist(axis, storage=hist.storage.Int64()) for axis in OF_CONVERSIONS}


def fill_conversions(filled: Mapping[str, hist.Hist], pairs: conversion.Pairs, cuts: Cuts) -> None:
    """Fill each variable of the veto with the pairs that the requirements before it take for conversions."""
    for name, values in conversion.in_turn(pairs, cuts).items():
        filled[f"conversion_{name}"].fill(values)


def _fill_tracks(filled: dict[str, hist.Hist], view: SearchEvents, tracks: IntArray) -> None:
    for role, species, columns in (("kaon", Species.K, slice(0, 2)), ("electron", Species.E, slice(2, 4))):
        chosen = tracks[:, columns].ravel()
        filled["e_over_p"].fill(role, view.e_over_p[chosen])
        filled["confidence_level"].fill(role, view.identification.cl[view.row_of_track[chosen], species])
        is_measured = view.columns.flat("Track", "dedx_n_hits")[chosen] > 0
        chi = view.columns.flat("Track", f"dedx_chi_{species.name.lower()}")[chosen]
        filled["dedx_chi"].fill(role, chi[is_measured])


def candidates(view: SearchEvents, is_selected: BoolArray) -> dict[str, AnyArray]:
    """Return columns with one row per selected event.

    Columns: run, event, period; charge of the kaons; m_kkee, measured and scaled by m(J/psi)/sqrt(s), and the fitted
    masses m_k1e1 … m_k2e1 in GeV/c^2; chi2_kkee and the smallest chi2 of each other hypothesis; per track k1, k2,
    e1, e2 the measured p in GeV/c, cos_theta, e_over_p and the confidence levels cl_e, cl_pi, cl_k.

    Args:
        view: The events.
        is_selected: Events to store, shape (events,); each must have a best candidate.
    """
    chosen = is_selected[view.best.event]
    best, of = view.best[chosen], view.best_tracks[chosen]
    scalars = {name: _scalar(view, name, best.event) for name in ("run", "event", "period")}
    masses = dict(zip(M_KE_NAMES, view.m_ke[chosen].T, strict=True))
    chi2 = {f"chi2_{name}": values for name, values in KKEE.smallest_by_name(best.chi2).items()}
    charge = {"charge": view.charge[of[:, 0]]}
    if view.vertices is not None:
        chi2["chi2_vertex"] = view.vertices.chi2[best.row]
    return scalars | charge | {"m_kkee": view.best_m_kkee[chosen]} | masses | chi2 | _track_columns(view, of)


def display(view: SearchEvents, is_selected: BoolArray) -> dict[str, AnyArray]:
    """Return what a display of each selected event needs besides, for the few events of the data.

    Columns: interaction point ip_x, ip_y, ip_z in cm and field in T; per track k1, k2, e1, e2 its helix at the pivot
    (0, 0, 0), dr_, phi0_, kappa_, dz_, tanl_; per electron of the pair with the smallest m(ee) delta_xy_ and radius_ in
    cm and m_ee_ in GeV/c^2, NaN without a track of the other charge.

    Args:
        view: The events.
        is_selected: Events to store, shape (events,); each must have a best candidate.
    """
    chosen = is_selected[view.best.event]
    of, event = view.best_tracks[chosen], view.best.event[chosen]
    columns: dict[str, AnyArray] = {name: _scalar(view, name, event) for name in ("ip_x", "ip_y", "ip_z", "field")}
    for i, name in enumerate(TRACKS):
        columns |= {f"{parameter}_{name}": view.columns.flat("Track", parameter)[of[:, i]] for parameter in HELIX}
    for i, name in enumerate(TRACKS[2:], 2):
        pairs = conversion.nearest(view.conversions, of[:, i])
        columns |= {f"{variable}_{name}": values for variable, values in pairs.items()}
    return columns


def _scalar(view: SearchEvents, name: str, event: IntArray) -> AnyArray:
    """Return an event scalar of the chosen events; a chunk without any does not read it."""
    return view.columns.scalar(name)[event] if len(event) else np.empty(0, dtype=_TYPES[name])


def _track_columns(view: SearchEvents, of: IntArray) -> dict[str, FloatArray]:
    kappa, tanl = view.columns.flat("Track", "kappa"), view.columns.flat("Track", "tanl")
    columns: dict[str, FloatArray] = {}
    for i, name in enumerate(TRACKS):
        at = of[:, i]
        columns[f"p_{name}"] = tracks.momentum(kappa[at], tanl[at])
        columns[f"cos_theta_{name}"] = tracks.cos_theta(tanl[at])
        columns[f"e_over_p_{name}"] = view.e_over_p[at]
        for species, label in enumerate(("cl_e", "cl_pi", "cl_k")):
            columns[f"{label}_{name}"] = view.identification.cl[view.row_of_track[at], species]
    return columns


SEARCH: Final = Selection(select, READS)
VARIATIONS: Final = Selection(select_varied, READS)
