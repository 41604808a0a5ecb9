"""The fileset: which files belong to which dataset, what is in them, and the checks that they are used once.

The plain form is coffea's, ``{dataset: {"files": {path: "Events"}, "metadata": {...}}}``; in the completed form each
file carries entries, UUID, size, checksum and produced events, so that a run needs no pass over the files to plan its
chunks. Paths are relative to the fileset's own file.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from annotated_types import Ge

from jpsi_lnv.analysis.datasets import DATA, SEARCH, SIMULATED, DatasetMetadata
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.events.content import shared
from jpsi_lnv.analysis.events.inspection import raise_faults
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.analysis.objects.calibration import stamp
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed, yes_no

Raw = Mapping[str, Any]
_FORM: Final = Form("fileset", 'wanted JSON, {dataset: {"files": {...}, "metadata": {...}}}: mend it', FilesetError)
# What is given by mistake, by the end of its name.
_OTHER: Final = {
    ".root": "an ntuple, not a fileset; list it in one and complete that with `lnv fileset complete`",
    ".zip": "a merged result, not a fileset; `lnv report --accumulator` shows it",
}
# Digits of an energy in GeV by which datasets are of the same data taking.
_ENERGY_DIGITS: Final = 2
_FIELDS: Final = (
    Field("dataset", "dataset"),
    Field("kind", "kind"),
    Field("sqrt_s", "√s", fixed(4), "GeV"),
    Field("files", "files", count),
    Field("events", "events", count),
    Field("n_produced", "produced", count),
    Field("bytes", "size", fixed(1, scale=1e-6), "MB"),
    Field("is_blind", "blind", yes_no),
)


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a completed fileset.

    Attributes:
        path: Absolute path, or address.
        object_path: Name of the tree.
        num_entries: Events in the tree.
        uuid: UUID that ROOT gave the file.
        size: Bytes.
        sha256: Checksum; without it a damaged byte would be read back silently as other data.
        n_produced: Events generated or recorded for it, authoritative for normalisation.
        clusters: Entries at which all branches start a new basket, from 0 to `num_entries`.
        runs: Smallest and largest run number; None without events.
        sqrt_s: Smallest and largest centre-of-mass energy of the events in GeV; None without events.
        sources: UUID, first entry and end of the entries of each file that its events were taken from.
        doubts: What cannot be what its unit says.
        lacks: Collections that it does not have, of those that it may lack.
        content: Digest of its events, equal for copies in any form; empty if it is not known.
        sample: Hashes of some of its events, by which files that share events are found; empty if it is not known.
    """

    path: str
    object_path: str
    num_entries: Annotated[int, Ge(0)]
    uuid: str
    size: Annotated[int, Ge(0)]
    sha256: str
    n_produced: Annotated[int, Ge(0)]
    runs: tuple[int, int] | None
    sqrt_s: tuple[float, float] | None
    clusters: tuple[int, ...] = ()
    sources: tuple[tuple[str, int, int], ...] = ()
    doubts: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    content: str = ""
    sample: str = ""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def faults(self) -> Iterator[str]:
        """Return what cannot be of any file."""
        if self.num_entries > self.n_produced:
            yield f"got n_produced {self.n_produced}; wanted no fewer than num_entries, {self.num_entries}"
        if not _is_uuid(self.uuid):
            yield f"uuid is {self.uuid!r}; wanted one such as {uuid.UUID(int=0)}"
        if self.clusters and not (self.clusters[0] == 0 and self.clusters[-1] == self.num_entries):
            yield f"clusters go from {self.clusters[0]} to {self.clusters[-1]}; wanted 0 to {self.num_entries}"
        if any(after < before for before, after in itertools.pairwise(self.clusters)):
            yield "clusters are not in order"
        if (self.num_entries > 0) != (self.runs is not None) or (self.runs is None) != (self.sqrt_s is None):
            yield f"runs are {self.runs} and sqrt_s is {self.sqrt_s} for {self.num_entries} entries"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


_ENTRY: Final = Form("dataset", "run `lnv fileset complete` again", FilesetError, content=FileEntry)


@dataclass(frozen=True)
class Dataset:
    """One dataset: its metadata and its files."""

    name: str
    metadata: DatasetMetadata
    files: tuple[FileEntry, ...]

    @property
    def num_entries(self) -> int:
        """Events in all files."""
        return sum(f.num_entries for f in self.files)

    @property
    def n_produced(self) -> int:
        """Events generated or recorded for all files."""
        return sum(f.n_produced for f in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)


Fileset = dict[str, Dataset]


def is_address(path: str) -> bool:
    """Whether a path is an address such as ``root://host//file`` rather than a file of this machine."""
    return "://" in path


def resolve(path: str, directory: Path) -> str:
    """Return an address as it is and a file as an absolute path without links, relative ones under `directory`."""
    return path if is_address(path) else str((directory / path).resolve())


def relative(path: str, directory: Path) -> str:
    """Return a path as a fileset in `directory` writes it: relative, or as it is if it is an address."""
    return path if is_address(path) else os.path.relpath(path, directory.resolve())


def read_raw(path: str | Path) -> dict[str, Any]:
    """Return a fileset's JSON as it is.

    Raises:
        FilesetError: The file is absent, is not JSON, or is not an object of datasets.
    """
    if what := _OTHER.get(Path(path).suffix):
        raise _FORM.fault(path, f"is {what}")
    raw: dict[str, Any] = _FORM.read(path)
    if not raw:
        raise _FORM.fault(path, "is empty")
    return raw


def load(path: str | Path) -> Fileset:
    """Read and check a completed fileset.

    Raises:
        FilesetError: What `read_raw` raises; a dataset, a file or a key is wrong; a file is listed twice.
    """
    directory = Path(path).resolve().parent
    fileset = {name: _dataset(name, entry, directory) for name, entry in read_raw(path).items()}
    refuse_repetition(fileset)
    faults = [
        f"dataset {d.name!r}, file {f.path}: {fault}"
        for d in fileset.values()
        for f in d.files
        for fault in d.metadata.contradictions(f.runs, f.sqrt_s, f.lacks)
    ]
    raise_faults(f"fileset {path}", [*faults, *too_few_jpsi(fileset)], FilesetError)
    return fileset


def too_few_jpsi(fileset: Fileset) -> Iterator[str]:
    """Return a line for every dataset whose number of J/psi cannot have given its events."""
    for name, dataset in fileset.items():
        yield from (f"dataset {name!r}: {fault}" for fault in dataset.metadata.too_few_jpsi(dataset.num_entries))


def check_name(name: str) -> None:
    """Refuse a dataset name that could not be a branch of a path on every machine.

    Raises:
        FilesetError: The name is empty, not ASCII, or has other characters than letters, digits, ``_``, ``-``, ``.``.
    """
    if not (name.isascii() and name.replace("_", "").replace("-", "").replace(".", "").isalnum()):
        msg = f"dataset {name!r}: the name may hold ASCII letters, digits, '_', '-' and '.' only; rename it"
        raise FilesetError(msg)


def raw_files(name: str, entry: Any) -> Mapping[str, Any]:
    """Return the ``files`` of one dataset of a raw fileset as a mapping; a list means the tree `Events`.

    Raises:
        FilesetError: ``files`` or ``metadata`` is absent, or ``files`` is empty.
    """
    for key in ("files", "metadata"):
        if not isinstance(entry, Mapping) or key not in entry:
            msg = f'dataset {name!r}: lacks {key!r}; wanted {{"files": {{path: "{TREE}"}}, "metadata": {{...}}}}'
            raise FilesetError(msg)
    files = entry["files"]
    if isinstance(files, list) and all(isinstance(path, str) for path in files):
        files = dict.fromkeys(files, TREE)
    if not isinstance(files, Mapping):
        msg = f"dataset {name!r}: 'files' is {files!r}; wanted {{path: \"{TREE}\"}} or a list of paths"
        raise FilesetError(msg)
    if not files:
        msg = f"dataset {name!r}: 'files' is empty; list at least one file"
        raise FilesetError(msg)
    return files


def plain_file(value: Any, place: str) -> dict[str, Any]:
    """Return the tree and, if it is said, the produced events of a file of a plain or completed fileset.

    Raises:
        FilesetError: It is neither the name of a tree nor an object of these.
    """
    if isinstance(value, str):
        return {"object_path": value}
    known = {f.name for f in dataclasses.fields(FileEntry)} - {"path"}
    n_produced = value.get("n_produced") if isinstance(value, Mapping) else None
    is_count = n_produced is None or (isinstance(n_produced, int) and not isinstance(n_produced, bool))
    if (
        not isinstance(value, Mapping)
        or not set(value) <= known
        or not isinstance(value.get("object_path", TREE), str)
        or not is_count
    ):
        raise _ENTRY.fault(
            place, f'got {value!r}; wanted the name of a tree or {{"object_path": "{TREE}", "n_produced": N}}'
        )
    return {"object_path": value.get("object_path", TREE), "n_produced": n_produced}


def read_metadata(name: str, raw: Any, directory: Path) -> DatasetMetadata:
    """Return the metadata of a dataset of a fileset in `directory`; the path of its calibration is that of `resolve`.

    Raises:
        FilesetError: What `DatasetMetadata.from_dict` raises.
    """
    metadata = DatasetMetadata.from_dict(name, raw)
    if metadata.calibration in (None, SIMULATED):
        return metadata
    return dataclasses.replace(metadata, calibration=resolve(metadata.calibration, directory))


def identity(metadata: DatasetMetadata) -> dict[str, Any]:
    """Return metadata as JSON types, with the digest of the calibration in place of its path: what results depend on.

    Raises:
        CalibrationError: A file of the calibration is absent or damaged.
    """
    named = metadata.calibration
    return metadata.to_dict() | ({} if named is None else {"calibration": stamp(named)})


def _dataset(name: str, entry: Any, directory: Path) -> Dataset:
    check_name(name)
    files = raw_files(name, entry)
    metadata = read_metadata(name, entry["metadata"], directory)
    return Dataset(name, metadata, tuple(_file(name, p, v, directory) for p, v in files.items()))


def _file(dataset: str, path: str, value: Any, directory: Path) -> FileEntry:
    if not isinstance(value, Mapping):
        msg = (
            f"dataset {dataset!r}, file {path}: got only the tree {value!r}; wanted entries, UUID, size and checksum: "
            "run `lnv fileset complete` on this fileset and use what it writes"
        )
        raise FilesetError(msg)
    place = f"{dataset!r}, file {path}"
    entry: FileEntry = _ENTRY.check({**value, "path": resolve(path, directory)}, place)
    if faults := list(entry.faults()):
        raise _ENTRY.fault(place, "; ".join(faults))
    return entry


def refuse_repetition(fileset: Fileset) -> None:
    """Refuse a file that is listed twice, by another path, as a copy, written anew, in part, or in another dataset.

    Raises:
        FilesetError: Two entries have one path, one UUID, or share events; both are named.
    """
    _refuse_overlaps(fileset)
    seen: dict[str, tuple[str, str]] = {}
    for dataset in fileset.values():
        for file in dataset.files:
            keys = {file.path: "is listed", file.uuid: "is listed", file.content: "has the events that are listed"}
            for key, what in keys.items():
                if key and key in seen:
                    first, path = seen[key]
                    msg = (
                        f"dataset {dataset.name!r}: file {file.path} {what} already in {first!r} as {path} "
                        f"(UUID {file.uuid}); its events would count twice: remove one"
                    )
                    raise FilesetError(msg)
            seen |= dict.fromkeys(keys, (dataset.name, file.path))
    for together in _added_up(fileset):
        if found := shared((f"{d.name!r}, file {f.path}", f.sample) for d in together for f in d.files):
            msg = f"dataset {found}"
            raise FilesetError(msg)


def _added_up(fileset: Fileset) -> list[list[Dataset]]:
    """Return the datasets whose events are counted together: of one kind and energy, and in one selection.

    A recorded event may be in files of several selections, as the control samples of one data taking are. Pseudo-data
    of two energies may number their events alike; a file of another energy than its dataset's is refused anyway.
    """
    groups: dict[tuple[str, float, str], list[Dataset]] = {}
    for dataset in fileset.values():
        for selection in dataset.metadata.selections:
            of = dataset.metadata.kind, round(dataset.metadata.sqrt_s, _ENERGY_DIGITS), selection
            groups.setdefault(of, []).append(dataset)
    return list(groups.values())


def _refuse_overlaps(fileset: Fileset) -> None:
    """Refuse two files that hold the same entries of one source: a file that was skimmed twice."""
    spans = sorted(
        (source, first, end, dataset.name, file.path)
        for dataset in fileset.values()
        for file in dataset.files
        for source, first, end in file.sources
    )
    for before, after in itertools.pairwise(spans):
        if before[0] == after[0] and after[1] < before[2]:
            msg = (
                f"dataset {after[3]!r}: file {after[4]} holds entries {after[1]} to {after[2]} of the source file "
                f"{after[0]} (UUID), of which {before[4]} in {before[3]!r} holds {before[1]} to {before[2]}; "
                "events would count twice: remove one"
            )
            raise FilesetError(msg)


def to_raw(fileset: Fileset, directory: Path) -> dict[str, Any]:
    """Return the completed form as JSON types, with paths relative to `directory`."""
    return {
        name: {
            "files": {relative(f.path, directory): _file_fields(f) for f in dataset.files},
            "metadata": dataset.metadata.to_dict() | _calibration(dataset.metadata, directory),
        }
        for name, dataset in fileset.items()
    }


def _calibration(metadata: DatasetMetadata, directory: Path) -> dict[str, str]:
    named = metadata.calibration
    return {} if named in (None, SIMULATED) else {"calibration": relative(named, directory)}


def _file_fields(file: FileEntry) -> dict[str, Any]:
    fields = dataclasses.asdict(file)
    del fields["path"]
    return fields


def require_plausible(fileset: Fileset) -> None:
    """Refuse datasets whose first file has numbers that cannot be what their units say.

    Raises:
        FilesetError: There are some; all are named.
    """
    first = [(name, dataset.files[0]) for name, dataset in fileset.items() if dataset.files]
    faults = [f"dataset {name!r}, file {file.path}: {doubt}" for name, file in first for doubt in file.doubts]
    raise_faults("units of the files", faults, FilesetError)


def select(fileset: Fileset, pattern: str | None, max_files: int | None = None) -> Fileset:
    """Return the datasets whose names match one of the patterns, each with at most `max_files` files.

    Args:
        fileset: All datasets.
        pattern: Shell patterns separated by commas, such as ``signal*,data``; None: all.
        max_files: Files kept per dataset, the first ones; None: all.

    Raises:
        FilesetError: Nothing matches.
    """
    patterns = ["*"] if pattern is None else pattern.split(",")
    chosen = {n: d for n, d in fileset.items() if any(fnmatch.fnmatchcase(n, p.strip()) for p in patterns)}
    if not chosen:
        msg = f"no dataset matches {pattern!r}; the fileset has {sorted(fileset)}"
        raise FilesetError(msg)
    return {n: dataclasses.replace(d, files=d.files[:max_files]) for n, d in chosen.items()}


def without_n_jpsi(fileset: Fileset) -> list[str]:
    """Return the datasets of data on the resonance, which the search runs on, that do not say how many J/psi."""
    return [
        name
        for name, d in fileset.items()
        if d.metadata.kind == DATA and SEARCH in d.metadata.selections and d.metadata.n_jpsi is None
    ]


def without(fileset: Fileset, paths: set[str]) -> Fileset:
    """Return the fileset without some files; a dataset that loses all of them stays, empty."""
    return {
        n: dataclasses.replace(d, files=tuple(f for f in d.files if f.path not in paths)) for n, d in fileset.items()
    }


def expand(pattern: str, directory: Path) -> Iterator[str]:
    """Return the files that a path of a plain fileset means: itself, or what a shell pattern matches, sorted."""
    is_pattern = not is_address(pattern) and any(c in pattern for c in "*?[")
    # A file whose name looks like a pattern is a file.
    if not is_pattern or os.path.lexists(directory / pattern):
        yield resolve(pattern, directory)
        return
    base = Path(pattern)
    root, relative_pattern = (
        (Path(base.anchor), str(base.relative_to(base.anchor)))
        if base.is_absolute()
        else (
            directory,
            pattern,
        )
    )
    yield from sorted(str(p.resolve()) for p in root.glob(relative_pattern))


def table(title: str, fileset: Fileset) -> Table:
    """Return what a fileset holds, one row per dataset."""
    rows = (
        {
            "dataset": d.name,
            "kind": d.metadata.kind,
            "sqrt_s": d.metadata.sqrt_s,
            "files": len(d.files),
            "events": d.num_entries,
            "n_produced": d.n_produced,
            "bytes": d.size,
            "is_blind": d.metadata.is_blind,
        }
        for d in fileset.values()
    )
    return Table("fileset", title, _FIELDS, tuple(rows))
