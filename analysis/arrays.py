"""Types of arrays, and how a loop over them is compiled and where its machine code is kept: once for the whole package.

numba keeps the machine code beside the source or in the user's cache, and refuses to compile where it can write to
neither: then it gets a private directory under ``TMPDIR``, which processes started by this one share. Code that
`lnv warm` has made is copied there first, since numba writes where it reads. It names the folders of the package by
what they are in it, where numba's names depend on where the package lies.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
from numba.core.caching import _CacheLocator

# Environment variable with the directory that `lnv warm` has filled; the package has set it, and the CPU for numba.
SHIPPED: Final = "JPSI_LNV_KERNELS"
# numba's own variable: the directory of its cache.
DIRECTORY: Final = "NUMBA_CACHE_DIR"
PACKAGE: Final = Path(__file__).parent.parent


def prepare() -> None:
    """Make sure that numba can keep what it compiles; a directory that the user or a parent process chose stays."""
    if os.environ.get(DIRECTORY):
        return
    shipped = Path(os.environ[SHIPPED])
    if shipped.is_dir():
        directory = _of_this_job()
        for folder in shipped.iterdir():
            shutil.copytree(folder, directory / _name_of_numba(PACKAGE.joinpath(*folder.name.split("."))))
        _use(directory)
    elif not (is_writable(Path(__file__).parent / "__pycache__") or is_writable(user_cache() / "numba")):
        _use(_of_this_job())


def ship(cache: Path, shipped: Path) -> None:
    """Copy numba's cache of the package's kernels into a directory that can be shipped, for wherever it will lie."""
    for path in PACKAGE.glob("*/**/"):
        if (cache / _name_of_numba(path)).is_dir():
            name = ".".join(path.relative_to(PACKAGE).parts)
            shutil.copytree(cache / _name_of_numba(path), shipped / name, dirs_exist_ok=True)


def _name_of_numba(folder: Path) -> str:
    """Return the name that numba gives to the code of the modules in a folder."""
    return str(_CacheLocator.get_suitable_cache_subpath(str(folder / "module.py")))


def _use(directory: Path) -> None:
    """Let this process and those that it starts keep machine code in a directory."""
    os.environ[DIRECTORY] = str(directory)
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


def is_writable(directory: Path) -> bool:
    """Whether files can be made in a directory, which is made if need be: what permissions say is not enough."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]
# Of the precision in which a file stores it, or double.
RealArray = npt.NDArray[np.floating]

prepare()
# A compiled function: it releases the GIL, keeps its machine code on disk and divides as numpy does.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


@kernel
def _one() -> int:
    return 1


def kernel_directory() -> str:
    """Compile a kernel and return the directory that keeps its machine code."""
    _one()
    cache: Any = getattr(_one, "_cache")  # noqa: B009 not in numba's types
    return str(cache.cache_path)
