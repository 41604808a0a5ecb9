"""The benchmark's toys of the mass scan give the bands that the exact sums give."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jpsi_lnv.analysis.limits import methods, sensitivity
from jpsi_lnv.analysis.limits.inputs import LimitInputs

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def toys():
    """The benchmark, which lies beside the tests and is not installed."""
    root = str(Path(__file__).parents[2])
    sys.path.insert(0, root)
    try:
        from benchmarks import limits_scan

        yield limits_scan
    finally:
        sys.path.remove(root)


def inputs(**change):
    numbers = {"n_obs": 0, "n_bkg": 2.0, "n_bkg_sigma": 0.0, "efficiency": 0.2, "delta_sys": 0.0, "n_jpsi": 1e10}
    return LimitInputs(**(numbers | change))


def test_toys_of_the_limit_give_the_exact_bands(toys):
    found = toys.background_only(inputs(), n_toys=5_000, rng=np.random.default_rng(3))
    expected = methods.upper_limit(inputs()).expected
    for name in sensitivity.BAND_PROBABILITIES:
        assert found.quantiles[name] == pytest.approx(getattr(expected, name), rel=1e-6)


def test_toys_are_reproducible_and_widen_with_uncertainties(toys):
    wide = inputs(n_bkg_sigma=0.5, delta_sys=0.2)
    first, again = (toys.background_only(wide, n_toys=500, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == again
    sharp = toys.background_only(inputs(), n_toys=500, rng=np.random.default_rng(5))
    assert first.quantiles["plus_2_sigma"] > sharp.quantiles["plus_2_sigma"]
