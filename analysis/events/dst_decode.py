"""Decodes all baskets of a BOSS branch at once.

BOSS writes baskets of some ten events. uproot and pybes3 make an awkward array of each and concatenate these, which
takes several times as long as decoding. Here the bytes are concatenated instead, which is the same to the decoder:
every event has its own byte range.

This module needs pybes3 and uproot-custom, and is loaded when a `.dst` is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot
from pybes3.io.root_io import Bes3Interpretation
from uproot_custom.factories import read_branch_with_factory

from jpsi_lnv.analysis.arrays import IntArray


@dataclass(frozen=True)
class Bytes:
    """The undecoded events of one basket: ``data`` and ``(n + 1,)`` byte offsets into it."""

    data: npt.NDArray[np.uint8]
    offsets: IntArray
    cursor_offset: int

    def __len__(self) -> int:
        return len(self.offsets) - 1


class AtOnce(uproot.interpretation.Interpretation):
    """An interpretation of a branch that decodes when all baskets are there.

    Args:
        decoder: pybes3's interpretation of the branch.
    """

    def __init__(self, decoder: Bes3Interpretation) -> None:
        self._decoder = decoder

    @property
    def cache_key(self) -> str:
        """Key of arrays in a cache; not that of pybes3's own."""
        return f"at-once-{self._decoder.cache_key}"

    @property
    def typename(self) -> str:
        """Name of the C++ type."""
        return str(self._decoder.typename)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Type of an element where numpy needs one."""
        return np.dtype(object)

    def basket_array(
        self,
        data: Any,
        byte_offsets: Any,
        basket: Any,
        branch: Any,
        context: Any,
        cursor_offset: int,
        library: Any,
        options: Any,
    ) -> Bytes:
        """Keep the bytes of a basket."""
        del basket, branch, context, library, options  # uproot's signature
        return Bytes(data, np.asarray(byte_offsets, dtype=np.int64), cursor_offset)

    def final_array(
        self,
        basket_arrays: dict[int, Bytes],
        entry_start: int,
        entry_stop: int,
        entry_offsets: list[int],
        library: Any,
        branch: Any,
        options: Any,
    ) -> ak.Array:
        """Decode the wanted events of all baskets."""
        del library, branch, options
        parts = [
            _cut(basket, entry_start - entry_offsets[number], entry_stop - entry_offsets[number])
            for number, basket in sorted(basket_arrays.items())
        ]
        sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(p.offsets) for p in parts)])
        data = np.concatenate([p.data[p.offsets[0] : p.offsets[-1]] for p in parts])
        offsets = np.cumsum(sizes).astype(np.uint32)
        return ak.Array(read_branch_with_factory(self._decoder.factory, data, offsets, parts[0].cursor_offset))


def _cut(basket: Bytes, start: int, stop: int) -> Bytes:
    """Return the events of a basket between two places counted from its first event, as far as it has them."""
    first, last = (min(max(place, 0), len(basket)) for place in (start, stop))
    return Bytes(basket.data, basket.offsets[first : max(first, last) + 1], basket.cursor_offset)
