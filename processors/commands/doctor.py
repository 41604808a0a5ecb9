"""Say what is installed, and try a cluster: its job script, one worker, one task."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import platform
import shutil
import time
from pathlib import Path
from typing import Any, Final

import click
from distributed import Client
from distributed.comm import connect as connect_to

from jpsi_lnv.analysis import derived, provenance
from jpsi_lnv.analysis.arrays import kernel_directory
from jpsi_lnv.analysis.documents import write_json
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.report.tables import Field, Table, count, fixed
from jpsi_lnv.processors.cluster import clusters
from jpsi_lnv.processors.cluster.backends import cluster_options
from jpsi_lnv.processors.cluster.clusters import BATCH, ClusterOptions, announcement, connect
from jpsi_lnv.processors.cluster.preflight import prepare
from jpsi_lnv.processors.console import DIRECTORY, console, show
from jpsi_lnv.processors.work.dask_loop import ask
from jpsi_lnv.processors.work.executors import ClusterError

# What an extra adds: module -> (what for, how to get it).
OPTIONAL: Final = {
    "bokeh": ("dask's dashboard and performance report", "dask"),
    "dask_jobqueue": ("SLURM and HTCondor", "dask"),
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
_WORKER: Final = (
    Field("host", "host"),
    Field("python", "python"),
    Field("workers", "workers", count),
    Field("threads", "threads", count),
    Field("without keys", "who has no keys is"),
    Field("kernels", "kernels are kept in"),
    Field("seconds", "time", fixed(2), "s"),
)
BATCH_COMMANDS: Final = {"slurm": "sbatch", "htcondor": "condor_submit"}
LOG_TAIL: Final = 20
# Time in s for the task.
TIMEOUT: Final = 120.0
# Time in s for a connection without keys.
KNOCK_TIMEOUT: Final = 5.0


@click.command()
@click.option("--output", type=DIRECTORY, default=Path("results"), help="Directory of doctor.json.")
@cluster_options
def command(where: ClusterOptions, output: Path) -> None:
    """Say what is installed, start or find a cluster, wait for one worker and run one task on it.

    For slurm and htcondor the job script is printed; if no worker comes, the tail of the newest job log is.
    """
    versions = installed()
    show(Table("installed", "Installed", _INSTALLED, tuple(versions)))
    checked: dict[str, Any] = {"installed": versions, "source": provenance.source_digest()}
    try:
        checked["cluster"] = check_cluster(where)
    except LnvError:
        for line in log_tail(where):
            console().print(line, markup=False, soft_wrap=True)
        raise
    write_json(output / derived.DOCTOR, checked)
    console().print("all is well")


def installed() -> list[dict[str, Any]]:
    """Return what is installed: a row per package with version and purpose, or how to get it."""
    rows: list[dict[str, Any]] = [{"what": "Python", "version": platform.python_version(), "for": "", "missing": ""}]
    for name, version in provenance.package_versions().items():
        rows.append({"what": name, "version": version, "for": "", "missing": ""})
    for module, (purpose, extra) in OPTIONAL.items():
        is_there = importlib.util.find_spec(module) is not None
        hint = "" if is_there else f"pip install 'jpsi-lnv[{extra}]'"
        rows.append({"what": module, "version": "yes" if is_there else "no", "for": purpose, "missing": hint})
    return rows


def check_cluster(where: ClusterOptions) -> dict[str, Any]:
    """Start or find a cluster, run one task and return what was seen.

    Raises:
        ClusterError: The batch system's command is absent, no worker came, or the task failed.
    """
    if where.cluster in BATCH:
        _show_job_script(where)
    started = time.monotonic()
    with connect(where) as client:
        for line in (f"scheduler: {client.scheduler_info()['address']}", *announcement(client, where)):
            console().print(line, soft_wrap=True, markup=False)
        prepare(client, where.no_workers_timeout, is_ours=where.is_ours)
        seen = _one_task(client) | {"without keys": _without_keys(client, where)}
    seen["seconds"] = round(time.monotonic() - started, 2)
    show(Table("worker", "One worker", _WORKER, (seen,)))
    return seen


def _show_job_script(where: ClusterOptions) -> None:
    submit = BATCH_COMMANDS[where.cluster]
    with clusters.make_batch(where) as cluster:
        console().print(cluster.job_script(), markup=False, soft_wrap=True)
    if shutil.which(submit) is None:
        msg = f"cluster {where.cluster!r}: command {submit!r} is not on PATH; run where jobs can be submitted"
        raise ClusterError(msg)


def _one_task(client: Client) -> dict[str, Any]:
    try:
        host, python, kernels = client.submit(_probe, pure=False).result(timeout=TIMEOUT)
        ask(client, client._run, _probe, timeout=TIMEOUT)
    except ClusterError:
        raise
    except Exception as error:
        msg = f"a task failed on the cluster: {type(error).__name__}: {error}"
        raise ClusterError(msg) from error
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {
        "host": host,
        "python": python,
        "kernels": kernels,
        "workers": len(workers),
        "threads": sum(w["nthreads"] for w in workers.values()),
    }


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


def _probe() -> tuple[str, str, str]:
    """Compile a kernel; return host, version of Python and the directory that keeps the machine code."""
    return platform.node(), platform.python_version(), kernel_directory()


def log_tail(where: ClusterOptions) -> list[str]:
    """Return the last lines of the newest job log of a batch system; none for other clusters."""
    directory = clusters.read_preset(where).get("log_directory") if where.cluster in BATCH else None
    logs = [p for p in Path(directory).glob("*") if p.is_file()] if directory else []
    if not logs:
        return []
    newest = max(logs, key=lambda p: p.stat().st_mtime)
    return [f"--- {newest}", *newest.read_text(errors="replace").splitlines()[-LOG_TAIL:]]
