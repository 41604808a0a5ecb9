"""Times of rivals that take turns in one run, and what is kept of them.

A virtual machine does not always get the cores that it shows: for seconds at a time two threads of it may share one,
and no counter of the system says so. Every round therefore waits until two threads that only count beat one.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

Rivals = Mapping[str, Callable[[], Any]]

# Steps of the loop that shows whether there are two cores, some 30 ms, and by how much two must beat one.
N_COUNT = 3_000_000
SPEED_UP_MIN = 1.7
# Time in s after which a round begins whatever the machine gives.
PATIENCE = 10.0


@numba.njit(nogil=True, cache=True)
def _count(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += (0.5 * i) % 3.1
    return total


def speed_up_of_counting() -> float:
    """Return how much faster two threads that only count are together than one after the other."""
    _count(1)
    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        _count(N_COUNT)
        middle = time.perf_counter()
        list(pool.map(_count, (N_COUNT, N_COUNT)))
    return 2.0 * (middle - start) / (time.perf_counter() - middle)


def settle() -> None:
    """Wait until the machine gives two cores, if it has them, or patience ends."""
    end = time.monotonic() + PATIENCE
    while (os.cpu_count() or 1) > 1 and speed_up_of_counting() < SPEED_UP_MIN:
        if time.monotonic() > end:
            print(f"the machine did not give two cores for {PATIENCE:.0f} s: measured all the same", flush=True)
            return


def take_turns(rivals: Rivals, rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Let the rivals take turns; return the times of each in s.

    One more round goes first and does not count: it compiles, imports and fills the page cache. The garbage of a rival
    is collected before the next one starts.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        settle()
        for name, run in rivals.items():
            gc.collect()
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: values[1:] for name, values in times.items()}


def figure(times: list[float], n: int = 1, unit: str = "s") -> dict[str, Any]:
    """Return minimum, median and spread (largest over smallest, less one) of times over `n` things."""
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit] / n
    low = min(times)
    median = statistics.median(times)
    return {"min": low * scale, "median": median * scale, "spread": max(times) / low - 1.0, "unit": unit}


def ratio(of: list[float], to: list[float]) -> dict[str, float]:
    """Return the ratio of two rivals: of their minima, of their medians, and the extremes of the single turns."""
    turns = [a / b for a, b in zip(of, to, strict=True)]
    return {
        "ratio": min(of) / min(to),
        "median": statistics.median(of) / statistics.median(to),
        "low": min(turns),
        "high": max(turns),
    }
