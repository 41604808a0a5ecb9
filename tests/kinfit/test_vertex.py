"""The vertex fit against a general minimiser, which knows the exact helix and nothing of the fit's algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from jpsi_lnv.analysis.kinematics import closest_approach, momentum, momentum_and_covariance
from jpsi_lnv.analysis.kinfit import vertex
from jpsi_lnv.analysis.kinfit.kernels import Status
from jpsi_lnv.analysis.simulation.tracking import CORRELATION, trajectory

pytestmark = pytest.mark.fast

FIELD = 1.0
SIGMA = np.array([0.012, 0.002, 0.006, 0.15, 0.004])
ROWS, COLUMNS = np.triu_indices(5)
COVARIANCE = CORRELATION * np.outer(SIGMA, SIGMA)


def make(n, seed, place=(0.2, -0.1, 0.5), spread=(0.04, 0.04, 0.8), scale=1.0):
    """Return helices (n, 4, 5), covariances (n, 4, 15) and true vertices (n, 3) of four tracks of 0.2 to 1 GeV/c."""
    rng = np.random.default_rng(seed)
    true = place + rng.normal(size=(n, 3)) * spread
    cosine, phi, size = rng.uniform(-0.9, 0.9, (n, 4)), rng.uniform(0, 6.28, (n, 4)), rng.uniform(0.2, 1.0, (n, 4))
    sine = np.sqrt(1 - cosine**2)
    p3 = size[..., None] * np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=-1)
    charge = np.tile([1.0, -1.0, 1.0, -1.0], n)
    tracks = trajectory(np.repeat(true, 4, axis=0), p3.reshape(-1, 3), charge, FIELD)
    noise = rng.normal(size=(4 * n, 5)) @ np.linalg.cholesky(COVARIANCE).T
    helix = (tracks.parameters + scale * noise).reshape(n, 4, 5)
    return helix, np.broadcast_to(scale**2 * COVARIANCE[ROWS, COLUMNS], (n, 4, 15)).copy(), true, p3


def run(sample, spread=None, point=(0.2, -0.1, 0.5), **limits):
    helix, covariance, *_ = sample
    n = len(helix)
    width = None if spread is None else np.tile(spread, (n, 1))
    tight = vertex.VertexLimits(chi2=1e-9, n_iter=50)._replace(**limits)
    return vertex.fit(helix, covariance, np.full(n, FIELD), np.tile(point, (n, 1)), width, tight)


def minimise(helix, point, spread):
    """Return vertex, momenta and chi2 that least squares find with the vertex and three numbers per track free."""
    whiten = np.linalg.inv(np.linalg.cholesky(COVARIANCE))

    def residuals(x):
        at, own = x[:3], x[3:].reshape(4, 3)
        rows = []
        for measured, (phi, kappa, tanl) in zip(helix, own, strict=True):
            dr, phi0, dz = closest_approach(0.0, phi, kappa, 0.0, tanl, x=-at[0], y=-at[1], z=-at[2], field=FIELD)
            difference = np.array([dr, phi0, kappa, dz, tanl]) - measured
            difference[1] = np.remainder(difference[1] + np.pi, 2 * np.pi) - np.pi
            rows.append(whiten @ difference)
        hold = [] if spread is None else [(at - point) / spread]
        return np.concatenate(rows + hold)

    start = np.concatenate([point, helix[:, [1, 2, 4]].ravel()])
    found = optimize.least_squares(residuals, start, xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac")
    own = found.x[3:].reshape(4, 3)
    return found.x[:3], np.stack(momentum(*own.T), axis=-1), 2 * found.cost


@pytest.mark.parametrize("spread", [None, np.array([0.04, 0.04, 0.8])])
def test_agrees_with_least_squares(spread):
    sample = make(12, 1)
    found = run(sample, spread)
    for i, helix in enumerate(sample[0]):
        at, p, chi2 = minimise(helix, np.array([0.2, -0.1, 0.5]), spread)
        assert found.chi2[i] == pytest.approx(chi2, rel=2e-3, abs=2e-3)
        np.testing.assert_allclose(found.position[i], at, atol=2e-4)
        np.testing.assert_allclose(found.p[4 * i : 4 * i + 4], p, atol=2e-5)


def test_agrees_with_least_squares_for_a_vertex_far_away():
    sample = make(6, 2, place=(4.0, 2.0, -3.0))
    found = run(sample)
    for i, helix in enumerate(sample[0]):
        _, p, chi2 = minimise(helix, np.array([4.0, 2.0, -3.0]), None)
        assert found.chi2[i] == pytest.approx(chi2, rel=5e-3, abs=5e-3)
        np.testing.assert_allclose(found.p[4 * i : 4 * i + 4], p, atol=5e-5)


@pytest.mark.parametrize(("spread", "ndf"), [(None, vertex.NDF), (np.array([0.04, 0.04, 0.8]), vertex.NDF + 3)])
def test_chi2_and_pulls_are_those_of_their_distributions(spread, ndf):
    sample = make(4000, 3)
    found = run(sample, spread)
    assert (found.status == Status.OK).all()
    assert stats.kstest(found.chi2, "chi2", args=(ndf,)).pvalue > 1e-3
    errors = np.sqrt(found.v[:, [0, 3, 5]])
    pulls = (found.p - sample[3].reshape(-1, 3)) / errors
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(pulls.mean(axis=0), 0.0, atol=0.04)


def test_the_constraint_sharpens_the_momenta():
    sample = make(500, 4)
    free, held = run(sample), run(sample, np.array([0.04, 0.04, 0.8]))
    _, alone = momentum_and_covariance(sample[0].reshape(-1, 5), sample[1].reshape(-1, 15))
    assert np.median(free.v[:, 0] / alone[:, 0]) < 0.95
    # The traces, which do not turn with the direction of a track that another vertex gives.
    ratio = held.v[:, [0, 3, 5]].sum(axis=1) / free.v[:, [0, 3, 5]].sum(axis=1)
    assert ratio.max() < 1.02
    assert np.median(ratio) < 1.0


def test_the_order_of_tracks_and_the_place_of_the_pivot_do_not_count():
    helix, covariance, *rest = make(50, 5)
    found = run((helix, covariance, *rest))
    turned = run((helix[:, ::-1], covariance[:, ::-1], *rest), point=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(turned.chi2, found.chi2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(turned.p.reshape(-1, 4, 3)[:, ::-1], found.p.reshape(-1, 4, 3), atol=1e-6)


def test_what_is_no_vertex_is_flagged_and_has_no_momenta():
    helix, covariance, *rest = make(5, 6)
    helix[1, 2, 2] = np.nan
    covariance[2, 0, 0] = -1.0
    helix[3, 1, 0] += 5.0
    helix[4] = helix[4, 0]  # four times the same track: the vertex is anywhere on it
    found = run((helix, covariance, *rest))
    wanted = [Status.OK, Status.NOT_FINITE, Status.BAD_COVARIANCE, Status.ABOVE, Status.BAD_COVARIANCE]
    assert found.status.tolist() == wanted
    assert np.isfinite(found.p[:4]).all()
    assert np.isnan(found.p[4:]).all()


def test_too_few_iterations_are_not_converged():
    found = run(make(5, 7), n_iter=1)
    assert (found.status == Status.NOT_CONVERGED).all()
    assert np.isinf(found.chi2).all()
