"""Flat numpy columns of a chunk of events, which is what the hot path works on.

A collection is a pair of `offsets` (one more than events) and flat columns; entry ``offsets[i]:offsets[i + 1]`` belongs
to event i. `ChunkColumns` reads a branch at its first use, `ArrayColumns` holds arrays that exist already, and
`ChosenEvents` are some events of another chunk. `variations` are a chunk's columns with some of its tracks' changed,
the rest shared; random changes depend on run, event and the track's place alone: any chunking, same values.

Sums over the entries of each event: events have few entries, and a loop over them ends at another count every time;
what a processor cannot predict costs more than the arithmetic. The kernels therefore run over all entries in one go and
look at the offsets afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events.schema import BRANCHES, HELIX, branch

# Offsets and values of a column of a collection.
Jagged = tuple[AnyArray, AnyArray]
# Field of coffea's events that holds the branches of all collections as they are, with lengths of their own.
OWN: Final = "own"


class Columns(Protocol):
    """Columns of a chunk of events."""

    n_events: int

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection, shape (n_events + 1,)."""

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection over all events, shape (offsets[-1],)."""

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar, shape (n_events,)."""

    def has(self, collection: str, name: str) -> bool:
        """Whether the column exists."""


class ArrayColumns:
    """Columns from plain arrays: branch name -> array, and collection -> offsets."""

    def __init__(
        self, arrays: Mapping[str, npt.ArrayLike], offsets: Mapping[str, npt.ArrayLike], n_events: int
    ) -> None:
        self._arrays = {name: np.asarray(values) for name, values in arrays.items()}
        self._offsets = {name: np.asarray(values, dtype=np.int64) for name, values in offsets.items()}
        self.n_events = n_events

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection, shape (n_events + 1,)."""
        return self._offsets[collection]

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection over all events."""
        return self._get(branch(collection, name))

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar."""
        return self._get(name)

    def has(self, collection: str, name: str) -> bool:
        """Whether the column exists."""
        return branch(collection, name) in self._arrays

    def _get(self, key: str) -> AnyArray:
        try:
            return self._arrays[key]
        except KeyError:
            msg = f"column {key!r} is missing; got {sorted(self._arrays)}"
            raise SchemaError(msg) from None


class ChosenEvents:
    """Columns of some events of a chunk, each cut at its first use.

    Args:
        columns: The chunk.
        chosen: The events, a mask of shape (events,).
    """

    def __init__(self, columns: Columns, chosen: BoolArray) -> None:
        self._columns = columns
        self._chosen = chosen
        self._cache: dict[str, AnyArray] = {}
        self.n_events = int(np.count_nonzero(chosen))

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection, shape (n_events + 1,)."""
        counts = np.diff(self._columns.offsets(collection))[self._chosen]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection over these events."""
        key = branch(collection, name)
        if key not in self._cache:
            of_these = of_event(self._columns.offsets(collection), self._chosen)
            self._cache[key] = self._columns.flat(collection, name)[of_these]
        return self._cache[key]

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar."""
        return self._columns.scalar(name)[self._chosen]

    def has(self, collection: str, name: str) -> bool:
        """Whether the column exists."""
        return self._columns.has(collection, name)


class ChunkColumns:
    """Columns of the events that coffea hands to a processor; each branch is read, and looked at, at its first use.

    A column whose values are not of the table's type, are not finite, or are not as many as the counter of their
    collection says raises NtupleError: whatever was believed of the file, nothing else of it would be noticed.
    """

    def __init__(self, events: Any) -> None:
        self._events = events
        self._cache: dict[str, AnyArray] = {}
        self._layouts: dict[str, Any] = {}
        self._lengths: dict[str, int] = {}
        self._own: Any = None
        self.n_events = len(events)

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection, shape (n_events + 1,), starting at zero."""
        key = f"n{collection}"
        if key not in self._cache:
            offsets = np.asarray(self._layout(collection).offsets.data, dtype=np.int64)
            self._cache[key] = offsets - offsets[0] if len(offsets) else np.zeros(1, dtype=np.int64)
        return self._cache[key]

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection over all events."""
        key = branch(collection, name)
        if key not in self._cache:
            layout = self._layout(collection)
            offsets = np.asarray(layout.offsets.data)
            values = self._content(layout.content, name, key)
            self._require_sound(key, values)
            self._cache[key] = values[offsets[0] : offsets[-1]]
        return self._cache[key]

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar."""
        if name not in self._cache:
            self._cache[name] = self._content(self._events.layout, name, name)
            self._require_sound(name, self._cache[name])
        return self._cache[name]

    def own_offsets(self, key: str) -> IntArray:
        """Return the offsets of a branch of a collection by itself, whatever its counter says, (n_events + 1,)."""
        if self._own is None:
            self._own = self._events.layout[OWN]
        offsets = np.asarray(self._own.content(key).offsets.data, dtype=np.int64)
        return offsets - offsets[0] if offsets[0] else offsets

    def _require_sound(self, name: str, values: AnyArray) -> None:
        collection = BRANCHES[name][0] if name in BRANCHES else ""
        length = self._lengths.setdefault(collection, len(values)) if collection else len(values)
        what = f"got {len(values)} values, wanted {length} as the columns before" if len(values) != length else None
        if what := what or unsound(name, values):
            msg = f"column {name}: {what}; run `lnv fileset complete` on the file to see all that is wrong with it"
            raise NtupleError(msg)

    def has(self, collection: str, name: str) -> bool:
        """Whether the file has the column."""
        if not collection:
            return name in self._events.fields
        return collection in self._events.fields and name in self._layout(collection).content.fields

    def _layout(self, collection: str) -> Any:
        if collection not in self._layouts:
            self._layouts[collection] = _list_layout(self._events[collection])
        return self._layouts[collection]

    @staticmethod
    def _content(record: Any, name: str, key: str) -> AnyArray:
        if name not in record.fields:
            msg = f"branch {key!r} is missing; the file has {sorted(record.fields)}"
            raise SchemaError(msg)
        return np.asarray(_numpy_layout(record[name]))


def _list_layout(array: Any) -> Any:
    """Return the list node of a collection, packed when an event mask has been applied to it."""
    import awkward as ak  # noqa: PLC0415 - the flat path needs nothing of it otherwise

    layout = array.layout
    if not isinstance(layout, ak.contents.ListOffsetArray) or not isinstance(layout.content, ak.contents.RecordArray):
        layout = ak.to_packed(ak.materialize(array)).layout
    return layout


def _numpy_layout(layout: Any) -> Any:
    """Return the values of a column's layout, read now if they were not."""
    import awkward as ak  # noqa: PLC0415

    if isinstance(layout, ak.contents.NumpyArray):
        return layout.data.materialize() if hasattr(layout.data, "materialize") else layout.data
    return ak.to_numpy(ak.materialize(ak.Array(layout)))


def unsound(name: str, values: AnyArray, counts: IntArray | None = None, start: int = 0) -> str | None:
    """Return what is wrong with the values of a column: their type, or one that is not finite or does not fit.

    Args:
        name: Column of the table; of any other nothing is wrong.
        values: Its values, (E,) or, in a collection, (N,).
        counts: Values of each event, (E,), to say in which one; without it no event is named.
        start: Number of the first event.
    """
    if name not in BRANCHES:
        return None
    wanted = np.dtype(BRANCHES[name][1].dtype)
    if wanted.kind != values.dtype.kind.replace("u", "i"):
        return f"got {values.dtype}, wanted {wanted_values(name)}"
    if (bad := unfit(values, wanted)) is None:
        return None
    if BRANCHES[name][0] and counts is None:
        return f"got {values[bad]}, wanted {wanted_values(name)}"
    entry = bad if counts is None else int(np.searchsorted(np.cumsum(counts), bad, side="right"))
    return f"entry {start + entry} has {values[bad]}, wanted {wanted_values(name)}"


def wanted_values(name: str) -> str:
    """Return what the values of a column are, in words such as ``finite float32 per track``."""
    collection, column = BRANCHES[name]
    finite = "finite " if column.dtype.startswith("float") else ""
    return f"{finite}{column.dtype} per {collection.lower() or 'event'}"


def unfit(values: AnyArray, wanted: np.dtype[Any]) -> int | None:
    """Return the place of the first value that is not finite, or that an integer type cannot hold; None if all fit."""
    if wanted.kind == "f":
        # A sum is finite if every value is, but for sums of huge values: those are looked at one by one.
        with np.errstate(over="ignore", invalid="ignore"):
            total = values.sum()
        if np.isfinite(total):
            return None
        fits = np.isfinite(values)
    elif np.can_cast(values.dtype, wanted, "safe"):
        return None
    else:
        limits = np.iinfo(wanted)
        fits = (values >= limits.min) & (values <= limits.max)
    return None if fits.all() else int(np.flatnonzero(~fits)[0])


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


Change = Callable[[Columns], AnyArray]

# Size of each variation.
MOMENTUM_SCALE: Final = 0.001
DEDX_SHIFT: Final = 0.10
TOF_SHIFT: Final = 0.005
ENERGY_SCALE: Final = 0.005
HYPOTHESES: Final = ("e", "mu", "pi", "k", "p")
SUFFIXES: Final = ("", "_e", "_k", "_p", "_mu", "_mdc")
# Share of the clusters that lose energy in another model of the showers, and the mean share that they lose.
SHOWER_SHARE: Final = 0.03
SHOWER_SCALE: Final = 0.10
# First stream of their random numbers.
SHOWER_STREAM: Final = 5


class VariedColumns:
    """Columns of a chunk with changes to some of them, each computed at its first use.

    Args:
        columns: The chunk; what is not changed is read from it once for all variations.
        changes: Branch -> function of the chunk that returns its new values; it may be a branch that the file lacks.
    """

    def __init__(self, columns: Columns, changes: Mapping[str, Change]) -> None:
        self._columns = columns
        self._changes = changes
        self._cache: dict[str, AnyArray] = {}
        self.n_events = columns.n_events

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection."""
        return self._columns.offsets(collection)

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection, changed where the variation says so."""
        key = branch(collection, name)
        return self._changed(key) if key in self._changes else self._columns.flat(collection, name)

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar, changed where the variation says so."""
        return self._changed(name) if name in self._changes else self._columns.scalar(name)

    def has(self, collection: str, name: str) -> bool:
        """Whether the column exists."""
        return branch(collection, name) in self._changes or self._columns.has(collection, name)

    def _changed(self, key: str) -> AnyArray:
        if key not in self._cache:
            self._cache[key] = self._changes[key](self._columns)
        return self._cache[key]


def scaled(name: str, factor: float) -> Change:
    """Return the change that multiplies a track column."""
    return lambda columns: columns.flat("Track", name) * np.float32(factor)


def shifted(name: str, shift: float, collection: str = "Track") -> Change:
    """Return the change that adds to a column of a collection."""
    return lambda columns: columns.flat(collection, name) + np.float32(shift)


def lossy_showers(columns: Columns) -> AnyArray:
    """Return cluster energies of which a share has lost an exponential part: another model of the showers."""
    energy = columns.flat("Track", "emc_energy")
    chosen, loss = (special.ndtr(normal(columns, len(HELIX) + i)) for i in range(2))
    kept = np.where(chosen < SHOWER_SHARE, np.maximum(1.0 + SHOWER_SCALE * np.log1p(-loss), 0.0), 1.0)
    return (energy * kept).astype(energy.dtype)


def normal(columns: Columns, stream: int, chosen: IntArray | None = None) -> FloatArray:
    """Return one standard normal number per track, from run, event, place in the event and stream.

    Args:
        columns: The chunk.
        stream: Which of many numbers.
        chosen: Indices of the tracks, in the order of the result; all where it is left out.
    """
    offsets = columns.offsets("Track")
    track = np.arange(offsets[-1]) if chosen is None else chosen
    row = np.searchsorted(offsets, track, side="right") - 1
    place = track - offsets[row]
    run, event = (columns.scalar(name)[row].astype(np.int64) for name in ("run", "event"))
    key = mix(mix(mix(run.view(np.uint64)) ^ event.view(np.uint64)) ^ np.uint64(stream + 1))
    bits = mix(key ^ place.astype(np.uint64)) >> np.uint64(11)
    return special.ndtri((bits.astype(np.float64) + 0.5) * 2.0**-53)


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the SplitMix64 finaliser of numbers (Steele, Lea, Flood, doi:10.1145/2660193.2660195)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _helix_scale(columns: Columns, factor: float) -> dict[str, Change]:
    return {f"Track_kappa{s}": scaled(f"kappa{s}", factor) for s in SUFFIXES if columns.has("Track", f"kappa{s}")}


def _dedx(shift: float) -> dict[str, Change]:
    return {f"Track_dedx_chi_{h}": shifted(f"dedx_chi_{h}", shift) for h in HYPOTHESES}


def _tof(shift: float) -> dict[str, Change]:
    """Return the change of all times, of the record that stands for a track and of the others."""
    return {"Track_tof_time": shifted("tof_time", shift), "Tof_time": shifted("time", shift, "Tof")}


def variations(columns: Columns) -> dict[str, VariedColumns]:
    """Return every variation of a chunk.

    Names and sizes: ``momentum_scale_up/down`` 0.1 %, ``dedx_up/down`` 0.1 sigma, ``tof_up/down`` 5 ps,
    ``emc_up/down`` 0.5 % of the energy, ``showers`` 3 % of the clusters with a tail of 10 %.
    """
    changes: dict[str, Mapping[str, Change]] = {
        "momentum_scale_up": _helix_scale(columns, 1.0 / (1.0 + MOMENTUM_SCALE)),
        "momentum_scale_down": _helix_scale(columns, 1.0 / (1.0 - MOMENTUM_SCALE)),
        "dedx_up": _dedx(DEDX_SHIFT),
        "dedx_down": _dedx(-DEDX_SHIFT),
        "tof_up": _tof(TOF_SHIFT),
        "tof_down": _tof(-TOF_SHIFT),
        "emc_up": {"Track_emc_energy": scaled("emc_energy", 1.0 + ENERGY_SCALE)},
        "emc_down": {"Track_emc_energy": scaled("emc_energy", 1.0 - ENERGY_SCALE)},
        "showers": {"Track_emc_energy": lossy_showers},
    }
    return {name: VariedColumns(columns, of) for name, of in changes.items()}
