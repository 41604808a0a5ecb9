"""Background candidates without identification: every track may be taken for what its charge allows.

A simulated background passes the identification too rarely to be counted. So the kinematic part of the selection runs
on it as if every identified track were a kaon of one charge or an electron of the other, and the chance of that is a
weight: the product over the tracks of misidentification probabilities, measured on all simulated tracks of that
species, momentum and angle. Needs the generated particles.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, IntArray
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.objects import pid
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, apply, passes_all_but

# Generated species by PDG code, in the order of the axis; the last one is all the rest.
SPECIES: Final = ("e", "mu", "pi", "k", "p", "other")
PDG_CODES: Final = (11, 13, 211, 321, 2212)
ROLES: Final = ("none", "electron", "kaon")
NO_PARTICLE: Final = -1
# Steps whose requirements are chosen again from the stored candidates.
OPEN_STEPS: Final = tuple(i for i, step in enumerate(SECTION_III) if step.name in {"chi2_4c", "signal_region"})


class MisidentifiedEvents(SearchEvents):
    """A view in which every identified track is a kaon candidate of one charge and an electron one of the other.

    Args:
        columns: The chunk's columns.
        cuts: The requirements.
        sqrt_s: Centre-of-mass energy in GeV.
        kaon_charge: Charge of the kaons, 1 or -1.
    """

    def __init__(self, columns: Columns, cuts: Cuts, sqrt_s: float, kaon_charge: int) -> None:
        super().__init__(columns, cuts, sqrt_s)
        self.kaon_charge = kaon_charge

    @cached_property
    def is_examined(self) -> BoolArray:
        """All identified tracks: each is taken for a kaon or an electron."""
        return self.is_identified

    @cached_property
    def is_kaon(self) -> BoolArray:
        """Identified tracks of the kaons' charge."""
        return self.is_identified & (self.charge == self.kaon_charge)

    @cached_property
    def is_electron(self) -> BoolArray:
        """Identified tracks of the other charge."""
        return self.is_identified & (self.charge == -self.kaon_charge)

    @cached_property
    def is_chosen(self) -> BoolArray:
        """Best candidates that pass every step but the requirements on chi2 and the signal region, shape (B,)."""
        return passes_all_but(apply(SECTION_III, self), OPEN_STEPS)[self.best.event]


def true_species(columns: Columns) -> IntArray:
    """Return the generated species of each track as an index of `SPECIES`, shape (tracks,).

    Raises:
        SchemaError: The file has no generated particles.
    """
    offsets = columns.offsets("Track")
    event = np.repeat(np.arange(columns.n_events), np.diff(offsets))
    of_track = columns.flat("Track", "gen").astype(np.int64)
    row = columns.offsets("Gen")[event] + of_track
    codes = np.abs(columns.flat("Gen", "pdg_id"))
    known = of_track != NO_PARTICLE
    code = np.zeros(len(event), dtype=np.int64)
    code[known] = codes[row[known]]
    species = np.full(len(event), len(PDG_CODES))
    for i, wanted in enumerate(PDG_CODES):
        species[code == wanted] = i
    return species


def roles(view: SearchEvents) -> tuple[BoolArray, IntArray]:
    """Return which tracks count for the misidentification maps and what the search takes each for.

    Returns:
        Mask (tracks,) of good tracks with a measurement, in any event, and their index of `ROLES`, (tracks,).
    """
    identification = pid.identify(view.columns, view.cuts)
    counts = view.is_good & (identification.ndof > 0)
    cl, e_over_p, cuts = identification.cl, view.e_over_p, view.cuts
    role = np.zeros(len(counts), dtype=np.int64)
    role[pid.is_electron(cl, e_over_p, cuts)] = ROLES.index("electron")
    role[pid.is_kaon(cl, e_over_p, cuts)] = ROLES.index("kaon")
    return counts, role
