"""Say what is installed, and try a cluster: its job script, and one chunk on every worker."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
from distributed import Client
from distributed.comm import connect as connect_to

from jpsi_lnv.analysis import derived, provenance
from jpsi_lnv.analysis.arrays import kernel_directory
from jpsi_lnv.analysis.datasets import SIMULATED
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.objects.calibration import simulated
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed
from jpsi_lnv.analysis.simulation import samplesets
from jpsi_lnv.analysis.simulation.samplesets import SampleSet
from jpsi_lnv.processors.books.chunks import work_items
from jpsi_lnv.processors.books.fileset import Dataset
from jpsi_lnv.processors.books.ledger import cause
from jpsi_lnv.processors.books.verify import describe
from jpsi_lnv.processors.cluster import clusters
from jpsi_lnv.processors.cluster.backends import cluster_options
from jpsi_lnv.processors.cluster.clusters import BATCH, ClusterOptions, announcement, connect
from jpsi_lnv.processors.cluster.preflight import prepare
from jpsi_lnv.processors.commands.calibration import described, table_of
from jpsi_lnv.processors.console import DIRECTORY, FILE, console, show
from jpsi_lnv.processors.sample_files import write_file
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import ClusterError, IterativeExecutor, process_chunks
from jpsi_lnv.processors.work.guard import FAILED

# What an extra adds: module -> (what for, how to get it).
OPTIONAL: Final = {
    "bokeh": ("dask's dashboard and performance report", "dask"),
    "dask_jobqueue": ("batch systems", "dask"),
    "XRootD": ("files at root:// addresses", "xrootd"),
    "pybes3": ("BOSS .dst files", "bes3"),
    "pyhf": ("likelihoods as JSON", "stats"),
    "pythia8mc": ("inclusive J/psi decays", "sim"),
    "hepdata_lib": ("HEPData submissions", "hepdata"),
}
_INSTALLED: Final = (
    Field("what", "what"),
    Field("version", "version"),
    Field("for", "for"),
    Field("missing", "how to get it"),
)
_WORKERS: Final = (
    Field("host", "host"),
    Field("workers", "workers", count),
    Field("python", "python"),
    Field("kernels", "kernels are kept in"),
    Field("seconds", "one chunk", fixed(1), "s"),
)
# Events of the chunk that every worker simulates, writes, reads and selects.
N_EVENTS: Final = 500
LOG_TAIL: Final = 20
# Time in s for the chunk, on a worker that compiles all kernels.
TIMEOUT: Final = 300.0
# Time in s for a connection without keys.
KNOCK_TIMEOUT: Final = 5.0


@click.command()
@click.option("--output", type=DIRECTORY, default=Path("results"), help="Directory of doctor.json.")
@click.option("--calibration", type=FILE, help="Calibration to read with all its files.  [default: the package's own]")
@cluster_options
def command(where: ClusterOptions, output: Path, calibration: Path | None) -> None:
    """Say what is installed, start or find a cluster, and let each of its workers do one chunk.

    For a batch system the job script is printed; if no worker comes, the queue and the tail of the newest job log are.
    """
    versions = installed()
    show(Table("installed", "Installed", _INSTALLED, tuple(versions)))
    constants = in_force(calibration)
    show(constants)
    checked: dict[str, Any] = {"installed": versions, "source": provenance.source_digest()}
    checked["calibration"] = list(constants.rows)
    try:
        checked["cluster"] = check_cluster(where)
    except LnvError:
        for line in (*queue(where), *log_tail(where)):
            console().print(line, markup=False, soft_wrap=True)
        raise
    write_json(output / derived.DOCTOR, checked)
    console().print("all is well")


def in_force(calibration: Path | None) -> Table:
    """Return which constants a calibration has for which runs; None: those of the package.

    Raises:
        CalibrationError: A file is absent or damaged.
    """
    if calibration is not None:
        return described(calibration)
    title = f"Calibration {SIMULATED}: constants of the package's own simulation; recorded events need another"
    return table_of(title, [("simulated", simulated())])


def installed() -> list[dict[str, Any]]:
    """Return what is installed: a row per package with version and purpose, or how to get it."""
    rows: list[dict[str, Any]] = [{"what": "Python", "version": platform.python_version(), "for": "", "missing": ""}]
    if (bundle := provenance.bundle()) is not None:
        rows.append({"what": "bundle", "version": bundle[:16], "for": "all of this", "missing": ""})
    for name, version in provenance.package_versions().items():
        rows.append({"what": name, "version": version, "for": "", "missing": ""})
    for module, (purpose, extra) in OPTIONAL.items():
        is_there = importlib.util.find_spec(module) is not None
        hint = "" if is_there else f"pip install 'jpsi-lnv[{extra}]'"
        rows.append({"what": module, "version": "yes" if is_there else "no", "for": purpose, "missing": hint})
    return rows


def check_cluster(where: ClusterOptions) -> dict[str, Any]:
    """Start or find a cluster, let every worker do a chunk and return what was seen.

    Raises:
        ClusterError: The batch system's command is absent, no worker came, a chunk failed, or the workers do not find
            the same in it.
    """
    if where.cluster in BATCH:
        _show_job_script(where)
    started = time.monotonic()
    with connect(where) as client:
        for line in (f"scheduler: {client.scheduler_info()['address']}", *announcement(client, where)):
            console().print(line, soft_wrap=True, markup=False)
        prepare(client, where.no_workers_timeout, is_ours=where.is_ours)
        without_keys = _without_keys(client, where)
        rows = _rows(_on_every_worker(client))
    show(Table("workers", "The same chunk on every worker", _WORKERS, tuple(rows)))
    console().print(f"who has no keys is {without_keys}")
    return {"workers": rows, "without keys": without_keys, "seconds": round(time.monotonic() - started, 2)}


def _show_job_script(where: ClusterOptions) -> None:
    submit = BATCH[where.cluster].submit
    with clusters.make_batch(where) as cluster:
        console().print(cluster.job_script(), markup=False, soft_wrap=True)
    if shutil.which(submit) is None:
        msg = f"cluster {where.cluster!r}: command {submit!r} is not on PATH; run where jobs can be submitted"
        raise ClusterError(msg)


def _on_every_worker(client: Client) -> dict[str, dict[str, Any]]:
    """Return what every worker saw of its chunk, by its address.

    Raises:
        ClusterError: A chunk failed or did not end, or workers found different events in it.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    futures = {w: client.submit(one_chunk, workers=[w], allow_other_workers=False, pure=False) for w in workers}
    seen = {}
    for worker, future in futures.items():
        try:
            seen[worker] = future.result(timeout=TIMEOUT)
        except TimeoutError as error:
            msg = f"worker {worker} did not finish a chunk in {TIMEOUT:g} s; look at its log"
            raise ClusterError(msg) from error
        except Exception as error:
            msg = f"a chunk failed on worker {worker}: {type(error).__name__}: {error}"
            raise ClusterError(msg) from error
    (first, wanted), *others = ((worker, found["cutflow"]) for worker, found in seen.items())
    for worker, cutflow in others:
        if cutflow != wanted:
            msg = f"worker {worker} selects {cutflow} of the chunk of which {first} selects {wanted}; use neither"
            raise ClusterError(msg)
    return seen


def one_chunk() -> dict[str, Any]:
    """Simulate a small file, run the search over it, and return where that was and what was selected."""
    started = time.monotonic()
    signal = samplesets.signal(N_EVENTS)
    (job,) = samplesets.file_jobs(SampleSet("doctor", samplesets.DEFAULT_SEED, (signal,)))
    with TemporaryDirectory(prefix="jpsi_lnv_doctor_") as scratch:
        write_file(job, Path(scratch))
        dataset = Dataset(signal.name, signal.metadata, (describe(str(Path(scratch, job.path))),))
        items = work_items({signal.name: dataset}, N_EVENTS)
        result = process_chunks(items, SearchProcessor(), IterativeExecutor())
    if result.get(FAILED):
        raise ClusterError(cause(result[FAILED][0]))
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "kernels": kernel_directory(),
        "cutflow": result["out"][signal.name]["search"]["cutflow"],
        "seconds": time.monotonic() - started,
    }


def _rows(seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per host, and per kind of worker on it, with the time of the slowest."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for found in seen.values():
        kind = tuple(found[key] for key in ("host", "python", "kernels"))
        row = rows.setdefault(kind, {key: found[key] for key in ("host", "python", "kernels")} | {"workers": 0})
        row["workers"] += 1
        row["seconds"] = max(row.get("seconds", 0.0), found["seconds"])
    return list(rows.values())


def _without_keys(client: Client, where: ClusterOptions) -> str:
    """Return what becomes of a connection to the scheduler by somebody who has no keys.

    Raises:
        ClusterError: The cluster should refuse it and does not.
    """
    address = client.scheduler_info(n_workers=0)["address"]
    # The scheduler tells of what it refuses; here that is the answer.
    logging.getLogger("distributed.comm.tcp").setLevel(logging.ERROR)
    try:
        client.sync(_identity, "tcp://" + address.partition("://")[2])
    except OSError:
        return "refused"
    if clusters.has_tls(where):
        msg = f"{address}: lets in who has no keys, in spite of TLS; do not use this cluster"
        raise ClusterError(msg)
    return "let in"


async def _identity(address: str) -> None:
    comm = await connect_to(address, timeout=KNOCK_TIMEOUT)
    await comm.write({"op": "identity", "reply": True})
    await comm.read()


def queue(where: ClusterOptions) -> list[str]:
    """Return what a batch system says of the user's jobs; nothing for other clusters."""
    words = [os.path.expandvars(word) for word in BATCH[where.cluster].queue] if where.cluster in BATCH else []
    if not words or shutil.which(words[0]) is None:
        return []
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=KNOCK_TIMEOUT)  # noqa: S603 of BATCH
    return [f"--- {' '.join(words)}", *(told.stdout + told.stderr).splitlines()[:LOG_TAIL]]


def log_tail(where: ClusterOptions) -> list[str]:
    """Return the last lines of the newest job log of a batch system; none for other clusters."""
    directory = clusters.read_preset(where).get("log_directory") if where.cluster in BATCH else None
    logs = [p for p in Path(directory).glob("*") if p.is_file()] if directory else []
    if not logs:
        return []
    newest = max(logs, key=lambda p: p.stat().st_mtime)
    return [f"--- {newest}", *newest.read_text(errors="replace").splitlines()[-LOG_TAIL:]]
