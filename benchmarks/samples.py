"""The events that the benchmarks read: one file per dataset, as large as a file of a sample set, and its chunks."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import uproot
from coffea.processor.executor import WorkItem

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.ntuple_writer import BASKET_EVENTS, NtupleWriter
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.simulation import samplesets
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS, make_block
from jpsi_lnv.processors.books.chunks import cut

SEED = 20_260_501
# Three baskets: what a chunk of at most 100 000 events holds when it ends at a basket's edge.
CHUNK_EVENTS = 3 * BASKET_EVENTS
N_EVENTS = samplesets.FILE_BLOCKS * BLOCK_EVENTS
BACKGROUND_LIKE = ("inclusive", "kkpipi")
NAMES = (*BACKGROUND_LIKE, "signal")


def make(directory: Path, n_events: int = N_EVENTS) -> dict[str, Path]:
    """Write the files that are not there yet.

    Args:
        directory: Where they lie.
        n_events: Events of each.

    Returns:
        Dataset -> file.
    """
    return {name: make_one(directory / f"{name}_{n_events}.root", name, n_events) for name in NAMES}


def make_control(directory: Path, name: str, n_events: int = BASKET_EVENTS) -> Path:
    """Write the events of a control channel, if they are not there yet; return the file."""
    return make_one(directory / f"{name}_{n_events}.root", name, n_events)


def _dataset(name: str, n_events: int) -> samplesets.Dataset:
    return samplesets.inclusive(n_events) if name == "inclusive" else samplesets.exclusive(name, n_events)


def make_one(path: Path, name: str, n_events: int, *, has_hypotheses: bool = False) -> Path:
    """Write the events of a dataset, with one helix or five, if they are not there yet; return the file."""
    recipe = dataclasses.replace(_dataset(name, n_events).recipe, has_hypotheses=has_hypotheses)
    if path.exists():
        return path
    with NtupleWriter(path) as writer:
        for block, first in enumerate(range(0, n_events, BLOCK_EVENTS)):
            writer.extend(make_block(recipe, name, block, min(BLOCK_EVENTS, n_events - first), SEED))
    return path


def metadata(name: str) -> DatasetMetadata:
    """Return the metadata of a dataset."""
    return _dataset(name, 1).metadata


def work_items(path: Path, name: str, selections: tuple[str, ...] = ("search",)) -> list[WorkItem]:
    """Return the chunks of a file, for the search or other selections."""
    with uproot.open({path: TREE}) as tree:
        spans = cut((0, int(tree.num_entries)), CHUNK_EVENTS)
    return [work_item(path, name, start, stop, selections) for start, stop in spans]


def work_item(
    path: Path, name: str, start: int = 0, stop: int = CHUNK_EVENTS, selections: tuple[str, ...] = ("search",)
) -> WorkItem:
    """Return a chunk of a file, its first one where no entries are given, for the search or other selections."""
    with uproot.open(path) as file:
        end = min(stop, int(file[TREE].num_entries))
        source = uuid.UUID(str(file.file.uuid))
    content = metadata(name).to_dict() | {"selections": list(selections)}
    return WorkItem(name, str(path), TREE, start, end, source.bytes, content, registry.reads(selections, name))
