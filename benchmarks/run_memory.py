"""Memory of client and workers against the number of chunks: flat, because finished chunks are merged and forgotten.

    python benchmarks/run_memory.py [--chunks 100,1000,10000] [--output benchmarks/run_memory]

Each point is a run in a process of its own on two local workers; its chunks are synthetic (a histogram of 2000 bins,
one line of the ledger), so that what is measured is the book-keeping, not the physics. The scheduler of a local cluster
is a thread of the client, so the client's memory holds it too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import hist
import numpy as np
from coffea.processor.executor import WorkItem
from matplotlib.figure import Figure

from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.guard import peak_memory

CHUNKS = (100, 1_000, 10_000)
MEGABYTE = 1e6
EVENTS_PER_CHUNK = 1_000


def measure(n_chunks: int) -> dict[str, float]:
    """Run `n_chunks` synthetic chunks on dask and return the memory they took."""
    file_uuid = uuid.uuid4()

    def chunk(item: WorkItem) -> dict:
        spectrum = hist.Hist(hist.axis.Regular(2_000, 0, 1), storage=hist.storage.Int64())
        spectrum.fill(np.random.default_rng(item.entrystart).random(len(item)))
        line = ledger.entry(str(file_uuid), item.entrystart, item.entrystop, len(item))
        return {"out": {"data": {"search": {"histograms": {"m": spectrum}}, "ledger": line}}, "metrics": {}}

    edges = range(0, n_chunks * EVENTS_PER_CHUNK, EVENTS_PER_CHUNK)
    items = [WorkItem("data", "f.root", "Events", e, e + EVENTS_PER_CHUNK, file_uuid.bytes) for e in edges]
    with connect(ClusterOptions(workers=2)) as client:
        client.wait_for_workers(2)
        started = time.monotonic()
        result, _ = DaskExecutor(client=client)(items, chunk, None)
        seconds = time.monotonic() - started
    assert result["out"]["data"]["search"]["histograms"]["m"].sum() == n_chunks * EVENTS_PER_CHUNK
    assert len(result["out"]["data"]["ledger"]["files"][str(file_uuid)]) == 1
    return {
        "chunks": n_chunks,
        "client_peak_mb": peak_memory() / MEGABYTE,
        "worker_peak_mb": max(result["metrics"]["memory"].values()) / MEGABYTE,
        "seconds": seconds,
    }


def plot(points: list[dict[str, float]], path: Path) -> None:
    """Draw the memory against the number of chunks."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for key, label in (("client_peak_mb", "client and scheduler"), ("worker_peak_mb", "largest worker")):
        axes.plot([p["chunks"] for p in points], [p[key] for p in points], "o-", label=label)
    axes.set(xscale="log", ylim=(0, None), xlabel="chunks", ylabel="peak memory (MB)")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", default=",".join(map(str, CHUNKS)))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(""))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    points = []
    for n in map(int, given.chunks.split(",")):
        out = subprocess.run([sys.executable, __file__, "--one", str(n)], check=True, capture_output=True, text=True)
        points.append(json.loads(out.stdout.splitlines()[-1]))
        print(points[-1])
    given.output.with_suffix(".json").write_text(json.dumps(points, indent=1) + "\n")
    plot(points, given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
