"""The processor of the background estimate: candidates without identification, and misidentification maps."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from coffea.processor import ProcessorABC

from jpsi_lnv.analysis import misidentification
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.selection import blinding
from jpsi_lnv.analysis.selection.misidentified import MisidentifiedEvents
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.processors.work.rows import Rows

NAME: Final = "misid"
KAON_CHARGES: Final = (1, -1)


class MisidProcessor(ProcessorABC):
    """Select simulated background without identification.

    Args:
        cuts: The requirements of the search.
    """

    def __init__(self, cuts: Cuts = SELECTION) -> None:
        self.cuts = cuts

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {"misid": {...}}}`` of one chunk: counts, maps and candidates.

        Raises:
            FilesetError: The dataset is blind.
        """
        columns, metadata = ChunkColumns(events), DatasetMetadata.of_chunk(events.metadata)
        blinding.require_open(events.metadata["dataset"], metadata, NAME)
        sqrt_s = metadata.sqrt_s
        views = [MisidentifiedEvents(columns, self.cuts, sqrt_s, charge) for charge in KAON_CHARGES]
        tables = [misidentification.table(columns, view) for view in views]
        merged = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
        output = {
            "cutflow": {"all": columns.n_events, "kinematic_candidates": len(merged["run"])},
            "histograms": {"roles": misidentification.maps(columns, SearchEvents(columns, self.cuts, sqrt_s))},
            "candidates": Rows(merged),
        }
        return {events.metadata["dataset"]: {NAME: output}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator
