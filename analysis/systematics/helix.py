"""Corrections of simulated helices from the pulls of control samples, and what they change in the search.

Of each sample, track and parameter, data and simulation have a mean and a width of the pull: those of the normal
distribution that fits its core. What has to be added to the simulation follows from the difference by the responses
that `analysis.selection.helix_pulls` has summed:

    mean_data - mean_simulation = R m,    width_data^2 - width_simulation^2 = Q (w^2 - 1)

All samples of a period together determine m and w of every species and charge by least squares. What the constraints do
not see, such as one azimuth for all tracks, stays at zero within `PRIOR` of an error, and its uncertainty says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import hist
import numpy as np
from scipy import optimize, special

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import PERIOD_RUNS
from jpsi_lnv.analysis.datasets import CONTROL, DATA, HELIX_PULLS
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.objects.helix_correction import FORMAT, PARAMETERS, Entry
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.helix_pulls import N_PARAMETERS, SAMPLES, TRACKS, UNIT, Track

# The core of a pull that the normal distribution is fitted to, and candidates that it takes.
CORE: Final = 2.5
N_MIN: Final = 200
# Where mean and logarithm of the width are looked for.
FIT_RANGE: Final = ((-2.0, 2.0), (-1.0, 1.5))
# Standard deviation of a shift before anything is measured, in errors: published ones are below 0.6.
PRIOR: Final = 0.5


class Core(NamedTuple):
    """Mean and width of the core of a pull and their standard uncertainties."""

    mean: float
    width: float
    mean_error: float
    width_error: float

    @property
    def variance_error(self) -> float:
        """Standard uncertainty of the squared width."""
        return 2.0 * self.width * self.width_error


@dataclass(frozen=True)
class Pull:
    """The pull of one parameter of a track of a sample in data and in simulation.

    Attributes:
        period: The period.
        sample: The sample.
        track: Species and charge of the track.
        parameter: The parameter.
        data: In data.
        simulation: In simulation.
    """

    period: int
    sample: str
    track: Track
    parameter: str
    data: Core
    simulation: Core


@dataclass(frozen=True)
class Measurement:
    """What the pulls of a result say: each of them, and the corrections."""

    pulls: list[Pull]
    entries: list[Entry]

    def to_json(self) -> dict[str, Any]:
        """Return the corrections as `objects.helix_correction` reads them."""
        corrections = [{k: v for k, v in vars(e).items() if v is not None} for e in self.entries]
        return {"format": FORMAT, "corrections": corrections}


def measure(results: Results) -> Measurement:
    """Return the corrections of each period that has pulls in data and in simulation.

    Raises:
        ResultsError: The result has no pulls of data or of simulation, or too few of them.
    """
    sides = {kind: _summed(results, kind) for kind in (DATA, CONTROL)}
    pulls: list[Pull] = []
    entries: list[Entry] = []
    for period in PERIOD_RUNS:
        samples = [s for s in SAMPLES if all(_count(side, s, period) >= N_MIN for side in sides.values())]
        if samples:
            found = [p for s in samples for p in _pulls(sides, s, period)]
            pulls += found
            entries += _solve(found, {s: _responses(sides[CONTROL], s, period) for s in samples}, period, results)
    if not entries:
        most = {kind: {s: max(_count(of, s, y) for y in PERIOD_RUNS) for s in SAMPLES} for kind, of in sides.items()}
        msg = f"got pulls of {most} candidates in the best period; wanted {N_MIN} of a sample in data and simulation"
        raise ResultsError(msg)
    return Measurement(pulls, entries)


def period_of(entry: Entry) -> int:
    """Return the period whose runs a correction is for."""
    return next(period for period, runs in PERIOD_RUNS.items() if runs == (entry.first, entry.last))


def _summed(results: Results, kind: str) -> dict[str, hist.Hist]:
    """Return the histograms of pulls of all datasets of a kind.

    Raises:
        ResultsError: There are none.
    """
    found = [d.selections[HELIX_PULLS].histograms for d in results.ran(HELIX_PULLS, kind).values()]
    if not found:
        msg = (
            f"no dataset of kind {kind!r} with selection {HELIX_PULLS!r}: add it to the selections of data and of the "
            "simulation of their control samples in the fileset, and run again"
        )
        raise ResultsError(msg)
    return {name: sum((of[name] for of in found[1:]), found[0][name]) for name in found[0]}


def _of_period(histogram: hist.Hist, period: int) -> Any:
    return histogram[{"period": hist.loc(period)}]


def _count(side: Mapping[str, hist.Hist], sample: str, period: int) -> int:
    """Return the candidates of a sample in a period."""
    return int(_of_period(side[f"{sample}_pulls"], period).sum(flow=True)) // N_PARAMETERS


def _pulls(sides: Mapping[str, Mapping[str, hist.Hist]], sample: str, period: int) -> Iterator[Pull]:
    counts = {kind: _of_period(side[f"{sample}_pulls"], period) for kind, side in sides.items()}
    for i, of_track in enumerate(TRACKS[sample]):
        for j, parameter in enumerate(PARAMETERS):
            data, simulation = (fit_core(of[i * len(PARAMETERS) + j, :]) for of in counts.values())
            yield Pull(period, sample, of_track, parameter, data, simulation)


def fit_core(counts: hist.Hist) -> Core:
    """Return mean and width of the normal distribution that fits the core of a histogram, by maximum likelihood.

    Bins with centres within `CORE` of zero count; the distribution is normalised to them, so that tails do not matter.
    """
    edges, n = counts.axes[0].edges, counts.values()
    chosen = np.abs(counts.axes[0].centers) < CORE
    low, high, n = edges[:-1][chosen], edges[1:][chosen], n[chosen]

    def loss(x: FloatArray) -> float:
        """Return the negative logarithm of the likelihood per track."""
        share = np.diff(special.ndtr((np.append(low, high[-1]) - x[0]) / math.exp(x[1])))
        return float(-(n * np.log(share / share.sum())).sum() / n.sum())

    found = optimize.minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=FIT_RANGE, options={"ftol": 1e-12})
    errors = np.sqrt(np.diag(np.linalg.inv(_hessian(loss, found.x) * n.sum())))
    width = math.exp(found.x[1])
    return Core(float(found.x[0]), width, float(errors[0]), float(width * errors[1]))


def _hessian(loss: Any, x: FloatArray, step: float = 1e-3) -> FloatArray:
    """Return the second derivatives (2, 2) of a function by differences."""
    e = step * np.eye(2)
    return np.array(
        [
            [(loss(x + a + b) - loss(x + a - b) - loss(x - a + b) + loss(x - a - b)) / (4.0 * step**2) for b in e]
            for a in e
        ]
    )


def _responses(side: Mapping[str, hist.Hist], sample: str, period: int) -> FloatArray:
    """Return the mean responses R and Q of a sample's pulls to its parameters, (2, 12, 12)."""
    sums = _of_period(side[f"{sample}_response"], period).values() * UNIT / _count(side, sample, period)
    return np.moveaxis(sums, -1, 0)


def _solve(pulls: list[Pull], responses: Mapping[str, FloatArray], period: int, results: Results) -> list[Entry]:
    """Return the corrections of a period: least squares over all its pulls."""
    classes: list[Track] = list(dict.fromkeys(p.track for p in pulls))
    shift_by, spread_by = (
        np.concatenate([_by_class(responses[s][power], s, classes) for s in responses]) for power in (0, 1)
    )
    shift = np.array([p.data.mean - p.simulation.mean for p in pulls])
    shift_error = np.array([math.hypot(p.data.mean_error, p.simulation.mean_error) for p in pulls])
    spread = np.array([p.data.width**2 - p.simulation.width**2 for p in pulls])
    spread_error = np.array([math.hypot(p.data.variance_error, p.simulation.variance_error) for p in pulls])
    mean, mean_error = _least_squares(shift_by, shift, shift_error, prior=PRIOR)
    extra, extra_error = _least_squares(spread_by, spread, spread_error, prior=1.0, is_positive=True)
    width = np.sqrt(1.0 + extra)
    runs = PERIOD_RUNS[period]
    source = ", ".join(f"{name} {value}" for name, value in results.identity.items())
    return [
        Entry(
            first=runs[0],
            last=runs[1],
            species=species,
            charge=charge,
            mean=_rounded(mean, i),
            width=_rounded(width, i),
            mean_error=_rounded(mean_error, i),
            width_error=_rounded(extra_error / (2.0 * width), i),
            control_sample=", ".join(s for s in responses if (species, charge) in TRACKS[s]),
            source=f"measured: {source}",
        )
        for i, (species, charge) in enumerate(classes)
    ]


def _by_class(response: FloatArray, sample: str, classes: Sequence[Track]) -> FloatArray:
    """Return how the pulls of a sample (12,) move with the parameters of every species and charge, (12, 3 C)."""
    by = np.zeros((N_PARAMETERS, len(classes) * len(PARAMETERS)))
    for k, of in enumerate(TRACKS[sample]):
        at = classes.index(of) * len(PARAMETERS)
        by[:, at : at + len(PARAMETERS)] += response[:, k * len(PARAMETERS) : (k + 1) * len(PARAMETERS)]
    return by


def _least_squares(
    by: FloatArray, value: FloatArray, error: FloatArray, *, prior: float, is_positive: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Return what fits values = by x best, with x about zero within `prior`, and its standard uncertainties."""
    n = by.shape[1]
    a = np.concatenate([by / error[:, None], np.eye(n) / prior])
    b = np.concatenate([value / error, np.zeros(n)])
    bounds = (0.0 if is_positive else -np.inf, np.inf)
    x = optimize.lsq_linear(a, b, bounds=bounds).x
    return x, np.sqrt(np.diag(np.linalg.inv(a.T @ a)))


def _rounded(values: FloatArray, i: int) -> tuple[float, float, float]:
    a, b, c = np.round(values.reshape(-1, len(PARAMETERS))[i], 4).tolist()
    return a, b, c
