"""What the checks of files cost: of a run that looks again at what it reads, and of a fileset that is completed.

A run with all its checks takes turns with one that believes every file, and completing a file with reading it once;
what counts is the time of the processor.

Run: python -m benchmarks.checks [--events 500000] [--rounds 5] [--output checks.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import uproot

from benchmarks import samples, timing
from jpsi_lnv.analysis.events import columns, inspection
from jpsi_lnv.processors import search
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.run import RunOptions, process
from jpsi_lnv.processors.work.executors import IterativeExecutor

NAMES = ("inclusive", "signal")


def unlooked_at(events: Any, *_: Any) -> columns.ChunkColumns:
    """Return the columns of a chunk as they are."""
    return columns.ChunkColumns(events)


def runs(path: Path, name: str, directory: Path) -> dict[str, Callable[[], Any]]:
    """Return a run over one file with its checks, with the checksum read anew, and without any.

    Each stores its groups and remembers the checksums that it verified, as `lnv run` does.
    """
    dataset = filesets.Dataset(name, samples.metadata(name), (verify.describe(str(path)),))

    def run(how: verify.How) -> None:
        options = RunOptions(output=directory, verification=how, cache=directory / "verified.json")
        process({name: dataset}, search.SearchProcessor(), options, lambda _s, _t, sink: IterativeExecutor(sink=sink))

    def believing() -> None:
        with (
            mock.patch.object(search, "sound_columns", unlooked_at),
            mock.patch.object(columns.ChunkColumns, "_require_sound", return_value=None),
        ):
            run("none")

    return {"without": believing, "checked": lambda: run("sha256"), "fresh": lambda: run("fresh")}


def completions(path: Path) -> dict[str, Callable[[], Any]]:
    """Return the completion of a fileset's file, and reading all its columns once, basket by basket."""

    def read() -> None:
        with uproot.open(path) as file:
            tree = file["Events"]
            edges = tree.common_entry_offsets()
            for start, stop in inspection.steps(edges):
                tree.arrays(inspection.columns_of(tree), entry_start=start, entry_stop=stop, how=dict)

    return {"read": read, "complete": lambda: verify.describe(str(path))}


def measure(path: Path, name: str, rounds: int) -> dict[str, Any]:
    """Return the ratios of one file."""
    with tempfile.TemporaryDirectory() as directory:
        of_run = timing.take_turns(runs(path, name, Path(directory)), rounds, time.process_time)
    of_file = timing.take_turns(completions(path), rounds, time.process_time)
    return {
        "checked_over_without": timing.ratio(of_run["checked"], of_run["without"]),
        "fresh_over_without": timing.ratio(of_run["fresh"], of_run["without"]),
        "complete_over_read": timing.ratio(of_file["complete"], of_file["read"]),
        "run_s": timing.figure(of_run["without"]),
        "read_s": timing.figure(of_file["read"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000, help="events of each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=Path, default=Path("samples/benchmarks"))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    files = {
        name: samples.make_one(given.samples / f"{name}_{given.events}.root", name, given.events) for name in NAMES
    }
    found = {name: measure(path, name, given.rounds) for name, path in files.items()}
    print(json.dumps(found, indent=1))
    if given.output:
        given.output.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
