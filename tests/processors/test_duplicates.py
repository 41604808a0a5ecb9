"""Repeated (run, event) pairs: found whatever the memory, in data among files, in simulation within one."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from run_cases import make_fileset, write_ntuple

from jpsi_lnv.analysis.errors import FilesetError, NtupleError
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.books import verify
from jpsi_lnv.processors.books.verify import find
from jpsi_lnv.processors.cli import lnv
from jpsi_lnv.processors.work.guard import is_io_error


def complete(directory, paths, kind):
    metadata = {"kind": kind, "is_simulation": True, "sqrt_s": 3.1}
    plain = directory / "plain.json"
    plain.write_text(json.dumps({"d": {"files": [str(p) for p in paths], "metadata": metadata}}))
    target = directory / "fileset.json"
    result = CliRunner().invoke(lnv, ["fileset", "complete", str(plain), "--output", str(target)])
    assert result.exit_code == 0, result.output
    return target


@pytest.fixture
def overlapping(tmp_path):
    """Two files of one run: events 0 to 299 and, written again, 0 to 99."""
    return [write_ntuple(tmp_path / "a.root", 300, 5), write_ntuple(tmp_path / "b.root", 100, 5)]


@pytest.mark.parametrize("part_pairs", [7, 64, 10_000])
def test_pairs_repeat_among_files_of_data(overlapping, tmp_path, part_pairs):
    dataset = filesets.load(complete(tmp_path, overlapping, "data"))["d"]
    seen = []
    found = sorted(find(dataset, seen.append, part_pairs), key=lambda d: d.event)
    assert [(d.run, d.event) for d in found] == [(-5, k) for k in range(100)]
    assert all(d.files == tuple(map(str, overlapping)) for d in found)
    assert sum(seen) == 400


@pytest.mark.fast
def test_simulated_jobs_may_repeat_event_numbers(overlapping, tmp_path):
    dataset = filesets.load(complete(tmp_path, overlapping, "signal"))["d"]
    assert list(find(dataset, lambda n: None)) == []


@pytest.mark.fast
def test_the_command_names_the_files(overlapping, tmp_path):
    path = complete(tmp_path, overlapping, "data")
    plain = CliRunner().invoke(lnv, ["fileset", "check", str(path), "--output", str(tmp_path / "r")])
    assert plain.exit_code == 0, plain.output
    result = CliRunner().invoke(lnv, ["fileset", "check", str(path), "--duplicates", "--output", str(tmp_path / "r")])
    assert isinstance(result.exception, FilesetError)
    assert "100 (run, event) pair(s) repeat" in str(result.exception)
    assert "a.root" in str(result.exception)
    assert "b.root" in str(result.exception)
    assert len(json.loads((tmp_path / "r" / "fileset_check.json").read_text())["duplicates"]) == 100


def test_the_command_names_bad_files(tmp_path):
    path = make_fileset(tmp_path, {"signal": [50, 60]})
    shutil.copy(tmp_path / "signal_0.root", tmp_path / "signal_1.root")
    result = CliRunner().invoke(lnv, ["fileset", "check", str(path), "--output", str(tmp_path / "r")])
    assert isinstance(result.exception, NtupleError)
    assert "signal_1.root" in str(result.exception)


def test_random_pairs_are_found_as_numpy_finds_them(tmp_path):
    rng = np.random.default_rng(3)
    path = make_fileset(tmp_path, {"data": [400, 300, 200]}, kind="data", n_jpsi=1e6)
    dataset = filesets.load(path)["data"]
    assert list(find(dataset, lambda n: None, int(rng.integers(5, 50)))) == []


def test_which_errors_are_tried_again():
    assert is_io_error(OSError())
    assert not is_io_error(ValueError())
    assert verify.stamp("root://host//f.root") == ""
