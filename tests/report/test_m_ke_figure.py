"""The figure of M(Ke): neutrinos of every way to make them, as many as can be told apart, none dropped unsaid."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.report import mass_scan
from jpsi_lnv.analysis.report.source import Source

from .conftest import make_dataset, make_results

pytestmark = pytest.mark.fast


def with_neutrinos(masses, mode):
    merged = make_results()
    rng = np.random.default_rng(4)
    signal = {"signal": merged.datasets["signal"]}
    neutrinos = {
        f"{mode}_{mass}": make_dataset(500, 80, rng, kind="majorana", m_majorana=mass, majorana_mode=mode)
        for mass in masses
    }
    return Source(dataclasses.replace(merged, datasets=signal | neutrinos))


def labels(picture):
    return [t.get_text() for t in picture.figure().axes[0].get_legend().get_texts()]


def test_many_masses_are_thinned_out_and_the_caption_says_so():
    (picture,) = mass_scan.pair_pictures(with_neutrinos(np.linspace(0.6, 1.4, 17).round(3).tolist(), "2nu"))
    shown = labels(picture)
    assert shown[0] == "phase space"
    assert len(shown) == 1 + mass_scan.N_MASSES
    assert "0.600" in shown[1]
    assert "1.400" in shown[-1]
    assert "5 of 17 masses" in picture.explanation


def test_one_figure_per_way_to_make_neutrinos():
    two, one = (with_neutrinos([0.7, 1.1], mode) for mode in ("2nu", "1nu"))
    both = Source(dataclasses.replace(two.results, datasets=two.results.datasets | one.results.datasets))
    assert [p.name for p in mass_scan.pair_pictures(both)] == ["m_ke", "m_ke_1nu"]
    assert [p.name for p in mass_scan.pair_pictures(one)] == ["m_ke_1nu"]
    assert len(labels(mass_scan.pair_pictures(both)[1])) == 3


def test_datasets_of_one_mass_are_one_curve():
    one, other = (with_neutrinos([0.7, 0.9], "2nu").results.datasets for _ in range(2))
    periods = one | {f"{name}_2012": dataset for name, dataset in other.items() if name != "signal"}
    (picture,) = mass_scan.pair_pictures(Source(dataclasses.replace(make_results(), datasets=periods)))
    assert len(labels(picture)) == 3
    assert "masses" not in picture.explanation


def test_phase_space_alone_and_nothing_at_all():
    (picture,) = mass_scan.pair_pictures(with_neutrinos([], "2nu"))
    assert labels(picture) == ["phase space"]
    empty = Source(dataclasses.replace(make_results(), datasets={}))
    assert mass_scan.pair_pictures(empty) == []


@given(n=st.integers(0, 100), most=st.integers(1, 10))
def test_spread_keeps_both_ends(n, most):
    chosen = mass_scan.spread(n, most)
    assert len(chosen) == min(n, most)
    assert chosen == sorted(chosen)
    if n and most > 1:
        assert chosen[0] == 0
        assert chosen[-1] == n - 1
