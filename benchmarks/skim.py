"""The skim of BOSS `.dst` files against what no reader can do without, and against other readers of the same branches.

Files are made of the ten events of the real one (`dst_files`): like data, and like simulation with its truth. Rivals
take turns; what counts is the time of this process on all processors, per event.

- `zlib`, `deflate`: decompressing the baskets that the skim needs, with Python's zlib or libdeflate; nothing else.
- `search`, `all`: the skim with that preselection and the default groups of columns, written to a file; `search_zlib`:
  the same without libdeflate. `search_bare`: it keeps no groups; `zlib_bare`, `deflate_bare` are of its baskets.
- `pybes3`: the needed branches as awkward arrays. `root`: ROOT in C++ calls GetEntry with the needed branches switched
  on, in a process of its own.

Then two processes over two files against one over one, for the skim and for zlib alone, and the peak memory of a
worker.

Run: BES_SAMPLES=<directory> ROOT_PYTHON=<python> python -m benchmarks.skim [--rounds 5] [--output skim.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import deflate
import pybes3  # noqa: F401 registers BOSS's classes

from benchmarks import dst_files
from benchmarks.timing import figure, ratio, take_turns
from jpsi_lnv.analysis.events import dst_baskets, schema
from jpsi_lnv.analysis.events.dst import COLLECTIONS, EVENT, HITS, OF_GROUP, PARTICLES, RUN, TIME, VERTEX, open_dst
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.processors.skim_plan import SkimOptions, plan, read_books
from jpsi_lnv.processors.skimming import Skim

# As many as the skim puts into one output.
N_EVENTS = {"data": 50_000, "simulation": 48_000}
# How many times as many a file has of which only the memory is measured.
LARGE = 6
# Events at a time of pybes3, whose arrays of a whole file would not fit.
STEP = 10_000


def needed(is_simulation: bool, keep: tuple[str, ...]) -> list[str]:
    """Return the paths of the branches that the skim reads."""
    objects = [*COLLECTIONS.values(), VERTEX, *(c for group in keep for c in OF_GROUP[group].values())]
    objects += [PARTICLES, HITS] if is_simulation else []
    return [RUN, EVENT, *([TIME] if "pid" in keep else []), *(c.path for c in objects)]


def packed_blocks(path: Path, keep: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Return place, bytes and bytes unpacked of every compressed block of the needed baskets."""
    blocks = []
    with open_dst(str(path)) as opened, path.open("rb") as file:
        for name in needed(bool(opened.is_simulation), keep):
            baskets = opened._branch(name)
            for number in range(len(baskets.edges) - 1):
                start, stop = baskets.span(number)
                raw = os.pread(file.fileno(), stop - start, start)
                place, plain = int.from_bytes(raw[14:16], "big"), int.from_bytes(raw[6:10], "big")
                while len(raw) - int.from_bytes(raw[14:16], "big") < plain and place < len(raw):
                    size, out = (int.from_bytes(raw[place + k : place + k + 3], "little") for k in (3, 6))
                    blocks.append((start + place + 9, size, out))
                    place += 9 + size
    return blocks


def inflate(path: Path, blocks: list[tuple[int, int, int]], unpack: Callable[[bytes, int], Any]) -> None:
    """Read the blocks and decompress them."""
    with path.open("rb") as file:
        for start, size, plain in blocks:
            unpack(os.pread(file.fileno(), size, start), plain)


def with_zlib(raw: bytes, _: int) -> bytes:
    return zlib.decompress(raw)


def skim(path: Path, preselection: str, keep: tuple[str, ...] = schema.KEPT) -> int:
    """Skim a file into one that is thrown away; return the events kept."""
    with tempfile.TemporaryDirectory() as name:
        options = SkimOptions(
            output=Path(name),
            dataset="bench",
            runs=uniform(Conditions(sqrt_s=3.097)),
            preselection=preselection,
            keep=keep,
        )
        items = plan([str(path)], options)
        Skim(options)(items[0])
        return sum(source.n_stored for book in read_books(items) for source in book.sources)


def skim_without_libdeflate(path: Path) -> None:
    fast, dst_baskets._inflate = dst_baskets._inflate, dst_baskets._inflate_slowly
    try:
        skim(path, "search")
    finally:
        dst_baskets._inflate = fast


def read_with_pybes3(path: Path) -> None:
    with open_dst(str(path)) as opened:
        for name in needed(bool(opened.is_simulation), schema.KEPT):
            for start in range(0, opened.n_events, STEP):
                opened._tree[name].array(entry_start=start, entry_stop=start + STEP, array_cache=None)


def measure(path: Path, n: int, rounds: int, root: list[float]) -> dict[str, Any]:
    """Return costs per event and ratios of one file."""
    blocks, bare = packed_blocks(path, schema.KEPT), packed_blocks(path, ())
    rivals = {
        "zlib": lambda: inflate(path, blocks, with_zlib),
        "deflate": lambda: inflate(path, blocks, deflate.zlib_decompress),
        "search": lambda: skim(path, "search"),
        "all": lambda: skim(path, "all"),
        "search_zlib": lambda: skim_without_libdeflate(path),
        "zlib_bare": lambda: inflate(path, bare, with_zlib),
        "deflate_bare": lambda: inflate(path, bare, deflate.zlib_decompress),
        "search_bare": lambda: skim(path, "search", ()),
        "pybes3": lambda: read_with_pybes3(path),
    }
    times = take_turns(rivals, rounds, time.process_time) | {"root": root}
    over = {
        "search_over_zlib": ("search", "zlib"),
        "search_over_deflate": ("search", "deflate"),
        "search_zlib_over_zlib": ("search_zlib", "zlib"),
        "all_over_zlib": ("all", "zlib"),
        "search_bare_over_zlib": ("search_bare", "zlib_bare"),
        "search_bare_over_deflate": ("search_bare", "deflate_bare"),
        "root_over_search": ("root", "search"),
        "pybes3_over_search": ("pybes3", "search"),
    }
    return {
        "events": n,
        "kept_by_search": skim(path, "search") / n,
        "bytes_per_event": path.stat().st_size / n,
        "bytes_needed_per_event": sum(size for _, size, _ in blocks) / n,
        "us_per_event": {name: figure(values, n, "us") for name, values in times.items()},
        **{name: ratio(times[a], times[b]) for name, (a, b) in over.items()},
    }


def children(calls: list[list[str]]) -> float:
    """Return the wall time of processes that run at once, between the moment when all are ready and the last end."""
    running = [subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for call in calls]
    for child in running:
        # Pipes, as asked for above.
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
    start = time.perf_counter()
    for child in running:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in running:
        child.wait()
    return time.perf_counter() - start


def call(work: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.skim", "--work", work, str(path)]


def work(name: str, path: Path) -> None:
    """Do one thing in a process of its own, as soon as it is told to; the first time does not count."""
    blocks = packed_blocks(path, schema.KEPT)
    run = {"skim": lambda: skim(path, "search"), "zlib": lambda: inflate(path, blocks, with_zlib)}[name]
    run()
    print("ready", flush=True)
    sys.stdin.readline()
    run()


def processes(paths: list[Path], rounds: int) -> dict[str, float]:
    """Return by what factor two processes over two files do more than one, for zlib alone and for the skim."""
    gains = {}
    for name in ("zlib", "skim"):
        one = min(children([call(name, paths[0])]) for _ in range(rounds))
        two = min(children([call(name, path) for path in paths]) for _ in range(rounds))
        gains[name] = 2.0 * one / two
    return gains | {"skim_over_zlib": gains["skim"] / gains["zlib"]}


_PEAK = """
import sys
from pathlib import Path
from benchmarks.skim import skim
skim(Path(sys.argv[1]), sys.argv[2])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_memory(path: Path, preselection: str) -> float:
    """Return the peak memory in MB of a process that skims a file once, as the process itself sees it."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path), preselection], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of events")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--work", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]))
        return
    source = Path(os.environ["BES_SAMPLES"]) / "test_full_mc_evt_1.dst"
    events = {name: int(n * given.scale) for name, n in N_EVENTS.items()}
    with tempfile.TemporaryDirectory() as name:
        files = {kind: Path(name) / f"{kind}.dst" for kind in events}
        making = [dst_files.making(source, files[k], n, is_data=k == "data") for k, n in events.items()]
        large = Path(name) / "large.dst"
        making.append(dst_files.making(source, large, LARGE * events["data"], is_data=True))
        branches = {k: " ".join(p.rpartition("/")[2] for p in needed(k != "data", schema.KEPT)) for k in events}
        reading = [["read_branches", str(files[k]), branches[k]] for k in events for _ in range(given.rounds)]
        root = dst_files.root_calls(source, [*making, *reading])[len(making) :]
        result: dict[str, Any] = {"machine": machine()}
        for place, (kind, n) in enumerate(events.items()):
            own = root[place * given.rounds : (place + 1) * given.rounds]
            result[kind] = measure(files[kind], n, given.rounds, own)
        twin = shutil.copy(files["data"], Path(name) / "twin.dst")
        result["two_processes"] = processes([files["data"], Path(twin)], given.rounds)
        measured = {"data": files["data"], f"{LARGE} x data": large, "simulation": files["simulation"]}
        result["peak_mb"] = {
            preselection: {what: peak_memory(path, preselection) for what, path in measured.items()}
            for preselection in ("search", "all")
        }
    print(json.dumps(result, indent=2))
    if given.output:
        given.output.write_text(json.dumps(result, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    of = {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    packages = {name: version(name) for name in ("deflate", "pybes3", "uproot", "numba", "numpy")}
    return of | packages | {"zlib": zlib.ZLIB_RUNTIME_VERSION}


if __name__ == "__main__":
    main()
