"""What a referee asks beside the limit: other backgrounds, other chi2 cuts, p-values, the channels apart, coverage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.limits import (
    combination,
    coverage,
    feldman_cousins,
    gather,
    methods,
    rolke,
    significance,
    stability,
)
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.normalization import Survivors
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult

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


def _searched(results: Results, kind: str) -> dict[str, DatasetResult]:
    """Return the datasets of a kind that the search ran on: control samples have other selections."""
    return {name: d for name, d in results.of_kind(kind).items() if gather.SEARCH in d.selections}


def _counted(results: Results, kind: str, survivors: Survivors) -> int:
    return sum(survivors(d.selections[gather.SEARCH]) for d in _searched(results, kind).values())


def _efficiency(results: Results, survivors: Survivors) -> float:
    """Return the efficiency of the signal samples taken together as for the overall limit."""
    return gather.together(results, _searched(results, SIGNAL), survivors).efficiency


def background_scan(inputs: LimitInputs) -> list[dict[str, Any]]:
    """Return the overall limit, observed and expected, against the assumed background."""
    return [limit.to_dict() for limit in stability.against_background(inputs)]


def chi2_scan(results: Results, inputs: LimitInputs, cuts: Cuts) -> list[dict[str, Any]]:
    """Return the overall limit against the chi2 requirement, from the stored planes of chi2 and mass."""

    def below(chi2_4c_max: float) -> Survivors:
        return lambda search: stability.passed_below(search.histograms[PLANE], chi2_4c_max, cuts)

    points = stability.against_chi2(
        inputs,
        efficiency_below=lambda chi2: _efficiency(results, below(chi2)),
        observed_below=lambda chi2: None if inputs.n_obs is None else _counted(results, DATA, below(chi2)),
    )
    return [{"chi2_4c_max": chi2} | limit.to_dict() for chi2, limit in points]


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
    channels = {
        name: _Counts(
            _counted(results, DATA, partial(_n_of_charge, sign)),
            SHARE_PER_CHARGE,
            # Of a signal sample each channel has its share.
            _efficiency(results, partial(_n_of_charge, sign)) / SHARE_PER_CHARGE,
        )
        for name, sign in CONJUGATE.items()
    }
    return _combined(channels, inputs)


def _n_of_charge(sign: int, search: SelectionResult) -> int:
    # A search that selects nothing stores no column.
    return int(np.count_nonzero(search.candidates[CHARGE] == sign)) if CHARGE in search.candidates else 0


def periods(results: Results, inputs: LimitInputs) -> dict[str, Any] | None:
    """Return the limit of the data-taking periods in one likelihood.

    None while events are hidden, or unless every dataset of data and signal names its period and J/psi are counted per
    dataset of data.
    """
    data, signal = (_by_period(results, kind) for kind in (DATA, SIGNAL))
    n_jpsi = {period: sum(d.metadata.n_jpsi or 0.0 for d in found.values()) for period, found in data.items()}
    if len(data) <= 1 or set(data) != set(signal) or None in data or not all(n_jpsi.values()):
        return None
    channels = {
        f"period {period}": _Counts(
            sum(d.selections[gather.SEARCH].n_passed for d in found.values()),
            n_jpsi[period] / sum(n_jpsi.values()),
            gather.together(results, signal[period]).efficiency,
        )
        for period, found in sorted(data.items(), key=lambda item: str(item[0]))
    }
    return _combined(channels, inputs)


def _by_period(results: Results, kind: str) -> dict[int | None, dict[str, DatasetResult]]:
    found: dict[int | None, dict[str, DatasetResult]] = {}
    for name, dataset in _searched(results, kind).items():
        found.setdefault(dataset.metadata.period, {})[name] = dataset
    return found


@dataclass(frozen=True)
class _Counts:
    n_obs: int
    share: float
    efficiency: float


def _combined(counts: Mapping[str, _Counts], inputs: LimitInputs) -> dict[str, Any] | None:
    """Return the limit of channels, of which each has its share of the background.

    The background is one estimate with one set of maps, so that its uncertainty moves all channels together.
    """
    if inputs.n_obs is None or any(c.efficiency == 0.0 for c in counts.values()):
        return None
    channels = [
        combination.Channel(
            n_obs=c.n_obs,
            share=c.share,
            efficiency=c.efficiency,
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
