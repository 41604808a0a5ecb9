"""The exported likelihood is that of the limit, in other people's programs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from jpsi_lnv.analysis.limits import combination, likelihood, marginal, rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.likelihood import Counted
from jpsi_lnv.analysis.limits.sideband import SideBand

# pyhf 0.7.6 validates through an interface that jsonschema deprecates.
uses_pyhf = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
BAND = SideBand("kkpipi", 3, 10.0)
DELTA = 0.07
EFFICIENCY = 0.1583


def inputs(**change):
    numbers = {"n_obs": 1, "n_bkg": 0.3, "n_bkg_sigma": 0.1, "side_bands": (BAND,), "n_jpsi": 1e10}
    return LimitInputs(**(numbers | {"efficiency": EFFICIENCY, "delta_sys": DELTA} | change))


def by_hand(given, mu, b, pull):
    """Return -ln L of one channel with one side band, with a Gaussian pull of the efficiency."""
    (band,) = given.side_bands
    expected = mu * given.efficiency * (1.0 + given.delta_sys * pull) + b

    def poisson(n, mean):
        return mean - special.xlogy(n, mean) + special.gammaln(n + 1.0)

    return poisson(given.n_obs, expected) + poisson(band.m, band.tau * b) - stats.norm.logpdf(pull)


def profile_limit(cost, starts, bounds, threshold=2.7055434540954146):
    """Return the upper end of the profile likelihood of the first parameter, by our minimiser on any -ln L.

    Args:
        cost: Parameters (P,) -> -ln L.
        starts: Where to start (P,).
        bounds: Ranges of all parameters.
        threshold: Rise of -2 ln L.
    """

    def profile(mu):
        best, start = math.inf, np.array(starts[1:], dtype=float)
        for _ in range(4):
            found = optimize.minimize(
                lambda x: cost(np.array([mu, *x])),
                start,
                bounds=bounds[1:],
                method="Nelder-Mead",
                options={"xatol": 1e-12, "fatol": 1e-15, "maxiter": 4000, "maxfev": 4000},
            )
            start, best = found.x, min(best, float(found.fun))
        return best

    lowest = optimize.minimize_scalar(profile, bounds=bounds[0], method="bounded", options={"xatol": 1e-9})
    level = float(lowest.fun) + 0.5 * threshold
    high = float(lowest.x) + 1.0
    while profile(high) < level:
        high *= 1.5
    return optimize.brentq(lambda mu: profile(mu) - level, float(lowest.x), high, xtol=1e-9, rtol=1e-12)


def our_limit(given):
    band = {"n_bkg_region": BAND.m, "tau": BAND.tau, "efficiency": EFFICIENCY, "efficiency_sigma": DELTA * EFFICIENCY}
    return rolke.upper_limit(rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY, n_obs=given.n_obs, **band)


POINTS = [(0.5, 0.3, 0.0), (20.0, 0.1, -1.2), (45.0, 0.8, 2.1)]


@pytest.fixture
def pyhf():
    return pytest.importorskip("pyhf", reason="pip install 'jpsi-lnv[stats]'")


def pyhf_cost(pyhf, content):
    """Return names of the parameters and parameters -> -ln L."""
    workspace = pyhf.Workspace(json.loads(json.dumps(content)))
    model = workspace.model()
    data = workspace.data(model)
    return model, lambda parameters: -float(model.logpdf(parameters, data)[0])


def in_order(model, **values):
    parameters = np.array(model.config.suggested_init(), dtype=float)
    for name, value in values.items():
        parameters[model.config.par_slice(name)] = value
    return parameters


def pyhf_limit(pyhf, content, near):
    """Return the profile limit by pyhf's own fit, within 30 % of a number."""
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-12))
    workspace = pyhf.Workspace(content)
    model = workspace.model()
    data = workspace.data(model)
    _, lowest = pyhf.infer.mle.fit(data, model, return_fitted_val=True)

    def rise(mu):
        _, value = pyhf.infer.mle.fixed_poi_fit(mu, data, model, return_fitted_val=True)
        return float(value - lowest) - stats.chi2.ppf(0.9, 1)

    return optimize.brentq(rise, 0.7 * near, 1.3 * near, xtol=1e-6)


@uses_pyhf
@pytest.mark.parametrize("n_obs", [1, 5])
@pytest.mark.parametrize(("mu", "b", "pull"), POINTS)
def test_pyhf_has_our_likelihood(pyhf, n_obs, mu, b, pull):
    given = inputs(n_obs=n_obs)
    model, cost = pyhf_cost(pyhf, likelihood.workspace(given))
    found = cost(in_order(model, n_produced=mu, b_kkpipi=b, efficiency=pull))
    assert found == pytest.approx(by_hand(given, mu, b, pull), abs=1e-12)


@uses_pyhf
@pytest.mark.parametrize("n_obs", [1, 5])
def test_the_profile_limit_of_pyhfs_likelihood_is_ours(pyhf, n_obs):
    given = inputs(n_obs=n_obs)
    model, cost = pyhf_cost(pyhf, likelihood.workspace(given))

    def of_three(x):
        return cost(in_order(model, n_produced=x[0], b_kkpipi=x[1], efficiency=x[2]))

    found = profile_limit(of_three, [1.0, 0.3, 0.0], [(0.0, 300.0), (1e-9, 20.0), (-8.0, 8.0)])
    assert found == pytest.approx(our_limit(given), rel=1e-9)


@uses_pyhf
@pytest.mark.parametrize("n_obs", [1, 5])
def test_pyhfs_own_fit_gives_our_profile_limit(pyhf, n_obs):
    given = inputs(n_obs=n_obs)
    expected = our_limit(given)
    assert pyhf_limit(pyhf, likelihood.workspace(given), expected) == pytest.approx(expected, rel=1e-5)


@uses_pyhf
def test_factors_are_one_nuisance_in_all_processes(pyhf):
    bands = (SideBand("a", 3, 10.0, (("pi to e", 0.5),)), SideBand("b", 4, 5.0, (("pi to e", 0.2),)))
    model, _ = pyhf_cost(pyhf, likelihood.workspace(inputs(side_bands=bands)))
    parameters = in_order(model, **{"n_produced": 0.0, "b_a": 0.3, "b_b": 0.8, "pi to e": 1.5})
    expected = 0.3 * math.exp(0.5 * 1.5) + 0.8 * math.exp(0.2 * 1.5)
    assert float(model.expected_actualdata(parameters)[0]) == pytest.approx(expected, rel=1e-12)


@uses_pyhf
def test_channels_share_background_and_systematics(pyhf):
    halves = (Counted("plus", 1, 0.5, 0.16, {"pid": 0.07, "own": 0.1}), Counted("minus", 0, 0.5, 0.15, {"pid": -0.04}))
    model, _ = pyhf_cost(pyhf, likelihood.workspace(inputs(), halves))
    parameters = in_order(model, n_produced=10.0, b_kkpipi=0.4, pid=1.5, own=-0.5)
    plus, minus = 5.0 * 0.16 * (1.0 + 0.07 * 1.5 - 0.05), 5.0 * 0.15 * (1.0 - 0.04 * 1.5)
    expected = {"plus": plus + 0.2, "minus": minus + 0.2, "side_band_kkpipi": 4.0}
    found = dict(zip(model.config.channels, model.expected_actualdata(parameters), strict=True))
    assert found == pytest.approx(expected)


@uses_pyhf
def test_sources_of_one_efficiency_are_its_uncertainty(pyhf):
    """0.05 and -0.12 are 0.13: the limit is that of the total, whatever the sources are called."""
    given = inputs(delta_sys=0.13)
    (told,) = likelihood.of_inputs(given, {"pid": 0.05, "tracking": -0.12})
    limits = [pyhf_limit(pyhf, likelihood.workspace(given, channels), 27.0) for channels in ((), (told,))]
    assert limits[0] == pytest.approx(limits[1], rel=1e-5)


@uses_pyhf
def test_a_shared_source_does_not_average_out_in_pyhf_either(pyhf):
    given = inputs(n_bkg=0.0, n_bkg_sigma=0.0, side_bands=())

    def limit(*sources):
        counted = [Counted(f"part {i}", 2, 0.25, EFFICIENCY, s) for i, s in enumerate(sources)]
        channels = [combination.Channel(n_obs=2, share=0.25, efficiency=EFFICIENCY, sources=s) for s in sources]
        ours = combination.upper_limit(channels)
        assert pyhf_limit(pyhf, likelihood.workspace(given, counted), ours) == pytest.approx(ours, rel=1e-5)
        return ours

    assert limit(*[{"pid": 0.3}] * 4) > 1.05 * limit(*[{f"own {i}": 0.3} for i in range(4)])


@uses_pyhf
def test_masses_can_be_put_together_and_then_share_their_sources(pyhf):
    """The workspaces of two masses, as pyhf joins them: one nuisance per name, all else by mass."""
    light, heavy = (
        likelihood.workspace(i, likelihood.of_inputs(i, {"pid": delta, f"mc_statistics {m:.3f}": 0.02}))
        for m, delta in ((0.7, 0.1), (1.2, 0.05))
        for i in (inputs(m_majorana=m, delta_sys=math.hypot(delta, 0.02)),)
    )
    joined = pyhf.Workspace.combine(
        pyhf.Workspace(light).rename(measurements={"upper_limit": "light"}), pyhf.Workspace(heavy)
    )
    model = joined.model(measurement_name="light")
    assert model.config.channels == [
        "search_0.700",
        "search_1.200",
        *(f"side_band_kkpipi_{m}" for m in ("0.700", "1.200")),
    ]
    nuisances = {"pid", "mc_statistics 0.700", "mc_statistics 1.200", "b_kkpipi_0.700", "b_kkpipi_1.200", "n_produced"}
    assert set(model.config.par_order) == nuisances
    moved = [model.expected_actualdata(in_order(model, pid=pull, n_produced=10.0)) for pull in (0.0, 1.0)]
    changes = (moved[1] - moved[0])[:2] / (10.0 * EFFICIENCY)
    np.testing.assert_allclose(changes, [0.1, 0.05])


@uses_pyhf
def test_without_background_and_uncertainty_there_is_only_the_count(pyhf):
    content = likelihood.workspace(inputs(n_bkg=0.0, n_bkg_sigma=0.0, side_bands=(), delta_sys=0.0))
    assert [channel["name"] for channel in content["channels"]] == ["search"]
    model, cost = pyhf_cost(pyhf, content)
    assert cost(in_order(model, n_produced=20.0)) == pytest.approx(-stats.poisson.logpmf(1, 20.0 * EFFICIENCY))


def asymptotic_limit(pyhf, given: LimitInputs) -> float:
    """Return pyhf's asymptotic CLs limit of the produced yield, which holds where many events are expected."""
    from pyhf.infer.intervals.upper_limits import upper_limit

    pyhf.set_backend("numpy")
    content = pyhf.Workspace(likelihood.workspace(given))
    model = content.model()
    largest = model.config.suggested_bounds()[model.config.poi_index][1]
    observed, _ = upper_limit(content.data(model), model, np.linspace(0.0, largest, 81), level=0.1)
    return float(observed)


@uses_pyhf
def test_with_many_events_pyhf_asymptotics_agree_with_the_exact_limit(pyhf):
    many = inputs(n_obs=50, n_bkg=50.0, n_bkg_sigma=0.0, side_bands=(SideBand("b", 5e5, 1e4),), delta_sys=0.0)
    exact = marginal.cls_limit(50, efficiency=EFFICIENCY, background=50.0)
    assert asymptotic_limit(pyhf, many) == pytest.approx(exact, rel=0.03)


@uses_pyhf
def test_with_one_event_pyhf_asymptotics_are_wrong(pyhf):
    one = inputs(n_bkg=0.0, n_bkg_sigma=0.0, side_bands=(), delta_sys=0.0)
    assert asymptotic_limit(pyhf, one) == pytest.approx(19.2, abs=0.2)
    assert marginal.cls_limit(1, efficiency=EFFICIENCY) == pytest.approx(24.57, abs=0.01)


def test_hidden_events_are_not_exported():
    for write in (likelihood.workspace, likelihood.hs3):
        with pytest.raises(ValueError, match="n_obs=None"):
            write(inputs(n_obs=None))


def test_an_unknown_constraint_is_refused():
    with pytest.raises(ValueError, match="constraint='flat'"):
        likelihood.hs3(inputs(), constraint="flat")
