"""Clusters: dask's own on this machine, one that runs already, or batch jobs of SLURM, HTCondor and HepJob."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from dask.utils import format_bytes, parse_bytes
from distributed import Client, LocalCluster
from distributed.core import Status
from distributed.security import Security
from distributed.utils import get_ip, get_loop_factory
from tornado.ioloop import IOLoop

from jpsi_lnv.analysis.documents import Form, from_toml
from jpsi_lnv.processors.console import option
from jpsi_lnv.processors.work.executors import ClusterError

# Settings of the runs, unless the user's own dask configuration says otherwise.
DASK_SETTINGS: Final[dict[str, Any]] = {
    # The statistical profiler keeps the deep stacks of awkward: 0.15 to 0.3 MB per chunk that never come back.
    "distributed.worker.profile.enabled": False,
    # Logs for debugging dask itself: the last messages of every connection with the tasks in them, transitions, events.
    # A thousand of each, dask's default, take 30 MB of a client with its scheduler in a run of 10 000 chunks.
    "distributed.admin.low-level-log-length": 10,
    # What the dashboard and a performance report draw of the past; dask's default are 100 000 tasks.
    "distributed.scheduler.dashboard.tasks.task-stream-length": 10_000,
    # Every scheduler, nanny and worker looks this often whether its event loop still answers; at dask's 20 ms two idle
    # workers with scheduler and client take a tenth of a core.
    "distributed.admin.tick.interval": "500ms",
    # A worker holds what it works on: if it dies, the right chunk is blamed.
    "distributed.scheduler.worker-saturation": 1.0,
    # A worker that is silent for so long is given up, and what it held is done elsewhere.
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.comm.timeouts.connect": "10s",
    # Workers serve no pages: these are open to everybody who reaches the node.
    "distributed.worker.http.routes": [],
    # A killed worker is restarted by its nanny, which may take long on a busy machine; by default dask forgets the
    # nanny after 15 s, and a cluster that lost its workers several times ends without any.
    "distributed.deploy.lost-worker-timeout": "300s",
}
LOCAL: Final = "local"
DEFAULT_JOBS: Final = 2
# Memory in bytes that the interpreter and the libraries of a worker take, with something for its nanny's margin.
MEMORY_MIN: Final = 350 * 1024**2


@dataclass(frozen=True)
class BatchSystem:
    """A batch system.

    Attributes:
        cluster: Module and class of its clusters.
        submit: Command that submits a job.
        queue: Command that shows a user's jobs.
    """

    cluster: str
    submit: str
    queue: tuple[str, ...]


BATCH: Final = {
    "slurm": BatchSystem("dask_jobqueue:SLURMCluster", "sbatch", ("squeue", "--me")),
    "htcondor": BatchSystem("dask_jobqueue:HTCondorCluster", "condor_submit", ("condor_q",)),
    "hep_sub": BatchSystem("jpsi_lnv.processors.cluster.hep_sub:HepSubCluster", "hep_sub", ("hep_q", "-u", "$USER")),
}
ADDRESSES: Final = ("tcp://", "tls://")
_SITE: Final = Form(
    "site preset",
    "wanted TOML with a table per batch system, as docs/examples/sites.toml",
    ClusterError,
    content=dict[str, dict[str, Any]],
    loads=from_toml,
)
# Keys of a site preset that are ours; all others go to dask-jobqueue as they are.
# Attributes of dask-jobqueue's clusters.
KEY_FILES: Final = ("_job_ca_file", "_job_cert", "_job_key")
OUR_KEYS: Final = ("minimum_jobs", "maximum_jobs", "tls")

# Loggers of dask and of the loops it runs in.
LOGGERS: Final = ("asyncio", "distributed", "tornado")
LOOP_NAME: Final = "event loop of the cluster"
MEGABYTE: Final = 1e6
# Time in s for the dashboard's first page.
DASHBOARD_TIMEOUT: Final = 5.0
# A page that costs the scheduler nothing.
HEALTH: Final = "/health"
# Time in s after which the thread of the loop has to run, and after which it has to end.
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 30.0


def not_a_size(text: str) -> str:
    """Return why dask cannot read a text as a size of memory; nothing if it can."""
    try:
        size = parse_bytes(text)
    except ValueError:
        size = 0
    if 0 < size < MEMORY_MIN:
        return f"got {text!r}; a worker takes {format_bytes(MEMORY_MIN)} before it reads anything, wanted 1GiB or more"
    return "" if size > 0 else f"got {text!r}; wanted a size such as 4GiB or 800MB"


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """What a run asks of a cluster."""

    cluster: str = option(LOCAL, "The cluster: local, slurm, htcondor, hep_sub, tcp://HOST:PORT or tls://HOST:PORT.")
    workers: int | None = option(
        None, "Worker processes, or jobs of a batch system.  [default: one per core, or 2 jobs]", least=1
    )
    adapt: bool = option(
        False, "Let the number of batch jobs follow the work, from minimum_jobs (1) of the preset to --workers."
    )
    memory: str | None = option(
        None, "Memory limit of a local worker, such as 4GiB.  [default: no limit]", check=not_a_size
    )
    site: Path | None = option(None, "TOML of site presets for batch systems (see docs/examples).", unit="FILE")
    tls: bool = option(True, "Let nobody without this run's keys into a cluster of our own.")
    tls_ca_file: Path | None = option(None, "Certificate of the authority, for tls://HOST:PORT.", unit="FILE")
    tls_cert: Path | None = option(None, "Certificate of this client, for tls://HOST:PORT.", unit="FILE")
    tls_key: Path | None = option(None, "Key of this client, for tls://HOST:PORT.", unit="FILE")
    dashboard_address: str = option("127.0.0.1:0", "Where the dashboard of our own cluster listens.")
    no_workers_timeout: float = option(
        300.0, "Time to wait for a first worker, and without any that ends a run.", unit="SECONDS"
    )

    @property
    def n_workers(self) -> int:
        """Number of workers: by default one per core that this process may use, or two jobs."""
        return self.workers or (CPU_COUNT if self.cluster not in BATCH else DEFAULT_JOBS)

    @property
    def is_ours(self) -> bool:
        """Whether the run starts the cluster itself."""
        return not self.cluster.startswith(ADDRESSES)


def dask_settings(options: ClusterOptions) -> dict[str, Any]:
    """Return our settings where neither the user's dask configuration nor the options say otherwise."""
    ours = {key: value for key, value in DASK_SETTINGS.items() if not is_set_by_user(key)}
    # A cluster that lost its workers ends in an error instead of an endless wait.
    return ours | {"distributed.scheduler.no-workers-timeout": f"{options.no_workers_timeout}s"}


def is_set_by_user(key: str) -> bool:
    """Whether a dask setting comes from a file, the environment or `dask.config.set`, and not from us."""
    in_files = dask.config.get(key, config=dask.config.collect(), default=None)
    default = dask.config.get(key, config=dask.config.merge(*dask.config.defaults), default=None)
    return in_files is not None or dask.config.get(key, default=None) not in (default, DASK_SETTINGS.get(key, default))


@contextmanager
def connect(options: ClusterOptions) -> Iterator[Client]:
    """Start or find a cluster and return its client; what was started is stopped at the end.

    Raises:
        ClusterError: The cluster is unknown, cannot be reached, or its batch system or preset is not usable.
    """
    with _reason_first(), ExitStack() as stack:
        stack.enter_context(dask.config.set(dask_settings(options)))
        loop = stack.enter_context(event_loop())
        if options.cluster.startswith(ADDRESSES):
            client = stack.enter_context(_client(options.cluster, _certificates(options), loop))
        else:
            cluster = stack.enter_context(start(options, loop))
            # Results need not pass through the scheduler where the workers can be reached for certain.
            is_near = options.cluster == LOCAL and not is_set_by_user("distributed.client.direct-to-workers")
            near = {"direct_to_workers": True} if is_near else {}
            client = stack.enter_context(_client(cluster, cluster.security, loop, **near))
        try:
            yield client
        except (KeyboardInterrupt, SystemExit):
            # Dask would tell at length what it stops.
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            raise


@contextmanager
def _reason_first() -> Iterator[None]:
    """Let an interruption or the loss of a cluster pass even if something fails while clusters are stopped for it.

    A busy machine is late, and a client whose link was cut fails at its end once more.
    """
    try:
        yield
    except Exception as error:
        before = error.__context__
        while before is not None and not isinstance(before, (KeyboardInterrupt, SystemExit, ClusterError)):
            before = before.__context__
        if before is not None:
            raise before from before.__cause__
        raise


@contextmanager
def event_loop() -> Iterator[IOLoop]:
    """Run an event loop of the kind that dask is configured for; what is left in it at the end is cancelled.

    Dask would start one itself, but gives its thread 10 s and fails with a bare AssertionError on a machine that is
    busier, and after a failed connection it leaves the thread behind.

    Workers are born of this thread, and hold back Ctrl-C, which a terminal sends to every process, as it does: else one
    that is still importing ends with a traceback.

    Raises:
        ClusterError: Its thread does not run after 60 s.
    """
    started: Future[tuple[IOLoop, asyncio.Event]] = Future()
    factory = get_loop_factory()

    async def stay() -> None:
        if not started.set_running_or_notify_cancel():
            return
        stop = asyncio.Event()
        started.set_result((IOLoop.current(), stop))
        await stop.wait()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(stay())

    # Whoever starts it lets Ctrl-C through again.
    resource_tracker.ensure_running()
    thread = threading.Thread(target=run, daemon=True, name=LOOP_NAME)
    thread.start()
    try:
        loop, stop = started.result(timeout=START_TIMEOUT)
    except TimeoutError as error:
        started.cancel()
        msg = f"dask's event loop did not start within {START_TIMEOUT:g} s: the machine is overloaded; try again later"
        raise ClusterError(msg) from error
    try:
        yield loop
    finally:
        loop.add_callback(stop.set)
        thread.join(timeout=STOP_TIMEOUT)


class _TidyClient(Client):
    """A client that closes itself if it cannot connect, while its event loop still runs."""

    def start(self, **kwargs: Any) -> None:
        """Connect to the scheduler."""
        try:
            super().start(**kwargs)
        except Exception:
            self.close()
            raise


def _client(where: Any, security: Security | None, loop: IOLoop, **more: Any) -> Client:
    try:
        return _TidyClient(where, security=security, loop=loop, **more)
    except (OSError, TimeoutError, RuntimeError, TypeError, ValueError) as error:
        msg = f"cluster {where}: no connection ({type(error).__name__}: {error}); is the scheduler running there?"
        if str(where).startswith("tls://"):
            msg += " are --tls-ca-file, --tls-cert and --tls-key those of the cluster?"
        raise ClusterError(msg) from error


def _certificates(options: ClusterOptions) -> Security | None:
    """Return the security of an address; None leaves it to dask's configuration."""
    if not options.cluster.startswith("tls://") or options.tls_ca_file is None:
        return None
    return Security(
        tls_ca_file=str(options.tls_ca_file),
        tls_client_cert=str(options.tls_cert),
        tls_client_key=str(options.tls_key),
        require_encryption=True,
    )


def start(options: ClusterOptions, loop: IOLoop) -> Any:
    """Start a cluster of our own in an event loop: local processes or batch jobs.

    Raises:
        ClusterError: The name is unknown, dask-jobqueue is absent, or the preset is wrong.
    """
    if options.cluster == LOCAL:
        return _local(options, loop)
    if options.cluster not in BATCH:
        msg = f"cluster {options.cluster!r} is unknown; wanted local, {', '.join(BATCH)}, tcp://… or tls://…"
        raise ClusterError(msg)
    return _batch(options, loop)


def _local(options: ClusterOptions, loop: IOLoop) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=options.n_workers,
            threads_per_worker=1,
            memory_limit=options.memory or 0,
            dashboard_address=options.dashboard_address,
            loop=loop,
            **_security(tls=options.tls),
        )
    except RuntimeError as error:
        msg = f"the cluster did not start ({error}); its dashboard's address is {options.dashboard_address!r}"
        raise ClusterError(msg) from error


def read_preset(options: ClusterOptions) -> dict[str, Any]:
    """Return the table of the batch system from the site's TOML file; empty if there is no file.

    Raises:
        ClusterError: The file cannot be read, is not TOML, or has no such table.
    """
    if options.site is None:
        return {}
    tables = _SITE.read(options.site)
    if options.cluster not in tables:
        msg = f"site preset {options.site}: has no table [{options.cluster}]; got {sorted(tables)}"
        raise ClusterError(msg)
    preset: dict[str, Any] = tables[options.cluster]
    return preset


def batch_class(name: str) -> Callable[..., Any]:
    """Return the class of the clusters of a batch system; Ctrl-C, which dask-jobqueue takes for its own, stays ours.

    Raises:
        ClusterError: dask-jobqueue is absent.
    """
    module, _, kind = BATCH[name].cluster.partition(":")
    handler = signal.getsignal(signal.SIGINT)
    try:
        return cast("Callable[..., Any]", getattr(importlib.import_module(module), kind))
    except ImportError as error:
        msg = f"cluster {name!r} needs dask-jobqueue: pip install 'jpsi-lnv[dask]'"
        raise ClusterError(msg) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextmanager
def make_batch(options: ClusterOptions, loop: IOLoop | None = None) -> Iterator[Any]:
    """Yield a cluster of batch jobs that has no jobs yet; without an event loop it starts one.

    Raises:
        ClusterError: dask-jobqueue is absent, or the preset has keys that it does not know.
    """
    make = batch_class(options.cluster)
    preset = read_preset(options)
    arguments = {k: v for k, v in preset.items() if k not in OUR_KEYS}
    configured = dask.config.get(f"jobqueue.{options.cluster}", default={})
    if has_tls(options):
        # The keys, private files, lie there while the run lasts.
        shared = configured.get("shared-temp-directory") or str(Path.cwd())
        arguments = {"shared_temp_directory": shared} | arguments | _security(tls=True)
    scheduler = {"dashboard_address": options.dashboard_address} | arguments.get("scheduler_options", {})
    if not (arguments.get("interface") or configured.get("interface") or {"host", "interface"} & scheduler.keys()):
        # Dask would listen on all of them.
        scheduler["host"] = get_ip()
    arguments["scheduler_options"] = scheduler
    arguments["job_script_prologue"] = [*worker_environment(), *arguments.get("job_script_prologue", [])]
    try:
        cluster = make(loop=loop, **arguments)
    except (TypeError, ValueError) as error:
        msg = f"cluster {options.cluster!r}, preset {options.site or '(none, give --site FILE.toml)'}: {error}"
        raise ClusterError(msg) from error
    with ExitStack() as stack:
        for name in KEY_FILES:
            # dask-jobqueue leaves the files of the keys until its process ends.
            stack.callback(getattr(getattr(cluster, name, None), "close", int))
        yield stack.enter_context(cluster)


def hep_sub_options(preset: Mapping[str, Any]) -> list[str]:
    """Return the options of `hep_sub` that a preset gives: group, memory in MB, class of the wall time, system."""
    flags = {"group": "-g", "memory": "-mem", "walltime": "-wt", "os": "-os"}
    given = dict(preset)
    if "memory" in given:
        given["memory"] = math.ceil(parse_bytes(given["memory"]) / MEGABYTE)
    return [word for key, flag in flags.items() if key in given for word in (flag, str(given[key]))]


def has_tls(options: ClusterOptions) -> bool:
    """Whether a cluster lets in only who has its keys; one that runs already says so in its address."""
    if not options.is_ours:
        return options.cluster.startswith("tls://")
    return options.tls and (options.cluster not in BATCH or bool(read_preset(options).get("tls", True)))


def _security(*, tls: bool) -> dict[str, Any]:
    return {"security": Security.temporary(), "protocol": "tls://"} if tls else {}


def worker_environment() -> list[str]:
    """Return the lines of a job script that give our dask settings to workers started by a batch system."""
    return [
        f"export DASK_{key.upper().replace('-', '_').replace('.', '__')}={value}"
        for key, value in DASK_SETTINGS.items()
        if not is_set_by_user(key)
    ]


@contextmanager
def _batch(options: ClusterOptions, loop: IOLoop) -> Iterator[Any]:
    preset = read_preset(options)
    most = preset.get("maximum_jobs", options.n_workers)
    with make_batch(options, loop) as cluster:
        if options.adapt:
            cluster.adapt(minimum_jobs=preset.get("minimum_jobs", 1), maximum_jobs=most)
        else:
            _submit(cluster, min(options.n_workers, most))
        yield cluster


def _submit(cluster: Any, n_jobs: int) -> None:
    """Submit jobs and wait until the batch system has taken them.

    Raises:
        ClusterError: It refuses some; dask has logged what it said.
    """
    cluster.scale(jobs=n_jobs)
    # The first call of this may have failed in the background; by the end of this one it is over.
    cluster.sync(cluster._correct_state)
    refused = [job for job in cluster._created if job.status is not Status.running]
    for job in refused:
        # Dask closes no cluster with a job that neither runs nor has failed.
        job.status = Status.failed
    if refused:
        msg = f"the batch system refuses {len(refused)} of {n_jobs} job(s), see above; mend the preset of --site"
        raise ClusterError(msg)


def announcement(client: Client, options: ClusterOptions) -> list[str]:
    """Return what a user should know of a cluster: where its dashboard is, and who can get in."""
    lines = [f"dask dashboard: {_dashboard(client, options)}"]
    if not has_tls(options):
        lines.append(
            f"warning: no TLS: everybody who reaches {client.scheduler_info(n_workers=0)['address']}, every user of "
            "this machine too, can run programs as you"
        )
    return lines


def _dashboard(client: Client, options: ClusterOptions) -> str:
    """Return the address of the dashboard; if it cannot be opened from here, a word of why."""
    link = client.dashboard_link
    if is_set_by_user("distributed.dashboard.link"):
        return link
    address = urlsplit(link)
    host, port = address.hostname or "", address.port or 0
    if options.is_ours:
        host = options.dashboard_address.rpartition(":")[0] or host
    connection = HTTPConnection(host, port, timeout=DASHBOARD_TIMEOUT)
    try:
        connection.request("GET", HEALTH)
        is_there = connection.getresponse().status < HTTPStatus.BAD_REQUEST
    except (OSError, HTTPException):
        return "none that can be reached from here"
    finally:
        connection.close()
    if not is_there:
        return "none that can be reached from here"
    has_pages = find_spec("bokeh") is not None or not options.is_ours
    return f"http://{host}:{port}{address.path}" if has_pages else "none (pip install 'jpsi-lnv[dask]')"
