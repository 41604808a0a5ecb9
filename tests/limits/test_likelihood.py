"""The exported likelihood is that of the limit, and other programs read it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.limits import likelihood, one_sided
from jpsi_lnv.analysis.limits.inputs import LimitInputs

# pyhf 0.7.6 validates through an interface that jsonschema deprecates.
uses_pyhf = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")


def inputs(**change):
    numbers = {"n_obs": 50, "n_bkg": 50.0, "n_bkg_sigma": 0.0, "efficiency": 0.2, "delta_sys": 0.0, "n_jpsi": 1e10}
    return LimitInputs(**(numbers | change))


@uses_pyhf
def test_the_exported_likelihood_is_that_of_the_count():
    pyhf = pytest.importorskip("pyhf", reason="pip install 'jpsi-lnv[stats]'")
    content = pyhf.Workspace(likelihood.workspace(inputs(delta_sys=0.07, n_bkg_sigma=5.0)))
    model = content.model()
    parameters = model.config.suggested_init()
    parameters[model.config.poi_index] = 30.0
    logpdf = float(model.logpdf(parameters, content.data(model))[0])
    expected = stats.poisson.logpmf(50, 30.0 * 0.2 + 50.0) + 2 * stats.norm.logpdf(0)
    assert logpdf == pytest.approx(expected, rel=1e-9)


def asymptotic_limit(given: LimitInputs, confidence_level: float = 0.90) -> float:
    """Return pyhf's asymptotic CLs limit of the produced yield, which holds where many events are expected."""
    pyhf = pytest.importorskip("pyhf", reason="pip install 'jpsi-lnv[stats]'")
    from pyhf.infer.intervals.upper_limits import upper_limit

    content = pyhf.Workspace(likelihood.workspace(given))
    model = content.model()
    largest = model.config.suggested_bounds()[model.config.poi_index][1]
    observed, _ = upper_limit(content.data(model), model, np.linspace(0.0, largest, 81), level=1.0 - confidence_level)
    return float(observed)


@uses_pyhf
def test_with_many_events_pyhf_asymptotics_agree_with_the_exact_limit():
    exact = one_sided.cls_limit(50, efficiency=0.2, background=50.0)
    assert asymptotic_limit(inputs()) == pytest.approx(exact, rel=0.03)


@uses_pyhf
def test_with_one_event_pyhf_asymptotics_are_wrong():
    one = inputs(n_obs=1, n_bkg=0.0, efficiency=0.1583)
    assert asymptotic_limit(one) == pytest.approx(19.2, abs=0.2)
    assert one_sided.cls_limit(1, efficiency=0.1583) == pytest.approx(24.57, abs=0.01)


def test_hidden_events_are_not_exported():
    with pytest.raises(ValueError, match="n_obs=None"):
        likelihood.workspace(inputs(n_obs=None))


@uses_pyhf
@pytest.mark.parametrize(("n_bkg", "sigma"), [(0.0, 0.1), (0.03, 0.05), (4.0, 1.0)])
def test_the_background_of_a_workspace_moves_by_its_own_uncertainty(n_bkg, sigma):
    """In events, not in multiples of itself: it may be nothing, give or take something."""
    pyhf = pytest.importorskip("pyhf", reason="pip install 'jpsi-lnv[stats]'")
    model = pyhf.Workspace(likelihood.workspace(inputs(n_bkg=n_bkg, n_bkg_sigma=sigma, delta_sys=0.0))).model()
    for shift in (0.25, 0.5, 1.0, 2.0):
        parameters = np.zeros(model.config.npars)
        parameters[model.config.par_slice("background")] = shift
        parameters[model.config.poi_index] = 0.0
        assert float(model.expected_actualdata(parameters)[0]) == pytest.approx(n_bkg + shift * sigma, abs=1e-6)
