"""P-values, mixing, stability: what the scan is made of."""

from __future__ import annotations

import hist
import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis import majorana
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import sensitivity, studies
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.selection.search import N_MASS_COARSE, chi2_axis, mass_axis

pytestmark = pytest.mark.fast


def test_without_background_no_p_value_is_stated():
    (found,) = sensitivity.scan([0, 1, 0], [0.0])
    assert (found.index, found.local_p, found.global_p) == (1, None, None)


def test_the_global_p_value_of_one_event_is_the_chance_of_any():
    n_obs = [0] * 39
    n_obs[25] = 1
    for found in sensitivity.scan(n_obs, [0.01, 0.1, 1.0]):
        assert found.index == 25
        assert found.local_p == pytest.approx(1 - np.exp(-found.n_bkg / 39))
        assert found.global_p == pytest.approx(1 - np.exp(-found.n_bkg), rel=1e-6)


def test_the_global_p_value_agrees_with_toys():
    shares = np.linspace(0.5, 1.5, 39) / 39
    n_obs = np.zeros(39, dtype=int)
    n_obs[10] = 2
    (found,) = sensitivity.scan(n_obs, [3.0], shares=shares)
    rng = np.random.default_rng(11)
    toys = rng.poisson(3.0 * shares, size=(50_000, 39))
    smallest = stats.poisson.sf(toys - 1, 3.0 * shares).min(axis=1)
    frequency = np.mean(smallest <= found.local_p * (1 + 1e-12))
    assert found.global_p == pytest.approx(frequency, abs=4.5 * np.sqrt(frequency / 50_000))


def test_global_is_never_below_local():
    for found in sensitivity.scan([0, 2, 1], [0.1, 1.0, 5.0]):
        assert found.global_p >= found.local_p * (1 - 1e-9)


def write_curve(tmp_path, text):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    return path


def test_mixing_follows_the_curve(tmp_path):
    path = write_curve(tmp_path, "m_majorana,branching_fraction\n0.5,1e-12\n1.0,1e-10\n1.5,1e-11\n")
    curve = majorana.read(path)
    assert curve.mixing(1.0, 2e-9) == pytest.approx(20.0)
    assert curve.mixing(0.75, 1e-9) == pytest.approx(100.0)
    assert majorana.read(path, power=2).mixing(1.0, 2e-9) == pytest.approx(np.sqrt(20.0))
    with pytest.raises(ResultsError, match=r"mass 1\.6.*0\.5 to 1\.5"):
        curve.mixing(1.6, 1e-9)


@pytest.mark.parametrize(
    "text",
    ["", "mass,bf\n1,2\n", "m_majorana,branching_fraction\n1,x\n", "m_majorana,branching_fraction\n1,2\n0.5,2\n"],
)
def test_a_curve_of_another_form_is_refused(tmp_path, text):
    with pytest.raises(ResultsError, match=r"curve\.csv"):
        majorana.read(write_curve(tmp_path, text))


def plane(chi2, m_kkee):
    histogram = hist.Hist(chi2_axis(KKEE), mass_axis(KKEE, N_MASS_COARSE), storage=hist.storage.Int64())
    return histogram.fill(chi2_4c=chi2, m_kkee=m_kkee)


def test_the_limit_against_the_chi2_requirement():
    chi2 = np.arange(0.5, 100.5)
    signal = plane(np.repeat(chi2, 10), 3.0969)
    data = plane([12.0, 35.0, 5.0], [3.097, 3.10, 3.15])

    def efficiency(chi2):
        return studies.passed_below(signal, chi2, SELECTION) / 10_000

    inputs = LimitInputs(n_obs=1, n_bkg=0.0, efficiency=0.02, delta_sys=0.07, n_jpsi=1e10)
    points = studies.against_chi2(
        inputs,
        efficiency_below=efficiency,
        observed_below=lambda chi2: studies.passed_below(data, chi2, SELECTION),
        chi2_cuts=(10, 20, 40),
    )
    assert [limit.inputs.n_obs for _, limit in points] == [0, 1, 2]
    assert [limit.inputs.efficiency for _, limit in points] == pytest.approx([0.01, 0.02, 0.04])
    hidden = studies.against_chi2(inputs, efficiency_below=efficiency, observed_below=lambda chi2: None)
    assert {limit.n_up for _, limit in hidden} == {None}
    assert not studies.against_chi2(inputs, efficiency_below=lambda chi2: 0.0, observed_below=lambda chi2: 1)
    with pytest.raises(ValueError, match=r"chi2_4c_max=20\.5.*edge"):
        studies.passed_below(signal, 20.5, SELECTION)


def test_the_limit_against_the_assumed_background():
    inputs = LimitInputs(n_obs=1, n_bkg=0.0, efficiency=0.1583, delta_sys=0.07, n_jpsi=1e10)
    points = studies.against_background(inputs, backgrounds=(0.0, 0.5, 1.0))
    limits = [p.n_up for p in points]
    assert limits[0] == pytest.approx(23.187, abs=1e-3)
    assert limits == sorted(limits, reverse=True)
