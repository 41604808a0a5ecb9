"""Files by path or address: what is local, how to resolve it, and how long a dead xrootd host may keep us waiting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# With the client library's defaults an open of a dead host still hangs after four minutes; with these it fails in
# seconds. The library reads them when it is loaded, so they are set before the first `root://` address is opened.
XROOTD_LIMITS: Final = {"XRD_CONNECTIONRETRY": "1", "XRD_CONNECTIONWINDOW": "3"}


def set_xrootd_limits() -> None:
    """Make xrootd give up on a dead host within seconds, unless the environment says otherwise already."""
    for name, value in XROOTD_LIMITS.items():
        os.environ.setdefault(name, value)


def is_address(path: str) -> bool:
    """Whether a path is an address such as ``root://host//file`` rather than a file of this machine."""
    return "://" in path


def resolve(path: str, directory: Path) -> str:
    """Return an address as it is and a file as an absolute path without links, relative ones under `directory`."""
    return path if is_address(path) else str((directory / path).resolve())


def relative(path: str, directory: Path) -> str:
    """Return a path as a fileset in `directory` writes it: relative, or as it is if it is an address."""
    return path if is_address(path) else os.path.relpath(path, directory.resolve())
