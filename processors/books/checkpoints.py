"""Partial results on disk: what a run has finished survives its client, scheduler and batch jobs.

A part is the merged result of a group of chunks of one dataset, with its ledger. Parts lie under a key made of the
source of `analysis` and `processors`, the cuts and the dataset's metadata, and name the checksums of their files: a
part that any change has made stale is never found. The parts are private working files of one user (pickles); the
result that a run hands out is not.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cloudpickle
import lz4.frame
from coffea.processor import accumulate

from jpsi_lnv.analysis.documents import digest_of_json
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.processors.books.chunks import Span
from jpsi_lnv.processors.books.fileset import Dataset, Fileset
from jpsi_lnv.processors.books.ledger import LEDGER, Spans

PRIVATE: Final = 0o700
WRITABLE_BY_OTHERS: Final = 0o022


def dataset_key(dataset: Dataset, source: str, configuration: str) -> str:
    """Return the digest under which parts of a dataset are kept.

    Args:
        dataset: The dataset; its metadata count, its list of files does not.
        source: Digest of the source.
        configuration: Digest of cuts and processors.
    """
    return digest_of_json([source, configuration, dataset.name, dataset.metadata.to_dict()])


def _directories(top: Path, place: Path) -> list[Path]:
    """Return the directories from `top` down to `place`."""
    return [*[d for d in reversed(place.parents) if d.is_relative_to(top)], place]


def _is_private(directory: Path) -> bool:
    """Whether nobody but this user can have put anything into a directory."""
    status = directory.stat()
    return status.st_uid == os.getuid() and not status.st_mode & WRITABLE_BY_OTHERS


class Parts:
    """The partial results of one run configuration.

    Args:
        directory: Where they lie.
        fileset: The datasets, for their keys and their files' checksums.
        source: Digest of the source.
        configuration: Digest of cuts and processors.
    """

    def __init__(self, directory: Path, fileset: Fileset, source: str, configuration: str) -> None:
        self.directory = directory
        self._fileset = fileset
        self._places = {name: directory / name / dataset_key(d, source, configuration) for name, d in fileset.items()}
        self._checksums = {f.uuid: f.sha256 for d in fileset.values() for f in d.files}

    def save(self, group: dict[str, Any]) -> None:
        """Store the results of a group of chunks, a part per dataset.

        Raises:
            ResultsError: The disk is full or the directory cannot be written.
        """
        for name, result in group["out"].items():
            self._write(self._places[name], result)

    def load(self) -> tuple[dict[str, Any], dict[str, list[Span]]]:
        """Return the sum of all parts that are still valid, and per file (UUID) the entries that are missing.

        A part is left out if one of its files is not in the fileset any more, or if it repeats entries.
        """
        total: dict[str, Any] = {}
        for name, place in self._places.items():
            covered: dict[str, Spans] = {}
            for result in self._valid(place):
                merged = accumulate([covered, result[LEDGER]["files"]], {})
                if any(spans.overlaps() for spans in merged.values()):
                    continue
                covered = merged
                total = accumulate([{name: result}], total)
        return total, self._missing(total)

    def _missing(self, total: dict[str, Any]) -> dict[str, list[Span]]:
        missing: dict[str, list[Span]] = {}
        for name, dataset in self._fileset.items():
            done = total.get(name, {}).get(LEDGER, {}).get("files", {})
            missing |= {f.uuid: done.get(f.uuid, Spans()).holes(f.num_entries) for f in dataset.files}
        return missing

    def _valid(self, place: Path) -> Iterator[dict[str, Any]]:
        if place.exists():
            self._require_private(place)
        for path in sorted(place.glob("*.part")):
            try:
                stored = cloudpickle.loads(lz4.frame.decompress(path.read_bytes()))
            except Exception:  # noqa: S112 a damaged part is work to do again, whatever the damage is
                continue
            if all(self._checksums.get(u) == checksum for u, checksum in stored["files"].items()):
                yield stored["result"]

    def _require_private(self, place: Path) -> None:
        """Raise ResultsError if others can write here: unpickling a part runs what it says."""
        for directory in _directories(self.directory, place):
            if not _is_private(directory):
                msg = f"{directory}: others can write here, so no partial result in it is used; run without --resume"
                raise ResultsError(msg)

    def _write(self, place: Path, result: dict[str, Any]) -> None:
        files = {u: self._checksums[u] for u in result[LEDGER]["files"]}
        data = lz4.frame.compress(cloudpickle.dumps({"files": files, "result": result}))
        path = place / f"{uuid.uuid4().hex}.part"
        partial = path.with_suffix(".tmp")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            for directory in _directories(self.directory, place):
                directory.mkdir(exist_ok=True)
                directory.chmod(PRIVATE)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            reason = os.strerror(error.errno or 0)
            msg = f"{path}: cannot store a partial result ({reason}); mend that, then `lnv run --resume`"
            raise ResultsError(msg) from error

    def clear(self) -> None:
        """Remove every part of these datasets, stale ones too."""
        for place in self._places.values():
            shutil.rmtree(place.parent, ignore_errors=True)

    def compact(self, total: dict[str, Any]) -> None:
        """Replace the parts by one per dataset, after a run: adding files later costs only those files."""
        for name, place in self._places.items():
            old = list(place.parent.glob("*/*.part"))
            if name in total:
                self._write(place, total[name])
            for path in old:
                path.unlink(missing_ok=True)
