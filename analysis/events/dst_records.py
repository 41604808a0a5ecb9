"""The collections of a BOSS `.dst` as places in the file's bytes: a member is decoded when it is asked for.

An event's entry in such a branch is a `TObjArray`. Every object in it begins with the count of its bytes and the tag
of its class (the first of a class names it, later ones refer to that place), then once more a count, the version of the
class and the base `TObject`. One pass notes where the first member of each object stands; the places of the others
follow from the file's own description of the class, its streamer info. What is of variable length, a string or a
vector, divides the members into segments, whose places are noted too.

Nothing of the bytes is believed: every count must end where the object or the event ends, so that a damaged file is one
error and never a read outside of the buffer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, IntArray
from jpsi_lnv.analysis.events import dst_walk
from jpsi_lnv.analysis.events.dst_baskets import Basket, Baskets, ByteArray, UnknownLayoutError

# Number that BOSS writes where a record of another collection does not exist.
NO_LINK: Final = -1

# Types of members: name in C++ -> (number in the streamer info, type of numpy).
_NUMBERS: Final = {
    "int": (3, ">i4"),
    "unsigned int": (13, ">u4"),
    "double": (8, ">f8"),
    "float": (5, ">f4"),
    "bool": (18, "?"),
    "short": (2, ">i2"),
    "unsigned short": (12, ">u2"),
}
_BASE: Final = "BASE"
_STRING: Final = "TString"
_VECTOR: Final = "vector<int>"

# What the pass over an event may find.
_FAULTS: Final = {
    1: "an object or a count ends after its event",
    2: "the count of an object's bytes is not right",
    3: "the collection is not one of objects of class {name}",
    4: "an object of class {name} has not the size that the file's description of it gives",
    dst_walk.VERSION: "an object of class {name} is of another version than the first",
}


class DamageError(Exception):
    """An entry is not what the file says it is.

    Attributes:
        entry: Its place in its basket.
    """

    def __init__(self, reason: str, entry: int = 0) -> None:
        super().__init__(reason)
        self.entry = entry


class Member(NamedTuple):
    """Where a member stands: bytes after the beginning of a segment, and what it is."""

    segment: int
    offset: int
    kind: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How one version of a class is written.

    Attributes:
        name: Name of the class.
        version: Version of the class.
        members: Name -> its place; of a vector, the place of its head.
        sizes: (S,) bytes of each segment.
        is_string: (S - 1,) whether a string divides two segments; else a vector does.
    """

    name: str
    version: int
    members: dict[str, Member]
    sizes: IntArray
    is_string: BoolArray


def read_layout(streamer: Any) -> Layout:
    """Return how a class is written.

    Members that follow one of a kind that is not known are left out, and with them the size of the object.

    Args:
        streamer: uproot's streamer info of the class.

    Raises:
        UnknownLayoutError: The class has members that this reader does not know.
        DamageError: The description contradicts itself.
    """
    members: dict[str, Member] = {}
    sizes, is_string = [0], []
    for element in streamer.elements:
        name, kind = element.name, element.typename
        if name == "TObject" and kind == _BASE:
            continue
        if name in members:
            msg = f"class {streamer.name} has two members {name}"
            raise DamageError(msg)
        if kind in (_STRING, _VECTOR):
            members[name] = Member(len(sizes) - 1, sizes[-1], np.dtype(">i4"), ())
            is_string.append(kind == _STRING)
            sizes.append(0)
            continue
        if kind not in _NUMBERS:
            msg = f"member {name} of class {streamer.name} is {kind}"
            raise UnknownLayoutError(msg)
        number, code = _NUMBERS[kind]
        length = int(element.member("fArrayLength"))
        if element.member("fType") != number or length < 0:
            msg = f"member {name} of class {streamer.name} is {kind} by name and {element.member('fType')} by number"
            raise DamageError(msg)
        dtype = np.dtype(code)
        members[name] = Member(len(sizes) - 1, sizes[-1], dtype, (length,) if length else ())
        sizes[-1] += dtype.itemsize * max(length, 1)
    return Layout(
        streamer.name, int(streamer.class_version), members, np.array(sizes), np.array(is_string, dtype=np.bool_)
    )


PAIR: Final = Layout(
    "pair<int,int>",
    0,
    {"key": Member(0, 0, np.dtype(">i4"), ()), "val": Member(1, 0, np.dtype(">i4"), ())},
    np.zeros(2, np.int64),
    np.zeros(0, np.bool_),
)


# Names of members -> their shapes.
Shapes = Mapping[str, tuple[int, ...]]


class Records(Protocol):
    """One collection over some events: N records."""

    @property
    def offsets(self) -> IntArray:
        """``(E + 1,)``: records of event i are ``offsets[i]`` to ``offsets[i + 1]``."""

    def select(self, chosen: BoolArray) -> Records:
        """Return the records of the chosen events, ``(E,)``."""

    def column(self, name: str, *shape: int) -> AnyArray:
        """Return one member of all records, ``(N, *shape)``."""

    def pick(self, name: str, row: IntArray, fill: float, *shape: int) -> AnyArray:
        """Return one member of the records of some rows, ``(T, *shape)``; `fill` where the row is `NO_LINK`."""

    def pick_all(self, members: Shapes, row: IntArray, fill: float) -> dict[str, AnyArray]:
        """Return several members as `pick` returns one, which takes less time."""

    def nested(self, name: str) -> tuple[IntArray, AnyArray]:
        """Return a member that is a vector: offsets ``(N + 1,)`` and all its entries."""


@dataclass(frozen=True)
class Piece:
    """Records in one buffer.

    Attributes:
        data: The buffer.
        places: (N, S) first byte of each segment of each record.
        layout: How they are written.
    """

    data: ByteArray
    places: IntArray
    layout: Layout


@dataclass(frozen=True)
class PlacedRecords:
    """Records of which the places in the file's bytes are known.

    Attributes:
        offsets: (E + 1,) records of event i are ``offsets[i]`` to ``offsets[i + 1]``.
        pieces: The buffers that hold any, in order.
    """

    offsets: IntArray
    pieces: tuple[Piece, ...]

    @cached_property
    def first(self) -> IntArray:
        """(P + 1,) first record of each piece, and the number of records."""
        return np.cumsum([0, *(len(piece.places) for piece in self.pieces)])

    def select(self, chosen: BoolArray) -> PlacedRecords:
        """Return the records of the chosen events, ``(E,)``."""
        is_kept = chosen[event_of(self)]
        own = [is_kept[start:stop] for start, stop in itertools.pairwise(self.first)]
        pieces = [replace(p, places=p.places[kept]) for p, kept in zip(self.pieces, own, strict=True) if kept.any()]
        return PlacedRecords(selected(self.offsets, chosen), tuple(pieces))

    def column(self, name: str, *shape: int) -> AnyArray:
        """Return one member of all records, ``(N, *shape)``.

        Raises:
            DamageError: The class has no such member, or one of another shape.
        """
        return self.pick(name, np.arange(self.offsets[-1]), 0, *shape)

    def pick(self, name: str, row: IntArray, fill: float, *shape: int) -> AnyArray:
        """Return one member of the records of some rows, ``(T, *shape)``; `fill` where the row is `NO_LINK`.

        Raises:
            DamageError: The class has no such member, or one of another shape or of several types.
        """
        return self.pick_all({name: shape}, row, fill)[name]

    def pick_all(self, members: Shapes, row: IntArray, fill: float) -> dict[str, AnyArray]:
        """Return several members as `pick` returns one; those that stand together are read together."""
        if not self.pieces:
            return {name: np.full((len(row), *shape), fill) for name, shape in members.items()}
        groups: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}
        for name, shape in members.items():
            member = _member(self.pieces[0].layout, name, shape)
            groups.setdefault((member.segment, member.kind.itemsize), {})[name] = shape
        found = [self._pick_group(group, row, fill) for group in groups.values()]
        return {name: values for group in found for name, values in group.items()}

    def _pick_group(self, members: Shapes, row: IntArray, fill: float) -> dict[str, AnyArray]:
        """Return members of one size in one segment."""
        kinds = {name: _member(self.pieces[0].layout, name, shape).kind for name, shape in members.items()}
        ends = np.cumsum([0, *map(math.prod, members.values())])
        size = next(iter(kinds.values())).itemsize
        words = np.empty((len(row), ends[-1]), f"u{size}")
        out = {
            name: words[:, start:end].view(kind.newbyteorder("=")).reshape(len(row), *members[name])
            for (name, kind), start, end in zip(kinds.items(), ends, ends[1:], strict=False)
        }
        absent = (row < 0) | (row >= self.first[-1])
        if absent.any():
            for values in out.values():
                values[absent] = fill
        gather = {4: dst_walk.gather_4, 8: dst_walk.gather_8}.get(size, dst_walk.gather_small)
        spans = np.zeros((len(self.pieces), 2), np.int64)
        dst_walk.find_spans(row, self.first, spans)
        for piece, first, (start, stop) in zip(self.pieces, self.first, spans, strict=False):
            segment, offsets = _offsets(piece.layout, members, kinds)
            gather(piece.data, piece.places[:, segment], offsets, row[start:stop] - first, words[start:stop])
        return out

    def nested(self, name: str) -> tuple[IntArray, AnyArray]:
        """Return a member that is a vector: offsets ``(N + 1,)`` and all its entries."""
        counts, entries = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
        for piece in self.pieces:
            member = _member(piece.layout, name, ())
            at = piece.places[:, member.segment] + member.offset + dst_walk.VECTOR_HEAD - dst_walk.INT_SIZE
            n = np.empty((len(at), 1), np.uint32)
            dst_walk.gather_4(piece.data, at, np.zeros(1, np.int64), np.arange(len(at)), n)
            counts.append(n[:, 0].astype(np.int64))
            entries.append(np.empty(int(n.sum()), np.int32))
            dst_walk.gather_vectors(piece.data, at + dst_walk.INT_SIZE, counts[-1], entries[-1].view(np.uint32))
        return np.cumsum(np.concatenate(counts)), np.concatenate(entries)


def place_arrays(basket: Basket, entries: IntArray, layouts: Layouts) -> tuple[IntArray, Piece]:
    """Find the objects of a `TObjArray` per entry.

    Args:
        basket: Where they are.
        entries: (E,) entries of the basket.
        layouts: How the class is written.

    Returns:
        (E,) objects of each entry, and the objects.

    Raises:
        DamageError: An entry is not what it should be.
        UnknownLayoutError: The entries are whole, but of a version of the class that the file does not describe.
    """
    counts = np.empty(len(entries), np.int64)
    _require(dst_walk.count_objects(basket.data, basket.edges, entries, counts), layouts.name)
    n = int(counts.sum())
    return counts, _placed(dst_walk.walk_arrays, basket, entries, n, layouts)


def place_objects(basket: Basket, entries: IntArray, layouts: Layouts) -> tuple[IntArray, Piece]:
    """Find the one object per entry; otherwise as `place_arrays`."""
    return np.ones(len(entries), np.int64), _placed(dst_walk.walk_objects, basket, entries, len(entries), layouts)


def place_pairs(basket: Basket, entries: IntArray, layouts: Layouts) -> tuple[IntArray, Piece]:
    """Find the pairs of a `multimap<int, int>` per entry; otherwise as `place_arrays`."""
    del layouts
    counts = np.empty(len(entries), np.int64)
    _require(dst_walk.count_pairs(basket.data, basket.edges, entries, counts), PAIR.name)
    places = np.empty((int(counts.sum()), 2), np.int64)
    dst_walk.walk_pairs(basket.edges, entries, counts, places)
    return counts, Piece(basket.data, places, PAIR)


Placing = Callable[[Basket, IntArray, "Layouts"], tuple[IntArray, Piece]]


@dataclass(frozen=True)
class Layouts:
    """How a class is written in a file, per version.

    Attributes:
        name: Name of the class.
        streamers: Version -> uproot's streamer info.
    """

    name: str
    streamers: dict[int, Any]
    _known: dict[int, Layout] = field(default_factory=dict)

    @property
    def newest(self) -> Layout:
        """The newest version.

        Raises:
            UnknownLayoutError: The file does not describe the class.
        """
        if not self.streamers:
            msg = f"the file does not describe the class {self.name}"
            raise UnknownLayoutError(msg)
        return self[max(self.streamers)]

    def __getitem__(self, version: int) -> Layout:
        if version not in self._known:
            self._known[version] = read_layout(self.streamers[version])
        return self._known[version]


def collect(baskets: Baskets, entries: IntArray, place: Placing, layouts: Layouts) -> PlacedRecords:
    """Return the records of some entries of a branch.

    Args:
        baskets: The branch, fetched.
        entries: (E,) entries of the tree, rising.
        place: What finds the records in a basket.
        layouts: How their class is written.

    Raises:
        NtupleError: An entry is damaged.
        UnknownLayoutError: The branch is written in a way that is not known.
    """
    counts, pieces = [np.zeros(1, np.int64)], []
    numbers = baskets.numbers(int(entries[0]), int(entries[-1]) + 1) if len(entries) else ()
    for number in numbers:
        first, end = baskets.edges[number : number + 2]
        own = entries[slice(*np.searchsorted(entries, (first, end)))] - first
        if not len(own):
            continue
        try:
            n, piece = place(baskets[number], own, layouts)
        except DamageError as error:
            raise baskets.damage(str(error), int(first + own[error.entry])) from None
        counts.append(n)
        pieces += [piece] if len(piece.places) else []
    return PlacedRecords(np.cumsum(np.concatenate(counts)), tuple(pieces))


def row_of(records: Records, event: IntArray, number: AnyArray) -> IntArray:
    """Return the row of record `number` of each `event`; `NO_LINK` where there is no such record.

    Args:
        records: The collection.
        event: (M,) events.
        number: (M,) place of the record within its event, as BOSS's links give it.
    """
    number = np.asarray(number, dtype=np.int64)
    exists = (number >= 0) & (number < np.diff(records.offsets)[event])
    return np.where(exists, records.offsets[:-1][event] + number, NO_LINK)


def selected(offsets: IntArray, chosen: BoolArray) -> IntArray:
    """Return the offsets of the records of the chosen events, ``(E,)``."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.diff(offsets)[chosen])])


def event_of(records: Records) -> IntArray:
    """Return the event of each record, (N,)."""
    return np.repeat(np.arange(len(records.offsets) - 1), np.diff(records.offsets))


def _require(found: tuple[int, int], name: str) -> None:
    code, place = found
    if code != dst_walk.FINE:
        raise DamageError(_FAULTS[code].format(name=name), place)


def _placed(walk: Any, basket: Basket, entries: IntArray, n: int, layouts: Layouts) -> Piece:
    """Note the places of n objects; of another version than the newest, by the description of that one."""

    def run(layout: Layout, version: int) -> tuple[int, int, int]:
        shape = layout.sizes, layout.is_string
        found: tuple[int, int, int] = walk(
            basket.data, basket.edges, entries, basket.key_length, name, version, *shape, places
        )
        return found

    if not n:
        return Piece(basket.data, np.empty((0, 1), np.int64), PAIR)
    layout = layouts.newest
    name = np.frombuffer(layout.name.encode() + b"\0", np.uint8)
    places = np.empty((n, len(layout.sizes)), np.int64)
    code, where, version = run(layout, layout.version)
    is_known = version in layouts.streamers
    if code == dst_walk.VERSION:
        if is_known:
            layout = layouts[version]
            places = np.empty((n, len(layout.sizes)), np.int64)
        again, place, _ = run(layout, version)
        code, where = (code, where) if again == dst_walk.VERSION else (again, place)
    _require((code, where), layout.name)
    if not is_known:
        msg = f"class {layout.name} has version {version}, which the file does not describe"
        raise UnknownLayoutError(msg)
    return Piece(basket.data, places, layout)


def _offsets(layout: Layout, members: Shapes, kinds: Mapping[str, np.dtype[Any]]) -> tuple[int, IntArray]:
    """Return the segment of members that stand together, and the place in it of each of their numbers."""
    found = {name: _member(layout, name, shape) for name, shape in members.items()}
    (segment, *others) = {member.segment for member in found.values()}
    if others or any(member.kind != kinds[name] for name, member in found.items()):
        msg = f"class {layout.name} has members {', '.join(members)} of other types in version {layout.version}"
        raise DamageError(msg)
    steps = [m.offset + m.kind.itemsize * np.arange(math.prod(m.shape)) for m in found.values()]
    return segment, np.concatenate(steps)


def _member(layout: Layout, name: str, shape: tuple[int, ...]) -> Member:
    found = layout.members.get(name)
    if found is None or found.shape != shape:
        has = f"no member {name}" if found is None else f"a member {name} of shape {found.shape}, wanted {shape}"
        msg = f"class {layout.name}, version {layout.version}, has {has}"
        raise DamageError(msg)
    return found
