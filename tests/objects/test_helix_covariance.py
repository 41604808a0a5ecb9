"""Pivot moves and momenta of helices of both charges."""

import numpy as np
import pivot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.constants import P_TO_RADIUS

pytestmark = pytest.mark.fast


def point(h, turned, field):
    """Return the point of a helix (pivot at the origin) after it has turned by an angle, positive ones to the left."""
    dr, phi0, kappa, dz, tanl = np.moveaxis(h, -1, 0)
    rho = P_TO_RADIUS / (field * kappa)
    x = dr * np.cos(phi0) + rho * (np.cos(phi0 + turned) - np.cos(phi0))
    y = dr * np.sin(phi0) + rho * (np.sin(phi0 + turned) - np.sin(phi0))
    return np.stack([x, y, dz + rho * tanl * turned], axis=-1)


@pytest.mark.parametrize("charge", [-1, 1])
@pytest.mark.parametrize("field", [0.9, 1.0])
def test_a_pivot_on_the_track_has_no_distance(helices, charge, field):
    h, cov = helices(200, 1)
    h[:, 2] = charge * np.abs(h[:, 2])
    turned = charge * np.random.default_rng(2).uniform(0.0, 2.0, len(h))  # along the momentum
    moved, _ = pivot.move_pivot(h, cov, point(h, turned, field), field)
    np.testing.assert_allclose(moved[:, [0, 3]], 0.0, atol=1e-9)
    np.testing.assert_allclose(moved[:, 1], h[:, 1] + turned, atol=1e-9)


@pytest.mark.parametrize("charge", [-1, 1])
def test_the_momentum_points_along_the_track(helices, charge):
    h, cov = helices(200, 3)
    h[:, 2] = charge * np.abs(h[:, 2])
    step = 1e-6 * charge
    direction = point(h, step, 1.0) - point(h, 0.0, 1.0)
    p, _ = kinematics.momentum_and_covariance(h, cov)
    cosine = (p * direction).sum(axis=1) / np.linalg.norm(p, axis=1) / np.linalg.norm(direction, axis=1)
    np.testing.assert_allclose(cosine, 1.0, atol=1e-6)
    np.testing.assert_allclose(np.hypot(p[:, 0], p[:, 1]), 1 / np.abs(h[:, 2]))


@settings(max_examples=settings.default.max_examples // 3)
@given(shift=st.tuples(*[st.floats(-2.0, 2.0)] * 3), seed=st.integers(0, 10**6), field=st.sampled_from([0.9, 1.0]))
def test_a_pivot_moved_forth_and_back(helices, shift, seed, field):
    h, cov = helices(20, seed)
    shift = np.array(shift)
    there = pivot.move_pivot(h, cov, shift, field)
    back, back_cov = pivot.move_pivot(*there, -shift, field)
    np.testing.assert_allclose(back, h, atol=1e-9)
    np.testing.assert_allclose(back_cov, cov, rtol=1e-6, atol=1e-12)


def differences(function, h, step=1e-6):
    """Return the Jacobian of a function of helices by central differences."""
    columns = []
    for j in range(5):
        e = np.zeros(5)
        e[j] = step
        columns.append((function(h + e) - function(h - e)) / (2 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("charge", [-1, 1])
def test_pivot_covariance_against_finite_differences(helices, charge):
    h, cov = helices(300, 5)
    h[:, 2] = charge * np.abs(h[:, 2])
    shift = np.random.default_rng(6).normal(0, 0.5, (len(h), 3))
    _, moved = pivot.move_pivot(h, cov, shift, 0.9)
    jacobian = differences(lambda x: pivot.move_pivot(x, cov, shift, 0.9)[0], h)
    expected = jacobian @ kinematics.unpack(cov) @ jacobian.transpose(0, 2, 1)
    width = np.sqrt(np.einsum("nii->ni", expected))
    difference = (kinematics.unpack(moved) - expected) / (width[:, :, None] * width[:, None, :])
    assert np.abs(difference).max() < 1e-5


@pytest.mark.parametrize("charge", [-1, 1])
def test_momentum_covariance_against_finite_differences(helices, charge):
    h, cov = helices(300, 7)
    h[:, 2] = charge * np.abs(h[:, 2])
    _, v = kinematics.momentum_and_covariance(h, cov)
    jacobian = differences(lambda x: kinematics.momentum_and_covariance(x, cov)[0], h)
    expected = jacobian @ kinematics.unpack(cov) @ jacobian.transpose(0, 2, 1)
    rows, columns = np.triu_indices(3)
    width = np.sqrt(np.einsum("nii->ni", expected))
    assert (np.abs(v - expected[:, rows, columns]) < 1e-5 * width[:, rows] * width[:, columns]).all()


def test_packing():
    packed = np.arange(15.0)
    full = kinematics.unpack(packed)
    np.testing.assert_array_equal(full, full.T)
    assert full[0].tolist() == [0, 1, 2, 3, 4]
    assert full[4, 4] == 14
    np.testing.assert_array_equal(pivot.pack(full), packed)
