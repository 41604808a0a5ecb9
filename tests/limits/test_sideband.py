"""Averaged CLs with side bands: the design's numbers, toys, and what a limit must never do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jpsi_lnv.analysis.limits import marginal
from jpsi_lnv.analysis.limits.sideband import Background, SideBand, negative_binomial

pytestmark = pytest.mark.fast

EFFICIENCY = 0.1583
N_JPSI = 10087e6
NOTHING = Background()
# Neither the quadrature nor the root is exact to the last digit.
ROUNDING = 1e-9


def limit(n, delta=0.07, background=NOTHING):
    measured = {"efficiency": EFFICIENCY, "efficiency_sigma": delta * EFFICIENCY}
    return marginal.cls_limit(n, background=background, **measured)


def band(m, tau, kappa=0.0, name="a", factor="f"):
    return SideBand(name, m, tau, ((factor, kappa),) if kappa else ())


def one(m, tau, kappa=0.0):
    return Background((band(m, tau, kappa),))


@pytest.mark.parametrize(("n", "delta", "expected"), [(1, 0.07, 24.746), (0, 0.07, 14.63), (0, 0.268, 15.82)])
def test_without_background_the_limit_is_the_one_worked_out_by_hand(n, delta, expected):
    assert limit(n, delta) == pytest.approx(expected, rel=5e-4)


def test_the_recommended_branching_fraction_of_the_publications_inputs():
    assert limit(1) / N_JPSI == pytest.approx(2.4533e-9, rel=5e-4)


def test_a_side_band_without_events_is_no_background():
    for tau in (0.01, 1.0, 100.0):
        assert limit(1, background=one(0, tau, 1.0)) == limit(1)


def test_a_long_side_band_is_a_known_background():
    assert limit(3, background=one(2e8, 1e8)) == pytest.approx(limit(3, background=Background(known=2.0)), rel=1e-6)


def test_counts_of_a_process_are_negative_binomial():
    n = np.arange(40)
    assert one(3, 2.0).counts(39) == pytest.approx(stats.nbinom.pmf(n, 3, 2.0 / 3.0), rel=1e-12)
    assert negative_binomial(n, 4.0, math.inf) == pytest.approx(stats.poisson.pmf(n, 4.0), rel=1e-12)


def draw(rng, bands, known, n_toys):
    """Return (n_toys,) expected backgrounds by random numbers: one pull per name of a factor."""
    pulls = {name: rng.standard_normal(n_toys) for b in bands for name, _ in b.factors}
    total = np.full(n_toys, known)
    for b in bands:
        if b.m:
            moved = sum((k * pulls[f] - 0.5 * k**2 for f, k in b.factors), np.zeros(n_toys))
            total += rng.gamma(b.m, 1.0 / b.tau, n_toys) * np.exp(moved)
    return total


MIXTURES = [
    (band(3, 10.0), band(5, 2.0, name="b"), band(0, 1.0, name="c")),
    (band(3, 2.0, 0.8), band(5, 4.0, 0.5, name="b")),
    (band(2, 2.0, 2.0),),
    (band(2, 2.0, 0.7, factor="g"), band(3, 2.0, 0.4, name="b", factor="h")),
    (
        SideBand("a", 2, 2.0, (("f", 0.5), ("g", 0.3))),
        SideBand("b", 4, 3.0, (("f", 0.2), ("g", 0.6), ("h", 0.4))),
        SideBand("c", 1, 1.0, (("h", 0.9),)),
    ),
]


@pytest.mark.parametrize("bands", MIXTURES, ids=["plain", "shared factor", "wide factor", "own factors", "three"])
def test_counts_agree_with_ten_million_toys(bands):
    """10^7 toys of rates, factors and counts: the chi2 of all counts, each of which has one of its own."""
    rng, n_toys, n_max, found = np.random.default_rng(20250706), 1_000_000, 12, np.zeros(13)
    for _ in range(10):
        counts = rng.poisson(draw(rng, bands, 0.3, n_toys))
        found += np.bincount(np.minimum(counts, n_max + 1), minlength=n_max + 2)[: n_max + 1]
    expected = Background(bands, 0.3).counts(n_max)
    seen, rest = 10 * n_toys * expected, 10 * n_toys * (1.0 - expected.sum())
    chi2 = ((found - seen) ** 2 / seen).sum() + (found.sum() - seen.sum()) ** 2 / rest
    assert stats.chi2.sf(chi2, df=n_max + 1) > stats.norm.sf(3.0)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_the_limit_agrees_with_ten_million_toys(n):
    """CLs of the limit, by toys of efficiency, background and count, is 0.1 within three standard deviations."""
    bands, delta = MIXTURES[1], 0.15
    at = limit(n, delta, Background(bands))
    rng, n_toys, passed = np.random.default_rng(11), 1_000_000, np.zeros(2)
    for _ in range(10):
        b = draw(rng, bands, 0.0, n_toys)
        e = rng.gamma(delta**-2, EFFICIENCY * delta**2, n_toys)
        passed += [np.count_nonzero(rng.poisson(at * e + b) <= n), np.count_nonzero(rng.poisson(b) <= n)]
    ratio = passed[0] / passed[1]
    assert ratio == pytest.approx(0.1, abs=3.0 * ratio * math.sqrt((1.0 / passed).sum()))


def test_mean_and_width_of_a_background_are_those_of_toys():
    bands = MIXTURES[4]
    drawn = draw(np.random.default_rng(5), bands, 0.3, 4_000_000)
    background = Background(bands, 0.3)
    assert background.mean == pytest.approx(drawn.mean(), rel=5e-3)
    assert background.sigma == pytest.approx(drawn.std(), rel=2e-2)


COUNTS = st.integers(0, 8)
SIDE_BANDS = st.tuples(st.integers(0, 20), st.floats(0.2, 30.0), st.floats(0.0, 2.0))
GROWTH = st.floats(1.01, 5.0)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.0, 0.5), SIDE_BANDS)
def test_more_events_weaken_the_limit(n, delta, side_band):
    background = one(*side_band)
    assert limit(n + 1, delta, background) > limit(n, delta, background)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.0, 0.5), SIDE_BANDS, GROWTH)
def test_a_wider_background_of_the_same_mean_never_strengthens_the_limit(n, delta, side_band, growth):
    m, tau, kappa = side_band
    wider = limit(n, delta, one(m / growth, tau / growth, kappa))
    assert wider >= limit(n, delta, one(m, tau, kappa)) * (1.0 - ROUNDING)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.0, 0.5), SIDE_BANDS, GROWTH)
def test_an_uncertain_efficiency_never_strengthens_the_limit(n, delta, side_band, growth):
    background = one(*side_band)
    assert limit(n, growth * delta, background) >= limit(n, delta, background) * (1.0 - ROUNDING)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.0, 0.5), SIDE_BANDS, st.floats(0.0, 1.0))
def test_a_wider_factor_never_strengthens_the_limit(n, delta, side_band, share):
    """Its quadrature is good to 1e-4 at a width of 2."""
    m, tau, kappa = side_band
    narrow, wide = (limit(n, delta, one(m, tau, k)) for k in (share * kappa, kappa))
    assert wide >= narrow * (1.0 - 1e-4)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.0, 0.5), SIDE_BANDS, GROWTH)
def test_more_background_never_weakens_the_limit_and_changes_none_of_no_events(n, delta, side_band, growth):
    m, tau, kappa = side_band
    more, less = (limit(n, delta, one(m, t, kappa)) for t in (tau / growth, tau))
    assert more <= less * (1.0 + ROUNDING)
    if n == 0:
        assert more == pytest.approx(less, rel=1e-8)


def coverage(signal, b, tau, delta, kappa=0.0):
    """Return how often the limit holds the signal, where side band, factor and efficiency are measured anew.

    Exact sums over the two counts; the measured factor by quadrature; the measured efficiency by its distribution.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(9) if kappa else (np.zeros(1), np.ones(1))
    counts = np.arange(int(stats.poisson.isf(1e-4, signal + b)) + 1)
    seen = range(int(stats.poisson.isf(1e-4, tau * b)) + 1) if b else [0]
    covered = reached = 0.0
    for m, (z, w) in itertools.product(seen, zip(points, weights / weights.sum(), strict=True)):
        measured = one(m, tau * math.exp(-kappa * z), kappa)
        upper = np.array([limit(int(n), delta, measured) for n in counts]) * EFFICIENCY
        is_covered = stats.norm.cdf((upper / signal - 1.0) / delta) if delta else upper >= signal
        p = w * stats.poisson.pmf(m, tau * b) * stats.poisson.pmf(counts, signal + b)
        covered, reached = covered + float(p @ is_covered), reached + float(p.sum())
    return covered / reached


@pytest.mark.parametrize("signal", [0.5, 2.31, 3.9, 8.0])
@pytest.mark.parametrize(("b", "tau"), [(0.1, 1.0), (0.5, 1.0), (1.0, 10.0), (3.0, 1.0)])
@pytest.mark.parametrize("delta", [0.0, 0.27])
def test_the_limit_covers(signal, b, tau, delta):
    assert coverage(signal, b, tau, delta) >= 0.895


@pytest.mark.parametrize(("signal", "b", "kappa"), [(2.31, 0.5, 1.0), (3.9, 0.5, 2.0), (2.31, 2.0, 1.0)])
def test_the_limit_covers_with_a_factor(signal, b, kappa):
    assert coverage(signal, b, 1.0, 0.07, kappa) >= 0.895


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "ee", "m": -1, "tau": 1.0}, "ee: m=-1: wanted zero or more"),
        ({"name": "ee", "m": 1, "tau": 0.0}, "ee: tau=0: wanted more than zero"),
        ({"name": "ee", "m": True, "tau": 1.0}, "ee: m=True: wanted a number"),
        ({"name": "ee", "m": "1", "tau": 1.0}, "ee: m='1': wanted a number"),
        ({"name": "ee", "m": 1, "tau": 1.0, "factors": {"f": -0.1}}, "kappa of 'f'=-0.1: wanted zero or more"),
        ({"name": "ee", "tau": 1.0}, "ee: got no 'm'"),
        ({"name": "ee", "m": 1, "tau": float("nan")}, "ee: tau=nan: wanted a finite number"),
    ],
)
def test_impossible_side_bands_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        SideBand.from_dict(content)


def test_nothing_has_no_gaussian_width():
    with pytest.raises(ValueError, match=r"background=0 ± 0\.5.*wanted a side band"):
        SideBand.from_mean("background", 0.0, 0.5)
    assert SideBand.from_mean("b", 2.0, 0.5) == SideBand("b", 16.0, 8.0)
