"""What a referee asks beside the limit: other backgrounds, other chi2 cuts, p-values, the channels apart, coverage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analysis.cuts import Cuts
from analysis.datasets import DATA, SIGNAL
from analysis.limits import combination, coverage, feldman_cousins, gather, methods, rolke, significance, stability
from analysis.limits.inputs import LimitInputs
from analysis.results import DatasetResult, Results

PLANE: Final = "chi2_4c_m_kkee"
CHARGE: Final = "charge"
CONJUGATE: Final = {"K+K+e-e-": 1, "K-K-e+e+": -1}
# Half of the signal is produced in each of the two conjugate channels.
SHARE_PER_CHARGE: Final = 0.5
# True signals of the coverage curves, in expected events.
SIGNAL_MAX: Final = 20.0
SIGNAL_STEP: Final = 0.02
# Efficiency 1 with the overall relative uncertainty: toys per true signal, and their spacing.
N_TOYS: Final = 10_000
TOY_STEP: Final = 0.1


def _searched(results: Results, kind: str) -> list[DatasetResult]:
    """Return the datasets of a kind that the search ran on: control samples have other selections."""
    return [d for d in results.of_kind(kind).values() if gather.SEARCH in d.selections]


def background_scan(inputs: LimitInputs) -> list[dict[str, Any]]:
    """Return the overall limit, observed and expected, against the assumed background."""
    return [limit.to_dict() for limit in stability.against_background(inputs)]


def chi2_scan(results: Results, inputs: LimitInputs, cuts: Cuts) -> list[dict[str, Any]]:
    """Return the overall limit against the chi2 requirement, from the stored planes of chi2 and mass."""
    signal = _searched(results, SIGNAL)
    data = None if inputs.n_obs is None else [_plane(d) for d in _searched(results, DATA)]
    points = stability.against_chi2(
        inputs,
        signal=[_plane(d) for d in signal],
        data=data,
        n_produced=sum(d.n_produced for d in signal),
        cuts=cuts,
    )
    return [{"chi2_4c_max": chi2} | limit.to_dict() for chi2, limit in points]


def _plane(dataset: Any) -> Any:
    return dataset.selections[gather.SEARCH].histograms[PLANE]


def p_values(scan: Sequence[LimitInputs]) -> list[dict[str, Any]]:
    """Return local and global p-values against the assumed background; none while events are hidden."""
    counted = [i.n_obs for i in scan if i.n_obs is not None]
    if not counted or len(counted) < len(scan):
        return []
    found = significance.scan(counted, stability.BACKGROUNDS)
    return [dataclasses.asdict(s) | {"m_majorana": scan[s.index].m_majorana} for s in found]


def conjugate_channels(results: Results, inputs: LimitInputs) -> dict[str, Any] | None:
    """Return the limit of the two conjugate channels in one likelihood; None while events are hidden.

    The channels' efficiencies are counted apart; their systematic uncertainty moves them together.
    """
    n_produced = sum(d.n_produced for d in _searched(results, SIGNAL))
    channels = {
        name: _Counts(
            _n_of_charge(results, DATA, sign),
            SHARE_PER_CHARGE,
            _n_of_charge(results, SIGNAL, sign),
            SHARE_PER_CHARGE * n_produced,
        )
        for name, sign in CONJUGATE.items()
    }
    return _combined(channels, inputs)


def _n_of_charge(results: Results, kind: str, sign: int) -> int:
    tables = (d.selections[gather.SEARCH].candidates for d in _searched(results, kind))
    return sum(int(np.count_nonzero(table[CHARGE] == sign)) for table in tables if CHARGE in table)


def periods(results: Results, inputs: LimitInputs) -> dict[str, Any] | None:
    """Return the limit of the data-taking periods in one likelihood.

    None while events are hidden, or unless every dataset of data and signal names its period and J/psi are counted per
    dataset of data.
    """
    data, signal = (_by_period(results, kind) for kind in (DATA, SIGNAL))
    n_jpsi = {period: sum(d.metadata.n_jpsi or 0.0 for d in listed) for period, listed in data.items()}
    if len(data) <= 1 or set(data) != set(signal) or None in data or not all(n_jpsi.values()):
        return None
    channels = {
        f"period {period}": _Counts(
            sum(d.selections[gather.SEARCH].n_passed for d in listed),
            n_jpsi[period] / sum(n_jpsi.values()),
            sum(d.selections[gather.SEARCH].n_passed for d in signal[period]),
            sum(d.n_produced for d in signal[period]),
        )
        for period, listed in sorted(data.items(), key=lambda item: str(item[0]))
    }
    return _combined(channels, inputs)


def _by_period(results: Results, kind: str) -> dict[int | None, list[DatasetResult]]:
    found: dict[int | None, list[DatasetResult]] = {}
    for dataset in _searched(results, kind):
        found.setdefault(dataset.metadata.period, []).append(dataset)
    return found


@dataclass(frozen=True)
class _Counts:
    n_obs: int
    share: float
    n_passed: int
    n_produced: float


def _combined(counts: Mapping[str, _Counts], inputs: LimitInputs) -> dict[str, Any] | None:
    """Return the limit of channels, of which each has its share of the background.

    The background is one estimate with one set of maps, so that its uncertainty moves all channels together.
    """
    if inputs.n_obs is None or any(c.n_passed == 0 for c in counts.values()):
        return None
    channels = [
        combination.Channel(
            n_obs=c.n_obs,
            share=c.share,
            efficiency=c.n_passed / c.n_produced,
            background=c.share * inputs.n_bkg,
            background_sigma_common=c.share * inputs.n_bkg_sigma,
        )
        for c in counts.values()
    ]
    named = [{"name": name} | dataclasses.asdict(c) for name, c in zip(counts, channels, strict=True)]
    return {"channels": named, "n_up": combination.upper_limit(channels, delta_common=inputs.delta_sys)}


def coverage_curves(*, delta_sys: float, seed: int, confidence_level: float = 0.90) -> list[dict[str, Any]]:
    """Return the coverage of every method against the true signal.

    Args:
        delta_sys: Relative efficiency uncertainty of the curves from toys; the exact ones have none.
        seed: Seed of the toys.
        confidence_level: Of every method.
    """
    rng = np.random.default_rng(seed)
    signal = np.arange(0.0, SIGNAL_MAX + SIGNAL_STEP, SIGNAL_STEP)
    sparse = np.arange(TOY_STEP, SIGNAL_MAX + TOY_STEP, TOY_STEP)
    curves = [_curve(name, 0.0, coverage.exact(t, signal)) for name, t in _tables(0.0, confidence_level).items()]
    for name, table in _tables(delta_sys, confidence_level).items():
        found = coverage.with_toys(table, sparse, delta_sys=delta_sys, rng=rng, n_toys=N_TOYS)
        curves.append(_curve(name, delta_sys, found))
    return [{"confidence_level": confidence_level} | curve for curve in curves]


def _curve(method: str, delta_sys: float, found: coverage.Coverage) -> dict[str, Any]:
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


def _tables(delta_sys: float, confidence_level: float) -> dict[str, coverage.IntervalTable]:
    counts = range(coverage.counts_needed(SIGNAL_MAX + SIGNAL_STEP) + 2)
    inputs = LimitInputs(n_obs=None, n_bkg=0.0, efficiency=1.0, delta_sys=delta_sys, n_jpsi=1.0)

    def table(name: str) -> coverage.IntervalTable:
        limit_of = methods.METHODS[name].limit_of
        return coverage.IntervalTable.of_upper_limit(lambda n: limit_of(inputs, n, confidence_level), counts[-1])

    one_sided = {name: table(name) for name in ("rolke", "cls", "bayesian")}
    return one_sided | {
        "rolke bounded": _bounded(counts, delta_sys, confidence_level),
        "feldman-cousins": _unified(counts, delta_sys, confidence_level),
    }


def _bounded(counts: Sequence[int], delta_sys: float, confidence_level: float) -> coverage.IntervalTable:
    _, upper = rolke.intervals(
        rolke.Model.KNOWN_BACKGROUND_GAUSSIAN_EFFICIENCY,
        n_obs=counts,
        background=0.0,
        efficiency=1.0,
        efficiency_sigma=delta_sys,
        confidence_level=confidence_level,
        bounded=True,
        zero_counts="profile",
    )
    return coverage.IntervalTable(np.zeros_like(upper), upper)


def _unified(counts: Sequence[int], delta_sys: float, confidence_level: float) -> coverage.IntervalTable:
    found = feldman_cousins.intervals(
        counts, efficiency=1.0, efficiency_sigma=delta_sys, confidence_level=confidence_level
    )
    return coverage.IntervalTable(np.array([i.lower for i in found]), np.array([i.upper for i in found]))
