"""A worker process: its name, its memory, and what it keeps from one chunk to the next.

Memory: dask's nanny starts every worker with MALLOC_TRIM_THRESHOLD_=65536, so that freed memory goes back to the
system. In glibc any such setting also ends the adaptive threshold above which memory is mapped: every array above
128 kB is mapped page by page for its use and unmapped after it. A chunk makes hundreds of them; the search takes twice
as long (mallopt(3), M_MMAP_THRESHOLD; distributed, nanny.pre-spawn-environ).

File: chunks of one file mostly reach a worker one after the other, and describing the 77 branches of an ntuple costs as
much as reading tens of thousands of events; at an address, round trips come on top. Coffea opens the file for every
chunk. Here the source of bytes outlives the chunk, and with it what uproot has made of the file's tree, until the
thread opens another file or a chunk fails. The header of the file is read for every chunk all the same: a file replaced
in the meantime has another UUID, and nothing is taken over.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import threading
from collections.abc import Iterator, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from uproot.source.chunk import Source
from uproot.source.file import MemmapSource
from uproot.source.fsspec import FSSpecSource

TRIM_THRESHOLD: Final = "MALLOC_TRIM_THRESHOLD_"
SET_BY_DASK: Final = "65536"
# Parameters of mallopt, from malloc.h.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
# Larger than any column of a chunk of the default size, and the most that glibc's own adaption reaches.
MAPPED_FROM: Final = 32 << 20
# Freed memory at the end of the heap that a worker may keep for its next chunk.
KEPT: Final = 256 << 20
# Unit of the kernel's sizes of a process, in bytes.
KIBIBYTE: Final = 1024
PROCESS_STATUS: Final = Path("/proc/self/status")
PEAK: Final = "VmHWM:"
# With the client library's defaults an open of a dead host still hangs after four minutes; with these it fails in
# seconds. The library reads them when it is loaded, so they are set before the first `root://` address is opened.
XROOTD_LIMITS: Final = {"XRD_CONNECTIONRETRY": "1", "XRD_CONNECTIONWINDOW": "3"}


@cache
def keep_memory_between_arrays() -> bool:
    """Let this process reuse the memory of freed arrays, if dask's default forbids it; return whether it did.

    Another value of the environment's variable is the user's own and stays. Without glibc nothing happens.
    """
    return os.environ.get(TRIM_THRESHOLD) == SET_BY_DASK and reuse_freed_memory()


def reuse_freed_memory() -> bool:
    """Let this process take the memory of new arrays from that of freed ones; return whether its C library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED_FROM) and mallopt(M_TRIM_THRESHOLD, KEPT))


def set_xrootd_limits() -> None:
    """Make xrootd give up on a dead host within seconds, unless the environment says otherwise already."""
    for name, value in XROOTD_LIMITS.items():
        os.environ.setdefault(name, value)


class Peak(int):
    """A number of which merging keeps the largest."""

    def __add__(self, other: int) -> Peak:
        return Peak(max(self, other))

    __radd__ = __add__


def worker_name() -> str:
    """Return the name of this process in the book-keeping."""
    return f"{platform.node()}:{os.getpid()}"


def peak_memory() -> int:
    """Return the largest resident memory that this process ever had, in bytes.

    The peak of `resource.getrusage` is that of the parent if the parent is larger: a new process inherits it.
    """
    if PROCESS_STATUS.exists():
        return int(PROCESS_STATUS.read_text().partition(PEAK)[2].split()[0]) * KIBIBYTE
    unit = 1 if sys.platform == "darwin" else KIBIBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Kept(threading.local):
    """What this thread keeps: the source of one file, and the objects that were read from it."""

    def __init__(self) -> None:
        self.path = ""
        self.source: Any = None
        self.objects: dict[str, Any] = {}


_KEPT: Final = _Kept()


def close_file() -> None:
    """Close the file that this thread keeps; the next chunk opens its file anew."""
    if _KEPT.source is not None:
        _KEPT.source.close()
    _KEPT.path, _KEPT.source = "", None
    _KEPT.objects.clear()


class KeptSource(Source):
    """One chunk's view of the source that its thread keeps: uproot's own for paths and addresses, which it forwards to.

    Args:
        file_path: Path or address.
        options: uproot's options for the source.
    """

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__()
        self._file_path = file_path
        if _KEPT.path != file_path:
            close_file()
            # What fsspec would take for a chain of file systems is a name.
            is_name = "::" in file_path and "://" not in file_path
            _KEPT.source = (MemmapSource if is_name else FSSpecSource)(file_path, **options)
            _KEPT.path = file_path
        self._source = _KEPT.source
        self._bytes_before = self._source.num_requested_bytes

    def __enter__(self) -> KeptSource:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the file open for the next chunk."""

    def chunk(self, start: int, stop: int) -> Any:
        """Return the bytes from `start` to `stop`."""
        return self._source.chunk(start, stop)

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> Any:
        """Return several ranges of bytes."""
        return self._source.chunks(ranges, notifications=notifications)

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return int(self._source.num_bytes)

    @property
    def num_requested_bytes(self) -> int:
        """Bytes read since this view was made: those of its chunk."""
        return int(self._source.num_requested_bytes) - self._bytes_before

    @property
    def closed(self) -> bool:
        """Whether the file was given up; uproot then reads its objects anew."""
        return bool(self._source.closed)


class KeptObjects(MutableMapping[str, Any]):
    """uproot's cache of objects, those of this thread's file: all instances are one, wherever they were unpickled."""

    def __getitem__(self, key: str) -> Any:
        return _KEPT.objects[key]

    def __setitem__(self, key: str, value: Any) -> None:
        _KEPT.objects[key] = value

    def __delitem__(self, key: str) -> None:
        del _KEPT.objects[key]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(_KEPT.objects))

    def __len__(self) -> int:
        return len(_KEPT.objects)


# For coffea's `uproot_options`. No arrays are kept: a chunk is read once.
UPROOT_OPTIONS: Final = {"handler": KeptSource, "object_cache": KeptObjects(), "array_cache": None}
