"""The likelihood in the HS3 standard: pyhs3 and ROOT compute ours, and its profile limit is ours."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import special, stats

from jpsi_lnv.analysis.limits import combination, likelihood
from jpsi_lnv.analysis.limits.likelihood import GAMMA, GAUSSIAN, Counted
from jpsi_lnv.analysis.limits.sideband import SideBand

from .test_likelihood import BAND, DELTA, POINTS, by_hand, inputs, our_limit, profile_limit

# pytensor compiles with what it finds, and says when it finds no C compiler or BLAS.
pytestmark = pytest.mark.filterwarnings("ignore")
FACTORS = ["side_band_kkpipi", "constraint_efficiency", "search"]
CONSTRAINTS = [GAUSSIAN, GAMMA]


def expected(given, constraint, mu, b, pull):
    """Return -ln L with the pull of the efficiency, or with its pseudo-events."""
    gaussian = by_hand(given, mu, b, pull)
    if constraint == GAUSSIAN:
        return gaussian
    k, scale = DELTA**-2, 1.0 + DELTA * pull
    poisson = k * scale - special.xlogy(k, k * scale) + special.gammaln(k + 1.0)
    return gaussian + stats.norm.logpdf(pull) + poisson


def values(mu, b, pull, constraint=GAUSSIAN):
    return {"n_produced": mu, "b_kkpipi": b, "efficiency": pull if constraint == GAUSSIAN else 1.0 + DELTA * pull}


def cost_of(document):
    """Return parameters -> -ln L by pyhs3."""
    pyhs3 = pytest.importorskip("pyhs3", reason="pip install 'jpsi-lnv[test]'")
    workspace = pyhs3.Workspace(**json.loads(json.dumps(document)))
    model = workspace.model(0, progress=False, mode="FAST_COMPILE")
    seen = {v["name"]: v["value"] for v in document["parameter_points"][0]["parameters"] if v.get("const")}
    names = [d["name"] for d in document["distributions"] if d["type"] != "product_dist"]

    def cost(parameters):
        given = {name: np.array([float(value)]) for name, value in (seen | parameters).items()}
        return -math.fsum(float(np.ravel(model.logpdf_unsafe(name, **given))[0]) for name in names)

    return cost


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("n_obs", [1, 5])
def test_pyhs3_has_our_likelihood(n_obs, constraint):
    given = inputs(n_obs=n_obs)
    cost = cost_of(likelihood.hs3(given, constraint=constraint))
    for mu, b, pull in POINTS:
        assert cost(values(mu, b, pull, constraint)) == pytest.approx(
            expected(given, constraint, mu, b, pull), abs=2e-12
        )


def test_the_profile_limit_of_pyhs3s_likelihood_is_ours():
    given = inputs()
    cost = cost_of(likelihood.hs3(given))
    bounds = [(0.0, 300.0), (1e-9, 20.0), (-8.0, 8.0)]
    found = profile_limit(
        lambda x: cost({"n_produced": x[0], "b_kkpipi": x[1], "efficiency": x[2]}), [1.0, 0.3, 0.0], bounds
    )
    assert found == pytest.approx(our_limit(given), rel=1e-9)


def test_factors_and_channels_are_shared():
    bands = (SideBand("J/psi -> a", 3, 10.0, (("pi to e", 0.5),)), SideBand("b", 4, 5.0, (("pi to e", 0.2),)))
    halves = (
        Counted("K+K+ e-e-", 1, 0.5, 0.16, {"pid 1": 0.07, "own": 0.02}),
        Counted("K-K- e+e+", 0, 0.5, 0.15, {"pid 1": -0.04}),
    )
    cost = cost_of(likelihood.hs3(inputs(side_bands=bands), halves))
    found = cost({"n_produced": 10.0, "b_J_psi_m__a": 0.3, "b_b": 0.8, "pid_1": 1.5, "own": -1.0, "pi_to_e": 1.5})
    b = 0.5 * (0.3 * math.exp(0.75) + 0.8 * math.exp(0.3))
    by_factor = [
        stats.poisson.logpmf(1, 5.0 * 0.16 * (1.0 + 0.07 * 1.5 - 0.02) + b),
        stats.poisson.logpmf(0, 5.0 * 0.15 * (1.0 - 0.04 * 1.5) + b),
        stats.poisson.logpmf(3, 3.0),
        stats.poisson.logpmf(4, 4.0),
        stats.norm.logpdf(1.5),
        stats.norm.logpdf(1.5),
        stats.norm.logpdf(-1.0),
    ]
    assert found == pytest.approx(-math.fsum(by_factor), abs=1e-12)


ROOT_SCRIPT = """
import json, math, sys
import ROOT
job = json.load(sys.stdin)
ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
ws = ROOT.RooWorkspace("w")
assert ROOT.RooJSONFactoryWSTool(ws).importJSON(job["path"])
def cost(point):
    for name, value in point.items():
        ws.var(name).setVal(value)
    terms = [ws.pdf(n).getVal(ROOT.RooArgSet(ws.var(x))) for n, x in job["observables"].items()]
    return -math.fsum(map(math.log, terms))
costs = [cost(point) for point in job["points"]]
seen = ROOT.RooArgSet(*[ws.var(name) for name in job["counts"]])
data = ROOT.RooDataSet("data", "", seen)
data.add(seen)
pulls = ROOT.RooArgSet(*[ws.var(name) for name in job["pulls"]])
nll = ws.pdf("model").createNLL(data, ROOT.RooFit.Constrain(pulls))
fit = ROOT.RooMinimizer(nll)
fit.setPrintLevel(-1)
fit.setEps(1e-10)
fit.setStrategy(2)
fit.minimize("Minuit2")
best, mu = nll.getVal(), ws.var("n_produced")
def rise(value):
    mu.setVal(value)
    mu.setConstant(True)
    fit.minimize("Minuit2")
    return 2.0 * (nll.getVal() - best) - job["threshold"]
low, high = mu.getVal(), mu.getMax()
for _ in range(45):
    middle = 0.5 * (low + high)
    low, high = (middle, high) if rise(middle) < 0.0 else (low, middle)
print("RESULTS", json.dumps([costs, 0.5 * (low + high)]))
"""


def roofit(path, document, points, *, counts, pulls):
    """Return -ln L at the points and the profile limit, by RooFit in a process of its own."""
    path.write_text(json.dumps(document))
    job = {
        "path": str(path),
        "points": points,
        "observables": {d["name"]: d["x"] for d in document["distributions"] if "x" in d},
        "counts": counts,
        "pulls": pulls,
        "threshold": stats.chi2.ppf(0.9, 1),
    }
    call = [os.environ.get("ROOT_PYTHON", sys.executable), "-c", ROOT_SCRIPT]
    run = subprocess.run(call, input=json.dumps(job), capture_output=True, text=True, timeout=300, check=False)
    if "No module named 'ROOT'" in run.stderr:
        pytest.skip("ROOT is not installed: make root (or set ROOT_PYTHON to a Python that has it)")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.partition("RESULTS")[2])


@pytest.mark.parametrize("n_obs", [1, 5])
def test_roofit_has_our_likelihood_and_our_profile_limit(tmp_path, n_obs):
    given = inputs(n_obs=n_obs)
    seen = {"counts": ["n_search", "m_kkpipi"], "pulls": ["efficiency"]}
    points = [values(*point) for point in POINTS]
    costs, limit = roofit(tmp_path / "likelihood.hs3.json", likelihood.hs3(given), points, **seen)
    assert costs == pytest.approx([expected(given, GAUSSIAN, *point) for point in POINTS], abs=1e-12)
    assert limit == pytest.approx(our_limit(given), rel=1e-7)


def test_roofit_has_our_profile_limit_of_channels_that_share_a_source(tmp_path):
    """A common source and own ones, which `combination` knows as one covariance."""
    counted = [
        Counted("plus", 3, 0.5, 0.16, {"pid": 0.2, "own plus": 0.1}),
        Counted("minus", 1, 0.5, 0.15, {"pid": 0.15, "own minus": 0.1}),
    ]
    given = inputs(n_bkg=0.0, n_bkg_sigma=0.0, side_bands=())
    document = likelihood.hs3(given, counted)
    seen = {"counts": ["n_plus", "n_minus"], "pulls": ["pid", "own_plus", "own_minus"]}
    _, limit = roofit(tmp_path / "likelihood.hs3.json", document, [], **seen)
    channels = [
        combination.Channel(n_obs=c.n_obs, share=c.share, efficiency=c.efficiency, sources=c.sources) for c in counted
    ]
    assert limit == pytest.approx(combination.upper_limit(channels), rel=1e-6)


def test_a_document_names_what_it_is_made_of():
    document = likelihood.hs3(inputs())
    product = document["distributions"][-1]
    assert (product["type"], sorted(product["factors"])) == ("product_dist", sorted(FACTORS))
    assert "likelihoods" not in document
    assert len(json.dumps(document)) < 3000
    assert BAND.m in [v["value"] for v in document["parameter_points"][0]["parameters"]]
