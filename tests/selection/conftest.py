"""Simulated chunks of events as flat columns."""

from __future__ import annotations

import pytest

from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.simulation import processes, production


def simulate(channel, n_events=4000, seed=7, **changes):
    """Return the columns of seeded events, as a reader would give them."""
    recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=3.0969)
    columns = production.make_block(recipe, "test", 0, n_events, seed) | changes
    block = make_block(columns)
    return ArrayColumns(block.values, block.offsets, block.n_events)


@pytest.fixture(scope="session")
def signal():
    return simulate(processes.SIGNAL)


@pytest.fixture(scope="session")
def four_electrons():
    return simulate(processes.BACKGROUNDS["eeee"])
