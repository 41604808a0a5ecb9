"""Reads a branch of a BOSS `.dst` with pybes3, where it is written in a way that `dst_records` does not know.

Slower, and the independent reader that the tests compare with. pybes3's known fault, the order of
`m_mdcTrackCol.m_err`, is worked around. Loaded when it is needed: pybes3 is an optional extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import awkward as ak
import numpy as np
import pybes3  # noqa: F401 registers BOSS's classes with uproot

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Shapes, event_of, selected

_N_HELIX: Final = 5
_MATRICES: Final = 3
_UPPER = np.triu_indices(_N_HELIX)
_LOWER = np.tril_indices(_N_HELIX)


@dataclass(frozen=True)
class AwkwardRecords:
    """Records as pybes3 decodes them; the interface is `dst_records.Records`.

    Attributes:
        offsets: (E + 1,) records of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        content: awkward layout of all records, one after the other.
    """

    offsets: IntArray
    content: Any

    def select(self, chosen: BoolArray) -> AwkwardRecords:
        """Return the records of the chosen events, ``(E,)``."""
        return AwkwardRecords(selected(self.offsets, chosen), self.content[chosen[event_of(self)]])

    def column(self, name: str, *shape: int) -> AnyArray:
        """Return one member of all records, ``(N, *shape)``; matrices in the order of the file."""
        if not self.offsets[-1]:
            return np.empty((0, *shape))
        values = np.asarray(ak.to_numpy(self.content[name]))
        if values.ndim != _MATRICES:
            return values
        if name == "m_err" and values.shape[-1] == _N_HELIX:
            return mdc_covariance(values)
        rows, columns = np.tril_indices(values.shape[-1])
        return values[:, rows, columns]

    def pick(self, name: str, row: IntArray, fill: float, *shape: int) -> AnyArray:
        """Return one member of the records of some rows, ``(T, *shape)``; `fill` where the row is `NO_LINK`."""
        values = self.column(name, *shape)
        out = np.full((len(row), *shape), fill, values.dtype)
        has_row = row != NO_LINK
        out[has_row] = values[row[has_row]]
        return out

    def pick_all(self, members: Shapes, row: IntArray, fill: float) -> dict[str, AnyArray]:
        """Return several members as `pick` returns one."""
        return {name: self.pick(name, row, fill, *shape) for name, shape in members.items()}

    def nested(self, name: str) -> tuple[IntArray, AnyArray]:
        """Return a member that is a vector: offsets ``(N + 1,)`` and all its entries."""
        if not self.offsets[-1]:
            return np.zeros(1, np.int64), np.empty(0, np.int64)
        offsets, content = _lists(ak.Array(self.content[name]))
        return offsets, np.asarray(ak.to_numpy(content))


def read(branch: Any, entries: IntArray) -> AwkwardRecords:
    """Read a collection of some events; all between the first and the last are decoded.

    Args:
        branch: uproot's branch.
        entries: (E,) events, rising.
    """
    first, last = (int(entries[0]), int(entries[-1]) + 1) if len(entries) else (0, 0)
    array = branch.array(entry_start=first, entry_stop=last, array_cache=None)[entries - first]
    if not array.layout.is_list:
        return AwkwardRecords(np.arange(len(entries) + 1), array.layout)
    return AwkwardRecords(*_lists(array))


def _lists(array: ak.Array) -> tuple[IntArray, Any]:
    packed = ak.to_packed(array).layout.to_ListOffsetArray64(True)
    offsets = np.asarray(packed.offsets.data, dtype=np.int64)
    return offsets, packed.content[: offsets[-1]]


def mdc_covariance(m_err: FloatArray) -> FloatArray:
    """Return the covariances of `m_mdcTrackCol`, packed as the column table wants them.

    BOSS writes the upper triangle row by row; pybes3 up to 0.5.6 unpacks it as a lower one, which no track of a real
    file survives: the matrices are not positive definite. Read back in the order in which they were written they are.
    A reader that has this right is recognised by most of its matrices being positive definite.

    Args:
        m_err: (N, 5, 5) as pybes3 delivers them.

    Returns:
        (N, 15) upper triangles.
    """
    is_right = np.linalg.eigvalsh(m_err)[:, 0] > 0.0
    rows, columns = _UPPER if 2 * np.count_nonzero(is_right) > len(is_right) else _LOWER
    return np.asarray(m_err[:, rows, columns])
