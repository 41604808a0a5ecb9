"""How often an interval holds the true yield: exact sums over the count, toys where the efficiency is uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.limits import checks, feldman_cousins, methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs

# True signals of the curves, in expected events.
SIGNAL_MAX: Final = 20.0
SIGNAL_STEP: Final = 0.02
# Efficiency 1 with the overall relative uncertainty: toys per true signal, and their spacing.
N_TOYS: Final = 10_000
TOY_STEP: Final = 0.1
# Counts less probable than this are left out of the sums.
TAIL: Final = 1e-9


@dataclass(frozen=True)
class IntervalTable:
    """The ends of an interval for n = 0, 1, ... observed events, for efficiency 1 and one relative uncertainty.

    The produced yield enters only as mu times efficiency, so that a measured efficiency e scales both ends by 1/e.

    Attributes:
        lower: Lower ends (C,), zero for an upper limit.
        upper: Upper ends (C,).
    """

    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of_upper_limits(cls, upper: FloatArray) -> IntervalTable:
        """Return the table of upper limits (C,)."""
        return cls(np.zeros_like(upper), upper)


@dataclass(frozen=True)
class Coverage:
    """Probability that the interval holds the truth.

    Attributes:
        signal: True signal in expected events (S,).
        probability: Coverage at each (S,).
        error: Standard error (S,): zero for exact sums, binomial for toys.
    """

    signal: FloatArray
    probability: FloatArray
    error: FloatArray

    @property
    def smallest(self) -> tuple[float, float]:
        """The smallest coverage and the signal where it is."""
        i = int(np.argmin(self.probability))
        return float(self.probability[i]), float(self.signal[i])


def counts_needed(signal_max: float, n_bkg: float = 0.0) -> int:
    """Return the largest count that a table needs for true signals up to `signal_max`."""
    return int(stats.poisson.isf(TAIL, signal_max + n_bkg)) + 1


def exact(table: IntervalTable, signal: npt.ArrayLike, *, n_bkg: float = 0.0) -> Coverage:
    """Return the coverage with a known efficiency, as the sum of Poisson probabilities of the counts that cover.

    Raises:
        ValueError: The table ends below the counts that the largest signal gives.
    """
    s = checks.non_negative("signal", signal)
    _check_reach(table, float(s.max()), n_bkg)
    counts = np.arange(len(table.upper))
    covers = (table.lower <= s[:, None]) & (s[:, None] <= table.upper)
    probability = np.where(covers, stats.poisson.pmf(counts, s[:, None] + n_bkg), 0.0).sum(axis=1)
    return Coverage(s, probability, np.zeros_like(probability))


def with_toys(
    table: IntervalTable,
    signal: npt.ArrayLike,
    *,
    delta_sys: float,
    rng: np.random.Generator,
    n_toys: int = 10_000,
    n_bkg: float = 0.0,
) -> Coverage:
    """Return the coverage where every experiment also measures its efficiency with a relative error `delta_sys`.

    Args:
        table: Ends for the same relative uncertainty; counts beyond it take its last row.
        signal: True signal in expected events (S,).
        delta_sys: Relative standard deviation of the Gaussian that the measured efficiency follows.
        rng: Source of random numbers.
        n_toys: Experiments per signal.
        n_bkg: True background in events, which the interval knows.
    """
    s = checks.non_negative("signal", signal)
    counted = np.minimum(rng.poisson(s[:, None] + n_bkg, size=(len(s), n_toys)), len(table.upper) - 1)
    measured = np.maximum(1.0 + delta_sys * rng.standard_normal((len(s), n_toys)), np.finfo(np.float64).tiny)
    truth = s[:, None] * measured
    covers = (table.lower[counted] <= truth) & (truth <= table.upper[counted])
    probability = covers.mean(axis=1)
    return Coverage(s, probability, np.sqrt(probability * (1.0 - probability) / n_toys))


def _check_reach(table: IntervalTable, signal_max: float, n_bkg: float) -> None:
    needed = counts_needed(signal_max, n_bkg)
    if len(table.upper) <= needed:
        msg = f"table of {len(table.upper)} counts: a signal of {signal_max} wants {needed + 1}"
        raise ValueError(msg)


def curves(*, delta_sys: float, seed: int, confidence_level: float = 0.90) -> list[dict[str, Any]]:
    """Return the coverage of every method against the true signal.

    Args:
        delta_sys: Relative efficiency uncertainty of the curves from toys; the exact ones have none.
        seed: Seed of the toys.
        confidence_level: Of every method.
    """
    rng = np.random.default_rng(seed)
    signal = np.arange(0.0, SIGNAL_MAX + SIGNAL_STEP, SIGNAL_STEP)
    sparse = np.arange(TOY_STEP, SIGNAL_MAX + TOY_STEP, TOY_STEP)
    found = [_curve(name, 0.0, exact(t, signal)) for name, t in _tables(0.0, confidence_level).items()]
    for name, table in _tables(delta_sys, confidence_level).items():
        toys = with_toys(table, sparse, delta_sys=delta_sys, rng=rng, n_toys=N_TOYS)
        found.append(_curve(name, delta_sys, toys))
    return [{"confidence_level": confidence_level} | curve for curve in found]


def _curve(method: str, delta_sys: float, found: Coverage) -> dict[str, Any]:
    smallest, at = found.smallest
    return {
        "method": method,
        "delta_sys": delta_sys,
        "smallest": smallest,
        "smallest_at": at,
        "signal": np.round(found.signal, 9).tolist(),
        "probability": found.probability.tolist(),
        "error": found.error.tolist(),
    }


def _tables(delta_sys: float, confidence_level: float) -> dict[str, IntervalTable]:
    counts = np.arange(counts_needed(SIGNAL_MAX + SIGNAL_STEP) + 2)
    inputs = LimitInputs(n_obs=None, n_bkg=0.0, efficiency=1.0, delta_sys=delta_sys, n_jpsi=1.0)
    tables = {
        name: IntervalTable.of_upper_limits(method.limits_of(inputs, counts, confidence_level))
        for name, method in methods.METHODS.items()
    }
    unified = feldman_cousins.intervals(
        counts, efficiency=1.0, efficiency_sigma=delta_sys, confidence_level=confidence_level
    )
    lower, upper = (np.array([getattr(i, end) for i in unified]) for end in ("lower", "upper"))
    return tables | {"feldman-cousins": IntervalTable(lower, upper)}
