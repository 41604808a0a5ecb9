"""One upper limit from its inputs, by a method named as in the literature.

Two of them stand side by side everywhere: `rolke`, the convention of the publication, and `recommended`, the one to
quote in a new search. The others are cross-checks: an exact construction may give a stronger limit with an uncertain
efficiency than with a known one, since a measurement that fluctuates tells equal counts apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.limits import feldman_cousins, marginal, rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sensitivity import ExpectedLimit, expected_limit
from jpsi_lnv.analysis.limits.sideband import SideBand

PUBLICATION: Final = "rolke"
RECOMMENDED: Final = "recommended"
# The two that stand side by side.
BOTH: Final = (PUBLICATION, RECOMMENDED)
# Limits are computed for one method, given as (inputs, counts (N,), confidence level) -> yields (N,).
LimitsOf = Callable[[LimitInputs, IntArray, float], FloatArray]


@dataclass(frozen=True)
class Limit:
    """An upper limit on the produced yield and on the branching fraction.

    Attributes:
        inputs: The numbers it is made of.
        method: Key of `METHODS`.
        confidence_level: As a fraction; `METHODS` says what each method means by it.
        n_up: Upper limit of the produced yield, events/efficiency; None without observed events.
        expected: The limit on the yield to expect from background alone.
    """

    inputs: LimitInputs
    method: str
    confidence_level: float
    n_up: float | None
    expected: ExpectedLimit

    @property
    def branching_fraction_ul(self) -> float | None:
        """Upper limit of the branching fraction, n_up/n_jpsi."""
        return None if self.n_up is None else self.n_up / self.inputs.n_jpsi

    def to_dict(self) -> dict[str, Any]:
        """Return the record of `limits.json`; a limit that does not exist (inf) becomes None."""
        inputs = self.inputs
        expected = dataclasses.asdict(self.expected)
        return {
            "m_majorana": inputs.m_majorana,
            "method": self.method,
            "role": METHODS[self.method].role,
            "confidence_level": self.confidence_level,
            "confidence_level_means": METHODS[self.method].meaning,
            "n_obs": inputs.n_obs,
            "n_bkg": inputs.n_bkg,
            "n_bkg_sigma": inputs.n_bkg_sigma,
            "side_bands": [dataclasses.asdict(b) | {"factors": dict(b.factors)} for b in inputs.side_bands],
            "efficiency": inputs.efficiency,
            "delta_sys": inputs.delta_sys,
            "n_jpsi": inputs.n_jpsi,
            "n_up": _finite(self.n_up),
            "branching_fraction_ul": _finite(self.branching_fraction_ul),
            "expected_n_up": {name: _finite(value) for name, value in expected.items() if name != "n_bkg"},
            "expected_is_certain": self.expected.is_certain,
            "provenance": dict(inputs.provenance),
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def published_limits(inputs: Sequence[LimitInputs], n_obs: IntArray, confidence_level: float) -> FloatArray:
    """Return the publication's limit (N,) of N searches at once, each of its own count."""
    found = np.empty(len(inputs))
    measured = [_rolke_measured(i) for i in inputs]
    for model in {m for m, _ in measured}:
        rows = np.array([k for k, (m, _) in enumerate(measured) if m is model])
        columns: dict[str, Any] = {name: np.array([measured[k][1][name] for k in rows]) for name in model.value}
        found[rows] = rolke.intervals(model, n_obs=n_obs[rows], confidence_level=confidence_level, **columns)[1]
    return found


def _rolke(inputs: LimitInputs, n_obs: IntArray, confidence_level: float, **options: Any) -> FloatArray:
    model, measured = _rolke_measured(inputs)
    return rolke.intervals(model, n_obs=n_obs, confidence_level=confidence_level, **options, **measured)[1]


def _rolke_measured(inputs: LimitInputs) -> tuple[rolke.Model, dict[str, Any]]:
    """Return the model of what is known, and its arguments."""
    of_efficiency = {"efficiency": inputs.efficiency, "efficiency_sigma": inputs.efficiency_sigma}
    if band := _counted_band(inputs):
        counted = {"n_bkg_region": band.m, "tau": band.tau}
        return rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY, counted | of_efficiency
    if inputs.n_bkg == 0.0 and inputs.n_bkg_sigma == 0.0:
        # No event in a side band of the size of the signal region: at no background its size does not matter.
        nothing = {"n_bkg_region": 0.0, "tau": 1.0}
        return rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY, nothing | of_efficiency
    expected = {"background": inputs.n_bkg, "background_sigma": inputs.n_bkg_sigma}
    return rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY, expected | of_efficiency


def _counted_band(inputs: LimitInputs) -> SideBand | None:
    """Return the side band of a background that is one whole count and nothing else."""
    if len(inputs.side_bands) != 1 or inputs.side_bands[0].factors or not float(inputs.side_bands[0].m).is_integer():
        return None
    return inputs.side_bands[0]


def _bounded(inputs: LimitInputs, n_obs: IntArray, confidence_level: float) -> FloatArray:
    return _rolke(inputs, n_obs, confidence_level, bounded=True, zero_counts="profile")


def _measured(inputs: LimitInputs) -> dict[str, Any]:
    return {
        "efficiency": inputs.efficiency,
        "efficiency_sigma": inputs.efficiency_sigma,
        "background": inputs.background,
    }


def _one_by_one(limit: Callable[..., float]) -> LimitsOf:
    def function(inputs: LimitInputs, n_obs: IntArray, confidence_level: float) -> FloatArray:
        return np.array([limit(int(n), confidence_level=confidence_level, **_measured(inputs)) for n in n_obs])

    return function


def _unified(inputs: LimitInputs, n_obs: IntArray, confidence_level: float) -> FloatArray:
    found = feldman_cousins.intervals(n_obs, confidence_level=confidence_level, **_measured(inputs))
    return np.array([interval.upper for interval in found])


@dataclass(frozen=True)
class Method:
    """A method and what it calls a confidence level.

    Attributes:
        label: Short name for headings.
        role: What the limit is for.
        limits_of: (inputs, observed events (N,), confidence level) -> limits of the produced yield (N,).
        meaning: What "90 %" is.
    """

    label: str
    role: str
    limits_of: LimitsOf
    meaning: str


METHODS: Final[dict[str, Method]] = {
    PUBLICATION: Method(
        "Rolke",
        "convention of the publication",
        _rolke,
        "unbounded profile likelihood cut at a two-sided chi2 quantile (2.706 at 90 %)",
    ),
    RECOMMENDED: Method(
        "CLs",
        "recommended for a new search",
        _one_by_one(marginal.cls_limit),
        "one-sided: CLs = P(<= n | s+b)/P(<= n | b) is 1 - CL, averaged over side bands and efficiency",
    ),
    "feldman-cousins": Method(
        "FC", "cross-check", _unified, "upper end of the unified interval, whose acceptance regions hold CL"
    ),
    "bayesian": Method(
        "Bayes",
        "cross-check",
        _one_by_one(marginal.bayesian_limit),
        "posterior probability below the limit, flat prior in the yield",
    ),
    "bounded-profile": Method(
        "bounded profile",
        "cross-check",
        _bounded,
        "profile likelihood of a signal >= 0 cut at a two-sided chi2 quantile: covers less than it says",
    ),
}


def upper_limit(inputs: LimitInputs, *, method: str = PUBLICATION, confidence_level: float = 0.90) -> Limit:
    """Return the upper limit for the observed events, if there are any to see, and the expected one.

    Raises:
        ValueError: The method is unknown.
    """
    if method not in METHODS:
        msg = f"method={method!r}: wanted one of {sorted(METHODS)}"
        raise ValueError(msg)

    def limits_of(n_obs: Iterable[int]) -> FloatArray:
        return METHODS[method].limits_of(inputs, np.asarray(n_obs), confidence_level)

    n_up = None if inputs.n_obs is None else float(limits_of([inputs.n_obs])[0])
    return Limit(inputs, method, confidence_level, n_up, expected_limit(limits_of, inputs.background))
