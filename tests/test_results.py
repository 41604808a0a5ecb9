"""A saved result reads back equal, refuses what it is not, and never runs code."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import hist
import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult, read, write
from jpsi_lnv.analysis.selection import search

pytestmark = pytest.mark.fast


@pytest.fixture
def result():
    filled = search.book(KKEE)
    filled["m_kkee"].fill(["signal_region"] * 3, [3.0, 3.1, 9.0])
    filled["chi2_4c_m_kkee"].fill([3.0, 500.0], [3.1, 3.2])
    filled["weighted"] = hist.Hist.new.Reg(4, 0, 1, name="x").Weight().fill([0.1, 0.2], weight=[2.0, 0.5])
    table = {"run": np.array([3, 5], np.int32), "m_kkee": np.array([3.09, 3.1])}
    selection = SelectionResult({"all": 9, "signal_region": 2}, filled, {"ok": 4}, table)
    metadata = DatasetMetadata(kind="signal", sqrt_s=3.0969)
    return Results(
        {"signal": DatasetResult(metadata, 10, 9, {"search": selection})}, {"commit": None}, {"complete": True}
    )


def test_round_trip(tmp_path, result):
    write(tmp_path / "deep" / "accumulator.zip", result)
    again = read(tmp_path / "deep" / "accumulator.zip")
    before, after = (r.datasets["signal"].selections["search"] for r in (result, again))
    assert after.cutflow == before.cutflow
    assert list(after.cutflow) == list(before.cutflow)
    assert after.histograms == before.histograms
    assert [h.storage_type for h in after.histograms.values()] == [h.storage_type for h in before.histograms.values()]
    for name, values in before.candidates.items():
        np.testing.assert_array_equal(after.candidates[name], values, strict=True)
    assert again.datasets["signal"].metadata == result.datasets["signal"].metadata
    assert again.bookkeeping == result.bookkeeping
    assert after.n_passed == 2


@pytest.mark.parametrize(
    ("books", "said"),
    [
        ({"complete": "yes"}, "complete is 'yes'"),
        ({"problems": 5}, "problems is 5"),
        ({"problems": [{}]}, "problems.0 is of type dict"),
        ({"datasets": []}, "datasets is of type list"),
        ({"datasets": {"signal": {"files": 1}}}, "datasets.signal.files_skipped is missing"),
        ({"totals": {"chunks": -1}}, "totals.chunks is -1"),
        ({"failed_chunks": [3]}, "failed_chunks.0 is 3"),
        ({"skipped_files": [{"file": "x.root"}]}, "skipped_files.0.message is missing"),
    ],
)
def test_damaged_books_are_refused_in_a_line(tmp_path, result, books, said):
    write(tmp_path / "a.zip", dataclasses.replace(result, bookkeeping=books))
    with pytest.raises(ResultsError) as refused:
        read(tmp_path / "a.zip")
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"books of the result {tmp_path / 'a.zip'}: ")
    assert str(refused.value).endswith("; run `lnv run` again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ({"packages": 5}, "packages is 5"),
        ({"cuts": []}, "cuts is of type list"),
        ({"cuts_digest": 1}, "cuts_digest is 1"),
        ({"calibration": {"data": {"name": "x"}}}, "calibration.data.digest is missing"),
    ],
)
def test_a_damaged_provenance_is_refused_in_a_line(tmp_path, result, origin, said):
    write(tmp_path / "a.zip", dataclasses.replace(result, provenance=origin))
    with pytest.raises(ResultsError, match=f"^provenance of the result .*a.zip: .*{said}.*; run `lnv run` again$"):
        read(tmp_path / "a.zip")


def test_empty_candidate_tables_keep_their_types(tmp_path, result):
    empty = SelectionResult({"all": 0}, {}, {}, {"run": np.zeros(0, np.int32), "m": np.zeros(0)})
    dataset = DatasetResult(DatasetMetadata(kind="data", sqrt_s=3.0969), 0, 0, {"search": empty})
    write(tmp_path / "a.zip", Results({"data": dataset}, {}, {}))
    table = read(tmp_path / "a.zip").datasets["data"].selections["search"].candidates
    assert {k: (len(v), v.dtype) for k, v in table.items()} == {
        "run": (0, np.dtype("int32")),
        "m": (0, np.dtype("float64")),
    }


def test_nothing_in_the_file_is_a_pickle(tmp_path, result):
    write(tmp_path / "a.zip", result)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name.rpartition(".")[2] for name in archive.namelist()} == {"json", "parquet"}


def test_a_failed_write_leaves_the_old_file(tmp_path, result):
    path = tmp_path / "a.zip"
    write(path, result)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, Results(result.datasets, {"bad": object()}, {}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ResultsError, match=r"no zip archive.*wanted an accumulator\.zip"):
        read(tmp_path / "a.zip")


def test_another_format_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format_version": 99}))
    with pytest.raises(ResultsError, match="format 99"):
        read(tmp_path / "a.zip")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ResultsError, match="lnv run"):
        read(tmp_path / "none.zip")


def test_incomplete_results_are_refused_by_name(result):
    holed = Results(result.datasets, {}, {"complete": False, "problems": ["signal_0.root: events 3 to 7 are missing"]})
    with pytest.raises(IncompleteError, match="events 3 to 7"):
        holed.require_complete()
    holed.require_complete(allow_incomplete=True)
    result.require_complete()


def test_datasets_in_which_a_selection_ran(result):
    (name, dataset), *_ = result.datasets.items()
    (selection, *_), kind = dataset.selections, dataset.metadata.kind
    assert name in result.ran(selection)
    assert name in result.ran(selection, kind)
    assert result.ran(selection, "none of this kind") == {}
    assert result.ran("another", kind) == {}
