"""Decay chains: written, read, conjugated and counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from coffea.nanoevents import NanoEventsFactory
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import topology
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult, read, write
from jpsi_lnv.analysis.selection.topology import chain
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.commands import topology as command
from jpsi_lnv.processors.search import SearchProcessor

pytestmark = pytest.mark.fast

SIGNAL = "443(321,321,11,11)"


def test_chain_of_a_cascade():
    codes = [443, 321, -321, 111, 22, 11, -11]
    mothers = [-1, 0, 0, 0, 3, 3, 3]
    text = chain(codes, mothers)
    assert text == "443(321,-321,111(22,11,-11))"
    assert topology.describe(text) == "J/psi(1S) -> K+ K- (pi0 -> gamma e- e+)"


@given(st.permutations([321, -321, 211, -211, 22]))
def test_the_order_of_the_daughters_does_not_matter(codes):
    assert chain([443, *codes], [-1, 0, 0, 0, 0, 0]) == "443(321,-321,211,-211,22)"


def test_particles_beside_the_decay_are_left_out():
    assert chain([11, 443, 11, -11], [-1, -1, 1, 1]) == "443(11,-11)"


def test_conjugation():
    assert topology.conjugate(SIGNAL) == "443(-321,-321,-11,-11)"
    assert topology.conjugate(topology.conjugate(SIGNAL)) == SIGNAL
    own = "443(333(321,-321),221(22,22))"
    assert topology.conjugate(own) == own


def test_conjugates_are_counted_together():
    counts = Counter({SIGNAL: 3, topology.conjugate(SIGNAL): 5, "443(11,-11)": 1})
    merged = topology.merge_conjugates(counts)
    assert merged == {topology.conjugate(SIGNAL): 8, "443(11,-11)": 1}
    assert sum(merged.values()) == sum(counts.values())


def test_unknown_codes_keep_their_number():
    assert topology.describe("443(9910012(321,11),99999999)").endswith("(nu_M -> K+ e-) 99999999")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "signal", 0, 2000, 9))
    path = tmp_path_factory.mktemp("topology") / "signal.root"
    with NtupleWriter(path) as writer:
        writer.extend(block)
    metadata = {"dataset": "d", "kind": "signal", "sqrt_s": M_JPSI, "selections": ["topology"]}
    events = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, metadata=metadata).events()
    return SearchProcessor().process(events)["d"]["topology"]


@pytest.fixture
def results(stored):
    rows = stored["candidates"].columns
    selection = SelectionResult(stored["cutflow"], {}, {}, rows)
    metadata = DatasetMetadata(kind="signal", sqrt_s=M_JPSI)
    return Results({"d": DatasetResult(metadata, 2000, 2000, {"topology": selection})}, {}, {"complete": True})


def test_selected_signal_is_signal(results):
    counts = topology.count(results)["d"]
    assert sum(counts.values()) > 200
    assert all(text.startswith(("443(321,321,", "443(-321,-321,", "443(22", "443(321", "443(-321")) for text in counts)
    kaons = {text.count("321") for text in counts}
    assert kaons == {2}


def test_events_that_fail_one_step_only(results):
    for step in command.DECIDED_ON_CANDIDATES:
        assert sum(topology.count(results, step)["d"].values()) >= 0
    assert sum(topology.count(results, "chi2_4c")["d"].values()) > 10


def test_no_topology_is_named():
    with pytest.raises(ResultsError, match="selection 'topology'"):
        topology.count(Results({}, {}, {}))


def test_the_command_writes_table_and_csv(results, tmp_path):
    write(tmp_path / "accumulator.zip", results)
    read(tmp_path / "accumulator.zip")
    done = CliRunner().invoke(command.command, ["--output", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    lines = (tmp_path / "topology.csv").read_text().splitlines()
    assert lines[0] == "dataset,chain,n,share"
    assert "J/psi(1S) -> " in lines[1]
    done = CliRunner().invoke(command.command, ["--output", str(tmp_path), "--all-but", "chi2_4c"])
    assert done.exit_code == 0


def test_stored_columns_have_one_row_per_event(stored):
    lengths = {len(column) for column in stored["candidates"].columns.values()}
    assert lengths == {stored["cutflow"]["stored"]}
    assert np.isin(stored["candidates"].columns["failed"], [topology.PASSED, *command.DECIDED_ON_CANDIDATES]).all()


@pytest.mark.parametrize(
    ("chain", "state"),
    [
        ("443(321,-321,211,-211)", "K+ K- pi+ pi-"),
        ("443(333(321,-321),211,-211,22)", "K+ K- pi+ pi-"),
        ("443(321,-323(-321,111(22,22)))", "K+ K- pi0"),
        ("443(-321,323(321,111(22,22(11,-11))))", "K+ K- pi0"),
        ("443(310(211,-211),321,-211)", "K+ K(S)0 pi-"),
        ("443(310(211,-211),-321,211)", "K+ K(S)0 pi-"),
    ],
)
def test_the_final_state_is_the_same_through_every_resonance_and_for_both_charges(chain, state):
    assert topology.final_state(chain) == state
