"""The blind box: events whose candidates lie in the signal window are hidden before anything is counted.

An event is hidden as soon as one of its candidates has a mass in the box, whatever its chi2: the box is defined by
measured momenta, before the kinematic fit, so that no choice made later can move an event out of it. Three things that
a run chooses do not move the box either:

- Its cuts. The box is that of the frozen requirements, the decay among them, and on blind data only those may differ
  that decide on the best candidate alone: which candidates there are, and every step that counts hidden events, stays
  the same.
- The energy. The mass is scaled with the energy that the file records for each event.
- What the fileset calls the events. Recorded ones are blind, or the metadata say why they are not.

Of blind data the columns of the fit are always read, with or without candidates: the list of columns that a run has
read, which its book-keeping shows, does not tell whether there was one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import SQRT_S_TOLERANCE, DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError, LnvError
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.objects import tracks
from jpsi_lnv.analysis.selection.search_events import SearchEvents

# What may differ on blind data: requirements on the best candidate of an event, after its candidates are found.
FREE: Final = frozenset(
    {
        "permutations",
        "chi2_4c_max",
        "conversion_partners",
        "conversion_delta_xy_max",
        "conversion_m_ee_max",
        "conversion_radius_min",
        "conversion_radius_max",
        "m_signal_min",
        "m_signal_max",
    }
)


class BlindingError(LnvError):
    """The box may not be opened, or what was asked for would tell what is in it."""


def in_box(view: SearchEvents, box: Cuts = SELECTION) -> BoolArray:
    """Return which events have any candidate in the signal window, shape (events,).

    Args:
        view: The events.
        box: The requirements whose window it is.
    """
    event = view.combinations[1]
    mass = view.mass * (view.sqrt_s / view.columns.scalar("sqrt_s").astype(np.float64)[event])
    hidden = np.zeros(view.n_events, dtype=np.bool_)
    hidden[event[(mass >= box.m_signal_min) & (mass <= box.m_signal_max)]] = True
    return hidden


def is_hidden(view: SearchEvents, dataset: str, metadata: DatasetMetadata, box: Cuts = SELECTION) -> BoolArray:
    """Return which events of a chunk may not be seen: none, or those in the box where the dataset is blind.

    Args:
        view: The events.
        dataset: Name of their dataset.
        metadata: Its metadata.
        box: The requirements that the box is made of.

    Raises:
        BlindingError: The cuts of the view are not those of the box where they have to be.
        FilesetError: The energy is not that of the file, or the dataset shows recorded events and does not say why.
    """
    if not metadata.is_blind:
        require_reason(int(view.columns.scalar("run").max(initial=0)), dataset, metadata)
        return np.zeros(view.n_events, dtype=np.bool_)
    require_same(view.cuts, dataset, box)
    require_energy(view.columns, dataset, metadata)
    nobody, species = np.empty(0, dtype=np.int64), view.channel.hypotheses
    tracks.read_momenta(view.columns, view.frame, nobody, species=species)
    if view.channel.n_photons:
        view.photons  # noqa: B018 read, as the columns of the fit are
    if view.cuts.vertex_fit != "none":
        tracks.read_helices(view.columns, nobody, None, species)
        tracks.read_points(view.columns, nobody, has_spread=view.cuts.vertex_fit == "beam")
    return in_box(view, box)


def require_same(cuts: Cuts, dataset: str, box: Cuts) -> None:
    """Raise BlindingError, which names them, if cuts differ from those of the box in what is not `FREE`."""
    given, wanted = dataclasses.asdict(cuts), dataclasses.asdict(box)
    fixed = {name: value for name, value in given.items() if name not in FREE}
    if changed := differences({name: wanted[name] for name in fixed}, fixed):
        msg = (
            f"dataset {dataset!r} is blind: {changed} would tell what the box hides; only {', '.join(sorted(FREE))} "
            "may differ from the frozen requirements; restore the others, or run on simulation"
        )
        raise BlindingError(msg)


def require_energy(columns: Columns, dataset: str, metadata: DatasetMetadata) -> None:
    """Raise FilesetError unless every event of the file has about the energy that the fileset gives."""
    recorded = columns.scalar("sqrt_s").astype(np.float64)
    # Written so that an energy that is no number differs.
    if differs := np.flatnonzero(~(np.abs(recorded - metadata.sqrt_s) <= SQRT_S_TOLERANCE)).tolist():
        msg = (
            f"dataset {dataset!r} is blind: got sqrt_s {metadata.sqrt_s:g} GeV from the fileset, its file has "
            f"{recorded[differs[0]]:.5g} GeV; the box moves with the energy: mend the fileset"
        )
        raise FilesetError(msg)


def require_reason(run: int, dataset: str, metadata: DatasetMetadata) -> None:
    """Raise FilesetError if a dataset shows recorded events, whose run numbers are positive, and does not say why.

    Pseudo-data have such numbers too; they are data that the fileset declares to be simulated.

    Args:
        run: The largest run number.
        dataset: Name of the dataset.
        metadata: Its metadata.
    """
    is_pseudo_data = metadata.is_simulation and metadata.is_recorded_kind
    if run > 0 and not (metadata.is_blind or metadata.open_reason or is_pseudo_data):
        msg = (
            f"dataset {dataset!r}: run {run} holds recorded events, as simulated ones have negative runs; got kind "
            f"{metadata.kind!r}, shown whole; wanted blind data (kind 'data' or 'continuum' without 'blind'), or the "
            "reason in words as 'open_reason' of its metadata, which goes into the result"
        )
        raise FilesetError(msg)


def differences(wanted: dict[str, Any], given: dict[str, Any]) -> str:
    """Return which values differ, such as ``chi2_4c_max 20.0 -> 25.0``; empty if none does."""
    names = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
    return ", ".join(f"{n} {wanted.get(n)} -> {given.get(n)}" for n in names)
