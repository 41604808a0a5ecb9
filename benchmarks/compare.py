"""Compares the ratios of a new run with the committed ones of the same kind of machine.

A ratio that worsened by more than 15 % ends the command with status 1. Costs in seconds are not compared: they change
with the machine, ratios of rivals in one run do not.

Run: make bench-compare, or python -m benchmarks.compare NEW [--old benchmarks/results.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOLERANCE = 0.15
# What makes machines of one kind.
KIND = ("cpu", "cores")
# Last part of the name of a ratio that is better when it is smaller; all others are better when larger.
SMALLER_IS_BETTER = (
    "search_over_read",
    "stage_over_read",
    "five_over_one",
    "numba_over_unrolled",
    *(f"{skim}_over_{raw}" for skim in ("search", "all", "search_zlib", "search_bare") for raw in ("zlib", "deflate")),
)


def ratios(content: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield name and value of every ratio: tables with a `ratio`, and numbers named ``…_over_…`` or ``speed_up…``."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        full = f"{name}.{key}" if name else key
        if isinstance(value, dict) and "ratio" in value and "median" in value:
            yield full, float(value["ratio"])
        elif isinstance(value, int | float) and ("_over_" in key or key.startswith("speed_up")):
            yield full, float(value)
        else:
            yield from ratios(value, full)


def worsened(name: str, old: float, new: float) -> float:
    """Return by which fraction a ratio is worse than before; negative where it is better."""
    is_small_good = name.rpartition(".")[2] in SMALLER_IS_BETTER
    return (new / old if is_small_good else old / new) - 1.0


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """Return (name, old, new, by how much it is worse) of the ratios that both have."""
    before, now = dict(ratios(old)), dict(ratios(new))
    return [(n, before[n], now[n], worsened(n, before[n], now[n])) for n in before if n in now]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("new", type=Path)
    parser.add_argument("--old", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    old, new = (json.loads(path.read_text()) for path in (given.old, given.new))
    if other := [k for k in KIND if old["machine"].get(k) != new["machine"].get(k)]:
        print(f"another kind of machine ({', '.join(other)} differ): nothing is compared")
        return
    rows = compare(old, new)
    for name, before, now, worse in rows:
        change = f"{100 * abs(worse):4.0f} % {'worse' if worse > 0 else 'better'}"
        print(f"{name:60} {before:8.2f} {now:8.2f} {change}{'  <<<' if worse > TOLERANCE else ''}")
    bad = [row for row in rows if row[3] > TOLERANCE]
    print(f"{len(rows)} ratios, {len(bad)} worse by more than {100 * TOLERANCE:.0f} %")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
