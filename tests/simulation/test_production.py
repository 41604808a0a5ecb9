"""Blocks: reproducible, independent of everything but seed, dataset and number; columns as the table wants them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.events.ntuple_writer import make_block as check
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.samplesets import pseudo_data

pytestmark = pytest.mark.fast
SIGNAL = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)


def flat(columns):
    return {name: given[1] if isinstance(given, tuple) else given for name, given in columns.items()}


def make(recipe=SIGNAL, dataset="signal", block=0, n=300, seed=1):
    return flat(production.make_block(recipe, dataset, block, n, seed))


def test_the_same_block_is_the_same():
    one, two = make(), make()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("changes", [{"dataset": "other"}, {"block": 1}, {"seed": 2}])
def test_seed_dataset_and_block_change_it(changes):
    assert not np.array_equal(make()["run"], make(**changes)["run"])


def test_events_are_numbered_across_blocks():
    first, second = make(n=production.BLOCK_EVENTS)["event"], make(block=1)["event"]
    assert first[0] == 1
    assert second[0] == first[-1] + 1


def test_columns_are_those_of_the_table_and_finite():
    block = check(production.make_block(SIGNAL, "signal", 0, 2000, 1))
    assert block.n_events == 2000
    assert {"Track", "Shower", "Gen"} == set(block.offsets)
    assert all(np.isfinite(values).all() for values in block.values.values())


def test_tracks_point_at_what_they_come_from():
    block = check(production.make_block(SIGNAL, "signal", 0, 2000, 1))
    event = np.repeat(np.arange(2000), np.diff(block.offsets["Track"]))
    rows = block.offsets["Gen"][event] + block.values["Track_gen"]
    assert np.all(rows < block.offsets["Gen"][event + 1])
    code = block.values["Gen_pdg_id"][rows]
    charge = np.where(np.isin(np.abs(code), (11, 13)), -np.sign(code), np.sign(code))
    np.testing.assert_array_equal(charge, block.values["Track_charge"])


def test_mothers_stand_before_their_daughters():
    block = check(production.make_block(SIGNAL, "signal", 0, 2000, 1))
    offsets = block.offsets["Gen"]
    event = np.repeat(np.arange(2000), np.diff(offsets))
    assert np.all(block.values["Gen_mother"] < np.arange(offsets[-1]) - offsets[event])


def test_pseudo_data_look_like_data():
    recipe = pseudo_data(10_000).recipe
    block = production.make_block(recipe, "pseudo_data", 0, 400, 1)
    assert not any(name.startswith("Gen") for name in block)
    assert "Track_gen" not in block
    assert np.all(block["run"] > 0)
    assert np.all(make()["run"] < 0)


def test_a_mixture_has_its_shares():
    two = ((processes.CONTROLS["ee"], 3.0), (processes.BACKGROUNDS["kkpipi"], 1.0))
    recipe = dataclasses.replace(SIGNAL, processes=two)
    codes = production.make_block(recipe, "mixture", 0, 4000, 1)["Gen_pdg_id"]
    event = np.repeat(np.arange(4000), np.diff(codes[0]))
    has_kaon = np.bincount(event, weights=np.abs(codes[1]) == 321, minlength=4000) > 0
    assert has_kaon.mean() == pytest.approx(0.25, abs=0.03)


def test_block_sizes_add_up():
    for n in (1, production.BLOCK_EVENTS, production.BLOCK_EVENTS + 1, 100_000):
        sizes = [production.block_size(n, b) for b in range(production.n_blocks(n))]
        assert sum(sizes) == n
        assert all(s == production.BLOCK_EVENTS for s in sizes[:-1])


def test_one_event_can_be_made():
    assert len(make(n=1)["run"]) == 1
