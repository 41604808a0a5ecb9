"""Time of `lnv report`, in turns with the one of another version, and the size of its page.

Each turn is a process of its own that reads a result, draws every figure and writes every file. Another version reads a
result that its own commands made of the same samples.

Run: python -m benchmarks.page RESULTS [--other CHECKOUT RESULTS] [--rounds 3] --output FILE
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import timing

ROOT = Path(__file__).parents[1]
PAGE = "report.html"


def call(checkout: Path) -> tuple[list[str], dict[str, str]]:
    """Return how the command of a checkout is called, and its environment; packages were at the top in 0.1.0."""
    source = checkout / "src"
    package = "jpsi_lnv." if source.exists() else ""
    code = f"from {package}processors.cli import main; main()"
    return [sys.executable, "-c", code, "report"], os.environ | {"PYTHONPATH": str(source if package else checkout)}


def make(checkout: Path, results: Path) -> None:
    """Make the report of a result with the code of a checkout."""
    words, environment = call(checkout)
    done = subprocess.run(
        [*words, "--output", str(results)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{checkout}: the report ended with status {done.returncode}: {done.stderr.strip()[-500:]}")


def measure(rivals: dict[str, tuple[Path, Path]], rounds: int) -> dict[str, Any]:
    """Return seconds, figures and size of the page of every rival, which take turns, and the ratio of the first two."""
    times = timing.take_turns({name: partial(make, *rival) for name, rival in rivals.items()}, rounds)
    found: dict[str, Any] = {
        name: {
            "time": timing.figure(times[name]),
            "figures": len(list((results / "figures").glob("*.png"))),
            "page_mb": (results / PAGE).stat().st_size / 1e6,
        }
        for name, (_, results) in rivals.items()
    }
    if len(rivals) > 1:
        found["now_over_before"] = timing.ratio(times["now"], times["before"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--other", type=Path, nargs=2, metavar=("CHECKOUT", "RESULTS"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rivals = {"now": (ROOT, given.results)} | ({"before": tuple(given.other)} if given.other else {})
        copies = {}
        for name, (checkout, results) in rivals.items():
            copies[name] = (checkout, Path(shutil.copytree(results, Path(directory) / name)))
        found = measure(copies, given.rounds)
    given.output.write_text(json.dumps({"page": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
