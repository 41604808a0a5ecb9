"""Reads the baskets of a ROOT branch, each once, whatever the chunks are, and decompresses those that are looked at.

A basket is a key (lengths, class, name, number of entries), then its entries one after the other, compressed in blocks,
then the place of each entry unless all are of one size. What uproot knows of the branch (places and sizes of the
baskets) is taken from it; the bytes of all branches of a chunk are asked for together, which over a network is a vector
read. libdeflate (PyPI `deflate`) decompresses in half of zlib's time, and is used where it is installed.
"""

from __future__ import annotations

import os
import queue
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, IntArray
from jpsi_lnv.analysis.errors import NtupleError

ByteArray = npt.NDArray[np.uint8]
# Most bytes that a basket's key may say it decompresses to: damage must not fill the memory. BOSS's have 3.2 MB.
MOST_BYTES: Final = 1 << 28

# Of a key: its bytes with the basket, version, bytes uncompressed, date, bytes of the key alone.
_KEY: Final = struct.Struct(">ihiIh")
# At the end of a basket's key: version, buffer size, bytes per entry or places, entries, end of the entries, flag.
_BASKET: Final = struct.Struct(">hiiiib")
_BLOCK: Final = struct.Struct("<2sB3s3s")
_ZLIB: Final = b"ZL"


class UnknownLayoutError(Exception):
    """A branch is whole, but is not written in the way that is known here."""


@dataclass(frozen=True)
class Basket:
    """A basket's entries.

    Attributes:
        data: Their bytes.
        edges: (n + 1,) entry i is ``data[edges[i] : edges[i + 1]]``.
        key_length: Bytes of the key: what a reference within the entries is counted from.
    """

    data: ByteArray
    edges: IntArray
    key_length: int


@dataclass
class Baskets:
    """The baskets of one branch of an open file.

    Attributes:
        path: File, for messages.
        branch: uproot's branch.
        edges: (n + 1,) first event of each basket, and the number of events.
        kept: Number -> basket that a later chunk may need again.
        packed: Number -> bytes of a basket that came over a network and that nobody has looked at.

    Raises:
        NtupleError: The baskets do not hold the events of the branch.
        UnknownLayoutError: Some events are elsewhere.
    """

    path: str
    branch: Any
    kept: dict[int, Basket] = field(default_factory=dict)
    packed: dict[int, ByteArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.branch.embedded_baskets:
            msg = "its last events are not in baskets of their own"
            raise UnknownLayoutError(msg)
        n, n_entries = int(self.branch.member("fWriteBasket")), int(self.branch.member("fEntries"))
        first, self._seek, self._size = (
            np.asarray(self.branch.member(name), np.int64)[:n]
            for name in ("fBasketEntry", "fBasketSeek", "fBasketBytes")
        )
        self.edges: IntArray = np.append(first, n_entries)
        is_whole = n == len(first) == len(self._seek) == len(self._size)
        is_whole &= bool((self._size > 0).all() and (self._size <= MOST_BYTES).all())
        if not is_whole or self.edges[0] != 0 or (np.diff(self.edges) <= 0).any():
            reason = "its table of baskets does not hold its events"
            raise self.damage(reason)

    @property
    def name(self) -> str:
        """Name of the branch."""
        return str(self.branch.name)

    def numbers(self, start: int, stop: int) -> range:
        """Return the baskets that hold entries `start` to `stop`."""
        if stop <= start:
            return range(0)
        first, last = np.searchsorted(self.edges, (start, stop - 1), side="right") - 1
        return range(int(first), int(last) + 1)

    def span(self, number: int) -> tuple[int, int]:
        """Return the bytes of the file that a basket takes."""
        return int(self._seek[number]), int(self._seek[number] + self._size[number])

    def forget(self, start: int) -> None:
        """Drop the baskets that end before an entry."""
        for held in (self.kept, self.packed):
            for number in [n for n in held if self.edges[n + 1] <= start]:
                del held[number]

    def __getitem__(self, number: int) -> Basket:
        """Return a basket.

        It is decompressed when it is asked for, so that its bytes are still near the processor when they are walked.

        Raises:
            NtupleError: It is damaged.
        """
        if number not in self.kept:
            first, end = (int(edge) for edge in self.edges[number : number + 2])
            raw = self.packed.pop(number) if number in self.packed else _read(self.path, *self.span(number))
            try:
                self.kept[number] = _unpack(raw, end - first)
            except (ValueError, struct.error, zlib.error) as error:
                raise self.damage(str(error), first, end) from error
        return self.kept[number]

    def damage(self, reason: str, start: int | None = None, stop: int | None = None) -> NtupleError:
        """Return the error that names file, branch and entries."""
        where = "" if start is None else f", event {start}" if stop is None else f", events {start} to {stop}"
        return NtupleError(f"{self.path}, branch {self.name}{where}: is damaged: {reason}")


def fetch(source: Any, branches: Sequence[Baskets], start: int, stop: int) -> None:
    """Make ready for entries `start` to `stop`: drop what ends before, and over a network ask for all of it at once.

    Args:
        source: uproot's source of the file.
        branches: Branches of one tree.
        start: First entry.
        stop: One more than the last entry.
    """
    for branch in branches:
        branch.forget(start)
    remote = [branch for branch in branches if "://" in branch.path]
    wanted = [(b, n) for b in remote for n in b.numbers(start, stop) if n not in b.kept and n not in b.packed]
    if not wanted:
        return
    chunks = source.chunks([branch.span(number) for branch, number in wanted], queue.Queue())
    for (branch, number), chunk in zip(wanted, chunks, strict=True):
        branch.packed[number] = np.asarray(chunk.raw_data)


def _read(path: str, start: int, stop: int) -> ByteArray:
    """Return some bytes of a local file."""
    with Path(path).open("rb") as file:
        return np.frombuffer(os.pread(file.fileno(), stop - start, start), np.uint8)


def _unpack(raw: ByteArray, n_entries: int) -> Basket:
    """Return the entries of a basket from its bytes in the file."""
    view = memoryview(raw.data)
    n_bytes, _, n_plain, _, key_length = _KEY.unpack_from(view)
    if n_bytes != len(raw) or not _KEY.size + _BASKET.size < key_length <= n_bytes or not 0 <= n_plain <= MOST_BYTES:
        msg = f"the key of a basket of {len(raw)} bytes counts {n_bytes}, {n_plain} of them unpacked"
        raise ValueError(msg)
    _, _, width, n, last, _ = _BASKET.unpack_from(view, key_length - _BASKET.size)
    border = last - key_length
    if n != n_entries or not 0 <= border <= n_plain:
        msg = f"the key of a basket counts {n} events up to byte {border} of {n_plain}, wanted {n_entries} events"
        raise ValueError(msg)
    data = _decompress(view[key_length:], n_plain)
    return Basket(data[:border], _edges(data, border, width, n, key_length), key_length)


def _edges(data: ByteArray, border: int, width: int, n: int, key_length: int) -> IntArray:
    """Return where the entries begin and end: the table after them, or equal steps where there is none."""
    if border == len(data):
        if n * width != border:
            msg = f"{n} events of {width} bytes do not fill {border}"
            raise ValueError(msg)
        return np.arange(n + 1) * width
    table = data[border:].view(">i4") if (len(data) - border) % 4 == 0 else np.empty(0, ">i4")
    # The number of places, the places counted from the key, and one that means nothing.
    if len(table) != n + 2 or table[0] != n + 1:
        msg = f"the table of {n} events has {len(table)} words"
        raise ValueError(msg)
    edges = table[1:].astype(np.int64) - key_length
    edges[-1] = border
    if edges[0] != 0 or (edges[1:] < edges[:-1]).any():
        msg = "events do not follow one another"
        raise ValueError(msg)
    return edges


def _decompress(packed: memoryview, n_plain: int) -> ByteArray:
    if len(packed) == n_plain:
        return np.frombuffer(packed, np.uint8)
    parts, place = [], 0
    while place < len(packed):
        kind, _, size, plain = _BLOCK.unpack_from(packed, place)
        end = place + _BLOCK.size + int.from_bytes(size, "little")
        if end > len(packed):
            msg = "a compressed block ends after its basket"
            raise ValueError(msg)
        inflate = _inflate if kind == _ZLIB else _other(kind)
        parts.append(inflate(packed[place + _BLOCK.size : end], int.from_bytes(plain, "little")))
        place = end
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(data) != n_plain:
        msg = f"got {len(data)} bytes unpacked, wanted {n_plain}"
        raise ValueError(msg)
    return np.frombuffer(data, np.uint8)


def _other(kind: bytes) -> Callable[[memoryview, int], bytes | bytearray]:
    """Return uproot's decompressor of what is not zlib, as no file of BOSS is."""
    codes = {k._2byte: k for k in uproot.compression.algorithm_codes.values()}
    if kind not in codes:
        msg = f"compression {kind!r} is not known"
        raise ValueError(msg)
    decompressor = codes[kind](1)
    skip = 8 if kind == b"L4" else 0
    return lambda packed, size: bytes(decompressor.decompress(packed[skip:], size))


def _inflate_slowly(packed: memoryview, size: int) -> bytes | bytearray:
    """Decompress by Python's own zlib; a block that gets longer than it says is not followed to its end."""
    stream = zlib.decompressobj()
    data = stream.decompress(packed, size + 1)
    if not stream.eof or len(data) != size:
        msg = f"a compressed block is not of the {size} bytes it says"
        raise ValueError(msg)
    return data


def _inflate_fast(packed: memoryview, size: int) -> bytes | bytearray:
    try:
        data = _deflate.zlib_decompress(packed, size)
    except _deflate.DeflateError as error:
        msg = f"a compressed block is broken: {error}"
        raise ValueError(msg) from None
    if len(data) != size:
        msg = f"a compressed block is not of the {size} bytes it says"
        raise ValueError(msg)
    return data


try:
    import deflate as _deflate

    _inflate = _inflate_fast
except ImportError:
    _inflate = _inflate_slowly


def numbers(baskets: Baskets, start: int, stop: int, kind: str) -> AnyArray:
    """Return a branch of one number per entry, such as run numbers.

    Args:
        baskets: Fetched from `start` to `stop`.
        start: First entry.
        stop: One more than the last entry.
        kind: Type in the file, such as ``>i4``.

    Raises:
        NtupleError: The entries are not of that size.
    """
    parts = [np.empty(0, kind)]
    for number in baskets.numbers(start, stop):
        basket, first = baskets[number], baskets.edges[number]
        if len(basket.data) != (len(basket.edges) - 1) * np.dtype(kind).itemsize:
            reason = f"its entries are not {kind}"
            raise baskets.damage(reason, *baskets.edges[number : number + 2])
        parts.append(basket.data.view(kind)[max(start - first, 0) : stop - first])
    return np.concatenate(parts).astype(np.dtype(kind).newbyteorder("="))
