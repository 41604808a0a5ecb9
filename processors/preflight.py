"""Before a run: client, scheduler and workers hold the same source, or are given it.

A version string does not change in an edited checkout, and a worker keeps what it has imported; so what is compared is
the digest of the source that each process has loaded. Workers that have another source, or none, get this one.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from distributed import Client
from distributed.diagnostics.plugin import UploadDirectory

from processors.executors import ClusterError
from processors.guard import LOADED_DIGEST

PACKAGES: Final = ("analysis", "processors")
ROOT: Final = Path(__file__).resolve().parent.parent
SHOWN_MAX: Final = 3


def prepare(client: Client, timeout: float) -> None:
    """Make sure that scheduler and workers run this source; ship it where they do not.

    Args:
        client: Client of the cluster.
        timeout: Time in s to wait for the first worker.

    Raises:
        ClusterError: No worker comes, or some process has another source even after it was shipped.
    """
    _wait_for_worker(client, timeout)
    if not (found := differences(client)):
        return
    ship(client, renew_scheduler="scheduler" in found)
    _wait_for_worker(client, timeout)
    if rest := differences(client):
        shown = "; ".join(f"{name}: {what}" for name, what in list(rest.items())[:SHOWN_MAX])
        msg = (
            f"{len(rest)} process(es) of the cluster have another source than this one ({LOADED_DIGEST}): {shown}; "
            "restart them, or install this version there"
        )
        raise ClusterError(msg)


def _wait_for_worker(client: Client, timeout: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        address = client.scheduler_info(n_workers=0)["address"]
        msg = f"cluster {address}: no worker came within {timeout:g} s; look at the workers' logs"
        raise ClusterError(msg) from error


def differences(client: Client) -> dict[str, str]:
    """Return, for the scheduler and each worker whose source is not this one, its digest or why it has none."""
    found = {"scheduler": client.run_on_scheduler(_make_probe())} | client.run(_make_probe(), on_error="return")
    return {name: str(digest) for name, digest in found.items() if digest != LOADED_DIGEST}


def _make_probe() -> Any:
    """Return a function that travels by value, because the process it goes to may not have our packages."""

    def probe() -> str:
        try:
            from processors.guard import LOADED_DIGEST as loaded  # noqa: N811, PLC0415
        except Exception as error:  # a missing dependency is the answer
            return f"{type(error).__name__}: {error}"
        return str(loaded)

    return probe


def ship(client: Client, *, renew_scheduler: bool) -> None:
    """Give the source of this process to scheduler and workers; the workers restart with it.

    Args:
        client: Client of the cluster.
        renew_scheduler: Make the scheduler import it anew; never where the scheduler is a thread of this process.
    """
    with tempfile.TemporaryDirectory() as directory:
        staged = Path(directory) / f"jpsi_lnv_{LOADED_DIGEST}"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, staged / package, ignore=shutil.ignore_patterns("__pycache__"))
        if renew_scheduler:
            client.run_on_scheduler(_make_forget())
        mode = "all" if renew_scheduler else "workers"
        client.register_plugin(UploadDirectory(str(staged), mode=mode, restart_workers=True, update_path=True))


def _make_forget() -> Any:
    """Return a function that makes a process import our packages anew at the next use."""

    def forget(packages: tuple[str, ...] = PACKAGES) -> None:
        import sys  # noqa: PLC0415

        for name in [n for n in sys.modules if n.partition(".")[0] in packages]:
            del sys.modules[name]

    return forget
