"""Groups of chunks: how many chunks make one, and how results add up.

A group is processed by one worker, one chunk after the other, and only the sum of its results travels: its messages and
its transfer are shared by all its chunks, and chunks of one file, which follow each other, find it open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from coffea.processor import accumulate

Result = dict[str, Any]

# The most chunks in a group, and the least number of groups that a run, or a thread of it, is divided into: a lost
# worker costs a group, and the last one to finish keeps all others waiting.
GROUP_MAX: Final = 20
GROUPS_MIN: Final = 32
GROUPS_PER_THREAD: Final = 4


def group_size(n_waiting: int, n_threads: int = 1) -> int:
    """Return how many of the chunks that wait make the next group: ever fewer towards the end."""
    return max(1, min(GROUP_MAX, n_waiting // max(GROUPS_MIN, GROUPS_PER_THREAD * n_threads)))


def merge(results: Iterable[Result]) -> Result:
    """Return the sum of results, as they come.

    Sums of equally many results are added, as a carry goes through binary digits, so that of N results none is copied
    much more than log2(N) times: added to the total one by one, tables of candidates are copied N times. There is one
    result at least.
    """
    sums: list[tuple[int, Result]] = []
    for result in results:
        n, total = 1, result
        while sums and sums[-1][0] == n:
            n, total = 2 * n, accumulate([sums.pop()[1], total])
        sums.append((n, total))
    totals = [total for _, total in sums]
    while len(totals) > 1:
        totals[-2:] = [accumulate(totals[-2:])]
    return totals[0]
