"""Before a run: client, scheduler and workers hold the same source, or are given it, and the same packages.

A version string does not change in an edited checkout, and a worker keeps what it has imported; so what is compared is
the digest of the source that each process has loaded. Workers that have another source, or none, get this one.
"""

from __future__ import annotations

import platform
from typing import Any, Final

from distributed import Client

from jpsi_lnv.analysis.provenance import package_versions, source_digest
from jpsi_lnv.processors.cluster.shipping import ship
from jpsi_lnv.processors.work.executors import ClusterError
from jpsi_lnv.processors.work.guard import LOADED_DIGEST

SHOWN_MAX: Final = 3


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
