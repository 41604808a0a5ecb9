"""The decay chains of simulated events that the search selects, or that fail one of its steps only.

A chain is stored as PDG codes, ``443(321,-321,111(22,22))``: daughters in brackets, sorted by code, so that equal
chains are equal text. It is written from the generated particles. `analysis.topology` counts and reads chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import IntArray
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.search_events import READS
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS

PASSED: Final = "passed"
NO_MOTHER: Final = -1


def select(chunk: Chunk) -> dict[str, Found]:
    """Return run, event, failed step and chain of the chosen events; needs the generated particles.

    Raises:
        SchemaError: The file has no generated particles.
    """
    columns, decisions, names = chunk.events.columns, chunk.decisions, np.array([step.name for step in chunk.steps])
    n_failed = np.count_nonzero(~decisions, axis=0)
    chosen = np.flatnonzero(n_failed <= 1)
    failed = np.where(n_failed[chosen] == 0, PASSED, names[np.argmin(decisions[:, chosen], axis=0)])
    rows = {
        "run": columns.scalar("run")[chosen],
        "event": columns.scalar("event")[chosen],
        "failed": failed.astype(np.str_),
        "decay": np.array(chains(columns, chosen), dtype=np.str_),
    }
    return {datasets.TOPOLOGY: {"cutflow": {ALL_EVENTS: chunk.n_read, "stored": len(chosen)}, "candidates": rows}}


def chains(columns: Columns, events: IntArray) -> list[str]:
    """Return the decay chain of each of some events of a chunk.

    Args:
        columns: The chunk, with generated particles.
        events: Numbers of the events in the chunk.
    """
    offsets = columns.offsets("Gen")
    codes, mothers = columns.flat("Gen", "pdg_id"), columns.flat("Gen", "mother")
    return [
        chain(codes[offsets[i] : offsets[i + 1]].tolist(), mothers[offsets[i] : offsets[i + 1]].tolist())
        for i in events
    ]


def chain(codes: Sequence[int], mothers: Sequence[int]) -> str:
    """Return the chain of one event; of several particles without mother those that decay are shown.

    Args:
        codes: PDG code of each particle.
        mothers: Row of its mother, -1 for none.
    """
    daughters: dict[int, list[int]] = {}
    for row, mother in enumerate(mothers):
        daughters.setdefault(mother, []).append(row)

    def text(row: int) -> str:
        inner = sorted((text(d) for d in daughters.get(row, [])), key=order)
        return f"{codes[row]}({','.join(inner)})" if inner else str(codes[row])

    roots = [row for row in daughters.get(NO_MOTHER, []) if row in daughters] or daughters.get(NO_MOTHER, [])
    return ",".join(text(row) for row in roots)


def order(text: str) -> tuple[int, bool, str]:
    """Return the key by which daughters are sorted: by code, particles before antiparticles."""
    code = int(text.partition("(")[0])
    return -abs(code), code < 0, text


TOPOLOGY: Final = Selection(select, READS)
