"""A result that is blinded, incomplete or made otherwise is labelled so."""

import dataclasses
import json
import shutil

import pytest

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.report import page, result, source

from .conftest import changed, make_limits, make_results

pytestmark = pytest.mark.fast


def labels(found):
    return [flag.label for flag in source.flags(found)]


def test_a_whole_result_has_no_flag(whole):
    assert labels(whole) == []


def test_incomplete(whole, merged):
    bookkeeping = merged.bookkeeping | {"complete": False, "problems": ["hole: dataset 'signal', entries 0 to 10"]}
    found = dataclasses.replace(whole, results=changed(merged, bookkeeping=bookkeeping))
    assert labels(found) == ["INCOMPLETE"]
    assert "entries 0 to 10" in source.flags(found)[0].explanation


def test_blinded_names_the_dataset():
    merged = make_results(blind=True)
    found = source.Source(merged, make_limits(merged))
    assert labels(found) == ["BLIND"]
    assert "pseudo_data" in source.flags(found)[0].explanation


def test_other_cuts_are_listed(whole, merged):
    cuts = dataclasses.asdict(dataclasses.replace(SELECTION, chi2_4c_max=25.0))
    found = dataclasses.replace(whole, results=changed(merged, provenance=merged.provenance | {"cuts": cuts}))
    assert labels(found) == ["OTHER CUTS"]
    assert "chi2_4c_max = 25.0 (now 20.0)" in source.flags(found)[0].explanation
    tables = {t.name: t for s in page.sections(found) for t in s.tables}
    assert "changed_cuts" in tables
    shown = {row["name"]: row["value"] for row in tables["cuts"].rows}
    assert shown["chi2_4c_max"] == 25.0
    pictures = {p.name: p for s in page.sections(found) for p in s.pictures}
    assert "< 25" in pictures["chi2_4c"].explanation


def test_a_requirement_that_was_not_there_yet_and_is_empty_is_no_other_cut(whole, merged):
    cuts = dataclasses.asdict(SELECTION)
    empty = next(name for name, value in cuts.items() if value == "")
    without = {name: value for name, value in cuts.items() if name != empty}
    found = dataclasses.replace(whole, results=changed(merged, provenance=merged.provenance | {"cuts": without}))
    assert labels(found) == []


def copy_of(output, tmp_path, **changed):
    """Return a copy of a directory of results whose accumulator has other parts."""
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    results.write(directory / "accumulator.zip", dataclasses.replace(source.read(output).results, **changed))
    return directory


def test_limits_of_another_result_are_called_so(output, tmp_path, merged):
    directory = copy_of(output, tmp_path, provenance=merged.provenance | {"fileset_digest": "f" * 16})
    flag = source.flags(source.read(directory))[0]
    assert flag.label == "OTHER LIMITS"
    assert "another fileset_digest" in flag.explanation
    assert flag.explanation.endswith("run `lnv limits` again.")


def test_stale_limits_are_refused_and_shown_only_under_a_flag(output, tmp_path, merged):
    directory = copy_of(output, tmp_path, provenance=merged.provenance | {"fileset_digest": "f" * 16})
    with pytest.raises(ResultsError, match="run `lnv limits` again; or pass --allow-stale"):
        source.read(directory, allow_stale=False)
    found = source.read(directory)
    assert result.headline(found) is None
    assert result.sentence(found).startswith("No limit belongs to this result: limits.json: made from")
    assert not {"limits", "methods"} & set(page.pictures(found))


def test_the_same_files_with_other_counts_are_another_result(output, tmp_path, merged):
    signal = merged.datasets["signal"]
    more = dataclasses.replace(signal, n_produced=signal.n_produced + 1)
    directory = copy_of(output, tmp_path, datasets=merged.datasets | {"signal": more})
    assert labels(source.read(directory)) == ["OTHER LIMITS"]


def test_studies_of_another_result_are_called_so(output, tmp_path, merged):
    directory = tmp_path / "results"
    shutil.copytree(output, directory)
    derived.write(directory, "topology", {"all_but": None, "chains": []}, merged)
    assert labels(source.read(directory)) == []
    (directory / "topology.json").write_text(json.dumps({"all_but": None, "chains": []}))
    found = source.read(directory)
    assert found.extras == {}
    flag = source.flags(found)[0]
    assert flag.label == "OTHER STUDIES"
    assert "topology.json: it does not say which result" in flag.explanation
    assert "`lnv topology`" in flag.explanation


def test_flags_stand_in_every_figure_and_in_the_summary():
    merged = make_results(blind=True)
    found = source.Source(merged, make_limits(merged))
    sections = page.sections(found)
    for picture in (p for s in sections for p in s.pictures):
        texts = [t.get_text() for t in picture.figure(source.label(merged), labels(found)).axes[0].texts]
        assert "BLIND" in texts, picture.name
    images = {p.name: page.Drawn(b"", "") for s in sections for p in s.pictures}
    assert "<strong>BLIND</strong>" in page.html(page.report(found, sections), images)


def test_simulation_is_never_called_data_of_the_experiment(whole, merged):
    assert source.label(merged) == "Fast simulation"
    recorded = make_results(is_simulation=False, blind=False)
    assert source.label(recorded) == ""
