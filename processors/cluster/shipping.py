"""Give the source of this process to a scheduler and its workers, now and whenever a further worker comes.

What travels must not need our package where it arrives, so it is defined inside functions: such things are pickled by
value. Dask's own `UploadDirectory` does not fit: it restarts workers through their nannies, which not every worker has,
and nannies that share a scratch directory trip over each other.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any, Final

from distributed import Client
from distributed.diagnostics.plugin import WorkerPlugin

from jpsi_lnv.analysis.provenance import source_files

PLUGIN: Final = "jpsi-lnv-source"


def ship(client: Client, *, renew_scheduler: bool) -> None:
    """Give the source of this process to all workers, and to the scheduler if it needs it.

    Args:
        client: Client of the cluster.
        renew_scheduler: Whether the scheduler gets it; never where the scheduler is a thread of this process.
    """
    install = make_install(archive())
    if renew_scheduler:
        client.run_on_scheduler(install)
    client.register_plugin(_make_plugin(install), name=PLUGIN)


def archive() -> bytes:
    """Return a zip file of our package."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as stored:
        for name, path in source_files().items():
            stored.write(path, name)
    return data.getvalue()


def make_install(data: bytes) -> Callable[..., None]:
    """Return a function that makes the process it runs in import our package from `data` from now on.

    Its argument is the directory to unpack in, by default the one for temporary files.
    """

    def install(parent: str | None = None) -> None:
        import atexit  # noqa: PLC0415 the function travels without its module
        import importlib  # noqa: PLC0415
        import io  # noqa: PLC0415
        import shutil  # noqa: PLC0415
        import sys  # noqa: PLC0415
        import tempfile  # noqa: PLC0415
        import zipfile  # noqa: PLC0415

        directory = tempfile.mkdtemp(prefix="jpsi_lnv_", dir=parent)
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            stored.extractall(directory)
        sys.path.insert(0, directory)
        for name in [n for n in sys.modules if n.partition(".")[0] == "jpsi_lnv"]:
            del sys.modules[name]
        importlib.invalidate_caches()

    return install


def _make_plugin(install: Callable[..., None]) -> WorkerPlugin:
    class ShippedSource(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            install(worker.local_directory)

    return ShippedSource()
