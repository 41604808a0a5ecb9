"""Maps of several control samples of one species become one."""

from __future__ import annotations

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.efficiency import RatioMap
from jpsi_lnv.analysis.systematics import table

pytestmark = pytest.mark.fast
EDGES = (np.array([0.0, 1.0, 2.0]), np.array([-1.0, 1.0]))


def ratio_map(value, sigma):
    return RatioMap(*EDGES, np.array(value)[:, None], np.array(sigma)[:, None])


def test_one_map_stays_as_it_is():
    one = ratio_map([0.9, 1.1], [0.01, 0.02])
    both = table.combine([one])
    np.testing.assert_allclose(both.value, one.value)
    np.testing.assert_allclose(both.sigma, one.sigma)


def test_bins_follow_the_sample_that_knows_them():
    fast, slow = ratio_map([1.2, 1.0], [0.5, 0.001]), ratio_map([0.98, 1.3], [0.005, 0.5])
    both = table.combine([fast, slow])
    np.testing.assert_allclose(both.value[:, 0], [0.98, 1.0], atol=1e-3)
    assert np.all(both.sigma < np.minimum(fast.sigma, slow.sigma))


def test_a_result_without_the_slow_electrons_still_has_its_map(measured):
    found = table.ratio_map(measured, Species.E, "tracking")
    assert np.all(np.isfinite(found.value))
