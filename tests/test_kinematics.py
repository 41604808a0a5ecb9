"""Four-momenta of beams and tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
