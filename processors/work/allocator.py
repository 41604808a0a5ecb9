"""Undoes a setting of dask's that makes chunks of arrays slow.

Dask's nanny starts every worker with MALLOC_TRIM_THRESHOLD_=65536, so that freed memory goes back to the system. In
glibc any such setting also ends the adaptive threshold above which memory is mapped: every array above 128 kB is mapped
page by page for its use and unmapped after it. A chunk makes hundreds of them; the search takes twice as long.

Source: mallopt(3), M_MMAP_THRESHOLD; distributed, nanny.pre-spawn-environ.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Final

TRIM_THRESHOLD: Final = "MALLOC_TRIM_THRESHOLD_"
SET_BY_DASK: Final = "65536"
# Parameters of mallopt, from malloc.h.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
# Larger than any column of a chunk of the default size, and the most that glibc's own adaption reaches.
MAPPED_FROM: Final = 32 << 20
# Freed memory at the end of the heap that a worker may keep for its next chunk.
KEPT: Final = 256 << 20


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
