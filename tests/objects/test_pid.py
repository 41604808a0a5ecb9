"""Confidence levels as BOSS's ParticleID makes them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.objects import pid, tof_pid

pytestmark = pytest.mark.fast

WINDOW = (-4.0, 4.0)
NONE = pid.Measurement(np.full((1, 3), np.nan), WINDOW)


def chi(*values, window=WINDOW):
    return pid.Measurement(np.array([values], dtype=float), window)


@given(chi2=st.floats(0, 200), ndof=st.integers(1, 8))
def test_survival_in_closed_form(chi2, ndof):
    assert pid.survival(chi2, ndof) == pytest.approx(stats.chi2.sf(chi2, ndof), rel=1e-12, abs=1e-300)


def test_sums_over_subsystems_with_a_common_ndof():
    result = pid.confidence_levels((chi(1, 2, 3), chi(0, 1, -2)))
    assert result.chi2.tolist() == [[1, 5, 13]]
    assert result.ndof.tolist() == [2]
    np.testing.assert_allclose(result.cl, stats.chi2.sf([[1, 5, 13]], 2))


def test_a_subsystem_that_fits_no_hypothesis_does_not_count():
    far = chi(11.3, 18.6, 11.9)  # a real track: dE/dx far from every considered hypothesis
    result = pid.confidence_levels((far, chi(0.5, 1.0, 2.0)))
    assert result.ndof.tolist() == [1]
    assert result.chi2.tolist() == [[0.25, 1.0, 4.0]]


def test_a_subsystem_that_fits_one_hypothesis_counts_for_all():
    result = pid.confidence_levels((chi(3.99, 20.0, -30.0),))
    assert result.ndof.tolist() == [1]
    assert result.chi2[0] == pytest.approx([3.99**2, 400, 900])


@pytest.mark.parametrize("edge", [4.0, -4.0])
def test_the_limit_itself_is_out(edge):
    assert pid.confidence_levels((chi(edge, 9, 9),)).ndof.tolist() == [0]
    assert pid.confidence_levels((chi(np.nextafter(edge, 0), 9, 9),)).ndof.tolist() == [1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_track_without_any_subsystem_is_nothing(bad):
    result = pid.confidence_levels((NONE, chi(0.0, bad, 0.0)))
    assert result.ndof.tolist() == [0]
    assert result.cl.tolist() == [[-1, -1, -1]]
    assert result.chi2.tolist() == [[0, 0, 0]]
    assert pid.cl_ratio(result.cl).tolist() == [0]


def test_ratio():
    cl = np.array([[0.8, 0.1, 0.1], [0.0, 0.0, 0.0], [0.2, 0.2, 0.6]])
    assert pid.cl_ratio(cl) == pytest.approx([0.8, 0.0, 0.2])
    assert pid.cl_ratio(cl, species=2) == pytest.approx([0.1, 0.0, 0.6])


def test_a_window_need_not_be_symmetric():
    wide = (-4.0, 6.0)
    assert pid.confidence_levels((chi(5.9, 9, 9, window=wide),)).ndof.tolist() == [1]
    assert pid.confidence_levels((chi(-5.9, 9, 9, window=wide),)).ndof.tolist() == [0]


def test_only_hypotheses_that_are_asked_let_a_subsystem_count():
    of_four = chi(9, 9, 9, 0.5)  # the fourth is a muon, say
    assert pid.confidence_levels((of_four,)).ndof.tolist() == [0]
    asked = pid.confidence_levels((of_four,), asked=(0, 3))
    assert asked.ndof.tolist() == [1]
    assert asked.chi2.tolist() == [[81, 81, 81]]


def test_a_hypothesis_out_of_the_densities_is_excluded_and_no_other():
    """Regression against BOSS: EmcPID gives -99 where a density has no tail, for that hypothesis alone."""
    result = pid.confidence_levels((chi(-99.0, 0.5, 0.5),))
    assert result.cl[0] == pytest.approx([0.0, *[stats.chi2.sf(0.25, 1)] * 2])


def test_without_subsystems_nothing_is_identified():
    with pytest.raises(ValueError, match="got no PID subsystem"):
        pid.confidence_levels(())


@pytest.mark.parametrize("names", ["", "e kaon"])
def test_names_of_hypotheses(names):
    with pytest.raises(ValueError, match=r"pid_identify '.*': wanted names of hypotheses, among e mu pi k p"):
        replace(SELECTION, pid_identify=names)


@pytest.fixture
def columns():
    arrays = {
        "run": np.array([-1], dtype=np.int32),
        "Track_dedx_n_hits": np.array([20, 0, 15], dtype=np.int16),
        "Track_tof_time": np.array([4.1, 4.0, 4.0], dtype=np.float32),
        "Track_tof_sigma": np.array([0.1, 0.1, 0.0], dtype=np.float32),
        "Track_tof_quality": np.array([1, 0, 1], dtype=np.int16),
    }
    for i, h in enumerate(("e", "pi", "k")):
        arrays[f"Track_dedx_chi_{h}"] = np.full(3, float(i), dtype=np.float32)
        arrays[f"Track_tof_texp_{h}"] = np.full(3, 4.0 + 0.2 * i, dtype=np.float32)
    return ArrayColumns(arrays, {"Track": np.array([0, 3])}, 1)


def test_chi_of_dedx(columns):
    assert pid.dedx_chi(columns)[[0, 2]].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert np.isnan(pid.dedx_chi(columns)[1]).all()


def test_chi_of_the_time_of_flight(columns):
    chi = tof_pid.record_chi(columns, pid.CONSIDERED, np.arange(3))
    np.testing.assert_allclose(chi[0], [1.0, -1.0, -3.0], atol=1e-4)
    assert np.isnan(chi[1:]).all()


def test_energy_over_momentum():
    assert pid.e_over_p([1.0, 0.0], [2.0, 1.0]).tolist() == [0.5, 0.0]
    assert pid.e_over_p(1.0, np.inf) == 0.0


def test_the_calorimeter_can_be_switched_off(columns):
    emc = {"kappa": 1.0, "tanl": 0.0, "emc_energy": 0.95, "emc_e3x3": 0.87, "emc_e5x5": 0.93}
    arrays = columns._arrays | {f"Track_{n}": np.full(3, x, dtype=np.float32) for n, x in emc.items()}
    with_emc = ArrayColumns(arrays, {"Track": np.array([0, 3])}, 1)
    without = pid.identify(columns, replace(SELECTION, pid_emc=False))
    full = pid.identify(with_emc, SELECTION)
    assert (full.ndof - without.ndof).tolist() == [1, 1, 1]
    added = full.chi2 - without.chi2
    np.testing.assert_allclose(added[:, 1], added[:, 2])  # the kaon takes the pion's value
    assert (added[:, 0] < added[:, 1]).all()
    chosen = np.array([2, 0])
    for some, every in zip(pid.identify(with_emc, SELECTION, chosen), full, strict=True):
        np.testing.assert_array_equal(some, every[chosen])
