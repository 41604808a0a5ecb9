"""Arithmetic over the entries of each event, on a collection's offsets and flat columns."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def sum_per_event(offsets: npt.NDArray[np.int64], values: npt.NDArray[np.integer | np.bool_]) -> npt.NDArray[np.int64]:
    """Return the sum over the tracks of each event, (E,).

    Args:
        offsets: (E+1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        values: (T,) integers or a mask, which counts.
    """
    total = np.zeros(len(offsets) - 1, dtype=np.int64)
    _add_up(offsets, values, total)
    return total


@kernel
def _add_up(
    offsets: npt.NDArray[np.int64], values: npt.NDArray[np.integer | np.bool_], total: npt.NDArray[np.int64]
) -> None:
    for event in range(len(total)):
        for t in range(offsets[event], offsets[event + 1]):
            total[event] += values[t]
