"""How often the limits hold the truth, and in what they move: exact sums over signal count and side-band count.

An experiment counts n ~ Poisson(s + b) and m ~ Poisson(tau b), measures its transfer factor with a log-normal error of
width kappa and its efficiency with a Gaussian one of delta. The measured factor is integrated by quadrature, the
efficiency by its distribution, so that no toys are needed. The limits of all (n, m, factor) are computed once per
(tau, delta, kappa) and serve every signal and background. The ends of unified intervals with a factor take a minute
each: there the acceptance regions at the signals, and at larger ones, are counted. That is a lower bound, for an upper
end lies at or above the last signal whose region holds the count.

What the output holds already is not computed again, so that a run can be stopped and resumed.

Run: python -m benchmarks.limit_coverage [--methods recommended,rolke] [--output benchmarks/limit_coverage.json]
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from jpsi_lnv.analysis.limits import feldman_cousins, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.marginal import count_model
from jpsi_lnv.analysis.limits.sideband import Background, SideBand

SIGNALS = np.array([0.1, 0.5, 1.0, 1.5, 2.0, 2.31, 2.6, 3.0, 3.5, 3.9, 4.5, 5.33, 6.7, 8.0, 10.0])
# Sizes of the side band and the backgrounds for which they are tried: a count is never larger than some twenty.
BACKGROUNDS = {1.0: (0.1, 0.5, 1.0, 3.0), 10.0: (0.1, 0.5, 1.0)}
DELTAS = (0.0, 0.07, 0.27)
KAPPAS = (0.0, 1.0, 2.0)
N_NODES = 7
# Signals whose regions are looked at besides, up to beyond the upper end of the largest count.
BETWEEN = np.arange(1.0, 46.0)
# Equal parts of the distribution of a measured efficiency.
N_EFFICIENCIES = 20
TAIL = 1e-4
# Counts that are ranked at most: the tail of a wide factor goes to thousands, all of the lowest ranks.
N_RANKED = 300
UNIFIED = "feldman-cousins"


def inputs(m: int, tau: float, kappa: float, delta: float) -> LimitInputs:
    band = SideBand("b", m, tau, (("f", kappa),) if kappa else ())
    background = Background((band,))
    return LimitInputs(
        n_obs=None,
        n_bkg=background.mean,
        n_bkg_sigma=background.sigma,
        side_bands=(band,),
        efficiency=1.0,
        delta_sys=delta,
        n_jpsi=1.0,
    )


def tables(
    method: str, tau: float, delta: float, kappa: float, n_max: int, m_max: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return limits (node, m, n) in expected events and the weights of the nodes."""
    points, weights = nodes(kappa)
    counts, limits_of = np.arange(n_max + 1), methods.METHODS[method].limits_of
    found = [
        [limits_of(inputs(m, tau * math.exp(-kappa * z), kappa, delta), counts, 0.90) for m in range(m_max + 1)]
        for z in points
    ]
    return np.array(found), weights


def nodes(kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the measured factor, in standard deviations of its logarithm."""
    points, weights = np.polynomial.hermite_e.hermegauss(N_NODES) if kappa else (np.zeros(1), np.ones(1))
    return points, weights / weights.sum()


def held(tau: float, delta: float, kappa: float, n_max: int, m_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often the region of a signal, or of a larger one, holds n: (node, m, signal, n); and the weights."""
    points, weights = nodes(kappa)
    quantiles = (np.arange(N_EFFICIENCIES) + 0.5) / N_EFFICIENCIES
    efficiency = 1.0 + delta * stats.norm.ppf(quantiles) if delta else np.ones(1)
    signals = np.union1d(SIGNALS, BETWEEN)
    yields = np.outer(signals, efficiency.clip(0.0)).ravel()
    found = []
    for z, m in product(points, range(m_max + 1)):
        given = inputs(m, tau * math.exp(-kappa * z), kappa, delta)
        model = count_model(efficiency=1.0, efficiency_sigma=delta, background=given.background)
        belt = feldman_cousins.belt(model, n_max=min(N_RANKED, model.n_max(yields.max())), confidence_level=0.90)
        is_held = belt.accepts(np.arange(n_max + 1), yields).reshape(len(signals), len(efficiency), -1)
        at_or_above = np.logical_or.accumulate(is_held[::-1])[::-1]
        found.append(at_or_above[np.isin(signals, SIGNALS)].mean(axis=1))
    return np.array(found).reshape(len(points), m_max + 1, len(SIGNALS), -1), weights


def coverage(upper: np.ndarray, weights: np.ndarray, signal: float, b: float, tau: float, delta: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        is_covered = stats.norm.cdf((upper / signal - 1.0) / delta) if delta else upper >= signal
    return expected(is_covered, weights, signal, b, tau)


def expected(is_covered: np.ndarray, weights: np.ndarray, signal: float, b: float, tau: float) -> float:
    """Return the mean of what holds for (node, m, n) over experiments."""
    n, m = np.arange(is_covered.shape[2]), np.arange(is_covered.shape[1])
    p_m, p_n = stats.poisson.pmf(m, tau * b), stats.poisson.pmf(n, signal + b)
    return float(np.einsum("zmn,z,m,n->", is_covered, weights, p_m, p_n) / (p_m.sum() * p_n.sum()))


def cases() -> list[tuple[float, float, float]]:
    """Return all (tau, delta, kappa)."""
    return list(product(BACKGROUNDS, DELTAS, KAPPAS))


def smallest(method: str, tau: float, delta: float, kappa: float) -> dict[str, float]:
    """Return the smallest coverage over signals and backgrounds, and where it is."""
    backgrounds = BACKGROUNDS[tau]
    n_max = int(stats.poisson.isf(TAIL, SIGNALS.max() + max(backgrounds))) + 1
    m_max = int(stats.poisson.isf(TAIL, tau * max(backgrounds))) + 1
    if method == UNIFIED and kappa:
        is_held, weights = held(tau, delta, kappa, n_max, m_max)
        found = [
            (expected(is_held[:, :, i], weights, float(s), b, tau), float(s), b)
            for i, s in enumerate(SIGNALS)
            for b in backgrounds
        ]
    else:
        upper, weights = tables(method, tau, delta, kappa, n_max, m_max)
        found = [(coverage(upper, weights, s, b, tau, delta), float(s), b) for s in SIGNALS for b in backgrounds]
    value, s, b = min(found)
    return {"tau": tau, "delta": delta, "kappa": kappa, "coverage": round(value, 4), "signal": s, "b": b}


def limit(method: str, n: int, b: float, relative: float, delta: float, kappa: float = 0.0) -> float:
    """Return a limit in expected events with a background b whose count leaves it a relative width."""
    m = relative**-2.0
    band = SideBand("b", m, m / b, (("f", kappa),) if kappa else ())
    background = Background((band,))
    given = LimitInputs(
        n_obs=n,
        n_bkg=background.mean,
        n_bkg_sigma=background.sigma,
        side_bands=(band,),
        efficiency=1.0,
        delta_sys=delta,
        n_jpsi=1.0,
    )
    return float(methods.METHODS[method].limits_of(given, np.array([n]), 0.90)[0])


def violations(method: str) -> dict[str, int]:
    """Return how often a limit moves the wrong way between neighbours of a grid, and how many pairs there are."""
    grid = {
        "n": range(7),
        "b": (0.1, 0.3, 1.0, 3.0, 6.0),
        "width": (0.1, 0.3, 0.6, 1.0),
        "delta": (0.0, 0.07, 0.15, 0.3),
        "kappa": (0.0, 0.5, 1.0, 2.0),
    }
    axes = list(grid)
    points = product(*grid.values())
    values = np.array([limit(method, int(n), b, w, d, k) for n, b, w, d, k in points]).reshape(
        [len(v) for v in grid.values()]
    )
    found: dict[str, int] = {"pairs": 0}
    for axis, name in enumerate(axes):
        step = np.diff(values, axis=axis) / np.take(values, range(values.shape[axis] - 1), axis=axis).clip(1e-9)
        wrong = step > 1e-6 if name == "b" else step < -1e-4
        found[name], found["pairs"] = int(wrong.sum()), found["pairs"] + wrong.size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--methods", default=",".join(methods.METHODS))
    parser.add_argument("--kappas", default=",".join(map(str, KAPPAS)), help="Widths of the factor that are done now.")
    parser.add_argument("--no-wrong-ways", action="store_true", help="Coverage only.")
    arguments = parser.parse_args()
    result = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for name in arguments.methods.split(","):
        found = result.setdefault(name, {"coverage": []})
        done = {(row["tau"], row["delta"], row["kappa"]) for row in found["coverage"]}
        kappas = set(map(float, arguments.kappas.split(",")))
        for case in [case for case in cases() if case not in done and case[2] in kappas]:
            found["coverage"].append(smallest(name, *case))
            print(name, found["coverage"][-1], flush=True)
            arguments.output.write_text(json.dumps(result, indent=1) + "\n")
        if "wrong_ways" not in found and not arguments.no_wrong_ways:
            found["wrong_ways"] = violations(name)
            print(name, found["wrong_ways"], flush=True)
            arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
