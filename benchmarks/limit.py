"""The search against its limit: reading and decompressing exactly the columns that it touches, and nothing else.

The columns come from the access log of coffea's events, so that the limit follows the code. Both sides read the same
entries with uproot out of the same file; what the limit leaves out is everything that coffea and the search add:
events as records, selection, fits, histograms. Files are in the page cache; wall time of one process.

Run: python -m benchmarks.limit [--rounds 7] [--samples DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uproot
from coffea.nanoevents import NanoEventsFactory
from coffea.processor.executor import WorkItem

from benchmarks import samples
from benchmarks.timing import figure, ratio, take_turns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor, process_chunks


def run_search(items: list[WorkItem]) -> dict[str, Any]:
    """Run the search on chunks as a run does; return coffea's result."""
    return process_chunks(items, SearchProcessor(), IterativeExecutor())


def columns_read(items: list[WorkItem]) -> list[str]:
    """Return the branches that the search reads of any of the chunks, counters included."""
    return sorted({branch for item in items for branch in _columns_read(item)})


def _columns_read(item: WorkItem) -> Iterator[str]:
    log: list[Any] = []
    factory = NanoEventsFactory.from_root(
        {item.filename: item.treename},
        entry_start=item.entrystart,
        entry_stop=item.entrystop,
        schemaclass=BesSchema,
        metadata=dict(item.usermeta) | {"dataset": item.dataset},
        access_log=log,
    )
    SearchProcessor().process(factory.events())
    return (entry.branch for entry in log)


def read(items: list[WorkItem], branches: list[str]) -> int:
    """Open a file and read the branches, a chunk in one call as uproot does it fastest; return their bytes."""
    with uproot.open({items[0].filename: items[0].treename}, array_cache=None) as tree:
        return sum(_read_chunk(tree, item, branches) for item in items)


def _read_chunk(tree: Any, item: WorkItem, branches: list[str]) -> int:
    arrays = tree.arrays(branches, entry_start=item.entrystart, entry_stop=item.entrystop, how=dict)
    return sum(int(array.layout.nbytes) for array in arrays.values())


def measure(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """Return the figures of one dataset."""
    items = samples.work_items(path, name)
    branches = columns_read(items)
    rivals = {"search": lambda: run_search(items), "read": lambda: read(items, branches)}
    times = take_turns(rivals, rounds)
    with uproot.open({path: TREE}) as tree:
        on_disk = sum(int(tree[b].compressed_bytes) for b in branches)
    n = sum(len(item) for item in items)
    return {
        "search_over_read": ratio(times["search"], times["read"]),
        "us_per_event": {key: figure(values, n, "us") for key, values in times.items()},
        "chunks": len(items),
        "branches": len(branches),
        "bytes_per_event": read(items, branches) / n,
        "bytes_per_event_on_disk": on_disk / n,
    }


def run(files: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Return the figures of all datasets."""
    return {name: measure(path, name, rounds) for name, path in files.items()}


def hypotheses(directory: Path, rounds: int, n_events: int = samples.N_EVENTS) -> dict[str, Any]:
    """Return what the search of files with five helices per track costs, in CPU time, beside that of one helix.

    Args:
        directory: Where the files lie.
        rounds: Turns of every rival.
        n_events: Events of each file.
    """
    found = {}
    for name in ("kkpipi", "signal"):
        rivals: dict[str, Any] = {}
        for words, has_hypotheses in {"one": False, "five": True}.items():
            path = directory / f"{name}_{words}_{n_events}.root"
            items = samples.work_items(samples.make_one(path, name, n_events, has_hypotheses=has_hypotheses), name)
            rivals[words] = partial(run_search, items)
            rivals[f"read_{words}"] = partial(read, items, columns_read(items))
        times = take_turns(rivals, rounds, time.process_time)
        found[name] = {
            "five_over_one": ratio(times["five"], times["one"]),
            **{words: {"search_over_read": ratio(times[words], times[f"read_{words}"])} for words in ("one", "five")},
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=Path, default=Path("samples/benchmarks"))
    given = parser.parse_args()
    print(json.dumps(run(samples.make(given.samples), given.rounds), indent=1))


if __name__ == "__main__":
    main()
