"""Partial results on disk: what a run has finished survives its client, scheduler and batch jobs.

A part is the merged result of a group of chunks of one dataset, with its ledger: a digest, and after it what
`analysis.results` writes, so that reading one runs no code. Parts lie under a key made of source, versions of packages,
cuts and the dataset's metadata, its selections among them, and name the checksums of their files: a part that any
change has made stale is never found, and one that is damaged is work to do again.

Only this user can have written them: a directory is opened through the one above it, must belong to this user, and must
be no link; files are opened through it. So nothing outside is read, removed or changed, whatever somebody puts in the
place of a path meanwhile.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from coffea.processor import accumulate

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.documents import digest, digest_of_json
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.processors.books.chunks import Span
from jpsi_lnv.processors.books.fileset import Dataset, Fileset, identity
from jpsi_lnv.processors.books.ledger import LEDGER, Spans
from jpsi_lnv.processors.work.rows import Rows
from jpsi_lnv.processors.work.worker import worker_name

LOCK: Final = ".lock"
# End of the name of a file that is not whole yet.
PARTIAL: Final = ".tmp"
OF_USER: Final = 0o700
FILE_OF_USER: Final = 0o600
WRITABLE_BY_OTHERS: Final = 0o022


def make_private(path: str | Path, above: int | None = None) -> None:
    """Make a directory for this user alone, unless it is there."""
    with suppress(FileExistsError):
        os.mkdir(path, OF_USER, dir_fd=above)


def is_private(status: os.stat_result) -> bool:
    """Whether nobody but this user can have put anything there."""
    return status.st_uid == os.geteuid() and not status.st_mode & WRITABLE_BY_OTHERS


class PrivateDirectory:
    """A directory of this user's own, held open.

    Args:
        path: Where it lies.
        name: Its name in the directory above, if that is held open.
        above: Descriptor of the directory above.

    Raises:
        ResultsError: It is a link or no directory, or belongs to or can be written by others.
        FileNotFoundError: It is not there.
    """

    def __init__(self, path: Path, name: str | None = None, above: int | None = None) -> None:
        self.path = path
        try:
            self.handle = os.open(name or path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        except FileNotFoundError:
            raise
        except OSError as error:
            msg = f"{path}: {error.strerror}; wanted a directory of this user: move away what is there"
            raise ResultsError(msg) from error
        if not is_private(os.fstat(self.handle)):
            self.close()
            msg = f"{path}: others can write here, so no partial result in it is used; remove it, or `chmod 700` it"
            raise ResultsError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the handle back."""
        os.close(self.handle)

    def into(self, name: str, *, make: bool = False) -> PrivateDirectory:
        """Open a directory in this one, after it was made if that is asked for."""
        if make:
            make_private(name, self.handle)
        return PrivateDirectory(self.path / name, name, self.handle)

    def names(self, ending: str) -> list[str]:
        """Return the names of the files in it that end so, the largest file first."""
        with os.scandir(self.handle) as entries:
            found = {e.name: e.stat(follow_symlinks=False).st_size for e in entries if e.name.endswith(ending)}
        return sorted(found, key=lambda name: (-found[name], name))

    def read(self, name: str) -> bytes:
        """Return the content of a file; nothing if it is none, or not this user's own."""
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.handle)
        except OSError:
            return b""
        with os.fdopen(handle, "rb") as stream:
            status = os.fstat(handle)
            return stream.read() if stat.S_ISREG(status.st_mode) and is_private(status) else b""

    def write(self, name: str, data: bytes) -> None:
        """Write a file under another name first: half of one is never found."""
        partial = name + PARTIAL
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_OF_USER, dir_fd=self.handle)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(partial, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except OSError:
            self.remove(partial)
            raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.handle)


@contextmanager
def output_lock(directory: Path) -> Iterator[None]:
    """Keep other runs out of a directory of results; they are not kept out where the file system knows no locks.

    Raises:
        ResultsError: Another run writes there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, FILE_OF_USER)
    with os.fdopen(handle, "r+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{directory}: run {stream.read()} writes its results here; wait for it, or give another --output"
            raise ResultsError(msg) from error
        except OSError:
            yield
            return
        stream.truncate(0)
        stream.write(worker_name())
        stream.flush()
        yield


PARTS: Final = ".parts"
SUFFIX: Final = ".part"
# First bytes of a part, before its digest and a line's end.
MAGIC: Final = b"jpsi-lnv part "
DIGEST_LENGTH: Final = 64


def dataset_key(dataset: Dataset, configuration: Any) -> str:
    """Return the digest under which parts of a dataset are kept.

    Args:
        dataset: The dataset; its metadata count, its list of files does not.
        configuration: What else its results depend on: source, versions, cuts.
    """
    return digest_of_json([configuration, dataset.name, identity(dataset.metadata)])


def _head(data: bytes) -> bytes:
    return MAGIC + digest(data, digits=DIGEST_LENGTH).encode() + b"\n"


def selections_of(content: dict[str, Any]) -> dict[str, results.SelectionResult]:
    """Return what the selections of a dataset's accumulator found, in the form in which it is stored."""
    return {
        name: results.SelectionResult(
            cutflow=dict(selection["cutflow"]),
            histograms=dict(selection.get("histograms", {})),
            status=dict(selection.get("status", {})),
            candidates=in_order(selection.get("candidates", {})),
        )
        for name, selection in content.items()
        if name != LEDGER
    }


def in_order(candidates: Rows | dict[str, Any]) -> dict[str, AnyArray]:
    """Return columns sorted by run and event, equal ones by all other columns: the order of merging leaves no trace."""
    whole = candidates.columns if isinstance(candidates, Rows) else candidates
    columns = {name: np.asarray(getattr(c, "value", c)) for name, c in whole.items()}
    if not columns:
        return {}
    last = [columns[n] for n in ("event", "run") if n in columns]
    others = [c for n, c in reversed(columns.items()) if n not in ("run", "event") and c.ndim == 1]
    order = np.lexsort([*others, *last])
    return {name: column[order] for name, column in columns.items()}


def _accumulator(result: results.SelectionResult) -> dict[str, Any]:
    """Return a stored selection as one that results of chunks can be added to."""
    found: dict[str, Any] = {"cutflow": result.cutflow, "histograms": result.histograms, "status": result.status}
    if result.candidates:
        # Texts come back as objects, which cannot be sorted.
        columns = {n: c.astype(np.str_) if c.dtype == object else c for n, c in result.candidates.items()}
        found["candidates"] = Rows(columns)
    return found


class Parts:
    """The partial results of one run configuration.

    Args:
        output: Directory of the results, in which they lie.
        fileset: The datasets, for their keys and their files' checksums.
        configuration: What results depend on besides datasets and files: source, versions, cuts.
        others: Directories of other runs whose parts are taken too, and left as they are.
    """

    def __init__(self, output: Path, fileset: Fileset, configuration: Any, others: Sequence[Path] = ()) -> None:
        self._output = output
        self._others = others
        self._fileset = fileset
        self._keys = {name: dataset_key(d, configuration) for name, d in fileset.items()}
        self._checksums = {f.uuid: f.sha256 for d in fileset.values() for f in d.files}
        # Parts of which the result of this run is made.
        self._merged: dict[str, set[str]] = {name: set() for name in fileset}

    @contextmanager
    def _place(self, dataset: str, *, output: Path | None = None, make: bool = False) -> Iterator[PrivateDirectory]:
        top = (output or self._output) / PARTS
        if make:
            make_private(top)
        with (
            PrivateDirectory(top) as parts,
            parts.into(dataset, make=make) as of_dataset,
            of_dataset.into(self._keys[dataset], make=make) as place,
        ):
            yield place

    def save(self, group: dict[str, Any]) -> None:
        """Store the results of a group of chunks, a part per dataset.

        Raises:
            ResultsError: The disk is full or the directory cannot be written.
        """
        for name, content in group["out"].items():
            self._merged[name].add(self._write(name, content))

    def _write(self, dataset: str, content: dict[str, Any]) -> str:
        name = f"{uuid.uuid4().hex}{SUFFIX}"
        try:
            with self._place(dataset, make=True) as place:
                place.write(name, self._to_bytes(dataset, content))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            msg = (
                f"{self._output / PARTS}: cannot store a partial result ({reason}); mend that, then `lnv run --resume`"
            )
            raise ResultsError(msg) from error
        return name

    def _to_bytes(self, dataset: str, content: dict[str, Any]) -> bytes:
        line = content[LEDGER]
        files = {u: [self._checksums[u], list(spans)] for u, spans in line["files"].items()}
        metadata = self._fileset[dataset].metadata
        stored = results.DatasetResult(metadata, 0, line["n_events"], selections_of(content))
        stream = io.BytesIO()
        results.dump(stream, results.Results({dataset: stored}, {"key": self._keys[dataset], "files": files}, {}))
        data = stream.getvalue()
        return _head(data) + data

    def _from_bytes(self, dataset: str, part: bytes) -> dict[str, Any] | None:
        """Return the content of a part; None if it is damaged, of another key, or of files that changed."""
        head, data = part[: len(MAGIC) + DIGEST_LENGTH + 1], part[len(MAGIC) + DIGEST_LENGTH + 1 :]
        if head != _head(data):
            return None
        stored = results.load(io.BytesIO(data))
        files = stored.provenance["files"]
        if stored.provenance["key"] != self._keys[dataset]:
            return None
        if any(self._checksums.get(u) != checksum for u, (checksum, _) in files.items()):
            return None
        result = stored.datasets[dataset]
        line = {"files": {u: Spans(spans) for u, (_, spans) in files.items()}, "n_events": result.n_events}
        return {LEDGER: line} | {name: _accumulator(s) for name, s in result.selections.items()}

    def load(self) -> tuple[dict[str, Any], dict[str, list[Span]]]:
        """Return the sum of all parts that are still valid, and per file (UUID) the entries that are missing.

        A part is left out if one of its files is not in the fileset any more, or if it repeats entries.

        Raises:
            ResultsError: Others can have written there.
        """
        total = {name: content for name in self._fileset if (content := self._load(name)) is not None}
        return total, self._missing(total)

    def _load(self, dataset: str) -> dict[str, Any] | None:
        covered: dict[str, Spans] = {}
        total: dict[str, Any] | None = None
        for content in self._valid(dataset):
            merged = accumulate([covered, content[LEDGER]["files"]], {})
            if not any(spans.overlaps() for spans in merged.values()):
                covered = merged
                total = content if total is None else accumulate([total, content])
        return total

    def _valid(self, dataset: str) -> Iterator[dict[str, Any]]:
        for output in (self._output, *self._others):
            with suppress(FileNotFoundError), self._place(dataset, output=output) as place:
                for name in place.names(SUFFIX):
                    content = self._from_bytes(dataset, place.read(name))
                    if content is None:
                        continue
                    if output == self._output:
                        self._merged[dataset].add(name)
                    yield content

    def _missing(self, total: dict[str, Any]) -> dict[str, list[Span]]:
        missing: dict[str, list[Span]] = {}
        for name, dataset in self._fileset.items():
            done = total.get(name, {}).get(LEDGER, {}).get("files", {})
            missing |= {f.uuid: done.get(f.uuid, Spans()).holes(f.num_entries) for f in dataset.files}
        return missing

    def clear(self) -> None:
        """Remove every part of these datasets, stale ones too."""
        with suppress(FileNotFoundError), PrivateDirectory(self._output / PARTS) as parts:
            for name in self._fileset:
                with suppress(FileNotFoundError):
                    parts.into(name).close()
                    shutil.rmtree(name, dir_fd=parts.handle)

    def compact(self, total: dict[str, Any]) -> None:
        """Replace the parts of a run's result by one per dataset: adding files later costs only those files."""
        for dataset, content in total.items():
            self._write(dataset, content)
            with self._place(dataset) as place:
                for name in (*self._merged[dataset], *place.names(PARTIAL)):
                    place.remove(name)
