"""Four-momenta of beams and tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum, invariant_mass

pytestmark = pytest.mark.fast


@given(st.floats(1.84, 4.95))
def test_the_initial_state_has_the_mass_sqrt_s_and_moves_along_x(sqrt_s):
    p4 = initial_four_momentum(sqrt_s)
    assert invariant_mass(p4) == pytest.approx(sqrt_s, rel=1e-12)
    assert p4[1] == p4[2] == 0


def test_the_boost_is_that_of_the_real_file():
    assert initial_four_momentum(3.0969)[0] == pytest.approx(0.03407, abs=5e-6)


def test_shapes():
    assert initial_four_momentum(np.full((2, 3), 3.1)).shape == (2, 3, 4)
    assert four_momentum(np.ones((5, 3)), 0.1).shape == (5, 4)
    assert invariant_mass(np.zeros((0, 4))).shape == (0,)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(0.1, 2))
def test_a_track_has_its_mass(p3, mass):
    assert invariant_mass(four_momentum(p3, mass)) == pytest.approx(mass, rel=1e-9)


def test_rounding_below_zero_is_zero():
    assert invariant_mass([1.0, 0.0, 0.0, 1.0 - 1e-12]) == 0


def test_a_track_goes_along_its_momentum_and_passes_points_of_its_helix():
    helix, way = np.array([0.3, 0.7, -1.2, 2.0, 0.5]), np.array([0.0, 1e-4, 25.0])
    x, y, z = kinematics.along(helix, 1.0, way)
    assert (x[0], y[0], z[0]) == pytest.approx((0.3 * np.cos(0.7), 0.3 * np.sin(0.7), 2.0))
    px, py, pz = kinematics.momentum(helix[1], helix[2], helix[4])
    step = np.array([x[1] - x[0], y[1] - y[0], z[1] - z[0]])
    np.testing.assert_allclose(
        step / np.linalg.norm(step), np.array([px, py, pz]) / np.hypot(px, np.hypot(py, pz)), atol=1e-5
    )
    dr, _, dz = kinematics.closest_approach(*helix, x=x[2], y=y[2], z=z[2], field=1.0)
    assert (dr, dz) == pytest.approx((0.0, 0.0), abs=1e-9)
