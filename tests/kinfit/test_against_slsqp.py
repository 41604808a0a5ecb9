"""The fit against a general minimiser, which knows nothing of its algebra."""

import numpy as np
import pytest
from scipy.optimize import minimize

from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.kinfit.fourc import Limits, Status

pytestmark = pytest.mark.fast

E, PI, K, P, _ = Species
TIGHT = Limits(chi2=1e-10, energy=1e-10, n_iter=200)
PACKED = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


def slsqp(p0, v, species, p4_total):
    """Minimise |x|^2 with p = p0 + L x under the four constraints; return chi2, or None where SLSQP gives up."""
    mass2 = np.array([SPECIES_MASS[s] for s in species]) ** 2
    lower = np.linalg.cholesky(v[:, PACKED])

    def momenta(x):
        return p0 + np.einsum("kij,kj->ki", lower, x.reshape(4, 3))

    def constraints(x):
        p = momenta(x)
        return np.append(p.sum(axis=0), np.sqrt((p * p).sum(axis=1) + mass2).sum()) - p4_total

    def jacobian(x):
        p = momenta(x)
        b = p / np.sqrt((p * p).sum(axis=1) + mass2)[:, None]
        rows = np.concatenate([lower, np.einsum("ki,kij->kj", b, lower)[:, None]], axis=1)
        return rows.transpose(1, 0, 2).reshape(4, 12)

    result = minimize(
        lambda x: x @ x,
        np.zeros(12),
        jac=lambda x: 2 * x,
        constraints={"type": "eq", "fun": constraints, "jac": jacobian},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return result.fun if result.success and np.abs(constraints(result.x)).max() < 1e-8 else None


def compare(sample, species, p4_total):
    """Fit with both; return the number of candidates both could fit, after checking that they agree."""
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, np.array([species]), p4_total, limits=TIGHT)
    p, v = sample.of_candidates
    compared = 0
    for i in range(len(sample)):
        expected = slsqp(p[i], v[i], species, p4_total)
        if expected is not None and fit.status[i, 0] == Status.OK:
            assert fit.chi2[i, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
            compared += 1
    return compared


@pytest.mark.parametrize(
    ("generated", "read_as", "scale"),
    [
        ((K, K, E, E), (K, K, E, E), 1.0),
        ((K, PI, K, PI), (K, PI, K, PI), 1.0),
        ((K, PI, K, PI), (K, K, E, E), 1.0),
        ((PI, PI, PI, PI), (K, K, E, E), 1.0),
        ((K, K, E, E), (K, K, K, K), 1.0),
        ((K, K, E, E), (PI, PI, PI, PI), 1.0),
        ((K, K, E, E), (K, K, E, E), 10.0),
    ],
)
def test_agrees_with_slsqp(toys, p4_total, generated, read_as, scale):
    assert compare(toys(generated, 12, 3, scale), read_as, p4_total) >= 10


def test_agrees_with_slsqp_for_soft_electrons(toys, p4_total):
    sample = toys((K, K, E, E), 20_000, 4)
    softest = np.linalg.norm(sample.true[:, 2:, :3], axis=2).min(axis=1).argsort()[:12]
    assert compare(sample[softest], (K, K, E, E), p4_total) == 12


def test_agrees_with_slsqp_at_a_hundred_times_the_resolution(toys, p4_total):
    assert compare(toys((K, K, E, E), 30, 5, 100.0), (K, K, E, E), p4_total) >= 10


def test_agrees_with_slsqp_for_ill_conditioned_covariances(toys, p4_total):
    sample = toys((K, K, E, E), 12, 6)
    rng = np.random.default_rng(6)
    turn = np.linalg.qr(rng.normal(size=(48, 3, 3)))[0]
    widths = np.array([1e-4, 1e-6, 1e-11]) * rng.uniform(0.5, 2.0, (48, 3))  # condition about 1e7
    rows, columns = np.triu_indices(3)
    sample.v[:, 0] = (turn * widths[:, None] @ turn.transpose(0, 2, 1))[:, rows, columns]
    condition = np.linalg.cond(sample.v[:, 0][:, PACKED])
    assert np.median(condition) > 3e6
    assert compare(sample, (K, K, E, E), p4_total) >= 10


@pytest.mark.parametrize("generated", [(K, K, E, E), (PI, PI, PI, PI)])
def test_near_threshold_is_right_or_flagged(toys, p4_total, generated):
    sample = toys(generated, 15, 7)
    species = (K, K, P, P)
    compare(sample, species, p4_total)
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, np.array([species]), p4_total)
    assert np.isin(fit.status, [Status.OK, Status.NOT_CONVERGED]).all()
    assert (fit.status == Status.NOT_CONVERGED).any()
    assert np.isinf(fit.chi2[fit.status == Status.NOT_CONVERGED]).all()


def test_masses_above_the_energy_are_infeasible(toys, p4_total):
    sample = toys((K, K, E, E), 5, 8)
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, np.array([(P, P, P, P), (K, K, E, E)]), p4_total)
    assert (fit.status[:, 0] == Status.INFEASIBLE).all()
    assert np.isinf(fit.chi2[:, 0]).all()
    assert (fit.status[:, 1] == Status.OK).all()


@pytest.mark.parametrize("generated", [(K, K, E, E), (K, PI, K, PI), (PI, PI, PI, PI), (K, K, K, K)])
def test_default_limits_are_tight_enough(toys, p4_total, generated):
    sample = toys(generated, 5000, 9)
    arguments = (sample.p, sample.v, sample.cand, np.array([(K, K, E, E)]), p4_total)
    normal, tight = fourc.fit4c(*arguments), fourc.fit4c(*arguments, limits=TIGHT)
    is_low = tight.chi2 < fourc.CHI2_MAX
    assert (normal.status[is_low] == Status.OK).all()
    assert np.abs(normal.chi2[is_low] - tight.chi2[is_low]).max(initial=0.0) < 1e-4
