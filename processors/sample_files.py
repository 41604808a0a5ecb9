"""Makes sample sets with the executors of the analysis: resumable, and only complete files are left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis.documents import Form, write_json
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.simulation.production import block_size, make_block
from jpsi_lnv.analysis.simulation.samplesets import FileJob, SampleSet, code_digest, file_jobs, fileset, job_digest

BOOKS: Final = "bookkeeping.json"
# Books of a share of a set, such as bookkeeping.3.json: shares are made at the same time.
BOOKS_OF_SHARES: Final = "bookkeeping.*.json"
_FORM: Final = Form("books of a sample set", "it is made anew", NtupleError, content=dict[str, str])
FILESET: Final = "fileset.json"
# Bytes per event on disk, rounded up, to see beforehand whether the disk is large enough.
BYTES_PER_EVENT: Final = 1000


@dataclass(frozen=True, kw_only=True)
class SimulateItem:
    """One file of a sample set: what a worker gets.

    Attributes:
        job: What the file holds.
        directory: Directory of the sample set.
        digest: Digest of the recipe, the parameters and the code.
    """

    job: FileJob
    directory: Path
    digest: str

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.job.dataset.name

    @property
    def filename(self) -> str:
        """Path of the file."""
        return str(self.directory / self.job.path)

    @property
    def entrystart(self) -> int:
        """First event of the file in its dataset."""
        return self.job.first_event

    @property
    def entrystop(self) -> int:
        """Event after the last one of the file in its dataset."""
        return self.job.first_event + self.job.n_events

    def __len__(self) -> int:
        return self.job.n_events


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


def simulate_file(item: SimulateItem) -> dict[str, Any]:
    """Write one file; the function that executors call."""
    write_file(item.job, item.directory)
    return {"out": {item.job.path: {item.digest: item.job.n_events}}}


def plan(samples: SampleSet, output: Path) -> list[SimulateItem]:
    """Return the files of a sample set below ``output/<set>``, the largest first so that no worker ends late."""
    code = code_digest()
    directory = output.absolute() / samples.name
    jobs = sorted(file_jobs(samples), key=lambda job: -job.n_events)
    return [SimulateItem(job=job, directory=directory, digest=job_digest(job, code)) for job in jobs]


class Books:
    """Which files of a set are there, and what they were made of; kept in a file, so that a set can be resumed.

    Args:
        directory: Directory of the sample set.
        items: All files of the set, or of a share of it.
        part: The share, such as ``3/10``; None: the set.
    """

    def __init__(self, directory: Path, items: Iterable[SimulateItem], part: str | None = None) -> None:
        self.path = directory / (BOOKS if part is None else BOOKS_OF_SHARES.replace("*", part.partition("/")[0]))
        self.items = {item.job.path: item for item in items}
        self.made: dict[str, str] = {}

    def keep(self, known: Mapping[str, str]) -> None:
        """Take over the files that are there already, made of the same."""
        for path, item in self.items.items():
            if known.get(path) == item.digest and Path(item.filename).is_file():
                self.made[path] = item.digest

    @property
    def missing(self) -> list[SimulateItem]:
        """Files still to be made, in the order of the plan."""
        return [item for path, item in self.items.items() if path not in self.made]

    def enter(self, group: Mapping[str, Any]) -> None:
        """Note the files of a group of results; the sink of an executor."""
        self.made |= {path: digest for path, row in group.get("out", {}).items() for digest in row}
        self.write()

    def write(self) -> None:
        """Write the books.

        Raises:
            NtupleError: The directory cannot be written.
        """
        write(self.path, self.made)


def read_books(directory: Path) -> dict[str, str]:
    """Return path -> digest of the files of a set, those of its shares too; what cannot be read is left out."""
    known: dict[str, str] = {}
    for path in (directory / BOOKS, *directory.glob(BOOKS_OF_SHARES)):
        with suppress(NtupleError):
            known |= _FORM.read(path)
    return known


def prepare(directory: Path, n_events: int) -> None:
    """Make the directory of a sample set and see that it can hold a number of events.

    Raises:
        NtupleError: It cannot be made or written, or the disk is too small.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        msg = f"{directory}: cannot make the directory of the sample set: {error.strerror}; choose another --output"
        raise NtupleError(msg) from error
    if not os.access(directory, os.W_OK):
        msg = f"{directory}: the directory is not writable; choose another --output"
        raise NtupleError(msg)
    if free < n_events * BYTES_PER_EVENT:
        wanted, got = n_events * BYTES_PER_EVENT / 1e9, free / 1e9
        msg = f"{directory}: the disk has {got:.2f} GB left, about {wanted:.2f} GB are needed; choose another --output"
        raise NtupleError(msg)


def write_fileset(samples: SampleSet, directory: Path) -> Path:
    """Write the plain fileset of a set beside its files and return its path."""
    return write(directory / FILESET, fileset(samples))


def write(path: Path, content: Any) -> Path:
    """Write JSON, whole or not at all.

    Raises:
        NtupleError: It cannot be written.
    """
    try:
        return write_json(path, content)
    except OSError as error:
        msg = f"{path}: cannot write: {error.strerror or error}"
        raise NtupleError(msg) from error
