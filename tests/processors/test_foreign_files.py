"""Files as other programs write them: each is read as what it is, or refused in a line that says what it is."""

import json
import os
import re
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from jpsi_lnv.analysis import results
from jpsi_lnv.analysis.datasets import PHOTON_SELECTIONS
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.events.schema import BRANCHES
from jpsi_lnv.analysis.selection.registry import SELECTIONS
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.cli import lnv

N_EVENTS = 150
READ = ("array", "vector", "double32", "cycles", "directory", "zlib", "lzma", "lz4", "zstd", "none")
REFUSED = ("float16", "friend", "fixed", "rntuple")
EMPTY = "empty"
WRITER = Path(__file__).parents[1] / "support" / "foreign_trees.py"
# What is said of the others by `lnv fileset complete` and `lnv skim --mapping`.
SAID = {
    "float16": ("(TLeafF16) cannot be read", "(TLeafF16) cannot be read"),
    "friend": ("the tree 'Tracks' of the file has Track_charge", "the tree 'Tracks' of the file has Track_charge"),
    "fixed": ("got arrays of fixed size 16, wanted lists", "its counter says how many elements"),
    "rntuple": ("Events is of class RNTuple; wanted a TTree", "Events is of class RNTuple; wanted a TTree"),
}


def said(*arguments):
    """Return what a command that ends well says."""
    outcome = CliRunner().invoke(lnv, [str(a) for a in arguments])
    assert outcome.exception is None, f"{outcome.output}{outcome.exception}"
    return outcome.output


def refusal(*arguments):
    """Return what a command that is refused says, which is no traceback."""
    outcome = CliRunner().invoke(lnv, [str(a) for a in arguments])
    assert isinstance(outcome.exception, (LnvError, SystemExit)), repr(outcome.exception)
    assert outcome.exit_code
    return f"{outcome.output}{outcome.exception}"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """An ntuple of signal events, without the generated particles."""
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, "d", 0, N_EVENTS, 5))
    path = tmp_path_factory.mktemp("foreign") / "ours.root"
    with NtupleWriter(path) as writer:
        names = [name for name in block.values if not name.startswith("Gen")]
        of = {n: (block.offsets[BRANCHES[n][0]], block.values[n]) if BRANCHES[n][0] else block.values[n] for n in names}
        writer.extend(of)
    return path


@pytest.fixture(scope="module")
def files(ours):
    """A directory with the events of an ntuple as ROOT writes them in every form."""
    if "ROOT_PYTHON" not in os.environ:
        pytest.skip("make root (or set ROOT_PYTHON to a Python with ROOT)")
    command = [os.environ["ROOT_PYTHON"], str(WRITER), str(ours), str(ours.parent), *READ, *REFUSED, EMPTY]
    subprocess.run(command, check=True, capture_output=True)
    return ours.parent


def tree_of(form):
    return "sub/Events" if form == "directory" else "Events"


def to_complete(path, output, tree="Events"):
    """Return the arguments that complete a fileset of one file, into c.json."""
    entry = {"object_path": tree, "n_produced": N_EVENTS}
    metadata = {"kind": "signal", "sqrt_s": 3.0969}
    output.mkdir(exist_ok=True)
    (output / "plain.json").write_text(json.dumps({"d": {"files": {str(path): entry}, "metadata": metadata}}))
    return "fileset", "complete", output / "plain.json", "--output", output / "c.json"


def to_skim(path, output, names, tree="Events", **entries):
    """Return the arguments that skim a file with a mapping whose branches have the names of our columns."""
    lines = [
        f'tree = "{tree}"',
        'units = "schema"',
        "[columns]",
        *(f"{n} = {entries.get(n, json.dumps(n))}" for n in names),
    ]
    output.mkdir(exist_ok=True)
    (output / "m.toml").write_text("\n".join(lines))
    options = ["--executor", "iterative", "--kind", "signal", "--preselection", "all"]
    return "skim", path, "--mapping", output / "m.toml", "--output", output, *options


def run(fileset, output):
    said("run", fileset, "--executor", "iterative", "--output", output)
    return next(iter(results.read(output / "accumulator.zip").datasets.values())).selections["search"]


@pytest.fixture(scope="module")
def expected(ours, tmp_path_factory):
    output = tmp_path_factory.mktemp("expected")
    said(*to_complete(ours, output))
    return run(output / "c.json", output)


@pytest.mark.parametrize("form", READ)
def test_what_is_read_gives_what_our_own_file_gives(files, form, expected, tmp_path):
    path, tree = files / f"{form}.root", "sub/Events" if form == "directory" else "Events"
    said(*to_complete(path, tmp_path, tree))
    said(*to_skim(path, tmp_path / "s", schema.required_branches(), tree))
    for fileset in (tmp_path / "c.json", tmp_path / "s" / "fileset.json"):
        found = run(fileset, tmp_path / fileset.stem)
        assert found.cutflow == expected.cutflow
        np.testing.assert_array_equal(found.candidates["m_kkee"], expected.candidates["m_kkee"])


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_not_read_says_what_it_is(files, form, tmp_path):
    of_complete, of_skim = SAID[form]
    assert of_complete in refusal(*to_complete(files / f"{form}.root", tmp_path))
    assert of_skim in refusal(*to_skim(files / f"{form}.root", tmp_path, schema.required_branches()))


@pytest.mark.parametrize("form", [*READ, *REFUSED, EMPTY])
def test_a_skim_without_a_mapping_says_that_it_wants_one(files, form, tmp_path):
    asked = ["skim", files / f"{form}.root", "--output", tmp_path, "--sqrt-s", "3.0969", "--executor", "iterative"]
    assert "wanted a BOSS .dst with the tree 'Event'; ntuples of your own need --mapping" in refusal(*asked)


def test_a_file_without_events_is_a_source_of_none(files, tmp_path):
    path = files / f"{EMPTY}.root"
    said(*to_complete(path, tmp_path))
    assert run(tmp_path / "c.json", tmp_path / "r").cutflow["all"] == 0
    found = said(*to_skim(path, tmp_path / "s", schema.required_branches()))
    assert "warning: no input has an event: dataset 'skim' is not in the fileset" in found


def test_arrays_of_fixed_size_are_read_with_their_counters(files, expected, tmp_path):
    counted = {n: f'{{branch = "{n}", counter = "n{c}"}}' for n, (c, _) in BRANCHES.items() if c}
    said(*to_skim(files / "fixed.root", tmp_path, schema.required_branches(), **counted))
    assert run(tmp_path / "fileset.json", tmp_path / "r").cutflow == expected.cutflow


def test_a_file_without_showers_runs_what_needs_none_and_says_so(ours, expected, tmp_path):
    without = [name for name in schema.required_branches() if not name.startswith("Shower")]
    warned = said(*to_skim(ours, tmp_path, without))
    missing = "no control_ee, control_kkpi0, pid_chi, which read them"
    assert f"warning: the mapping has no column of Shower: {missing}" in warned
    fileset = tmp_path / "fileset.json"
    content = json.loads(fileset.read_text())
    (entry,) = content["skim"]["files"].values()
    assert entry["lacks"] == ["Shower"]
    asked = content["skim"]["metadata"]["selections"]
    assert "control_eeee" in asked
    assert not {"control_ee", "control_kkpi0", "pid_chi"} & {*asked}
    assert run(fileset, tmp_path / "r").cutflow == expected.cutflow

    content["skim"]["metadata"]["selections"] = ["search", "control_kkpi0"]
    fileset.write_text(json.dumps(content))
    again = refusal("run", fileset, "--executor", "iterative", "--output", tmp_path / "r")
    assert "has no columns of Shower, which control_kkpi0 read; add them, or leave what reads showers out" in again


def test_the_selections_that_need_showers_are_those_that_read_them():
    assert {name for name, selection in SELECTIONS.items() if "nShower" in selection.reads} == {*PHOTON_SELECTIONS}


def flat(block, change=lambda columns: columns):
    """Return simulated events as the branches of a user's own tree, recorded ones by their runs."""
    columns = change({**block.values, "run": np.abs(block.values["run"])})
    of = {name: np.diff(block.offsets[c]) if (c := BRANCHES[name][0]) else None for name in schema.required_branches()}
    return {name: columns[name] if n is None else ak.unflatten(columns[name], n) for name, n in of.items()}


def write_tree(path, branches, tree="Events"):
    with uproot.recreate(path) as file:
        file.mktree(tree, types_of(branches)).extend(branches)
    return path


def types_of(branches):
    return {name: v.type.content if isinstance(v, ak.Array) else v.dtype for name, v in branches.items()}


def one(name, value):
    """Change the value of one track of event 12 or, of a column of events, that of the event."""

    def change(columns, place=37):
        values = np.where(np.arange(len(columns[name])) == place, value, columns[name])
        return columns | {name: values.astype(columns[name].dtype)}

    return change


@pytest.fixture(scope="module")
def background():
    recipe = production.Recipe(processes=((processes.BACKGROUNDS["kkpipi"], 1.0),), sqrt_s=3.0969)
    return make_block(production.make_block(recipe, "d", 0, 400, 5))


# A mistake of a column -> what `lnv skim --mapping` says; None: it is none.
MISTAKES = {
    "one column in MeV": (lambda c: c | {"Track_emc_e3x3": 1000 * c["Track_emc_e3x3"]}, "e3x3.* looks like MeV"),
    "beam energies": (lambda c: c | {"sqrt_s": c["sqrt_s"] / 2}, "column sqrt_s: typical size 1.548 GeV"),
    "energy in MeV": (lambda c: c | {"sqrt_s": c["sqrt_s"] * 1000}, "column sqrt_s: .* looks like MeV"),
    "charges swapped": (lambda c: c | {"Track_charge": -c["Track_charge"]}, "have not the sign of kappa"),
    "charges as bool": (lambda c: c | {"Track_charge": c["Track_charge"] > 0}, "have not the sign of kappa"),
    "charges as uint8": (lambda c: c | {"Track_charge": c["Track_charge"].astype(np.uint8)}, "255 do not fit int8"),
    "a NaN": (one("Track_kappa", np.nan), "test.root, entries 0 to 400: column Track_kappa: run .*, event 12 has nan"),
    "an infinity": (one("Track_cov3", np.inf), "column Track_cov3: run 53213, event 12 has inf"),
    "a NaN of an event": (one("ip_x", np.nan), "column ip_x: run .*, event 38 has nan"),
    "-999 for nothing": (
        lambda c: c | {"Track_emc_energy": np.where(c["Track_emc_energy"] > 0, c["Track_emc_energy"], -999)},
        "column Track_emc_energy: 0.0.* are negative, such as -999",
    ),
    "no run": (lambda c: c | {"run": 0 * c["run"]}, "got 0 in entry 0; wanted a run"),
    "events as float": (lambda c: c | {"event": c["event"].astype(np.float32)}, "float32, wanted int64.* round = true"),
    "events above 2^63": (lambda c: c | {"event": c["event"].astype(np.uint64) + 2**63}, "do not fit int64"),
    "events above 2^32": (lambda c: c | {"event": c["event"] + 2**33}, None),
    "runs as uint32": (lambda c: c | {"run": c["run"].astype(np.uint32)}, None),
    "hits as int64": (lambda c: c | {"Track_n_hits": c["Track_n_hits"].astype(np.int64)}, None),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_one_column_does_not_get_in(background, tmp_path, mistake):
    change, words = MISTAKES[mistake]
    path = write_tree(tmp_path / "test.root", flat(background, change))
    asked = to_skim(path, tmp_path, schema.required_branches())[:-4]
    if words is None:
        assert "wrote" in said(*asked)
    else:
        assert re.search(words, refusal(*asked))


def test_an_event_number_of_more_than_32_bits_is_kept(background, tmp_path):
    path = write_tree(tmp_path / "test.root", flat(background, MISTAKES["events above 2^32"][0]))
    said(*to_skim(path, tmp_path, schema.required_branches())[:-4], "--all")
    with uproot.open(tmp_path / "skim_0.root") as file:
        np.testing.assert_array_equal(file["Events/event"].array(library="np"), background.values["event"] + 2**33)


def events_of(branches, which):
    return {name: values[which] for name, values in branches.items()}


@pytest.mark.parametrize("n_shared", [20, 200])
def test_files_that_share_a_part_of_their_events_are_refused(background, tmp_path, n_shared):
    """The second begins with the last events of the first; recorded ones are known by their numbers alone."""
    branches = flat(background)
    first = write_tree(tmp_path / "first.root", events_of(branches, slice(200)))
    again = events_of(branches, slice(200 - n_shared, None))
    again["Track_kappa"] = again["Track_kappa"] * np.float32(1.001)
    second = write_tree(tmp_path / "second.root", again)
    together = to_skim(first, tmp_path, schema.required_branches())[:-4]
    found = refusal(*together[:2], second, *together[2:])
    assert re.search(r"second.root holds events of .*first.root \(\d+ of 128 that were compared\)", found)
    for path in (first, second):
        said(*to_skim(path, tmp_path / path.stem, schema.required_branches())[:-4], "--all")
    skimmed = {"files": ["first/skim_0.root", "second/skim_0.root"]}
    metadata = {"kind": "data", "is_simulation": False, "sqrt_s": 3.0969}
    (tmp_path / "plain.json").write_text(json.dumps({"d": skimmed | {"metadata": metadata}}))
    found = refusal("fileset", "complete", tmp_path / "plain.json", "--output", tmp_path / "c.json")
    assert re.search("second/skim_0.root holds events of 'd', file .*first/skim_0.root", found)


def test_an_event_that_is_twice_in_a_file_is_named(background, tmp_path):
    branches = flat(background)
    twice = write_tree(tmp_path / "twice.root", events_of(branches, np.r_[0:400, 17, 300]))
    found = refusal(*to_skim(twice, tmp_path, schema.required_branches())[:-4])
    run, event = (branches[name][17] for name in ("run", "event"))
    assert f"twice.root: columns run, event: entries 17 and 400 are both run {run}, event {event}; wanted" in found


def test_simulated_jobs_that_count_alike_are_told_apart_by_their_tracks(background, tmp_path):
    branches = flat(background) | {"run": background.values["run"]}
    branches["event"] = branches["event"] % 200
    asked = to_skim(write_tree(tmp_path / "jobs.root", branches), tmp_path, schema.required_branches())[:-4]
    said(*asked, "--kind", "background")
    twice = write_tree(tmp_path / "twice.root", events_of(branches, np.r_[0:400, 17]))
    found = refusal(*to_skim(twice, tmp_path / "t", schema.required_branches())[:-4], "--kind", "background")
    assert "entries 17 and 400 are both run -" in found
    assert "with the same tracks; wanted every event once" in found


def test_two_files_of_one_job_are_refused(background, tmp_path):
    """Written twice, in other baskets: no byte of the files needs to be the same."""
    branches = flat(background)
    first = write_tree(tmp_path / "first.root", branches)
    second = tmp_path / "second.root"
    with uproot.recreate(second, compression=None) as file:
        tree = file.mktree("Events", types_of(branches))
        for part in (slice(150), slice(150, None)):
            tree.extend({n: v[part] for n, v in branches.items()})
    together = to_skim(first, tmp_path, schema.required_branches())[:-4]
    assert "second.root: holds the same events as" in refusal(*together[:2], second, *together[2:])
    for path in (first, second):
        said(*to_skim(path, tmp_path / path.stem, schema.required_branches())[:-4])
    skimmed = {"files": ["first/skim_0.root", "second/skim_0.root"]}
    metadata = {"kind": "data", "is_simulation": False, "sqrt_s": 3.0969}
    (tmp_path / "plain.json").write_text(json.dumps({"d": skimmed | {"metadata": metadata}}))
    again = refusal("fileset", "complete", tmp_path / "plain.json", "--output", tmp_path / "c.json")
    assert "second/skim_0.root has the events that are listed already in 'd' as" in again
