"""Expected limits and coverage."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.limits import coverage, feldman_cousins, marginal, methods, rolke, sensitivity
from jpsi_lnv.analysis.limits.sideband import Background, SideBand

pytestmark = pytest.mark.fast

SIGNAL = np.arange(0.01, 20.0, 0.01)
N_MAX = coverage.counts_needed(20.0) + 1


def rolke_table(*, bounded, zero_counts, delta=0.0):
    _, upper = rolke.intervals(
        rolke.Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=np.arange(N_MAX + 1),
        background=0.0,
        efficiency=1.0,
        efficiency_sigma=delta,
        bounded=bounded,
        zero_counts=zero_counts,
    )
    return coverage.IntervalTable(np.zeros_like(upper), upper)


def test_the_bounded_profile_undercovers():
    found = coverage.exact(rolke_table(bounded=True, zero_counts="profile"), SIGNAL)
    assert found.smallest == pytest.approx((0.743, 1.36), abs=5e-4)


def test_the_published_rule_covers_better():
    found = coverage.exact(rolke_table(bounded=False, zero_counts="extrapolated"), SIGNAL)
    assert found.smallest == pytest.approx((0.865, 2.0), abs=5e-4)


@pytest.mark.parametrize("limit", [marginal.cls_limit, marginal.bayesian_limit])
def test_one_sided_methods_cover_at_least_their_level(limit):
    table = coverage.IntervalTable.of_upper_limits(np.array([limit(n, efficiency=1.0) for n in range(N_MAX + 1)]))
    assert coverage.exact(table, SIGNAL).smallest[0] >= 0.90


def test_feldman_cousins_covers_at_least_its_level():
    found = [feldman_cousins.interval(n, efficiency=1.0) for n in range(N_MAX + 1)]
    table = coverage.IntervalTable(np.array([i.lower for i in found]), np.array([i.upper for i in found]))
    assert coverage.exact(table, SIGNAL).smallest[0] >= 0.90 - 1e-6


@pytest.mark.parametrize("n_bkg", [0.0, 3.0])
def test_toys_agree_with_the_exact_sum_where_the_efficiency_is_known(n_bkg):
    table = rolke_table(bounded=False, zero_counts="extrapolated")
    signal = np.array([0.5, 2.0, 5.0, 10.0])
    exact = coverage.exact(table, signal, n_bkg=n_bkg)
    rng = np.random.default_rng(7)
    found = coverage.with_toys(table, signal, delta_sys=0.0, rng=rng, n_toys=40_000, n_bkg=n_bkg)
    assert np.all(np.abs(found.probability - exact.probability) < 4.5 * found.error + 1e-12)


def test_toys_with_an_uncertain_efficiency_agree_with_an_integral():
    """P(cover | s) = sum_n P(n | s) P(measured efficiency <= U(n)/s)."""
    delta, signal = 0.1, np.array([1.0, 3.0, 8.0])
    table = rolke_table(bounded=False, zero_counts="extrapolated", delta=delta)
    n = np.arange(N_MAX + 1)
    expected = [(stats.poisson.pmf(n, s) * stats.norm.cdf((table.upper / s - 1.0) / delta)).sum() for s in signal]
    found = coverage.with_toys(table, signal, delta_sys=delta, rng=np.random.default_rng(8), n_toys=40_000)
    assert np.all(np.abs(found.probability - expected) < 4.5 * found.error + 1e-6)


def test_a_table_that_is_too_short_is_refused():
    table = coverage.IntervalTable(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="table of 3 counts"):
        coverage.exact(table, np.array([10.0]))


def limits_of(counts):
    return np.array([marginal.cls_limit(int(n), efficiency=1.0) for n in counts])


def known(n_bkg):
    return Background(known=n_bkg)


def uncertain(n_bkg, sigma):
    return Background((SideBand.from_mean("b", n_bkg, sigma),))


def test_without_background_all_bands_coincide():
    found = sensitivity.expected_limit(limits_of, known(0.0))
    assert found.is_certain
    assert found.median == found.mean == pytest.approx(2.3026, abs=1e-4)


def test_a_small_background_has_equal_bands_and_other_outcomes():
    found = sensitivity.expected_limit(limits_of, known(0.01))
    assert found.minus_2_sigma == found.plus_2_sigma
    assert not found.is_certain


def test_bands_are_quantiles_of_the_counts():
    found = sensitivity.expected_limit(limits_of, known(3.2))
    assert not found.is_certain
    for name, probability in sensitivity.BAND_PROBABILITIES.items():
        assert getattr(found, name) == limits_of([stats.poisson.ppf(probability, 3.2)])[0]
    n = np.arange(40)
    assert found.mean == pytest.approx((stats.poisson.pmf(n, 3.2) * limits_of(n)).sum(), rel=1e-5)


def test_an_uncertain_background_widens_the_bands():
    sharp, wide = (sensitivity.expected_limit(limits_of, b) for b in (known(6.0), uncertain(6.0, 3.0)))
    assert wide.plus_2_sigma > sharp.plus_2_sigma


# Widths from much narrower to wider than the Poisson distribution.
@pytest.mark.parametrize(("n_bkg", "sigma"), [(0.2, 0.5), (1.0, 0.8), (5.0, 4.9), (100.0, 30.0), (300.0, 100.0)])
def test_counts_of_an_uncertain_background_are_a_numerical_integral(n_bkg, sigma):
    found = sensitivity.count_probabilities(uncertain(n_bkg, sigma))
    shares = (np.arange(20_000) + 0.5) / 20_000
    b = stats.gamma.ppf(shares, (n_bkg / sigma) ** 2, scale=sigma**2 / n_bkg)
    expected = np.array([stats.poisson.pmf(n, b).mean() for n in range(len(found))])
    assert found == pytest.approx(expected / expected.sum(), rel=2e-3, abs=1e-5)


def test_bands_of_a_wide_background_are_its_quantiles():
    found = sensitivity.expected_limit(lambda counts: np.asarray(counts, dtype=float), uncertain(300.0, 100.0))
    shape, mean = 9.0, 300.0
    expected = stats.nbinom.ppf(list(sensitivity.BAND_PROBABILITIES.values()), shape, shape / (shape + mean))
    assert [getattr(found, name) for name in sensitivity.BAND_PROBABILITIES] == expected.tolist()


def test_many_counts_are_thinned_out():
    """The mean of a curved limit is that over every count; the bands are exact."""
    tried = []

    def limits_of_many(counts):
        tried.extend(counts)
        return np.asarray(counts) + 3.0 * np.sqrt(np.asarray(counts) + 1.0)

    found = sensitivity.expected_limit(limits_of_many, known(2000.0))
    probabilities = sensitivity.count_probabilities(known(2000.0))
    every = np.array([n + 3.0 * math.sqrt(n + 1.0) for n in range(len(probabilities))])
    assert len(tried) <= sensitivity.COUNTS_MAX
    assert found.mean == pytest.approx(float(probabilities @ every), rel=1e-6)
    assert found.median == 2000 + 3.0 * math.sqrt(2001.0)


def test_more_background_means_a_weaker_expected_limit():
    means = []
    for b in (0.0, 0.5, 2.0, 5.0):

        def of_background(counts, b=b):
            return np.array([marginal.cls_limit(int(n), efficiency=1.0, background=b) for n in counts])

        means.append(sensitivity.expected_limit(of_background, known(b)).mean)
    assert means == sorted(means)


def test_the_recommended_limit_covers_and_moves_no_wrong_way_on_the_whole_map():
    """What `benchmarks.limit_coverage` found; the page of the limits is made from it."""
    found = json.loads((Path(__file__).parents[2] / "benchmarks/limit_coverage.json").read_text())
    recommended = found["recommended"]
    assert {(row["tau"], row["delta"], row["kappa"]) for row in recommended["coverage"]} == set(
        itertools.product((1.0, 10.0), (0.0, 0.07, 0.27), (0.0, 1.0, 2.0))
    )
    assert min(row["coverage"] for row in recommended["coverage"]) >= 0.895
    wrong_ways = dict(recommended["wrong_ways"])
    assert wrong_ways.pop("pairs") == 8752
    assert set(wrong_ways.values()) == {0}
    assert set(found) == set(methods.METHODS)
