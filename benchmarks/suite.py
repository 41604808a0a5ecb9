"""All benchmarks in one go: writes benchmarks/results.json and the tables of docs/performance.md.

Every figure is a ratio of rivals that took turns in the same run, or a cost with minimum, median and spread. An idle
machine of two cores takes less than 15 minutes; ROOT_PYTHON adds the peer RDataFrame, BES_SAMPLES the skim.

Run: make bench, or python -m benchmarks.suite [--only limit,peers] [--rounds 9] [--output benchmarks/results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import limit, peers, report, samples, scaling

HERE = Path(__file__).parent
# What every part starts with: a dask cluster in this process leaves its workers' settings in the environment.
ENVIRONMENT = dict(os.environ)
PACKAGES = ("awkward", "coffea", "distributed", "hist", "numba", "numpy", "uproot")


def script(name: str, *arguments: str) -> Any:
    """Run a benchmark that stands on its own and return what it writes."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "result.json"
        call = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--output", str(output)]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent, env=ENVIRONMENT)
        return json.loads(output.read_text())


def memory() -> Any:
    """Return the memory of client and workers for few and for many chunks."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "memory"
        call = [sys.executable, str(HERE / "run_memory.py"), "--chunks", "100,1000,10000", "--output", str(output)]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        return json.loads(output.with_suffix(".json").read_text())


def skim() -> Any:
    """Return the figures of the skim; None without the real file, or without ROOT, which makes large ones of it."""
    if missing := [name for name in ("BES_SAMPLES", "ROOT_PYTHON") if name not in os.environ]:
        print(f"the skim is left out: set {' and '.join(missing)} (the directory of test_full_mc_evt_1.dst; make root)")
        return None
    return script("skim", "--rounds", "3")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    packages = {name: version(name) for name in PACKAGES}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    } | packages


def parts(files: dict[str, Path], directory: Path, rounds: int) -> dict[str, Callable[[], Any]]:
    """Return every part of the suite by name."""
    return {
        "limit": lambda: limit.run(files, rounds),
        "hypotheses": lambda: limit.hypotheses(directory, rounds),
        "peers": lambda: peers.run(files, rounds, directory),
        "scaling": lambda: scaling.run(files, rounds, directory),
        "scheduler": lambda: script("scheduler", "--cores", "16,64,256"),
        "memory": memory,
        "kinfit": lambda: script("kinfit", "--rounds", "5")["kinfit"],
        "simulation": lambda: script("simulation", "--repeat", "3"),
        "limits_scan": lambda: script("limits_scan", "--toys", "2000", "--rounds", "5"),
        "skim": skim,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="parts, separated by commas; the others keep their last figures")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--events", type=int, default=samples.N_EVENTS, help="events of each file")
    parser.add_argument("--samples", type=Path, default=HERE.parent / "samples" / "benchmarks")
    parser.add_argument("--output", type=Path, default=HERE / "results.json")
    parser.add_argument("--pages", action="store_true", help="renew the tables of the documentation")
    given = parser.parse_args()
    files = samples.make(given.samples, given.events)
    known = json.loads(given.output.read_text()) if given.output.exists() else {}
    known["machine"] = machine()
    for name, run in parts(files, given.samples.absolute(), given.rounds).items():
        if given.only and name not in given.only.split(","):
            continue
        started = time.perf_counter()
        result = run()
        if result is not None:
            known[name] = result
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        given.output.write_text(json.dumps(known, indent=1) + "\n")
    if given.pages:
        for page in report.PAGES:
            report.renew(page, known)


if __name__ == "__main__":
    main()
