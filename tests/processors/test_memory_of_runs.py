"""What a run leaves behind in client, scheduler and workers does not grow with the number of chunks."""

import gc
import json
import resource
import subprocess
import sys
import time
import tracemalloc
import uuid

import pytest
from coffea.processor.executor import WorkItem
from dask.utils import key_split

from jpsi_lnv.processors.books import ledger
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.guard import peak_memory

N_WARM, N_CHUNKS = 100, 300
# Bytes that may stay per chunk; dask's default logs alone keep 10 000.
BYTES_MAX = 1500


def run_chunks(client, first, n_chunks):
    """Process chunks of nothing but a line of the ledger; return their number of events."""
    file_uuid = uuid.uuid4()

    def chunk(item):
        line = ledger.entry(str(uuid.UUID(bytes=item.fileuuid)), item.entrystart, item.entrystop, len(item))
        return {"out": {"data": {"ledger": line}}, "metrics": {}}

    items = [WorkItem("data", "f.root", "Events", i, i + 1, file_uuid.bytes) for i in range(first, first + n_chunks)]
    result, _ = DaskExecutor(client=client)(items, chunk, None)
    return result["out"]["data"]["ledger"]["n_events"]


def measure():
    """Return what is left of many chunks: bytes per chunk, entries of the scheduler's lists, names of tasks."""
    with connect(ClusterOptions(workers=2)) as client:
        client.wait_for_workers(2)
        run_chunks(client, 0, N_WARM)
        gc.collect()
        tracemalloc.start()
        assert run_chunks(client, N_WARM, N_CHUNKS) == N_CHUNKS
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        scheduler = client.cluster.scheduler
        deadline = time.monotonic() + 10
        while scheduler.tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        names = client.run(lambda: key_split.cache_info().currsize)
        return {
            "bytes": kept / N_CHUNKS,
            "tasks": len(scheduler.tasks),
            "transitions": len(scheduler.transition_log),
            "spans": len(scheduler.extensions["spans"].spans),
            "names": max(names.values()),
        }


def test_nothing_of_a_finished_chunk_stays():
    """In a process of its own: threads that other tests left behind would count."""
    done = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True)
    left = json.loads(done.stdout)
    assert left["bytes"] < BYTES_MAX
    assert left["tasks"] == 0
    assert left["transitions"] <= 10
    assert left["spans"] < 10
    assert left["names"] < N_CHUNKS / 2


@pytest.mark.fast
def test_the_peak_is_that_of_the_process_not_of_its_parent():
    large = bytearray(200_000_000)
    large[::4096] = b"x" * len(large[::4096])
    code = "from jpsi_lnv.processors.work.guard import peak_memory; print(peak_memory())"
    child = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert child < peak_memory() - len(large) / 2
    assert peak_memory() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, rel=0.1)


if __name__ == "__main__":
    print(json.dumps(measure()))
