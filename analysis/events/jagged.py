"""Arithmetic over the entries of each event, on a collection's offsets and flat columns.

Events have few entries, and a loop over them ends at another count every time: what a processor cannot predict costs
more than the arithmetic. The kernels therefore run over all entries in one go and look at the offsets afterwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, IntArray, kernel


def sum_per_event(offsets: IntArray, values: npt.NDArray[np.integer | np.bool_]) -> IntArray:
    """Return the sum over the entries of each event, (E,).

    Args:
        offsets: (E+1,) entries of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        values: (T,) integers or a mask, which counts.
    """
    running = np.empty(len(values) + 1, dtype=np.int64)
    _add_up(values, running)
    return np.diff(running[offsets])


def of_event(offsets: IntArray, decision: BoolArray) -> BoolArray:
    """Return for every entry what was decided on its event, (T,).

    Args:
        offsets: (E+1,) entries of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        decision: (E,) mask.
    """
    change = np.zeros(offsets[-1] + 1, dtype=np.int8)
    _spread(offsets, decision, change)
    return change[:-1].view(np.bool_)


@kernel
def _add_up(values: npt.NDArray[np.integer | np.bool_], running: IntArray) -> None:
    """Write the sums of the first 0, 1, 2... values."""
    total = 0
    running[0] = 0
    for t in range(len(values)):
        total += values[t]
        running[t + 1] = total


@kernel
def _spread(offsets: IntArray, decision: BoolArray, change: npt.NDArray[np.int8]) -> None:
    """Note where the decision changes from one event to the next, then add the changes up."""
    before = np.int8(0)
    for event in range(len(decision)):
        now = np.int8(decision[event])
        change[offsets[event]] += now - before
        before = now
    state = 0
    for t in range(len(change)):
        state += change[t]
        change[t] = state
