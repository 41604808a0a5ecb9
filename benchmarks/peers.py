"""The search against three others on the same ntuple and the same selection, with equal counts after every step.

- `rdataframe`: RDataFrame with compiled C++ functions, one thread (peer_rdataframe.cpp), in a process of its own;
  skipped unless the environment's ROOT_PYTHON names a Python with ROOT.
- `awkward`: plain awkward and numpy without numba (peer_awkward.py).
- `loop`: a loop over events in Python (peer_loop.py), on the first events only, per event.

Before anything is timed, the events that pass each step are compared one by one. Wall time, one thread each; the
search's time is that of coffea's Runner with all its histograms, which the peers do not fill.

Run: python -m benchmarks.peers [--rounds 9] [--samples DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from coffea.processor.executor import WorkItem

from benchmarks import limit, peer_awkward, peer_loop, samples
from benchmarks.timing import figure, ratio, take_turns
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns
from jpsi_lnv.analysis.events.schema import EVENT, TREE
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.selection import steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III

HERE = Path(__file__).parent
# A round with the slow rivals on signal takes as long as several on background.
ROUNDS = {"signal": 5}
# Enough events that opening the file, which the loop does too, counts little for one of them.
N_LOOP = 5_000


class RDataFrame:
    """A process of ROOT that runs the search again and again."""

    def __init__(self, python: str, tables: Path) -> None:
        command = [python, str(HERE / "peer_rdataframe.py"), str(tables.parent)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tables = tables
        self.version = self._answer("READY")[0]

    def run(self, path: Path, passing: Path | str = "") -> tuple[float, list[int]]:
        """Return its own time in s and the counts: all events, then after every step."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\t{self._tables}\t{passing}\n")
        self._process.stdin.flush()
        seconds, *counts = self._answer("PEER")
        return float(seconds), [int(c) for c in counts[: 1 + len(SECTION_III)]]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self, word: str) -> list[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.split()[1:]
        msg = f"the process of ROOT ended with status {self._process.wait()}: see what it wrote above"
        raise RuntimeError(msg)


@contextmanager
def rdataframe(directory: Path) -> Iterator[RDataFrame | None]:
    """Start the peer, or say why it is left out."""
    python = os.environ.get("ROOT_PYTHON")
    if python is None:
        print("RDataFrame is left out: make root, or set ROOT_PYTHON to a Python with ROOT")
        yield None
        return
    peer = RDataFrame(python, write_tables(directory / "emc_tables.txt"))
    try:
        yield peer
    finally:
        peer.close()


def write_tables(path: Path) -> Path:
    """Write the tables of the calorimeter for the peer in C++: for each, its length and its values."""
    tables = emc_pid.load()
    names = ("p_edges", "cos_theta_edges", "e_over_p", "compactness", "score", "chi", "quantiles")
    values = [np.ravel(getattr(tables, name)) for name in names]
    path.write_text("".join(f"{len(v)} {' '.join(map(repr, v.tolist()))}\n" for v in values))
    return path


def depth(items: list[WorkItem]) -> np.ndarray:
    """Return how many steps each event of a file passes in our search."""
    return np.concatenate([_depth(item) for item in items])


def _depth(item: WorkItem) -> np.ndarray:
    return steps.depth(steps.apply(SECTION_III, SearchEvents(_columns(item), SELECTION, item.usermeta["sqrt_s"])))


def _columns(item: WorkItem) -> Columns:
    """Return a chunk's columns, read by uproot alone."""
    import uproot  # noqa: PLC0415

    with uproot.open({item.filename: TREE}) as tree:
        names = [n for n in tree.keys() if n.startswith("Track_") or n in {c.name for c in EVENT}]  # noqa: SIM118
        arrays = tree.arrays(names, entry_start=item.entrystart, entry_stop=item.entrystop, how=dict)
    layouts = {n: a.layout for n, a in arrays.items()}
    offsets = np.asarray(layouts["Track_charge"].offsets.data)
    flat = {n: np.asarray(x.content.data if n.startswith("Track_") else x.data) for n, x in layouts.items()}
    return ArrayColumns(flat, {"Track": offsets}, len(item))


def agreement(items: list[WorkItem], root: RDataFrame | None, directory: Path, n_loop: int) -> dict[str, Any]:
    """Compare the events that pass each step, one by one; raise where a peer differs.

    Raises:
        AssertionError: An event passes another number of steps.
    """
    ours, path = depth(items), Path(items[0].filename)
    np.testing.assert_array_equal(peer_awkward.run(path, samples.CHUNK_EVENTS), ours, err_msg="awkward")
    branches = [*limit.columns_read(items), *(f"Track_{name}" for name in peer_loop.COVARIANCE)]
    np.testing.assert_array_equal(peer_loop.run(path, branches, n_loop), ours[:n_loop], err_msg="loop")
    if root is not None:
        passing = directory / "passing.txt"
        root.run(path, passing)
        number = np.concatenate([_columns(item).scalar("event") for item in items])
        for i, line in enumerate(passing.read_text().splitlines()):
            np.testing.assert_array_equal(
                np.array(line.split(), dtype=np.int64), number[ours > i], err_msg="rdataframe"
            )
    return {"events": len(ours), "counts": [int((ours > i).sum()) for i in range(len(SECTION_III))], "equal": True}


def measure(items: list[WorkItem], root: RDataFrame | None, rounds: int, n_loop: int) -> dict[str, Any]:
    """Time the search and its peers in turns on one file."""
    path, n = Path(items[0].filename), sum(len(item) for item in items)
    branches = limit.columns_read(items)
    rivals: dict[str, Any] = {
        "search": lambda: limit.run_search(items),
        "awkward": lambda: peer_awkward.run(path, samples.CHUNK_EVENTS),
        "loop": lambda: peer_loop.run(path, branches, n_loop),
    }
    if root is not None:
        rivals["rdataframe"] = lambda: root.run(path)
    times = take_turns(rivals, rounds)
    of_loop = times["loop"] = [t * n / n_loop for t in times["loop"]]
    figures = {name: figure(values, n, "us") for name, values in times.items()}
    ratios = {f"{name}_over_search": ratio(times[name], times["search"]) for name in times if name != "search"}
    return ratios | {"us_per_event": figures, "loop_events": n_loop, "loop_seconds_of_all": min(of_loop)}


def run(files: dict[str, Path], rounds: int, directory: Path, n_loop: int = N_LOOP) -> dict[str, Any]:
    """Return agreement and figures of every dataset."""
    result: dict[str, Any] = {}
    with rdataframe(directory) as root:
        result["root"] = None if root is None else root.version
        for name, path in files.items():
            items = samples.work_items(path, name)
            n = min(n_loop, len(items[0]))
            own_rounds = min(rounds, ROUNDS.get(name, rounds))
            result[name] = agreement(items, root, directory, n) | measure(items, root, own_rounds, n)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=Path, default=Path("samples/benchmarks"))
    given = parser.parse_args()
    print(json.dumps(run(samples.make(given.samples), given.rounds, given.samples), indent=1))


if __name__ == "__main__":
    main()
