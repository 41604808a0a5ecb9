"""The profile-likelihood interval against ROOT's own TRolke, where ROOT is installed.

ROOT is a test oracle only. Without it these tests skip; `make root` provides it, or any Python that has it and is named
by the variable ROOT_PYTHON.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jpsi_lnv.analysis.limits.rolke import Model, interval

INSTALL = "make root (or set ROOT_PYTHON to a Python that has it)"
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import ROOT
results = []
for setter, arguments, level, bounded in json.load(sys.stdin):
    rolke = ROOT.TRolke()
    rolke.SetCL(level)
    rolke.SetBounding(bounded)
    getattr(rolke, setter)(*arguments)
    results.append((rolke.GetLowerLimit(), rolke.GetUpperLimit()))
print("RESULTS" + json.dumps(results))
"""
# Setter of TRolke and its arguments after the observed count.
SETTERS = {
    Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY: (
        "SetPoissonBkgGaussEff",
        ("n_bkg_region", "efficiency", "tau", "efficiency_sigma"),
    ),
    Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY: (
        "SetGaussBkgGaussEff",
        ("background", "efficiency", "efficiency_sigma", "background_sigma"),
    ),
    Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY: ("SetPoissonBkgKnownEff", ("n_bkg_region", "tau", "efficiency")),
    Model.GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY: (
        "SetGaussBkgKnownEff",
        ("background", "background_sigma", "efficiency"),
    ),
    Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY: ("SetKnownBkgBinomEff", ("n_mc_passed", "n_mc_total", "background")),
    Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY: (
        "SetKnownBkgGaussEff",
        ("efficiency", "efficiency_sigma", "background"),
    ),
}
GRIDS = {
    Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY: [
        {"n_bkg_region": y, "tau": tau, "efficiency": e, "efficiency_sigma": s * e}
        for (y, tau), (e, s) in itertools.product([(0, 1.0), (3, 2.5)], [(0.1583, 0.07), (0.6, 0.2)])
    ],
    Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY: [
        {"background": b, "background_sigma": 0.4, "efficiency": 0.1583, "efficiency_sigma": 0.011} for b in (0.5, 3.0)
    ],
    Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY: [{"n_bkg_region": y, "tau": 2.0, "efficiency": 0.25} for y in (0, 4)],
    Model.GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY: [{"background": 1.0, "background_sigma": 0.5, "efficiency": 0.65}],
    Model.KNOWN_BACKGROUND_BINOMIAL_EFFICIENCY: [{"background": 1.5, "n_mc_passed": 500, "n_mc_total": 750}],
    Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY: [{"background": 1.0, "efficiency": 0.77, "efficiency_sigma": 0.1}],
}
POINTS = [(model, a, n) for model, grid in GRIDS.items() for a in grid for n in (0, 1, 2, 6, 20)]
KNOWN_EFFICIENCY = {Model.POISSON_BACKGROUND_KNOWN_EFFICIENCY, Model.GAUSSIAN_BACKGROUND_KNOWN_EFFICIENCY}


def root_intervals(points, *, bounded=False):
    """Return lower and upper ends (N, 2) of TRolke at 90 %."""
    calls = []
    for model, arguments, n in points:
        setter, names = SETTERS[model]
        calls.append((setter, [n, *(arguments[name] for name in names)], 0.90, bounded))
    python = os.environ.get("ROOT_PYTHON", sys.executable)
    call = [python, "-c", SCRIPT]
    run = subprocess.run(call, input=json.dumps(calls), capture_output=True, text=True, timeout=300, check=False)
    if "No module named 'ROOT'" in run.stderr:
        pytest.skip(f"ROOT is not installed: {INSTALL}")
    assert run.returncode == 0, run.stderr
    return np.array(json.loads(run.stdout.partition("RESULTS")[2]))


def ours(points, *, bounded=False):
    found = [interval(model, n_obs=n, bounded=bounded, **arguments) for model, arguments, n in points]
    return np.array([(i.lower, i.upper) for i in found])


def has_known_efficiency_at_zero_counts(point):
    return point[0] in KNOWN_EFFICIENCY and point[2] == 0


def agree(points, *, bounded=False):
    """Compare upper ends everywhere, lower ends where a side band has events."""
    expected, found = root_intervals(points, bounded=bounded), ours(points, bounded=bounded)
    assert found[:, 1] == pytest.approx(expected[:, 1], rel=1e-4, abs=2e-4)
    has_events = np.array([arguments.get("n_bkg_region", 1) > 0 for _, arguments, _ in points])
    assert found[has_events, 0] == pytest.approx(expected[has_events, 0], rel=1e-4, abs=2e-4)


def test_all_models_agree_with_root():
    agree([p for p in POINTS if not has_known_efficiency_at_zero_counts(p)])


def test_bounded_agrees_with_root():
    agree([p for p in POINTS if p[2] > 0], bounded=True)


def test_root_divides_twice_by_a_known_efficiency_at_zero_counts():
    """The recursion that continues the limit to zero counts divides by the efficiency, and so does its caller."""
    points = [p for p in POINTS if has_known_efficiency_at_zero_counts(p)]
    efficiency = np.array([arguments["efficiency"] for _, arguments, _ in points])
    assert ours(points)[:, 1] == pytest.approx(root_intervals(points)[:, 1] * efficiency, rel=1e-4)


def test_root_holds_the_background_at_zero_below_the_best_fit_of_an_empty_side_band():
    """With no side-band event the background may still explain the count, which lowers the lower end; not in ROOT."""
    model = Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY
    points = [(model, GRIDS[model][0], 2)]
    assert ours(points)[0, 0] == pytest.approx(0.21175, rel=1e-3)
    assert root_intervals(points)[0, 0] == pytest.approx(2.98965, rel=1e-3)
