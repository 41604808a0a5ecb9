"""The check of a ROOT file before anything in it is believed: it is whole, and its columns agree with each other.

A file may be open still or again, an object of another class may bear the tree's name, a column that was redefined may
have other lengths than the rest of its collection, files of data and of simulation may have been merged: each of these
is read without an error, as other events. `inspect` reads a file once and names everything that is wrong with it.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import awkward as ak
import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray, IntArray
from jpsi_lnv.analysis.datasets import HOW_WITHOUT_PHOTONS, DatasetMetadata
from jpsi_lnv.analysis.errors import LnvError, NtupleError, SchemaError
from jpsi_lnv.analysis.events.columns import ArrayColumns, ChunkColumns, unsound, wanted_values
from jpsi_lnv.analysis.events.content import CONTENT, Content
from jpsi_lnv.analysis.events.plausibility import doubts
from jpsi_lnv.analysis.events.schema import (
    BRANCHES,
    COLLECTIONS,
    META_TREE,
    lacking,
    missing_branches,
    required_branches,
)

# Of the check: what another version found is not believed.
VERSION: Final = 4
# Entries that are read at once.
STEP: Final = 50_000
# Events whose numbers are compared with what their units say.
DOUBT_EVENTS: Final = 5_000
_JAGGED: Final = 2


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an ntuple holds.

    Attributes:
        num_entries: Events.
        uuid: UUID that ROOT gave the file.
        clusters: Entries at which all branches start a new basket, from 0 to `num_entries`.
        runs: Smallest and largest run number; None without events.
        sqrt_s: Smallest and largest centre-of-mass energy in GeV; None without events.
        n_produced: Events generated or recorded, as `Meta` has it; None without `Meta`.
        n_stored: Events that the file should hold, as `Meta` has it.
        sources: UUID, first entry and end of the entries of every file that the events were taken from.
        doubts: What cannot be what its unit says (`analysis.events.plausibility`).
        lacks: Collections that it does not have, of those that it may lack.
        content: Digest of the events: of run, event and curvature of every track; equal for copies in any form.
        sample: Hashes of some of its events, by which files that share events are found (`analysis.events.content`).
    """

    num_entries: int
    uuid: str
    clusters: tuple[int, ...] = ()
    runs: tuple[int, int] | None = None
    sqrt_s: tuple[float, float] | None = None
    n_produced: int | None = None
    n_stored: int | None = None
    sources: tuple[tuple[str, int, int], ...] = ()
    doubts: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    content: str = ""
    sample: str = ""


def raise_faults(where: str, found: Iterable[str], error: type[LnvError] = NtupleError) -> None:
    """Raise one error for everything that is wrong: one line for one fault, else a line for each."""
    if faults := list(found):
        several = f"{len(faults)} faults\n  " + "\n  ".join(faults)
        msg = f"{where}: {faults[0] if len(faults) == 1 else several}"
        raise error(msg)


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a ROOT file that is closed, in ROOT's sense, and whole.

    Raises:
        NtupleError: It is absent, is no ROOT file, was cut, or was never closed; it cannot be read on.
    """
    try:
        # What fsspec would take for a chain of file systems is a name.
        is_name = "::" in path and "://" not in path
        file = uproot.open({path: None}, **({"handler": uproot.MemmapSource} if is_name else {}))
    except FileNotFoundError as error:
        msg = f"{path}: no such file; make it (the demo set: `lnv simulate --set demo`) or mend its path"
        raise NtupleError(msg) from error
    except Exception as error:
        raise _unreadable(path, error) from error
    with file:
        _require_closed(path, file.file)
        yield file


def _require_closed(path: str, file: Any) -> None:
    if not file.fSeekFree and not file.fNbytesFree:
        msg = (
            f"{path}: was not closed: what its job wrote last is missing (the header has no list of free segments); "
            "write it again, or close it with ROOT's TFile::Recover and take what is left"
        )
        raise NtupleError(msg)
    if (size := int(file.source.num_bytes)) < file.fEND:
        msg = f"{path}: has {size} bytes and its header says {file.fEND}: it is damaged, cut short; copy it again"
        raise NtupleError(msg)


def _unreadable(path: str, error: Exception) -> NtupleError:
    lines = str(error).strip().splitlines() or [""]
    reason = f"{type(error).__name__}: {lines[0]}"
    msg = f"{path}: cannot be read as a ROOT file, or is damaged ({reason}); restore it or leave it out"
    return NtupleError(msg)


def tree_of(path: str, file: Any, name: str) -> Any:
    """Return the TTree of that name.

    Raises:
        NtupleError: There is none, or an object of another class.
    """
    if name not in file:
        msg = f"{path}: has no tree {name!r}; got {sorted(file.keys(cycle=False))}"
        raise NtupleError(msg)
    if not isinstance(found := file[name], uproot.TTree):
        kind = file.classname_of(name).rpartition("::")[2]
        mend = "; write it as a TTree (uproot: file.mktree)" if kind == "RNTuple" else ""
        msg = f"{path}: {name} is of class {kind}; wanted a TTree{mend}"
        raise NtupleError(msg)
    return found


def friends_with(tree: Any, names: Iterable[str]) -> str:
    """Return which other tree of the file has some of the branches, as the end of a message; nothing if none has."""
    directory = tree.file.root_directory
    others = [directory[key] for key in directory.keys(cycle=False, filter_classname="TTree")]
    for other in others:
        if other.object_path != tree.object_path and (found := sorted(set(names) & set(other.keys()))):
            return (
                f"; the tree {other.name!r} of the file has {', '.join(found)}: a friend is not read; write one tree "
                "of both (RDataFrame's Snapshot does)"
            )
    return ""


def unreadable_branch(branch: Any, error: Exception) -> str:
    """Return what is wrong with a branch that uproot fails to read, such as one of Float16_t without a range."""
    reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    leaves = ", ".join(leaf.classname for leaf in branch.member("fLeaves"))
    return (
        f"branch {branch.name!r} ({leaves}) cannot be read ({reason}): the file is damaged, or uproot does not know "
        "the type: write Float_t, Double_t, Int_t or Long64_t"
    )


def unequal_branches(tree: Any, names: Sequence[str]) -> list[str]:
    """Return a line for each branch that has another number of entries than its tree."""
    return [
        f"branch {name!r}: got {tree[name].num_entries} entries, wanted {tree.num_entries} as the tree has; write "
        "the tree again"
        for name in names
        if tree[name].num_entries != tree.num_entries
    ]


def mixed_runs(runs: AnyArray, start: int = 0) -> str | None:
    """Return what is wrong with run numbers, the first of entry `start`: some are negative and some not, or are 0."""
    if (none := np.flatnonzero(np.asarray(runs) == 0)).size:
        return f"got 0 in entry {start + none[0]}; wanted a run: positive if it was recorded, negative if simulated"
    negative = np.asarray(runs) < 0
    if not negative.any() or negative.all():
        return None
    other = int(np.flatnonzero(negative != negative[0])[0])
    return (
        f"got {int(runs[0])} in entry {start} and {int(runs[other])} in entry {start + other}; wanted runs of one "
        "sign: negative ones are simulation, which goes into files of its own"
    )


def inspect(path: str, object_path: str) -> Facts:
    """Read an ntuple once and return what it holds.

    Raises:
        NtupleError: Something is wrong with it; everything is named that was found.
        SchemaError: Columns are missing or have another type.
    """
    with opened(path) as file:
        tree = tree_of(path, file, object_path)
        names = columns_of(tree)
        raise_faults(f"{path}, tree {object_path!r}", _missing(tree), SchemaError)
        raise_faults(f"{path}, tree {object_path!r}", unequal_branches(tree, names))
        seen, doubted = _Seen(names), list[str]()
        try:
            edges = [int(e) for e in tree.common_entry_offsets()] if tree.num_entries else []
            for start, stop in steps(edges):
                arrays = tree.arrays(names, entry_start=start, entry_stop=stop, how=dict)
                seen.add(arrays, start)
                if start == 0 and not seen.faults():
                    doubted = doubts(_columns(arrays))
            meta = _meta(file)
        except Exception as error:
            raise_faults(f"{path}, tree {object_path!r}", _unreadable_branches(tree, names))
            raise _unreadable(path, error) from error
        raise_faults(f"{path}, tree {object_path!r}", seen.faults() or seen.content.repeated())
        return Facts(
            num_entries=int(tree.num_entries),
            uuid=str(file.file.uuid),
            clusters=tuple(edges),
            runs=seen.range_of("run", int),
            sqrt_s=seen.range_of("sqrt_s", float),
            doubts=tuple(doubted),
            lacks=lacking(names),
            content=seen.content.digest(),
            sample=seen.content.sample(),
            **meta,
        )


def require_sound(
    columns: ChunkColumns, reads: Iterable[str], metadata: DatasetMetadata, place: str, start: int
) -> None:
    """Look at a chunk of an ntuple that was inspected, before it is used: is it still what it was found to be?

    Args:
        columns: The chunk; each of its columns looks at its own values when it is read.
        reads: The branches that are read of every chunk: those of a collection are compared with its counter.
        metadata: Those of the dataset.
        place: The file, for the message.
        start: Entry of the file at which the chunk begins.

    Raises:
        NtupleError: Something is wrong; everything is named that was found.
    """
    wanted = [name for name in BRANCHES if name in reads]
    present = [name for name in wanted if columns.has(BRANCHES[name][0], BRANCHES[name][1].name)]
    if missing := [name for name in wanted if name not in present]:
        msg = f"{place}: lacks {', '.join(missing)}, which the selections read; {HOW_WITHOUT_PHOTONS}"
        raise NtupleError(msg)
    seen = _Seen(present)
    for name in present:
        if collection := BRANCHES[name][0]:
            own, counted = columns.own_offsets(name), columns.offsets(collection)
            if not np.array_equal(own, counted):
                seen.compare(name, np.diff(own), np.diff(counted), start)
        else:
            seen.look(name, columns.scalar(name), None, start)
    contradictions = metadata.contradictions(seen.range_of("run", int), seen.range_of("sqrt_s", float))
    raise_faults(place, [*seen.faults(), *contradictions])


def steps(edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return consecutive ranges of entries that begin with a basket: one that two ranges share is unpacked twice."""
    start = 0
    for before, edge in itertools.pairwise([*edges, edges[-1]] if edges else []):
        if before > start and (edge - start > STEP or edge == before):
            yield start, before
            start = before


def _unreadable_branches(tree: Any, names: Sequence[str]) -> Iterator[str]:
    """Return what is wrong with the branches that cannot be read by themselves."""
    for name in names:
        try:
            tree[name].array()
        except Exception as error:
            yield unreadable_branch(tree[name], error)


def columns_of(tree: Any) -> list[str]:
    """Return the branches of a tree that the column table knows, the counters first."""
    return [name for name in (*(f"n{name}" for name in COLLECTIONS if name), *BRANCHES) if name in tree]


def _missing(tree: Any) -> list[str]:
    present = set(tree.keys())
    counters = {f"n{BRANCHES[name][0]}" for name in (*required_branches(), *present) if BRANCHES.get(name, ("",))[0]}
    counters -= {f"n{name}" for name in lacking(present)}
    missing = [*(name for name in sorted(counters) if name not in present), *missing_branches(present)]
    words = f"{len(missing)} required branch{'es are' if len(missing) > 1 else ' is'} missing: {', '.join(missing)}"
    return [words + friends_with(tree, missing)] if missing else []


class _Seen:
    """What was seen of the columns of a file so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._faults: dict[str, str] = {}
        self.content = Content()
        self._ranges: dict[str, tuple[Any, Any]] = {}

    def add(self, arrays: dict[str, Any], start: int) -> None:
        """Look at some entries, the first of which is `start`."""
        for name, array in arrays.items():
            if name not in BRANCHES or name in self._faults:
                continue
            collection = BRANCHES[name][0]
            if array.ndim != (_JAGGED if collection else 1):
                self._faults[name] = f"got type {array.type.content}, wanted {wanted_values(name)}"
                continue
            if collection and isinstance(array.layout, ak.contents.RegularArray):
                self._faults[name] = (
                    f"got arrays of fixed size {array.layout.size}, wanted lists of as many as are filled: convert the "
                    "file with `lnv skim --mapping`, where counter says how many"
                )
                continue
            counts, values = _split(array) if collection else (None, ak.to_numpy(array))
            if counts is not None and f"n{collection}" in arrays:
                self.compare(name, counts, np.asarray(arrays[f"n{collection}"]), start)
            self.look(name, values, counts, start)
        if not self._faults:
            run, event, kappa = (arrays[name] for name in CONTENT)
            counts, values = _split(kappa)
            offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
            self.content.add(ak.to_numpy(run), ak.to_numpy(event), offsets, values)

    def compare(self, name: str, counts: IntArray, counter: IntArray, start: int) -> None:
        """Note the first entry in which a column has not the length that the counter of its collection says."""
        if np.array_equal(counts, counter):
            return
        first = int(np.flatnonzero(counts != counter)[0])
        self._faults[name] = (
            f"entry {start + first} has {counts[first]} values and the counter n{BRANCHES[name][0]} says "
            f"{counter[first]}; wanted columns of a collection and its counter of equal lengths: write them together"
        )

    def look(self, name: str, values: AnyArray, counts: IntArray | None, start: int) -> None:
        """Note a type, or a value, that does not fit the column table; and the range of a scalar."""
        if what := unsound(name, values, counts, start):
            self._faults.setdefault(name, what)
        elif name in ("run", "sqrt_s") and len(values):
            low, high = self._ranges.get(name, (values[0], values[0]))
            self._ranges[name] = (min(low, values.min()), max(high, values.max()))
            if name == "run" and self._ranges[name][0] <= 0 <= self._ranges[name][1] and name not in self._faults:
                self._faults[name] = mixed_runs(values, start) or (
                    f"entries before {start} have the other sign than those after; wanted runs of one sign"
                )

    def range_of(self, name: str, kind: type) -> Any:
        """Return the smallest and the largest value of a scalar; None if there was none."""
        return None if name not in self._ranges else tuple(kind(v) for v in self._ranges[name])

    def faults(self) -> list[str]:
        """Return a line for each thing that is wrong, with the columns that it is wrong with."""
        columns: dict[str, list[str]] = {}
        for name in self._names:
            if what := self._faults.get(name):
                columns.setdefault(what, []).append(name)
        return [f"{_named(which, self._names)}: {what}" for what, which in columns.items()]


def _named(columns: Sequence[str], present: Sequence[str]) -> str:
    """Return the names of columns; of all columns of a collection as ``Track_*``."""
    shown = list(columns)
    for collection in filter(None, COLLECTIONS):
        whole = [name for name in present if name in BRANCHES and BRANCHES[name][0] == collection]
        if len(whole) > 1 and set(whole) <= set(shown):
            shown = [name for name in shown if name not in whole] + [f"{collection}_*"]
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(shown)}"


def _columns(arrays: Mapping[str, Any]) -> ArrayColumns:
    """Return the first events of a file as flat columns."""
    values, offsets = {}, {}
    for name, array in arrays.items():
        collection = BRANCHES[name][0] if name in BRANCHES else ""
        if not collection:
            values[name] = ak.to_numpy(array[:DOUBT_EVENTS])
            continue
        counts, values[name] = _split(array[:DOUBT_EVENTS])
        offsets[collection] = np.concatenate([[0], np.cumsum(counts)])
    return ArrayColumns(values, offsets, len(values["run"]))


def _split(array: Any) -> tuple[IntArray, AnyArray]:
    """Return the lengths (E,) and the values (N,) of a jagged array."""
    layout = array.layout
    if not isinstance(layout, ak.contents.ListOffsetArray) or not isinstance(layout.content, ak.contents.NumpyArray):
        return ak.to_numpy(ak.num(array)), ak.to_numpy(ak.flatten(array))
    offsets = np.asarray(layout.offsets.data)
    return np.diff(offsets), np.asarray(layout.content.data)[offsets[0] : offsets[-1]]


def _meta(file: Any) -> dict[str, Any]:
    """Return what the tree `Meta` says of the origin of the events; nothing without it."""
    if META_TREE not in file or not isinstance(file[META_TREE], uproot.TTree):
        return {}
    rows = {name: values.tolist() for name, values in file[META_TREE].arrays(library="np").items()}
    halves = zip(rows["source_hi"], rows["source_lo"], strict=True)
    numbers = [str(uuid.UUID(int=high << 64 | low)) if high or low else "" for high, low in halves]
    spans = zip(numbers, rows.get("first_entry", []), rows.get("end_entry", []), strict=False)
    return {
        "n_produced": sum(rows["n_produced"]),
        "n_stored": sum(rows["n_stored"]),
        "sources": tuple(span for span in spans if span[0]),
    }
