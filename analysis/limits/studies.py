"""What a referee asks beside the limit: other backgrounds, other chi2 cuts, p-values, the channels apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import hist
import numpy as np

from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import DATA, SIGNAL
from jpsi_lnv.analysis.limits import combination, gather, sensitivity
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.methods import RECOMMENDED, Limit, upper_limit
from jpsi_lnv.analysis.normalization import Survivors
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection.search import plane
from jpsi_lnv.analysis.systematics import table

CHARGE: Final = "charge"
# Half of the signal is produced in each of the two conjugate channels.
SHARE_PER_CHARGE: Final = 0.5
RULE_DIFFERS: Final = (
    "fewer events than background: the combination refers to the best fit of a signal >= 0, a single channel to the "
    "unbounded one, so that equal parts do not give the limit of the whole"
)
CHI2_CUTS: Final = (10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 100.0)
BACKGROUNDS: Final = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def _searched(results: Results, kind: str) -> dict[str, DatasetResult]:
    """Return the datasets of a kind that the search ran on: control samples have other selections."""
    return {name: d for name, d in results.of_kind(kind).items() if gather.SEARCH in d.selections}


def _counted(results: Results, kind: str, survivors: Survivors) -> int:
    return sum(survivors(d.selections[gather.SEARCH]) for d in _searched(results, kind).values())


def _efficiency(results: Results, survivors: Survivors) -> float:
    """Return the efficiency of the signal samples taken together as for the overall limit."""
    return gather.together(results, _searched(results, SIGNAL), survivors).efficiency


def ranking(whole: Limit, sources: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a limit as it would be without each source of uncertainty, the source that moves it most first.

    Args:
        whole: The limit.
        sources: Parts of its relative systematic uncertainty, which add up in quadrature: title -> fraction.

    Returns:
        Rows with the ``source``, its ``value`` (None for the background), ``n_up`` without it, which is the expected
        limit while events are hidden, and its ``effect``: by which fraction the limit is larger with it.
    """

    def without(changed: LimitInputs) -> float | None:
        return _shown_yield(upper_limit(changed, method=whole.method, confidence_level=whole.confidence_level))

    inputs = whole.inputs
    exact = dataclasses.replace(inputs, n_bkg_sigma=0.0, side_bands=())
    cases: list[tuple[str, float | None, LimitInputs]] = [
        (title, value, dataclasses.replace(inputs, delta_sys=math.sqrt(max(inputs.delta_sys**2 - value**2, 0.0))))
        for title, value in sources.items()
    ]
    cases.append(("expected background", None, exact))
    cases.append(("all of them", None, dataclasses.replace(exact, delta_sys=0.0)))
    n_up = _shown_yield(whole)
    rows = []
    for title, value, changed in cases:
        left_out = without(changed)
        effect = None if n_up is None or left_out is None else n_up / left_out - 1.0
        rows.append({"source": title, "value": value, "n_up": left_out, "effect": effect})
    return sorted(rows, key=lambda row: -abs(row["effect"] or 0.0))


def _shown_yield(limit: Limit) -> float | None:
    """Return the limit on the yield or, while events are hidden, the median expected one; None if there is none."""
    n_up = limit.expected.median if limit.n_up is None else limit.n_up
    return n_up if math.isfinite(n_up) else None


def background_scan(inputs: LimitInputs) -> list[dict[str, Any]]:
    """Return the overall limit, observed and expected, against the assumed background."""
    return [_with_other(limit) for limit in against_background(inputs)]


def _with_other(limit: Limit) -> dict[str, Any]:
    """Return the record of a limit by the publication's method with the recommended one beside it."""
    other = upper_limit(limit.inputs, method=RECOMMENDED, confidence_level=limit.confidence_level)
    return limit.to_dict() | {"other_ul": other.branching_fraction_ul, "other_expected_n_up": other.expected.median}


def chi2_scan(results: Results, inputs: LimitInputs, cuts: Cuts) -> list[dict[str, Any]]:
    """Return the overall limit against the chi2 requirement, from the stored planes of chi2 and mass."""
    name = plane(cuts.channel)

    def below(chi2_4c_max: float) -> Survivors:
        return lambda search: passed_below(search.histograms[name], chi2_4c_max, cuts)

    points = against_chi2(
        inputs,
        efficiency_below=lambda chi2: _efficiency(results, below(chi2)),
        observed_below=lambda chi2: None if inputs.n_obs is None else _counted(results, DATA, below(chi2)),
    )
    return [{"chi2_4c_max": chi2} | _with_other(limit) for chi2, limit in points]


def p_values(scan: Sequence[LimitInputs]) -> list[dict[str, Any]]:
    """Return local and global p-values against the assumed background; none while events are hidden."""
    counted = [i.n_obs for i in scan if i.n_obs is not None]
    if not counted or len(counted) < len(scan):
        return []
    found = sensitivity.scan(counted, BACKGROUNDS)
    return [dataclasses.asdict(s) | {"m_majorana": scan[s.index].m_majorana} for s in found]


def overall_p(inputs: LimitInputs) -> float | None:
    """Return P(>= n_obs) of the overall search from its background; None while hidden or without any background."""
    return None if inputs.n_obs is None else sensitivity.local_p(inputs.n_obs, inputs.background)


def conjugate_channels(results: Results, inputs: LimitInputs, choices: gather.Choices) -> dict[str, Any] | None:
    """Return the limit of the two conjugate channels in one likelihood; None while events are hidden.

    The channels' efficiencies are counted apart; sources of uncertainty that both have move them together.
    """
    channels = {
        name: _Counts(
            _counted(results, DATA, partial(_n_of_charge, sign)),
            SHARE_PER_CHARGE,
            # Of a signal sample each channel has its share.
            _efficiency(results, partial(_n_of_charge, sign)) / SHARE_PER_CHARGE,
        )
        for name, sign in results.channel.conjugates.items()
    }
    return _combined(channels, inputs, choices)


def _n_of_charge(sign: int, search: SelectionResult) -> int:
    # A search that selects nothing stores no column.
    return int(np.count_nonzero(search.candidates[CHARGE] == sign)) if CHARGE in search.candidates else 0


def periods(results: Results, inputs: LimitInputs, choices: gather.Choices) -> dict[str, Any] | None:
    """Return the limit of the data-taking periods in one likelihood.

    None while events are hidden, or unless every dataset of data and signal names its period and J/psi are counted per
    dataset of data.
    """
    data, signal = (_by_period(results, kind) for kind in (DATA, SIGNAL))
    n_jpsi = {period: sum(d.metadata.n_jpsi or 0.0 for d in found.values()) for period, found in data.items()}
    if len(data) <= 1 or set(data) != set(signal) or None in data or not all(n_jpsi.values()):
        return None
    channels = {
        table.period_name(period): _Counts(
            sum(d.selections[gather.SEARCH].n_passed for d in found.values()),
            n_jpsi[period] / sum(n_jpsi.values()),
            gather.together(results, signal[period]).efficiency,
        )
        for period, found in sorted(data.items(), key=lambda item: str(item[0]))
    }
    return _combined(channels, inputs, choices)


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


def _combined(counts: Mapping[str, _Counts], inputs: LimitInputs, choices: gather.Choices) -> dict[str, Any] | None:
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
            sources=choices.sources_of(name, inputs.delta_sys),
            background=c.share * inputs.n_bkg,
            background_sigma_common=c.share * inputs.n_bkg_sigma,
        )
        for name, c in counts.items()
    ]
    named = [{"name": name} | dataclasses.asdict(c) for name, c in zip(counts, channels, strict=True)]
    n_up = combination.upper_limit(channels)
    cautions = [RULE_DIFFERS] if combination.differs(channels) else []
    return {"channels": named, "n_up": n_up, "cautions": cautions}


def passed_below(counts: hist.Hist, chi2_4c_max: float, cuts: Cuts) -> int:
    """Return the events of a stored histogram of chi2_4c and mass below a chi2 and inside the signal region.

    Raises:
        ValueError: A requirement is no edge of the histogram.
    """
    chi2, mass = counts.axes["chi2_4c"].edges, counts.axes[cuts.channel.mass].edges
    rows = slice(0, _edge("chi2_4c_max", chi2, chi2_4c_max))
    columns = slice(_edge("m_signal_min", mass, cuts.m_signal_min), _edge("m_signal_max", mass, cuts.m_signal_max))
    return int(counts.project("chi2_4c", cuts.channel.mass).values()[rows, columns].sum())


def _edge(name: str, edges: np.ndarray, value: float) -> int:
    index = int(np.argmin(np.abs(edges - value)))
    if not np.isclose(edges[index], value, rtol=0.0, atol=1e-9):
        msg = f"{name}={value!r}: wanted an edge of the stored histogram, as {edges[index]:g}"
        raise ValueError(msg)
    return index


def against_chi2(
    inputs: LimitInputs,
    *,
    efficiency_below: Callable[[float], float],
    observed_below: Callable[[float], int | None],
    chi2_cuts: Sequence[float] = CHI2_CUTS,
) -> tuple[tuple[float, Limit], ...]:
    """Return (chi2 cut, limit): efficiency and observed events follow the cut, all else stays.

    A cut that no signal event passes has no limit and is left out.

    Args:
        inputs: The inputs at the nominal cut.
        efficiency_below: Cut -> efficiency of the signal.
        observed_below: Cut -> events in the data; None where they are hidden.
        chi2_cuts: Cuts to try.
    """
    efficiencies = [(chi2, efficiency_below(chi2)) for chi2 in chi2_cuts]
    return tuple(
        (chi2, upper_limit(dataclasses.replace(inputs, efficiency=efficiency, n_obs=observed_below(chi2))))
        for chi2, efficiency in efficiencies
        if efficiency > 0.0
    )


def against_background(
    inputs: LimitInputs, *, backgrounds: Sequence[float] = BACKGROUNDS, method: str = "rolke"
) -> tuple[Limit, ...]:
    """Return the limit, observed and expected, for each assumed background (events, taken as known)."""
    return tuple(
        upper_limit(dataclasses.replace(inputs, n_bkg=background, n_bkg_sigma=0.0, side_bands=()), method=method)
        for background in backgrounds
    )
