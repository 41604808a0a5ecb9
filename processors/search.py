"""The processor of a run: each dataset goes through the selections that its metadata name, and into the ledger."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from coffea.processor import ProcessorABC

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import LnvError, NtupleError
from jpsi_lnv.analysis.events import inspection
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.events.ntuple import file_uuid
from jpsi_lnv.analysis.objects import calibration as calibrated
from jpsi_lnv.analysis.objects.calibration import Calibration
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.selection.blinding import BlindingError
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.books.fileset import Fileset
from jpsi_lnv.processors.work.rows import Rows


class SearchProcessor(ProcessorABC):
    """Select candidates of the decay that is searched for, and what else the metadata of a dataset name.

    Args:
        cuts: The requirements of the search.
        box: The requirements that the box of blind data is made of: the frozen ones, once there are any.
        selections: Selections by the names that metadata may give.
        calibrations: Calibration of each dataset, from `calibrations`; a dataset without one here finds its own.
    """

    def __init__(
        self,
        cuts: Cuts = SELECTION,
        *,
        box: Cuts = SELECTION,
        selections: Mapping[str, Selection] = registry.SELECTIONS,
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.cuts = cuts
        self.box = box
        self.selections = selections
        self.calibrations = calibrations or {}

    def process(self, events: Any) -> dict[str, Any]:
        """Return ``{dataset: {selection: {...}, "ledger": {...}}}`` of one chunk.

        Raises:
            NtupleError: The file is not the one of the fileset: another UUID, or fewer events; or what is read of it is
                not what an ntuple holds.
            CalibrationError: A run is outside of all ranges of the calibration, or what the cuts ask for is not in it.
            FilesetError: The metadata name a selection that does not exist, another energy than the file's, or show
            recorded events without a reason.
        BlindingError: The cuts would tell what the box of a blind dataset hides.
        """
        dataset, metadata = events.metadata["dataset"], DatasetMetadata.of_chunk(events.metadata)
        output = {ledger.LEDGER: entry(events)}
        reads = registry.reads(metadata.selections, dataset, self.selections)
        calibration = self.calibrations.get(dataset) or calibrated.of_dataset(dataset, metadata)
        columns = calibrated.applied(sound_columns(events, metadata, reads), calibration)
        chunk = Chunk(columns, dataset, metadata, self.cuts, self.box, calibration)
        for name in metadata.selections:
            found = select(registry.find(name, dataset, self.selections), name, chunk)
            output |= {stored: mergeable(content) for stored, content in found.items()}
        return {dataset: output}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the merged accumulator as it is."""
        return accumulator


def calibrations(fileset: Fileset) -> dict[str, Calibration]:
    """Return the calibration of each dataset of a fileset.

    Raises:
        CalibrationError: A file is not usable, or recorded events have none.
    """
    read: dict[tuple[str | None, bool], Calibration] = {}
    return {name: _once(name, dataset.metadata, read) for name, dataset in fileset.items()}


def _once(dataset: str, metadata: DatasetMetadata, read: dict[tuple[str | None, bool], Calibration]) -> Calibration:
    """Return the calibration of a dataset; one that several name is one object, which workers get once."""
    key = (metadata.calibration, metadata.is_simulation)
    if key not in read:
        read[key] = calibrated.of_dataset(dataset, metadata)
    return read[key]


def entry(events: Any) -> dict[str, Any]:
    """Return the ledger's entry of a chunk; a chunk of which coffea says no entries begins with the file.

    Raises:
        NtupleError: The file is not the one of the fileset: another UUID, or fewer events.
    """
    metadata, got = events.metadata, (file_uuid(events), len(events))
    start = metadata.get("entrystart", 0)
    wanted = (metadata.get("fileuuid", got[0]), metadata.get("entrystop", start + got[1]) - start)
    if got != wanted:
        msg = (
            f"{metadata['filename']}: got UUID {got[0]} and {got[1]} events from {start} on; "
            f"wanted {wanted[0]} and {wanted[1]}: the file was replaced; restore it, then `lnv run --resume`"
        )
        raise NtupleError(msg)
    return ledger.entry(got[0], start, start + got[1], got[1])


def sound_columns(events: Any, metadata: DatasetMetadata, reads: Iterable[str]) -> ChunkColumns:
    """Return the columns of a chunk, after a look at those that are read in any case.

    Raises:
        NtupleError: Something is wrong with them.
    """
    columns = ChunkColumns(events)
    place = (
        f"{events.metadata.get('filename', 'events')}, entries from {(start := events.metadata.get('entrystart', 0))}"
    )
    inspection.require_sound(columns, reads, metadata, place, start)
    return columns


def select(selection: Selection, name: str, chunk: Chunk) -> dict[str, Found]:
    """Return what a selection finds in a chunk.

    Raises:
        BlindingError: It failed on blind data: its message could tell how many events may be seen, as those of numpy
            about shapes do, and is kept back.
    """
    try:
        return selection.select(chunk)
    except (LnvError, OSError):
        raise
    except Exception as error:
        if not chunk.metadata.is_blind:
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]
        msg = (
            f"dataset {chunk.dataset!r} is blind: selection {name!r} failed with {type(error).__name__} in "
            f"{at.filename}, line {at.lineno}; what it says could tell what is hidden: run it on simulation to read it"
        )
        raise BlindingError(msg) from None


def mergeable(found: Found) -> dict[str, Any]:
    """Return what a selection found with its candidates as rows that add up with those of other chunks."""
    return found | {"candidates": Rows(found["candidates"])} if "candidates" in found else found
