"""The likelihood of a limit in the forms that other programs read, to publish and to cross-check: pyhf's and HS3.

A count n_i ~ Poisson(mu share_i e_i + sum of b) per channel, m_j ~ Poisson(tau_j b_j) per side band. The efficiency
moves linearly on a linear scale with the Gaussian pull of every source of its uncertainty, which together are the
Gaussian of the profile limit exactly: in pyhf symmetric `histosys` (`normsys` is exponential and off by 1e-4 at 7 %,
8e-3 at 25 %). A factor by which a process is carried over is a log-normal, `normsys`. Equal names are one nuisance in
all processes, channels, periods and masses; channels and side bands of a mass have its name, so that masses can be put
together into one likelihood.

pyhf's own asymptotic limits hold for many events only: at one event without background its CLs limit is 19.2 where the
exact one is 24.6, and its toys fail with numpy >= 2.4. Take limits from `analysis.limits.marginal`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jpsi_lnv.analysis.datasets import mass_text
from jpsi_lnv.analysis.limits.inputs import EFFICIENCY, LimitInputs
from jpsi_lnv.analysis.limits.sideband import SideBand
from jpsi_lnv.analysis.systematics import table

POI: Final = "n_produced"
# A known background is a side band of so many counts that its width is nothing: 1e-6 of itself.
KNOWN: Final = 1e12
# Smallest value of a background's parameter, in events: at none of it the logarithm of a side band has no value.
B_MIN: Final = 1e-12
# Standard deviations that a pull may reach.
PULL_MAX: Final = 10.0
# What stands for charges in names.
CHARGES: Final = {"+": "p", "-": "m"}
# Constraints of the efficiency in HS3: the Gaussian of the profile limit, or the counts of the averaged one.
GAUSSIAN: Final = "gaussian"
GAMMA: Final = "gamma"


@dataclass(frozen=True)
class Counted:
    """One channel that shares background and systematics with the others.

    Attributes:
        name: The channel.
        n_obs: Observed events.
        share: Fraction of signal and background that belongs to it.
        efficiency: Selected over produced events of the channel.
        sources: Relative change of the efficiency by one standard deviation of each source of uncertainty, by name.
    """

    name: str
    n_obs: int
    share: float
    efficiency: float
    sources: Mapping[str, float]


def of_inputs(inputs: LimitInputs, sources: Mapping[str, float] | None = None) -> tuple[Counted, ...]:
    """Return the one channel of a limit.

    Args:
        inputs: The numbers of the limit.
        sources: Parts of the uncertainty of its efficiency by name; one by default.

    Raises:
        ValueError: The observed events are hidden.
    """
    if inputs.n_obs is None:
        msg = "n_obs=None: a likelihood holds the observed events; unblind first"
        raise ValueError(msg)
    named = {EFFICIENCY: inputs.delta_sys} if sources is None else sources
    return (Counted(f"search{_suffix(inputs)}", inputs.n_obs, 1.0, inputs.efficiency, named),)


def _suffix(inputs: LimitInputs) -> str:
    return "" if inputs.m_majorana is None else f"_{mass_text(inputs.m_majorana)}"


def bands_of(inputs: LimitInputs) -> tuple[SideBand, ...]:
    """Return the side bands of a limit; a background that is known exactly as one of very many counts."""
    background = inputs.background
    known = (SideBand("background", KNOWN, KNOWN / background.known),) if background.known else ()
    suffix = _suffix(inputs)
    return tuple(dataclasses.replace(band, name=f"{band.name}{suffix}") for band in (*background.bands, *known))


def workspace(inputs: LimitInputs, channels: Sequence[Counted] = ()) -> dict[str, Any]:
    """Return the HistFactory workspace for pyhf; its parameter `n_produced` is the produced yield.

    Args:
        inputs: The numbers of the limit.
        channels: Channels that share them; the limit's own one by default.

    Raises:
        ValueError: The observed events are hidden.
    """
    counted, bands = tuple(channels) or of_inputs(inputs), bands_of(inputs)
    regions = [{"name": c.name, "samples": [_signal(c), *_carried(c, bands)]} for c in counted]
    outside = [
        {
            "name": _region(band),
            "samples": [{"name": band.name, "data": [band.tau], "modifiers": [_normfactor(_b(band))]}],
        }
        for band in bands
    ]
    seen = [{"name": c.name, "data": [float(c.n_obs)]} for c in counted]
    seen += [{"name": _region(band), "data": [float(band.m)]} for band in bands]
    parameters = [{"name": POI, "bounds": [[0.0, _n_max(counted)]], "inits": [1.0]}]
    parameters += [
        {"name": _b(band), "bounds": [[B_MIN, _b_max(band, counted)]], "inits": [max(band.mean, B_MIN)]}
        for band in bands
    ]
    return {
        "channels": [*regions, *outside],
        "observations": seen,
        "measurements": [{"name": "upper_limit", "config": {"poi": POI, "parameters": parameters}}],
        "version": "1.0.0",
    }


def of_search(
    inputs: Sequence[LimitInputs],
    combined: Mapping[str, Mapping[str, Any]],
    sources_of: Callable[[str, float], Mapping[str, float]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the likelihoods of a search: name -> program -> document.

    Args:
        inputs: Of the overall search, then of each mass.
        combined: Name -> channels that count apart, as `limit_checks.json` holds them; they share the background.
        sources_of: (channel, its relative uncertainty) -> the sources of that by name.

    Raises:
        ValueError: The observed events are hidden.
    """
    named = {table.OVERALL if i.m_majorana is None else mass_text(i.m_majorana): i for i in inputs}
    found = {name: _both(i, of_inputs(i, sources_of(name, i.delta_sys))) for name, i in named.items()}
    for name, content in combined.items():
        channels = [Counted(*(c[f.name] for f in dataclasses.fields(Counted))) for c in content["channels"]]
        found[name] = _both(inputs[0], channels)
    return found


def _both(inputs: LimitInputs, channels: Sequence[Counted]) -> dict[str, dict[str, Any]]:
    return {"pyhf": workspace(inputs, channels), "hs3": hs3(inputs, channels)}


def _signal(counted: Counted) -> dict[str, Any]:
    value = counted.share * counted.efficiency
    moved = [_histosys(name, value, change) for name, change in counted.sources.items() if change]
    return {"name": "signal", "data": [value], "modifiers": [_normfactor(POI), *moved]}


def _histosys(name: str, value: float, change: float) -> dict[str, Any]:
    shifts = {"hi_data": [value * (1.0 + change)], "lo_data": [value * (1.0 - change)]}
    return {"name": name, "type": "histosys", "data": shifts}


def _carried(counted: Counted, bands: Sequence[SideBand]) -> list[dict[str, Any]]:
    """Return the background samples of a channel: its share of one event per event of each process."""
    return [
        {
            "name": band.name,
            "data": [counted.share],
            "modifiers": [_normfactor(_b(band)), *(_normsys(name, kappa) for name, kappa in band.factors if kappa)],
        }
        for band in bands
    ]


def _normfactor(name: str) -> dict[str, Any]:
    return {"name": name, "type": "normfactor", "data": None}


def _normsys(name: str, kappa: float) -> dict[str, Any]:
    return {"name": name, "type": "normsys", "data": {"hi": math.exp(kappa), "lo": math.exp(-kappa)}}


def _b(band: SideBand) -> str:
    return f"b_{band.name}"


def _region(band: SideBand) -> str:
    return f"side_band_{band.name}"


def _n_max(counted: Sequence[Counted]) -> float:
    return 10.0 * (sum(c.n_obs for c in counted) + 3.0) / sum(c.share * c.efficiency for c in counted)


def _b_max(band: SideBand, counted: Sequence[Counted]) -> float:
    return 10.0 * (band.m + 3.0) / band.tau + sum(c.n_obs for c in counted)


def hs3(inputs: LimitInputs, channels: Sequence[Counted] = (), *, constraint: str = GAUSSIAN) -> dict[str, Any]:
    """Return the same likelihood in the HEP Statistics Serialization Standard, for ROOT and pyhs3.

    The product `model` of all distributions is the likelihood at the values of `default_values`. ROOT wants ``integer``
    of a Poisson distribution and reads no data of points; pyhs3 normalises over the axes of data once `likelihoods` are
    listed, 17 to 110 off in the logarithm: observed values are constant parameters here, and nothing of that is listed.

    Args:
        inputs: The numbers of the limit.
        channels: Channels that share them; the limit's own one by default.
        constraint: `GAUSSIAN`, pulls of all sources as in the profile limit, or `GAMMA`, that of the averaged one: the
            efficiency relative to its mean has 1/delta² pseudo-events, and sources are not told apart.

    Raises:
        ValueError: The observed events are hidden, or the constraint is unknown.
    """
    if constraint not in (GAUSSIAN, GAMMA):
        msg = f"constraint={constraint!r}: wanted {GAUSSIAN!r} or {GAMMA!r}"
        raise ValueError(msg)
    counted, bands = tuple(channels) or of_inputs(inputs), bands_of(inputs)
    document = _Document()
    document.parameter(POI, 1.0, 0.0, _n_max(counted))
    scales = _gamma(document, counted, inputs.delta_sys) if constraint == GAMMA else _pulls(document, counted)
    for band in bands:
        document.parameter(_key(_b(band)), max(band.mean, B_MIN), B_MIN, _b_max(band, counted))
        document.observed(_key(f"m_{band.name}"), band.m)
        document.function(_key(f"mean_{_region(band)}"), f"{band.tau!r}*{_key(_b(band))}")
        document.poisson(_key(_region(band)), _key(f"m_{band.name}"), _key(f"mean_{_region(band)}"))
    for name in sorted({name for band in bands for name, kappa in band.factors if kappa}):
        document.pull(_key(name))
    for c, scale in zip(counted, scales, strict=True):
        terms = [f"{POI}*{c.share * c.efficiency!r}{scale}", *(f"{c.share!r}*{_moved(band)}" for band in bands)]
        document.observed(_key(f"n_{c.name}"), float(c.n_obs))
        document.function(_key(f"mean_{c.name}"), " + ".join(terms))
        document.poisson(_key(c.name), _key(f"n_{c.name}"), _key(f"mean_{c.name}"))
    return document.content()


def _pulls(document: _Document, counted: Sequence[Counted]) -> list[str]:
    """Add a pull of every source with its constraint, and return the factor of the signal of each channel."""
    for name in sorted({name for c in counted for name, change in c.sources.items() if change}):
        document.pull(_key(name))
    return [_linear({name: change for name, change in c.sources.items() if change}) for c in counted]


def _linear(changes: Mapping[str, float]) -> str:
    moved = " + ".join(f"{change!r}*{_key(name)}" for name, change in changes.items())
    return f"*(1.0 + {moved})" if moved else ""


def _gamma(document: _Document, counted: Sequence[Counted], delta: float) -> list[str]:
    """Add the relative efficiency with the counts that measured it, and return the factor of the signal of each."""
    if not delta:
        return [""] * len(counted)
    pseudo_events = delta**-2.0
    document.parameter(EFFICIENCY, 1.0, 1e-6, 1.0 + PULL_MAX * delta)
    document.observed("pseudo_events", pseudo_events)
    document.function("mean_pseudo_events", f"{pseudo_events!r}*{EFFICIENCY}")
    document.poisson(f"constraint_{EFFICIENCY}", "pseudo_events", "mean_pseudo_events")
    return [f"*{EFFICIENCY}"] * len(counted)


def _moved(band: SideBand) -> str:
    """Return the expression of a process with the factors that move it."""
    pulls = " + ".join(f"{kappa!r}*{_key(name)}" for name, kappa in band.factors if kappa)
    return f"{_key(_b(band))}*exp({pulls})" if pulls else _key(_b(band))


def _key(words: str) -> str:
    """Return words as a name that stands in an expression; charges stay apart."""
    return "".join(c if c.isascii() and c.isalnum() else CHARGES.get(c, "_") for c in words)


class _Document:
    """An HS3 document that grows by its parts."""

    def __init__(self) -> None:
        self._distributions: list[dict[str, Any]] = []
        self._functions: list[dict[str, Any]] = []
        self._axes: list[dict[str, Any]] = []
        self._values: list[dict[str, Any]] = []

    def parameter(self, name: str, value: float, low: float, high: float) -> None:
        """Add a parameter and its range."""
        self._axes.append({"name": name, "min": low, "max": high})
        self._values.append({"name": name, "value": value})

    def observed(self, name: str, value: float) -> None:
        """Add what was seen: a constant."""
        self._axes.append({"name": name, "min": 0.0, "max": max(1000.0, 10.0 * value)})
        self._values.append({"name": name, "value": value, "const": True})

    def function(self, name: str, expression: str) -> None:
        """Add a function of parameters."""
        self._functions.append({"name": name, "type": "generic_function", "expression": expression})

    def poisson(self, name: str, x: str, mean: str) -> None:
        """Add a count, whole or not."""
        is_whole = all(float(v["value"]).is_integer() for v in self._values if v["name"] == x)
        self._distributions.append({"name": name, "type": "poisson_dist", "x": x, "mean": mean, "integer": is_whole})

    def pull(self, name: str) -> None:
        """Add a nuisance parameter with its Gaussian constraint, 0 +- 1."""
        self.parameter(name, 0.0, -PULL_MAX, PULL_MAX)
        constraint = {"name": f"constraint_{name}", "type": "gaussian_dist", "x": name, "mean": 0.0, "sigma": 1.0}
        self._distributions.append(constraint)

    def content(self) -> dict[str, Any]:
        """Return the document."""
        factors = [d["name"] for d in self._distributions]
        return {
            "metadata": {"hs3_version": "0.2"},
            "distributions": [*self._distributions, {"name": "model", "type": "product_dist", "factors": factors}],
            "functions": self._functions,
            "domains": [{"name": "default_domain", "type": "product_domain", "axes": self._axes}],
            "parameter_points": [{"name": "default_values", "parameters": self._values}],
        }
