"""The decay chains of simulated events that the search selects, or that fail one of its steps only."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from coffea.processor import ProcessorABC

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import TOPOLOGY, DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.selection import blinding, steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.analysis.topology import PASSED, chains
from jpsi_lnv.processors.work.rows import Rows

NAMES: Final = np.array([step.name for step in SECTION_III])


class TopologyProcessor(ProcessorABC):
    """List decay chains; needs the generated particles.

    Args:
        cuts: The requirements of the search.
    """

    def __init__(self, cuts: Cuts = SELECTION) -> None:
        self.cuts = cuts

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {"topology": {...}}}`` of one chunk: run, event, failed step and chain of the events.

        Raises:
            FilesetError: The dataset is blind.
        """
        metadata = DatasetMetadata.of_chunk(events.metadata)
        blinding.require_open(events.metadata["dataset"], metadata, TOPOLOGY)
        columns = ChunkColumns(events)
        view = SearchEvents(columns, self.cuts, metadata.sqrt_s)
        decisions = steps.apply(SECTION_III, view)
        n_failed = np.count_nonzero(~decisions, axis=0)
        chosen = np.flatnonzero(n_failed <= 1)
        failed = np.where(n_failed[chosen] == 0, PASSED, NAMES[np.argmin(decisions[:, chosen], axis=0)])
        rows = {
            "run": columns.scalar("run")[chosen],
            "event": columns.scalar("event")[chosen],
            "failed": failed.astype(np.str_),
            "decay": np.array(chains(columns, chosen), dtype=np.str_),
        }
        output = {
            "cutflow": {"all": columns.n_events, "stored": len(chosen)},
            "candidates": Rows(rows),
        }
        return {events.metadata["dataset"]: {TOPOLOGY: output}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator
