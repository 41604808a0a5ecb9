"""Filesets: what is refused, how paths resolve, what completing adds."""

import json
import shutil

import pytest
from click.testing import CliRunner
from run_cases import counting_processor

from jpsi_lnv.analysis.errors import FilesetError, NtupleError
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
