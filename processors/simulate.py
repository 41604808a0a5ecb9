"""Makes sample sets on several processes: resumable, with progress, leaving only complete files."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from analysis.errors import NtupleError
from analysis.simulation.samplesets import FileJob, SampleSet, code_digest, file_jobs, fileset, job_digest
from analysis.simulation.writer import write_file

MANIFEST: Final = "manifest.json"
FILESET: Final = "fileset.json"
# Bytes per event on disk, rounded up, to see beforehand whether the disk is large enough.
BYTES_PER_EVENT: Final = 1500

OnFile = Callable[[int], None]


@dataclass(frozen=True)
class Made:
    """What a call made: files and events written, files kept."""

    directory: Path
    n_files: int
    n_events: int
    n_kept: int


def make(
    samples: SampleSet, output: Path, *, workers: int = 1, keep: bool = False, on_file: OnFile = lambda _: None
) -> Made:
    """Write the files of a sample set below ``output/<set>`` and its fileset beside them.

    Args:
        samples: The sample set.
        output: Directory of all sample sets.
        workers: Number of processes.
        keep: Keep files that an earlier call made with the same recipe, parameters and code.
        on_file: Called with the number of events whenever a file is there.

    Raises:
        NtupleError: The directory or a file cannot be written, or the disk is too small.
    """
    directory = output / samples.name
    code = code_digest()
    digests = {job.path: job_digest(job, code) for job in file_jobs(samples)}
    known = _read_manifest(directory) if keep else {}
    jobs = file_jobs(samples)
    missing = [j for j in jobs if known.get(j.path) != digests[j.path] or not (directory / j.path).is_file()]
    _prepare(directory, sum(job.n_events for job in missing))
    kept = {j.path: digests[j.path] for j in jobs if j not in missing}
    for job in jobs:
        if job.path in kept:
            on_file(job.n_events)
    _write_json(directory / MANIFEST, kept)
    for job in _run(missing, directory, workers):
        kept[job.path] = digests[job.path]
        _write_json(directory / MANIFEST, kept)
        on_file(job.n_events)
    _write_json(directory / FILESET, fileset(samples))
    return Made(directory, len(missing), sum(j.n_events for j in missing), len(jobs) - len(missing))


def _run(jobs: list[FileJob], directory: Path, workers: int) -> Iterator[FileJob]:
    """Yield the jobs as their files are finished, the largest started first."""
    ordered = sorted(jobs, key=lambda job: -job.n_events)
    if workers <= 1 or len(jobs) <= 1:
        for job in ordered:
            write_file(job, directory)
            yield job
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_single_thread) as pool:
        futures = {pool.submit(partial(write_file, job, directory)): job for job in ordered}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _single_thread() -> None:
    """Keep the linear algebra of a worker on one thread: the workers are the parallelism."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _prepare(directory: Path, n_events: int) -> None:
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


def _read_manifest(directory: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _write_json(path: Path, content: object) -> None:
    """Write JSON under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        msg = f"{path}: cannot write: {error.strerror}"
        raise NtupleError(msg) from error
