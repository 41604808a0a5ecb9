"""Workers are admitted one by one, whenever they come: with our source, which they are given, and our packages.

A version string does not change in an edited checkout, and a worker keeps what it has imported; so what is compared is
the digest of the source that each process has loaded. A worker that has another source, or none, gets this one before
its first chunk; one that has other packages is sent away from a cluster of ours. At an address, where workers are not
ours to send away, it ends the run, and the guard lets it touch no chunk.

What travels must not need our package where it arrives, so it is defined inside functions: such things are pickled by
value. Dask's own `UploadDirectory` does not fit: it restarts workers through their nannies, which not every worker has,
and nannies that share a scratch directory trip over each other.
"""

from __future__ import annotations

import io
import logging
import time
import zipfile
from collections.abc import Callable
from typing import Any, Final

from distributed import Client
from distributed.diagnostics.plugin import WorkerPlugin

from jpsi_lnv.analysis.provenance import source_digest, source_files
from jpsi_lnv.processors.work.dask_loop import ask
from jpsi_lnv.processors.work.executors import ClusterError
from jpsi_lnv.processors.work.guard import LOADED_DIGEST, loaded_versions

_LOG: Final = logging.getLogger(__name__)
SHOWN_MAX: Final = 3
PLUGIN: Final = "jpsi-lnv-admission"
# Times that workers are told of the run; one that dies meanwhile makes it necessary again.
ATTEMPTS: Final = 5
# Time in s between two looks at the workers.
PAUSE: Final = 0.2


def prepare(client: Client, timeout: float, *, is_ours: bool) -> None:
    """Admit workers to a run, those that are there and those that come; who is sent away is logged.

    Args:
        client: Client of the cluster.
        timeout: Time in s to wait for the first worker.
        is_ours: Whether workers that do not fit are sent away.

    Raises:
        ClusterError: No worker comes or fits, one that does not is not ours, or the scheduler has another source.
    """
    refused: dict[str, str] = {}

    def note(event: tuple[float, dict[str, str]]) -> None:
        name, why = event[1]["worker"], event[1]["why"]
        refused[name] = why
        _LOG.warning("worker %s was sent away: it has %s", name, why)

    client.subscribe_topic(PLUGIN, note)
    install = make_install(archive()) if is_on_disk() else None
    _renew_scheduler(client, install)
    _register(client, _make_plugin(install, is_ours))
    end = time.monotonic() + timeout
    while True:
        _wait_for_worker(client, end - time.monotonic(), timeout, refused)
        found = refusals(client)
        refused |= {name: why for name, why in found.items() if why}
        if refused and not is_ours:
            raise _unfit(refused)
        if not all(found.values()):
            return
        time.sleep(PAUSE)


def is_on_disk() -> bool:
    """Whether the source of this process can be given away: what is on disk is the same, unless it was edited."""
    return source_digest.__wrapped__() == LOADED_DIGEST


def _unfit(refused: dict[str, str]) -> ClusterError:
    shown = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:SHOWN_MAX])
    msg = f"{len(refused)} worker(s) do not fit this process: {shown}; give them the same versions"
    if not is_on_disk():
        msg += f", and restart this process, or the kernel: it runs source {LOADED_DIGEST}, which is edited on disk"
    return ClusterError(msg)


def _wait_for_worker(client: Client, left: float, timeout: float, refused: dict[str, str]) -> None:
    try:
        client.wait_for_workers(1, timeout=max(PAUSE, left))
    except TimeoutError as error:
        if refused:
            raise _unfit(refused) from error
        address = client.scheduler_info(n_workers=0)["address"]
        msg = f"cluster {address}: no worker came within {timeout:g} s; look at the workers' logs"
        raise ClusterError(msg) from error


def _renew_scheduler(client: Client, install: Callable[..., None] | None) -> None:
    """Give our source to a scheduler that has another or none; one in this process has this one."""
    if (got := scheduler_source(client)) == LOADED_DIGEST:
        return
    if install is not None:
        ask(client, client._run_on_scheduler, install)
        got = scheduler_source(client)
    if got != LOADED_DIGEST:
        raise _unfit({"scheduler": f"source {got}"})


def _register(client: Client, plugin: WorkerPlugin) -> None:
    """Tell all workers of the run; one that is lost meanwhile is none of them."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ask(client, client._register_worker_plugin, plugin, PLUGIN, False)
        except OSError as error:
            if attempt == ATTEMPTS:
                msg = f"workers died {ATTEMPTS} times while they were told of the run ({error}); look at their logs"
                raise ClusterError(msg) from error
        else:
            return


def scheduler_source(client: Client) -> str:
    """Return the digest of the source that the scheduler has loaded, or why it has none."""
    return str(ask(client, client._run_on_scheduler, _make_probe()))


def refusals(client: Client) -> dict[str, str]:
    """Return for each worker why it was not admitted; nothing for one that was. Lost workers are left out."""

    def read(dask_worker: Any) -> str:
        return str(dask_worker.jpsi_lnv_refusal)

    return dict(ask(client, client._run, read, on_error="ignore"))


def _make_probe() -> Callable[[], str]:
    """Return a function that travels by value, because the process it goes to may not have our packages."""

    def probe() -> str:
        try:
            from jpsi_lnv.processors.work.guard import LOADED_DIGEST as loaded  # noqa: N811, PLC0415
        except Exception as error:  # a missing dependency is an answer too
            return f"{type(error).__name__}: {error}"
        return str(loaded)

    return probe


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


def _make_plugin(install: Callable[..., None] | None, is_ours: bool) -> WorkerPlugin:
    probe, source, versions, topic = _make_probe(), LOADED_DIGEST, loaded_versions(), PLUGIN

    def refusal(directory: str) -> str:
        got = probe()
        if got != source and install is not None:
            install(directory)
            got = probe()
        if got != source:
            return f"source {got}"
        from jpsi_lnv.processors.work.guard import other_versions  # noqa: PLC0415 installed by now

        return other_versions(versions)

    def obey_the_client_alone() -> None:
        """Leave Ctrl-C, which a terminal sends to every process, to the client; and end without complaints."""
        import logging  # noqa: PLC0415 the function travels without its module
        import signal  # noqa: PLC0415

        def is_no_lost_link(record: Any) -> bool:
            return not (record.exc_info and isinstance(record.exc_info[1], OSError))

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
        # Of a link that is lost, or closed at the end before the worker is, the client speaks.
        logging.getLogger("distributed.worker").addFilter(is_no_lost_link)

    class Admission(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if is_ours:
                obey_the_client_alone()
            worker.jpsi_lnv_refusal = refusal(worker.local_directory)
            if worker.jpsi_lnv_refusal and is_ours:
                worker.log_event(topic, {"why": worker.jpsi_lnv_refusal})
                worker.loop.add_callback(worker.close, nanny=True, reason=worker.jpsi_lnv_refusal)

    return Admission()
