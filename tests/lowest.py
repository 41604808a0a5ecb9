"""Run fileset, search and limits with the oldest packages that are allowed, and compare with those that are locked.

Usage: python tests/lowest.py OLDEST OURS DIRECTORY, the programs of two environments, such as .venv/bin; `make lowest`.

Accumulators have to be equal bit by bit, and so does every number of systematics, background and limits up to the order
in which a library adds: numpy's linear algebra moves the last bit.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jpsi_lnv.analysis import results

LAST_BITS = 1e-14
WRITTEN = {"systematics": "tables", "background": "channels", "limits": "limits"}


def chain(lnv: str, fileset: Path, output: Path) -> None:
    """Make all results of a fileset."""
    completed = output.with_suffix(".json")
    subprocess.run([lnv, "fileset", "complete", str(fileset), "--output", str(completed)], check=True)
    subprocess.run([lnv, "run", str(completed), "--executor", "iterative", "--output", str(output)], check=True)
    for command in WRITTEN:
        subprocess.run([lnv, command, "--output", str(output)], check=True)


def differences(one: Any, other: Any, place: str) -> Iterator[str]:
    """Yield where two contents of JSON differ by more than the last bits."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}/{i}")
    elif one != other and not (
        isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=LAST_BITS)
    ):
        yield f"{place}: {one!r} and {other!r}"


def of_accumulators(one: Path, other: Path) -> Iterator[str]:
    """Yield the selections of two results in which anything differs."""
    ours, theirs = (results.read(directory / "accumulator.zip").datasets for directory in (one, other))
    for name in sorted({*ours, *theirs}):
        if name not in ours or name not in theirs or ours[name].selections.keys() != theirs[name].selections.keys():
            yield f"{name}: only in one, or with other selections"
            continue
        for selection, a in ours[name].selections.items():
            b = theirs[name].selections[selection]
            same = (a.cutflow, a.status, a.histograms) == (b.cutflow, b.status, b.histograms)
            if not same or a.candidates.keys() != b.candidates.keys():
                yield f"{name}, {selection}"
            elif bad := [c for c, values in a.candidates.items() if not equal(values, b.candidates[c])]:
                yield f"{name}, {selection}: columns {bad}"


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two columns are equal bit by bit."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def main(oldest: str, ours: str, directory: str) -> int:
    """Run both, print what differs, and return whether anything does."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run([f"{ours}/lnv", "simulate", "--set", "ci", "--output", str(place), "--if-missing"], check=True)
    outputs = [place / "oldest", place / "ours"]
    for programs, output in zip((oldest, ours), outputs, strict=True):
        chain(f"{programs}/lnv", place / "ci" / "fileset.json", output)
    found = list(of_accumulators(*outputs))
    for name, key in WRITTEN.items():
        found += differences(*(json.loads((o / f"{name}.json").read_text())[key] for o in outputs), name)
    print("\n".join(found) or "the oldest packages give the same result")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
