"""One upper limit from its inputs, by a method named as in the literature."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jpsi_lnv.analysis.limits import feldman_cousins, one_sided, rolke
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sensitivity import ExpectedLimit, expected_limit


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
            "confidence_level": self.confidence_level,
            "confidence_level_means": METHODS[self.method].meaning,
            "n_obs": inputs.n_obs,
            "n_bkg": inputs.n_bkg,
            "n_bkg_sigma": inputs.n_bkg_sigma,
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


def _rolke(inputs: LimitInputs, n_obs: int, confidence_level: float) -> float:
    arguments: dict[str, float] = {"efficiency": inputs.efficiency, "efficiency_sigma": inputs.efficiency_sigma}
    if inputs.n_bkg == 0.0 and inputs.n_bkg_sigma == 0.0:
        # No event in a side band of the size of the signal region: at no background its size does not matter.
        model = rolke.Model.POISSON_BACKGROUND_GAUSSIAN_EFFICIENCY
        arguments |= {"n_bkg_region": 0, "tau": 1.0}
    else:
        model = rolke.Model.GAUSSIAN_BACKGROUND_GAUSSIAN_EFFICIENCY
        arguments |= {"background": inputs.n_bkg, "background_sigma": inputs.n_bkg_sigma}
    return rolke.upper_limit(model, n_obs=n_obs, confidence_level=confidence_level, **arguments)


def _averaged(limit: Callable[..., float]) -> Callable[[LimitInputs, int, float], float]:
    def function(inputs: LimitInputs, n_obs: int, confidence_level: float) -> float:
        return limit(
            n_obs,
            efficiency=inputs.efficiency,
            efficiency_sigma=inputs.efficiency_sigma,
            background=inputs.n_bkg,
            background_sigma=inputs.n_bkg_sigma,
            confidence_level=confidence_level,
        )

    return function


@dataclass(frozen=True)
class Method:
    """A method and what it calls a confidence level.

    Attributes:
        label: Short name for headings.
        limit_of: (inputs, observed events, confidence level) -> limit of the produced yield.
        meaning: What "90 %" is.
    """

    label: str
    limit_of: Callable[[LimitInputs, int, float], float]
    meaning: str


METHODS: Final[dict[str, Method]] = {
    "rolke": Method("Rolke", _rolke, "unbounded profile likelihood cut at a two-sided chi2 quantile (2.706 at 90 %)"),
    "cls": Method("CLs", _averaged(one_sided.cls_limit), "one-sided: CLs = P(<= n | s+b)/P(<= n | b) is 1 - CL"),
    "feldman-cousins": Method(
        "FC",
        _averaged(feldman_cousins.upper_limit),
        "upper end of the unified interval, whose acceptance regions hold CL",
    ),
    "bayesian": Method(
        "Bayes", _averaged(one_sided.bayesian_limit), "posterior probability below the limit, flat prior in the yield"
    ),
}


def upper_limit(inputs: LimitInputs, *, method: str = "rolke", confidence_level: float = 0.90) -> Limit:
    """Return the upper limit for the observed events, if there are any to see, and the expected one.

    Raises:
        ValueError: The method is unknown.
    """
    if method not in METHODS:
        msg = f"method={method!r}: wanted one of {sorted(METHODS)}"
        raise ValueError(msg)

    def limit_of(n_obs: int) -> float:
        return METHODS[method].limit_of(inputs, n_obs, confidence_level)

    n_up = None if inputs.n_obs is None else limit_of(inputs.n_obs)
    return Limit(inputs, method, confidence_level, n_up, expected_limit(limit_of, inputs.n_bkg, inputs.n_bkg_sigma))
