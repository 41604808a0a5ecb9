"""The search as a coffea processor: the selection of section III on a chunk, into histograms and a candidate table."""

from __future__ import annotations

from typing import Any

from coffea.processor import ProcessorABC

from jpsi_lnv.analysis import candidate_table, histograms
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.selection import blinding, steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.processors.work.rows import Rows

NAME = "search"


class SearchProcessor(ProcessorABC):
    """Select J/psi -> K+ K+ e- e- + c.c. candidates.

    Args:
        cuts: The requirements.
    """

    def __init__(self, cuts: Cuts = SELECTION) -> None:
        self.cuts = cuts

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {"search": {...}}}`` of one chunk: cut flow, histograms, fit status, candidates."""
        dataset = events.metadata["dataset"]
        metadata = DatasetMetadata.of_chunk(events.metadata)
        view = SearchEvents(ChunkColumns(events), self.cuts, metadata.sqrt_s)
        decisions = steps.apply(SECTION_III, view)
        is_visible = blinding.is_visible(view, metadata)
        output = {
            "cutflow": steps.count(SECTION_III, decisions, is_visible),
            "histograms": histograms.fill(view, decisions, is_visible),
            "status": view.fit_status(is_visible),
            "candidates": Rows(candidate_table.make(view, decisions.all(axis=0) & is_visible)),
        }
        return {dataset: {NAME: output}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator
