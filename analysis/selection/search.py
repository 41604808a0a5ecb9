"""What the search finds in a chunk: cut flow, histograms, status of the fits, candidates; and so under variations.

Every axis is declared once; names of masses, tracks and roles follow from the decay, such as `m_kkee`, `k1` and `kaon`.
Storage is Int64: unweighted counts add up exactly, so that any chunking and any executor give equal histograms. Masses
of all particles are scaled by m(J/psi)/sqrt(s), which leaves J/psi data alone and brings continuum data into the same
window. Units: GeV/c^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.channel import WORDS, Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import variations
from jpsi_lnv.analysis.events.schema import EVENT, HELIX
from jpsi_lnv.analysis.kinematics import invariant_mass
from jpsi_lnv.analysis.kinfit.fourc import CHI2_MAX
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection import conversion
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.search_events import READS, SearchEvents
from jpsi_lnv.analysis.selection.steps import STAGES, apply, depth, of_channel, passes_all_but

# Bins of unit width.
N_CHI2: Final = round(CHI2_MAX)

N_MASS, N_MASS_COARSE = 400, 80

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
# The stages have fixed categories, so that merging cannot reorder them.
STAGE: Final = hist.axis.StrCategory(STAGES, name="stage", label="after")

# The variation without corrections of helices.
HELIX_UNCORRECTED: Final = "helix_uncorrected"
_TYPES: Final = {column.name: column.dtype for column in EVENT}


def mass_axis(channel: Channel, n: int = N_MASS) -> hist.axis.Regular:
    """Return the axis of the mass of all particles."""
    return hist.axis.Regular(n, 2.9, 3.3, name=channel.mass, label=f"$M({channel.latex_signed})$ [GeV/$c^2$]")


def pair_axis(channel: Channel) -> hist.axis.Regular:
    """Return the axis of the masses of the channel's pairs."""
    of_pair = channel.signed_latex(channel.pairs[0])
    return hist.axis.Regular(440, 0.4, 2.6, name=channel.pair, label=f"$M({of_pair})$, fitted [GeV/$c^2$]")


def chi2_axis(channel: Channel) -> hist.axis.Regular:
    """Return the axis of chi2 of the 4C fit."""
    label = rf"$\chi^2_\mathrm{{{channel.fit_name}}}({channel.latex})$"
    return hist.axis.Regular(N_CHI2, 0.0, CHI2_MAX, name="chi2_4c", label=label)


def chi2_difference_axis(channel: Channel) -> hist.axis.Regular:
    """Return the axis of the difference of chi2 to the best alternative."""
    fit = channel.fit_name
    label = rf"smallest alternative $\chi^2_\mathrm{{{fit}}}$ - $\chi^2_\mathrm{{{fit}}}({channel.latex})$"
    return hist.axis.Regular(2 * N_CHI2, -CHI2_MAX, CHI2_MAX, name="chi2_difference", label=label)


def role_axis(channel: Channel) -> hist.axis.StrCategory:
    """Return the axis of what a track is taken for."""
    return hist.axis.StrCategory([WORDS[s].word for s in channel.kinds], name="role", label="role")


def select(chunk: Chunk) -> dict[str, Found]:
    """Return cut flow, histograms, fit status and candidates of the decay that is searched for."""
    view, decisions = chunk.events, chunk.decisions
    selected, is_recorded = np.all(decisions, axis=0), chunk.metadata.is_recorded_kind
    return {
        datasets.SEARCH: {
            "cutflow": chunk.cut_flow(chunk.steps, decisions),
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
        f"{datasets.SEARCH}_{name}": {"cutflow": chunk.cut_flow(chunk.steps, apply(chunk.steps, of))}
        for name, of in varied.items()
    }


def book(channel: Channel) -> dict[str, hist.Hist]:
    """Return the empty histograms of the search for a decay in one dataset.

    Returns:
        Name -> histogram. `n_minus_1_<step>` holds the variable of a step after all other steps, and
        `conversion_<variable>` a variable of the conversion veto after all other steps.
    """
    mass, chi2, role = mass_axis(channel), chi2_axis(channel), role_axis(channel)
    axes: dict[str, tuple[Any, ...]] = {
        channel.mass: (STAGE, mass),
        **({channel.pair: (STAGE, pair_axis(channel))} if channel.pairs else {}),
        "chi2_4c": (STAGE, chi2),
        plane(channel): (chi2, mass_axis(channel, N_MASS_COARSE)),
        "e_over_p": (role, E_OVER_P),
        "confidence_level": (role, CONFIDENCE_LEVEL),
        "dedx_chi": (role, DEDX_CHI),
        "n_minus_1_alternative_hypotheses": (chi2_difference_axis(channel),),
        "n_minus_1_chi2_4c": (chi2,),
        "n_minus_1_conversion_veto": (CONVERSION_RADIUS,),
        "n_minus_1_signal_region": (mass,),
    }
    return {name: hist.Hist(*of, storage=hist.storage.Int64()) for name, of in axes.items()} | book_conversions()


def plane(channel: Channel) -> str:
    """Return the name of the histogram of chi2 against the mass after all other steps."""
    return f"chi2_4c_{channel.mass}"


def fill(view: SearchEvents, decisions: BoolArray) -> dict[str, hist.Hist]:
    """Return the histograms of a chunk.

    Args:
        view: The events.
        decisions: Every step's decision on every event, shape (steps, events).
    """
    channel, best = view.channel, view.best
    filled = book(channel)
    if not len(best.event):
        return filled
    of_best = decisions[:, best.event]
    reached = depth(of_best)
    for stage in STAGES:
        ends_here = reached == _index(channel, stage) + 1
        filled[channel.mass].fill(stage, view.best_mass[ends_here])
        if channel.pairs:
            filled[channel.pair].fill(stage, view.pair_masses[ends_here].ravel())
        filled["chi2_4c"].fill(stage, best.chi2_4c[ends_here])
    for histogram in filled.values():
        if STAGE.name in histogram.axes.name:
            _add_later_stages(histogram)
    others = passes_all_but(of_best, [_index(channel, "chi2_4c"), _index(channel, "signal_region")])
    filled[plane(channel)].fill(best.chi2_4c[others], view.best_mass[others])
    for step, values in _n_minus_1(view).items():
        rest = passes_all_but(of_best, [_index(channel, step)])
        filled[f"n_minus_1_{step}"].fill(values[rest])
    before_veto = passes_all_but(of_best, [_index(channel, "conversion_veto")])
    fill_conversions(filled, view.conversions_of(before_veto), view.cuts)
    _fill_tracks(filled, view, view.best_tracks[reached > _index(channel, STAGES[0])])
    return filled


def _add_later_stages(histogram: hist.Hist) -> None:
    """Turn the candidates whose last stage it is into those that pass each stage: every later one's pass it too."""
    counts = histogram.view(flow=True)[: len(STAGES)]
    counts[:] = counts[::-1].cumsum(axis=0)[::-1]


def _index(channel: Channel, step: str) -> int:
    return [s.name for s in of_channel(channel)].index(step)


def _n_minus_1(view: SearchEvents) -> dict[str, FloatArray]:
    """Return the variable of every step on candidates, one value per best candidate."""
    return {
        "alternative_hypotheses": view.chi2_difference,
        "chi2_4c": view.best.chi2_4c,
        "conversion_veto": view.conversion_radius,
        "signal_region": view.best_mass,
    }


def book_conversions() -> dict[str, hist.Hist]:
    """Return the empty histograms of the variables of the conversion veto, `conversion_<variable>`."""
    return {f"conversion_{axis.name}": hist.Hist(axis, storage=hist.storage.Int64()) for axis in OF_CONVERSIONS}


def fill_conversions(filled: Mapping[str, hist.Hist], pairs: conversion.Pairs, cuts: Cuts) -> None:
    """Fill each variable of the veto with the pairs that the requirements before it take for conversions."""
    for name, values in conversion.in_turn(pairs, cuts).items():
        filled[f"conversion_{name}"].fill(values)


def _fill_tracks(filled: dict[str, hist.Hist], view: SearchEvents, tracks: IntArray) -> None:
    for species in view.channel.kinds:
        role = WORDS[species].word
        chosen = tracks[:, np.array(view.channel.species) == species].ravel()
        filled["e_over_p"].fill(role, view.e_over_p[chosen])
        filled["confidence_level"].fill(role, view.identification.cl[view.row_of_track[chosen], species])
        is_measured = view.columns.flat("Track", "dedx_n_hits")[chosen] > 0
        chi = view.columns.flat("Track", f"dedx_chi_{species.name.lower()}")[chosen]
        filled["dedx_chi"].fill(role, chi[is_measured])


def candidates(view: SearchEvents, is_selected: BoolArray) -> dict[str, AnyArray]:
    """Return columns with one row per selected event.

    Columns: run, event, period; charge of the first track; the mass of all particles (m_kkee), measured and scaled by
    m(J/psi)/sqrt(s), and the fitted masses of pairs (m_k1e1 … m_k2e1) in GeV/c^2; chi2 of the decay (chi2_kkee) and the
    smallest of each other hypothesis; per track (k1, k2, e1, e2) the measured p in GeV/c, cos_theta, e_over_p and the
    confidence levels cl_e, cl_pi, cl_k. Measured, too: masses of intermediate particles (m_gamma1gamma2) in GeV/c^2,
    and per photon (gamma1) its energy e in GeV and cos_theta.

    Args:
        view: The events.
        is_selected: Events to store, shape (events,); each must have a best candidate.
    """
    channel, chosen = view.channel, is_selected[view.best.event]
    best, of = view.best[chosen], view.best_tracks[chosen]
    scalars = {name: _scalar(view, name, best.event) for name in ("run", "event", "period")}
    masses = dict(zip(channel.pair_names, view.pair_masses[chosen].T, strict=True))
    chi2 = {f"chi2_{name}": values for name, values in channel.smallest_by_name(best.chi2).items()}
    charge = {"charge": view.charge[of[:, 0]]}
    if view.vertices is not None:
        chi2["chi2_vertex"] = view.vertices.chi2[best.row]
    measured = {channel.mass: view.best_mass[chosen]} | masses | _neutral_columns(view, chosen)
    return scalars | charge | measured | chi2 | _track_columns(view, of)


def _neutral_columns(view: SearchEvents, chosen: BoolArray) -> dict[str, FloatArray]:
    """Return measured masses of intermediates, energies and directions of photons of chosen best candidates."""
    channel, first = view.channel, len(view.channel.slots)
    if not channel.n_photons and not channel.intermediates:
        return {}
    p4, masses = view.best_p4[chosen], zip(channel.intermediates, channel.constraints.masses, strict=True)
    columns = {f"m_{''.join(m.particles)}": invariant_mass(p4[:, list(of.places)].sum(axis=1)) for m, of in masses}
    for name, photon in zip(channel.particles[first:], p4.swapaxes(0, 1)[first:], strict=True):
        columns |= {f"e_{name}": photon[:, 3], f"cos_theta_{name}": photon[:, 2] / photon[:, 3]}
    return columns


def display(view: SearchEvents, is_selected: BoolArray) -> dict[str, AnyArray]:
    """Return what a display of each selected event needs besides, for the few events of the data.

    Columns: interaction point ip_x, ip_y, ip_z in cm and field in T; per track (k1, k2, e1, e2) its helix at the pivot
    (0, 0, 0), dr_, phi0_, kappa_, dz_, tanl_; per electron of the pair with the smallest m(ee) delta_xy_ and radius_ in
    cm and m_ee_ in GeV/c^2, NaN without a track of the other charge.

    Args:
        view: The events.
        is_selected: Events to store, shape (events,); each must have a best candidate.
    """
    chosen = is_selected[view.best.event]
    of, event = view.best_tracks[chosen], view.best.event[chosen]
    columns: dict[str, AnyArray] = {name: _scalar(view, name, event) for name in ("ip_x", "ip_y", "ip_z", "field")}
    for i, name in enumerate(view.channel.tracks):
        columns |= {f"{parameter}_{name}": view.columns.flat("Track", parameter)[of[:, i]] for parameter in HELIX}
    for i, species in enumerate(view.channel.species):
        if species == Species.E:
            pairs = conversion.nearest(view.conversions, of[:, i])
            columns |= {f"{variable}_{view.channel.tracks[i]}": values for variable, values in pairs.items()}
    return columns


def _scalar(view: SearchEvents, name: str, event: IntArray) -> AnyArray:
    """Return an event scalar of the chosen events; a chunk without any does not read it."""
    return view.columns.scalar(name)[event] if len(event) else np.empty(0, dtype=_TYPES[name])


def _track_columns(view: SearchEvents, of: IntArray) -> dict[str, FloatArray]:
    kappa, tanl = view.columns.flat("Track", "kappa"), view.columns.flat("Track", "tanl")
    columns: dict[str, FloatArray] = {}
    for i, name in enumerate(view.channel.tracks):
        at = of[:, i]
        columns[f"p_{name}"] = tracks.momentum(kappa[at], tanl[at])
        columns[f"cos_theta_{name}"] = tracks.cos_theta(tanl[at])
        columns[f"e_over_p_{name}"] = view.e_over_p[at]
        for species in view.channel.hypotheses:
            columns[f"cl_{species.name.lower()}_{name}"] = view.identification.cl[view.row_of_track[at], species]
    return columns


SEARCH: Final = Selection(select, READS)
VARIATIONS: Final = Selection(select_varied, READS)
