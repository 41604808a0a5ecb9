"""A scheduler and workers started by hand as separate processes, stopped by the ids they have."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forked import Forked, run_dask

# Programs of a cluster run in new interpreters, or are forked from one that has loaded what they need.
Process = subprocess.Popen[bytes] | Forked

START_TIMEOUT = 30.0
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
# Files of an authority and of a certificate of it, by the names that dask's command line has for them.
CERTIFICATES = {"ca-file": "ca.pem", "cert": "node.pem", "key": "node.key"}


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_certificates(directory: Path) -> Path:
    """Make an authority and a certificate of it in `directory`."""
    directory.mkdir()
    openssl(
        directory, "req", "-x509", *CURVE, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=dask-ca"
    )
    openssl(directory, "req", *CURVE, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=dask-node")
    openssl(
        directory, "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-out", "node.pem", "-days", "30",
    )  # fmt: skip
    return directory


def tls_words(directory: Path) -> list[str]:
    """Return the arguments of dask's command line that name the certificates."""
    return [word for name, file in CERTIFICATES.items() for word in (f"--tls-{name}", str(directory / file))]


def tls_options(directory: Path) -> dict[str, Path]:
    """Return the fields of `ClusterOptions` that name the certificates."""
    return {f"tls_{name.replace('-', '_')}": directory / file for name, file in CERTIFICATES.items()}


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: Process) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


@dataclass
class HandCluster:
    """Processes of a cluster.

    Attributes:
        directory: For scratch files and logs.
        python: Interpreter of scheduler and workers.
        tls: Arguments that name certificate files.
        nanny: Start workers under a nanny, which restarts them.
        through: Port that workers connect to, a proxy's; None: the scheduler's own.
        environment: Variables of scheduler and workers besides those of this process.

    A worker that is started with variables of its own is a new interpreter.
    """

    directory: Path
    python: str = sys.executable
    tls: Sequence[str] = ()
    nanny: bool = False
    through: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    scheduler: Process | None = None
    workers: list[Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.address_of(self.port)

    def address_of(self, port: int) -> str:
        return f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{port}"

    def _spawn(self, name: str, *arguments: str, **more: str) -> Process:
        is_other = self.python != sys.executable
        # Another interpreter than this one is to find nothing of ours.
        hidden = ("PYTHONPATH", "DASK_") if is_other else "DASK_"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        environment |= self.environment | more
        log, words = self.directory / f"{name}.log", [*arguments, *self.tls]
        if not is_other and not more:
            return Forked(run_dask, tuple(words), self.directory, environment, log)
        with log.open("ab") as stream:
            return subprocess.Popen(
                [self.python, "-m", "dask", *words],
                cwd=self.directory,
                env=environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def start_scheduler(self) -> None:
        protocol = "tls" if self.tls else "tcp"
        self.scheduler = self._spawn(
            "scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--protocol", protocol,
            "--no-dashboard",
        )  # fmt: skip
        wait_for_port(self.port, self.scheduler)

    def start_worker(self, **environment: str) -> None:
        nanny = "--nanny" if self.nanny else "--no-nanny"
        scheduler = self.address_of(self.through or self.port)
        self.workers.append(
            self._spawn(
                f"worker{len(self.workers)}", "worker", scheduler, "--host", "127.0.0.1", "--nthreads", "1",
                "--no-dashboard", nanny, "--local-directory", str(self.directory), **environment,
            )
        )  # fmt: skip

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        os.killpg(self.scheduler.pid, signal.SIGKILL)
        self.scheduler.wait()

    def kill_worker(self, index: int) -> None:
        os.killpg(self.workers[index].pid, signal.SIGKILL)
        self.workers[index].wait()

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is None or process.poll() is not None:
                continue
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def hand_cluster(directory: Path, n_workers: int = 2, **options: object) -> Iterator[HandCluster]:
    """Start a scheduler and workers; stop what is left of them at the end."""
    cluster = HandCluster(directory, **options)  # type: ignore[arg-type]
    try:
        cluster.start_scheduler()
        for _ in range(n_workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.stop()
