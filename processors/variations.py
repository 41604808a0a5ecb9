"""The search under every variation of the tracks, in one pass: what does not change is read and kept once."""

from __future__ import annotations

from typing import Any

import numpy as np
from coffea.processor import ProcessorABC

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.events.varied_columns import variations
from jpsi_lnv.analysis.selection import blinding, steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III


class VariationsProcessor(ProcessorABC):
    """Count what passes the search under every variation; for simulation that is not blind.

    Args:
        cuts: The requirements of the search.
    """

    def __init__(self, cuts: Cuts = SELECTION) -> None:
        self.cuts = cuts

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {"search_<variation>": {"cutflow": ...}}}`` of one chunk.

        Raises:
            FilesetError: The dataset is blind: events would move in and out of the box.
        """
        dataset = events.metadata["dataset"]
        metadata = DatasetMetadata.of_chunk(events.metadata)
        blinding.require_open(dataset, metadata, "variations")
        return {
            dataset: {
                f"search_{name}": self._count(SearchEvents(columns, self.cuts, metadata.sqrt_s))
                for name, columns in variations(ChunkColumns(events)).items()
            }
        }

    @staticmethod
    def _count(view: SearchEvents) -> dict[str, Any]:
        seen = np.ones(view.n_events, dtype=np.bool_)
        return {"cutflow": steps.count(SECTION_III, steps.apply(SECTION_III, view), seen)}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator
