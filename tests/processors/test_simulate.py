"""`lnv simulate`: sets and single channels, resumed, on any executor, with nothing half-written left."""

from __future__ import annotations

import collections
import errno
import json
import os
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.simulation import samplesets
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS
from jpsi_lnv.processors import sample_files
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.work.executors import FuturesExecutor, IterativeExecutor

ROOT = Path(__file__).parents[2]
N = BLOCK_EVENTS + 500


def lnv(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


def make(directory, executor, n=N):
    samples = samplesets.SampleSet("tiny", 3, (samplesets.signal(n),))
    items = sample_files.plan(samples, directory)
    sample_files.prepare(items[0].directory, n)
    books = sample_files.Books(items[0].directory, items)
    executor.sink = books.enter
    executor(items, sample_files.simulate_file, {})
    return items, books


def read(items):
    """Return every branch of all files, in the order of their events."""
    ordered = sorted(items, key=lambda item: item.entrystart)
    trees = [uproot.open(item.filename)["Events"] for item in ordered]
    names = [n for n in trees[0].keys() if not n.startswith("n")]  # noqa: SIM118 uproot's keys are not its iterator
    arrays = {}
    for name in names:
        parts = [tree[name].array() for tree in trees]
        arrays[name] = np.concatenate([ak.to_numpy(ak.flatten(p, axis=None)) for p in parts])
    return arrays


def test_chunking_and_workers_change_no_value(tmp_path, monkeypatch):
    whole, _ = make(tmp_path / "one", IterativeExecutor())
    monkeypatch.setattr(samplesets, "FILE_BLOCKS", 1)
    pieces, _ = make(tmp_path / "two", FuturesExecutor(workers=2))
    assert len(whole) == 1
    assert len(pieces) == 2
    one, two = read(whole), read(pieces)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    np.testing.assert_array_equal(one["event"], np.arange(1, N + 1))


def test_a_file_says_how_many_events_were_produced(tmp_path):
    items, books = make(tmp_path, IterativeExecutor(), 700)
    with uproot.open(items[0].filename) as file:
        assert file["Meta"].arrays(library="np")["n_produced"].tolist() == [700]
        assert file["Events"].num_entries == 700
    assert books.missing == []
    assert sample_files.read_books(items[0].directory) == books.made


def test_files_are_read_by_root(tmp_path):
    if "ROOT_PYTHON" not in os.environ:
        pytest.skip("make root (or set ROOT_PYTHON to a Python with ROOT)")
    items, _ = make(tmp_path, IterativeExecutor(), 300)
    code = (
        "import sys, ROOT; file = ROOT.TFile.Open(sys.argv[1]); events, meta = file.Get('Events'), file.Get('Meta'); "
        "n = sum(len(event.Track_kappa) for event in events); print('READ', events.GetEntries(), n, meta.GetEntries())"
    )
    call = [os.environ["ROOT_PYTHON"], "-c", code, items[0].filename]
    out = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    with uproot.open(items[0].filename) as file:
        n_tracks = int(file["Events/nTrack"].array(library="np").sum())
    assert out.partition("READ")[2].split() == ["300", str(n_tracks), "1"]


def test_the_tracked_fileset_is_the_one_of_the_demo_set():
    tracked = json.loads((ROOT / "fileset.json").read_text())
    assert tracked == samplesets.fileset(samplesets.sample_set("demo"), "samples/demo/")


@pytest.mark.fast
@pytest.mark.parametrize("name", samplesets.SETS)
def test_sets_have_unique_names_and_valid_metadata(name):
    samples = samplesets.sample_set(name)
    names = [d.name for d in samples.datasets]
    assert len(set(names)) == len(names)
    for dataset, entry in samplesets.fileset(samples).items():
        assert DatasetMetadata.from_dict(dataset, entry["metadata"]).to_dict() == entry["metadata"]
        assert entry["files"]
    jobs = samplesets.file_jobs(samples)
    assert sum(j.n_events for j in jobs) == sum(d.n_events for d in samples.datasets)
    assert len({j.path for j in jobs}) == len(jobs)


@pytest.mark.fast
def test_the_paper_set_is_the_publication_s():
    datasets = {d.name: d for d in samplesets.sample_set("paper").datasets}
    assert datasets["signal"].n_events == 100_000
    points = [d for d in datasets.values() if d.metadata.kind == "majorana"]
    modes = collections.Counter(d.metadata.majorana_mode for d in points)
    assert modes == {"2nu": 39, "1nu": 39}
    assert min(d.n_events for d in points) >= 10_000
    assert {0.575, 1.525} <= {d.metadata.m_majorana for d in points}
    luminosities = {
        d.metadata.sqrt_s: d.metadata.luminosity for d in datasets.values() if d.metadata.kind == "continuum"
    }
    assert luminosities == {3.080: 167.0, 3.650: 410.0, 3.682: 404.0}
    assert {"inclusive", "ee", "kkpi0", "ppbarpipi", "pseudo_data"} <= set(datasets)
    assert datasets["pseudo_data"].metadata.is_blind


@pytest.mark.fast
def test_a_digest_knows_what_a_file_depends_on():
    def digest(code="c", seed=1, n=100):
        jobs = samplesets.file_jobs(samplesets.SampleSet("s", seed, (samplesets.signal(n),)))
        return samplesets.job_digest(jobs[0], code)

    assert digest() == digest()
    assert len({digest(), digest(code="d"), digest(seed=2), digest(n=101)}) == 4


def test_one_channel_from_the_command_line(tmp_path, capsys):
    arguments = ("simulate", "--process", "kkpipi", "--events", 400, "--output", tmp_path, "--executor", "iterative")
    assert lnv(*arguments) == 0
    assert "1 files written with 400 events" in capsys.readouterr().out
    fileset = json.loads((tmp_path / "kkpipi" / "fileset.json").read_text())
    assert list(fileset["kkpipi"]["files"]) == ["kkpipi_0.root"]
    assert fileset["kkpipi"]["metadata"]["branching_fraction"] == 7.04e-3
    before = (tmp_path / "kkpipi" / "kkpipi_0.root").stat().st_mtime_ns
    assert lnv(*arguments, "--if-missing") == 0
    assert "0 files written with 0 events, 1 kept" in capsys.readouterr().out
    assert lnv(*arguments, "--if-missing", "--seed", 9) == 0
    assert "1 files written" in capsys.readouterr().out
    assert (tmp_path / "kkpipi" / "kkpipi_0.root").stat().st_mtime_ns > before


def test_a_removed_file_is_made_again(tmp_path, capsys):
    arguments = ("simulate", "--majorana", 0.9, "--events", 300, "--output", tmp_path, "--executor", "iterative")
    assert lnv(*arguments) == 0
    path = tmp_path / "majorana_2nu_0900" / "majorana_2nu_0900_0.root"
    path.unlink()
    assert lnv(*arguments, "--if-missing") == 0
    assert path.is_file()


def test_shares_of_a_set_make_the_set(tmp_path, capsys, monkeypatch):
    datasets = (samplesets.signal(200), samplesets.background("kkpipi", 300), samplesets.background("kkkk", 100))
    monkeypatch.setattr(samplesets, "SETS", samplesets.SETS | {"ci": lambda _channel: datasets})
    arguments = ("simulate", "--set", "ci", "--executor", "iterative", "--output")
    assert lnv(*arguments, tmp_path / "one") == 0
    for part in ("2/2", "1/2"):
        assert lnv(*arguments, tmp_path / "shares", "--part", part) == 0
        assert f"share {part} of ci is whole" in capsys.readouterr().out
        assert not (tmp_path / "shares" / "ci" / "fileset.json").exists()
    (tmp_path / "shares" / "ci" / "kkkk_0.root").unlink()
    assert lnv(*arguments, tmp_path / "shares", "--if-missing") == 0
    assert "ci: 1 files written with 100 events, 2 kept" in capsys.readouterr().out
    one, shares = (tmp_path / name / "ci" for name in ("one", "shares"))
    assert (shares / "fileset.json").read_text() == (one / "fileset.json").read_text()
    for name in ("signal_0.root", "kkpipi_0.root", "kkkk_0.root"):
        a, b = (uproot.open(place / name)["Events"].arrays(library="ak") for place in (one, shares))
        assert ak.array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--majorana", 0.3), "m_majorana: got 0.3 GeV/c^2, wanted above 0.4942"),
        (("--majorana", 1.6), "below 1.5485 for mode 2nu"),
        (("--process", "kkkk", "--events", 0), "got 0 events, wanted at least one"),
        (("--inclusive", "--events", -5), "got -5 events"),
    ],
)
def test_wrong_wishes_are_one_line(tmp_path, capsys, arguments, wanted):
    assert lnv("simulate", *arguments, "--output", tmp_path) == 1
    error = capsys.readouterr().err
    assert wanted in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert lnv("simulate", "--process", "kkkk", "--output", tmp_path / "taken") == 2
    assert "is a file" in capsys.readouterr().err


def test_an_unwritable_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(NtupleError, match="not writable"):
        sample_files.prepare(tmp_path / "samples", 10)


def test_too_small_a_disk_is_seen_beforehand(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(sample_files.shutil, "disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(NtupleError, match=r"0\.00 GB left, about 5\.00 GB are needed"):
        sample_files.prepare(tmp_path / "samples", 5_000_000)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch, capsys):
    from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter

    def full(self, block):
        raise self._failure(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(NtupleWriter, "_write", full)
    arguments = ("simulate", "--process", "kkkk", "--events", 200, "--output", tmp_path, "--executor", "iterative")
    assert lnv(*arguments) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "1 of 1 files of set 'kkkk' are missing" in error
    assert not list(tmp_path.rglob("*.root*"))


def test_broken_books_are_no_books(tmp_path):
    (tmp_path / sample_files.BOOKS).write_text("{half")
    assert sample_files.read_books(tmp_path) == {}


def test_validation_is_printed_and_written(tmp_path, capsys, monkeypatch):
    from jpsi_lnv.analysis.report import validation

    monkeypatch.setattr(validation, "N_SIGNAL", 1_000)
    monkeypatch.setattr(validation, "N_IDEAL", 2_000)
    monkeypatch.setattr(validation, "N_INCLUSIVE", 2_000)
    few = validation.paper.MASS_SCAN[:4]
    monkeypatch.setattr(validation.paper, "MASS_SCAN", few)
    original = validation.mass_point
    monkeypatch.setattr(validation, "mass_point", lambda seed, point: original(seed, point, 500))
    monkeypatch.setattr(validation, "resolutions", lambda rng: validation.ideal_fit(rng)[:1])
    assert lnv("simulate", "--validate", "--output", tmp_path) == 0
    assert "mean chi2_4C" in capsys.readouterr().out
    content = json.loads((tmp_path / "validation.json").read_text())
    assert len(content["efficiency"]) == len(few)
    assert {"species", "as_kaon", "as_electron"} <= set(content["identification"][0])
    assert (tmp_path / "validation_efficiency.png").stat().st_size > 1000
