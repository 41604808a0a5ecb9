"""Derived numbers say which result they were made from, and readers believe only those of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jpsi_lnv.analysis import derived, documents
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult, read, write

pytestmark = pytest.mark.fast


def result(n_passed=3, fileset_digest="def", blind=False):
    record = DatasetMetadata(kind="data", sqrt_s=M_JPSI, blind=blind)
    search = SelectionResult({"all": 10, "signal_region": n_passed}, candidates={"m_kkee": np.full(n_passed, 3.1)})
    datasets = {"data": DatasetResult(record, 10, 10, {"search": search})}
    return Results(datasets, {"cuts_digest": "abc", "fileset_digest": fileset_digest}, {"complete": True})


def test_what_was_written_is_read(tmp_path):
    derived.write(tmp_path / "deep", "limits", {"limits": [1, 2]}, result())
    assert derived.read(tmp_path / "deep", "limits", result())["limits"] == [1, 2]


def test_a_saved_result_has_the_identity_of_the_one_in_memory(tmp_path):
    write(tmp_path / "accumulator.zip", result())
    assert read(tmp_path / "accumulator.zip").identity == result().identity


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        (result(fileset_digest="xyz"), "fileset_digest: def, here it is xyz"),
        (result(n_passed=4), "counts_digest"),
        (result(blind=True), "counts_digest"),
    ],
)
def test_numbers_of_another_result_are_refused(tmp_path, other, differing):
    derived.write(tmp_path, "limits", {"limits": []}, result())
    with pytest.raises(ResultsError, match=rf"limits.json: .*{differing}.*run `lnv limits` again"):
        derived.read(tmp_path, "limits", other)


def test_numbers_made_with_other_options_are_refused(tmp_path):
    derived.write(tmp_path, "background", {"total": 1}, result(), {"n_jpsi": 1e9, "rule": "average"})
    assert derived.read(tmp_path, "background", result(), {"n_jpsi": 1e9})["total"] == 1
    with pytest.raises(ResultsError, match=r"n_jpsi = 1000000000.0, wanted 2000000000.0; run `lnv background` again"):
        derived.read(tmp_path, "background", result(), {"n_jpsi": 2e9})
    with pytest.raises(ResultsError, match="seed = None, wanted 3"):
        derived.read(tmp_path, "background", result(), {"seed": 3})


@pytest.mark.parametrize("change", [lambda path: path.write_text("{}"), lambda path: path.unlink()])
@pytest.mark.parametrize("place", [".", "elsewhere"])
def test_numbers_made_from_a_file_that_was_replaced_are_refused(tmp_path, change, place):
    used = derived.write(tmp_path / place, "background", {"total": 1}, result())
    derived.write(tmp_path, "limits", {"limits": []}, result(), files=[used])
    assert derived.read(tmp_path, "limits", result())["limits"] == []
    change(used)
    with pytest.raises(ResultsError, match=r"made from another .*background.json than is there now; run `lnv limits`"):
        derived.read(tmp_path, "limits", result())


def test_numbers_of_unknown_origin_are_refused(tmp_path):
    (tmp_path / "limits.json").write_text(json.dumps({"limits": []}))
    with pytest.raises(ResultsError, match="does not say which result"):
        derived.read(tmp_path, "limits", result())


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[]", "holds list; wanted an object")])
def test_broken_files_are_named(tmp_path, text, said):
    (tmp_path / "background.json").write_text(text)
    with pytest.raises(ResultsError, match=rf"background.json: {said}.*`lnv background`"):
        derived.read(tmp_path, "background", result())


def test_a_missing_file_names_its_command(tmp_path):
    with pytest.raises(ResultsError, match="lnv optimize"):
        derived.read(tmp_path, "optimization", result())


def test_numbers_that_are_none_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        derived.write(tmp_path, "limits", {"limits": [float("nan")]}, result())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = documents.write_text(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        documents.write_text(path, "half \ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"
