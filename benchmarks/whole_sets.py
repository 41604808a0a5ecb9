"""What `make run` and `make paper` cost: wall time, CPU time and the largest memory of all their processes together.

Each line of the target is run by itself, in a directory of its own, as the Makefile has it. Memory is what the
processes have for themselves and their share of what they have together (PSS), asked for twice per second.

Run: python -m benchmarks.whole_sets [--targets run,paper] [--work DIRECTORY] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
TARGETS = ("run", "paper")
INTERVAL = 0.5


def memory(process: psutil.Process) -> int:
    """Return the bytes of a process and of all that it started."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def cost(call: list[str], place: Path) -> dict[str, float]:
    """Run a command and return its wall and CPU seconds and the largest memory in MB; end if it fails."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    log = place / "log.txt"
    with log.open("a", encoding="utf-8") as out:
        running = subprocess.Popen(call, cwd=place, stdout=out, stderr=out)
        watched = psutil.Process(running.pid)
        while running.poll() is None:
            peak = max(peak, memory(watched))
            time.sleep(INTERVAL)
    if running.returncode:
        sys.exit(f"{' '.join(call)} ended with status {running.returncode}: {log.read_text(encoding='utf-8')[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu, "peak_mb": peak / 1e6}


def commands(target: str, place: Path) -> list[list[str]]:
    """Return what a target of the Makefile would call where nothing was made yet."""
    installed = ("-o", ".venv/.run-ready", "-o", ".venv/.all-ready", f"BIN={Path(sys.executable).parent}")
    call = ["make", "--no-print-directory", "--dry-run", "-f", str(ROOT / "Makefile"), *installed, target]
    shown = subprocess.run(call, cwd=place, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in shown.splitlines() if line.strip()]


def measure(target: str, place: Path) -> dict[str, Any]:
    """Return the costs of every command of a target, by name, and of all together."""
    found: dict[str, Any] = {}
    for call in commands(target, place):
        name = call[1] if Path(call[0]).name == "lnv" else Path(call[0]).name
        found[name] = cost(call, place)
        print(f"{target}: {name}: {found[name]['seconds']:.0f} s, {found[name]['peak_mb']:.0f} MB", flush=True)
    total = {key: sum(of[key] for of in found.values()) for key in ("seconds", "cpu_seconds")}
    return {"commands": found, **total, "peak_mb": max(of["peak_mb"] for of in found.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--work", type=Path, help="directory that is kept; with samples in it they are not made again")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as directory:
        place = given.work or Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        (place / "docs").mkdir(exist_ok=True)
        published = "published_systematics.json"
        (place / "docs" / published).write_bytes((ROOT / "docs" / published).read_bytes())
        found = {target: measure(target, place) for target in given.targets.split(",")}
    print(json.dumps(found, indent=1))
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
