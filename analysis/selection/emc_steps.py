"""The selection of the calorimeter's control samples, step by step; the same for electrons and for pions."""

from __future__ import annotations

from typing import Final

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.selection.emc_probes import EmcProbes
from jpsi_lnv.analysis.selection.steps import Step


def four_tracks(events: EmcProbes) -> BoolArray:
    """Four good tracks, two of each charge, and no more."""
    return events.has_four_tracks


def three_tags(events: EmcProbes) -> BoolArray:
    """Three tracks with CL > 0.001 and CL/(CL_e+CL_pi+CL_K) > 0.5 of the species, without the EMC, and its E/p."""
    return events.has_tags


def chi2_4c(events: EmcProbes) -> BoolArray:
    """chi2_4C < 60 with four tracks of the species."""
    return events.passes_fit


def smallest_chi2(events: EmcProbes) -> BoolArray:
    """This chi2 is smaller than that of every assignment without the species."""
    return events.is_smallest


EMC_STEPS: Final = (
    Step("four_tracks", "four good tracks, two of each charge", four_tracks),
    Step("three_tags", "three tags of the species", three_tags),
    Step("chi2_4c", "chi2 of the 4C fit", chi2_4c),
    Step("smallest_chi2", "smallest chi2", smallest_chi2),
)
