"""Variations change what they say, share the rest, and do not depend on the chunking."""

from __future__ import annotations

import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory
from scipy import stats

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.events import columns as flat_columns
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.search import SearchProcessor

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def block():
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    return make_block(production.make_block(recipe, "signal", 0, 3000, 4))


def columns_of(block):
    return ArrayColumns(block.values, block.offsets, block.n_events)


@pytest.fixture
def columns(block):
    return columns_of(block)


def test_momentum_scale(columns):
    up = flat_columns.variations(columns)["momentum_scale_up"]
    ratio = columns.flat("Track", "kappa") / up.flat("Track", "kappa")
    np.testing.assert_allclose(ratio, 1.001, rtol=1e-6)


def test_what_is_not_varied_is_the_same_array(columns):
    for varied in flat_columns.variations(columns).values():
        assert varied.flat("Track", "tof_path") is columns.flat("Track", "tof_path")
        assert varied.scalar("run") is columns.scalar("run")
        assert varied.offsets("Track") is columns.offsets("Track")
        assert varied.has("Track", "kappa")


def test_another_model_of_the_showers_lowers_a_few_energies(columns):
    energy = columns.flat("Track", "emc_energy")
    varied = flat_columns.variations(columns)["showers"].flat("Track", "emc_energy")
    has = energy > 0
    assert np.all(varied <= energy)
    assert np.mean(varied[has] < energy[has]) == pytest.approx(flat_columns.SHOWER_SHARE, abs=0.006)
    assert np.mean(1 - varied[varied < energy] / energy[varied < energy]) == pytest.approx(0.1, abs=0.03)


def test_random_numbers_are_normal_and_independent(columns):
    a, b = flat_columns.normal(columns, 0), flat_columns.normal(columns, 1)
    assert stats.kstest(a, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.05


def test_chunks_see_the_same_numbers(block):
    whole = flat_columns.normal(columns_of(block), 2)
    cut = int(block.offsets["Track"][1234])
    parts = [flat_columns.normal(columns_of(block.cut(*ends)), 2) for ends in ((0, 1234), (1234, block.n_events))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert len(parts[0]) == cut


def open_events(path, block, **metadata):
    with NtupleWriter(path) as writer:
        writer.extend(block)
    metadata = {"dataset": "d", "kind": "signal", "sqrt_s": M_JPSI} | metadata
    return NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, metadata=metadata).events()


def test_one_pass_counts_every_variation(block, tmp_path):
    events = open_events(tmp_path / "a.root", block, selections=["search", "variations"])
    output = SearchProcessor().process(events)["d"]
    nominal = output["search"]["cutflow"]
    varied = {name: found for name, found in output.items() if name.startswith("search_")}
    assert len(varied) == 9
    for selection in varied.values():
        assert list(selection["cutflow"]) == list(nominal)
        assert selection["cutflow"]["signal_region"] == pytest.approx(nominal["signal_region"], rel=0.15)


def test_a_shift_of_the_times_moves_every_record_of_them():
    arrays = {"Track_tof_time": np.float32([3.0]), "Tof_time": np.float32([3.0, 3.2, 3.1])}
    columns = ArrayColumns(arrays, {"Track": np.array([0, 1]), "Tof": np.array([0, 3])}, 1)
    varied = flat_columns.variations(columns)["tof_up"]
    for collection, name in (("Track", "tof_time"), ("Tof", "time")):
        moved = varied.flat(collection, name) - columns.flat(collection, name)
        np.testing.assert_allclose(moved, 0.005, atol=1e-6)
