"""The simulation seen through the search: bands that catch a broken step, not the publication's last digit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.report import paper, validation
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, SIGNAL

N = 16_000
SEED = 4
MASSES = (0.6, 0.65, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.525)


@pytest.mark.parametrize("policy", ["one", "all"])
def test_phase_space_efficiency_and_mass_resolution(policy):
    cuts = dataclasses.replace(SELECTION, kkpipi_permutations=policy)
    efficiency, masses = validation.select(SIGNAL, N, SEED, cuts)
    assert 100 * efficiency == pytest.approx(paper.EFFICIENCY_PERCENT_SELECTION, rel=0.30)
    low, high = np.quantile(masses, [0.1587, 0.8413])
    assert 0.0075 < (high - low) / 2 < 0.009


def test_efficiency_against_mass_has_the_published_shape():
    wanted = [p for p in paper.MASS_SCAN if p.m_majorana in MASSES]
    points = [validation.mass_point(SEED, p, 8_000) for p in wanted]
    assert len(points) == len(MASSES)
    assert np.abs(validation.relative_shape(points) - 1).max() < 0.15
    low = validation.mass_point(SEED, paper.MASS_SCAN[0], 8_000)
    assert low.efficiency < 0.75 * points[2].efficiency, "slow electrons must cost efficiency"


@pytest.mark.parametrize("name", ["kkpipi", "pipipipi", "kkkk"])
def test_hadronic_backgrounds_do_not_survive(name):
    efficiency, _ = validation.select(BACKGROUNDS[name], 8_000, SEED)
    assert efficiency == 0.0


def test_ideal_tracks_give_a_chi2_of_four_degrees_of_freedom(rng):
    mean, flatness = validation.ideal_fit(rng)
    assert mean.is_met
    assert flatness.is_met


def test_identification_is_in_the_measured_ranges(rng):
    rows = validation.validation_response.read_by_species(rng, 3_000)
    at = {(r["species"], r["p_min"]): r for r in rows}
    assert 0.2 < at["e", 0.1]["as_electron"] < 0.5
    for low in (0.4, 0.6, 0.8, 1.0):
        assert at["e", low]["as_electron"] > 0.83
        assert at["K", low]["as_kaon"] > 0.85
        assert at["pi", low]["as_electron"] < 0.005
    assert at["pi", 0.4]["as_kaon"] < 0.01 < at["pi", 1.2]["as_kaon"] < 0.15


def test_rows_tell_whether_they_are_met():
    row = validation.within("thing", 0.0055, 0.5, 0.10, "%", 100)
    assert row.got == pytest.approx(0.55)
    assert dataclasses.replace(row, got=0.56).is_met is False
