"""Events in the box leave no trace: not in any output, and not in any difference of outputs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cloudpickle
import lz4.frame
import numpy as np
import pytest
from click.testing import CliRunner
from coffea.util import coffea_console

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import Block, NtupleWriter, concatenate, make_block
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.selection import blinding, steps
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, VIRTUAL_PHOTON
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.unblinding import BlindingError, freeze
from jpsi_lnv.processors.commands import run as run_command
from jpsi_lnv.processors.run import RunOptions, finish, process
from jpsi_lnv.processors.search import SearchProcessor
from jpsi_lnv.processors.work.executors import IterativeExecutor

pytestmark = pytest.mark.fast

SQRT_S = 3.0969
SELECTIONS = ["search", "control_ee", "control_kkpi0", "control_ppbarpipi"]
BLIND = DatasetMetadata(kind="data", sqrt_s=SQRT_S)
PLANTED = (0, 1, 40)


def simulate(channel, n_events, sqrt_s=SQRT_S):
    recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=sqrt_s, has_truth=False)
    return make_block(production.make_block(recipe, channel.reaction, 0, n_events, 20))


@pytest.fixture(scope="module")
def signal_block():
    return simulate(processes.SIGNAL, 1500)


@pytest.fixture(scope="module")
def other_block():
    return simulate(processes.BACKGROUNDS["kkpipi"], 300)


def view_of(block, cuts=SELECTION, sqrt_s=SQRT_S):
    return SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, sqrt_s)


def flow_of(block):
    """Return the cut flow of a chunk of blind data."""
    chunk = Chunk(ArrayColumns(block.values, block.offsets, block.n_events), BLIND, SELECTION)
    return chunk.cut_flow(SECTION_III, chunk.decisions)


def test_signal_lies_in_the_box_and_data_hide_it(signal_block):
    view = view_of(signal_block)
    assert blinding.in_box(view).mean() > 0.1
    np.testing.assert_array_equal(blinding.is_visible(view, BLIND), ~blinding.in_box(view))
    assert blinding.is_visible(view, dataclasses.replace(BLIND, blind=False)).all()
    assert blinding.is_visible(view, DatasetMetadata(kind="signal", sqrt_s=SQRT_S)).all()


def test_the_box_ignores_chi2(signal_block):
    tight = view_of(signal_block, dataclasses.replace(SELECTION, chi2_4c_max=1e-6))
    np.testing.assert_array_equal(blinding.in_box(tight), blinding.in_box(view_of(signal_block)))


def test_the_box_moves_with_the_energy():
    of_continuum = processes.Node(VIRTUAL_PHOTON, processes.leaves(KAON, KAON, ELECTRON, ELECTRON))
    block = simulate(processes.Process("e+ e- -> K+ K+ e- e-", of_continuum), 800, sqrt_s=3.65)
    assert blinding.in_box(view_of(block, sqrt_s=3.65)).mean() > 0.1
    assert blinding.in_box(view_of(block)).mean() < 0.01


@pytest.mark.parametrize(
    "changed", [{"m_kkee_max": 3.0701}, {"e_over_p_electron_min": 1.19}, {"cl_e_ratio_min": 1.0}, {"chi2_4c_max": 1.0}]
)
def test_other_cuts_do_not_open_the_box(signal_block, changed):
    hidden = blinding.in_box(view_of(signal_block))
    seen = blinding.is_visible(view_of(signal_block, dataclasses.replace(SELECTION, **changed)), BLIND)
    assert not (seen & hidden).any()


def test_looser_cuts_hide_more(signal_block):
    wide = view_of(signal_block, dataclasses.replace(SELECTION, m_kkee_min=2.0, m_kkee_max=4.0))
    assert blinding.is_visible(wide, BLIND).sum() < blinding.is_visible(view_of(signal_block), BLIND).sum()


def test_a_chunk_with_hidden_events_counts_as_the_chunk_without_them(signal_block):
    view = view_of(signal_block)
    seen = ~blinding.in_box(view)
    whole, alone = (flow_of(block) for block in (signal_block, signal_block.select(seen)))
    assert without_all(whole) == without_all(alone)


# Steps of the selections before the one at which hidden events leave.
EARLY = ("good_tracks", "four_tracks_zero_charge", "confidence_levels", "four_tracks")


def without_all(flow):
    """Return what can be computed from a cut flow: what early steps reject, and what passes later ones."""
    rejected = {k: flow[steps.ALL_EVENTS] - flow[k] for k in EARLY if k in flow}
    return rejected | {k: v for k, v in flow.items() if k not in (*EARLY, steps.ALL_EVENTS)}


def write_fileset(directory: Path, name: str, block: Block) -> Path:
    """Write one data file and its completed fileset."""
    path = directory / f"{name}.root"
    with NtupleWriter(path) as writer:
        writer.extend(block)
        writer.add_source(n_produced=block.n_events, n_stored=block.n_events)
    file = verify.describe(str(path))
    metadata = DatasetMetadata.from_dict(
        "data", {"kind": "data", "is_simulation": False, "sqrt_s": SQRT_S, "selections": SELECTIONS}
    )
    target = directory / f"{name}.json"
    target.write_text(json.dumps(filesets.to_raw({"data": filesets.Dataset("data", metadata, (file,))}, directory)))
    return target


def run(fileset: Path, output: Path) -> results.Results:
    """Run as the command does."""
    chosen = filesets.load(fileset)
    options = RunOptions(output=output, chunksize=200, cache=output / "cache.json")
    outcome = process(
        chosen, SearchProcessor(SELECTION), options, lambda stage, total, sink: IterativeExecutor(sink=sink)
    )
    finish(outcome, options)
    return results.read(output / "accumulator.zip")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def planted(signal_block, other_block, directory):
    """Results over the same visible events with 0, 1 and 40 events planted in the box."""
    hidden = np.flatnonzero(blinding.in_box(view_of(signal_block)))
    numbers = np.arange(signal_block.n_events)
    seen = ~np.isin(numbers, hidden)
    coffea_console.quiet = True
    found = {}
    for n in PLANTED:
        block = concatenate([other_block, signal_block.select(seen | np.isin(numbers, hidden[:n]))])
        found[n] = run(write_fileset(directory, f"planted_{n}", block), directory / f"out_{n}")
    coffea_console.quiet = False
    return found


@pytest.mark.parametrize("n", PLANTED[1:])
def test_no_output_depends_on_the_hidden_events(planted, n):
    """Whatever is computed from stored numbers, differences included, is the same for any number of hidden events."""
    selections, reference = (planted[k].datasets["data"].selections for k in (n, 0))
    assert selections.keys() == reference.keys() == set(SELECTIONS)
    for name, selection in selections.items():
        other = reference[name]
        assert without_all(selection.cutflow) == without_all(other.cutflow)
        assert selection.status == other.status
        assert selection.histograms.keys() == other.histograms.keys()
        for h in selection.histograms:
            np.testing.assert_array_equal(
                selection.histograms[h].values(flow=True), other.histograms[h].values(flow=True)
            )
        assert selection.candidates.keys() == other.candidates.keys()
        for column, values in selection.candidates.items():
            np.testing.assert_array_equal(values, other.candidates[column])


def test_the_number_read_is_that_of_the_files(planted):
    """It is known beforehand."""
    for n in PLANTED:
        dataset = planted[n].datasets["data"]
        assert dataset.n_events == planted[0].datasets["data"].n_events + n
        for selection in dataset.selections.values():
            assert selection.cutflow[steps.ALL_EVENTS] == dataset.n_events


def test_visible_events_are_counted(planted):
    flow = planted[40].datasets["data"].selections["search"].cutflow
    assert flow["four_tracks_zero_charge"] > 300
    assert flow["charge_pattern"] > 10
    assert flow["signal_region"] == 0


@pytest.mark.parametrize("n", PLANTED)
def test_partial_results_hide_them_too(planted, directory, n):
    parts = [p for p in (directory / f"out_{n}" / ".parts").rglob("*") if p.is_file() and p.name[0] != "."]
    assert parts
    counted = 0
    for path in parts:
        content = cloudpickle.loads(lz4.frame.decompress(path.read_bytes()))["result"]
        counted += content["search"]["cutflow"]["electrons"]
    assert counted == planted[0].datasets["data"].selections["search"].cutflow["electrons"] > 0


def test_books_and_logs_hold_numbers_of_files_alone(planted, directory):
    """The book-keeping of 40 planted events, their number taken off every count, is that of none."""
    texts = {}
    for n in PLANTED:
        books = json.loads((directory / f"out_{n}" / "bookkeeping.json").read_text())
        texts[n] = {k: v for k, v in books["totals"].items() if "event" in k}
    for key, value in texts[0].items():
        assert texts[40][key] - value in {0, 40}


def test_what_was_read_does_not_tell_of_a_candidate(signal_block, other_block, directory):
    """One hidden event and no other candidate: the columns read are those of a run without it."""
    plain = ~view_of(other_block).has_candidate
    hidden = np.flatnonzero(blinding.in_box(view_of(signal_block)))[:1]
    one = signal_block.select(np.isin(np.arange(signal_block.n_events), hidden))
    columns = []
    for name, block in (
        ("without", other_block.select(plain)),
        ("with", concatenate([other_block.select(plain), one])),
    ):
        run(write_fileset(directory, name, block), directory / name)
        columns.append(json.loads((directory / name / "bookkeeping.json").read_text())["totals"]["columns_read"])
    assert columns[0] == columns[1]


def test_the_box_opens_for_the_frozen_cuts_and_a_reason(planted, directory):
    frozen, output = directory / "frozen.json", directory / "opened"
    freeze(SELECTION, frozen)
    arguments = [str(directory / "planted_40.json"), "--executor", "iterative", "--output", str(output)]
    arguments += ["--unblind", "the analysis is approved", "--frozen", str(frozen)]
    CliRunner().invoke(run_command.command, arguments, catch_exceptions=False, standalone_mode=False)
    opened = results.read(output / "accumulator.zip")
    assert opened.provenance["unblinding"]["reason"] == "the analysis is approved"
    assert opened.provenance["unblinding"]["cuts_digest"] == SELECTION.digest()
    passed = opened.datasets["data"].selections["search"].cutflow["charge_pattern"]
    hidden = planted[40].datasets["data"].selections["search"].cutflow["charge_pattern"]
    assert passed == hidden + 40
    assert gather._observed(opened, None)[0] > 0
    record = json.loads(frozen.read_text())
    frozen.write_text(json.dumps(record | {"cuts": record["cuts"] | {"chi2_4c_max": 99.0}}))
    with pytest.raises(BlindingError, match="chi2_4c_max"):
        CliRunner().invoke(run_command.command, arguments, catch_exceptions=False, standalone_mode=False)


def test_blind_data_give_no_observation(planted):
    assert gather._observed(planted[40], None)[0] is None


def test_a_skim_does_not_tell_how_many_are_hidden(signal_block, other_block):
    """Of events that all pass the first steps these reject none, hidden or not."""
    both = concatenate([other_block, signal_block])
    block = both.select(view_of(both).is_retained)
    view = view_of(block)
    seen = ~blinding.in_box(view)
    flow = flow_of(block)
    assert not seen.all()
    assert flow["all"] == flow["good_tracks"] == flow["four_tracks_zero_charge"]
