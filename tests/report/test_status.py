"""A result that is blinded, incomplete or made otherwise is labelled so."""

import dataclasses

import pytest

from analysis.cuts import SELECTION
from analysis.report import contents, html, source, status

from .conftest import changed, make_limits, make_results

pytestmark = pytest.mark.fast


def labels(found):
    return [flag.label for flag in status.flags(found)]


def test_a_whole_result_has_no_flag(whole):
    assert labels(whole) == []


def test_incomplete(whole, merged):
    bookkeeping = merged.bookkeeping | {"complete": False, "problems": ["hole: dataset 'signal', entries 0 to 10"]}
    found = dataclasses.replace(whole, results=changed(merged, bookkeeping=bookkeeping))
    assert labels(found) == ["INCOMPLETE"]
    assert "entries 0 to 10" in status.flags(found)[0].explanation


def test_blinded_names_the_dataset():
    merged = make_results(blind=True)
    found = source.Source(merged, make_limits(merged))
    assert labels(found) == ["BLIND"]
    assert "pseudo_data" in status.flags(found)[0].explanation


def test_other_cuts_are_listed(whole, merged):
    cuts = dataclasses.asdict(dataclasses.replace(SELECTION, chi2_4c_max=25.0))
    found = dataclasses.replace(whole, results=changed(merged, provenance=merged.provenance | {"cuts": cuts}))
    assert labels(found) == ["OTHER CUTS"]
    assert "chi2_4c_max = 25.0 (now 20.0)" in status.flags(found)[0].explanation
    tables = {t.name: t for s in contents.sections(found) for t in s.tables}
    assert "changed_cuts" in tables
    shown = {row["name"]: row["value"] for row in tables["cuts"].rows}
    assert shown["chi2_4c_max"] == "25.0"
    pictures = {p.name: p for s in contents.sections(found) for p in s.pictures}
    assert "< 25" in pictures["chi2_4c"].explanation


@pytest.mark.parametrize("field", ["efficiency", "n_obs"])
def test_limits_of_another_result(whole, field):
    first = whole.limits[0]
    other = (first | {field: 0.5 * first[field] if field == "efficiency" else 7}, *whole.limits[1:])
    assert labels(dataclasses.replace(whole, limits=other)) == ["OTHER LIMITS"]


def test_flags_stand_in_every_figure_and_in_the_summary():
    merged = make_results(blind=True)
    found = source.Source(merged, make_limits(merged))
    sections = contents.sections(found)
    for picture in (p for s in sections for p in s.pictures):
        texts = [t.get_text() for t in picture.figure(status.label(merged), labels(found)).axes[0].texts]
        assert "BLIND" in texts, picture.name
    images = {p.name: b"" for s in sections for p in s.pictures}
    assert "<strong>BLIND</strong>" in html.page(found, sections, images)


def test_simulation_is_never_called_data_of_the_experiment(whole, merged):
    assert status.label(merged) == "Fast simulation"
    recorded = make_results(is_simulation=False, blind=False)
    assert status.label(recorded) == ""
