"""The cascade decides as the full set of fits does, on signal and on every kind of background."""

import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.kinfit.fourc import CHI2_MAX, Limits, Status

pytestmark = pytest.mark.fast

E, PI, K, P, _ = Species
SAMPLES = {
    "kkee": (K, K, E, E),
    "kkpipi": (K, PI, K, PI),
    "kkpipi_swapped": (PI, K, K, PI),
    "kkkk": (K, K, K, K),
    "pipipipi": (PI, PI, PI, PI),
    "pipiee": (PI, PI, E, E),
    "eeee": (E, E, E, E),
    "ppbarpipi": (P, PI, P, PI),
}


def below(fit):
    return (fit.status[:, 0] == Status.OK) & (fit.chi2[:, 0] < CHI2_MAX)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", SAMPLES)
def test_decision_is_that_of_all_fits(toys, p4_total, name, scale):
    sample = toys(SAMPLES[name], 8_000, 41, scale)
    arguments = (sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    full = fourc.fit4c(*arguments, limits=Limits(chi2=1e-6, energy=1e-8, n_iter=200))
    cascade = fourc.cascade(*arguments)
    is_below = below(full)
    np.testing.assert_array_equal(below(cascade), is_below)
    np.testing.assert_allclose(cascade.chi2[is_below, 0], full.chi2[is_below, 0], atol=1e-3)
    np.testing.assert_array_equal(fourc.is_smallest(cascade)[is_below], fourc.is_smallest(full)[is_below])
    if name in {"kkee", "kkpipi"}:
        assert is_below.mean() > 0.2


@pytest.mark.parametrize("permutations", ["one", "all"])
def test_decision_with_competing_assignments(toys, p4_total, permutations):
    sample = toys(SAMPLES["kkpipi"], 5000, 42)
    chi2_pid = np.random.default_rng(1).chisquare(2, (len(sample.p), 3))
    competes = KKEE.competing(permutations, sample.cand, chi2_pid)
    arguments = (sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    full = fourc.fit4c(*arguments, competes=competes)
    cascade = fourc.cascade(*arguments, competes=competes)
    is_below = below(full)
    np.testing.assert_array_equal(fourc.is_smallest(cascade)[is_below], fourc.is_smallest(full)[is_below])
    assert (full.status[~competes] == Status.SKIPPED).all()
    assert (cascade.status[~competes] == Status.SKIPPED).all()


def test_above_the_threshold_nothing_else_is_fitted(toys, p4_total):
    sample = toys(SAMPLES["pipipipi"], 2000, 43)
    cascade = fourc.cascade(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    is_above = ~below(cascade)
    assert is_above.mean() > 0.5
    assert (cascade.status[is_above, 1:] == Status.SKIPPED).all()
    assert not fourc.is_smallest(cascade)[is_above & (cascade.status[:, 0] != Status.OK)].any()


def test_threshold_is_the_edge_of_the_decision(toys, p4_total):
    sample = toys(SAMPLES["kkpipi"], 3000, 44)
    arguments = (sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    full = fourc.fit4c(*arguments)
    for threshold in (5.0, 50.0, 1000.0):
        cascade = fourc.cascade(*arguments, threshold=threshold)
        is_below = full.chi2[:, 0] < threshold
        np.testing.assert_array_equal(fourc.is_smallest(cascade)[is_below], fourc.is_smallest(full)[is_below])
