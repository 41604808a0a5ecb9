"""The price of the variants of the identification: the search with each of them beside the default, taking turns.

Every variant runs on the same columns, which lie in memory: what is compared is the search without the reading. The
figure ``search_over_default`` is over the whole search, ``identify_over_default`` over the identification of all
tracks, of which the search asks for few.

Run: python -m benchmarks.identification [--rounds 7] [--events 50000] [--output identification.json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import samples
from benchmarks.timing import figure, ratio, take_turns
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import PID_VARIANTS, SELECTION, Cuts
from jpsi_lnv.analysis.events.columns import ArrayColumns, Columns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.objects import pid
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, apply
from jpsi_lnv.analysis.simulation import production, raw, samplesets


def simulate(name: str, n_events: int) -> ArrayColumns:
    """Return events of a dataset with the records that the variants read."""
    recipe = (samplesets.inclusive if name == "inclusive" else lambda n: samplesets.exclusive(name, n))(n_events).recipe
    block = make_block(production.make_block(replace(recipe, keep=raw.GROUPS), name, 0, n_events, samples.SEED))
    return ArrayColumns(block.values, block.offsets, block.n_events)


def measure(columns: Columns, rounds: int) -> dict[str, Any]:
    """Return the figures of one set of events."""
    cuts = {"default": SELECTION} | {name: replace(SELECTION, **of) for name, of in PID_VARIANTS.items()}

    def search(of: Cuts) -> None:
        apply(SECTION_III, SearchEvents(columns, of, M_JPSI))

    found = {
        "search": take_turns({name: partial(search, of) for name, of in cuts.items()}, rounds),
        "identify": take_turns({name: partial(pid.identify, columns, of) for name, of in cuts.items()}, rounds),
    }
    return {
        name: {
            **{f"{part}_over_default": ratio(times[name], times["default"]) for part, times in found.items()},
            "us_per_event": figure(found["search"][name], columns.n_events, "us"),
        }
        for name in cuts
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--output", type=Path, default=Path("identification.json"))
    given = parser.parse_args()
    found = {name: measure(simulate(name, given.events), given.rounds) for name in samples.BACKGROUND_LIKE}
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(given.output.read_text())


if __name__ == "__main__":
    main()
