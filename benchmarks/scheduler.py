"""What one scheduler and one client stand: many chunks of a processor that only waits as long as the search takes.

The workers' threads sleep instead of working, so a few processes stand for hundreds of cores, with the messages, the
merging of groups and the book-keeping of a run. The rate at which chunks finish, against the one that the cores alone
would give, says up to how many cores the scheduler keeps up.

Run: python -m benchmarks.scheduler [--chunks-per-core 60] [--cores 16,64,256] [--seconds 0.07]

As many chunks as 10^10 events have, which `make bench` leaves out, are --chunks-per-core 800 --cores 125; they are
entered as `scheduler_long` of benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import hist
from coffea.processor.executor import WorkItem
from distributed import Client, LocalCluster

from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.cluster.clusters import DASK_SETTINGS
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.guard import peak_memory

PROCESSES = 2
# Time in s of the search in a chunk of 100 000 events (docs/performance.md).
SECONDS = 0.07


def wait_as_search(item: WorkItem, seconds: float) -> dict[str, Any]:
    """Return a result of the size of the search's, after as long as the search takes."""
    time.sleep(seconds)
    spectra = {f"h{i}": hist.Hist(hist.axis.Regular(400, 0, 1), storage=hist.storage.Int64()) for i in range(11)}
    line = ledger.entry(str(uuid.UUID(bytes=item.fileuuid)), item.entrystart, item.entrystop, len(item))
    return {"out": {item.dataset: {"search": {"histograms": spectra}, "ledger": line}}, "metrics": {}}


def measure(n_chunks: int, n_cores: int, seconds: float) -> dict[str, Any]:
    """Run chunks through one scheduler; return the rate and the memory of this process, which holds the scheduler."""
    file_uuid = uuid.uuid4().bytes
    items = [WorkItem("d", "f", "Events", 100 * i, 100 * (i + 1), file_uuid) for i in range(n_chunks)]
    with (
        dask.config.set(DASK_SETTINGS),
        LocalCluster(
            n_workers=PROCESSES, threads_per_worker=n_cores // PROCESSES, memory_limit=0, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(PROCESSES)
        started, cpu = time.perf_counter(), time.process_time()
        # By its module's name, as a run's function goes: what is defined in __main__ travels as a whole.
        wait = import_module("benchmarks.scheduler").wait_as_search
        result, _ = DaskExecutor(client=client)(items, partial(wait, seconds=seconds), None)
        wall = time.perf_counter() - started
        cpu = time.process_time() - cpu
    assert result["out"]["d"]["ledger"]["n_events"] == 100 * n_chunks
    return {
        "chunks": n_chunks,
        "cores": n_cores,
        "seconds_per_chunk": seconds,
        "chunks_per_second": n_chunks / wall,
        "efficiency": n_chunks * seconds / n_cores / wall,
        "client_ms_per_chunk": 1e3 * cpu / n_chunks,
        "client_peak_mb": peak_memory() / 1e6,
        "worker_peak_mb": max(result["metrics"]["memory"].values()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks-per-core", type=int, default=60, help="of 0.07 s: four seconds at best")
    parser.add_argument("--cores", default="16,64,256")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="s that a chunk takes")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    points = [measure(given.chunks_per_core * int(n), int(n), given.seconds) for n in given.cores.split(",")]
    print(json.dumps(points, indent=1))
    if given.output:
        given.output.write_text(json.dumps(points, indent=1) + "\n")


if __name__ == "__main__":
    main()
