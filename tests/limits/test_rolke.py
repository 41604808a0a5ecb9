"""The profile-likelihood interval against published and ROOT's own values."""

from __future__ import annotations

import pytest

from jpsi_lnv.analysis.limits.rolke import Model, interval, upper_limit

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 5.0])
def test_one_event_without_background_gives_the_publications_yield_limit(tau):
    n_up = upper_limit(
        Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=1,
        n_bkg_region=0,
        tau=tau,
        efficiency=0.1583,
        efficiency_sigma=0.07 * 0.1583,
        confidence_level=0.90,
    )
    assert n_up == pytest.approx(23.187, abs=1e-3)


# Model, arguments, lower and upper end of ROOT 6.40's TRolke.
ROOT_VALUES = [
    (
        Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY,
        {"n_obs": 10, "n_bkg_region": 3, "tau": 2.5, "efficiency": 0.9, "efficiency_sigma": 0.05},
        0.95,
        (3.88417, 18.4584),
    ),
    (
        Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        {"n_obs": 10, "background": 5, "background_sigma": 0.5, "efficiency": 0.9, "efficiency_sigma": 0.05},
        0.99,
        (0.0, 17.5005),
    ),
    (
        Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY,
        {"n_obs": 1, "n_bkg_region": 7, "tau": 5, "efficiency": 0.25},
        0.68,
        (0.0, 4.08807),
    ),
    (
        Model.GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY,
        {"n_obs": 1, "background": 0, "background_sigma": 1, "efficiency": 0.65},
        0.80,
        (0.0, 4.91504),
    ),
    (
        Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY,
        {"n_obs": 25, "background": 10, "n_mc_passed": 500, "n_mc_total": 750},
        0.90,
        (11.4655, 36.3035),
    ),
    (
        Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        {"n_obs": 15, "background": 10, "efficiency": 0.77, "efficiency_sigma": 0.15},
        0.95,
        (0.0, 20.1747),
    ),
]


@pytest.mark.parametrize(("model", "arguments", "confidence_level", "expected"), ROOT_VALUES, ids=lambda v: str(v)[:30])
def test_values_of_the_public_implementation(model, arguments, confidence_level, expected):
    result = interval(model, confidence_level=confidence_level, **arguments)
    assert (result.lower, result.upper) == pytest.approx(expected, rel=2e-5, abs=1e-4)


def test_no_events_follow_the_published_rule_for_a_known_efficiency():
    """ROOT divides by the efficiency twice here and gives 31.84."""
    model, arguments = (
        Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY,
        {"n_bkg_region": 0, "tau": 1.0, "efficiency": 0.25},
    )
    ends = [upper_limit(model, n_obs=n, **arguments) for n in range(3)]
    assert ends[0] == pytest.approx(2 * ends[1] - ends[2], rel=1e-12)
    assert ends[0] == pytest.approx(7.960, abs=1e-3)
