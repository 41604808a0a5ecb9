"""From a completed fileset to coffea's work items: the plan of a run, the same for every executor."""

from __future__ import annotations

import bisect
import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from coffea.processor.executor import WorkItem

from jpsi_lnv.analysis.events.schema import HELIX, branch
from jpsi_lnv.processors.books.fileset import Dataset, FileEntry, Fileset

# What the search reads of every chunk that has events, whatever they are: read in one call, for a call per branch costs
# as much as the reading of a few thousand events.
FIRST_COLUMNS: Final = frozenset(
    {
        *("nTrack", "ip_x", "ip_y", "ip_z", "field"),
        *(branch("Track", name) for name in ("charge", *HELIX, "dedx_n_hits", "emc_energy", "emc_e3x3", "emc_e5x5")),
        *(branch("Track", f"{kind}_{h}") for kind in ("dedx_chi", "tof_texp") for h in ("e", "pi", "k")),
        *(branch("Track", f"tof_{name}") for name in ("time", "sigma", "quality")),
    }
)
# (first, one past the last) entry of a chunk.
Span = tuple[int, int]


def cut(span: Span, chunksize: int, clusters: tuple[int, ...] = ()) -> Iterator[Span]:
    """Cut entries into chunks of at most `chunksize`, at basket edges where there is one in reach.

    A basket that two chunks share is read and unpacked twice.

    Args:
        span: Entries to cut.
        chunksize: Largest number of entries of a chunk.
        clusters: Entries at which every branch starts a basket, in order.

    Yields:
        Consecutive spans; one empty span for an empty range, so that an empty file leaves its trace too.
    """
    start, stop = span
    if start == stop:
        yield span
    while start < stop:
        end = min(start + chunksize, stop)
        if end < stop:
            edge = bisect.bisect_right(clusters, end) - 1
            end = clusters[edge] if edge >= 0 and clusters[edge] > start else end
        yield start, end
        start = end


def work_items(
    fileset: Fileset, chunksize: int, missing: Mapping[str, list[Span]] | None = None, max_chunks: int | None = None
) -> list[WorkItem]:
    """Return the chunks of a run.

    Args:
        fileset: What to process.
        chunksize: Largest number of events of a chunk.
        missing: UUID -> entries still to do, for a resumed run; None: all of every file.
        max_chunks: Chunks per dataset; None: all.

    Returns:
        Work items, dataset by dataset and file by file.
    """
    return [
        item
        for dataset in fileset.values()
        for item in itertools.islice(_of_dataset(dataset, chunksize, missing), max_chunks)
    ]


def _of_dataset(dataset: Dataset, chunksize: int, missing: Mapping[str, list[Span]] | None) -> Iterator[WorkItem]:
    metadata = dataset.metadata.to_dict()
    for file in dataset.files:
        spans = [(0, file.num_entries)] if missing is None else missing.get(file.uuid, [])
        for span in spans:
            for start, stop in cut(span, chunksize, file.clusters):
                yield _item(dataset.name, file, start, stop, metadata)


def _item(dataset: str, file: FileEntry, start: int, stop: int, metadata: dict[str, object]) -> WorkItem:
    source = uuid.UUID(file.uuid).bytes
    return WorkItem(dataset, file.path, file.object_path, start, stop, source, metadata, preload(metadata))


def preload(metadata: Mapping[str, object]) -> frozenset[str] | None:
    """Return the branches that a chunk's selections read in any case; None where nothing is known of them."""
    return FIRST_COLUMNS if "search" in cast("Sequence[str]", metadata["selections"]) else None
