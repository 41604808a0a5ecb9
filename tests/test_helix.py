"""Pivot moves against a stepped track, for both charges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import kinematics

pytestmark = pytest.mark.fast

FIELD = 0.9
finite = {"allow_nan": False, "allow_infinity": False}
helices = st.tuples(
    st.floats(-2, 2, **finite),
    st.floats(0, 6.28, **finite),
    st.floats(0.4, 8, **finite),
    st.floats(-10, 10, **finite),
    st.floats(-2.5, 2.5, **finite),
    st.sampled_from([-1, 1]),
)
places = st.tuples(st.floats(-2, 2, **finite), st.floats(-2, 2, **finite), st.floats(-5, 5, **finite))


def point(dr, phi0, kappa, dz, tanl, turn):
    """Return the point of the helix after a turn in rad along the flight, by the equation of motion."""
    sign = np.sign(kappa)
    r = kinematics.radius(kappa, FIELD)
    centre = (dr - sign * r) * np.array([np.cos(phi0), np.sin(phi0)])
    angle = phi0 + sign * turn
    return np.array([*(centre + sign * r * np.array([np.cos(angle), np.sin(angle)])), dz + r * tanl * turn])


@given(helices, places)
def test_the_moved_helix_passes_closest_to_the_pivot_on_the_same_track(parameters, place):
    dr, phi0, kappa, dz, tanl, sign = parameters
    kappa = sign * kappa
    x, y, z = place
    new_dr, new_phi0, new_dz = kinematics.closest_approach(dr, phi0, kappa, dz, tanl, x=x, y=y, z=z, field=FIELD)
    at_closest = np.array([x + new_dr * np.cos(new_phi0), y + new_dr * np.sin(new_phi0), z + new_dz])
    turn = sign * (np.remainder(new_phi0 - phi0 + np.pi, 2 * np.pi) - np.pi)
    np.testing.assert_allclose(at_closest, point(dr, phi0, kappa, dz, tanl, turn), atol=1e-7)
    steps = np.array([point(dr, phi0, kappa, dz, tanl, t)[:2] for t in np.linspace(-0.2, 0.2, 41)])
    assert abs(new_dr) <= np.hypot(*(steps - [x, y]).T).min() + 1e-9


@given(helices)
def test_the_momentum_is_along_the_flight(parameters):
    dr, phi0, kappa, dz, tanl, sign = parameters
    kappa = sign * kappa
    momentum = np.array(kinematics.momentum(phi0, kappa, tanl))
    step = point(dr, phi0, kappa, dz, tanl, 1e-6) - point(dr, phi0, kappa, dz, tanl, 0)
    direction = step / np.linalg.norm(step)
    np.testing.assert_allclose(momentum / np.linalg.norm(momentum), direction, atol=1e-5)


def test_positive_tracks_turn_counter_clockwise():
    before, after = (point(0.0, 0.0, 1.0, 0.0, 0.0, t) for t in (0.0, 0.1))
    assert np.cross([0, 1, 0], after - before)[2] > 0 or (after - before)[0] < 0
