"""Collects the probes of the calorimeter's control samples over files, with the executors of a run."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from coffea.nanoevents import NanoEventsFactory
from coffea.processor.executor import WorkItem

from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.objects.emc_pid import KINDS, ControlTracks
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed, percent
from jpsi_lnv.analysis.selection.emc_probes import select
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.chunks import cut
from jpsi_lnv.processors.books.fileset import FileEntry
from jpsi_lnv.processors.work.rows import Rows

FILESET_SUFFIX: Final = ".json"
_FIELDS: Final = (
    Field("tags", "tags", count),
    Field("probes", "probes", count),
    Field("per_bin_min", "per bin, least", count),
    Field("per_bin_median", "median", fixed(1)),
    Field("purity", "purity", percent(2), "%"),
)


def read_files(sources: Iterable[str], datasets: str | None = None) -> list[FileEntry]:
    """Return the files that paths of ntuples and of completed filesets mean.

    Args:
        sources: Paths or addresses; one that ends in ``.json`` is a fileset.
        datasets: Shell patterns of dataset names of the filesets, separated by commas; None: all.

    Raises:
        FilesetError: A fileset is not usable, or a file is given twice.
        NtupleError: A file is absent or is not an ntuple.
    """
    files: list[FileEntry] = []
    for source in sources:
        if source.endswith(FILESET_SUFFIX):
            chosen = filesets.select(filesets.load(source), datasets)
            files += [file for dataset in chosen.values() for file in dataset.files]
        else:
            files.append(verify.describe(source))
    seen: dict[str, str] = {}
    for file in files:
        if file.uuid in seen:
            msg = f"{file.path}: is {seen[file.uuid]} once more (UUID {file.uuid}): give it once"
            raise FilesetError(msg)
        seen[file.uuid] = file.path
    return files


def work_items(files: Iterable[FileEntry], chunksize: int) -> list[WorkItem]:
    """Return the chunks of files, of at most `chunksize` events."""
    return [
        WorkItem(Path(f.path).stem, f.path, f.object_path, start, stop, uuid.UUID(f.uuid).bytes, {})
        for f in files
        for start, stop in cut((0, f.num_entries), chunksize, f.clusters)
    ]


def select_item(item: WorkItem, pions_every: int = 1) -> dict[str, Any]:
    """Return what one chunk gives, by kind; the function that executors call.

    Args:
        item: The chunk.
        pions_every: Look for pions in events whose number is a multiple of this one; 1: in all.

    Raises:
        NtupleError: The file holds fewer events than it did.
    """
    factory = NanoEventsFactory.from_root(
        {item.filename: item.treename},
        schemaclass=BesSchema,
        entry_start=item.entrystart,
        entry_stop=item.entrystop,
        mode="virtual",
    )
    events = factory.events()
    if len(events) != len(item):
        msg = f"{item.filename}: got {len(events)} events from {item.entrystart} on, wanted {len(item)}: it changed"
        raise NtupleError(msg)
    found = select(ChunkColumns(events), {Species.PI: pions_every})
    return {"out": {kind: of | {"tracks": Rows(of["tracks"])} for kind, of in found.items()}}


def tracks_of(found: dict[str, Any]) -> tuple[ControlTracks, ...]:
    """Return the probes of every kind from the merged result of `select_item`."""
    return tuple(ControlTracks(**found[kind]["tracks"].columns) for kind in KINDS)


def samples(found: dict[str, Any], occupancy: Sequence[Any]) -> Table:
    """Return one row per kind: cut flow, tags, probes, probes per bin, and purity where it is known.

    Args:
        found: The merged result of `select_item`.
        occupancy: Probes in each bin of the tables, by kind.
    """
    rows = []
    for kind, counts in zip(KINDS, occupancy, strict=True):
        result = found[kind]
        known = result["truth"]["known"]
        rows.append(
            {
                "species": kind,
                **result["cutflow"],
                "tags": result["tags"],
                "probes": len(result["tracks"]),
                "per_bin_min": int(counts.min()),
                "per_bin_median": float(np.median(counts)),
                "purity": result["truth"]["right"] / known if known else None,
            }
        )
    steps = (Field(step, step.replace("_", " "), count) for step in found[KINDS[0]]["cutflow"])
    return Table(
        "emc_samples",
        "Control samples of the calorimeter",
        (Field("species", "species"), *steps, *_FIELDS),
        tuple(rows),
        note="per bin: probes in each bin of p and |cos theta|",
    )
