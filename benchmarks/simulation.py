"""Events per second and core of the simulation: generated, simulated and written, split by step.

CPU time; all steps run interleaved in one process on the same blocks, and the fastest of the repetitions counts. The
yardstick beside them is numpy's own rate of normal random numbers in the same run, so that figures of different
machines compare. Another version takes turns with this one, each turn a process of its own.

Run: python -m benchmarks.simulation [--repeat 5] [--other CHECKOUT] [--output benchmarks/simulation.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# One core: the linear algebra of numpy would take more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.timing import ratio, settle
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.simulation import beam, processes
from jpsi_lnv.analysis.simulation.detector import simulate
from jpsi_lnv.analysis.simulation.generator import generate
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS, Recipe, generator_of, make_block
from jpsi_lnv.analysis.simulation.transport import convert, decay_in_flight

WANTED = 25_000  # generated, simulated and written events per second and core
PROCESSES = {
    "signal": processes.SIGNAL,
    "majorana_2nu": processes.majorana(0.9, "2nu"),
    "kkpipi": processes.BACKGROUNDS["kkpipi"],
    "omegapipi": processes.BACKGROUNDS["omegapipi"],
    "ee": processes.CONTROLS["ee"],
}
N_NORMALS = 1_000_000
ROOT = Path(__file__).parents[1]
ROUNDS = 5


def clock(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the CPU time that a call takes in s, and its result."""
    started = time.process_time()
    result = function(*arguments)
    return time.process_time() - started, result


def write(path: Path, columns: Mapping[str, Any]) -> None:
    with NtupleWriter(path) as writer:
        writer.extend(columns)


def measure(process: processes.Process, directory: Path) -> dict[str, float]:
    """Return the time of every step for one block, in s."""
    rng = generator_of(1, "benchmark", 0)
    recipe = Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI)
    beams = beam.cross(rng, BLOCK_EVENTS)
    times = {}
    times["generate"], table = clock(generate, rng, process, M_JPSI, beams)
    times["material"], _ = clock(lambda: decay_in_flight(rng, convert(rng, table, NOMINAL), beams.field, NOMINAL))
    with_material, _ = clock(simulate, rng, table, beams, NOMINAL)
    times["response"] = with_material - times["material"]
    columns = make_block(recipe, "benchmark", 0, BLOCK_EVENTS, 1)
    times["write"], _ = clock(write, directory / "block.root", columns)
    times["total"] = times["generate"] + with_material + times["write"]
    return times


def turn(checkout: Path, directory: Path) -> dict[str, float]:
    """Return the CPU time per event, written, of every process with the code of a checkout, in us.

    Packages were at the top of the checkout in 0.1.0.
    """
    output, source = directory / "turn.json", checkout / "src"
    environment = os.environ | {"PYTHONPATH": str(source if source.exists() else checkout)}
    call = [sys.executable, "-m", "benchmarks.simulation", "--repeat", "2", "--output", str(output)]
    subprocess.run(call, check=True, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
    return {name: steps["total"] for name, steps in json.loads(output.read_text())["us_per_event"].items()}


def against(other: Path, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Return events per second and core of this version over those of another, of every process."""
    with tempfile.TemporaryDirectory() as directory:
        turns = [[turn(checkout, Path(directory)) for checkout in (other, ROOT)] for _ in range(rounds)]
    return {name: ratio([before[name] for before, _ in turns], [now[name] for _, now in turns]) for name in turns[0][1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--other", type=Path, help="checkout of another version that takes turns")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    best: dict[str, dict[str, float]] = {name: {} for name in PROCESSES}
    normals = np.inf
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(options.repeat + 1):  # one more: the first one warms up
            normals = min(normals, clock(np.random.default_rng(1).normal, 0, 1, N_NORMALS)[0])
            for name, process in PROCESSES.items():
                settle()
                for step, seconds in measure(process, Path(directory)).items():
                    best[name][step] = min(seconds, best[name].get(step, np.inf))
    rows = {n: {s: 1e6 * t / BLOCK_EVENTS for s, t in steps.items()} for n, steps in best.items()}
    print("us per event" + "".join(f"{s:>12}" for s in rows["signal"]) + "    events/s")
    for name, steps in rows.items():
        print(f"{name:<12}" + "".join(f"{t:12.2f}" for t in steps.values()) + f"{1e6 / steps['total']:12,.0f}")
    print(f"wanted: {WANTED:,} events/s; normal random numbers of numpy: {N_NORMALS / normals:,.0f}/s")
    report: dict[str, Any] = {"us_per_event": rows, "normals_per_s": N_NORMALS / normals, "block_events": BLOCK_EVENTS}
    if options.other:
        report["now_over_before"] = against(options.other.absolute())
        for name, found in report["now_over_before"].items():
            print(f"{name:<12}{found['ratio']:6.2f} of the other version's rate, median {found['median']:.2f}")
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
