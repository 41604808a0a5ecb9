"""Channels in one likelihood."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from jpsi_lnv.analysis.limits import combination, rolke
from jpsi_lnv.analysis.limits.combination import Channel, differs, interval, upper_limit

SEVEN = {"efficiency": 0.07}


def test_one_channel_is_the_published_limit():
    alone = [Channel(n_obs=1, share=1.0, efficiency=0.1583, sources=SEVEN)]
    assert upper_limit(alone) == pytest.approx(23.187, abs=1e-3)


@pytest.mark.parametrize("n_obs", [0, 1, 3])
def test_halves_of_one_channel_are_the_whole(n_obs):
    """Without background it does not matter in which half an event lies."""
    half = Channel(n_obs=0, share=0.5, efficiency=0.1583, sources=SEVEN)
    channels = [dataclasses.replace(half, n_obs=n_obs), half]
    expected = rolke.upper_limit(
        rolke.Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=n_obs,
        background=0.0,
        efficiency=0.1583,
        efficiency_sigma=0.07 * 0.1583,
    )
    assert upper_limit(channels) == pytest.approx(expected, rel=1e-5)
    assert upper_limit(channels[::-1]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.03])
@pytest.mark.parametrize("n_obs", [(1, 1), (2, 0), (0, 2), (0, 0)])
def test_parts_of_one_channel_with_background_are_the_whole(n_obs, share):
    """An uncertainty of the background that all parts share is that of the whole, wherever the events lie."""
    whole = Channel(n_obs=sum(n_obs), share=1.0, efficiency=0.1583, background=2.0, background_sigma=2.0, sources=SEVEN)
    parts = [
        dataclasses.replace(
            whole, n_obs=n, share=s, background=2.0 * s, background_sigma=0.0, background_sigma_common=2.0 * s
        )
        for n, s in zip(n_obs, (share, 1.0 - share), strict=True)
    ]
    assert upper_limit(parts) == pytest.approx(upper_limit([whole]), rel=1e-6)


@pytest.mark.parametrize(("n_obs", "is_other"), [(1, True), (2, False), (4, False)])
def test_the_rule_is_the_single_channels_unless_fewer_events_are_seen_than_background(n_obs, is_other):
    """Below the background the combination refers to a signal >= 0 and is weaker, and says that it differs."""
    half = Channel(n_obs=0, share=0.5, efficiency=0.1583, background=1.0, background_sigma_common=0.1, sources=SEVEN)
    parts = [dataclasses.replace(half, n_obs=n_obs), half]
    measured = {"background": 2.0, "background_sigma": 0.2, "efficiency": 0.1583, "efficiency_sigma": 0.07 * 0.1583}
    single = rolke.upper_limit(rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=n_obs, **measured)
    found = upper_limit(parts)
    assert differs(parts) == is_other
    assert found > 1.01 * single if is_other else found == pytest.approx(single, rel=1e-5)


@pytest.mark.parametrize("sigma", [1e-9, 1e-5])
def test_a_tiny_common_uncertainty_is_none(sigma):
    known = [Channel(n_obs=n, share=0.5, efficiency=0.1583, background=0.1, sources=SEVEN) for n in (1, 0)]
    channels = [dataclasses.replace(c, background_sigma_common=sigma) for c in known]
    assert upper_limit(channels) == pytest.approx(upper_limit(known), rel=1e-6)


def test_one_channel_with_background_is_the_bounded_limit():
    channel = Channel(n_obs=10, share=1.0, efficiency=0.9, sources={"e": 0.05}, background=5.0, background_sigma=0.5)
    found = interval([channel], confidence_level=0.95)
    expected = rolke.interval(
        rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=10,
        background=5.0,
        background_sigma=0.5,
        efficiency=0.9,
        efficiency_sigma=0.045,
        confidence_level=0.95,
        bounded=True,
    )
    assert (found.lower, found.upper) == pytest.approx((expected.lower, expected.upper), rel=1e-5)


@pytest.mark.parametrize("shifts", [(0.0, 0.0), (0.3, 0.4)])
@pytest.mark.parametrize("changes", [(0.1, 0.1), (0.2, -0.1)])
def test_two_different_channels_against_a_plain_minimiser(shifts, changes):
    channels = [
        Channel(n_obs=4, share=0.6, efficiency=0.2, background=1.0, background_sigma=0.4),
        Channel(n_obs=1, share=0.4, efficiency=0.1, background=0.5, background_sigma=0.2),
    ]
    own = (0.05, 0.15)
    channels = [
        dataclasses.replace(c, background_sigma_common=s, sources={"common": d, f"own {i}": own[i]})
        for i, (c, s, d) in enumerate(zip(channels, shifts, changes, strict=True))
    ]

    def cost(mu, point):
        common, shift, *rest = point
        total = common**2 + shift**2
        for c, d, o, pull, b in zip(channels, changes, own, rest[::2], rest[1::2], strict=True):
            efficiency = c.efficiency * (1.0 + d * common + o * pull)
            expected = mu * c.share * efficiency + b + shift * c.background_sigma_common
            if expected <= 0:
                return 1e9
            total += 2 * (expected - c.n_obs * math.log(expected))
            total += pull**2 + ((b - c.background) / c.background_sigma) ** 2
        return total

    def profile(mu):
        point = [0.0, 0.0, 0.0, 1.0, 0.0, 0.5]
        for _ in range(6):
            fit = optimize.minimize(
                lambda p: cost(mu, p), point, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
            )
            point = fit.x
        return fit.fun

    best = optimize.minimize_scalar(profile, bounds=(0, 200), method="bounded")
    level = best.fun + stats.chi2.ppf(0.9, df=1)
    expected = optimize.brentq(lambda mu: profile(mu) - level, best.x, best.x + 200, xtol=1e-4)
    assert upper_limit(channels) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("sigma", "is_zero"), [(0.0, False), (1.0, True)])
def test_an_event_asks_for_signal_unless_a_background_may_be_there(sigma, is_zero):
    """Where none is expected for sure an event is signal; where none is expected but one may be, it need not be."""
    found = interval([Channel(n_obs=1, share=1.0, efficiency=0.2, background_sigma=sigma)])
    assert (found.lower == 0.0) == is_zero


def test_a_second_channel_without_events_strengthens_the_limit():
    first = Channel(n_obs=1, share=0.5, efficiency=0.15, background=0.3, background_sigma=0.1, sources={"a": 0.05})
    second = Channel(n_obs=0, share=0.5, efficiency=0.15, sources={"a": 0.05})
    assert upper_limit([first, second]) < upper_limit([first])


def test_a_shared_source_does_not_average_out():
    """Shared, it is that of the whole; as each channel's own it is smaller by the root of their number."""
    part = Channel(n_obs=2, share=0.25, efficiency=0.1583)

    def limit(*sources):
        return upper_limit([dataclasses.replace(part, sources=s) for s in sources])

    def whole(delta):
        return upper_limit([dataclasses.replace(part, n_obs=8, share=1.0, sources={"all": delta})])

    assert limit(*[{"a": 0.3}] * 4) == pytest.approx(whole(0.3), rel=1e-8)
    assert limit(*[{f"own {i}": 0.3} for i in range(4)]) == pytest.approx(whole(0.15), rel=2e-3)
    assert limit(*[{f"own {i}": 0.3} for i in range(4)]) < 0.95 * whole(0.3)


def test_sources_of_opposite_signs_cancel():
    part = Channel(n_obs=2, share=0.5, efficiency=0.1583)
    opposite = [dataclasses.replace(part, sources={"a": sign * 0.2}) for sign in (1.0, -1.0)]
    assert upper_limit(opposite) == pytest.approx(upper_limit([part, part]), rel=1e-2)


def test_sources_of_one_channel_add_up_in_quadrature():
    one = Channel(n_obs=3, share=1.0, efficiency=0.1583, background=0.4, background_sigma=0.1, sources={"a": 0.13})
    two = dataclasses.replace(one, sources={"b": 0.05, "c": -0.12})
    assert upper_limit([two]) == pytest.approx(upper_limit([one]), rel=1e-10)


@given(
    n=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    delta=st.floats(0.0, 0.5),
    sigma=st.floats(0.0, 2.0),
    mu=st.floats(0.0, 60.0),
)
def test_the_best_pulls_cannot_be_bettered(n, delta, sigma, mu):
    """No other expected counts within the covariance are likelier: the gradient is zero where counts can move."""
    counts = np.array(n, dtype=float)
    still = mu * 0.1 + np.full(len(n), 0.3)
    covariance = np.full((len(n), len(n)), (mu * 0.1 * delta) ** 2) + sigma**2 * np.eye(len(n))
    pulls = combination.best_pulls(counts, still, covariance)
    expected = still + covariance @ pulls
    assert np.all(expected > -1e-6)
    np.testing.assert_allclose(expected * (1.0 + pulls), counts, atol=1e-6)
