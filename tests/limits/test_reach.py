"""Expected limits and discoveries against luminosity and background."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.limits import reach
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.marginal import count_model
from jpsi_lnv.analysis.limits.sideband import SideBand

pytestmark = pytest.mark.fast


def inputs(**change):
    numbers = {"n_obs": 1, "n_bkg": 0.3, "side_bands": (SideBand("a", 3, 10.0),), "n_jpsi": 1e10}
    return LimitInputs(**(numbers | {"efficiency": 0.2, "delta_sys": 0.05} | change))


@pytest.mark.parametrize(("b", "alpha", "needed"), [(0.01, 1.35e-3, 2), (1.0, 1.35e-3, 6), (3.0, 2.87e-7, 16)])
def test_the_count_that_is_needed_is_that_of_the_poisson_tail(b, alpha, needed):
    model = count_model(efficiency=0.2, background=b)
    found = reach.count_needed(model, alpha)
    assert found == needed
    assert stats.poisson.sf(found - 1, b) <= alpha < stats.poisson.sf(found - 2, b)


def test_half_of_toys_with_the_yield_of_a_discovery_see_the_count():
    model = count_model(efficiency=0.2, efficiency_sigma=0.02, background=1.0)
    found, rng = reach.discovery(model, 1.35e-3), np.random.default_rng(1)
    counts = rng.poisson(found * rng.gamma(100.0, 0.002, 1_000_000) + 1.0)
    assert np.mean(counts >= reach.count_needed(model, 1.35e-3)) == pytest.approx(0.5, abs=0.002)


def test_more_data_reach_further_and_a_background_is_in_the_way():
    rows = reach.against_luminosity(inputs())
    for name in ("expected_branching_fraction_ul", "evidence_3_sigma", "discovery_5_sigma"):
        found = [row[name] for row in rows]
        assert found == sorted(found, reverse=True)
    assert [row["n_bkg"] for row in rows] == pytest.approx([0.3 * x for x in reach.LUMINOSITIES])
    assumed = reach.against_background(inputs())
    assert assumed[0]["discovery_5_sigma"] is None
    found = [row["discovery_5_sigma"] for row in assumed[1:]]
    assert found == sorted(found)
