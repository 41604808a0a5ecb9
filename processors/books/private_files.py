"""Files that only this user can have written: what is read there is believed, and what is removed there is his own.

A directory is opened through the one above it, must belong to this user, and must be no link; files are opened through
it. So nothing outside is read, removed or changed, whatever somebody puts in the place of a path meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from jpsi_lnv.analysis.errors import ResultsError
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
