"""The control samples as coffea processors, one each: J/psi -> e+ e- (gamma), pi0 K+ K- and p pbar pi+ pi-.

They run in the same pass as the search, and hide what the search hides: a count that both make of the same events
would tell the number of events in the box otherwise.
"""

from __future__ import annotations

from typing import Any, ClassVar

import hist
from coffea.processor import ProcessorABC

from jpsi_lnv.analysis import control_histograms
from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.selection import blinding, control_steps, steps
from jpsi_lnv.analysis.selection.control_fit import ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import ElectronProbes, KaonProbes
from jpsi_lnv.analysis.selection.steps import Step


class ControlProcessor(ProcessorABC):
    """Select a control sample; what it is made of stands in the subclasses.

    Args:
        cuts: The requirements of the search.
    """

    name: ClassVar[str]
    steps: ClassVar[tuple[Step, ...]]
    view: ClassVar[type]

    def __init__(self, cuts: Cuts = SELECTION) -> None:
        self.cuts = cuts

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {name: {...}}}`` of one chunk: cut flow and histograms."""
        metadata = DatasetMetadata.of_chunk(events.metadata)
        view = self.view(ChunkColumns(events), self.cuts, metadata.sqrt_s)
        is_visible = blinding.is_visible(view.search, metadata)
        output = {
            "cutflow": steps.count(self.steps, steps.apply(self.steps, view), is_visible),
            "histograms": self.fill(view, is_visible),
        }
        return {events.metadata["dataset"]: {self.name: output}}

    def fill(self, view: Any, is_visible: BoolArray) -> dict[str, hist.Hist]:
        """Return the histograms of a chunk."""
        return control_histograms.fill_probes(view, is_visible)

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator


class ElectronControl(ControlProcessor):
    """J/psi -> e+ e- (gamma): tracking and identification of electrons."""

    name = "control_ee"
    steps = control_steps.EE
    view = ElectronProbes


class KaonControl(ControlProcessor):
    """J/psi -> pi0 K+ K-: tracking and identification of kaons."""

    name = "control_kkpi0"
    steps = control_steps.KKPI0
    view = KaonProbes


class FitControl(ControlProcessor):
    """J/psi -> p pbar pi+ pi-: the kinematic fit and the signal region."""

    name = "control_ppbarpipi"
    steps = control_steps.PPBARPIPI
    view = ProtonEvents

    def fill(self, view: ProtonEvents, is_visible: BoolArray) -> dict[str, hist.Hist]:
        """Return the histograms of a chunk."""
        return control_histograms.fill_fit(view, is_visible)
