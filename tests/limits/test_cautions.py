"""What is said beside a limit that is not as good as it looks."""

from __future__ import annotations

import pytest

from jpsi_lnv.analysis.limits import cautions, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sideband import SideBand

pytestmark = pytest.mark.fast


def said(method, n_obs, *, n_bkg=0.0, sigma=0.0, delta=0.07, side_bands=()):
    inputs = LimitInputs(
        n_obs=n_obs,
        n_bkg=n_bkg,
        n_bkg_sigma=sigma,
        side_bands=side_bands,
        efficiency=0.1583,
        delta_sys=delta,
        n_jpsi=10087e6,
    )
    return " ".join(cautions.of(methods.upper_limit(inputs, method=method)))


def test_the_published_limit_of_one_event_needs_no_caution():
    assert said("rolke", 1) == ""


@pytest.mark.parametrize("n_obs", [0, 1, 5])
@pytest.mark.parametrize("side_bands", [(), (SideBand("a", 4, 2.0, (("f", 0.5),)),)])
def test_the_recommended_limit_falls_with_nothing(n_obs, side_bands):
    found = said(
        "recommended", n_obs, n_bkg=2.0 if side_bands else 0.0, sigma=1.0 if side_bands else 0.0, side_bands=side_bands
    )
    assert "falls" not in found


def test_the_published_rule_at_no_event_falls_with_background_and_with_uncertainty():
    found = said("rolke", 0)
    assert "falls when the background grows while no event is seen" in found
    assert "below 2" in found
    assert "falls when the uncertainty of the efficiency grows" in said("rolke", 0, n_bkg=0.5, delta=0.2)


def test_a_limit_of_next_to_nothing_is_said_to_be_so():
    found = said("rolke", 0, n_bkg=1.98, sigma=0.01)
    assert "counted events, below 2" in found


def test_fewer_events_than_the_background_gives_are_said():
    assert "fewer events than the background gives" in said("recommended", 2, n_bkg=12.0, sigma=0.1)


def test_no_finite_limit_is_said():
    assert "no finite limit" in said("bayesian", 1, delta=1.2)


def test_hidden_events_need_no_caution():
    assert said("rolke", None) == ""


def test_a_wide_factor_is_said():
    assert "'pi to e' is wider" in said("recommended", 1, side_bands=(SideBand("a", 4, 2.0, (("pi to e", 2.5),)),))
