"""A chunk under guard: I/O errors are tried again, any other failure becomes a record instead of the run's end.

Coffea's ``skipbadfiles`` stays off: on dask it gives up at the first transient error and drops the chunk silently.
Here a failed chunk leaves dataset, file, entries, cause, attempts and traceback, and a hole that the ledger finds.
"""

from __future__ import annotations

import gc
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from jpsi_lnv.analysis.errors import LnvError, NtupleError
from jpsi_lnv.analysis.provenance import package_versions, source_digest
from jpsi_lnv.processors.work import worker
from jpsi_lnv.processors.work.worker import (
    Peak,
    keep_memory_between_arrays,
    peak_memory,
    set_xrootd_limits,
    worker_name,
)

# Computed when a worker first loads this module: the digest of the code that it runs, whatever happens to the files.
LOADED_DIGEST: Final = source_digest()
FAILED: Final = "failed"
# Libraries whose errors mean that a file is damaged: the reader and its decompressors.
READERS: Final = ("uproot", "zlib", "_lzma", "lzma", "lz4", "cramjam", "zstandard", "backports", "xxhash")
TRACEBACK_LENGTH: Final = 8000
# The generation of objects that a chunk made and left.
YOUNG_CYCLES: Final = 1
# Growth of the pause between two attempts.
BACKOFF_FACTOR: Final = 2


class SourceError(LnvError):
    """A process that is to work on a chunk has other source or packages than the one that sent it."""


@cache
def loaded_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result, as this process has them."""
    return package_versions() | {"python": platform.python_version()}


def other_versions(wanted: Mapping[str, str]) -> str:
    """Return in which versions this process differs, of what both know: shipped source has no version of its own."""
    here = loaded_versions()
    return ", ".join(f"{n} {here[n]} (wanted {v})" for n, v in wanted.items() if here.get(n, v) != v)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Return an error and what caused it, the first cause last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def is_io_error(error: BaseException) -> bool:
    """Whether an input or output error lies at the bottom, which may pass: a file server, a network, a disk."""
    return isinstance(list(causes(error))[-1], OSError)


def is_bad_file(root: BaseException) -> bool:
    """Whether an error comes from reading a file, not from a mistake in a processor."""
    return isinstance(root, (OSError, NtupleError)) or type(root).__module__.partition(".")[0] in READERS


def failure(item: Any, error: BaseException, attempts: int) -> dict[str, Any]:
    """Return the record of a chunk that failed for good: in our own words where we have some, else the first cause."""
    chain = list(causes(error))
    root = chain[-1]
    shown = next((cause for cause in chain if isinstance(cause, LnvError)), root)
    return {
        "dataset": item.dataset,
        "file": item.filename,
        "start": item.entrystart,
        "stop": item.entrystop,
        "kind": type(shown).__name__,
        "message": str(shown),
        "attempts": attempts,
        "is_ours": isinstance(shown, LnvError),
        "is_bad_file": is_bad_file(root),
        "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_LENGTH:],
    }


def failed_chunk(item: Any, error: BaseException, attempts: int) -> dict[str, Any]:
    """Return the result of a chunk that failed for good: nothing but the record of why."""
    return {"out": {}, FAILED: [failure(item, error, attempts)]}


def _other_packages(differing: str) -> SourceError:
    return SourceError(f"worker {worker_name()} has {differing}: give it the same versions, then `lnv run --resume`")


def _other_source(source: str) -> SourceError:
    return SourceError(
        f"worker {worker_name()} has source {LOADED_DIGEST}, the run has {source}: it was edited after the run began; "
        "start the run again, or put the source back and use --resume"
    )


@dataclass(frozen=True)
class Guarded:
    """A function of a work item that retries I/O errors and returns a record of any failure that stays.

    Args:
        function: What processes one work item, as coffea's Runner makes it.
        attempts: How often an I/O error is tried in all.
        backoff: Pause before the second attempt in s; it doubles with each further one.
        source: Digest of the source that made it. A worker that starts late imports what is on disk by then.
        versions: Versions of the packages there.
    """

    function: Callable[[Any], dict[str, Any]]
    attempts: int = 3
    backoff: float = 0.5
    source: str = LOADED_DIGEST
    versions: Mapping[str, str] = field(default_factory=loaded_versions)

    def __call__(self, item: Any) -> dict[str, Any]:
        """Process one work item; the result has ``out``, ``metrics`` and, after a failure, ``failed``."""
        if self.source != LOADED_DIGEST:
            return failed_chunk(item, _other_source(self.source), 1)
        if differing := other_versions(self.versions):
            return failed_chunk(item, _other_packages(differing), 1)
        set_xrootd_limits()
        keep_memory_between_arrays()
        attempt = 1
        while True:
            try:
                return self.unguarded(item, attempt)
            except Exception as error:
                worker.close_file()
                if attempt == self.attempts or not is_io_error(error):
                    return failed_chunk(item, error, attempt)
            time.sleep(self.backoff * BACKOFF_FACTOR ** (attempt - 1))
            attempt += 1

    def unguarded(self, item: Any, attempt: int = 1) -> dict[str, Any]:
        """Process one work item, let its error pass, and add what it cost to the metrics."""
        started = time.process_time()
        result = self.function(item)
        # Coffea's events refer to themselves: left to the collector's own pace, the columns of several chunks pile up.
        gc.collect(YOUNG_CYCLES)
        cost = {
            "cputime": time.process_time() - started,
            "retried": attempt - 1,
            "memory": {worker_name(): Peak(peak_memory())},
        }
        return {"out": result["out"], "metrics": dict(result.get("metrics", {})) | cost}
