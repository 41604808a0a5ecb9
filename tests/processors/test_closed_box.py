"""No pair of runs over blind data, whatever they ask for, tells how many events are in the box."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from blind_worlds import SQRT_S, World, difference, is_early, make_worlds, shifts, tell
from coffea.util import coffea_console
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import cards, results
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.errors import FilesetError
from jpsi_lnv.analysis.selection.blinding import FREE, BlindingError
from jpsi_lnv.analysis.selection.chunk import Selection
from jpsi_lnv.analysis.selection.registry import SELECTIONS
from jpsi_lnv.processors import interactive
from jpsi_lnv.processors.books import fileset as filesets

# No count of a group of chunks may be one of these by chance: 50 is that of four-track events in one of 150 events.
NUMBERS = (1, 7, 23, 59)
# Metadata that leave events blind, of any and, besides, of those with generated particles, whose runs are negative;
# and that try to show recorded ones.
BLIND = [
    {"kind": "data", "is_simulation": True},
    {"kind": "data", "is_simulation": True, "blind": True},
    {"kind": "continuum", "is_simulation": True, "luminosity": 1.0},
]
BLIND_OF = {
    False: [*BLIND, {"kind": "data", "is_simulation": False, "calibration": "simulated"}],
    True: [*BLIND, {"kind": "signal", "blind": True}],
}
DISGUISED = [
    {"kind": "signal", "blind": True},
    {"kind": "data", "is_simulation": False, "calibration": "simulated", "blind": False},
    {"kind": "continuum", "is_simulation": False, "calibration": "simulated", "luminosity": 1.0, "blind": False},
    {"kind": "control", "is_simulation": False, "calibration": "simulated"},
    {"kind": "inclusive"},
    {"kind": "signal"},
]
RECORDED = {"kind": "data", "is_simulation": False, "calibration": "simulated", "sqrt_s": SQRT_S}
# A run takes too long for a failing pair to be made small.
PAIRS = settings(deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
FIXED = [f.name for f in dataclasses.fields(SELECTION) if f.name not in FREE]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Worlds of recorded events, and of blind events with generated particles, by whether they have them."""
    directory = tmp_path_factory.mktemp("worlds")
    return {has_truth: make_worlds(directory, NUMBERS, has_truth=has_truth) for has_truth in (False, True)}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(coffea_console, "quiet", True)


def other_value(name, factor):
    value = getattr(SELECTION, name)
    if isinstance(value, str):
        words = {"permutations": "one", "conversion_partners": "not_kaons", "pid_tof": "tof12e"}
        words |= {"final_state": "pi+ pi+ e- e-", "alternatives": "K+ K- pi+ pi-", "missing": "nu(e)"}
        words |= {"intermediates": "eta: k1 e1 0.5 0.6"}
        return (
            words | {"pid_identify": "e mu pi k p", "track_helix": "mdc", "vertex_fit": "free", "fit_limits": "boss"}
        )[name]
    if isinstance(value, bool):
        return not value
    return value - 1 if isinstance(value, int) else value * factor


cuts = st.builds(
    lambda names, factor: {name: other_value(name, factor) for name in names},
    st.one_of(
        st.sets(st.sampled_from(sorted(FREE)), max_size=4),
        st.sets(st.sampled_from(sorted(FREE)), max_size=4),
        st.sets(st.sampled_from([*sorted(FREE), *FIXED]), max_size=4),
    ),
    st.sampled_from([0.3, 0.9, 0.99, 1.01, 1.3, 5.0]),
)
selections = st.lists(st.sampled_from(sorted(SELECTIONS)), min_size=1, unique=True)
energies = st.sampled_from([SQRT_S] * 14 + [SQRT_S + 1e-3, SQRT_S - 4e-3, 3.5, 3.08])


@st.composite
def questions(draw, has_truth):
    """Return the metadata and options of a run."""
    metadata = draw(st.sampled_from(BLIND_OF[True] if has_truth else BLIND_OF[False] * 5 + DISGUISED))
    asked = {"sqrt_s": draw(energies), "selections": draw(selections)}
    try:
        changed = dataclasses.replace(SELECTION, **draw(cuts))
    except ValueError:  # requirements that exclude each other cannot be asked for
        reject()
    limits = {"chunksize": draw(st.integers(150, 900)), "max_chunks": draw(st.none() | st.integers(1, 3))}
    return metadata | asked, {"cuts": changed, **limits}


def ask(world: World, question) -> list[dict]:
    """Return what a run over each of the two files tells."""
    told = []
    for file in (world.with_hidden, world.without):
        with TemporaryDirectory() as output:
            told.append(tell(file, question[0], Path(output), **question[1]))
    return told


def check_run(world: World, question) -> list[dict]:
    """Nothing but the early steps differs, all of them in one way, by no more than there are hidden events."""
    told, without = ask(world, question)
    assert difference(told, without) == []
    ends = {name: by for name, by in shifts(told, without).items() if name.startswith("/results")}
    assert len(set(ends.values())) <= 1
    assert set(ends.values()) <= set(range(world.n_hidden + 1))
    return [told, without]


def counts(told: dict) -> dict[str, int]:
    """Return every count that a run tells, and every difference of one step of a cut flow and the next."""
    found = {name: v for name, v in told.items() if isinstance(v, (int, np.integer)) and not name.startswith("/steps")}
    integers = {name: v for name, v in told.items() if isinstance(v, np.ndarray) and v.dtype.kind in "iu"}
    found |= {f"{name}/total": int(v.sum()) for name, v in integers.items()}
    flows = [name for name in found if "/results" in name and "/cutflow/" in name]
    steps = {
        f"{a} - {b}": found[a] - found[b]
        for a, b in itertools.pairwise(flows)
        if a.rpartition("/")[0] == b.rpartition("/")[0]
    }
    return found | steps


def check_pair(world: World, pair) -> None:
    """No count of either run, and no difference of two that are called the same, is the number of hidden events."""
    (told, without), (told_too, without_too) = (check_run(world, question) for question in pair)
    if any(question[1]["max_chunks"] for question in pair) or not told.keys() & told_too.keys() & {"/results/keys"}:
        return
    first, second, first_without, second_without = map(counts, (told, told_too, without, without_too))
    for name in first.keys() & second.keys():
        for got, reference in (
            (first[name], first_without[name]),
            (second[name], second_without[name]),
            (first[name] - second[name], first_without[name] - second_without[name]),
        ):
            assert got == reference or abs(got) != world.n_hidden, name
            assert abs(got - reference) <= world.n_hidden, name


def draw_pair(worlds, data):
    has_truth = data.draw(st.booleans(), "has truth")
    world = data.draw(st.sampled_from(worlds[has_truth]), "world")
    return world, [data.draw(questions(has_truth), "question") for _ in range(2)]


@pytest.mark.timeout(1800)
@settings(PAIRS, max_examples=200, derandomize=True)
@given(data=st.data())
def test_two_hundred_pairs_of_runs(worlds, data):
    check_pair(*draw_pair(worlds, data))


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(1, 11))
@settings(PAIRS, max_examples=500)
@given(data=st.data())
def test_five_thousand_pairs_of_runs(worlds, part, data):
    """An hour of a processor: each part draws at random, and tells when it is done."""
    check_pair(*draw_pair(worlds, data))


NEUTRINO = {"final_state": "K+ pi+ pi- e-", "alternatives": "", "missing": "nu(e)", "m_signal_min": 3.0}
OTHERS = {name: cards.read(name).cuts for name in cards.names() if name != cards.DEFAULT} | {
    "neutrino": dataclasses.replace(SELECTION, **NEUTRINO)
}


@pytest.fixture(scope="module", params=OTHERS)
def other_world(request, tmp_path_factory):
    """The requirements of another decay, and worlds whose hidden events are in its box."""
    own = OTHERS[request.param]
    return own, make_worlds(tmp_path_factory.mktemp("other"), (7, 23), has_truth=False, cuts=own)


@pytest.mark.timeout(600)
@settings(PAIRS, max_examples=2, derandomize=True)
@given(data=st.data())
def test_the_box_of_another_decay_is_closed_as_well(other_world, data):
    """With free requirements drawn, and whatever selections run beside the search."""
    own, worlds = other_world
    free = sorted(FREE & {"permutations", "chi2_4c_max", "conversion_delta_xy_max", "m_signal_max"})
    names = data.draw(st.sets(st.sampled_from(free)))
    words = {"permutations": "one", "chi2_4c_max": 150.0, "conversion_delta_xy_max": 5.0, "m_signal_max": 3.25}
    changed = dataclasses.replace(own, **{name: words[name] for name in names})
    chosen = data.draw(st.sets(st.sampled_from(["control_ee", "control_kkpi0", "variations"]), max_size=2))
    asked = RECORDED | {"selections": ["search", *sorted(chosen)]}
    told, _ = check_run(data.draw(st.sampled_from(worlds)), (asked, {"cuts": changed, "box": own, "chunksize": 150}))
    assert told["/books/complete"] is True
    assert "/results/d/selections/search/cutflow/charge_pattern" in told


def test_another_decay_than_that_of_the_box_is_refused_on_blind_data(other_world):
    """Box and decay go together: neither is another decay searched for under a box, nor this one under another's."""
    own, worlds = other_world
    for cuts, box in ((own, SELECTION), (SELECTION, own)):
        told = check_run(worlds[0], (RECORDED | {"selections": ["search"]}, {"cuts": cuts, "box": box}))[0]
        assert told["/error"].startswith("dataset 'd' is blind: ")
        assert "would tell what the box hides" in told["/error"]


@pytest.mark.parametrize("has_truth", [False, True])
def test_every_selection_runs_on_what_may_be_seen(worlds, has_truth, tmp_path):
    """Control samples, topology and misid maps too; those that need them with the generated particles."""
    names = [name for name in SELECTIONS if has_truth or name not in {"misid", "topology"}]
    told = tell(
        worlds[has_truth][-1].with_hidden,
        RECORDED | {"is_simulation": has_truth, "selections": names},
        tmp_path,
    )
    flows = {name: v for name, v in told.items() if name.startswith("/results/d/selections/") and "/cutflow/" in name}
    assert told["/books/problems/length"] == 0
    assert flows["/results/d/selections/control_ee/cutflow/probe_identified"] > 10
    assert flows["/results/d/selections/control_ppbarpipi/cutflow/chi2_4c"] > 10
    assert flows["/results/d/selections/search_dedx_up/cutflow/electrons"] > 10
    if has_truth:
        assert told["/results/d/selections/misid/histograms/roles"].sum() > 500
        assert flows["/results/d/selections/topology/cutflow/stored"] > 0


def test_an_opened_run_is_the_blind_one_and_the_box(worlds, tmp_path):
    """To the event: what is hidden is counted in the opened run where it belongs, and nothing else changes."""
    world = worlds[False][-1]
    asked = {
        "kind": "data",
        "is_simulation": False,
        "calibration": "simulated",
        "sqrt_s": SQRT_S,
        "selections": ["search", "control_ee", "control_ppbarpipi"],
    }
    shown = {"blind": False, "open_reason": "it is a test of the box"}
    blind, opened = (tell(world.with_hidden, asked | extra, tmp_path / str(len(extra))) for extra in ({}, shown))
    without = tell(world.without, asked | shown, tmp_path / "without")
    names = [name for name in blind if name.startswith("/results/d/selections/") and not name.endswith("keys")]
    assert {"m_kkee", "electrons"} <= {name.rpartition("/")[2] for name in names}
    for name in names:
        value = blind[name]
        if is_early(name):
            assert value == opened[name]
        elif isinstance(value, np.ndarray) and "/candidates/" in name:
            assert len(opened[name]) - len(value) == len(opened[name]) - len(without[name]) >= 0
        elif isinstance(value, (int, np.ndarray)):
            np.testing.assert_array_equal(np.asarray(opened[name]) - value, np.asarray(opened[name]) - without[name])
            assert (np.asarray(opened[name]) >= value).all()
    passed = "/results/d/selections/search/cutflow/charge_pattern"
    assert opened[passed] == blind[passed] + world.n_hidden


def write_fileset(world: World, directory: Path, **metadata) -> Path:
    declared = filesets.DatasetMetadata.from_dict("data", RECORDED | metadata)
    target = directory / "fileset.json"
    dataset = filesets.Dataset("data", declared, (world.with_hidden,))
    target.write_text(json.dumps(filesets.to_raw({"data": dataset}, directory)))
    return target


def test_the_attack_by_cuts_gives_nothing(worlds, tmp_path):
    """Without the requirement of two electrons the step at which hidden events leave would reject them alone."""
    fileset = write_fileset(worlds[False][-1], tmp_path)
    with pytest.raises(BlindingError, match=r"final_state .* -> K\+ e- would tell what the box hides"):
        interactive.run(fileset, cuts=dataclasses.replace(SELECTION, final_state="K+ e-", alternatives=""))


def test_the_attack_by_energy_gives_nothing(worlds, tmp_path):
    """The fileset is refused when it is read; where nobody reads one, the chunk is."""
    with pytest.raises(FilesetError, match=r"energy of 3\.0969 GeV; wanted 3\.5 GeV"):
        interactive.run(write_fileset(worlds[False][-1], tmp_path, sqrt_s=3.5))
    asked = {"kind": "data", "is_simulation": False, "calibration": "simulated", "sqrt_s": 3.5}
    told = tell(worlds[False][-1].with_hidden, asked, tmp_path / "r")
    assert told["/books/complete"] is False
    assert told["/books/failed_chunks/length"] == 1
    assert "energy of 3.0969 GeV; wanted 3.5 GeV" in told["/books/failed_chunks/0/message"]
    assert not [name for name in told if "/cutflow/" in name]


def test_the_events_as_they_are_are_not_for_a_notebook(worlds, tmp_path):
    fileset = write_fileset(worlds[False][-1], tmp_path)
    with pytest.raises(BlindingError, match="'data' is blind"):
        interactive.open_events(fileset, "data")


def test_an_error_of_a_selection_does_not_tell_what_it_saw(worlds, tmp_path, monkeypatch):
    """Neither by its message, as numpy's about shapes would, nor by where it came from."""

    def fail(chunk):
        return {"own": {"cutflow": np.zeros(chunk.events.n_events) + np.zeros(chunk.n_read + 1)}}

    monkeypatch.setitem(SELECTIONS, "own", Selection(fail))
    asked = RECORDED | {"selections": ["own"]}
    told, without = ask(worlds[False][-1], (asked, {"chunksize": 100}))
    assert difference(told, without) == []
    message = told["/books/failed_chunks/0/message"]
    assert "selection 'own' failed with ValueError in" in message
    assert "shapes" not in message + told["/books/failed_chunks/0/traceback"]
    shown = {"blind": False, "open_reason": "it is a test of the box"}
    opened = tell(worlds[False][-1].with_hidden, asked | shown, tmp_path)
    assert "could not be broadcast" in opened["/books/failed_chunks/0/message"]


def test_a_result_says_which_box_it_was_made_with(worlds, tmp_path):
    fileset = write_fileset(worlds[False][0], tmp_path)
    assert interactive.run(fileset).provenance["box_digest"] == SELECTION.digest()


def test_a_reason_goes_into_the_result(worlds, tmp_path):
    fileset = write_fileset(worlds[False][0], tmp_path, blind=False, open_reason="published in the year before")
    found = interactive.run(fileset)
    assert found.provenance["opened"] == {"data": "published in the year before"}
    results.write(tmp_path / "accumulator.zip", found)
    stored = results.read(tmp_path / "accumulator.zip")
    assert stored.datasets["data"].metadata.open_reason == "published in the year before"
