"""What `lnv limits` costs: both limits of the overall search, of the simulated masses and of every MeV between them.

In CPU seconds of a process, beside a process that only starts (`lnv limits --help`, which imports the same); the two
take turns and the minimum of the rounds counts. The result is one that a run and the commands after it left: that of
`make paper` for the published figure.

Run: python -m benchmarks.limits_command --results results/paper [--rounds 3] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# What the command reads.
NEEDED = ("accumulator.zip", "systematics.json", "background.json", "misid.json")


def cpu_seconds(*arguments: str) -> float:
    """Return the CPU seconds of one call of the command and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call = [sys.executable, "-c", "from jpsi_lnv.processors.cli import main; main()", *arguments]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(left: Path, rounds: int) -> dict[str, Any]:
    """Return the cost of the command and of its start, and how many limits it computes."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for needed in NEEDED:
            shutil.copy(left / needed, directory)
        call = ["limits", "--output", name]
        starts, all_of_it = [], []
        for _ in range(rounds):
            starts.append(cpu_seconds("limits", "--help"))
            all_of_it.append(cpu_seconds(*call))
        records = json.loads((directory / "limits.json").read_text())["limits"]
        scan = json.loads((directory / "mass_scan.json").read_text())["limits"]
    start, total = min(starts), min(all_of_it)
    n_limits = len(records) + 2 * len(scan)
    return {
        "searches": len({r["m_majorana"] for r in records}),
        "masses_of_the_scan": len(scan),
        "limits": n_limits,
        "cpu_seconds": round(total, 2),
        "start_cpu_seconds": round(start, 2),
        "command_over_start": round(total / start, 2),
        "milliseconds_per_limit": round(1e3 * (total - start) / n_limits, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="directory of the result")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    found = measure(given.results, given.rounds)
    print(json.dumps(found, indent=1))
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
