"""A file is read once before it is believed: what is wrong with it is said in one line, all of it, with its place."""

import os
import struct
import subprocess

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory
from run_cases import write_ntuple

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import NtupleError, SchemaError
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.events.inspection import inspect, require_sound
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.schema import BRANCHES, COLLECTIONS
from jpsi_lnv.analysis.selection.search_events import READS

pytestmark = pytest.mark.fast

N_EVENTS = 250
# Offset of fSeekFree in the header of a ROOT file below 2 GB, behind "root", version, fBEGIN and fEND.
SEEK_FREE = 16


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_ntuple(tmp_path_factory.mktemp("good") / "good.root", N_EVENTS, seed=7)


def columns_of(file):
    return file["Events"].arrays([name for name in BRANCHES if name in file["Events"]], how=dict)


def rewrite(source, target, change=lambda columns: columns, tree="Events", **options):
    """Write the events of a file anew, with other columns or in another form; every column is a branch of its own."""
    with uproot.open(source) as file:
        columns = change(columns_of(file))
        meta = file["Meta"].arrays(library="np")
    groups = {name: ak.Array(values) for name, values in columns.items() if not BRANCHES[name][0]}
    for collection in filter(None, COLLECTIONS):
        own = {BRANCHES[n][1].name: v for n, v in columns.items() if BRANCHES[n][0] == collection}
        if own:
            groups[collection] = ak.zip(own, depth_limit=2)
    with uproot.recreate(target, **options) as file:
        made = file.mktree(tree, {name: values.type.content for name, values in groups.items()})
        made.extend(groups)
        file.mktree("Meta", {name: values.dtype for name, values in meta.items()}).extend(dict(meta))
    return target


def refused(path, tree="Events"):
    with pytest.raises(NtupleError) as caught:
        inspect(str(path), tree)
    return str(caught.value)


def test_a_whole_file_is_described(good):
    facts = inspect(str(good), "Events")
    assert facts.num_entries == N_EVENTS
    assert facts.clusters == (0, 100, 200, 250)
    assert facts.runs == (-7, -7)
    assert facts.sqrt_s == pytest.approx((3.097, 3.097))
    assert (facts.n_produced, facts.n_stored) == (2 * N_EVENTS, N_EVENTS)


def test_a_file_that_was_never_closed_is_refused(good, tmp_path):
    data = bytearray(good.read_bytes())
    data[SEEK_FREE : SEEK_FREE + 8] = struct.pack(">ii", 0, 0)
    (tmp_path / "open.root").write_bytes(data)
    assert "was not closed" in refused(tmp_path / "open.root")


def test_a_file_that_was_cut_is_refused(good, tmp_path):
    (tmp_path / "cut.root").write_bytes(good.read_bytes()[:-1])
    said = refused(tmp_path / "cut.root")
    assert "cut.root" in said
    assert "\n" not in said


def test_what_is_no_root_file_or_absent_is_refused(tmp_path):
    (tmp_path / "page.root").write_text("<html>404</html>")
    assert "cannot be read as a ROOT file, or is damaged" in refused(tmp_path / "page.root")
    assert "no such file" in refused(tmp_path / "absent.root")


def test_an_object_of_another_class_is_named(tmp_path):
    with uproot.recreate(tmp_path / "r.root") as file:
        file["Events"] = {"run": np.arange(3)}
        file["Histogram"] = np.histogram([1.0, 2.0])
    assert "Events is of class RNTuple; wanted a TTree" in refused(tmp_path / "r.root")
    assert "Histogram is of class TH1" in refused(tmp_path / "r.root", "Histogram")
    assert "has no tree 'Other'; got ['Events', 'Histogram']" in refused(tmp_path / "r.root", "Other")


def test_every_missing_branch_is_named(tmp_path):
    with uproot.recreate(tmp_path / "t.root") as file:
        file.mktree("Events", {"run": np.int32}).extend({"run": np.ones(3, np.int32)})
    with pytest.raises(SchemaError) as caught:
        inspect(str(tmp_path / "t.root"), "Events")
    assert all(name in str(caught.value) for name in ("nTrack", "event", "Track_cov14"))
    assert "Shower" not in str(caught.value)


def test_of_a_collection_that_may_lack_nothing_or_all_is_missing(good, tmp_path):
    def without_y(columns):
        return {name: values for name, values in columns.items() if name != "Shower_y"}

    assert "1 required branch is missing: Shower_y" in refused(rewrite(good, tmp_path / "no_y.root", without_y))

    def without_showers(columns):
        return {name: values for name, values in columns.items() if not name.startswith("Shower")}

    assert inspect(str(rewrite(good, tmp_path / "none.root", without_showers)), "Events").lacks == ("Shower",)


def with_counter(source, target, change):
    """Write a file whose counter of tracks was redefined and whose columns were not, as RDataFrame's Redefine does."""
    with uproot.open(source) as file:
        columns = columns_of(file)
    counters = {"nTrack": np.full(N_EVENTS, 2, np.int32), "nShower": np.ones(N_EVENTS, np.int32)}
    counters["nTrack"][3:5] += change
    types = {name: values.dtype for name, values in counters.items()}
    types |= {n: f"var * {BRANCHES[n][1].dtype}" if BRANCHES[n][0] else BRANCHES[n][1].dtype for n in columns}
    with uproot.recreate(target) as file:
        file.mktree("Events", types, counter_name=lambda name: f"own_{name}").extend(counters | columns)
    return target


@pytest.mark.parametrize("change", [(-1, 0), (1, 0), (-1, 1)])
def test_a_counter_that_was_redefined_is_refused(good, tmp_path, change):
    path = with_counter(good, tmp_path / "other.root", change)
    said = refused(path)
    assert f"columns Track_*: entry 3 has 2 values and the counter nTrack says {2 + change[0]}" in said
    assert "Shower" not in said
    assert "\n" not in said


@pytest.mark.parametrize("change", [(-1, 0), (1, 0), (-1, 1)])
def test_a_run_sees_it_too_in_what_it_reads(good, tmp_path, change):
    """Nothing is believed of a file that somebody says was looked at."""
    path = with_counter(good, tmp_path / "other.root", change)
    reads = READS - {"Track_tanl"}
    factory = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, preload=reads, mode="virtual")
    columns = ChunkColumns(factory.events())
    metadata = DatasetMetadata(kind="signal", sqrt_s=3.097)
    with pytest.raises(NtupleError, match=rf"x.root: columns Track_\*: entry 13 has 2 values .* says {2 + change[0]}"):
        require_sound(columns, reads, metadata, "x.root", 10)


def change_one(name, entry, value):
    def change(columns):
        values = ak.to_numpy(ak.flatten(columns[name], axis=None)).copy()
        counts = ak.num(columns[name]) if columns[name].ndim > 1 else None
        place = entry if counts is None else int(ak.sum(counts[:entry]))
        values = values.astype(np.result_type(values.dtype, type(value)) if isinstance(value, float) else np.int64)
        values[place] = value
        return columns | {name: values if counts is None else ak.unflatten(values, counts)}

    return change


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sqrt_s", np.nan, "column sqrt_s: entry 123 has nan, wanted finite float32 per event"),
        ("Track_kappa", np.inf, "column Track_kappa: entry 123 has inf, wanted finite float32 per track"),
        ("Track_charge", -1000, "column Track_charge: entry 123 has -1000, wanted int8 per track"),
        ("run", 9, "column run: got -7 in entry 0 and 9 in entry 123; wanted runs of one sign"),
    ],
)
def test_a_value_that_means_nothing_is_named_with_its_entry(good, tmp_path, name, value, said):
    assert said in refused(rewrite(good, tmp_path / "bad.root", change_one(name, 123, value)))


def test_all_faults_of_a_file_are_said_at_once(good, tmp_path):
    def change(columns):
        columns = change_one("ip_x", 5, np.nan)(columns)
        columns = change_one("Track_charge", 9, 300)(columns)
        return columns | {"event": ak.values_astype(columns["event"], np.float64)}

    said = refused(rewrite(good, tmp_path / "bad.root", change))
    assert "3 faults" in said
    for words in ("event: got float64, wanted int64", "ip_x: entry 5 has nan", "Track_charge: entry 9 has 300"):
        assert words in said


ROOT_TREES = """
import sys, ROOT
from array import array
source, target, what = sys.argv[1:]
if what == "unequal":
    old = ROOT.TFile(source)
    new = ROOT.TFile(target, "recreate")
    tree = old.Get("Events").CloneTree()
    tree.GetBranch("run").Fill()
    tree.Write()
    new.Close()
elif what == "short":
    frame = ROOT.RDataFrame("Events", source)
    frame.Redefine("ip_x", "Double32_t(ip_x)").Snapshot("Events", target)
elif what == "unclosed":
    old = ROOT.TFile(source)
    new = ROOT.TFile(target, "recreate")
    tree = old.Get("Events").CloneTree(0)
    for i in range(200):
        old.Get("Events").GetEntry(i)
        tree.Fill()
    tree.AutoSave()
    import os
    os._exit(0)
"""


@pytest.fixture
def made_by_root(good, tmp_path):
    if "ROOT_PYTHON" not in os.environ:
        pytest.skip("make root (or set ROOT_PYTHON to a Python with ROOT)")

    def make(what):
        command = [os.environ["ROOT_PYTHON"], "-c", ROOT_TREES, str(good), str(tmp_path / "root.root"), what]
        subprocess.run(command, check=True, capture_output=True)
        return tmp_path / "root.root"

    return make


def test_branches_of_unequal_length_are_refused(made_by_root):
    assert f"branch 'run': got {N_EVENTS + 1} entries, wanted {N_EVENTS}" in refused(made_by_root("unequal"))


def test_a_job_that_was_killed_leaves_an_open_file(made_by_root):
    assert "was not closed" in refused(made_by_root("unclosed"))


def test_a_copy_by_root_says_nothing_of_its_origin(made_by_root):
    facts = inspect(str(made_by_root("short")), "Events")
    assert (facts.num_entries, facts.n_produced) == (N_EVENTS, None)


@pytest.mark.parametrize("compression", [uproot.LZMA(4), uproot.LZ4(4), uproot.ZLIB(4), uproot.ZSTD(4), None])
def test_every_compression_is_read(good, tmp_path, compression):
    path = rewrite(good, tmp_path / "c.root", compression=compression)
    assert inspect(str(path), "Events").num_entries == N_EVENTS


def test_a_tree_in_a_directory_and_the_last_cycle_are_read(good, tmp_path):
    path = rewrite(good, tmp_path / "d.root", tree="deep/Events")
    assert inspect(str(path), "deep/Events").num_entries == N_EVENTS
    with uproot.update(path) as file:
        file.mktree("deep/Events", {"run": np.int32}).extend({"run": np.ones(3, np.int32)})
    assert "required branches are missing" in refused(path, "deep/Events")


def test_wider_and_narrower_numbers_are_read(good, tmp_path):
    def widen(columns):
        return columns | {n: ak.values_astype(v, np.float64) for n, v in columns.items() if n.startswith("Track_cov")}

    assert inspect(str(rewrite(good, tmp_path / "w.root", widen)), "Events").num_entries == N_EVENTS


def test_a_file_without_events_has_no_runs(tmp_path):
    facts = inspect(str(write_ntuple(tmp_path / "empty.root", 0, seed=1)), "Events")
    assert (facts.num_entries, facts.runs, facts.sqrt_s) == (0, None, None)
