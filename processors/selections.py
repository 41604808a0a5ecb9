"""The processor of a run: each dataset goes through the selections that its metadata name, and into the ledger."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from coffea.processor import ProcessorABC, accumulate

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events.ntuple import file_uuid
from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.books.fileset import Fileset


class SelectionsProcessor(ProcessorABC):
    """Run every selection of a dataset on a chunk and add the chunk's line to the ledger.

    Args:
        processors: Selection name -> processor whose output is ``{dataset: {selection name: {...}}}``.
    """

    def __init__(self, processors: Mapping[str, ProcessorABC]) -> None:
        self.processors = dict(processors)

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {selection: {...}, "ledger": {...}}}`` of one chunk.

        Raises:
            NtupleError: The file is not the one of the fileset: another UUID, or fewer events.
            FilesetError: The metadata name a selection that does not exist.
        """
        metadata = events.metadata
        start, stop = metadata["entrystart"], metadata["entrystop"]
        got, wanted = (file_uuid(events), len(events)), (metadata["fileuuid"], stop - start)
        if got != wanted:
            msg = (
                f"{metadata['filename']}: got UUID {got[0]} and {got[1]} events from {start} on; "
                f"wanted {wanted[0]} and {wanted[1]}: the file was replaced; restore it, then `lnv run --resume`"
            )
            raise NtupleError(msg)
        line = {metadata["dataset"]: {ledger.LEDGER: ledger.entry(metadata["fileuuid"], start, stop, len(events))}}
        outputs = [self._find(name).process(events) for name in metadata["selections"]]
        return accumulate([line, *outputs])

    def _find(self, name: str) -> ProcessorABC:
        try:
            return self.processors[name]
        except KeyError:
            msg = f"selection {name!r} of the dataset's metadata does not exist; there are {sorted(self.processors)}"
            raise FilesetError(msg) from None

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator


# Selection name, as metadata write it -> class of its processor.
REGISTRY: Final[dict[str, str]] = {
    "search": "jpsi_lnv.processors.search:SearchProcessor",
    "control_ee": "jpsi_lnv.processors.control:ElectronControl",
    "control_kkpi0": "jpsi_lnv.processors.control:KaonControl",
    "control_ppbarpipi": "jpsi_lnv.processors.control:FitControl",
    "misid": "jpsi_lnv.processors.misid:MisidProcessor",
    "topology": "jpsi_lnv.processors.topology:TopologyProcessor",
    "variations": "jpsi_lnv.processors.variations:VariationsProcessor",
}


def load_processors(fileset: Fileset, cuts: Cuts) -> SelectionsProcessor:
    """Return the processor for all selections that the datasets name.

    Args:
        fileset: Datasets.
        cuts: Cuts that every selection applies.

    Raises:
        FilesetError: A dataset names a selection that does not exist.
    """
    asked_by = {s: d.name for d in reversed(fileset.values()) for s in d.metadata.selections}
    return SelectionsProcessor({name: _load(name, asked_by[name])(cuts=cuts) for name in sorted(asked_by)})


def _load(name: str, dataset: str) -> Any:
    if name not in REGISTRY:
        msg = (
            f"dataset {dataset!r}: selection {name!r} of its metadata does not exist; there are {sorted(REGISTRY)}: "
            "mend the metadata in the fileset"
        )
        raise FilesetError(msg)
    module, _, attribute = REGISTRY[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
