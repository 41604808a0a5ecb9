"""The blind box: events whose candidates lie in the signal window are hidden before anything is counted.

An event is hidden as soon as one of its candidates has a mass in the box, whatever its chi2: the box is defined by
measured momenta, before the kinematic fit, so that no choice made later can move an event out of it. The candidates of
the standard selection count whatever cuts a run applies: no two runs with different cuts differ by what the box hides.
Of blind data the columns of the fit are always read, with or without candidates: the list of columns that a run has
read, which its book-keeping shows, does not tell whether there was one.
"""

from __future__ import annotations

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection.search_events import SearchEvents


def in_box(view: SearchEvents) -> BoolArray:
    """Return which events have any candidate in the signal window, shape (events,)."""
    mass, cuts = view.m_kkee, view.cuts
    inside = (mass >= cuts.m_kkee_min) & (mass <= cuts.m_kkee_max)
    hidden = np.zeros(view.n_events, dtype=np.bool_)
    hidden[view.combinations[1][inside]] = True
    return hidden


def is_visible(view: SearchEvents, metadata: DatasetMetadata) -> BoolArray:
    """Return which events of a chunk may be counted: all, or those outside the box where the dataset is blind."""
    if not metadata.is_blind:
        return np.ones(view.n_events, dtype=np.bool_)
    tracks.read_momenta(view.columns, view.frame, chosen=np.empty(0, dtype=np.int64))
    hidden = in_box(view)
    if view.cuts != SELECTION:
        hidden |= in_box(SearchEvents(view.columns, SELECTION, view.sqrt_s))
    return ~hidden


def require_open(dataset: str, metadata: DatasetMetadata, selection: str) -> None:
    """Raise FilesetError for a blind dataset: what a selection counts would tell what the box hides."""
    if metadata.is_blind:
        msg = f"dataset {dataset!r} is blind: the selection {selection!r} is for simulation; take it off its metadata"
        raise FilesetError(msg)
