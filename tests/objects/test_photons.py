"""Photons and pi0 candidates: every requirement at its boundary, and events without any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.constants import M_PION0
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.kinematics import invariant_mass
from jpsi_lnv.analysis.objects import photons

pytestmark = pytest.mark.fast


def chunk(showers, tracks=(), n_events=1, event=None):
    """Return columns of showers (x, y, z, energy, time) and track impacts (x, y, z, energy), of event 0 or given."""
    showers, tracks = np.array(showers, float).reshape(-1, 5), np.array(tracks, float).reshape(-1, 4)
    event = np.zeros(len(showers), int) if event is None else np.asarray(event)
    counts = np.bincount(event, minlength=n_events)
    arrays = {f"Shower_{n}": showers[:, i] for i, n in enumerate(("x", "y", "z", "energy", "time"))}
    arrays |= {f"Track_{n}": tracks[:, i] for i, n in enumerate(("emc_x", "emc_y", "emc_z", "emc_energy"))}
    arrays |= {f"ip_{axis}": np.zeros(n_events) for axis in "xyz"}
    in_first = np.concatenate([[0], np.full(n_events, len(tracks))])
    return ArrayColumns(arrays, {"Shower": np.concatenate([[0], np.cumsum(counts)]), "Track": in_first}, n_events)


def barrel(energy=0.1, time=100.0, phi=0.0):
    return (95 * np.cos(phi), 95 * np.sin(phi), 0.0, energy, time)


def endcap(energy):
    return (63.0, 0.0, 140.0, energy, 100.0)  # cos(theta) = 0.912


@pytest.mark.parametrize(
    ("shower", "passes"),
    [
        (barrel(), True),
        (barrel(energy=0.0249), False),
        (barrel(energy=0.0251), True),
        (barrel(energy=0.025), False),
        (endcap(0.0499), False),
        (endcap(0.05), False),
        (endcap(0.0501), True),
        ((80.0, 0.0, 120.0, 1.0, 100.0), False),  # between barrel and end cap
        ((30.0, 0.0, 140.0, 1.0, 100.0), False),  # too far forward
        (barrel(time=700.0), True),
        (barrel(time=700.1), False),
        (barrel(time=0.0), True),
        (barrel(time=-1.0), False),
    ],
)
def test_requirements(shower, passes):
    assert len(photons.select(chunk([shower])).event) == passes


@given(st.floats(0.0, 0.5))
def test_photons_keep_away_from_tracks(angle):
    track = (95 * np.cos(angle), 95 * np.sin(angle), 0.0, 0.3)
    found = len(photons.select(chunk([barrel()], [track])).event)
    if abs(angle - 0.1745) > 1e-6:
        assert found == (angle > 0.1745)


def test_a_track_without_cluster_does_not_count():
    assert len(photons.select(chunk([barrel()], [(95.0, 0.0, 0.0, 0.0)])).event) == 1


def test_momentum_points_from_the_interaction_point():
    columns = chunk([barrel(energy=0.5, phi=0.3)])
    p4 = photons.select(columns).p4[0]
    np.testing.assert_allclose(p4, [0.5 * np.cos(0.3), 0.5 * np.sin(0.3), 0.0, 0.5], atol=1e-12)


def test_nothing_in_nothing_out():
    empty = photons.select(chunk([], n_events=3))
    assert empty.p4.shape == (0, 4)
    assert len(photons.best_pi0(empty, 3).event) == 0


def pair(mass, energy=0.5):
    """Return two photons of equal energy with an invariant mass."""
    half = np.arcsin(mass / (2 * energy))
    return [barrel(energy=energy, phi=half), barrel(energy=energy, phi=-half)]


@pytest.mark.parametrize(("mass", "found"), [(0.114, 0), (0.116, 1), (0.149, 1), (0.151, 0)])
def test_pi0_window(mass, found):
    selected = photons.select(chunk(pair(mass)))
    best = photons.best_pi0(selected, 1)
    assert len(best.event) == found
    if found:
        assert invariant_mass(best.p4)[0] == pytest.approx(M_PION0)


def test_the_closest_pair_of_each_event():
    showers = [*pair(0.120), barrel(energy=0.5, phi=2.0), *pair(0.134)]
    selected = photons.select(chunk(showers, n_events=2, event=[0, 0, 0, 1, 1]))
    best = photons.best_pi0(selected, 2)
    assert best.event.tolist() == [0, 1]


def test_pairs_and_angles():
    first, second = photons.pairs(np.array([0, 2, 2]), np.array([0, 2, 2, 5]))
    assert first.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert second.tolist() == [0, 1, 2, 3, 4, 2, 3, 4]
    a, b = np.array([[1.0, 0, 0], [0, 0, 1]]), np.array([[0, 2.0, 0], [0, 0, 3]])
    np.testing.assert_allclose(photons.opening_angle(a, b), [np.pi / 2, 0.0])


@given(
    energy=st.floats(0.03, 1.5), cos_theta=st.floats(-0.92, 0.92), phi=st.floats(-3.1, 3.1), r=st.floats(90.0, 150.0)
)
def test_the_covariance_is_that_of_energy_and_angles(energy, cos_theta, phi, r):
    """J diag(s_E^2, s_theta^2, s_phi^2) J^T of (px, py, pz) by (E, theta, phi), as BOSS builds it."""
    theta = np.arccos(cos_theta)
    sine, barrel = np.sin(theta), abs(cos_theta) <= photons.PHOTONS.cos_theta_barrel
    n = np.array([sine * np.cos(phi), sine * np.sin(phi), cos_theta])
    by_theta = energy * np.array([cos_theta * np.cos(phi), cos_theta * np.sin(phi), -sine])
    by_phi = energy * sine * np.array([-np.sin(phi), np.cos(phi), 0.0])
    stochastic, constant = (values[0 if barrel else 1] for values in (photons.STOCHASTIC, photons.CONSTANT))
    angle = photons.POSITION / np.sqrt(energy) / r
    errors = np.array([energy * np.hypot(stochastic / np.sqrt(energy), constant), angle, angle / sine])
    jacobian = np.stack([n, by_theta, by_phi], axis=1)
    wanted = jacobian @ np.diag(errors**2) @ jacobian.T
    p4 = np.append(n * energy, energy)[None]
    found = photons.covariance(photons.Photons(p4, np.zeros(1, int), np.array([r])))[0]
    np.testing.assert_allclose(found, wanted[np.triu_indices(3)], rtol=1e-9, atol=1e-18)


def test_the_errors_are_those_of_besiii():
    """2.5 % and 5 % of the energy at 1 GeV in barrel and end caps."""
    for stochastic, constant, wanted in zip(photons.STOCHASTIC, photons.CONSTANT, (0.025, 0.05), strict=True):
        assert np.hypot(stochastic, constant) == pytest.approx(wanted, rel=0.01)
