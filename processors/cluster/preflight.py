"""Before a run: client, scheduler and workers hold the same source, or are given it, and the same packages.

A version string does not change in an edited checkout, and a worker keeps what it has imported; so what is compared is
the digest of the source that each process has loaded. Workers that have another source, or none, get this one,
and so does every worker that comes later.

What travels must not need our package where it arrives, so it is defined inside functions: such things are pickled by
value. Dask's own `UploadDirectory` does not fit: it restarts workers through their nannies, which not every worker has,
and nannies that share a scratch directory trip over each other.
"""

from __future__ import annotations

import io
import platform
import zipfile
from collections.abc import Callable
from typing import Any, Final

from distributed import Client
from distributed.diagnostics.plugin import WorkerPlugin

from jpsi_lnv.analysis.provenance import package_versions, source_digest, source_files
from jpsi_lnv.processors.work.executors import ClusterError
from jpsi_lnv.processors.work.guard import LOADED_DIGEST

SHOWN_MAX: Final = 3
PLUGIN: Final = "jpsi-lnv-source"


def prepare(client: Client, timeout: float) -> None:
    """Make sure that scheduler and workers run this source; ship it where they do not.

    Args:
        client: Client of the cluster.
        timeout: Time in s to wait for the first worker.

    Raises:
        ClusterError: No worker comes, some process has another source even after it was shipped, or a worker has
            other versions of the packages that a result names as its own.
    """
    _wait_for_worker(client, timeout)
    if found := differences(client):
        _refuse_stale_client()
        ship(client, renew_scheduler="scheduler" in found)
    if rest := differences(client):
        msg = (
            f"{len(rest)} process(es) of the cluster have another source than this one ({LOADED_DIGEST}): "
            f"{_shown(rest)}; restart them, or install this version there"
        )
        raise ClusterError(msg)
    if rest := other_versions(client):
        msg = (
            f"{len(rest)} worker(s) have other packages than this process: {_shown(rest)}; give them the same versions"
        )
        raise ClusterError(msg)


def _shown(found: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in list(found.items())[:SHOWN_MAX])


def _wait_for_worker(client: Client, timeout: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        address = client.scheduler_info(n_workers=0)["address"]
        msg = f"cluster {address}: no worker came within {timeout:g} s; look at the workers' logs"
        raise ClusterError(msg) from error


def _refuse_stale_client() -> None:
    """Shipping gives what is on disk, which is this process's source only if nobody has edited it since."""
    on_disk = source_digest.__wrapped__()
    if on_disk != LOADED_DIGEST:
        msg = f"this process runs source {LOADED_DIGEST}, but {on_disk} is on disk now: restart it, or the kernel"
        raise ClusterError(msg)


def differences(client: Client) -> dict[str, str]:
    """Return, for the scheduler and each worker whose source is not this one, its digest or why it has none."""
    probe = _make_probe()
    found = {"scheduler": client.run_on_scheduler(probe)} | client.run(probe, on_error="return")
    return {name: str(digest) for name, digest in found.items() if digest != LOADED_DIGEST}


def other_versions(client: Client) -> dict[str, str]:
    """Return, for each worker with another version of a package that decides a result, which and what is here."""
    own = _versions()
    found = client.run(_versions)
    return {name: text for name, versions in found.items() if (text := _compare(versions, own))}


def _versions() -> dict[str, str]:
    return package_versions() | {"python": platform.python_version()}


def _compare(there: dict[str, str], here: dict[str, str]) -> str:
    """Return the differences of what both have: a source that was shipped has no version of its own."""
    common = [name for name in here if name in there]
    return ", ".join(f"{n} {there[n]} (here {here[n]})" for n in common if there[n] != here[n])


def _make_probe() -> Any:
    """Return a function that travels by value, because the process it goes to may not have our packages."""

    def probe() -> str:
        try:
            from jpsi_lnv.processors.work.guard import LOADED_DIGEST as loaded  # noqa: N811, PLC0415
        except Exception as error:  # a missing dependency is an answer too
            return f"{type(error).__name__}: {error}"
        return str(loaded)

    return probe


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
