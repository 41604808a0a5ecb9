"""How the search scales: workers, cost of a chunk, start-up, memory of a worker, and unit costs of every selection.

- `workers`: the same chunks on one worker, on two, and on two without TLS, in turns; all clusters stay.
- `chunk`: what coffea's Runner, dask and our loop add to a chunk, from a processor that does nothing, on chunks of one
  file and with a new file every time.
- `start_up`: a new process, from its first import to its first finished chunk on a local cluster; numba's cache warm.
- `memory`: peak of a worker that has processed chunks of the default size, from the worker's own operating system.
- `costs`: microseconds per event of the selections, one core, on the events that each is made for.

Run: python -m benchmarks.scaling [--only workers,start_up,costs] [--rounds 5] [--samples DIRECTORY]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cloudpickle
from coffea.processor import ProcessorABC
from coffea.processor.executor import WorkItem
from coffea.util import coffea_console

from benchmarks import samples
from benchmarks.timing import figure, ratio, take_turns
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import GuardedExecutor, IterativeExecutor, process_chunks
from jpsi_lnv.processors.work.worker import peak_memory

# Chunks of a run on workers, whose first and last seconds are not all of it, and turns of one and two workers.
N_CHUNKS = 96
N_TURNS = 5
N_NULL = 200
N_ALONE = 20
CONTROLS = ("ee", "kkpi0", "ppbarpipi")


class Nothing(ProcessorABC):
    """A processor that does nothing with a chunk."""

    def process(self, events: Any) -> dict[str, Any]:
        """Return the number of events."""
        return {"n": len(events)}

    def postprocess(self, accumulator: Any) -> Any:
        """Return what came."""
        return accumulator


def run_items(items: list[WorkItem], processor: ProcessorABC, executor: GuardedExecutor) -> dict[str, Any]:
    """Process chunks as a run does.

    Raises:
        RuntimeError: A chunk failed.
    """
    result = process_chunks(items, processor, executor)
    if result.get("failed"):
        msg = f"a chunk failed: {result['failed'][0]['message']}"
        raise RuntimeError(msg)
    return result


def workers(files: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Time chunks of signal and background on one and on two workers; then take the workers' peaks."""
    items = [item for name, path in files.items() for item in samples.work_items(path, name)]
    items = (items * N_CHUNKS)[:N_CHUNKS]
    null = [dataclasses.replace(samples.work_item(path, name, 0, 1), preload=None) for name, path in files.items()]
    with ExitStack() as stack:
        kinds = {"1": (1, True), "2": (2, True), "2_without_tls": (2, False)}
        clients = {
            name: stack.enter_context(connect(ClusterOptions(workers=n, tls=tls))) for name, (n, tls) in kinds.items()
        }
        for name, client in clients.items():
            client.register_worker_callbacks(_load_benchmarks)
            client.wait_for_workers(kinds[name][0])
        rivals = {
            name: lambda client=client: run_items(items, SearchProcessor(), DaskExecutor(client=client))
            for name, client in clients.items()
        }
        times = take_turns(rivals, rounds)
        peaks = [int(p) for client in clients.values() for p in client.run(peak_memory).values()]
        nothing = take_turns(
            {
                "dask": lambda: run_items(null[:1] * N_NULL, Nothing(), DaskExecutor(client=clients["2"])),
                "iterative": lambda: run_items(null[:1] * N_ALONE, Nothing(), IterativeExecutor()),
                "new_file": lambda: run_items((null * N_ALONE)[:N_ALONE], Nothing(), IterativeExecutor()),
            },
            rounds,
        )
    return {
        "workers": {
            "one_over_two": ratio(times["1"], times["2"]),
            "tls_over_plain": ratio(times["2"], times["2_without_tls"]),
            "chunks": len(items),
        }
        | {f"seconds_on_{n}": figure(t) for n, t in times.items()},
        "chunk": {
            "dask_two_workers": figure(nothing["dask"], N_NULL, "ms"),
            "runner_alone": figure(nothing["iterative"], N_ALONE, "ms"),
            "runner_new_file": figure(nothing["new_file"], N_ALONE, "ms"),
        },
        "memory": {"worker_peak_mb": max(peaks) / 1e6, "events_per_chunk": len(items[0])},
    }


def _load_benchmarks() -> None:
    """Make this module known to a worker: it is not installed there."""
    sys.path.insert(0, str(Path(__file__).parents[1]))


START = """
import time; t = time.perf_counter()
import sys, cloudpickle
from jpsi_lnv.processors.cluster.clusters import ClusterOptions, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import process_chunks
from jpsi_lnv.processors.search import SearchProcessor
if __name__ == "__main__":
    item = cloudpickle.loads(bytes.fromhex(sys.argv[1]))
    with connect(ClusterOptions(workers=2)) as client:
        process_chunks([item], SearchProcessor(), DaskExecutor(client=client))
        print("SECONDS", time.perf_counter() - t)
"""


def start_up(item: WorkItem, rounds: int, directory: Path) -> dict[str, Any]:
    """Return the time from the first import of a new process to its first finished chunk."""
    script = directory / "start_up.py"
    script.write_text(START)
    call = [sys.executable, str(script), cloudpickle.dumps(item).hex()]
    times = []
    for _ in range(rounds + 1):
        out = subprocess.run(call, check=True, capture_output=True, text=True).stdout
        times.append(float(out.partition("SECONDS")[2].split()[0]))
    return figure(times[1:])


def costs(files: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Return the cost per event of every selection, on one core, in processor time."""
    result = {}
    for name, path in files.items():
        result[f"search_{name}"] = _cost(samples.work_items(path, name), rounds)
    for name in CONTROLS:
        path = samples.make_control(files["signal"].parent, name)
        result[f"control_{name}"] = _cost(samples.work_items(path, name, (f"control_{name}",)), rounds)
    return result


def _cost(items: list[WorkItem], rounds: int) -> dict[str, Any]:
    processor = SearchProcessor()
    times = take_turns({"": lambda: run_items(items, processor, IterativeExecutor())}, rounds, time.process_time)[""]
    n, size = sum(len(item) for item in items), Path(items[0].filename).stat().st_size
    return figure(times, n, "us") | {"bytes_per_event_of_file": size / n}


def parts(files: dict[str, Path], rounds: int, directory: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what gives the figures, by the names of its parts; `workers` gives those of chunks and memory too."""
    return {
        "workers": lambda: workers(files, min(rounds, N_TURNS)),
        "start_up": lambda: {
            "start_up": start_up(samples.work_item(files["signal"], "signal"), min(rounds, 3), directory)
        },
        "costs": lambda: {"costs": costs(files, rounds)},
    }


def run(files: dict[str, Path], rounds: int, directory: Path, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return the figures of all parts, or of some only."""
    coffea_console.quiet = True
    chosen = [part for name, part in parts(files, rounds, directory).items() if not only or name in only]
    return {name: value for part in chosen for name, value in part().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda names: names.split(","), default=(), help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=Path, default=Path("samples/benchmarks"))
    given = parser.parse_args()
    print(json.dumps(run(samples.make(given.samples), given.rounds, given.samples, given.only), indent=1))


if __name__ == "__main__":
    main()
