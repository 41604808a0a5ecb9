"""Types of arrays, and the way a loop over them is compiled: each once for the whole package."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis import kernel_cache

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]

kernel_cache.prepare()
# A compiled function: it releases the GIL, keeps its machine code on disk and divides as numpy does.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


@kernel
def _one() -> int:
    return 1


def kernel_directory() -> str:
    """Compile a kernel and return the directory that keeps its machine code."""
    _one()
    cache: Any = getattr(_one, "_cache")  # noqa: B009 not in numba's types
    return str(cache.cache_path)
