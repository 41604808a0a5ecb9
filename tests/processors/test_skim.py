"""A skim keeps every event it must, once, whatever runs it and whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis import cards
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events import dst
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.dst_baskets import UnknownLayoutError
from jpsi_lnv.analysis.events.ntuple_writer import make_block, remove_partials
from jpsi_lnv.analysis.events.run_table import BEAM_P4, IP_SIGMA, Conditions, uniform
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.processors import skimming
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.commands import skim
from jpsi_lnv.processors.skim_plan import SkimItem, SkimOptions, is_done, plan, read_books
from jpsi_lnv.processors.skimming import PRESELECTIONS, Skim
from jpsi_lnv.processors.work.dask_loop import DaskExecutor
from jpsi_lnv.processors.work.executors import FuturesExecutor, IterativeExecutor

# loky's idle workers end after some seconds; on a busy machine that may meet the next job, which it then warns about.
pytestmark = pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given:UserWarning")

RUNS = uniform(Conditions(sqrt_s=3.097))
N_FILES = 5
N_EVENTS = 10


def copy_with_uuid(source, path, number):
    """A copy of a .dst file under another UUID, its events under other numbers: another file."""
    raw = bytearray(source.read_bytes())
    with uproot.open(source) as file:
        place = raw.index(file.file.uuid.bytes)
        events = file["Event/TEvtHeader/m_eventId"].basket_key(0)
    raw[place : place + 16] = uuid.UUID(int=number, version=4).bytes
    # So few numbers are not compressed.
    first, size = events.data_cursor.index, events.data_uncompressed_bytes
    raw[first : first + size] = (
        (np.frombuffer(raw[first : first + size], ">i4") + 1000 * number).astype(">i4").tobytes()
    )
    path.write_bytes(raw)
    return str(path)


@pytest.fixture(scope="session")
def inputs(boss_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dst")
    return [copy_with_uuid(boss_file, directory / f"{i}.dst", 100 + i) for i in range(N_FILES)]


def options_for(output, **given):
    given = {"preselection": "all", "group_bytes": 250_000} | given
    return SkimOptions(output=output, dataset="real", runs=RUNS, **given)


def content(output):
    """All branches of all ntuples, and the counts of `Meta`."""
    out = {}
    for path in sorted(output.glob("*.root")):
        with uproot.open(path) as file:
            out[path.name] = (
                ak.to_list(file["Events"].arrays()),
                file["Meta"].arrays(library="np")["n_produced"].tolist(),
            )
    return out


def run(inputs, options, executor, function=None):
    items = plan(inputs, options)
    failed = []
    executor.sink = lambda group: failed.extend(group.get("failed", []))
    executor([item for item in items if not is_done(item)], function or Skim(options), {})
    remove_partials(item.output for item in items)
    return items, failed


@pytest.fixture(scope="session")
def undisturbed(inputs, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    items, failed = run(inputs, options_for(output), IterativeExecutor())
    assert not failed
    assert all(is_done(item) for item in items)
    return content(output)


def test_small_files_share_an_ntuple_and_every_event_is_there_once(undisturbed):
    assert [len(events) for events, _ in undisturbed.values()] == [20, 20, 10]
    assert [produced for _, produced in undisturbed.values()] == [[10, 10], [10, 10], [10]]
    found = [event["event"] for events, _ in undisturbed.values() for event in events]
    assert found == [1000 * (100 + file) + event for file in range(N_FILES) for event in range(N_EVENTS)]


def test_processes_make_the_same_ntuples(inputs, undisturbed, tmp_path):
    _, failed = run(inputs, options_for(tmp_path, chunksize=3), FuturesExecutor(workers=2))
    assert not failed
    assert content(tmp_path) == undisturbed


def test_a_dask_cluster_that_loses_its_worker_makes_the_same_ntuples(inputs, undisturbed, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        options = options_for(tmp_path / "out")
        killed = KilledInTheMiddle(Skim(options), tmp_path / "killed")
        _, failed = run(inputs, options, DaskExecutor(client=client), killed)
    assert (tmp_path / "killed").exists()
    assert not failed
    assert content(tmp_path / "out") == undisturbed


@dataclass(frozen=True)
class KilledInTheMiddle:
    """A skim whose worker is killed once, while the second ntuple is half written."""

    skim: Skim
    trace: Path

    def __call__(self, item):
        if item.output.name == "real_1.root" and not self.trace.exists():
            self.trace.touch()
            item.output.with_name(f".{item.output.name}.0-0.part").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.skim(item)


def test_a_killed_worker_loses_nothing(inputs, undisturbed, tmp_path):
    options = options_for(tmp_path / "out")
    _, failed = run(inputs, options, FuturesExecutor(workers=2), KilledInTheMiddle(Skim(options), tmp_path / "killed"))
    assert (tmp_path / "killed").exists()
    assert not failed
    assert content(tmp_path / "out") == undisturbed
    assert not list((tmp_path / "out").glob(".*"))


def test_only_what_is_missing_is_done_again(inputs, undisturbed, tmp_path):
    options = options_for(tmp_path)
    items, _ = run(inputs, options, IterativeExecutor())
    stamps = {item.output.name: item.output.stat().st_mtime_ns for item in items}
    items[1].output.unlink()
    assert [is_done(item) for item in items] == [True, False, True]
    run(inputs, options, IterativeExecutor())
    assert content(tmp_path) == undisturbed
    assert {i.output.name for i in items if i.output.stat().st_mtime_ns != stamps[i.output.name]} == {"real_1.root"}
    for changed in (replace(options, preselection="search"), replace(options, runs=uniform(Conditions(sqrt_s=3.08)))):
        assert not any(is_done(item) for item in plan(inputs, changed))
    Path(inputs[0]).touch()
    assert [is_done(item) for item in plan(inputs, options)] == [False, True, True]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b"\xff", b"[[1, 2], 3]", b'["a", 1, 2]', b'{"key": "x", "sources": 7}']
)
def test_a_skim_whose_books_are_damaged_is_done_again(inputs, undisturbed, tmp_path, damage):
    items, _ = run(inputs, options_for(tmp_path), IterativeExecutor())
    items[0].books.write_bytes(damage)
    note = items[0].books.with_suffix(skimming.NOTE)
    note.write_bytes(damage)
    assert not is_done(items[0])
    assert skimming.done_of(items[0]) == skimming.Done()
    run(inputs, options_for(tmp_path), IterativeExecutor())
    assert content(tmp_path) == undisturbed


def test_the_search_finds_in_a_skim_what_it_finds_in_all_events(toy_columns):
    """Preselection and selection decide on the same float32 values by the same rule."""
    block = make_block({name: v for name, v in toy_columns.items() if not name.startswith("Gen")})
    columns = ArrayColumns(block.values, block.offsets, block.n_events)
    chosen = {name: Skim(options_for(Path(), preselection=name)).preselect(columns) for name in PRESELECTIONS}
    kept = {name: block.select(mask) for name, mask in chosen.items()}
    assert kept["all"].n_events == block.n_events
    assert 0 < kept["search"].n_events < kept["control"].n_events <= block.n_events
    decided = {name: view(b).is_retained for name, b in kept.items()}
    assert decided["search"].all()
    assert decided["search"].sum() == decided["control"].sum() == decided["all"].sum()
    np.testing.assert_array_equal(kept["search"].values["event"], block.values["event"][view(block).is_retained])


@pytest.mark.parametrize("name", ["jpsi_ee", "jpsi_kkpi0", "jpsi_kkee"])
def test_a_skim_keeps_what_the_search_for_its_card_retains(name, toy_columns):
    block = make_block({name: v for name, v in toy_columns.items() if not name.startswith("Gen")})
    columns, cuts = ArrayColumns(block.values, block.offsets, block.n_events), cards.read(name).cuts
    kept = Skim(options_for(Path(), preselection="search", cuts=cuts)).preselect(columns)
    np.testing.assert_array_equal(kept, view(block, cuts).is_retained)
    assert (view(block).n_good[kept] >= len(cuts.channel.slots)).all()


def view(block, cuts=SELECTION):
    return SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, 3.097)


def test_control_keeps_two_and_three_track_events(inputs, tmp_path):
    run(inputs[:1], options_for(tmp_path, preselection="control"), IterativeExecutor())
    ((events, produced),) = content(tmp_path).values()
    assert produced == [10]
    assert {e["nTrack"] for e in events} == {1, 2}
    assert len(events) >= 9


def test_a_file_is_taken_once(inputs, boss_file, tmp_path):
    with pytest.raises(NtupleError, match="is listed twice"):
        plan([inputs[0], f"{Path(inputs[0]).parent}/./0.dst"], options_for(tmp_path))
    copies = [copy_with_uuid(boss_file, tmp_path / f"{n}.dst", 7) for n in ("a", "b")]
    items, _ = run(copies, options_for(tmp_path / "out"), IterativeExecutor())
    with pytest.raises(FilesetError, match="is the same file as"):
        read_books(items)


def test_data_and_simulation_are_kept_apart(inputs, tmp_path):
    items, _ = run(inputs, options_for(tmp_path), IterativeExecutor())
    book = json.loads(items[0].books.read_text())
    book["sources"][0]["is_simulation"] = False
    items[0].books.write_text(json.dumps(book))
    with pytest.raises(FilesetError, match=r"is simulation, .* is data"):
        read_books(items)


def lnv(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code


def test_shares_of_a_skim_make_the_skim(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(skim, "SkimOptions", partial(SkimOptions, group_bytes=1))
    common = ("skim", *inputs, "--executor", "iterative", "--all", "--sqrt-s", "3.097", "--output")
    assert lnv(*common, tmp_path / "one") == 0
    for part in ("1/2", "2/2"):
        assert lnv(*common, tmp_path / "shares", "--part", part) == 0
        assert f"share {part} is whole: {3 if part == '1/2' else 2} ntuples" in capsys.readouterr().out
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shares").glob("*.root")}
    assert not (tmp_path / "shares" / "fileset.json").exists()
    assert lnv(*common, tmp_path / "shares") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shares").glob("*.root")} == stamps
    assert content(tmp_path / "shares") == content(tmp_path / "one")


def test_from_dst_to_the_accumulator(inputs, tmp_path, capsys):
    common = ("--output", tmp_path / "ntuples", "--executor", "iterative")
    assert lnv("skim", *inputs, *common, "--all", "--sqrt-s", "3.097") == 0
    captured = capsys.readouterr()
    assert "no --run-table: all runs get sqrt(s) = 3.097 GeV, field = 1.0 T" in captured.err
    assert "WARNING: EACH EVENT'S OWN VERTEX STANDS FOR THE INTERACTION POINT, AND IS NONE" in captured.err
    fileset = json.loads((tmp_path / "ntuples" / "fileset.json").read_text())["skim"]
    (entry,) = fileset["files"].values()
    assert entry["num_entries"] == entry["n_produced"] == N_FILES * N_EVENTS
    assert fileset["metadata"]["kind"] == "inclusive"
    assert fileset["metadata"]["sqrt_s"] == 3.097
    assert {"search", "control_ee", "control_kkpi0", "control_ppbarpipi"} <= set(fileset["metadata"]["selections"])
    run_it = ("run", tmp_path / "ntuples" / "fileset.json", "--executor", "iterative", "--output", tmp_path / "results")
    assert lnv(*run_it) == 0
    assert (tmp_path / "results" / "accumulator.zip").exists()


def test_a_run_table_of_the_data_base_gives_the_ntuple_points_spreads_and_four_momentum(inputs, tmp_path, capsys):
    with closing(sqlite3.connect(tmp_path / "offline.db")) as db:
        db.execute("CREATE TABLE CalVtxLumVer (BossRelease, RunFrom, RunTo, DataType, SftVer, ParVer)")
        db.execute("CREATE TABLE BeamPar (RunNo, SftVer, ParVer, Vx, Vy, Vz, SigmaVx, SigmaVy, SigmaVz)")
        db.execute("INSERT INTO CalVtxLumVer VALUES ('7.0.8', 9947, 10878, 'LumVtx', '6.6.3', 1)")
        db.execute("INSERT INTO BeamPar VALUES (9989, '6.6.3', 1, 0.1, -0.2, 0.3, 0.04, 0.001, 0.8)")
        db.commit()
    ranges = {"first": 9947, "last": 10878, "sqrt_s": 3.097, "field": 1.0, "period": 2009, "p4": [0.034, 0, 0, 3.097]}
    (tmp_path / "ranges.json").write_text(json.dumps({"runs": [ranges]}))
    made = ("--runs", tmp_path / "ranges.json", "--output", tmp_path / "runs.json")
    assert lnv("run-table", "--offlinedb", tmp_path / "offline.db", "--release", "7.0.8", *made) == 0
    common = ("--output", tmp_path / "ntuples", "--executor", "iterative", "--all")
    assert lnv("skim", inputs[0], *common, "--run-table", tmp_path / "runs.json") == 0
    assert "INTERACTION POINT" not in capsys.readouterr().err
    with uproot.open(tmp_path / "ntuples" / "skim_0.root") as file:
        found = file["Events"].arrays([*IP_SIGMA, *BEAM_P4, "ip_x", "ip_y", "ip_z", "period"], library="np")
    wanted = {"ip_x": 0.1, "ip_y": -0.2, "ip_z": 0.3, "ip_sigma_z": 0.8, "beam_px": 0.034, "beam_energy": 3.097}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)
    assert set(found["period"]) == {2009}


def test_a_preselection_keeps_the_normalisation(inputs, tmp_path):
    assert lnv("skim", *inputs, "--output", tmp_path, "--executor", "iterative", "--sqrt-s", "3.097") == 0
    (entry,) = json.loads((tmp_path / "fileset.json").read_text())["skim"]["files"].values()
    assert entry["num_entries"] == 0
    assert json.loads((tmp_path / "fileset.json").read_text())["skim"]["metadata"]["selections"] == ["search"]
    assert entry["n_produced"] == N_FILES * N_EVENTS


def test_a_bad_file_is_named_and_the_others_are_kept(inputs, tmp_path, capsys):
    bad = tmp_path / "bad.dst"
    bad.write_bytes(Path(inputs[0]).read_bytes()[:60_000])
    arguments = ("--output", tmp_path / "out", "--executor", "iterative", "--all", "--sqrt-s", "3.097")
    assert lnv("skim", *inputs, bad, *arguments) == 1
    message = capsys.readouterr().err
    assert f"failed: {bad}" in message
    assert "is damaged" in message
    assert "1 of 1 ntuples are missing" in message
    assert lnv("skim", *inputs, *arguments) == 0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.dst", "--sqrt-s", "3.1"), "absent.dst: cannot be read: No such file"),
        (("a.dst", "--sqrt-s", "3.1", "--dataset", "a/../b"), "dataset 'a/../b': the name may hold"),
        (("a.dst",), "got neither --run-table nor --sqrt-s"),
        (("a.dst", "--sqrt-s", "-1"), "-1.0 is not in the range 0<x<=10.0"),
        (("a.dst", "--run-table", "absent.json"), "run table absent.json: cannot be read"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert lnv("skim", *arguments, "--output", "out") != 0
    assert message in capsys.readouterr().err


def test_events_that_the_job_counted(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("jpsi_lnv.analysis.events.dst.Dst.n_job", 1000)
    items, _ = run(inputs[:1], options_for(tmp_path / "job", count="job"), IterativeExecutor())
    assert read_books(items)[0].sources[0].n_produced == 1000
    monkeypatch.setattr("jpsi_lnv.analysis.events.dst.Dst.n_job", 5)
    _, failed = run(inputs[:1], options_for(tmp_path / "less", count="job"), IterativeExecutor())
    assert "its job information counts 5 events, the tree 10" in failed[0]["message"]


def test_a_quick_look_at_boss_files(inputs, tmp_path, capsys):
    common = ("--executor", "iterative", "--output", tmp_path)
    assert lnv("run", *inputs[:2], *common, "--sqrt-s", "3.097") == 0
    assert "every event is covered once" in capsys.readouterr().out
    with uproot.open(tmp_path / "ntuples" / "quick_look_0.root") as file:
        assert file["Events"].num_entries == 2 * N_EVENTS
        assert "Tof" not in file["Events"]
    assert lnv("run", *inputs[:2], *common) != 0
    assert "got neither --run-table nor --sqrt-s" in capsys.readouterr().err
    assert lnv("run", inputs[0], "fileset.json", *common) != 0
    assert "wanted one fileset, or .dst files alone" in capsys.readouterr().err


def test_data_and_simulation_do_not_share_an_ntuple(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "jpsi_lnv.analysis.events.dst.Dst.is_simulation", property(lambda self: not self.path.endswith("1.dst"))
    )
    _, failed = run(inputs, options_for(tmp_path), IterativeExecutor())
    assert f"{inputs[0]} is simulation, {inputs[1]} is data" in failed[0]["message"]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("keep", "message"),
    [("pid,tof", "got 'tof'; wanted some of pid, ends, muon, v0"), ("ends", "'ends' without 'pid'")],
)
def test_what_cannot_be_kept_is_said(tmp_path, capsys, keep, message):
    assert lnv("skim", "a.dst", "--sqrt-s", "3.1", "--output", tmp_path, "--keep", keep) != 0
    assert message in capsys.readouterr().err


@pytest.mark.fast
def test_the_meter_tells_rate_survivors_and_time_left(tmp_path, capsys):
    item = SkimItem(
        dataset="d",
        inputs=("a.dst",),
        output=tmp_path / "a.root",
        books=tmp_path / "a.json",
        key="k",
        size=4_000_000_000,
    )
    assert skimming.done_of(item) == skimming.Done()
    skimming.note(item, skimming.Done(100_000, 20_000, 1_000_000_000))
    text = skimming.line(skimming.done_of(item), item.size, 10.0)
    assert text == (
        "skimming: 1.00 of 4.00 GB, 10,000 events/s, 100 MB/s, kept 20,000 of 100,000 events (20.00%), 30 s left"
    )
    with skimming.meter([item]):
        pass
    assert "kept 20,000 of 100,000" in capsys.readouterr().out
    skimming.forget([item])
    assert not list(tmp_path.iterdir())


def test_a_line_is_printed_while_the_work_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(skimming, "ELSEWHERE", 0.05)
    with skimming.meter([]):
        time.sleep(0.5)
    assert capsys.readouterr().out.count("skimming:") > 2


def test_a_branch_that_pybes3_read_is_in_the_books_and_said(inputs, tmp_path, monkeypatch, capsys):
    def unknown(*_):
        raise UnknownLayoutError("class TTofTrack has version 3, which the file does not describe")

    def collect(baskets, entries, place, layouts):
        return unknown() if layouts.name == "TTofTrack" else original(baskets, entries, place, layouts)

    original = dst.collect
    monkeypatch.setattr(dst, "collect", collect)
    common = ("--output", tmp_path, "--executor", "iterative", "--all", "--sqrt-s", "3.097")
    assert lnv("skim", *inputs[:2], *common) == 0
    assert "m_tofTrackCol was read by pybes3, which is slower, in 2 file(s)" in capsys.readouterr().err
    (source, _) = json.loads((tmp_path / "skim" / "skim_0.json").read_text())["sources"]
    assert list(source["fallbacks"]) == ["TDstEvent/m_tofTrackCol"]
