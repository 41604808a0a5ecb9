"""Where a result comes from: commit, versions, cuts, digests; stamped into every output."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from analysis.cuts import Cuts

_PACKAGES: Final = ("jpsi-lnv", "awkward", "coffea", "dask", "distributed", "hist", "numba", "numpy", "scipy", "uproot")
_ROOT: Final = Path(__file__).resolve().parent.parent


@cache
def source_digest() -> str:
    """Return a digest of the source of `analysis` and `processors` as it lies on disk.

    A version string does not change in an edited checkout; this does. Data files of the packages count too.
    """
    digest = hashlib.sha256()
    for package in ("analysis", "processors"):
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in {".py", ".json", ".j2"}:
                digest.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def commit() -> str | None:
    """Return the commit of the checkout, with ``-dirty`` if files differ from it; None outside a checkout."""
    try:
        described = subprocess.run(  # noqa: S603 fixed arguments
            ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide a result."""
    return {name: v for name in _PACKAGES if (v := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def collect(cuts: Cuts, *, fileset_digest: str) -> dict[str, Any]:
    """Return the provenance of a run.

    Args:
        cuts: The cuts the run applies.
        fileset_digest: Digest of the completed fileset.
    """
    return {
        "commit": commit(),
        "source_digest": source_digest(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "cuts": dataclasses.asdict(cuts),
        "cuts_digest": cuts.digest(),
        "fileset_digest": fileset_digest,
    }
