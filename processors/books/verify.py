"""The check that a file is the one of the fileset, made where the files are read, before any of them is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import fsspec
import uproot

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events.schema import META_TREE, TREE, required_branches
from jpsi_lnv.processors.books.fileset import FileEntry, Fileset, is_address
from jpsi_lnv.processors.work.worker import set_xrootd_limits

How = Literal["sha256", "fresh", "size", "none"]
# What reads a whole file; `fresh` does so even if it was verified before.
BY_CHECKSUM: Final = ("sha256", "fresh")
_VERIFIED: Final = documents.Form(
    "list of verified files", "it is made anew", NtupleError, content=dict[str, tuple[str, str] | tuple[()]]
)


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
    with fsspec.open(path, "rb") as stream:
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
    with uproot.open(path) as root:
        _compare(path, "UUID", str(root.file.uuid), file.uuid)
        if file.object_path not in root:
            msg = f"{path}: has no tree {file.object_path!r}; got {sorted(root.keys(cycle=False))}"
            raise NtupleError(msg)
        _compare(path, f"number of entries of {file.object_path}", root[file.object_path].num_entries, file.num_entries)


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


def default_cache() -> Path:
    """Return where verified files are remembered: ``$XDG_CACHE_HOME/jpsi-lnv/verified.json``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "jpsi-lnv" / "verified.json"


def checks(fileset: Fileset, how: How, verified: Verified) -> list[Check]:
    """Return the checks of every file of a fileset."""
    return [
        Check(d.name, f, how, "" if how == "fresh" else verified.known(f.path))
        for d in fileset.values()
        for f in d.files
    ]


def describe(path: str, object_path: str = TREE) -> dict[str, Any]:
    """Return what a completed fileset says of a file: entries, UUID, size, checksum, produced events, basket edges.

    Raises:
        NtupleError: The file is absent, is not a ROOT file, or has no such tree.
    """
    set_xrootd_limits()
    try:
        with uproot.open(path) as root:
            content = _content(path, root, object_path)
        return content | {"size": size(path), "sha256": sha256(path)}
    except NtupleError:
        raise
    except FileNotFoundError as error:
        msg = f"{path}: no such file; make it (the demo set: `lnv simulate --set demo`) or mend its path in the fileset"
        raise NtupleError(msg) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        msg = f"{path}: cannot be read as a ROOT file ({reason}); restore it or take it out of the fileset"
        raise NtupleError(msg) from error


def _content(path: str, root: Any, object_path: str) -> dict[str, Any]:
    if object_path not in root:
        msg = f"{path}: has no tree {object_path!r}; got {sorted(root.keys(cycle=False))}"
        raise NtupleError(msg)
    tree = root[object_path]
    if missing := [name for name in required_branches() if name not in set(tree.keys())]:
        msg = f"{path}: branch {missing[0]!r} of tree {object_path!r} is missing ({len(missing)} required ones are)"
        raise SchemaError(msg)
    edges = [int(e) for e in tree.common_entry_offsets()] if tree.num_entries else []
    return {
        "object_path": object_path,
        "num_entries": int(tree.num_entries),
        "uuid": str(root.file.uuid),
        "n_produced": _n_produced(root, int(tree.num_entries)),
        "clusters": edges,
    }


def _n_produced(root: Any, num_entries: int) -> int:
    """Return the produced events that `Meta` records; a file without it was never skimmed: its entries."""
    return int(root[META_TREE]["n_produced"].array(library="np").sum()) if META_TREE in root else num_entries
