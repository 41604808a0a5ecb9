"""CLs, Feldman-Cousins and Bayesian limits against tables, closed forms and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from jpsi_lnv.analysis.limits import feldman_cousins, marginal, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sideband import Background, SideBand

pytestmark = pytest.mark.fast

# Feldman and Cousins, Phys. Rev. D 57, 3873 (1998), table IV: 90 % intervals without background, n = 0 ... 10.
TABLE_B0 = [
    (0.00, 2.44),
    (0.11, 4.36),
    (0.53, 5.91),
    (1.10, 7.42),
    (1.47, 8.60),
    (1.84, 9.99),
    (2.21, 11.47),
    (3.56, 12.53),
    (3.96, 13.99),
    (4.36, 15.30),
    (5.50, 16.50),
]
# The same, column b = 3, n = 0 ... 5.
TABLE_B3 = [(0.00, 1.08), (0.00, 1.88), (0.00, 3.04), (0.00, 4.42), (0.00, 5.60), (0.00, 6.99)]
# The same, rows n = 0 and 1: background -> upper end, lengthened so that it never grows with the background.
TABLE_N0 = {0.5: 1.94, 1.0: 1.61, 1.5: 1.33, 2.0: 1.26, 2.5: 1.18, 3.0: 1.08, 3.5: 1.06, 4.0: 1.01, 5.0: 0.98}
TABLE_N1 = {3.5: 1.59, 4.0: 1.39, 5.0: 1.22}
ROWS = [(n, b, upper) for n, row in enumerate((TABLE_N0, TABLE_N1)) for b, upper in row.items()]


@pytest.mark.parametrize(("n", "expected"), list(enumerate(TABLE_B0)))
def test_feldman_cousins_table_without_background(n, expected):
    found = feldman_cousins.interval(n, efficiency=1.0)
    assert (found.lower, found.upper) == pytest.approx(expected, abs=0.0101)


@pytest.mark.parametrize(("n", "expected"), list(enumerate(TABLE_B3)))
def test_feldman_cousins_table_with_background(n, expected):
    found = feldman_cousins.interval(n, efficiency=1.0, background=3.0)
    assert (found.lower, found.upper) == pytest.approx(expected, abs=0.0101)


@pytest.mark.parametrize(("n", "background", "expected"), ROWS)
def test_feldman_cousins_table_below_the_background(n, background, expected):
    assert feldman_cousins.upper_limit(n, efficiency=1.0, background=background) == pytest.approx(expected, abs=0.0101)


@settings(max_examples=settings.default.max_examples // 10)
@given(st.integers(0, 3), st.floats(0.0, 8.0), st.floats(0.0, 3.0))
@example(0, 2.0, 0.35)  # the plain construction: 1.08 at a background of 2.00, 1.25 at 2.35
@example(0, 1.5, 0.85)
@example(1, 6.25, 0.25)  # the highest tooth is narrow
def test_more_background_never_raises_the_unified_upper_end(n, background, more):
    """To the precision to which the tip of a tooth is found."""
    low, high = (feldman_cousins.upper_limit(n, efficiency=1.0, background=b) for b in (background, background + more))
    assert high <= low + 2.0 * feldman_cousins.TIP


def unified_end_below_background(n, background, confidence_level):
    """Return the plain upper end for n < background in closed form.

    Ahead of n are the counts from n + 1 to some K: those up to the background always, k beyond it from s_k on, the
    expected events where both have the same rank. So n is in the region up to s_(K+1), or up to where n < N <= K has
    the probability of the confidence level.
    """
    end, begin, k = background, background, int(background) + 1
    while begin < 3.0 * background + 10.0:
        overtaken = np.exp((k * np.log(k / np.e) + background - n * np.log(background)) / (k - n))

        def ahead(expected, k=k):
            return special.gammaincc(k, expected) - special.gammaincc(n + 1, expected) - confidence_level

        if ahead(overtaken) < 0.0:
            end = overtaken
        elif ahead(begin) < 0.0:
            end = optimize.brentq(ahead, begin, overtaken)
        begin, k = overtaken, k + 1
    return end - background


@pytest.mark.parametrize(("n", "background", "level"), [(0, 2.0, 0.9), (1, 6.5, 0.95), (4, 9.3, 0.68), (2, 8.1, 0.9)])
def test_unified_upper_ends_below_the_background_against_a_closed_form(n, background, level):
    model = marginal.count_model(efficiency=1.0, background=background)
    (plain,) = feldman_cousins.plain_intervals(np.array([n]), model, level)
    assert plain.upper == pytest.approx(unified_end_below_background(n, background, level), abs=1e-6)
    teeth = [unified_end_below_background(n, b, level) for b in np.arange(background, background + 3.0, 1e-3)]
    longest = feldman_cousins.upper_limit(n, efficiency=1.0, background=background, confidence_level=level)
    assert longest == pytest.approx(max(teeth), abs=2.0 * feldman_cousins.TIP)


def test_more_background_never_raises_the_unified_upper_end_of_uncertain_numbers():
    """To the precision to which the tip of a tooth is found, in produced events."""
    measured = {"efficiency": 0.2, "efficiency_sigma": 0.03}
    backgrounds = [Background((SideBand.from_mean("b", b, 0.1),)) for b in (1.8, 2.0, 2.4)]
    ends = [feldman_cousins.upper_limit(0, background=b, **measured) for b in backgrounds]
    assert np.diff(ends).max() <= 2.0 * feldman_cousins.TIP / measured["efficiency"]


@pytest.mark.parametrize("background", [0.0, 0.01, 0.3, 1.0])
def test_low_backgrounds_lengthen_nothing(background):
    model = marginal.count_model(efficiency=1.0, background=background)
    (plain,) = feldman_cousins.plain_intervals(np.array([0]), model, 0.90)
    assert feldman_cousins.interval(0, efficiency=1.0, background=background) == plain


def unified_end_by_hand(n, delta, yields):
    """Return the last yield whose region holds n: negative binomial counts without background, of best mean n."""
    shape, counts = 1 / delta**2, np.arange(int(stats.nbinom.isf(1e-9, 1 / delta**2, 1 / (1 + yields[-1] * delta**2))))
    probability = stats.nbinom.pmf(counts, shape, (shape / (shape + yields))[:, None])
    rank = probability / stats.nbinom.pmf(counts, shape, shape / (shape + counts))
    before = np.where(rank > rank[:, [n]], probability, 0.0).sum(axis=1)
    return yields[before < 0.9][-1]


# The upper end lies far beyond that of a known efficiency, where the grid at first does not reach.
@pytest.mark.parametrize(("n", "delta", "expected"), [(0, 1.0, 9.73), (1, 1.0, 21.85), (5, 0.7, 27.04)])
def test_the_unified_grid_reaches_the_upper_end(n, delta, expected):
    by_hand = unified_end_by_hand(n, delta, np.arange(0.6, 1.6, 0.0005) * expected)
    found = feldman_cousins.upper_limit(n, efficiency=1.0, efficiency_sigma=delta)
    assert found == pytest.approx(by_hand, rel=1e-3)
    assert found == pytest.approx(expected, abs=0.01)


def test_a_unified_end_beyond_all_reach_is_none():
    assert feldman_cousins.upper_limit(0, efficiency=0.2, efficiency_sigma=0.6) == math.inf
    below_background = {"efficiency": 0.2, "efficiency_sigma": 0.6, "background": 2.0}
    assert feldman_cousins.upper_limit(0, **below_background) == math.inf


def test_the_unified_limits_of_several_counts_are_those_of_each():
    """They share belts; below the background each end is found to the tip of a tooth."""
    measured = {"efficiency": 0.2, "efficiency_sigma": 0.02, "background": 4.0}
    together = feldman_cousins.intervals([0, 2, 5, 9], **measured)
    alone = [feldman_cousins.interval(n, **measured) for n in (0, 2, 5, 9)]
    for one, other in zip(together, alone, strict=True):
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=4 * feldman_cousins.TIP / 0.2)


@pytest.mark.parametrize(("n", "expected"), [(0, 2.3026), (1, 3.8897), (2, 5.3223), (5, 9.2747)])
def test_without_background_cls_and_bayes_are_the_classical_limit(n, expected):
    assert marginal.cls_limit(n, efficiency=1.0) == pytest.approx(expected, abs=1e-4)
    assert marginal.bayesian_limit(n, efficiency=1.0) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(0, 12), st.floats(0.0, 10.0))
def test_with_a_known_background_bayes_and_cls_agree(n, background):
    """Known coincidence of the flat prior: the posterior tail is the ratio of the two Poisson tails."""
    assert marginal.bayesian_limit(n, efficiency=0.3, background=background) == pytest.approx(
        marginal.cls_limit(n, efficiency=0.3, background=background), rel=1e-7
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("rolke", (12.60, 23.19)),
        ("recommended", (14.63, 24.75)),
        ("feldman-cousins", (15.58, 27.44)),
        ("bayesian", (14.70, 24.87)),
    ],
)
def test_limits_of_the_publications_inputs_by_every_method(method, expected):
    for n_obs, n_up in enumerate(expected):
        inputs = LimitInputs(n_obs=n_obs, n_bkg=0.0, efficiency=0.1583, delta_sys=0.07, n_jpsi=10087e6)
        assert methods.upper_limit(inputs, method=method).n_up == pytest.approx(n_up, abs=0.006)


def test_an_unknown_method_is_refused():
    inputs = LimitInputs(n_obs=1, n_bkg=0.0, efficiency=0.1583, delta_sys=0.07, n_jpsi=10087e6)
    with pytest.raises(ValueError, match=r"method='magic'.*rolke"):
        methods.upper_limit(inputs, method="magic")


@pytest.mark.parametrize("delta", [1e-4, 0.02, 0.07, 0.268, 0.7, 1.0, 2.0])
def test_the_averaged_count_is_a_negative_binomial(delta):
    """Poisson counts whose mean follows a gamma distribution: closed form."""
    model = marginal.count_model(efficiency=0.1583, efficiency_sigma=delta * 0.1583)
    shape, mu, n = 1 / delta**2, 40.0, np.arange(30)
    expected = stats.nbinom.pmf(n, shape, shape / (shape + mu * 0.1583))
    assert model.pmf(n, mu) == pytest.approx(expected, rel=1e-6)
    assert model.table(29, np.array([mu]))[0] == pytest.approx(expected, rel=1e-6)
    assert [model.cdf(int(k), mu) for k in n] == pytest.approx(np.cumsum(expected), rel=1e-6)


def test_an_uncertain_count_is_folded_with_its_background():
    """Average by equal shares of the efficiency's and the background's distributions."""
    background = Background((SideBand("b", 3.0, 2.0),))
    model = marginal.count_model(efficiency=0.2, efficiency_sigma=0.1, background=background)
    shares = (np.arange(2000) + 0.5) / 2000
    e = stats.gamma.ppf(shares, 4.0, scale=0.05)
    b = stats.gamma.ppf(shares, 3.0, scale=0.5)
    n, mu = np.arange(8), 12.0
    signal, background = (stats.poisson.pmf(n[:, None], mean).mean(axis=1) for mean in (mu * e, b))
    expected = np.convolve(signal, background)[: len(n)]
    assert model.pmf(n, mu) == pytest.approx(expected, rel=1e-4)
    assert model.table(7, np.array([mu]))[0] == pytest.approx(expected, rel=1e-4)
    assert model.cdf(7, mu) == pytest.approx(expected.sum(), rel=1e-4)


# Without events and background both limits have closed forms at any uncertainty.
@pytest.mark.parametrize("delta", [1e-9, 1e-7, 1e-3, 0.07, 0.268, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0])
def test_limits_without_events_are_exact_at_any_uncertainty(delta):
    measured, shape = {"efficiency": 0.1583, "efficiency_sigma": 0.1583 * delta}, 1 / delta**2
    by_cls = math.expm1(math.log(10) / shape) * shape / 0.1583
    assert marginal.cls_limit(0, **measured) == pytest.approx(by_cls, rel=1e-8)
    by_bayes = math.expm1(math.log(10) / (shape - 1)) * shape / 0.1583 if shape > 1 else math.inf
    assert marginal.bayesian_limit(0, **measured) == pytest.approx(by_bayes, rel=1e-8)


def test_a_limit_beyond_all_scales_is_none():
    assert marginal.cls_limit(0, efficiency=0.2, efficiency_sigma=6.0) == math.inf
    assert marginal.bayesian_limit(3, efficiency=0.2, efficiency_sigma=0.199) == math.inf


def test_an_improper_posterior_is_written_as_none():
    inputs = LimitInputs(n_obs=1, n_bkg=0.0, efficiency=0.1583, delta_sys=1.2, n_jpsi=10087e6)
    assert methods.upper_limit(inputs, method="bayesian").to_dict()["n_up"] is None


def test_bayes_with_uncertainties_is_a_numerical_integral():
    efficiency, delta, background, n = 0.2, 0.15, 0.7, 2
    e = stats.gamma(1 / delta**2, scale=efficiency * delta**2)
    nodes = e.ppf((np.arange(500) + 0.5) / 500)
    mu = np.linspace(0, 200, 2001)
    posterior = stats.poisson.pmf(n, mu[:, None] * nodes + background).mean(axis=1)
    cumulative = np.concatenate([[0], np.cumsum(0.5 * (posterior[1:] + posterior[:-1]))])
    expected = np.interp(0.9, cumulative / cumulative[-1], mu)
    found = marginal.bayesian_limit(
        n, efficiency=efficiency, efficiency_sigma=delta * efficiency, background=background
    )
    assert found == pytest.approx(expected, rel=1e-3)


def test_cls_toys_agree_with_the_sum():
    """Toys that draw efficiency and background, then the count."""
    rng = np.random.default_rng(20250706)
    n_toys, n_obs, mu = 400_000, 1, 20.0
    e = rng.gamma(1 / 0.2**2, 0.2**2 * 0.2, n_toys)
    b = rng.gamma(2.0, 0.25, n_toys)
    ratio = np.mean(rng.poisson(mu * e + b) <= n_obs) / np.mean(rng.poisson(b) <= n_obs)
    background = Background((SideBand("b", 2.0, 4.0),))
    model = marginal.count_model(efficiency=0.2, efficiency_sigma=0.04, background=background)
    assert marginal.confidence(model, n_obs, mu) == pytest.approx(ratio, abs=4 * math.sqrt(ratio / n_toys))


def test_a_feldman_cousins_end_is_where_the_acceptance_region_changes():
    """The upper end for one event: solve the condition of the construction directly."""

    n, grid = np.arange(40), np.arange(3.5, 5.0, 1e-4)
    probability = stats.poisson.pmf(n, grid[:, None])
    rank = probability / stats.poisson.pmf(n, n)
    ranked_before = np.where(rank > rank[:, [1]], probability, 0).sum(axis=1)
    expected = grid[ranked_before < 0.9][-1]
    assert feldman_cousins.upper_limit(1, efficiency=1.0) == pytest.approx(expected, abs=2e-4)


def test_uncertainty_raises_the_limits():
    for limit in (marginal.cls_limit, marginal.bayesian_limit):
        sharp, wide = (limit(1, efficiency=0.2, efficiency_sigma=s) for s in (0.0, 0.05))
        assert wide > sharp


def test_the_limit_solves_its_equation():
    limit = marginal.cls_limit(2, efficiency=0.4, background=1.3, confidence_level=0.95)
    expected = optimize.brentq(
        lambda s: stats.poisson.cdf(2, s + 1.3) / stats.poisson.cdf(2, 1.3) - 0.05, 0, 50, xtol=1e-12
    )
    assert limit * 0.4 == pytest.approx(expected, rel=1e-9)
