"""Figures: named once, labelled, with units, and the same bytes every time."""

import pytest

from jpsi_lnv.analysis.report import drawing, page, source

from .conftest import make_results

pytestmark = pytest.mark.fast

WANTED = {
    "m_kkee",
    "limits",
    "limits_yield",
    "efficiency",
    "methods",
    "chi2_4c",
    "chi2_4c_m_kkee",
    "e_over_p",
    "dedx_chi",
    "confidence_level",
    "m_ke",
    "cutflow",
    "n_minus_1_alternative_hypotheses",
    "n_minus_1_chi2_4c",
    "n_minus_1_conversion_veto",
    "n_minus_1_signal_region",
    "conversion_delta_xy",
    "conversion_radius",
    "conversion_m_ee",
}


def pictures(found):
    return {p.name: p for section in page.sections(found) for p in section.pictures}


@pytest.fixture(scope="module")
def drawn(whole):
    return {name: p.figure("Fast simulation") for name, p in pictures(whole).items()}


def test_every_figure_is_there_once(whole):
    names = [p.name for section in page.sections(whole) for p in section.pictures]
    assert len(names) == len(set(names))
    assert set(names) >= WANTED


def test_axes_have_labels_and_ticks_on_all_sides(drawn):
    for name, figure in drawn.items():
        axes = figure.axes[0]
        assert axes.get_xlabel() or figure.axes[-1].get_xlabel(), name
        assert axes.get_ylabel() or name in {"cutflow", "methods"}, name
        with drawing.style():
            tick = axes.xaxis.get_major_ticks()[0]
        assert tick.tick2line.get_visible(), name


def test_spectra_name_their_bin_width(drawn):
    assert drawn["m_kkee"].axes[0].get_ylabel() == "Events / (5.0 MeV/$c^2$)"
    assert drawn["m_kkee"].axes[0].get_xlabel().endswith("[GeV/$c^2$]")


def test_simulated_samples_are_labelled_and_never_called_the_experiment(drawn):
    for name, figure in drawn.items():
        texts = [t.get_text() for t in figure.axes[0].texts]
        legend = figure.axes[0].get_legend()
        texts += [t.get_text() for t in legend.get_texts()] if legend else []
        assert "Fast simulation" in texts, name
        assert not any("BESIII" in t for t in texts), name


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_same_figure_is_the_same_file(whole, kind):
    picture = pictures(whole)["limits"]
    assert drawing.encode(picture.figure(), kind) == drawing.encode(picture.figure(), kind)


def test_every_picture_says_in_words_what_it_shows(whole):
    for picture in pictures(whole).values():
        assert picture.alternative.count(".") >= 2
        assert len(picture.explanation) > 20


def test_a_result_without_limits_or_data_still_has_figures():
    merged = make_results()
    datasets = {name: d for name, d in merged.datasets.items() if d.metadata.kind == "signal"}
    found = source.Source(type(merged)(datasets, merged.provenance, merged.bookkeeping))
    assert "m_kkee" in pictures(found)
    assert not {"limits", "methods"} & set(pictures(found))
    assert source.label(found.results) == "Fast simulation"


def test_a_result_of_nothing_has_no_figures_and_no_errors():
    merged = make_results()
    found = source.Source(type(merged)({}, merged.provenance, merged.bookkeeping))
    assert not pictures(found)
