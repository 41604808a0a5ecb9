"""chi2, probabilities and pulls of many right and wrong fits."""

import kinfit_reference
import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.kinfit.fourc import Status

E, PI, K, P, _ = Species
SIGNAL = KKEE.assignments[:1]


@pytest.fixture(scope="module")
def chi2(signal_toys, p4_total):
    fit = fourc.fit4c(signal_toys.p, signal_toys.v, signal_toys.cand, SIGNAL, p4_total)
    assert (fit.status == Status.OK).all()
    return fit.chi2[:, 0]


def test_chi2_has_four_degrees_of_freedom(chi2):
    assert abs(chi2.mean() - 4.0) < 4.0 * np.sqrt(8.0 / len(chi2))
    assert stats.kstest(chi2, stats.chi2(fourc.NDF).cdf).pvalue > 1e-3


def test_probability_is_flat(chi2):
    counts, _ = np.histogram(stats.chi2.sf(chi2, fourc.NDF), bins=20, range=(0.0, 1.0))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_tail_above_the_cut(chi2):
    expected = len(chi2) * stats.chi2.sf(20.0, fourc.NDF)
    assert expected == pytest.approx(50, abs=1)
    observed = np.count_nonzero(chi2 > 20.0)
    assert min(stats.poisson.cdf(observed, expected), stats.poisson.sf(observed - 1, expected)) > 1e-3


@pytest.fixture(scope="module")
def fitted(signal_toys, p4_total):
    return fourc.fit_with_momenta(signal_toys.p, signal_toys.v, signal_toys.cand, SIGNAL[0], p4_total)[1]


@pytest.fixture(scope="module")
def covariance(signal_toys, fitted):
    return kinfit_reference.fitted_covariance(fitted, signal_toys.v, signal_toys.cand, SIGNAL[0])


def test_pulls_are_standard_normal(signal_toys, fitted, covariance):
    measured, v = signal_toys.of_candidates
    variance = v[..., [0, 3, 5]].reshape(-1, 12) - np.einsum("nii->ni", covariance)
    pulls = (measured - fitted[..., :3]).reshape(-1, 12) / np.sqrt(variance)
    assert np.abs(pulls.mean(axis=0)).max() < 0.015
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.01)


def test_fitted_momenta_scatter_around_the_true_ones_as_stated(signal_toys, fitted, covariance):
    pulls = (fitted - signal_toys.true)[..., :3].reshape(-1, 12) / np.sqrt(np.einsum("nii->ni", covariance))
    assert np.abs(pulls.mean(axis=0)).max() < 0.015
    np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.01)


def test_fitted_momenta_meet_the_constraint(fitted, p4_total):
    excess = np.abs(fitted.sum(axis=1) - p4_total)
    assert excess[:, :3].max() < 1e-12
    assert excess[:, 3].max() < 1e-6


def test_fitted_covariance_has_four_directions_without_error(covariance):
    for matrix in covariance[:20]:
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert np.abs(eigenvalues[:4]).max() < 1e-9 * eigenvalues[-1]
        assert eigenvalues[4] > 0


def test_the_crossing_angle_matters(signal_toys, chi2, p4_total):
    some = signal_toys[slice(20_000)]
    at_rest = np.array([0.0, 0.0, 0.0, M_JPSI])
    wrong = fourc.fit4c(some.p, some.v, some.cand, SIGNAL, at_rest).chi2
    assert np.median(wrong) > 50.0
    assert np.median(chi2) < 4.0


def test_beam_spread_widens_the_constraint(signal_toys, p4_total):
    some = signal_toys[slice(50_000)]
    spread = 5e-3
    rng = np.random.default_rng(11)
    beam_energy = rng.normal(0.0, spread, (2, len(some))).sum(axis=0)
    total = p4_total + beam_energy[:, None] * np.array([np.sin(0.011), 0.0, 0.0, 1.0])
    hard = fourc.fit4c(some.p, some.v, some.cand, SIGNAL, total)
    soft = fourc.fit4c(some.p, some.v, some.cand, SIGNAL, total, spread=spread)
    assert hard.chi2.mean() > 4.5
    assert (soft.status == Status.OK).all()
    assert abs(soft.chi2.mean() - 4.0) < 4.0 * np.sqrt(8.0 / len(some))
