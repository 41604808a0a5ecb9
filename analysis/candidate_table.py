"""The table of selected candidates that travels with the accumulator."""

from __future__ import annotations

from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.events.schema import EVENT
from jpsi_lnv.analysis.kinfit.hypotheses import smallest_by_name
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection.search_events import SearchEvents

# Names of the four tracks of a candidate, in the order of its track indices.
TRACKS: Final = ("k1", "k2", "e1", "e2")
_TYPES: Final = {column.name: column.dtype for column in EVENT}
# Fitted masses of kaon i and electron j, one way to pair them after the other.
M_KE: Final = ("m_k1e1", "m_k2e2", "m_k1e2", "m_k2e1")


def make(view: SearchEvents, is_selected: BoolArray) -> dict[str, AnyArray]:
    """Return one row per selected event.

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
    masses = dict(zip(M_KE, view.m_ke[chosen].T, strict=True))
    chi2 = {f"chi2_{name}": values for name, values in smallest_by_name(best.chi2).items()}
    charge = {"charge": view.charge[of[:, 0]]}
    return scalars | charge | {"m_kkee": view.best_m_kkee[chosen]} | masses | chi2 | _track_columns(view, of)


def _scalar(view: SearchEvents, name: str, event: IntArray) -> AnyArray:
    """Return an event scalar of the chosen events; a chunk without any does not read it."""
    return view.columns.scalar(name)[event] if len(event) else np.empty(0, dtype=_TYPES[name])


def sort(table: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the table sorted by run and event: its order does not depend on how chunks were merged."""
    order = np.lexsort((table["event"], table["run"])) if table else slice(None)
    return {name: values[order] for name, values in table.items()}


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
