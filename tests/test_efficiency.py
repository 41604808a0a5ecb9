"""Intervals of counts against the defining equations; maps and ratios on constructed counts."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jpsi_lnv.analysis import efficiency
from jpsi_lnv.analysis.efficiency import Efficiency, EfficiencyMap
from jpsi_lnv.analysis.errors import ResultsError

pytestmark = pytest.mark.fast

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_the_exact_interval_solves_its_equations(of):
    k, n = of
    low, high = Efficiency(k, n).interval(0.9)
    assert low <= k / n <= high
    if k:
        assert stats.binom.sf(k - 1, n, low) == pytest.approx(0.05, rel=1e-6)
    if k < n:
        assert stats.binom.cdf(k, n, high) == pytest.approx(0.05, rel=1e-6)


def test_known_interval():
    # Clopper and Pearson at 95 %: 0 of 10 is bounded by 1 - 0.025**0.1.
    assert Efficiency(0, 10).interval(0.95) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert Efficiency(10, 10).interval(0.95) == pytest.approx((0.025**0.1, 1.0))


@settings(max_examples=settings.default.max_examples // 6)
@given(st.integers(1, 40), st.floats(0.02, 0.98))
def test_the_exact_interval_covers(n, true):
    k = np.arange(n + 1)
    low, high = efficiency.clopper_pearson(k, n, 0.9)
    covered = stats.binom.pmf(k, n, true)[(low <= true) & (true <= high)].sum()
    assert covered >= 0.9 - 1e-9


def test_intervals_approach_the_normal_one():
    big = Efficiency(40_000, 100_000)
    low, high = big.interval()
    assert (high - low) / 2 == pytest.approx(big.sigma, rel=0.01)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="wanted 0 <= passed"):
        Efficiency(k, n)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.3, 1.7])
def test_impossible_levels_are_refused(level):
    with pytest.raises(ValueError, match="confidence_level"):
        efficiency.clopper_pearson(1, 2, level)


def make_map(passed, total):
    passed, total = np.atleast_2d(np.asarray(passed, float)), np.atleast_2d(np.asarray(total, float))
    return EfficiencyMap(np.linspace(0, 2, passed.shape[0] + 1), np.linspace(-1, 1, passed.shape[1] + 1), passed, total)


def test_map_of_a_histogram():
    h = hist.Hist.new.Reg(2, 0, 2, name="p").Reg(2, -1, 1, name="cos_theta").Bool(name="passed").Int64()
    h.fill([0.5, 0.5, 0.5, 1.5], [-0.5, -0.5, -0.5, 0.5], [True, True, False, True])
    of = efficiency.efficiency_map(h)
    np.testing.assert_array_equal(of.n_passed, [[2, 0], [0, 1]])
    np.testing.assert_array_equal(of.n_total, [[3, 0], [0, 1]])
    assert of.value[0, 0] == pytest.approx(2 / 3)
    assert np.isnan(of.value[0, 1])
    assert of.sigma[1, 1] > 0.5
    with pytest.raises(ResultsError, match="no efficiency map"):
        efficiency.efficiency_map(h.project("p"))


def test_tracks_outside_belong_to_the_nearest_bin():
    of = make_map([[1, 1], [1, 1]], [[2, 2], [2, 2]])
    p, c = of.bins([-1.0, 0.5, 1.0, 9.0], [-3.0, -0.5, 0.0, 1.0])
    assert p.tolist() == [0, 0, 1, 1]
    assert c.tolist() == [0, 0, 1, 1]


def test_added_maps_hold_all_counts():
    total = efficiency.add_maps([make_map([[1, 2]], [[4, 4]]), make_map([[3, 0]], [[6, 1]])])
    np.testing.assert_array_equal(total.n_passed, [[4, 2]])
    np.testing.assert_array_equal(total.n_total, [[10, 5]])


def test_relative_errors_of_both_samples_add_up_in_quadrature():
    sides = make_map([[80]], [[100]]), make_map([[45]], [[50]])
    found = efficiency.ratio(*sides)
    relative = [side.sigma[0, 0] / side.value[0, 0] for side in sides]
    assert found.value[0, 0] == pytest.approx(0.8 / 0.9)
    assert found.sigma[0, 0] == pytest.approx(0.8 / 0.9 * np.hypot(*relative))


def test_empty_bins_take_the_ratio_of_the_samples_not_one():
    ratios = efficiency.ratio(make_map([[80, 0]], [[100, 0]]), make_map([[90, 45]], [[100, 50]]))
    assert ratios.value[0, 0] == pytest.approx(0.8 / 0.9)
    assert ratios.value[0, 1] == pytest.approx(0.8 / 0.9)
    assert ratios.sigma[0, 1] == ratios.sigma[0, 0] > 0


def test_a_sample_where_nothing_passes_is_named():
    with pytest.raises(ResultsError, match="data: no probe of 10"):
        efficiency.ratio(make_map([[0]], [[10]]), make_map([[5]], [[10]]))


def test_the_mean_difference_recovers_a_planted_one(rng):
    shape, loss = (8, 6), 0.02
    total = rng.integers(20_000, 60_000, shape).astype(float)
    true = rng.uniform(0.85, 0.95, shape)
    of_simulation = rng.binomial(total.astype(int), true)
    of_data = rng.binomial(total.astype(int), true * (1 - loss))
    ratios = efficiency.ratio(make_map(of_data, total), make_map(of_simulation, total))
    p, cos_theta = rng.uniform(0, 2, 5000), rng.uniform(-1, 1, 5000)
    difference, sigma = efficiency.mean_difference(ratios, p, cos_theta)
    assert abs(difference + loss) < 4 * sigma
    assert sigma < 0.001


def test_no_tracks_is_an_error():
    ratios = efficiency.ratio(make_map([[5]], [[10]]), make_map([[5]], [[10]]))
    with pytest.raises(ResultsError, match="no signal candidate"):
        efficiency.mean_difference(ratios, [], [])


def test_a_bin_that_is_dead_in_the_data_is_known():
    """Nothing of many passes: the ratio is 0, as it is nearly 0 if one passes."""
    simulation = make_map([[950, 950]], [[1000, 1000]])
    dead, nearly = (efficiency.ratio(make_map([[n, 950]], [[1000, 1000]]), simulation) for n in (0, 1))
    assert dead.value.tolist() == [[0.0, 1.0]]
    np.testing.assert_allclose(dead.value, nearly.value, atol=0.002)
    np.testing.assert_allclose(dead.sigma, nearly.sigma, atol=0.002)
    assert efficiency.mean_difference(dead, [0.1, 0.1], [-0.5, 0.5])[0] < -0.4
