"""Bad input is flagged and counted: never an exception, never a false chi2."""

import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.kinfit.fourc import Status

pytestmark = pytest.mark.fast

E, PI, K, P, _ = Species
DIAGONAL = np.array([0, 3, 5])


@pytest.fixture
def sample(toys):
    return toys((K, K, E, E), 20, 31)


def run(sample, p4_total):
    """Fit in both modes; check that the untouched candidates stay as they were; return the status of the first."""
    fits = [f(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total) for f in (fourc.fit4c, fourc.cascade)]
    for fit in fits:
        assert (fit.status[1:, 0] == Status.OK).all()
        assert not np.isnan(fit.chi2).any()
        assert sum(fourc.count_status(fit.status).values()) == fit.status.size
        assert not fourc.is_smallest(fit)[0]
    full, cascade = fits
    signal, p4 = fourc.fit_with_momenta(sample.p, sample.v, sample.cand, KKEE.assignments[0], p4_total)
    assert np.isnan(p4[0]).all()
    np.testing.assert_array_equal(signal.status, full.status[:, :1])
    assert full.status[0, 0] == cascade.status[0, 0]
    assert np.isinf(full.chi2[0]).all()
    return full.status[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["p", "v"])
def test_not_finite(sample, p4_total, bad, where):
    getattr(sample, where)[1, 0, 2] = bad
    assert (run(sample, p4_total) == Status.NOT_FINITE).all()


def test_zero_covariance(sample, p4_total):
    sample.v[2] = 0.0
    assert (run(sample, p4_total) == Status.BAD_COVARIANCE).all()


@pytest.mark.parametrize("element", DIAGONAL)
def test_negative_variance(sample, p4_total, element):
    sample.v[0, 0, element] *= -1.0
    assert (run(sample, p4_total) == Status.BAD_COVARIANCE).all()


@pytest.mark.parametrize(("element", "of"), [(1, (0, 3)), (2, (0, 5)), (4, (3, 5))])
def test_correlation_above_one(sample, p4_total, element, of):
    sample.v[3, 0, element] = 1.01 * np.sqrt(sample.v[3, 0, of[0]] * sample.v[3, 0, of[1]])
    assert (run(sample, p4_total) == Status.BAD_COVARIANCE).all()


def test_positive_minors_without_positive_determinant(sample, p4_total):
    sample.v[0, 0] = 1e-6 * np.array([1.0, 0.9, 0.9, 1.0, -0.9, 1.0])
    assert (run(sample, p4_total) == Status.BAD_COVARIANCE).all()


def test_one_bad_covariance_does_not_hide_in_the_sum(sample, p4_total):
    sample.v[1:4] *= 100.0
    sample.v[0] *= -1.0
    assert (run(sample, p4_total) == Status.BAD_COVARIANCE).all()


@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_huge_and_tiny_covariances_are_fitted_or_flagged(sample, p4_total, scale):
    sample.v[:4] *= scale
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    assert np.isin(fit.status[0], [Status.OK, Status.NOT_CONVERGED]).all()
    assert not np.isnan(fit.chi2).any()
    assert (fit.status[1:, 0] == Status.OK).all()


def test_tracks_at_rest(sample, p4_total):
    sample.p[:4] = 0.0
    fit = fourc.fit4c(sample.p, sample.v, sample.cand, KKEE.assignments, p4_total)
    assert not np.isnan(fit.chi2).any()
    assert not fourc.is_smallest(fit)[0]


def test_worse_flag_wins(sample, p4_total):
    sample.v[0] = 0.0
    sample.p[1] = np.nan
    assert (run(sample, p4_total) == Status.NOT_FINITE).all()


def test_no_candidates(sample, p4_total):
    for function in (fourc.fit4c, fourc.cascade):
        fit = function(sample.p, sample.v, np.empty((0, 4), dtype=np.int64), KKEE.assignments, p4_total)
        assert fit.chi2.shape == (0, len(KKEE.assignments))
        assert fourc.is_smallest(fit).shape == (0,)
    empty = fourc.fit4c(
        np.empty((0, 1, 3)), np.empty((0, 1, 6)), np.empty((0, 4), np.int64), KKEE.assignments, p4_total
    )
    assert len(empty.chi2) == 0


def test_counts_name_every_status():
    assert list(fourc.count_status(np.array([], dtype=np.int8))) == [s.name.lower() for s in Status]
    counts = fourc.count_status(np.array([[0, 0, 2], [6, 2, 2]]))
    assert (counts["ok"], counts["bad_covariance"], counts["skipped"], counts["above"]) == (2, 3, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": np.ones((80, 1, 5))}, "v has shape"),
        ({"cand": np.array([[0, 1, 2, 80]])}, "cand holds 0 to 80, but there are 80 tracks"),
        ({"cand": np.array([[0, 1, 2, -1]])}, "cand holds -1"),
        ({"hypotheses": np.array([[0, 1, 2, 5]])}, "hypotheses holds 0 to 5, but there are 5 species"),
        ({"p4_total": np.ones((3, 4))}, "p4_total"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(sample, p4_total, change, message):
    arguments = {
        "p": sample.p,
        "v": sample.v,
        "cand": sample.cand,
        "hypotheses": KKEE.assignments,
        "p4_total": p4_total,
    }
    with pytest.raises(ValueError, match=message):
        fourc.fit4c(**(arguments | change))


def test_species_beyond_the_inputs_are_refused(sample, p4_total):
    p, v = np.repeat(sample.p, 2, axis=1), np.repeat(sample.v, 2, axis=1)
    with pytest.raises(ValueError, match="2 species"):
        fourc.fit4c(p, v, sample.cand, KKEE.assignments, p4_total)
