"""The collections of a BOSS `.dst` as flat numpy arrays, and the links between them.

pybes3 teaches uproot the classes of BOSS; here an awkward array of records becomes offsets and plain columns at once,
so that everything after it is numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import awkward as ak
import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, IntArray

# Number that BOSS writes where a record of another collection does not exist.
NO_LINK: Final = -1


@dataclass(frozen=True)
class Records:
    """One collection over a range of events.

    Attributes:
        offsets: (E + 1,) records of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        content: awkward layout of all records, one after the other.
    """

    offsets: IntArray
    content: Any

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def event(self) -> IntArray:
        """(N,) event of each record."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def column(self, name: str, *shape: int) -> AnyArray:
        """Return one member of all records, ``(N, *shape)``; a file without any record does not know its members."""
        if not len(self):
            return np.empty((0, *shape))
        return np.asarray(ak.to_numpy(self.content[name]))

    def nested(self, name: str) -> tuple[IntArray, AnyArray]:
        """Return a member that is a list: offsets ``(N + 1,)`` and all its entries."""
        if not len(self):
            return np.zeros(1, np.int64), np.empty(0, np.int64)
        return flatten(self.content[name])

    def row(self, event: IntArray, number: AnyArray) -> IntArray:
        """Return the global row of record `number` of each `event`; `NO_LINK` where there is no such record.

        Args:
            event: (M,) events.
            number: (M,) place of the record within its event, as BOSS's links give it.
        """
        number = np.asarray(number, dtype=np.int64)
        exists = (number >= 0) & (number < np.diff(self.offsets)[event])
        return np.where(exists, self.offsets[:-1][event] + number, NO_LINK)


def read(branch: Any, start: int, stop: int) -> Records:
    """Read a collection of events `start` to `stop`; nothing is cached, a chunk is read once."""
    from jpsi_lnv.analysis.events.dst_decode import AtOnce  # noqa: PLC0415 needs pybes3, an optional extra

    decoder = AtOnce(branch.interpretation)
    layout = branch.array(decoder, entry_start=start, entry_stop=stop, array_cache=None).layout
    offsets = np.asarray(layout.offsets.data, dtype=np.int64)
    return Records(offsets - offsets[0], layout.content[offsets[0] : offsets[-1]])


def flatten(layout: Any) -> tuple[IntArray, AnyArray]:
    """Return offsets, starting at 0, and entries of an awkward list layout of numbers."""
    packed = layout.to_ListOffsetArray64(True)
    offsets = np.asarray(packed.offsets.data, dtype=np.int64)
    return offsets, np.asarray(ak.to_numpy(packed.content))[: offsets[-1]]


def take(values: AnyArray, row: IntArray, fill: float) -> AnyArray:
    """Return ``values[row]``, and `fill` where the row is `NO_LINK`."""
    out = np.full((len(row), *values.shape[1:]), fill, dtype=np.result_type(values.dtype, type(fill)))
    has_row = row != NO_LINK
    out[has_row] = values[row[has_row]]
    return out
