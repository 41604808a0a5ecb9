"""The scan over all masses: windows, efficiency between simulated masses, p-values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import special, stats

from jpsi_lnv.analysis.limits import mass_scan, sensitivity
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.mass_scan import Scan
from jpsi_lnv.analysis.limits.sideband import Background, SideBand

pytestmark = pytest.mark.fast

MASSES = np.round(0.575 + 0.025 * np.arange(39), 3)


def width_of(mass):
    """Resolution of the mean and of the difference in GeV/c^2, as the 4C fit has them."""
    x = mass - mass_scan.MIDDLE
    return 1e-3 * (1.699 - 0.386 * x - 4.044 * x**2), 1e-3 * (4.577 + 4.435 * x - 1.847 * x**2)


def pairs_at(mass, n, rng):
    """Return both masses of n events whose core is Gaussian, with one of 20 anywhere."""
    of_mean, of_difference = width_of(mass)
    mean = rng.normal(mass, of_mean, n)
    half = 0.5 * rng.normal(0.0, of_difference, n)
    found = np.stack([mean + half, mean - half], axis=1)
    found[: n // 20] = rng.uniform(0.55, 1.55, (n // 20, 2))
    return found


def curve(mass):
    return special.expit(-1.5 + 0.3 * np.log(mass - mass_scan.THRESHOLD))


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    return mass_scan.fit_windows({m: pairs_at(m, 4000, rng) for m in MASSES.tolist()})


def test_windows_are_four_half_widths_of_the_core(windows):
    """The half-width of 68 % of a Gaussian is 0.994 of its standard deviation; a twentieth lies anywhere."""
    found = np.array(windows.half_widths(MASSES))
    assert found / (4 * np.array(width_of(MASSES))) == pytest.approx(np.ones((2, 39)), abs=0.08)


@pytest.mark.parametrize("mass", [0.7125, 1.0375, 1.2125, 1.4625, 1.5125])
def test_a_window_half_way_between_simulated_masses_holds_the_signal(windows, mass):
    pairs = pairs_at(mass, 20_000, np.random.default_rng(2))
    assert windows.holds(pairs, mass).mean() == pytest.approx(0.95, abs=0.01)
    assert windows.holds(pairs, mass + 0.0005).mean() > 0.996 * windows.holds(pairs, mass).mean()


def test_the_fitted_efficiency_is_unbiased_and_knows_its_error():
    rng, pulls = np.random.default_rng(3), []
    between = np.array([0.7125, 1.0375, 1.4625])
    for _ in range(200):
        passed = rng.binomial(10_000, curve(MASSES))
        value, error = mass_scan.fit_efficiency(MASSES, passed, np.full(39, 10_000)).at(between)
        pulls.append((value - curve(between)) / error)
    assert np.mean(pulls, axis=0) == pytest.approx(np.zeros(3), abs=0.25)
    assert np.std(pulls, axis=0) == pytest.approx(np.ones(3), abs=0.2)


def test_the_deviance_of_the_fit_is_that_of_its_degrees_of_freedom():
    passed = np.random.default_rng(4).binomial(10_000, curve(MASSES))
    found = mass_scan.fit_efficiency(MASSES, passed, np.full(39, 10_000))
    assert found.n_free == 33
    assert 0.001 < stats.chi2.sf(found.chi2, found.n_free) < 0.999


def scan_of(windows, observed):
    rng = np.random.default_rng(5)
    spread = rng.uniform(0.6, 1.5, (20_000, 1)) + rng.normal(0.0, 0.03, (20_000, 2))
    efficiency = mass_scan.fit_efficiency(MASSES, np.full(39, 1500), np.full(39, 10_000))
    return Scan(windows, efficiency, MASSES, observed, spread)


def test_centres_are_every_mev_and_at_every_candidate(windows):
    observed = np.array([[0.7004, 0.7006], [1.2, 1.2], [2.0, 2.0]])
    centres = scan_of(windows, observed).centres()
    assert len(centres) == 951 + 1
    assert 0.7005 in centres
    assert np.diff(centres).max() < 0.00101


def given(mass, n_obs, b):
    band = SideBand("b", 1e8, 1e8 / b)
    numbers = {"n_bkg": b, "n_bkg_sigma": 0.0, "efficiency": 0.15, "delta_sys": 0.1, "n_jpsi": 1e10}
    return LimitInputs(n_obs=n_obs, m_majorana=mass, side_bands=(band,), **numbers)


def test_local_p_is_the_tail_of_the_background():
    for n, b in ((1, 1e-9), (2, 0.3), (4, 1.0)):
        expected = stats.poisson.sf(n - 1, b)
        assert sensitivity.local_p(n, given(1.0, n, b).background) == pytest.approx(expected, rel=1e-6)
    assert sensitivity.local_p(1, Background()) is None


def test_the_global_p_of_one_event_is_the_chance_of_one_in_any_window(windows):
    scan = scan_of(windows, np.array([[1.0, 1.0]]))
    trials, total = mass_scan.trials_factor(scan), 1e-4
    of_window = total * np.mean(mass_scan._in_any(scan, scan.spread)) / trials
    found = [given(m, int(abs(m - 1.0) < 0.006), of_window) for m in scan.centres().tolist()]
    p = mass_scan.global_p(scan, found, Background(known=total), np.random.default_rng(7))
    assert p["m_majorana"] == pytest.approx(1.0, abs=0.007)
    assert p["local_p"] == pytest.approx(of_window, rel=1e-3)
    assert p["global_p"] == pytest.approx(trials * of_window, rel=0.1)


def test_the_command_writes_the_scan_and_both_limits(run, tmp_path, dataset, merged):
    result, rng = merged(), np.random.default_rng(8)
    for name in ("majorana", "majorana_low"):
        del result.datasets[name]
    for mass in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2):
        candidates = [[a, b, 0.1, 2.0] for a, b in pairs_at(mass, 1500, rng)]
        result.datasets[f"m{mass}"] = dataset("majorana", 10_000, candidates, m_majorana=mass, majorana_mode="2nu")
    systematics = {"overall": 0.07, "per_mass": {str(m): 0.1 for m in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)}}
    (tmp_path / "mine.json").write_text(json.dumps(systematics))
    _, printed = run(result, "--systematics", str(tmp_path / "mine.json"))
    content = json.loads((tmp_path / "mass_scan.json").read_text())
    masses = [r["m_majorana"] for r in content["limits"]]
    assert (masses[0], masses[-1], len(masses)) == (0.7, 1.2, 501)
    at = {round(r["m_majorana"], 4): r for r in content["limits"]}
    assert (at[1.2]["n_obs"], at[0.75]["n_obs"]) == (1, 0)
    assert at[0.75]["efficiency"] == pytest.approx(0.1425, rel=0.03)
    assert at[0.75]["branching_fraction_ul_recommended"] > at[0.75]["branching_fraction_ul_rolke"]
    assert "scan of 501 masses" in printed
