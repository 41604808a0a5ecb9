"""Punzi's figure of merit: by hand, its optimum against a brute-force search, and its bad inputs."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import optimization
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.selection import search

pytestmark = pytest.mark.fast


def axes():
    return (search.chi2_axis(KKEE), search.mass_axis(KKEE, search.N_MASS_COARSE))


WINDOW = {"m_kkee": (3.07, 3.12)}


@pytest.fixture
def signal(rng):
    h = hist.Hist(*axes(), storage=hist.storage.Int64())
    h.fill(rng.chisquare(4, 20_000) * 1.5, rng.normal(3.097, 0.008, 20_000))
    return h


@pytest.fixture
def background(rng):
    h = hist.Hist(*axes(), storage=hist.storage.Weight())
    h.fill(rng.uniform(0, 200, 4000), rng.uniform(2.95, 3.2, 4000), weight=np.full(4000, 0.05))
    return h


def test_values():
    assert optimization.punzi(0.15, 0.0) == pytest.approx(0.1)
    assert optimization.punzi(0.15, 2.25, sigmas=3) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no negative background"):
        optimization.punzi([0.1], [-1.0])


def test_the_scan_is_the_brute_force_one(signal, background):
    scan = optimization.scan_below(signal, 100_000, background, "chi2_4c", WINDOW)
    for i in (0, 19, 150):
        inside = np.s_[: i + 1, 34:44]
        assert scan.efficiency[i] == pytest.approx(signal.values()[inside].sum() / 1e5)
        assert scan.n_bkg[i] == pytest.approx(background.values()[inside].sum())
    assert scan.figure_of_merit.max() == scan.figure_of_merit[scan.best]
    assert 5 < scan.threshold[scan.best] < 40
    low, high = scan.plateau
    assert low <= scan.threshold[scan.best] <= high
    assert scan.threshold[scan.at(20.0)] == 20.0


def test_the_step_of_one_event_lies_in_the_band(signal):
    one = hist.Hist(*axes(), storage=hist.storage.Weight())
    one.fill([30.5], [3.1], weight=[4.0])
    scan = optimization.scan_below(signal, 100_000, one, "chi2_4c", WINDOW)
    before, after = scan.at(30.0), scan.at(31.0)
    assert scan.figure_of_merit[after] < 0.5 * scan.figure_of_merit[before]
    assert scan.low[before] < scan.figure_of_merit[after]
    assert scan.high[after] > scan.figure_of_merit[before]


def test_without_background_the_band_is_that_of_the_efficiency(signal):
    scan = optimization.scan_below(signal, 100_000, hist.Hist(*axes()), "chi2_4c", WINDOW)
    error = np.sqrt(scan.efficiency * (1 - scan.efficiency) / 100_000)
    assert scan.high - scan.figure_of_merit == pytest.approx(error / 1.5)
    assert scan.figure_of_merit - scan.low == pytest.approx(error / 1.5)


def test_weights_without_variances_are_refused(signal):
    weighted = hist.Hist(*axes()).fill([1.0], [3.1], weight=[0.5])
    with pytest.raises(ValueError, match="storage Weight"):
        optimization.scan_below(signal, 9, weighted, "chi2_4c", WINDOW)


def test_without_background_the_loosest_requirement_wins(signal):
    scan = optimization.scan_below(signal, 100_000, hist.Hist(*axes()), "chi2_4c", WINDOW)
    assert scan.efficiency[scan.best] == scan.efficiency[-1]


@given(st.floats(0.1, 10))
def test_the_scale_of_the_efficiency_does_not_move_the_optimum(scale):
    efficiency, n_bkg = np.linspace(0.01, 0.2, 30), np.linspace(0, 9, 30) ** 2
    best = np.argmax(optimization.punzi(efficiency, n_bkg))
    assert np.argmax(optimization.punzi(efficiency * scale, n_bkg)) == best


def test_other_axes_can_be_scanned(signal, background):
    scan = optimization.scan_below(signal, 100_000, background, "m_kkee", {"chi2_4c": (0.0, 20.0)})
    assert len(scan.threshold) == 80


def test_bad_inputs(signal, background):
    with pytest.raises(ValueError, match="n_produced is 0"):
        optimization.scan_below(signal, 0, background, "chi2_4c", WINDOW)
    with pytest.raises(ValueError, match="no axis"):
        optimization.scan_below(signal, 9, background, "chi2", WINDOW)
    with pytest.raises(ValueError, match="does not end at bin edges"):
        optimization.scan_below(signal, 9, background, "chi2_4c", {"m_kkee": (3.071, 3.12)})


def test_the_plateau_is_one_range():
    merit = np.array([0.5, 0.995, 1.0, 0.992, 0.9, 0.995])
    scan = optimization.Scan("x", np.arange(6.0), merit, np.zeros(6), merit, merit, merit)
    assert scan.plateau == (1.0, 3.0)
    values = np.array([0.1, 0.5, 1.0])
    rising = optimization.Scan("x", np.arange(3.0), np.arange(3), np.zeros(3), values, values, values)
    assert rising.plateau == (2.0, 2.0)


def test_rows(signal, background):
    scan = optimization.scan_below(signal, 100_000, background, "chi2_4c", WINDOW)
    rows = scan.to_rows(every=20)
    assert len(rows) == 10
    assert rows[0]["chi2_4c"] == 20.0
