"""What every limit obeys, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis.limits import combination, feldman_cousins, marginal, rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.rolke import Model

pytestmark = pytest.mark.fast

GAUSSIAN = Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY
KNOWN = Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY
counts = st.integers(0, 30)
efficiencies = st.floats(0.01, 1.0)
relative = st.floats(0.0, 0.3)
backgrounds = st.floats(0.0, 20.0)


def limit(n, efficiency, delta, background, background_sigma=0.0):
    return rolke.upper_limit(
        GAUSSIAN,
        n_obs=n,
        background=background,
        background_sigma=background_sigma,
        efficiency=efficiency,
        efficiency_sigma=delta * efficiency,
    )


@settings(max_examples=settings.default.max_examples // 4)
@given(counts, efficiencies, relative, backgrounds)
def test_more_events_never_lower_the_limit(n, efficiency, delta, background):
    assert limit(n + 1, efficiency, delta, background) >= limit(n, efficiency, delta, background) * (1 - 1e-9)


@settings(max_examples=settings.default.max_examples // 4)
@given(counts, efficiencies, relative, backgrounds)
@example(0, 1.0, 0.0, 1.1125369292536007e-308)
@example(0, 0.5, 0.0, 1e-29)
def test_the_limit_is_a_number_of_events_over_efficiency(n, efficiency, delta, background):
    assert limit(n, efficiency, delta, background) * efficiency == pytest.approx(
        limit(n, 1.0, delta, background), rel=1e-7
    )


@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(1, 30), efficiencies, relative)
def test_an_uncertain_efficiency_never_lowers_the_limit(n, efficiency, delta):
    assert limit(n, efficiency, delta, 0.0) >= limit(n, efficiency, 0.0, 0.0) * (1 - 1e-9)


@settings(max_examples=settings.default.max_examples // 3)
@given(st.integers(0, 15), st.floats(0.02, 1.0), relative, st.floats(0.0, 10.0))
def test_the_interval_holds_the_best_fit(n, efficiency, delta, background):
    found = rolke.interval(
        KNOWN, n_obs=n, background=background, efficiency=efficiency, efficiency_sigma=delta * efficiency
    )
    assert found.lower <= max((n - background) / efficiency, 0.0) <= found.upper * (1 + 1e-9)


def test_arrays_give_what_single_calls_give():
    n, efficiency = np.array([0, 1, 4, 25]), np.array([0.1, 0.2, 0.3, 0.9])
    _, upper = rolke.intervals(KNOWN, n_obs=n, background=2.0, efficiency=efficiency, efficiency_sigma=0.05)
    single = [
        rolke.upper_limit(KNOWN, n_obs=int(k), background=2.0, efficiency=float(e), efficiency_sigma=0.05)
        for k, e in zip(n, efficiency, strict=True)
    ]
    assert upper == pytest.approx(single, rel=1e-9)


def test_zero_uncertainty_means_known():
    gaussian = rolke.interval(
        GAUSSIAN, n_obs=3, background=1.0, background_sigma=0.0, efficiency=0.5, efficiency_sigma=0.0
    )
    known = rolke.interval(KNOWN, n_obs=3, background=1.0, efficiency=0.5, efficiency_sigma=0.0)
    assert (gaussian.lower, gaussian.upper) == (known.lower, known.upper)


def test_many_simulated_events_make_a_binomial_efficiency_gaussian():
    n_total = 10_000_000
    sigma = math.sqrt(0.3 * 0.7 / n_total)
    binomial = rolke.interval(
        Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY,
        n_obs=5,
        background=1.0,
        n_mc_passed=3_000_000,
        n_mc_total=n_total,
    )
    gaussian = rolke.interval(KNOWN, n_obs=5, background=1.0, efficiency=0.3, efficiency_sigma=sigma)
    assert (binomial.lower, binomial.upper) == pytest.approx((gaussian.lower, gaussian.upper), rel=1e-6)


def test_an_efficiency_compatible_with_zero_excludes_nothing():
    upper = rolke.upper_limit(KNOWN, n_obs=1, background=0.0, efficiency=0.5, efficiency_sigma=0.35)
    assert upper == math.inf


GOOD = {"n_obs": 1, "background": 0.5, "efficiency": 0.2, "efficiency_sigma": 0.01}
BAD = [
    ({"n_obs": -1}, r"n_obs=-1"),
    ({"n_obs": 1.5}, r"n_obs=1\.5.*whole number"),
    ({"n_obs": math.nan}, r"n_obs=nan.*finite"),
    ({"background": -0.1}, r"background=.*-0\.1"),
    ({"background": math.inf}, r"background=.*inf"),
    ({"efficiency": 0.0}, r"efficiency="),
    ({"efficiency": 15.83}, r"efficiency=.*not percent"),
    ({"efficiency_sigma": -0.1}, r"efficiency_sigma="),
    ({"efficiency_sigma": math.nan}, r"efficiency_sigma="),
    ({"confidence_level": 90}, r"confidence_level=90.*not percent"),
    ({"confidence_level": 0.0}, r"confidence_level=0:"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize(
    "method",
    [
        lambda **a: rolke.upper_limit(GAUSSIAN, background_sigma=0.1, **a),
        marginal.cls_limit,
        marginal.bayesian_limit,
        feldman_cousins.upper_limit,
    ],
    ids=["rolke", "recommended", "bayesian", "feldman-cousins"],
)
def test_impossible_numbers_are_named_with_their_value(method, change, message):
    with pytest.raises(ValueError, match=message):
        method(**(GOOD | change))


def test_a_model_refuses_what_it_does_not_use_and_names_what_it_lacks():
    with pytest.raises(ValueError, match=r"tau=2.*KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY does not use it.*background"):
        rolke.upper_limit(KNOWN, n_obs=1, background=0, efficiency=0.5, efficiency_sigma=0.1, tau=2)
    with pytest.raises(ValueError, match="efficiency_sigma is missing"):
        rolke.upper_limit(KNOWN, n_obs=1, background=0, efficiency=0.5)
    with pytest.raises(ValueError, match=r"tau=0"):
        rolke.upper_limit(Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY, n_obs=1, n_bkg_region=0, tau=0, efficiency=0.5)
    with pytest.raises(ValueError, match="n_mc_passed/n_mc_total"):
        rolke.upper_limit(
            Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY, n_obs=1, background=0, n_mc_passed=11, n_mc_total=10
        )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"n_obs": -1}, "n_obs"),
        ({"n_bkg": -1.0}, "n_bkg"),
        ({"efficiency": 1.2}, "efficiency"),
        ({"delta_sys": -0.1}, "delta_sys"),
        ({"n_jpsi": 0.0}, "n_jpsi"),
    ],
)
def test_inputs_refuse_impossible_numbers(change, name):
    good = {"n_obs": 1, "n_bkg": 0.0, "efficiency": 0.1, "delta_sys": 0.07, "n_jpsi": 1e10}
    with pytest.raises(ValueError, match=f"{name}="):
        LimitInputs(**(good | change))


def test_channels_refuse_impossible_numbers():
    with pytest.raises(ValueError, match="share="):
        combination.Channel(n_obs=0, share=1.2, efficiency=0.1)
    with pytest.raises(ValueError, match="shares"):
        combination.upper_limit([combination.Channel(n_obs=0, share=0.6, efficiency=0.1)] * 2)
    with pytest.raises(ValueError, match="pid="):
        combination.Channel(n_obs=0, share=0.6, efficiency=0.1, sources={"pid": float("nan")})
