"""Where the machine code of kernels is kept: in the package, in the user's cache, or in a directory of this job.

numba keeps it beside the source or in the user's cache, and refuses to compile where it can write to neither: then it
gets a private directory under ``TMPDIR``, which processes started by this one share and which goes with this one. Code
that `lnv warm` has made for all recent CPUs is copied there first, since numba writes where it reads.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import numba

# Environment variable with the directory that `lnv warm` has filled; without it, `kernels` beside the package's code.
SHIPPED: Final = "JPSI_LNV_KERNELS"
BESIDE: Final = Path(__file__).parent.parent / "kernels"
# numba's own variables: the directory of its cache, and the CPU that it compiles for.
DIRECTORY: Final = "NUMBA_CACHE_DIR"
CPU: Final = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}


def prepare() -> None:
    """Make sure that numba can keep what it compiles; a directory that the user or a parent process chose stays."""
    if os.environ.get(DIRECTORY):
        return
    shipped = Path(os.environ.get(SHIPPED, BESIDE))
    if shipped.is_dir():
        directory = _of_this_job()
        shutil.copytree(shipped, directory, dirs_exist_ok=True)
        _use({DIRECTORY: str(directory)} | CPU)
    elif not (_is_writable(Path(__file__).parent / "__pycache__") or _is_writable(user_cache() / "numba")):
        _use({DIRECTORY: str(_of_this_job())})


def _use(variables: dict[str, str]) -> None:
    """Set variables of numba for this process and those that it starts."""
    os.environ.update(variables)
    numba.config.reload_config()


def _of_this_job() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="jpsi_lnv_kernels_"))
    owner = os.getpid()

    def remove() -> None:
        # Not in a process that was forked off this one.
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory


def user_cache() -> Path:
    """Return the user's cache, which numba would use; without a home, a place where nobody can write."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 it does not raise
    return Path(os.devnull if home.startswith("~") else home)


def _is_writable(directory: Path) -> bool:
    """Whether files can be made in a directory, which is made if need be: what permissions say is not enough."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
