"""The compiled fit against the plain numpy one, and properties that hold for any candidate."""

import kinfit_reference as reference
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.kinfit.fourc import Limits, Status

pytestmark = pytest.mark.fast

E, PI, K, P, _ = Species
SIGNAL = KKEE.assignments[:1]
PACKED = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
LIMITS = Limits()
TIGHT = Limits(chi2=1e-11, energy=1e-11, n_iter=200)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 2e-2])
@pytest.mark.parametrize("generated", [(K, K, E, E), (K, PI, PI, K), (PI, PI, PI, PI), (K, K, K, K)])
def test_numba_equals_numpy(toys, p4_total, generated, spread):
    sample = toys(generated, 1000, 21)
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total, spread=spread)
    for h, species in enumerate(KKEE.assignments):
        masses = np.array(SPECIES_MASS)[species]
        chi2, status, p = reference.fit(*sample.of_candidates, masses, p4_total, spread=spread, limits=LIMITS)
        np.testing.assert_array_equal(fit.status[:, h], status)
        np.testing.assert_allclose(fit.chi2[:, h], chi2, rtol=1e-9)
        one, p4 = fourc.fit_with_momenta(sample.p, sample.v, sample.cand, species, p4_total, spread=spread)
        np.testing.assert_array_equal(one.status[:, 0], fit.status[:, h])
        np.testing.assert_array_equal(one.n_iter[:, 0], fit.n_iter[:, h])
        np.testing.assert_allclose(one.chi2[:, 0], fit.chi2[:, h], rtol=1e-9)
        is_ok = status == Status.OK
        np.testing.assert_allclose(p4[is_ok, :, :3], p[is_ok], atol=1e-9)
        assert np.isnan(p4[~is_ok]).all()


def test_float32_input_moves_chi2_by_less_than_a_thousandth(signal_toys, p4_total):
    exact = fourc.fit4c(signal_toys.p, signal_toys.v, signal_toys.cand, SIGNAL, p4_total)
    rounded = fourc.fit4c(
        signal_toys.p.astype(np.float32), signal_toys.v.astype(np.float32), signal_toys.cand, SIGNAL, p4_total
    )
    assert (rounded.status == Status.OK).all()
    is_low = exact.chi2 < 20.0
    assert np.abs(rounded.chi2 - exact.chi2)[is_low].max() < 1e-3


def rotated(p, v, turn):
    rows, columns = np.triu_indices(3)
    matrix = turn @ v[..., PACKED] @ turn.T
    return p @ turn.T, matrix[..., rows, columns]


def assert_same_chi2(one, two):
    """Fits far above any cut may converge in one order of rounding and not in another; below it they may not."""
    is_ok = (one.status == Status.OK) & (two.status == Status.OK)
    assert is_ok[np.minimum(one.chi2, two.chi2) < fourc.CHI2_MAX].all()
    np.testing.assert_allclose(two.chi2[is_ok], one.chi2[is_ok], rtol=1e-8)


@settings(max_examples=settings.default.max_examples // 4)
@given(angle=st.floats(-np.pi, np.pi), seed=st.integers(0, 10**6))
@example(angle=1.0, seed=1217)
def test_rotation_about_the_beam_axis_changes_nothing(toys, p4_total, angle, seed):
    sample = toys((K, K, E, E), 20, seed)
    turn = Rotation.from_euler("z", angle).as_matrix()
    p, v = rotated(sample.p, sample.v, turn)
    total = np.append(turn @ p4_total[:3], p4_total[3])
    one = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total, limits=TIGHT)
    two = fourc.fit4c(p, v, sample.cand, KKEE.assignments, total, limits=TIGHT)
    assert_same_chi2(one, two)


@settings(max_examples=settings.default.max_examples // 4)
@given(order=st.permutations(range(4)), seed=st.integers(0, 10**6))
def test_order_of_the_tracks_does_not_matter(toys, p4_total, order, seed):
    sample = toys((K, PI, K, PI), 20, seed)
    one = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total, limits=TIGHT)
    two = fourc.fit4c(sample.p, sample.v, sample.cand[:, order], KKEE.assignments[:, order], p4_total, limits=TIGHT)
    assert_same_chi2(one, two)


@settings(max_examples=settings.default.max_examples // 4)
@given(scale=st.floats(0.5, 2.0), seed=st.integers(0, 10**6))
def test_larger_errors_make_a_smaller_chi2(toys, p4_total, scale, seed):
    sample = toys((K, K, E, E), 20, seed)
    one = fourc.fit4c(sample.p, sample.v, sample.cand, SIGNAL, p4_total, limits=TIGHT)
    two = fourc.fit4c(sample.p, scale * sample.v, sample.cand, SIGNAL, p4_total, limits=TIGHT)
    # The fitted momenta are the same: only the metric is scaled, so this is exact.
    np.testing.assert_allclose(two.chi2, one.chi2 / scale, rtol=1e-7)


@pytest.mark.parametrize("generated", [(K, K, E, E), (K, PI, PI, K), (PI, PI, PI, PI)])
def test_three_constraints_are_a_lower_bound(toys, p4_total, generated):
    sample = toys(generated, 5000, 22)
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    p, v = sample.of_candidates
    excess = p.sum(axis=1) - p4_total[:3]
    solved = np.linalg.solve(v[..., PACKED].sum(axis=1), excess[..., None])[..., 0]
    bound = (excess * solved).sum(axis=1)
    assert (fit.chi2 >= bound[:, None] * (1 - 1e-12)).all()


def test_fit_of_fitted_momenta_is_perfect(signal_toys, p4_total):
    some = signal_toys[slice(5000)]
    p4 = fourc.fit_with_momenta(some.p, some.v, some.cand, SIGNAL[0], p4_total)[1]
    p = some.p.copy()
    p[some.cand, 0] = p4[..., :3]
    again = fourc.fit4c(p, some.v, some.cand, SIGNAL, p4_total)
    assert again.chi2.max() < 1e-6
    assert (again.n_iter <= 2).all()


def test_initial_momentum_per_candidate(signal_toys, p4_total):
    some = signal_toys[slice(100)]
    total = p4_total * np.linspace(0.99, 1.01, len(some))[:, None]
    together = fourc.fit4c(some.p, some.v, some.cand, KKEE.assignments, total)
    for i in range(0, len(some), 9):
        alone = fourc.fit4c(some.p, some.v, some.cand[i], KKEE.assignments, total[i])
        np.testing.assert_array_equal(together.chi2[i], alone.chi2[0])
