"""The cut flow and the histograms of seeded events; `make golden` renews them when a change is meant to move them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.selection import search, steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).with_name("cutflow.json")
CHANNELS = {
    "signal": processes.SIGNAL,
    "majorana_2nu_0700": processes.majorana(0.7, "2nu"),
    "majorana_1nu_1200": processes.majorana(1.2, "1nu"),
    "eeee": processes.BACKGROUNDS["eeee"],
    "kkpipi": processes.BACKGROUNDS["kkpipi"],
}


def measure(name):
    """Return the cut flow and the contents of every histogram that has any, of seeded events."""
    recipe = production.Recipe(processes=((CHANNELS[name], 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, name, 0, 3000, 11))
    view = SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), SELECTION, 3.0969)
    decisions = steps.apply(SECTION_III, view)
    filled = search.fill(view, decisions)
    sums = {k: int(h.sum(flow=True)) for k, h in filled.items()}
    return {"cutflow": steps.count(SECTION_III, decisions), "entries": sums}


def test_cut_flow_is_the_golden_one(renew_golden):
    found = {name: measure(name) for name in CHANNELS}
    if renew_golden:
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())
