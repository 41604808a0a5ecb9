"""From a completed fileset to coffea's work items: the plan of a run, the same for every executor."""

from __future__ import annotations

import bisect
import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence

from coffea.processor.executor import WorkItem

from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.selection.chunk import Selection
from jpsi_lnv.processors.books.fileset import Dataset, FileEntry, Fileset

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
    fileset: Fileset,
    chunksize: int,
    missing: Mapping[str, list[Span]] | None = None,
    max_chunks: int | None = None,
    selections: Mapping[str, Selection] = registry.SELECTIONS,
) -> list[WorkItem]:
    """Return the chunks of a run.

    Args:
        fileset: What to process.
        chunksize: Largest number of events of a chunk.
        missing: UUID -> entries still to do, for a resumed run; None: all of every file.
        max_chunks: Chunks per dataset; None: all.
        selections: Selections by name, which say what is read in any case.

    Returns:
        Work items, dataset by dataset and file by file.
    """
    return [
        item
        for dataset in fileset.values()
        for item in itertools.islice(_of_dataset(dataset, chunksize, missing, selections), max_chunks)
    ]


def share(fileset: Fileset, chunksize: int, number: int, of: int) -> dict[str, list[Span]]:
    """Return, per file (UUID), the entries of one of several shares: each chunk of a fileset is in one of them.

    Args:
        fileset: What all shares together are of.
        chunksize: Largest number of events of a chunk.
        number: Which share, from 1.
        of: Number of shares.
    """
    chunks = [(file.uuid, span) for dataset in fileset.values() for file, span in _chunks(dataset, chunksize, None)]
    found: dict[str, list[Span]] = {}
    for file, span in chunks[len(chunks) * (number - 1) // of : len(chunks) * number // of]:
        found.setdefault(file, []).append(span)
    return found


def common(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return the entries that are in both of two lists of spans; an empty file is (0, 0)."""
    both = [(max(a, c), min(b, d)) for a, b in spans for c, d in others]
    return [(start, stop) for start, stop in both if start < stop or start == stop == 0]


def _of_dataset(
    dataset: Dataset, chunksize: int, missing: Mapping[str, list[Span]] | None, selections: Mapping[str, Selection]
) -> Iterator[WorkItem]:
    metadata = dataset.metadata.to_dict()
    reads = registry.reads(dataset.metadata.selections, dataset.name, selections) or None
    for file, (start, stop) in _chunks(dataset, chunksize, missing):
        source = uuid.UUID(file.uuid).bytes
        yield WorkItem(dataset.name, file.path, file.object_path, start, stop, source, metadata, reads)


def _chunks(
    dataset: Dataset, chunksize: int, missing: Mapping[str, list[Span]] | None
) -> Iterator[tuple[FileEntry, Span]]:
    for file in dataset.files:
        spans = [(0, file.num_entries)] if missing is None else missing.get(file.uuid, [])
        yield from ((file, chunk) for span in spans for chunk in cut(span, chunksize, file.clusters))
