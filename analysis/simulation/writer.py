"""Writes the files of a sample set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.simulation.blocks import block_size, make_block
from jpsi_lnv.analysis.simulation.samplesets import FileJob


def write_file(job: FileJob, directory: Path, on_events: Callable[[int], None] = lambda _: None) -> int:
    """Simulate the blocks of a file and write it; it appears under its name when it is complete.

    Args:
        job: What the file holds.
        directory: Directory of the sample set.
        on_events: Called with the number of events after each block.

    Returns:
        The number of events.

    Raises:
        NtupleError: The file cannot be written.
    """
    dataset = job.dataset
    with NtupleWriter(directory / job.path) as writer:
        for block in range(job.first_block, job.last_block):
            n = block_size(dataset.n_events, block)
            writer.extend(make_block(dataset.recipe, dataset.name, block, n, job.seed))
            on_events(n)
        writer.add_source(n_produced=job.n_events, n_stored=job.n_events)
    return job.n_events
