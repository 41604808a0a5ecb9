"""Filesets: what is refused, how paths resolve, what completing adds."""

import dataclasses
import json
import shutil
import uuid

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from run_cases import counting_processor, write_ntuple

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter
from jpsi_lnv.analysis.events.schema import BRANCHES, META
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.chunks import work_items
from jpsi_lnv.processors.cli import lnv

pytestmark = pytest.mark.fast

COUNTING = counting_processor().selections


def raw(path):
    return json.loads(path.read_text())


def rewrite(source, target, change):
    content = raw(source)
    change(content)
    for dataset in (d for d in content.values() if "files" in d):
        dataset["files"] = {
            str(source.parent / p) if not p.startswith(("/", "root:")) else p: v for p, v in dataset["files"].items()
        }
    target.write_text(json.dumps(content))
    return target


def test_completed_form_gives_work_items_without_opening_a_file(small_fileset):
    fileset = filesets.load(small_fileset)
    items = work_items(fileset, 100, selections=COUNTING)
    assert sum(len(i) for i in items) == 1500
    assert {i.filename for i in items} == {f.path for d in fileset.values() for f in d.files}
    assert all(i.usermeta["kind"] == "signal" for i in items)
    assert [len(i) for i in work_items(fileset, 100, max_chunks=1, selections=COUNTING)] == [100, 100]


def test_a_chunk_knows_the_entries_that_are_missing(small_fileset):
    fileset = filesets.load(small_fileset)
    first = fileset["signal"].files[0]
    items = work_items(fileset, 100, {first.uuid: [(20, 150)]}, selections=COUNTING)
    assert [(i.entrystart, i.entrystop) for i in items] == [(20, 100), (100, 150)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["signal"]["metadata"].pop("sqrt_s"), ["signal", "sqrt_s"]),
        (lambda c: c["signal"]["metadata"].update(kind="signl"), ["signal", "kind", "signl"]),
        (lambda c: c["signal"].pop("files"), ["signal", "files"]),
        (lambda c: c["signal"].update(files={}), ["signal", "empty"]),
        (lambda c: c.update({"J/ψ": c.pop("signal")}), ["J/ψ", "ASCII"]),
        (lambda c: c["signal"]["files"].update({"a.root": "Events"}), ["signal", "a.root", "lnv fileset complete"]),
        (lambda c: next(iter(c["signal"]["files"].values())).pop("sha256"), ["signal", "sha256"]),
        (lambda c: next(iter(c["signal"]["files"].values())).update(nix=1), ["signal", "nix"]),
        (lambda c: next(iter(c["signal"]["files"].values())).update(n_produced=-5), ["signal", "n_produced is -5"]),
        (lambda c: next(iter(c["signal"]["files"].values())).update(n_produced="9"), ["signal", "n_produced is '9'"]),
        (lambda c: c["other"]["files"].update(c["signal"]["files"]), ["other", "twice", "signal"]),
    ],
)
def test_a_wrong_fileset_is_refused_by_name(small_fileset, tmp_path, change, words):
    with pytest.raises(FilesetError) as caught:
        filesets.load(rewrite(small_fileset, tmp_path / "f.json", change))
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "3"])
def test_what_is_no_fileset_is_refused(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(FilesetError, match=r"f\.json"):
        filesets.load(path)
    with pytest.raises(FilesetError, match="cannot be read"):
        filesets.load(tmp_path)


def test_datasets_are_chosen_by_patterns(small_fileset):
    fileset = filesets.load(small_fileset)
    assert list(filesets.select(fileset, "sig*")) == ["signal"]
    assert list(filesets.select(fileset, "other, signal")) == ["signal", "other"]
    assert len(filesets.select(fileset, None, 1)["signal"].files) == 1
    with pytest.raises(FilesetError, match="no dataset matches ''"):
        filesets.select(fileset, "")
    with pytest.raises(FilesetError, match="nix"):
        filesets.select(fileset, "nix")


def test_complete_expands_patterns_and_writes_relative_paths(small_fileset, tmp_path):
    plain = tmp_path / "plain.json"
    pattern = str(small_fileset.parent / "signal_*.root")
    plain.write_text(json.dumps({"s": {"files": [pattern], "metadata": {"kind": "signal", "sqrt_s": 3.1}}}))
    target = tmp_path / "out" / "fileset.json"
    result = CliRunner().invoke(lnv, ["fileset", "complete", str(plain), "--output", str(target)])
    assert result.exit_code == 0, result.output
    completed, known = filesets.load(target), filesets.load(small_fileset)
    assert completed["s"].files == known["signal"].files
    assert all(not p.startswith("/") for p in raw(target)["s"]["files"])
    assert completed["s"].n_produced == 2 * (350 + 420)
    assert completed["s"].files[0].clusters == (0, 100, 200, 300, 350)


def complete(tmp_path, files):
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"s": {"files": files, "metadata": {"kind": "signal", "sqrt_s": 3.1}}}))
    return CliRunner().invoke(lnv, ["fileset", "complete", str(plain), "--output", str(tmp_path / "o.json")])


def test_one_file_by_two_paths_or_as_a_copy_is_refused(small_fileset, tmp_path):
    path = small_fileset.parent / "signal_0.root"
    twice = complete(tmp_path, [str(path), str(path.parent / ".." / path.parent.name / path.name)])
    assert isinstance(twice.exception, FilesetError)
    assert "twice" in str(twice.exception)
    shutil.copy(path, tmp_path / "copy.root")
    copied = complete(tmp_path, [str(path), "copy.root"])
    assert isinstance(copied.exception, FilesetError)
    assert "copy.root" in str(copied.exception)
    assert not (tmp_path / "o.json").exists()


def test_a_pattern_without_files_and_a_broken_file_are_refused(tmp_path):
    assert "no file matches" in str(complete(tmp_path, ["nix_*.root"]).exception)
    (tmp_path / "bad.root").write_bytes(b"<html>")
    broken = complete(tmp_path, ["bad.root"])
    assert isinstance(broken.exception, NtupleError)
    assert "bad.root" in str(broken.exception)
    absent = complete(tmp_path, ["absent.root"])
    assert isinstance(absent.exception, NtupleError)


def test_verified_files_are_remembered_until_they_change(small_fileset, tmp_path, monkeypatch):
    small_fileset = shutil.copytree(small_fileset.parent, tmp_path / "own") / "fileset.json"
    fileset = filesets.load(small_fileset)
    verified = verify.Verified(tmp_path / "verified.json")
    for check in verify.checks(fileset, "sha256", verified):
        verified.add(verify.check_file(check)["out"])
    hashed = []
    monkeypatch.setattr(verify, "sha256", lambda path: hashed.append(path) or "")
    again = verify.checks(fileset, "sha256", verify.Verified(tmp_path / "verified.json"))
    for check in again:
        verify.check_file(check)
    assert hashed == []
    (small_fileset.parent / "signal_0.root").touch()
    with pytest.raises(NtupleError, match="sha256"):
        verify.check_file(again[0])


def test_only_a_checksum_that_was_read_is_remembered(small_fileset):
    checks = verify.checks(filesets.load(small_fileset), "size", verify.Verified(""))
    assert [verify.check_file(check)["out"][check.filename] for check in checks] == [[]] * len(checks)


def test_parts_of_a_source_that_meet_are_no_overlap_in_whatever_order_they_come(small_fileset):
    dataset = filesets.load(small_fileset)["signal"]

    def refused(*spans):
        files = tuple(
            dataclasses.replace(file, sources=(("source", *span),))
            for file, span in zip(dataset.files, spans, strict=False)
        )
        try:
            filesets._refuse_overlaps({"signal": dataclasses.replace(dataset, files=files)})
        except FilesetError:
            return True
        return False

    assert not refused((10, 20), (0, 10), (20, 30))
    assert refused((10, 20), (0, 11), (20, 30))


def test_a_file_that_was_completed_is_not_hashed_again_for_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_ntuple(tmp_path / "a.root", 100, seed=3)
    fileset = {"s": completed(tmp_path, ["a.root"])}
    verified = verify.Verified(verify.memory(verify.VERIFIED, tmp_path))
    hashed = []
    monkeypatch.setattr(verify, "sha256", lambda path: hashed.append(path) or "")
    (known,), (fresh,) = (verify.checks(fileset, how, verified) for how in ("sha256", "fresh"))
    assert verify.check_file(known)["out"]
    assert hashed == []
    path.touch()
    for check in (known, fresh):
        with pytest.raises(NtupleError, match="sha256"):
            verify.check_file(check)


def completed(tmp_path, files, **metadata):
    plain = tmp_path / "plain.json"
    chosen = {"kind": "signal", "sqrt_s": 3.097} | metadata
    plain.write_text(json.dumps({"s": {"files": files, "metadata": chosen}}))
    result = CliRunner().invoke(lnv, ["fileset", "complete", str(plain), "--output", str(tmp_path / "o.json")])
    return str(result.exception) if result.exit_code else filesets.load(tmp_path / "o.json")["s"]


@pytest.fixture
def alone(tmp_path):
    """A file of 100 events of 250 generated, and what writes it again without, or with another, `Meta`."""
    path = write_ntuple(tmp_path / "alone.root", 100, seed=3, n_produced=250, run=-3)

    def change(meta, run=-3):
        with uproot.open(path) as file:
            columns = file["Events"].arrays([n for n in BRANCHES if n in file["Events"]], how=dict)
        columns["run"] = ak.Array(np.full(100, run, np.int32))
        scalars = {n: v for n, v in columns.items() if not BRANCHES[n][0]}
        groups = {
            c: ak.zip({BRANCHES[n][1].name: v for n, v in columns.items() if BRANCHES[n][0] == c}, depth_limit=2)
            for c in ("Track", "Shower")
        }
        with uproot.recreate(path) as file:
            tree = file.mktree("Events", {n: v.type.content for n, v in (scalars | groups).items()})
            tree.extend(scalars | groups)
            if meta is not None:
                columns = {c.name: np.zeros(1, c.dtype) for c in META} | {n: np.array([v]) for n, v in meta.items()}
                file.mktree("Meta", {n: v.dtype for n, v in columns.items()}).extend(columns)
        return str(path)

    return change


def test_simulation_without_its_counts_is_refused_unless_they_are_stated(alone, tmp_path):
    path = alone(None)
    said = completed(tmp_path, [path])
    assert "got no tree 'Meta'" in said
    assert '{"object_path": "Events", "n_produced": N}' in said
    stated = {path: {"object_path": "Events", "n_produced": 250}}
    assert completed(tmp_path, stated).n_produced == 250
    assert "wanted no fewer than the 100 events" in completed(tmp_path, {path: {"n_produced": 99}})
    data = {"kind": "data", "is_simulation": False}
    assert completed(tmp_path, [alone(None, run=3)], **data).n_produced == 100


def test_counts_of_the_fileset_and_of_the_file_must_agree(alone, tmp_path):
    path = alone({"n_produced": 250, "n_stored": 100})
    assert completed(tmp_path, [path]).n_produced == 250
    assert completed(tmp_path, {path: {"n_produced": 250}}).n_produced == 250
    assert "the fileset says n_produced 300, 'Meta' in the file says 250" in completed(
        tmp_path, {path: {"n_produced": 300}}
    )


def test_a_partial_copy_that_kept_its_counts_is_refused(alone, tmp_path):
    path = alone({"n_produced": 1000, "n_stored": 400})
    said = completed(tmp_path, [path])
    assert "says that the file holds 400 events of 1000" in said
    assert "it holds 100" in said
    assert completed(tmp_path, {path: {"n_produced": 250}}).n_produced == 250


def test_one_source_skimmed_twice_is_refused(tmp_path):
    source = uuid.uuid4()

    def write(name, seed, entries):
        path = write_ntuple(tmp_path / name, 50, seed=seed)
        with uproot.open(path) as file:
            columns = {n: v for n, v in file["Events"].arrays(how=dict).items() if n in BRANCHES}
        given = {n: ak.to_numpy(ak.flatten(v, axis=None)) for n, v in columns.items()}
        given |= {n: (np.arange(51) * (len(v) // 50), v) for n, v in given.items() if BRANCHES[n][0]}
        with NtupleWriter(path) as writer:
            writer.extend(given)
            writer.add_source(n_produced=50, n_stored=50, source=source, entries=entries)
        return str(path)

    apart = [write("a.root", 1, (0, 500)), write("b.root", 2, (500, 900))]
    assert completed(tmp_path, apart).num_entries == 100
    said = completed(tmp_path, [*apart, write("c.root", 3, (400, 450))])
    assert "b.root" not in said
    for words in ("c.root holds entries 400 to 450", "a.root", "holds 0 to 500", str(source), "count twice"):
        assert words in said


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"sqrt_s": 3.686}, "energy of 3.0970 GeV; wanted 3.686 GeV within 0.005 GeV"),
        ({"kind": "data", "is_simulation": True}, None),
        ({"kind": "data"}, "metadata lack 'is_simulation'"),
        ({"kind": "continuum"}, "false for recorded events, true for pseudo-data"),
        ({"is_simulation": False}, "'is_simulation' is False; wanted"),
        ({"n_jpsi": "2009+2013"}, "names of published data sets: 2009+2012+2017-2019"),
        ({"n_jpsi": 1e308}, "'n_jpsi' is 1e+308"),
        ({"sqrt_s": True}, "'sqrt_s' is True"),
        ({"period": 2012}, "runs are -1 to -1; wanted those of period 2012 of the metadata, 25338 to 28266: mend"),
        ({"kind": "data", "is_simulation": True, "n_jpsi": 10}, None),
        (
            {"kind": "data", "is_simulation": True, "n_jpsi": 9},
            "'n_jpsi' is 9, for 30 events; wanted at least one for 3",
        ),
    ],
)
def test_metadata_that_contradict_the_file_or_say_too_little_are_refused(tmp_path, metadata, said):
    path = str(write_ntuple(tmp_path / "a.root", 30, seed=1))
    found = completed(tmp_path, [path], **metadata)
    assert said in found if said else found.num_entries == 30


def test_negative_runs_are_simulation(tmp_path):
    path = str(write_ntuple(tmp_path / "a.root", 30, seed=1, run=-9947))
    assert "runs are negative (-9947 to -9947)" in completed(tmp_path, [path], kind="data", is_simulation=False)
    assert completed(tmp_path, [path]).num_entries == 30


def test_a_completed_fileset_that_was_edited_is_refused_by_the_run(small_fileset, tmp_path):
    edited = rewrite(small_fileset, tmp_path / "f.json", lambda c: c["signal"]["metadata"].update(sqrt_s=3.65))
    with pytest.raises(FilesetError, match=r"2 faults\n.*signal_0\.root: events have .* 3\.0970 GeV; wanted 3\.65 GeV"):
        filesets.load(edited)


def test_published_data_sets_have_names():
    def n_jpsi(names):
        return DatasetMetadata.from_dict("d", {"kind": "data", "is_simulation": False, "sqrt_s": 3.1, "n_jpsi": names})

    assert n_jpsi("2009+2012+2017-2019").n_jpsi == 10087e6
    assert n_jpsi("2009+2012").n_jpsi == pytest.approx(1312.5e6)
    assert n_jpsi(5e6).n_jpsi == 5e6


def test_every_fault_of_every_file_is_said_at_once(tmp_path):
    (tmp_path / "page.root").write_text("<html>")
    good = str(write_ntuple(tmp_path / "good.root", 10, seed=1))
    nan = str(write_ntuple(tmp_path / "nan.root", 10, seed=2, change=lambda v: np.full_like(v, np.nan)))
    said = completed(tmp_path, [good, nan, "page.root", "absent.root"])
    lines = said.splitlines()
    assert "3 faults" in lines[0]
    assert [name for name in ("nan.root", "page.root", "absent.root") if sum(name in line for line in lines) < 1] == []
    assert not (tmp_path / "o.json").exists()


def test_a_file_that_was_read_through_is_not_read_again_until_it_changes(tmp_path, monkeypatch):
    path = write_ntuple(tmp_path / "a.root", 30, seed=1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = completed(tmp_path, [str(path)])
    read = []
    inspect = verify.inspection.inspect
    monkeypatch.setattr(verify.inspection, "inspect", lambda *a: read.append(a) or inspect(*a))
    assert completed(tmp_path, [str(path)]) == first
    assert read == []
    write_ntuple(path, 31, seed=1)
    assert completed(tmp_path, [str(path)]).num_entries == 31
    assert len(read) == 1


@pytest.mark.parametrize("name", ["data[2018].root", "what?.root", "a*b.root", "x.root:", "a::b.root"])
def test_a_file_is_found_by_its_name_whatever_it_looks_like(tmp_path, name):
    write_ntuple(tmp_path / "plain.root", 30, seed=1).rename(tmp_path / name)
    (file,) = completed(tmp_path, [name]).files
    assert file.path == str(tmp_path / name)


def test_pseudo_data_of_two_energies_may_number_their_events_alike(tmp_path):
    files = [verify.describe(str(write_ntuple(tmp_path / f"{k}.root", 300, k, run=9900))) for k in (1, 2)]

    def fileset(*energies):
        records = ({"kind": "continuum", "is_simulation": True, "sqrt_s": energy} for energy in energies)
        metadata = [DatasetMetadata.from_dict(str(k), record) for k, record in enumerate(records)]
        return {str(k): filesets.Dataset(str(k), m, (f,)) for k, (m, f) in enumerate(zip(metadata, files, strict=True))}

    filesets.refuse_repetition(fileset(3.08, 3.65))
    with pytest.raises(FilesetError, match=r"holds events of '0', file .*1.root"):
        filesets.refuse_repetition(fileset(3.08, 3.0801))
