"""Channels in one likelihood."""

from __future__ import annotations

import dataclasses
import math

import pytest
from scipy import optimize, stats

from jpsi_lnv.analysis.limits import rolke
from jpsi_lnv.analysis.limits.combination import Channel, differs, interval, upper_limit


def test_one_channel_is_the_published_limit():
    alone = [Channel(n_obs=1, share=1.0, efficiency=0.1583, delta=0.07)]
    assert upper_limit(alone) == pytest.approx(23.187, abs=1e-3)
    shared = [dataclasses.replace(alone[0], delta=0.0)]
    assert upper_limit(shared, delta_common=0.07) == pytest.approx(23.187, abs=1e-3)


@pytest.mark.parametrize("n_obs", [0, 1, 3])
def test_halves_of_one_channel_are_the_whole(n_obs):
    """Without background it does not matter in which half an event lies."""
    half = Channel(n_obs=0, share=0.5, efficiency=0.1583)
    channels = [dataclasses.replace(half, n_obs=n_obs), half]
    expected = rolke.upper_limit(
        rolke.Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=n_obs,
        background=0.0,
        efficiency=0.1583,
        efficiency_sigma=0.07 * 0.1583,
    )
    assert upper_limit(channels, delta_common=0.07) == pytest.approx(expected, rel=1e-5)
    assert upper_limit(channels[::-1], delta_common=0.07) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.03])
@pytest.mark.parametrize("n_obs", [(1, 1), (2, 0), (0, 2), (0, 0)])
def test_parts_of_one_channel_with_background_are_the_whole(n_obs, share):
    """An uncertainty of the background that all parts share is that of the whole, wherever the events lie."""
    whole = Channel(n_obs=sum(n_obs), share=1.0, efficiency=0.1583, background=2.0, background_sigma=2.0)
    parts = [
        Channel(n_obs=n, share=s, efficiency=0.1583, background=2.0 * s, background_sigma_common=2.0 * s)
        for n, s in zip(n_obs, (share, 1.0 - share), strict=True)
    ]
    assert upper_limit(parts, delta_common=0.07) == pytest.approx(upper_limit([whole], delta_common=0.07), rel=1e-6)


@pytest.mark.parametrize(("n_obs", "is_other"), [(1, True), (2, False), (4, False)])
def test_the_rule_is_the_single_channels_unless_fewer_events_are_seen_than_background(n_obs, is_other):
    """Below the background the combination refers to a signal >= 0 and is weaker, and says that it differs."""
    half = Channel(n_obs=0, share=0.5, efficiency=0.1583, background=1.0, background_sigma_common=0.1)
    parts = [dataclasses.replace(half, n_obs=n_obs), half]
    measured = {"background": 2.0, "background_sigma": 0.2, "efficiency": 0.1583, "efficiency_sigma": 0.07 * 0.1583}
    single = rolke.upper_limit(rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=n_obs, **measured)
    found = upper_limit(parts, delta_common=0.07)
    assert differs(parts) == is_other
    assert found > 1.01 * single if is_other else found == pytest.approx(single, rel=1e-5)


@pytest.mark.parametrize("sigma", [1e-9, 1e-5])
def test_a_tiny_common_uncertainty_is_none(sigma):
    known = [Channel(n_obs=n, share=0.5, efficiency=0.1583, background=0.1) for n in (1, 0)]
    channels = [dataclasses.replace(c, background_sigma_common=sigma) for c in known]
    assert upper_limit(channels, delta_common=0.07) == pytest.approx(upper_limit(known, delta_common=0.07), rel=1e-6)


def test_one_channel_with_background_is_the_bounded_limit():
    channel = Channel(n_obs=10, share=1.0, efficiency=0.9, delta=0.05, background=5.0, background_sigma=0.5)
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
def test_two_different_channels_against_a_plain_minimiser(shifts):
    channels = [
        Channel(n_obs=4, share=0.6, efficiency=0.2, delta=0.05, background=1.0, background_sigma=0.4),
        Channel(n_obs=1, share=0.4, efficiency=0.1, delta=0.15, background=0.5, background_sigma=0.2),
    ]
    channels = [dataclasses.replace(c, background_sigma_common=s) for c, s in zip(channels, shifts, strict=True)]
    common = 0.1

    def cost(mu, point):
        scale, shift, *rest = point
        total = ((scale - 1) / common) ** 2 + shift**2
        for c, e, b in zip(channels, rest[::2], rest[1::2], strict=True):
            expected = mu * c.share * scale * e + b + shift * c.background_sigma_common
            if expected <= 0:
                return 1e9
            total += 2 * (expected - c.n_obs * math.log(expected))
            total += ((e - c.efficiency) / (c.delta * c.efficiency)) ** 2
            total += ((b - c.background) / c.background_sigma) ** 2
        return total

    def profile(mu):
        point = [1.0, 0.0, 0.2, 1.0, 0.1, 0.5]
        for _ in range(6):
            fit = optimize.minimize(
                lambda p: cost(mu, p), point, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
            )
            point = fit.x
        return fit.fun

    best = optimize.minimize_scalar(profile, bounds=(0, 200), method="bounded")
    level = best.fun + stats.chi2.ppf(0.9, df=1)
    expected = optimize.brentq(lambda mu: profile(mu) - level, best.x, best.x + 200, xtol=1e-4)
    assert upper_limit(channels, delta_common=common) == pytest.approx(expected, rel=1e-4)


def test_a_second_channel_without_events_strengthens_the_limit():
    first = Channel(n_obs=1, share=0.5, efficiency=0.15, background=0.3, background_sigma=0.1)
    second = Channel(n_obs=0, share=0.5, efficiency=0.15)
    assert upper_limit([first, second], delta_common=0.05) < upper_limit([first], delta_common=0.05)
