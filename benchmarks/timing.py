"""Times of rivals that take turns in one run, and what is kept of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Rivals = Mapping[str, Callable[[], Any]]


def take_turns(rivals: Rivals, rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Let the rivals take turns; return the times of each in s.

    One more round goes first and does not count: it compiles, imports and fills the page cache. The garbage of a rival
    is collected before the next one starts.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
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
