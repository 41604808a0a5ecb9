"""Events in the box leave no trace: not in any output, and not in any difference of outputs."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from blocks import concatenate
from click.testing import CliRunner
from coffea.util import coffea_console

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import Block, NtupleWriter, make_block
from jpsi_lnv.analysis.limits import gather
from jpsi_lnv.analysis.selection import blinding, steps
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, STAGES, apply
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
    block = simulate(processes.BACKGROUNDS["kkpipi"], 300)
    # Numbers of events that the signal's, recorded in the same runs, do not have.
    return dataclasses.replace(block, values=block.values | {"event": block.values["event"] + 10_000})


def view_of(block, cuts=SELECTION, sqrt_s=SQRT_S):
    return SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, sqrt_s)


def flow_of(block):
    """Return the cut flow of a chunk of blind data."""
    chunk = Chunk(ArrayColumns(block.values, block.offsets, block.n_events), "data", BLIND, SELECTION)
    return chunk.cut_flow(SECTION_III, chunk.decisions)


def hidden_of(view, metadata=BLIND, box=SELECTION):
    return blinding.is_hidden(view, "data", metadata, box)


def test_signal_lies_in_the_box_and_data_hide_it(signal_block):
    view = view_of(signal_block)
    assert blinding.in_box(view).mean() > 0.1
    np.testing.assert_array_equal(hidden_of(view), blinding.in_box(view))
    assert not hidden_of(view, dataclasses.replace(BLIND, blind=False)).any()


@pytest.mark.parametrize("changed", [{"chi2_4c_max": 1e-6}, {"m_signal_max": 3.0701}, {"conversion_m_ee_max": 9.0}])
def test_free_cuts_do_not_move_the_box(signal_block, changed):
    free = view_of(signal_block, dataclasses.replace(SELECTION, **changed))
    np.testing.assert_array_equal(hidden_of(free), blinding.in_box(view_of(signal_block)))


def test_a_mass_at_an_edge_of_the_box_is_in_it(signal_block):
    view = view_of(signal_block)
    event = view.combinations[1]
    mass = view.mass * (view.sqrt_s / view.columns.scalar("sqrt_s").astype(np.float64)[event])
    order = np.argsort(mass)
    for first, last in (order[10:12], order[20:22]):
        box = dataclasses.replace(SELECTION, m_signal_min=float(mass[first]), m_signal_max=float(mass[last]))
        assert blinding.in_box(view, box)[event[[first, last]]].all()


def test_free_cuts_leave_the_counting_steps_untouched(signal_block):
    """Whatever they are, which candidates there are and every step before the fit stay the same."""
    rng = np.random.default_rng(3)
    before = [step for step in SECTION_III if step.name not in STAGES]
    plain = view_of(signal_block)
    wanted = apply(before, plain)
    for _ in range(20):
        free = view_of(signal_block, dataclasses.replace(SELECTION, **draw_free(rng)))
        np.testing.assert_array_equal(apply(before, free), wanted)
        np.testing.assert_array_equal(free.combinations[0], plain.combinations[0])


def draw_free(rng):
    """Return random values of every requirement that may differ on blind data."""
    words = {"permutations": ("one", "all"), "conversion_partners": ("all", "not_kaons")}
    numbers = {n: getattr(SELECTION, n) * float(rng.uniform(0.2, 3.0)) for n in sorted(blinding.FREE - words.keys())}
    for low in (name for name in numbers if name.endswith("_min")):
        both = (low, low.replace("_min", "_max"))
        numbers |= dict(zip(both, sorted(numbers[name] for name in both), strict=True))
    return numbers | {name: str(rng.choice(values)) for name, values in words.items()}


@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(SELECTION) if f.name not in {*blinding.FREE, "intermediates"}]
)
def test_every_other_cut_is_refused_by_name(signal_block, name):
    value = getattr(SELECTION, name)
    words = {
        "final_state": "pi+ pi+ e- e-",
        "alternatives": "K+ K- pi+ pi-",
        "missing": "nu(e)",
        "intermediates": "eta: k1 e1 0.5 0.6",
        "pid_tof": "tof12e",
        "pid_identify": "e mu pi k p",
        "track_helix": "mdc",
        "vertex_fit": "free",
        "fit_limits": "boss",
    }
    other = words.get(name) or (not value if isinstance(value, bool) else value + (1 if type(value) is int else 1e-3))
    beside = {"alternatives": ""} if name == "intermediates" else {}
    changed = dataclasses.replace(SELECTION, **beside, **{name: other})
    with pytest.raises(BlindingError, match=rf"'data' is blind: (alternatives .*, )?{name} "):
        hidden_of(view_of(signal_block, changed))
    if name not in {"pid_muc", "pid_tof", "track_helix"}:  # without network, TOF records and helices of the MDC
        hidden_of(view_of(signal_block, changed), box=changed)  # frozen like this, it is no other
    with pytest.raises(BlindingError, match=name):
        hidden_of(view_of(signal_block), box=changed)


def test_the_box_moves_with_the_energy_of_the_file():
    of_continuum = processes.Node(VIRTUAL_PHOTON, processes.leaves(KAON, KAON, ELECTRON, ELECTRON))
    block = simulate(processes.Process("e+ e- -> K+ K+ e- e-", of_continuum), 800, sqrt_s=3.65)
    of_fileset = [blinding.in_box(view_of(block, sqrt_s=energy)) for energy in (3.65, SQRT_S, 3.0)]
    assert of_fileset[0].mean() > 0.1
    np.testing.assert_array_equal(of_fileset[0], of_fileset[1])
    np.testing.assert_array_equal(of_fileset[0], of_fileset[2])


@pytest.mark.parametrize("sqrt_s", [3.5, SQRT_S + 6e-3, SQRT_S - 6e-3])
def test_a_fileset_with_another_energy_is_refused(signal_block, sqrt_s):
    with pytest.raises(FilesetError, match=r"got sqrt_s 3\.\d+ GeV from the fileset, its file has 3\.0969 GeV"):
        hidden_of(view_of(signal_block, sqrt_s=sqrt_s), dataclasses.replace(BLIND, sqrt_s=sqrt_s))


@pytest.mark.parametrize("recorded", [np.nan, np.inf, 0.0])
def test_an_energy_that_is_none_is_refused(signal_block, recorded):
    values = signal_block.values | {"sqrt_s": signal_block.values["sqrt_s"].copy()}
    values["sqrt_s"][-1] = recorded
    with pytest.raises(FilesetError, match="mend the fileset"):
        hidden_of(view_of(dataclasses.replace(signal_block, values=values)))


RECORDED = {"sqrt_s": SQRT_S, "is_simulation": False, "calibration": "simulated"}
DISGUISES = [
    {"kind": "data", "blind": False},
    {"kind": "continuum", "luminosity": 1.0, "blind": False},
    {"kind": "control"},
    {"kind": "inclusive", "is_simulation": True},
    {"kind": "signal", "is_simulation": True},
]


@pytest.mark.parametrize("disguise", DISGUISES)
def test_recorded_events_are_blind_whatever_the_fileset_calls_them(signal_block, disguise):
    view = view_of(signal_block)
    with pytest.raises(FilesetError, match=r"open_reason"):
        hidden_of(view, DatasetMetadata.from_dict("data", RECORDED | disguise))
    reason = {"open_reason": "a sample that was published before"}
    assert not hidden_of(view, DatasetMetadata.from_dict("data", RECORDED | disguise | reason)).any()
    with pytest.raises(FilesetError, match="wanted a reason in words"):
        DatasetMetadata.from_dict("data", RECORDED | disguise | {"open_reason": "why not"})


def test_the_first_run_is_recorded_already():
    shown = DatasetMetadata.from_dict("data", RECORDED | DISGUISES[0])
    with pytest.raises(FilesetError, match="run 1 holds recorded events"):
        blinding.require_reason(1, "data", shown)
    blinding.require_reason(0, "data", shown)


def test_pseudo_data_stay_as_declared(signal_block):
    pseudo_data = {"kind": "data", "sqrt_s": SQRT_S, "is_simulation": True}
    assert hidden_of(view_of(signal_block), DatasetMetadata.from_dict("data", pseudo_data)).any()
    shown = DatasetMetadata.from_dict("data", pseudo_data | {"blind": False})
    assert not hidden_of(view_of(signal_block), shown).any()


def test_simulation_has_negative_runs(signal_block):
    values = signal_block.values | {"run": -signal_block.values["run"]}
    view = view_of(dataclasses.replace(signal_block, values=values))
    assert not hidden_of(view, DatasetMetadata(kind="signal", sqrt_s=SQRT_S)).any()


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
        "data",
        {
            "kind": "data",
            "is_simulation": False,
            "calibration": "simulated",
            "sqrt_s": SQRT_S,
            "selections": SELECTIONS,
        },
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
        stored = results.load(io.BytesIO(path.read_bytes().partition(b"\n")[2]))
        counted += stored.datasets["data"].selections["search"].cutflow["electrons"]
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


class Watched(ArrayColumns):
    """Columns that know which of them were read."""

    def _get(self, key):
        self.__dict__.setdefault("read", set()).add(key)
        return super()._get(key)


@pytest.mark.parametrize("vertex_fit", ["none", "free", "beam"])
def test_whatever_is_fitted_its_columns_are_read_of_chunks_without_a_candidate_too(signal_block, vertex_fit):
    cuts = dataclasses.replace(SELECTION, vertex_fit=vertex_fit)
    has_candidate = view_of(signal_block).has_candidate
    read = []
    for block in (signal_block.select(has_candidate), signal_block.select(~has_candidate)):
        spread = {f"ip_sigma_{axis}": np.full(block.n_events, 0.05) for axis in "xyz"}
        columns = Watched(block.values | spread, block.offsets, block.n_events)
        view = SearchEvents(columns, cuts, SQRT_S)
        hidden_of(view, box=cuts)
        view.best  # noqa: B018 what it reads is looked at
        read.append(columns.read)
    assert read[0] == read[1]


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
    assert gather._observed(opened, gather.Choices().survivors(None))[0] > 0
    record = json.loads(frozen.read_text())
    frozen.write_text(json.dumps(record | {"cuts": record["cuts"] | {"chi2_4c_max": 99.0}}))
    with pytest.raises(BlindingError, match="was changed after it was written"):
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
