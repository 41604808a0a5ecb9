"""The scan over 39 masses with 10 000 toys each, every toy with a full profile-likelihood limit, on two cores.

Everything that is measured is measured anew in a toy: counts, background, efficiency; all limits of a mass are solved
at once in numpy. The rival is ROOT's own TRolke, compiled C++ with closed forms, one limit after the other (ROOT_PYTHON
names a Python that has ROOT: `make root`; left out without it). The two take turns on the same
inputs, in CPU seconds of one process, and the minimum of the rounds counts.

Run: python -m benchmarks.limits_scan [--toys 10000] [--workers 2] [--output benchmarks/limits_scan.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import settle
from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sensitivity import BAND_PROBABILITIES
from jpsi_lnv.analysis.report import paper

SEED = 20250706
BACKGROUND, BACKGROUND_SIGMA = 0.5, 0.2
N_ROOT = 10_000
ROOT_SCRIPT = """
import sys, time, warnings
warnings.simplefilter("ignore")
import ROOT
n_toys = int(sys.argv[1])
ROOT.gInterpreter.Declare('''
double limits(int n_toys) {
  double sum = 0;
  for (int i = 0; i < n_toys; ++i) {
    TRolke rolke; rolke.SetCL(0.9); rolke.SetBounding(false);
    double e = 0.15 + 1e-6 * i;
    rolke.SetGaussBkgGaussEff(i % 3, 0.5, e, 0.07 * e, 0.2);
    sum += rolke.GetUpperLimit();
  }
  return sum;
}''')
ROOT.limits(10)
start = time.process_time(); ROOT.limits(n_toys); print("SECONDS", time.process_time() - start)
"""


@dataclass(frozen=True)
class ToyLimits:
    """Profile-likelihood limits of toy experiments at one mass.

    Attributes:
        m_majorana: Mass in GeV/c^2; None for the overall search.
        n_toys: Number of toys.
        quantiles: Name of a band (`sensitivity.BAND_PROBABILITIES`) -> limit of the produced yield.
    """

    m_majorana: float | None
    n_toys: int
    quantiles: dict[str, float]


def background_only(
    inputs: LimitInputs, *, n_toys: int, rng: np.random.Generator, confidence_level: float = 0.90
) -> ToyLimits:
    """Return the quantiles of the limit over toys in which everything that is measured is measured anew.

    Each toy draws the true background from its uncertainty, counts events, and remeasures background and efficiency
    with their uncertainties; then the full profile-likelihood limit is computed for it.
    """
    true_background = np.maximum(inputs.n_bkg + inputs.n_bkg_sigma * rng.standard_normal(n_toys), 0.0)
    smeared = inputs.efficiency * (1.0 + inputs.delta_sys * rng.standard_normal(n_toys))
    efficiency = np.clip(smeared, 1e-3 * inputs.efficiency, 1.0)
    _, limits = rolke.intervals(
        rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=rng.poisson(true_background),
        background=np.maximum(true_background + inputs.n_bkg_sigma * rng.standard_normal(n_toys), 0.0),
        background_sigma=inputs.n_bkg_sigma,
        efficiency=efficiency,
        efficiency_sigma=inputs.delta_sys * efficiency,
        confidence_level=confidence_level,
    )
    return ToyLimits(inputs.m_majorana, n_toys, _quantiles(limits))


def _quantiles(limits: FloatArray) -> dict[str, float]:
    values = np.quantile(limits, list(BAND_PROBABILITIES.values()))
    return dict(zip(BAND_PROBABILITIES, values.tolist(), strict=True))


def inputs(point: paper.MassPoint) -> LimitInputs:
    return LimitInputs(
        n_obs=point.n_obs,
        n_bkg=BACKGROUND,
        n_bkg_sigma=BACKGROUND_SIGMA,
        efficiency=point.efficiency_percent / 100,
        delta_sys=point.delta_sys_percent / 100,
        n_jpsi=paper.N_JPSI,
        m_majorana=point.m_majorana,
    )


def one_mass(index: int, n_toys: int) -> ToyLimits:
    rng = np.random.default_rng((SEED, index))
    return background_only(inputs(paper.MASS_SCAN[index]), n_toys=n_toys, rng=rng)


def scan(n_toys: int, workers: int) -> float:
    start = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(partial(one_mass, n_toys=n_toys), range(len(paper.MASS_SCAN))))
    assert all(np.isfinite(list(f.quantiles.values())).all() for f in found)
    return time.perf_counter() - start


def ours_per_limit() -> float:
    """CPU seconds per limit of the inputs that ROOT gets, in one process."""
    i = np.arange(10_000)
    efficiency = 0.15 + 1e-6 * i
    start = time.process_time()
    rolke.intervals(
        rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=i % 3,
        background=0.5,
        background_sigma=0.2,
        efficiency=efficiency,
        efficiency_sigma=0.07 * efficiency,
    )
    return (time.process_time() - start) / len(i)


def root_per_limit() -> float | None:
    if "ROOT_PYTHON" not in os.environ:
        return None
    call = [os.environ["ROOT_PYTHON"], "-c", ROOT_SCRIPT, str(N_ROOT)]
    printed = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    return float(printed.partition("SECONDS")[2].split()[0]) / N_ROOT


def one_turn() -> tuple[float, float | None]:
    settle()
    return ours_per_limit(), root_per_limit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/limits_scan.json"))
    arguments = parser.parse_args()
    seconds = scan(arguments.toys, arguments.workers)
    turns = [one_turn() for _ in range(arguments.rounds)]
    ours = min(turn[0] for turn in turns)
    root = min((turn[1] for turn in turns if turn[1] is not None), default=None)
    result = {
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "workers": arguments.workers},
        "masses": len(paper.MASS_SCAN),
        "toys_per_mass": arguments.toys,
        "scan_seconds": round(seconds, 2),
        "limits_per_second": round(len(paper.MASS_SCAN) * arguments.toys / seconds),
        "microseconds_per_limit": round(1e6 * ours, 1),
        "root_over_ours": None if root is None else round(root / ours, 2),
    }
    print(json.dumps(result, indent=2))
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
