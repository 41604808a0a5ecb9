"""Corrections of the simulation's tracking and identification: correctionlib JSON, applied to stored candidates.

One correction per species and map, a function of period and charge, momentum and cos(theta) of a track: the ratio of
the efficiency in data to that in simulation. It is a map, of all periods and both charges together, times a factor of
period and charge: the rarest has 1 % of the probes, too few for a map of its own. Its variations are `up` and `down`
by the statistical uncertainty of the control samples, and `systematic_up` and `systematic_down` by half of the
correction, as far as a control sample's background, which differs between data and simulation, may have moved it.

Bins and factors are independent, and the same for all masses: `sources` has what each does to every efficiency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import correctionlib
import hist
import numpy as np
from correctionlib import schemav2

from jpsi_lnv.analysis.arrays import FloatArray, IntArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.datasets import mass_text
from jpsi_lnv.analysis.efficiency import RatioMap, binomial_sigma
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection import control_probes
from jpsi_lnv.analysis.systematics.table import (
    MAPS,
    OVERALL,
    SIGMA_MIN,
    TRACKS,
    Budget,
    Candidates,
    histogram,
    of_selection,
    ratio_map,
    sample_map,
    samples_of,
    track_difference,
)

NOMINAL: Final = "nominal"
VARIATIONS: Final = (NOMINAL, "up", "down", "systematic_up", "systematic_down")
CHARGES: Final = (-1, 1)
UNKNOWN: Final = 1.0  # uncertainty of a factor that no probe measures
KEPT: Final = 0.9999  # share of the covariance that the sources keep
LABELS: Final[Mapping[Species, str]] = {Species.E: "electron", Species.K: "kaon"}


@dataclass(frozen=True)
class Factors:
    """What the probes of one period and charge differ by from those of all.

    Attributes:
        periods: Y years.
        value: (Y, 2) factors on the map, of the charges in `CHARGES`.
        sigma: (Y, 2) standard uncertainty from the counts of data and simulation.
    """

    periods: tuple[int, ...]
    value: FloatArray
    sigma: FloatArray

    def at(self, period: IntArray, charge: IntArray) -> tuple[IntArray, IntArray]:
        """Return the rows and columns of tracks.

        Raises:
            ResultsError: A period has no probes.
        """
        if not np.isin(period, self.periods).all():
            msg = f"periods {sorted(set(period.tolist()))}: the control samples have {list(self.periods)}"
            raise ResultsError(msg)
        return np.searchsorted(self.periods, period), (charge > 0).astype(np.int64)


def factors(results: Results, species: Species, name: str) -> Factors:
    """Return the factors of period and charge of a map, the mean of all its samples.

    Raises:
        ResultsError: A control sample is missing, or was stored without period and charge.
    """
    found = [_sample_factors(results, sample, name) for sample in samples_of(results, species, name)]
    weights = np.stack([1.0 / np.square(np.maximum(f.sigma, SIGMA_MIN)) for f in found])
    value = (weights * np.stack([f.value for f in found])).sum(axis=0) / weights.sum(axis=0)
    return Factors(found[0].periods, value, 1.0 / np.sqrt(weights.sum(axis=0)))


def _sample_factors(results: Results, selection: str, name: str) -> Factors:
    """Return per period and charge data over simulation, over the mean of the map for the same probes.

    Where one of them has no probe that passes, the factor is 1, known as badly as a whole map can be wrong.
    """
    data, simulation = (
        np.stack([_by_category(histogram(s, selection, name), selection) for s in side]).sum(axis=0)
        for side in of_selection(results, selection)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = data.sum(axis=-1) / data.sum(axis=(2, 3, 4))[..., None, None]
        of_map = (share * sample_map(results, selection, name).value).sum(axis=(2, 3))
        passed = [h[..., 1].sum(axis=(2, 3)) for h in (data, simulation)]
        total = [h.sum(axis=(2, 3, 4)) for h in (data, simulation)]
        efficiency = [k / n for k, n in zip(passed, total, strict=True)]
        errors = [binomial_sigma(k, n) * n / k for k, n in zip(passed, total, strict=True)]
        value, relative = efficiency[0] / efficiency[1] / of_map, np.hypot(*errors)
    is_known = np.isfinite(value) & np.isfinite(relative) & (value > 0.0)
    return Factors(control_probes.YEARS, np.where(is_known, value, 1.0), np.where(is_known, value * relative, UNKNOWN))


def _by_category(of: hist.Hist, where: str) -> FloatArray:
    """Return counts (Y, 2, P, C, 2) of a stored histogram."""
    wanted = ("period", "charge", "p", "cos_theta", "passed")
    if (names := tuple(axis.name for axis in of.axes)) != wanted:
        msg = f"{where}: a map with the axes {names} is of another version; wanted {wanted}; run `lnv run` again"
        raise ResultsError(msg)
    return np.asarray(of.values(), dtype=np.float64)


def derive(results: Results) -> schemav2.CorrectionSet:
    """Return the corrections that the control samples of a result give.

    Raises:
        ResultsError: A control sample is missing or empty.
    """
    corrections = [
        _correction(
            f"{name}_{LABELS[species]}",
            ratio_map(results, species, name),
            factors(results, species, name),
            samples_of(results, species, name),
        )
        for name in MAPS
        for species in TRACKS
    ]
    origin = ", ".join(f"{name} {value}" for name, value in results.identity.items())
    return schemav2.CorrectionSet(schema_version=2, description=f"made from: {origin}", corrections=corrections)


def varied(ratios: RatioMap, of: Factors, variation: str) -> FloatArray:
    """Return the values of a correction under a variation, shape (Y, 2, P, C)."""
    factor, factor_sigma = of.value[..., None, None], of.sigma[..., None, None]
    value = factor * ratios.value
    sigma, half = np.hypot(factor * ratios.sigma, factor_sigma * ratios.value), 0.5 * (value - 1.0)
    shifts = {NOMINAL: 0.0 * half, "up": sigma, "down": -sigma, "systematic_up": half, "systematic_down": -half}
    return np.asarray(value + shifts[variation])


def _correction(name: str, ratios: RatioMap, of: Factors, samples: Sequence[str]) -> schemav2.Correction:
    content = [
        schemav2.CategoryItem(key=v, value=_by_period(ratios, of.periods, varied(ratios, of, v))) for v in VARIATIONS
    ]
    return schemav2.Correction(
        name=name,
        description=f"efficiency in data over simulation from {', '.join(samples)}",
        version=2,
        inputs=[
            schemav2.Variable(name="variation", type="string"),
            schemav2.Variable(name="period", type="int", description="2009, 2012 or 2018 (2017-19)"),
            schemav2.Variable(name="charge", type="int"),
            schemav2.Variable(name="p", type="real", description="momentum in GeV/c"),
            schemav2.Variable(name="cos_theta", type="real"),
        ],
        output=schemav2.Variable(name="ratio", type="real"),
        data=schemav2.Category(nodetype="category", input="variation", content=content),
    )


def _by_period(ratios: RatioMap, periods: Sequence[int], values: FloatArray) -> schemav2.Category:
    def by_charge(rows: FloatArray) -> schemav2.Category:
        items = [schemav2.CategoryItem(key=q, value=_bins(ratios, row)) for q, row in zip(CHARGES, rows, strict=True)]
        return schemav2.Category(nodetype="category", input="charge", content=items)

    items = [schemav2.CategoryItem(key=y, value=by_charge(rows)) for y, rows in zip(periods, values, strict=True)]
    return schemav2.Category(nodetype="category", input="period", content=items)


def _bins(ratios: RatioMap, values: FloatArray) -> schemav2.MultiBinning:
    return schemav2.MultiBinning(
        nodetype="multibinning",
        inputs=["p", "cos_theta"],
        edges=[ratios.p_edges.tolist(), ratios.cos_theta_edges.tolist()],
        content=[*map(float, values.ravel())],
        flow="clamp",
    )


def write(corrections: schemav2.CorrectionSet, path: Path) -> Path:
    """Write corrections as JSON and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(corrections.model_dump_json(exclude_unset=True, indent=1), encoding="utf-8")
    return path


def read(path: Path) -> correctionlib.CorrectionSet:
    """Return corrections ready to evaluate.

    Raises:
        ResultsError: The file is missing, is not JSON of correctionlib, or lacks a correction.
    """
    try:
        found = correctionlib.CorrectionSet.from_file(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"{path}: no corrections ({type(error).__name__}: {error}); make them with `lnv systematics`"
        raise ResultsError(msg) from error
    wanted = {f"{name}_{label}" for name in MAPS for label in LABELS.values()}
    if missing := sorted(wanted - set(found)):
        msg = f"{path}: lacks the corrections {missing}; got {sorted(found)}"
        raise ResultsError(msg)
    return found


def ready(corrections: schemav2.CorrectionSet) -> correctionlib.CorrectionSet:
    """Return corrections of this process ready to evaluate."""
    return correctionlib.CorrectionSet.from_string(corrections.model_dump_json(exclude_unset=True))


def weights(corrections: Any, candidates: Candidates, variation: str = NOMINAL, vary: str | None = None) -> FloatArray:
    """Return the weight of each candidate: the product of both corrections over its four tracks, shape (N,).

    Args:
        corrections: What `read` or `ready` returned.
        candidates: Columns period, charge (of the kaons), p_<track> in GeV/c and cos_theta_<track>.
        variation: One of `VARIATIONS`.
        vary: Name of the only correction to vary; None: all.

    Raises:
        ResultsError: The variation is unknown or a momentum is not finite, which correctionlib would clamp silently.
    """
    if variation not in VARIATIONS:
        msg = f"variation is {variation!r}; wanted one of {VARIATIONS}"
        raise ResultsError(msg)
    product = np.ones(len(candidates["p_k1"]))
    period = np.asarray(candidates["period"]).astype(np.int64)
    for species, names in TRACKS.items():
        charge = charge_of(candidates, species)
        for track in names:
            p, cos_theta = (np.asarray(candidates[f"{c}_{track}"], dtype=np.float64) for c in ("p", "cos_theta"))
            if not (np.isfinite(p).all() and np.isfinite(cos_theta).all()):
                msg = f"candidates with a momentum of track {track} that is not finite; the result is damaged"
                raise ResultsError(msg)
            for name in (f"{m}_{LABELS[species]}" for m in MAPS):
                chosen = variation if vary in (None, name) else NOMINAL
                product *= corrections[name].evaluate(chosen, period, charge, p, cos_theta)
    return product


def charge_of(candidates: Candidates, species: Species) -> IntArray:
    """Return the charge of the kaons or of the electrons of each candidate, (N,)."""
    charge = np.asarray(candidates["charge"]).astype(np.int64)
    return charge if species is Species.K else -charge


def sources(results: Results, channels: Mapping[str, Candidates]) -> dict[str, dict[str, float]]:
    """Return independent sources of the maps' statistical uncertainty, and what each does to every efficiency.

    Bins and factors of a map are independent of each other and the same for all channels, so the covariance of the
    efficiencies is a sum over them. It is given by as few sources as keep `KEPT` of it: the relative covariance of two
    channels is the sum over the sources of the products of their numbers.

    Args:
        results: The result with the control samples.
        channels: Name -> selected candidates.

    Returns:
        Name of the source -> channel -> relative change of the efficiency by one standard deviation.
    """
    found: dict[str, dict[str, float]] = {}
    for name in MAPS:
        for species in TRACKS:
            ratios, of = ratio_map(results, species, name), factors(results, species, name)
            shifts = np.stack([_shifts(ratios, of, species, table) for table in channels.values()])
            found |= _leading(f"{name}_{LABELS[species]}", shifts, tuple(channels))
    return found


def _shifts(ratios: RatioMap, of: Factors, species: Species, candidates: Candidates) -> FloatArray:
    """Return the change of an efficiency by one standard deviation of each bin and of each factor.

    It is relative to the uncorrected efficiency, which the limit takes: in a bin where nothing passes in the data the
    ratio is 0, and no change is relative to that.
    """
    n = len(candidates["p_k1"])
    bins, categories = np.zeros(ratios.value.shape), np.zeros(of.value.shape)
    at = of.at(np.asarray(candidates["period"]).astype(np.int64), charge_of(candidates, species))
    for track in TRACKS[species]:
        place = ratios.bins(candidates[f"p_{track}"], candidates[f"cos_theta_{track}"])
        np.add.at(bins, place, ratios.sigma[place] / n)
        np.add.at(categories, at, of.sigma[at] / n)
    return np.concatenate([bins.ravel(), categories.ravel()])


def _leading(name: str, shifts: FloatArray, channels: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return the leading components of shifts (channels, sources), the largest first."""
    left, size, _ = np.linalg.svd(shifts, full_matrices=False)
    squares = np.cumsum(np.square(size))
    n = int(np.searchsorted(squares, KEPT * squares[-1])) + 1
    return {f"{name}_{i + 1}": dict(zip(channels, map(float, left[:, i] * size[i]), strict=True)) for i in range(n)}


def at_least(budget: Budget, maps: Mapping[str, Mapping[str, float]]) -> Budget:
    """Return a table whose rows of tracks are no smaller than what the maps themselves are known to.

    The rows average over bins; what period and charge add is in the sources only.
    """
    channel = channel_of(budget)
    rows = (replace(r, value=max(r.value, _of_maps(r.source, maps, channel))) for r in budget.rows)
    return replace(budget, rows=tuple(rows))


def named_sources(
    budgets: Sequence[Budget], maps: Mapping[str, Mapping[str, float]], channels: Mapping[str, Candidates]
) -> dict[str, dict[str, float]]:
    """Return all uncertainties of the efficiencies by name: what has one name moves all channels together.

    The maps' sources are among them, and a row of tracks is what it has beyond those. Statistics of a sample are its
    own. The squares of a channel add up to that of its table's total; parts of the overall search, such as periods,
    have its rows, with the maps' sources and statistics of their own.

    Args:
        budgets: Tables of the overall search and of the masses, after `at_least`.
        maps: What `sources` returned for the channels.
        channels: What `table.channels` returned.

    Returns:
        Name of the source -> channel -> relative change of the efficiency by one standard deviation.
    """
    rows = {channel_of(budget): budget.rows for budget in budgets}
    found = {name: dict(changes) for name, changes in maps.items()}
    for channel, selected in channels.items():
        whole = channel if channel in rows else OVERALL
        for row in rows[whole]:
            name, value = row.source, math.sqrt(max(row.value**2 - _of_maps(row.source, maps, whole) ** 2, 0.0))
            if row.source == "mc_statistics":
                name, value = f"{name} {channel}", value * _more_scatter(selected, channels[whole])
            elif row.source == "mc_modelling" and whole != OVERALL:
                name = f"{name} nu nu"
            if value:
                found.setdefault(name, {})[channel] = value
    return found


def channel_of(budget: Budget) -> str:
    """Return the name of the channel that a table is of."""
    return OVERALL if budget.m_majorana is None else mass_text(budget.m_majorana)


def _of_maps(row: str, maps: Mapping[str, Mapping[str, float]], channel: str) -> float:
    """Return what the sources of a row's maps make of an efficiency, zero for other rows."""
    labels = tuple(f"{row}_{label}_" for label in LABELS.values())
    return math.hypot(*(changes[channel] for name, changes in maps.items() if name.startswith(labels)))


def _more_scatter(part: Candidates, whole: Candidates) -> float:
    """Return the relative statistical uncertainty of a part over that of the whole."""
    return math.sqrt(len(whole["charge"]) / len(part["charge"]))


def corrected_efficiency(results: Results, candidates: Candidates, n_produced: int) -> dict[str, float]:
    """Return the efficiency corrected to data, with its relative uncertainties, as fractions.

    The statistical one takes the bins of the maps as independent, the systematic one varies one correction at a time;
    either adds up in quadrature.

    Args:
        results: The result with the control samples.
        candidates: Selected signal candidates.
        n_produced: Signal events generated.

    Raises:
        ResultsError: Nothing was produced, no candidate passed, or a control sample is missing.
    """
    n_passed = len(candidates["p_k1"])
    if n_produced <= 0 or n_passed == 0:
        msg = f"{n_passed} candidates of {n_produced} produced events: no efficiency to correct"
        raise ResultsError(msg)
    corrections = ready(derive(results))
    nominal = weights(corrections, candidates).sum()
    changes = [weights(corrections, candidates, "systematic_up", name).sum() / nominal - 1 for name in corrections]
    per_track = [
        len(tracks) * track_difference(results, name, species, candidates).sigma
        for species, tracks in TRACKS.items()
        for name in MAPS
    ]
    return {
        "uncorrected": n_passed / n_produced,
        "corrected": float(nominal / n_produced),
        "statistical": math.hypot(*per_track),
        "systematic": math.hypot(*changes),
    }
