"""The file that a worker read last stays open for its next chunk.

Chunks of one file mostly reach a worker one after the other, and describing the 77 branches of an ntuple costs as much
as reading tens of thousands of events; at an address, round trips come on top. Coffea opens the file for every chunk.
Here the source of bytes outlives the chunk, and with it what uproot has made of the file's tree, until the thread opens
another file or a chunk fails. The header of the file is read for every chunk all the same: a file replaced in the
meantime has another UUID, and nothing is taken over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from uproot.source.chunk import Source
from uproot.source.fsspec import FSSpecSource


class _Kept(threading.local):
    """What this thread keeps: the source of one file, and the objects that were read from it."""

    def __init__(self) -> None:
        self.path = ""
        self.source: Any = None
        self.objects: dict[str, Any] = {}


_KEPT: Final = _Kept()


def forget() -> None:
    """Close the file that this thread keeps; the next chunk opens its file anew."""
    if _KEPT.source is not None:
        _KEPT.source.close()
    _KEPT.path, _KEPT.source = "", None
    _KEPT.objects.clear()


class KeptSource(Source):
    """One chunk's view of the source that its thread keeps: uproot's own for paths and addresses, which it forwards to.

    Args:
        file_path: Path or address.
        options: uproot's options for the source.
    """

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__()
        self._file_path = file_path
        if _KEPT.path != file_path:
            forget()
            _KEPT.source, _KEPT.path = FSSpecSource(file_path, **options), file_path
        self._source = _KEPT.source
        self._bytes_before = self._source.num_requested_bytes

    def __enter__(self) -> KeptSource:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the file open for the next chunk."""

    def chunk(self, start: int, stop: int) -> Any:
        """Return the bytes from `start` to `stop`."""
        return self._source.chunk(start, stop)

    def chunks(self, ranges: list[tuple[int, int]], notifications: Any) -> Any:
        """Return several ranges of bytes."""
        return self._source.chunks(ranges, notifications=notifications)

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return int(self._source.num_bytes)

    @property
    def num_requested_bytes(self) -> int:
        """Bytes read since this view was made: those of its chunk."""
        return int(self._source.num_requested_bytes) - self._bytes_before

    @property
    def closed(self) -> bool:
        """Whether the file was given up; uproot then reads its objects anew."""
        return bool(self._source.closed)


class KeptObjects(MutableMapping[str, Any]):
    """uproot's cache of objects, those of this thread's file: all instances are one, wherever they were unpickled."""

    def __getitem__(self, key: str) -> Any:
        return _KEPT.objects[key]

    def __setitem__(self, key: str, value: Any) -> None:
        _KEPT.objects[key] = value

    def __delitem__(self, key: str) -> None:
        del _KEPT.objects[key]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(_KEPT.objects))

    def __len__(self) -> int:
        return len(_KEPT.objects)


# For coffea's `uproot_options`. No arrays are kept: a chunk is read once.
UPROOT_OPTIONS: Final = {"handler": KeptSource, "object_cache": KeptObjects(), "array_cache": None}
