"""Helices: the momentum and the point come back, both charges turn the right way, mirror symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis.constants import P_TO_RADIUS
from jpsi_lnv.analysis.simulation.tracking import trajectory, wrapped

pytestmark = pytest.mark.fast
component = st.floats(-1.5, 1.5).filter(lambda x: abs(x) > 0.02)
coordinate = st.floats(-5.0, 5.0)


@settings(max_examples=settings.default.max_examples // 2)
@given(
    vertex=st.tuples(coordinate, coordinate, coordinate),
    p3=st.tuples(component, component, st.floats(-2, 2)),
    charge=st.sampled_from([-1, 1]),
    field=st.sampled_from([0.9, 1.0]),
)
def test_the_helix_goes_through_its_vertex_with_its_momentum(vertex, p3, charge, field):
    track = trajectory(np.array([vertex]), np.array([p3]), [charge], field)
    np.testing.assert_allclose(track.position(track.start)[0], vertex, atol=1e-6)
    np.testing.assert_allclose(track.direction(track.start)[0], p3, atol=1e-6)
    assert track.radius[0] == pytest.approx(P_TO_RADIUS * np.hypot(*p3[:2]) / field)
    assert np.sign(track.kappa[0]) == charge


def random_tracks(rng, n=500):
    vertex, p3 = rng.normal(0, 0.5, (n, 3)), rng.normal(0, 0.6, (n, 3))
    return vertex, p3, rng.choice([-1.0, 1.0], n)


def test_no_point_is_closer_than_the_point_of_closest_approach(rng):
    track = trajectory(*random_tracks(rng), 1.0)
    nearest = np.abs(track.dr)
    for angle in np.linspace(-np.pi, np.pi, 41):
        point = track.position(np.full(500, angle))
        assert np.all(np.hypot(point[:, 0], point[:, 1]) >= nearest - 1e-9)


def test_positive_particles_turn_counter_clockwise():
    track = trajectory(np.zeros((2, 3)), np.array([[1.0, 0, 0], [1.0, 0, 0]]), [1, -1], 1.0)
    assert np.all(np.sign(track.position(np.full(2, 0.3))[:, 1]) == [1, -1])


def test_radius_and_plane_are_reached(rng):
    track = trajectory(*random_tracks(rng), 1.0)
    turning = track.turning_to_radius(30.0)
    has = np.isfinite(turning)
    assert has.sum() > 300
    point = track.position(turning)[has]
    np.testing.assert_allclose(np.hypot(point[:, 0], point[:, 1]), 30.0, atol=1e-6)
    np.testing.assert_allclose(np.abs(track.z(track.turning_to_z(100.0))), 100.0, atol=1e-6)


def test_path_is_the_distance_along_the_helix(rng):
    track = trajectory(*random_tracks(rng), 1.0)
    steps = np.linspace(track.start, track.start + 0.7, 2001)
    points = np.stack([track.position(s) for s in steps])
    length = np.linalg.norm(np.diff(points, axis=0), axis=-1).sum(axis=0)
    np.testing.assert_allclose(track.path(track.start + 0.7), length, rtol=1e-5)
    np.testing.assert_allclose(track.turning_after(length), track.start + 0.7, atol=1e-5)


def test_mirrored_conjugate_has_mirrored_parameters(rng):
    """Conjugating charges and mirroring y turns (dr, phi0, kappa, dz, tanl) into (-dr, pi - phi0, -kappa, dz, tanl).

    With the field's direction fixed, the mirror image of a track is that of the opposite charge.
    """
    vertex, p3, charge = random_tracks(rng)
    one = trajectory(vertex, p3, charge, 1.0)
    mirror = np.array([1.0, -1.0, 1.0])
    other = trajectory(vertex * mirror, p3 * mirror, -charge, 1.0)
    np.testing.assert_allclose(other.dr, -one.dr, atol=1e-8)
    np.testing.assert_allclose(other.kappa, -one.kappa)
    np.testing.assert_allclose(wrapped(other.phi0 - (np.pi - one.phi0)), 0, atol=1e-8)
    np.testing.assert_allclose(other.dz, one.dz, atol=1e-8)
    np.testing.assert_allclose(other.tanl, one.tanl)
