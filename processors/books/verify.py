"""The check that a file is the one of the fileset, before any of them is used, and that no event comes in two of them.

A (run, event) pair that repeats in data means that a file was added twice under another name. The pairs of whole data
sets go to files on disk, split by a hash so that equal pairs meet in one file, and each file is then sorted in memory
on its own. Simulation repeats event numbers from job to job, so there a pair may not repeat within one file.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import fsspec
import numpy as np
import numpy.typing as npt
import uproot

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.arrays import is_writable, user_cache
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, DatasetMetadata
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import inspection
from jpsi_lnv.analysis.events.inspection import VERSION, Facts, raise_faults
from jpsi_lnv.analysis.events.schema import META_TREE, TREE
from jpsi_lnv.processors.books.fileset import Dataset, FileEntry, Fileset, is_address
from jpsi_lnv.processors.work.worker import set_xrootd_limits

_INSPECTED: Final = documents.Form("list of inspected files", "it is made anew", NtupleError, content=dict[str, Facts])
# How to say of a file what its own counts do not.
HOW_N_PRODUCED: Final = (
    'say in the fileset how many: "files": {"FILE.root": {"object_path": "Events", "n_produced": N}}'
)
How = Literal["sha256", "fresh", "size", "none"]
# What reads a whole file; `fresh` does so even if it was verified before.
BY_CHECKSUM: Final = ("sha256", "fresh")
_VERIFIED: Final = documents.Form(
    "list of verified files", "it is made anew", NtupleError, content=dict[str, tuple[str, str] | tuple[()]]
)


# Files of what is remembered: of checksums, and of contents.
VERIFIED: Final = "verified.json"
INSPECTED: Final = "inspected.json"


@dataclass(frozen=True)
class Check:
    """A file to check: coffea's executors take it like a work item."""

    dataset: str
    file: FileEntry
    how: How
    known: str = ""

    # What a record of a failure names.
    entrystart: int = 0

    @property
    def filename(self) -> str:
        """Path of the file."""
        return self.file.path

    @property
    def entrystop(self) -> int:
        """Entries of the file."""
        return self.file.num_entries

    def __len__(self) -> int:
        return self.file.size


def sha256(path: str) -> str:
    """Return the SHA-256 of a file or address in hexadecimal digits."""
    # fsspec takes "::" in a name for a chain of file systems.
    with fsspec.open(path, "rb") if is_address(path) else Path(path).open("rb") as stream:
        return documents.sha256(stream)


def stamp(path: str) -> str:
    """Return size, inode and times of a local file, which change with its content; empty for an address."""
    if is_address(path):
        return ""
    info = Path(path).stat()
    return f"{info.st_size}:{info.st_mtime_ns}:{info.st_ctime_ns}:{info.st_ino}"


def size(path: str) -> int:
    """Return the bytes of a file or address."""
    if not is_address(path):
        return Path(path).stat().st_size
    filesystem, inner = fsspec.url_to_fs(path)
    return int(filesystem.size(inner))


def check_file(check: Check) -> dict[str, Any]:
    """Check one file; the task that an executor runs.

    Returns:
        ``{"out": {path: [checksum, stamp]}}`` of the file as it is.

    Raises:
        NtupleError: The file is no regular file, or size, checksum, UUID or entries are not those of the fileset.
        OSError: The file is absent or cannot be read.
    """
    path, file = check.filename, check.file
    if not is_address(path) and not Path(path).is_file():
        reason = "is a directory" if Path(path).is_dir() else "does not exist"
        msg = f"{path} {reason}; wanted a ROOT file of {file.size} bytes"
        raise NtupleError(msg)
    now = stamp(path)
    _compare(path, "size in bytes", size(path), file.size)
    reads_all = check.how in BY_CHECKSUM
    if reads_all and not (now and check.known == f"{file.sha256} {now}"):
        _compare(path, "sha256", sha256(path), file.sha256)
    _compare_content(path, file)
    return {"out": {path: [file.sha256, now] if reads_all and now else []}}


def _compare(path: str, what: str, got: object, wanted: object) -> None:
    if got != wanted:
        msg = (
            f"{path}: {what} is {got}; the fileset says {wanted}: the file changed after `lnv fileset complete`; "
            "restore it, or complete the fileset again"
        )
        raise NtupleError(msg)


def _compare_content(path: str, file: FileEntry) -> None:
    with inspection.opened(path) as root:
        _compare(path, "UUID", str(root.file.uuid), file.uuid)
        tree = inspection.tree_of(path, root, file.object_path)
        _compare(path, f"number of entries of {file.object_path}", tree.num_entries, file.num_entries)


class Verified:
    """Checksums that were verified before, by path, size and time of change.

    Args:
        path: JSON file to keep them in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, list[str]] = _VERIFIED.read(path)
        except NtupleError:
            self._known = {}

    def known(self, path: str) -> str:
        """Return checksum and stamp of a file when it was verified; empty if it never was."""
        return " ".join(self._known.get(path, []))

    def add(self, verified: Mapping[str, list[str]]) -> None:
        """Remember files; an unwritable directory only costs the memory."""
        self._known |= {path: value for path, value in verified.items() if value}
        try:
            documents.write_json(self._path, self._known)
        except OSError:
            return


def memory(name: str, otherwise: Path) -> Path:
    """Return where what was read is remembered.

    Args:
        name: Name of the file.
        otherwise: Directory for who has no cache of his own that can be written.
    """
    own = user_cache() / "jpsi-lnv"
    return own / name if is_writable(own) else otherwise / f".{name}"


def checks(fileset: Fileset, how: How, verified: Verified) -> list[Check]:
    """Return the checks of every file of a fileset."""
    return [
        Check(d.name, f, how, "" if how == "fresh" else verified.known(f.path))
        for d in fileset.values()
        for f in d.files
    ]


class Inspected:
    """What files hold, by their checksum: a file that was read through once need not be again.

    Args:
        path: JSON file to keep it in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, Facts] = _INSPECTED.read(path)
        except NtupleError:
            self._known = {}

    def inspect(self, path: str, object_path: str, checksum: str) -> Facts:
        """Return what an ntuple holds.

        Raises:
            NtupleError: Something is wrong with it; everything is named that was found.
        """
        key = f"{checksum} {object_path} {VERSION}"
        if key not in self._known:
            self._known[key] = inspection.inspect(path, object_path)
        return self._known[key]

    def save(self) -> None:
        """Write what is known; an unwritable directory only costs the memory."""
        with suppress(OSError):
            documents.write_json(self._path, {key: dataclasses.asdict(facts) for key, facts in self._known.items()})


def describe(
    path: str,
    object_path: str = TREE,
    *,
    metadata: DatasetMetadata | None = None,
    n_produced: int | None = None,
    inspected: Inspected | None = None,
) -> FileEntry:
    """Read a file through and return what a completed fileset says of it.

    Args:
        path: Path or address.
        object_path: Name of the tree.
        metadata: Those of its dataset, to compare with; None: simulation of any energy.
        n_produced: Events generated or recorded for it, as the fileset says; None: as the file says.
        inspected: What is known of files that were read before.

    Raises:
        NtupleError: The file is absent, or something in it is wrong; everything is named that was found.
    """
    set_xrootd_limits()
    try:
        checksum, n_bytes = sha256(path), size(path)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        msg = f"{path}: {reason}; make it (the demo set: `lnv simulate --set demo`) or mend its path in the fileset"
        raise NtupleError(msg) from error
    facts = (inspected or Inspected(Path(os.devnull))).inspect(path, object_path, checksum)
    produced, faults = _n_produced(facts, metadata, n_produced)
    entry = FileEntry(
        path=path,
        object_path=object_path,
        num_entries=facts.num_entries,
        uuid=facts.uuid,
        size=n_bytes,
        sha256=checksum,
        n_produced=produced,
        runs=facts.runs,
        sqrt_s=facts.sqrt_s,
        clusters=facts.clusters,
        sources=facts.sources,
        doubts=facts.doubts,
        lacks=facts.lacks,
        content=facts.content,
        sample=facts.sample,
    )
    raise_faults(path, [*faults, *(metadata.contradictions(facts.runs, facts.sqrt_s, facts.lacks) if metadata else ())])
    return entry


def _n_produced(facts: Facts, metadata: DatasetMetadata | None, stated: int | None) -> tuple[int, list[str]]:
    """Return the events that a file stands for, and what speaks against them."""
    n_events, of_meta = facts.num_entries, facts.n_produced
    is_simulation = metadata is None or metadata.is_simulation
    fits = of_meta is not None and facts.n_stored == n_events
    faults = []
    if of_meta is None and stated is None and is_simulation:
        faults.append(
            f"got no tree {META_TREE!r}, which says how many events were generated for the {n_events} in the file: a "
            f"copy made with ROOT leaves it behind; {HOW_N_PRODUCED}"
        )
    if of_meta is not None and not fits and stated is None:
        faults.append(
            f"{META_TREE!r} says that the file holds {facts.n_stored} events of {of_meta} that were generated or "
            f"recorded, and it holds {n_events}: the file is a part of another; {HOW_N_PRODUCED}"
        )
    if fits and stated not in (None, of_meta):
        faults.append(
            f"the fileset says n_produced {stated}, {META_TREE!r} in the file says {of_meta}; mend the fileset"
        )
    found = n_events if of_meta is None or (stated is None and not fits) else of_meta
    produced = found if stated is None else stated
    if produced < n_events:
        faults.append(f"got n_produced {produced}; wanted no fewer than the {n_events} events of the file")
    return produced, faults


PAIR: Final = np.dtype([("run", np.int64), ("event", np.int64), ("file", np.int32)])
# Pairs that one part holds in memory while it is sorted, and pairs that are read at once.
PART_PAIRS: Final = 4_000_000
STEP: Final = 500_000
# Knuth's multiplicative hash spreads consecutive event numbers over the parts.
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)

Pairs = npt.NDArray[np.void]


@dataclass(frozen=True)
class Duplicate:
    """A (run, event) pair that a dataset has more than once.

    Attributes:
        dataset: Dataset.
        run: Run number.
        event: Event number.
        files: The files, once per occurrence.
    """

    dataset: str
    run: int
    event: int
    files: tuple[str, ...]


def find(dataset: Dataset, advance: Callable[[int], None], part_pairs: int = PART_PAIRS) -> Iterator[Duplicate]:
    """Return the repeated pairs of a dataset: of all its files if it is data, else within each file.

    Args:
        dataset: Dataset.
        advance: Called with the number of events that were read.
        part_pairs: Pairs held in memory at once.

    Raises:
        NtupleError: A file cannot be read.
    """
    if dataset.metadata.kind in (DATA, CONTINUUM):
        yield from _among(dataset, dataset.files, advance, part_pairs)
        return
    for file in dataset.files:
        yield from _among(dataset, (file,), advance, part_pairs)


def _among(
    dataset: Dataset, files: tuple[FileEntry, ...], advance: Callable[[int], None], part_pairs: int
) -> Iterator[Duplicate]:
    n_parts = max(1, -(-sum(f.num_entries for f in files) // part_pairs))
    with tempfile.TemporaryDirectory(prefix="jpsi_lnv_pairs_") as directory:
        paths = [Path(directory) / f"{k}.pairs" for k in range(n_parts)]
        for index, file in enumerate(files):
            for pairs in _read(file, index):
                _spread(pairs, paths)
                advance(len(pairs))
        for path in paths:
            for run, event, owners in _repeated(path):
                yield Duplicate(dataset.name, run, event, tuple(files[k].path for k in owners))


def _read(file: FileEntry, index: int) -> Iterator[Pairs]:
    try:
        for step in uproot.iterate({file.path: file.object_path}, ["run", "event"], step_size=STEP, library="np"):
            pairs = np.empty(len(step["run"]), dtype=PAIR)
            pairs["run"], pairs["event"], pairs["file"] = step["run"], step["event"], index
            yield pairs
    except (OSError, ValueError, KeyError) as error:
        msg = f"{file.path}: run and event cannot be read ({type(error).__name__}: {error})"
        raise NtupleError(msg) from error


def _spread(pairs: Pairs, paths: list[Path]) -> None:
    """Append pairs to the files of their parts."""
    mixed = (pairs["event"].astype(np.uint64) + (pairs["run"].astype(np.uint64) << _SHIFT)) * _MULTIPLIER
    part = (mixed >> _SHIFT) % np.uint64(len(paths))
    order = np.argsort(part, kind="stable")
    edges = np.searchsorted(part[order], np.arange(len(paths) + 1, dtype=np.uint64))
    for path, start, stop in zip(paths, edges[:-1], edges[1:], strict=True):
        if stop > start:
            with path.open("ab") as stream:
                pairs[order[start:stop]].tofile(stream)


def _repeated(path: Path) -> Iterator[tuple[int, int, list[int]]]:
    if not path.exists():
        return
    pairs = np.fromfile(path, dtype=PAIR)
    pairs = pairs[np.lexsort((pairs["file"], pairs["event"], pairs["run"]))]
    is_new = np.ones(len(pairs), dtype=bool)
    is_new[1:] = (pairs["run"][1:] != pairs["run"][:-1]) | (pairs["event"][1:] != pairs["event"][:-1])
    starts = np.flatnonzero(is_new)
    counts = np.diff(np.append(starts, len(pairs)))
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        yield int(pairs["run"][start]), int(pairs["event"][start]), pairs["file"][start : start + count].tolist()
