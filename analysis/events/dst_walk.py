"""The compiled pass over the bytes of a `.dst` branch; `analysis.events.dst_records` says how its objects are laid out.

Every function is called with places that lie within the buffer, and believes no count that it finds there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, IntArray, kernel
from jpsi_lnv.analysis.events.dst_baskets import ByteArray

# What the pass over an event may find; `dst_records` has the words.
FINE: Final = 0
VERSION: Final = 5

INT_SIZE: Final = 4
_ARRAY_HEAD: Final = 25
_OBJECT_HEAD: Final = 16
VECTOR_HEAD: Final = 10
_HAS_COUNT: Final = 0x4000_0000
_COUNT: Final = 0x3FFF_FFFF
_NEW_CLASS: Final = 0xFFFF_FFFF
_OLD_CLASS: Final = 0x8000_0000
_LONG_STRING: Final = 255
# Of a map: count, version with the bit for writing by member, version and checksum of the pair, number of pairs.
_PAIRS_HEAD: Final = 16
_BY_MEMBER: Final = 0x4000
# Bit of a TObject that says that two more bytes follow.
_IS_REFERENCED: Final = 0x10


@kernel
def _word(data: ByteArray, at: int) -> Any:
    # Indices without a sign: with one, a check for counting from the end stands between the bytes of a word.
    i = np.uint64(at)
    return np.int64(
        (np.uint32(data[i]) << np.uint32(24))
        | (np.uint32(data[i + np.uint64(1)]) << np.uint32(16))
        | (np.uint32(data[i + np.uint64(2)]) << np.uint32(8))
        | np.uint32(data[i + np.uint64(3)])
    )


@kernel
def _long(data: ByteArray, at: int) -> Any:
    # One expression of eight bytes is one load; two words of four are not.
    i = np.uint64(at)
    return (
        (np.uint64(data[i]) << np.uint64(56))
        | (np.uint64(data[i + np.uint64(1)]) << np.uint64(48))
        | (np.uint64(data[i + np.uint64(2)]) << np.uint64(40))
        | (np.uint64(data[i + np.uint64(3)]) << np.uint64(32))
        | (np.uint64(data[i + np.uint64(4)]) << np.uint64(24))
        | (np.uint64(data[i + np.uint64(5)]) << np.uint64(16))
        | (np.uint64(data[i + np.uint64(6)]) << np.uint64(8))
        | np.uint64(data[i + np.uint64(7)])
    )


@kernel
def _half(data: ByteArray, at: int) -> Any:
    i = np.uint64(at)
    return np.int64((np.uint32(data[i]) << np.uint32(8)) | np.uint32(data[i + np.uint64(1)]))


@kernel
def _counts_to(data: ByteArray, at: int, end: int) -> bool:
    """Whether the count of bytes at a place leads to an end."""
    return _word(data, at) == (_HAS_COUNT | (end - at - INT_SIZE))


@kernel
def _array_head(data: ByteArray, start: int, stop: int) -> tuple[int, int, int]:
    """Return what is found, the number of objects, and where the first begins."""
    if stop - start < _ARRAY_HEAD:
        return 1, 0, 0
    if not _counts_to(data, start, stop):
        return 2, 0, 0
    at = start + _OBJECT_HEAD + (2 if _word(data, start + 12) & _IS_REFERENCED else 0)
    at += 1 + data[at]  # the name of the array
    if at + 2 * INT_SIZE > stop:
        return 1, 0, 0
    n = _word(data, at)
    at += 2 * INT_SIZE
    return (1 if n * (INT_SIZE * 2 + _OBJECT_HEAD) > stop - at else 0), n, at


@kernel
def count_objects(data: ByteArray, edges: IntArray, entries: IntArray, counts: IntArray) -> tuple[int, int]:
    """Count the objects of each entry; return what was found, and in which entry."""
    for i in range(len(entries)):
        code, counts[i], _ = _array_head(data, edges[entries[i]], edges[entries[i] + 1])
        if code != FINE:
            return code, i
    return FINE, 0


@kernel
def _object(
    data: ByteArray, at: int, end: int, version: int, sizes: IntArray, is_string: BoolArray, places: IntArray
) -> tuple[int, int]:
    """Note the segments of the object between two places; return what is found and its version."""
    if end - at < _OBJECT_HEAD:
        return 1, 0
    if not _counts_to(data, at, end):
        return 2, 0
    found = _half(data, at + 4)
    if found != version:
        return VERSION, found
    at += _OBJECT_HEAD + (2 if _word(data, at + 12) & _IS_REFERENCED else 0)
    for segment in range(len(sizes)):
        places[segment] = at
        at += sizes[segment]
        if segment < len(is_string):
            if at + VECTOR_HEAD > end:
                return 4, found
            if not is_string[segment]:
                n = _word(data, at + 6)
                if not _counts_to(data, at, at + VECTOR_HEAD + INT_SIZE * n):
                    return 4, found
                at += VECTOR_HEAD + INT_SIZE * n
            elif data[at] == _LONG_STRING:
                at += 1 + INT_SIZE + _word(data, at + 1)
            else:
                at += 1 + data[at]
    return (FINE if at == end else 4), found


@kernel
def _class_tag(data: ByteArray, at: int, end: int, first: int, key_length: int, name: ByteArray) -> tuple[int, int]:
    """Return where an object begins after its tag, 0 if it is not of the class, and where the class is named."""
    tag = _word(data, at + INT_SIZE)
    body = at + 2 * INT_SIZE
    if tag != _NEW_CLASS:
        return (body if first > 0 and tag == (_OLD_CLASS | (first + key_length + 2)) else 0), first
    if body + len(name) > end:
        return 0, 0
    for k in range(len(name)):
        if data[body + k] != name[k]:
            return 0, 0
    return body + len(name), at + INT_SIZE


@kernel
def walk_arrays(
    data: ByteArray,
    edges: IntArray,
    entries: IntArray,
    key_length: int,
    name: ByteArray,
    version: int,
    sizes: IntArray,
    is_string: BoolArray,
    places: IntArray,
) -> tuple[int, int, int]:
    """Note the segments of all objects; return what is found, in which of the entries, and the version."""
    row = 0
    for i in range(len(entries)):
        stop = edges[entries[i] + 1]
        _, n, at = _array_head(data, edges[entries[i]], stop)
        first = 0
        for _ in range(n):
            if at + 2 * INT_SIZE > stop:
                return 1, i, version
            count = _word(data, at)
            end = at + INT_SIZE + (count & _COUNT)
            if not count & _HAS_COUNT or end > stop:
                return 2, i, version
            body, first = _class_tag(data, at, end, first, key_length, name)
            if body == 0:
                return 3, i, version
            code, found = _object(data, body, end, version, sizes, is_string, places[row])
            if code != FINE:
                return code, i, found
            row += 1
            at = end
        if at != stop:
            return 2, i, version
    return FINE, 0, version


@kernel
def walk_objects(
    data: ByteArray,
    edges: IntArray,
    entries: IntArray,
    key_length: int,  # noqa: ARG001 called as _walk_arrays is
    name: ByteArray,  # noqa: ARG001
    version: int,
    sizes: IntArray,
    is_string: BoolArray,
    places: IntArray,
) -> tuple[int, int, int]:
    """As `_walk_arrays`, for entries that are one object."""
    for i in range(len(entries)):
        start, stop = edges[entries[i]], edges[entries[i] + 1]
        code, found = _object(data, start, stop, version, sizes, is_string, places[i])
        if code != FINE:
            return code, i, found
    return FINE, 0, version


@kernel
def count_pairs(data: ByteArray, edges: IntArray, entries: IntArray, counts: IntArray) -> tuple[int, int]:
    """Count the pairs of each entry: a map is written as its keys, then its values."""
    for i in range(len(entries)):
        start, stop = edges[entries[i]], edges[entries[i] + 1]
        if stop - start < _PAIRS_HEAD:
            return 1, i
        if not _counts_to(data, start, stop):
            return 2, i
        counts[i] = _word(data, start + _PAIRS_HEAD - INT_SIZE)
        is_by_member = _half(data, start + 4) & _BY_MEMBER and _half(data, start + 6) == 0
        if not is_by_member or stop - start != _PAIRS_HEAD + 2 * INT_SIZE * counts[i]:
            return 4, i
    return FINE, 0


@kernel
def walk_pairs(edges: IntArray, entries: IntArray, counts: IntArray, places: IntArray) -> None:
    """Note the places of key and value of every pair."""
    row = 0
    for i in range(len(entries)):
        at = edges[entries[i]] + _PAIRS_HEAD
        for k in range(counts[i]):
            places[row, 0] = at + INT_SIZE * k
            places[row, 1] = at + INT_SIZE * (counts[i] + k)
            row += 1


@kernel
def find_spans(row: IntArray, first: IntArray, spans: IntArray) -> None:
    """Write for each piece of the rows between which of them its own lie; rows of no piece are passed by.

    Args:
        row: Rows, in any order; those in the order of the pieces are found fastest.
        first: (P + 1,) first row of each piece, and the number of rows.
        spans: (P, 2) where to write; empty spans as they come.
    """
    piece = 0
    for i in range(len(row)):
        if not first[0] <= row[i] < first[-1]:
            continue
        while row[i] < first[piece]:
            piece -= 1
        while row[i] >= first[piece + 1]:
            piece += 1
        if spans[piece, 1] == 0:
            spans[piece, 0] = i
        spans[piece, 1] = i + 1


@kernel
def gather_4(data: ByteArray, places: IntArray, offsets: IntArray, row: IntArray, out: AnyArray) -> None:
    """Write the numbers that stand at some offsets from the places of some rows; rows without a place stay.

    Most of the time goes into waiting for the bytes of a record: read all that is wanted of it at once.
    """
    for i in range(len(row)):
        if 0 <= row[i] < len(places):
            at = places[row[i]]
            for k in range(len(offsets)):
                out[i, k] = _word(data, at + offsets[k])


@kernel
def gather_8(data: ByteArray, places: IntArray, offsets: IntArray, row: IntArray, out: AnyArray) -> None:
    """Write numbers of eight bytes, as `gather_4` those of four."""
    for i in range(len(row)):
        if 0 <= row[i] < len(places):
            at = places[row[i]]
            for k in range(len(offsets)):
                out[i, k] = _long(data, at + offsets[k])


@kernel
def gather_small(data: ByteArray, places: IntArray, offsets: IntArray, row: IntArray, out: AnyArray) -> None:
    """Write numbers of one or two bytes, as `gather_4` those of four."""
    for i in range(len(row)):
        if 0 <= row[i] < len(places):
            at = places[row[i]]
            for k in range(len(offsets)):
                out[i, k] = data[at + offsets[k]] if out.itemsize == 1 else _half(data, at + offsets[k])


@kernel
def gather_vectors(data: ByteArray, places: IntArray, counts: IntArray, out: AnyArray) -> None:
    """Write the numbers of vectors of integers, one after the other."""
    row = 0
    for i in range(len(places)):
        for k in range(counts[i]):
            out[row] = _word(data, places[i] + INT_SIZE * k)
            row += 1
