"""Where a result comes from: commit, versions, cuts, digests; stamped into every output."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.documents import digest

_PACKAGES: Final = ("jpsi-lnv", "awkward", "coffea", "dask", "distributed", "hist", "numba", "numpy", "scipy", "uproot")
# The package as it is imported: in a checkout its two halves are links to folders at the top.
PACKAGE: Final = Path(__file__).parent.parent
# What is compiled of the source and is no source: by Python, and by `lnv warm` for a bundle.
_COMPILED: Final = ("__pycache__", "kernels")
# What says what a bundle is, at the top of its tree: the prefix of its interpreter.
BUNDLE: Final = Path(sys.prefix, "bundle.json")


def source_files() -> dict[str, Path]:
    """Return the package's source and data files by their names in an archive (``jpsi_lnv/…``), in order."""
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(PACKAGE, followlinks=True):
        folders[:] = [name for name in folders if name not in _COMPILED]
        found |= {str(path.relative_to(PACKAGE.parent)): path for path in (Path(folder, name) for name in names)}
    return dict(sorted(found.items()))


@cache
def source_digest() -> str:
    """Return a digest of the package's source as it lies on disk.

    A version string does not change in an edited checkout; this does. Data files of the package count too.
    """
    return digest(*(name.encode() + b"\0" + path.read_bytes() + b"\0" for name, path in source_files().items()))


def commit() -> str | None:
    """Return the commit of the checkout, with ``-dirty`` if files differ from it; None outside a checkout."""
    try:
        described = subprocess.run(  # noqa: S603 fixed arguments
            ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def bundle() -> str | None:
    """Return the digest of the bundle that this program runs from; None outside one."""
    return str(json.loads(BUNDLE.read_text())["digest"]) if BUNDLE.is_file() else None


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide a result."""
    return {name: v for name in _PACKAGES if (v := _version(name)) is not None}


@cache
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
        "bundle": bundle(),
        "source_digest": source_digest(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "cuts": dataclasses.asdict(cuts),
        "cuts_digest": cuts.digest(),
        "fileset_digest": fileset_digest,
    }
