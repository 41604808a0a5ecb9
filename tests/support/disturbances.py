"""Runs that are disturbed at random: what became of each, and whether it ended with the right result.

A disturbance is something that happens somewhere at a random time after the first part of a run is stored. The run may
go on, or end in an error of ours that says so; then it is resumed in this process. In both ways the result must be the
undisturbed one.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dask
import run_client
import slurm
from forked import Forked, server
from hand_cluster import hand_cluster, make_certificates, tls_options, tls_words
from proxy import proxy
from run_cases import assert_same, run

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.provenance import source_digest
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, batch_class, connect
from jpsi_lnv.processors.work import dask_loop
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import IterativeExecutor

# Time in s of a chunk, of a run before it counts as hanging, and of a pause of what is stalled.
CHUNK = 0.1
LIMIT = 90.0
PAUSE = 1.0
# What a user waits a minute for is given up sooner here: (module's constant, time in s).
PATIENCE = {"ANSWER_TIMEOUT": 4.0, "FAREWELL": 1.0}
NO_WORKERS = 5.0
SETTINGS = {"distributed.scheduler.worker-ttl": "4s", "distributed.comm.timeouts.connect": "4s"}
TINY = "200k"

EVERYWHERE = (
    "worker killed",
    "worker stopped",
    "worker stalled",
    "client killed",
    "client terminated",
    "client stalled",
    "disk of the client full",
    "parts damaged",
)
BY_HAND = (
    *EVERYWHERE,
    "all workers killed",
    "scheduler killed",
    "scheduler stopped",
    "scheduler stalled",
    "disk of the workers full",
    "link of the client cut",
    "link of the client stalled",
    "link of a worker cut",
    "link of a worker stalled",
)
KINDS = {"local": EVERYWHERE, "tcp": BY_HAND, "tls": BY_HAND, "slurm": EVERYWHERE}
EQUAL, NAMED, WRONG, HUNG = "equal", "named, equal when resumed", "WRONG", "HUNG"


@dataclass(frozen=True)
class Outcome:
    """What became of a disturbed run: one of the words above, why, and its time in s."""

    place: str
    what: str
    seed: int
    word: str
    why: str
    seconds: float


@dataclass
class Place:
    """Where a run goes on: a cluster's options, and what can be disturbed there.

    Attributes:
        options: Fields of `ClusterOptions`.
        cluster: Processes that were started by hand, if they were.
        links: Proxies of the client's and of one worker's connection to the scheduler.
        disk: Directory of the workers.
    """

    options: dict[str, Any]
    cluster: Any = None
    links: dict[str, Any] = field(default_factory=dict)
    disk: Path | None = None


def plan(n: int) -> list[tuple[str, str, int]]:
    """Return the places, kinds and seeds of n disturbances: all kinds in all places in turn, always the same."""
    pairs = [(place, what) for place, kinds in KINDS.items() for what in kinds]
    random.Random(10).shuffle(pairs)
    # Every kind once before any comes twice.
    rounds = {pair: sum(other[1] == pair[1] for other in pairs[:k]) for k, pair in enumerate(pairs)}
    pairs.sort(key=rounds.__getitem__)
    return [(*pairs[k % len(pairs)], k) for k in range(n)]


@contextmanager
def tiny_disk(place: Path) -> Iterator[Path]:
    """Mount a small file system; needs root."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TINY}", "lnv", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Fill a file system; return the file that does."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"0" * 4096):
            pass
    return ballast


@contextmanager
def by_hand(scratch: Path, what: str, *, has_tls: bool) -> Iterator[Place]:
    """Start a scheduler and two workers; links that are to be disturbed lead through proxies."""
    scratch.joinpath("cluster").mkdir()
    variables = {f"DASK_{k.upper().replace('-', '_').replace('.', '__')}": v for k, v in SETTINGS.items()}
    with ExitStack() as stack:
        disk = scratch / "cluster"
        if what == "disk of the workers full":
            disk = stack.enter_context(tiny_disk(scratch / "tiny"))
            variables["TMPDIR"] = str(disk)
        tls = make_certificates(scratch / "keys") if has_tls else None
        cluster = stack.enter_context(hand_cluster(disk, 0, tls=tls_words(tls) if tls else (), environment=variables))
        links, port = {}, cluster.port
        for who in ("client", "worker"):
            if what.startswith("link of") and who in what:
                links[who] = stack.enter_context(proxy(cluster.port))
        if "worker" in links:
            cluster.through = links["worker"].port
        cluster.start_worker()
        cluster.through = None
        cluster.start_worker()
        port = links["client"].port if "client" in links else port
        certificates = {key: str(path) for key, path in tls_options(tls).items()} if tls else {}
        yield Place({"cluster": cluster.address_of(port), **certificates}, cluster, links, disk)


@contextmanager
def place_of(name: str, what: str, scratch: Path, site: Path | None) -> Iterator[Place]:
    """Prepare a place for a run."""
    if name == "local":
        yield Place({"workers": 2})
    elif name == "slurm":
        yield Place({"cluster": "slurm", "workers": 2, "site": str(site)})
    else:
        with by_hand(scratch, what, has_tls=name == "tls") as place:
            yield place


class Trouble(threading.Thread):
    """Does something a moment after the first part of a run is stored."""

    def __init__(self, output: Path, action: Callable[[], None], delay: float) -> None:
        super().__init__(daemon=True)
        self.output, self.action, self.delay = output, action, delay
        self.is_over = threading.Event()

    def run(self) -> None:
        while not list(self.output.rglob("*.part")) and not self.is_over.wait(0.01):
            pass
        if not self.is_over.wait(self.delay):
            with suppress(ProcessLookupError):
                self.action()

    def finish(self) -> None:
        """Do nothing any more, and wait for what was begun."""
        self.is_over.set()
        self.join()


def stop_and_go(go: Callable[[int], None]) -> None:
    """Stop a process, and let it go on after a pause."""
    go(signal.SIGSTOP)
    time.sleep(PAUSE)
    go(signal.SIGCONT)


def action_on_cluster(what: str, place: Place, pids: list[int], output: Path, rng: random.Random) -> Callable[[], None]:
    """Return what is done to workers, scheduler, links or disks."""
    first = rng.choice(pids) if pids else 0
    scheduler = place.cluster.scheduler.pid if place.cluster else 0
    victim = partial(os.kill, scheduler if what.startswith("scheduler") else first)
    link = next(iter(place.links.values()), None)
    actions: dict[str, Callable[[], None]] = {
        "killed": lambda: victim(signal.SIGKILL),
        "stopped": lambda: victim(signal.SIGSTOP),
        "stalled": lambda: stop_and_go(victim),
    }
    if what == "all workers killed":
        return lambda: [os.kill(pid, signal.SIGKILL) for pid in pids]
    if what.startswith("disk"):
        return lambda: fill(place.disk if "workers" in what else output.parent)
    if what.startswith("link"):
        return link.cut if what.endswith("cut") else link.stall
    return actions[what.rpartition(" ")[2]]


def run_here(what: str, place: Place, fileset: Path, output: Path, rng: random.Random) -> Any:
    """Run with the client in this process; return its result, or raise its error."""
    with connect(ClusterOptions(**place.options, no_workers_timeout=NO_WORKERS)) as client:
        client.wait_for_workers(2, timeout=60)
        pids = list(client.run(os.getpid).values())
        trouble = Trouble(output, action_on_cluster(what, place, pids, output, rng), rng.uniform(0, 0.4))
        trouble.start()

        def slow(events: Any) -> None:
            time.sleep(0.1)

        make = partial(DaskExecutor, client=client, no_workers_timeout=NO_WORKERS)
        try:
            return run(fileset, output, make, action=slow)[0]
        finally:
            trouble.finish()
            for pid in (*pids, place.cluster.scheduler.pid if place.cluster else 0):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT) if pid else None
            for link in place.links.values():
                link.go_on()


def run_elsewhere(what: str, place: Place, fileset: Path, output: Path, rng: random.Random) -> str:
    """Run with a client of its own, which is disturbed; return how it ended, nothing if it did well."""
    arguments = (fileset, output, CHUNK, source_digest(), place.options)
    log = output.with_suffix(".log")
    # A batch cluster leaves its keys there if it is killed.
    client = Forked(run_client.main, arguments, output.parent, os.environ, log)
    kinds = {"client terminated": signal.SIGTERM, "client killed": signal.SIGKILL, "parts damaged": signal.SIGKILL}
    act = partial(client.send_signal, kinds[what]) if what in kinds else partial(stop_and_go, client.send_signal)
    trouble = Trouble(output, act, rng.uniform(0, 0.4))
    trouble.start()
    try:
        client.wait(LIMIT)
    except subprocess.TimeoutExpired:
        client.send_signal(signal.SIGKILL)
        raise
    finally:
        trouble.finish()
    wanted = {"client terminated": 143, "client stalled": 0}.get(what, -signal.SIGKILL)
    # A run that had ended before is none that was disturbed.
    if client.returncode not in (wanted, 0):
        raise RuntimeError(f"the client ended with {client.returncode}: {log.read_text()[-300:]}")
    if what == "parts damaged":
        for part in rng.sample(parts := sorted(output.rglob("*.part")), max(1, len(parts) // 2)):
            data = bytearray(part.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            part.write_bytes(bytes(data))
    return f"the client ended with {client.returncode}" if client.returncode else ""


def settle(what: str, place: Place, fileset: Path, output: Path, rng: random.Random) -> tuple[Any, str]:
    """Run, and resume after an error; return the result and what the error said."""
    if what.startswith(("client", "parts")):
        said = run_elsewhere(what, place, fileset, output, rng)
    else:
        try:
            return run_here(what, place, fileset, output, rng), ""
        except LnvError as error:
            said = str(error)
        if "--resume" not in said:
            raise RuntimeError(f"the error does not say how to go on: {said}")
    (output.parent / "ballast").unlink(missing_ok=True)
    return run(fileset, output, IterativeExecutor, resume=True)[0], said


def in_time(function: Callable[[], Any]) -> Any:
    """Return what a function returns; if it hangs, it is left behind in a thread that holds nothing up."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result(LIMIT)


def disturb(
    where: str, what: str, seed: int, scratch: Path, fileset: Path, reference: Any, site: Path | None = None
) -> Outcome:
    """Disturb one run and return what became of it."""
    server()
    rng, started = random.Random(seed), time.monotonic()

    def outcome(word: str, why: str) -> Outcome:
        return Outcome(where, what, seed, word, why, time.monotonic() - started)

    if where == "slurm":
        # It can be imported in the main thread alone.
        batch_class(where)
    before = {name: getattr(dask_loop, name) for name in PATIENCE}
    with ExitStack() as stack:
        for name, seconds in PATIENCE.items():
            setattr(dask_loop, name, seconds)
            stack.callback(setattr, dask_loop, name, before[name])
        stack.enter_context(dask.config.set(SETTINGS))
        stack.enter_context(contextlib.chdir(scratch))
        place = stack.enter_context(place_of(where, what, scratch, site))
        output = scratch / "r"
        if what == "disk of the client full":
            output = stack.enter_context(tiny_disk(scratch / "full")) / "r"
        try:
            result, said = in_time(partial(settle, what, place, fileset, output, rng))
            assert result.is_complete
            assert_same(result, reference)
        except (TimeoutError, subprocess.TimeoutExpired):
            return outcome(HUNG, f"longer than {LIMIT:g} s")
        except Exception as error:
            return outcome(WRONG, f"{type(error).__name__}: {error}")
        return outcome(NAMED if said else EQUAL, said)


def possible(place: str, what: str) -> str:
    """Return why a disturbance cannot be tried on this machine; nothing if it can."""
    if place == "slurm" and (absent := slurm.missing()):
        return f"{', '.join(absent)} not installed: make ci-packages"
    if place == "tls" and shutil.which("openssl") is None:
        return "openssl not installed: make ci-packages"
    return "needs root, to mount a small disk" if what.startswith("disk") and os.getuid() != 0 else ""


def table(outcomes: list[Outcome]) -> str:
    """Return what became of disturbances, a line per place and kind."""
    lines = [f"{'where':6} {'what':28} {'runs':>4} {'equal':>6} {'named':>6} {'wrong':>6} {'hung':>5} {'longest':>8}"]
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.place, outcome.what), []).append(outcome)
    groups[("all", "")] = outcomes
    for (place, what), some in sorted(groups.items(), key=lambda pair: (pair[0][0] == "all", pair[0])):
        n = Counter(outcome.word for outcome in some)
        longest = max((outcome.seconds for outcome in some), default=0.0)
        lines.append(
            f"{place:6} {what:28} {len(some):4} {n[EQUAL]:6} {n[NAMED]:6} {n[WRONG]:6} {n[HUNG]:5} {longest:6.1f} s"
        )
    return "\n".join(lines)
