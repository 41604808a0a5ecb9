"""The expected background in the signal region, from a merged accumulator: counts, scales and common factors.

A process is a count m that stands for m/tau events of the data, times factors that processes share. Exclusive decays
are counted without identification and weighted with the rates of misidentification (`analysis.misid_rates`); events off
the resonance and inclusive events that survive the search are side bands. The limit takes these numbers. The quoted
estimate adds what a count can hide: m events leave Gamma(m + 1/2) possible (Jeffreys), and a process of which no
candidate was found has the largest weight that one could have had. All factors are varied together.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, partial, reduce
from pathlib import Path
from typing import Any, Final

import hist
import numpy as np
from scipy import stats

from jpsi_lnv.analysis import majorana, misid_rates, normalization
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.datasets import BACKGROUND, CONTROL, MISID, MISID_FAILED, SEARCH
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.misid_rates import Rates
from jpsi_lnv.analysis.normalization import Count, all_passed
from jpsi_lnv.analysis.results import DatasetResult, Results
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTROLS

Candidates = Mapping[str, AnyArray]

EXCLUSIVE: Final = "exclusive"
# What is known as numbers only, with what is expected of it.
NOT_MADE: Final = (
    "e+ e- -> e+ e- K+ K- by two photons (230 events in the acceptance, two misidentifications: 2e-4 events)",
    "e+ e- -> e+ e- pi+ pi-, e+ e- mu+ mu- by two photons (three or four misidentifications)",
    "J/psi -> phi e+ e- (B < 1.2e-7: < 5e-4 events)",
    "KS -> pi e nu in J/psi -> KS K pi (a neutrino is lost: < 1e-3 events)",
)
# Draws of the quoted estimate, and their seed: its bounds are known to a per cent.
N_DRAWS: Final = 40_000
SEED: Final = 20250706
# Fewer events than this make no difference to any limit: no digits are quoted.
NEGLIGIBLE: Final = 1e-4
CENTRE: Final = 0.5
CENTRAL_68: Final = (0.16, 0.84)
UPPER_90: Final = 0.90


@dataclass(frozen=True)
class Process:
    """One source of background in one channel.

    Attributes:
        name: The decay or reaction.
        kind: `EXCLUSIVE`, or the kind of dataset that is a side band.
        m: Counted events; of weighted candidates the equivalent number (sum w)²/sum w².
        tau: Counted events that one event of the data stands for: m/tau are expected. Without a candidate 1/tau is the
            largest weight that one could have had.
        factors: Name of a common factor -> width of its logarithm; the expectation is multiplied by exp(width z) with
            one standard normal z per name, whatever the process.
        needs: Name -> how often a candidate needs this misidentification, averaged by weight.
        n_kinematic: Candidates without identification in the channel.
        n_direct: Simulated events that pass the whole search.
        weight: Data events that one simulated event stands for.
    """

    name: str
    kind: str
    m: float
    tau: float
    factors: dict[str, float] = field(default_factory=dict)
    needs: dict[str, float] = field(default_factory=dict)
    n_kinematic: int = 0
    n_direct: int = 0
    weight: float = 0.0

    @property
    def expected(self) -> float:
        """m/tau events."""
        return self.m / self.tau


@dataclass(frozen=True)
class Quoted:
    """The estimate as it is quoted, in events.

    Attributes:
        centre: Median.
        low: Lower end of the central 68 %.
        high: Its upper end.
        upper_90: Upper bound at 90 %.
        p_any: Probability of at least one background event.
        leading: The process with the largest mean.
    """

    centre: float
    low: float
    high: float
    upper_90: float
    p_any: float
    leading: str

    def __str__(self) -> str:
        """Return the estimate in words, such as ``0.1 (< 0.4 at 90 %)``."""
        if self.upper_90 < NEGLIGIBLE:
            return f"below {NEGLIGIBLE:g} at 90 %"
        return f"{_short(self.centre)} (< {_short(self.upper_90)} at 90 %)"


def _short(events: float) -> str:
    """Return a number with one significant digit and no power of ten; 0 for what is negligible."""
    return "0" if events < NEGLIGIBLE else f"{float(f'{events:.1g}'):.15g}"


@dataclass(frozen=True)
class Channel:
    """The background of the overall search or at one mass.

    Attributes:
        m_majorana: Mass in GeV/c^2; None for the overall search.
        processes: What it is made of.
        hidden: Side bands that may not be looked at.
    """

    m_majorana: float | None
    processes: tuple[Process, ...]
    hidden: tuple[str, ...] = ()

    def quoted(self, scale: float = 1.0) -> Quoted:
        """Return the quoted estimate for `scale` times the data."""
        return quote(self.processes, scale)


@dataclass(frozen=True)
class Sample:
    """The candidates without identification of one process.

    Attributes:
        name: The process.
        candidates: Columns of all its datasets.
        expected: (N,) events of the data that each candidate stands for.
        largest: Largest number that one more candidate could stand for.
        largest_needs: Name of a rate -> how often that one would need it.
        n_direct: Simulated events that pass the whole search.
        weight: Largest number of data events that a simulated event stands for.
        kappa: Width of the logarithm of its branching fraction.
        failing: Columns of the candidates that fail one step only; empty where none are stored.
        failing_expected: (M,) events of the data that each of them would stand for.
    """

    name: str
    candidates: Candidates
    expected: FloatArray
    largest: float
    largest_needs: dict[str, float]
    n_direct: int
    weight: float
    kappa: float
    failing: Candidates = field(default_factory=dict)
    failing_expected: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Background:
    """The background of every channel.

    Attributes:
        n_jpsi: Number of J/psi that it is normalised to.
        channels: The overall search, then each mass in increasing order.
        rates: The rates of misidentification.
        not_simulated: Processes that could contribute and are not in the result.
        samples: The exclusive processes.
    """

    n_jpsi: float
    channels: tuple[Channel, ...]
    rates: Rates
    not_simulated: tuple[str, ...]
    samples: tuple[Sample, ...]


def in_signal_region(
    cuts: Cuts, m_majorana: float | None = None, pairing: str = majorana.BOTH
) -> Callable[[Candidates], BoolArray]:
    """Return the function that says which candidates pass chi2 and signal region, and lie at a mass if one is given."""

    def passes(table: Candidates) -> BoolArray:
        mass = table[cuts.channel.mass]
        inside = (mass >= cuts.m_signal_min) & (mass <= cuts.m_signal_max) & (table["chi2_4c"] < cuts.chi2_4c_max)
        if m_majorana is not None:
            inside &= majorana.belongs(table, m_majorana, pairing)
        return np.asarray(inside)

    return passes


def estimate(
    results: Results, n_jpsi: float | None = None, given: Path | None = None, pairing: str = majorana.BOTH
) -> Background:
    """Return the background of the overall search and at each simulated Majorana mass.

    Args:
        results: A merged accumulator.
        n_jpsi: Number of J/psi; None: that of the data.
        given: Table of rates that replace simulated ones (`misid_rates.with_given`).
        pairing: How candidates belong to a mass, one of `majorana.PAIRINGS`.

    Raises:
        ResultsError: No background dataset ran with the selection "misid", or one lacks what its weight needs.
    """
    number = normalization.n_jpsi(results, n_jpsi).value
    samples, rates = weighted(results, number, given)
    masses = (None, *(mass / 1000 for mass in majorana.by_mass(results)))
    channels = tuple(_channel(results, samples, rates, number, mass, pairing) for mass in masses)
    found = {sample.name for sample in samples} | {d.metadata.part_of for d in exclusive(results).values()}
    lacking = tuple(name for name in considered() if name not in found)
    return Background(number, channels, rates, lacking, tuple(samples))


def weighted(results: Results, number: float, given: Path | None = None) -> tuple[list[Sample], Rates]:
    """Return the exclusive processes with the weights of their candidates, and the rates in these weights."""
    datasets = exclusive(results)
    rates = misid_rates.counted([d.selections[MISID].histograms["roles"] for d in results.ran(MISID).values()])
    rates = misid_rates.with_probes(rates, results)
    if given is not None:
        rates = misid_rates.with_given(rates, given)
    weights = normalization.exclusive_weights(datasets, number, normalization.n_jpsi_by_period(results))
    return [_sample(name, of, weights, rates) for name, of in normalization.by_process(datasets).items()], rates


def exclusive(results: Results) -> dict[str, DatasetResult]:
    """Return the J/psi background datasets that ran with the selection "misid", but for those that others cover."""
    ran = results.ran(MISID, BACKGROUND, CONTROL)
    covered = {d.metadata.part_of for d in ran.values()} - {None}
    # In one order whatever the fileset's: sums of floats depend on it in their last bits.
    found = {name: d for name, d in sorted(ran.items()) if d.metadata.process not in covered}
    if not found:
        msg = (
            f"no dataset of kind 'background' with the selection {MISID!r} among {sorted(results.datasets)}: "
            "add it to their metadata, or give the background with --background N"
        )
        raise ResultsError(msg)
    return found


def _sample(process: str, datasets: Mapping[str, DatasetResult], weights: Mapping[str, float], rates: Rates) -> Sample:
    candidates, expected = _together(datasets, weights, rates, MISID)
    failing, of_failing = _together(datasets, weights, rates, MISID_FAILED)
    possible = [_largest(d, weights[name], rates) for name, d in datasets.items()]
    return Sample(
        name=process or next(iter(datasets)),
        candidates=candidates,
        expected=expected,
        largest=max(float(expected.max(initial=0.0)), *(value for value, _ in possible)),
        largest_needs=max(possible, key=lambda p: p[0])[1],
        n_direct=sum(d.selections[SEARCH].n_passed for d in datasets.values() if SEARCH in d.selections),
        weight=max(weights[name] for name in datasets),
        kappa=max(_branching_width(d) for d in datasets.values()),
        failing=failing,
        failing_expected=of_failing,
    )


def _together(
    datasets: Mapping[str, DatasetResult], weights: Mapping[str, float], rates: Rates, selection: str
) -> tuple[Candidates, FloatArray]:
    """Return the candidates that a selection stored in all datasets of a process, and the events each stands for."""
    tables = {name: d.selections[selection].candidates for name, d in datasets.items() if selection in d.selections}
    if not tables:
        return {}, np.zeros(0)
    columns = {c: np.concatenate([t[c] for t in tables.values()]) for c in next(iter(tables.values()))}
    return columns, np.concatenate([weights[name] * rates.of_candidates(table) for name, table in tables.items()])


def _branching_width(dataset: DatasetResult) -> float:
    """Return the width of the logarithm of a branching fraction: one known to 100 % is known to a factor two."""
    of = dataset.metadata
    return math.log1p((of.branching_fraction_sigma or 0.0) / (of.branching_fraction or math.inf))


def _largest(dataset: DatasetResult, weight: float, rates: Rates) -> tuple[float, dict[str, float]]:
    """Return the largest number of events that a candidate could stand for, and what it would need.

    Its tracks have the momenta at which the sample's are most often taken for others. The species are those of all
    combinations of tracks in the sample, as often as they occur, since without a candidate nobody knows which of
    them kinematics would let pass; where there is no combination, any species that were seen.
    """
    found = dataset.selections[MISID].histograms
    seen, names = np.asarray(found["combinations"].values()), found["combinations"].axes.name
    tracks = np.asarray(found["tracks"].values() if seen.any() else found["roles"].values().sum(axis=(0, -1)))
    if not tracks.any():
        return weight, {}
    if not seen.any():
        species = tracks.any(axis=(1, 2)).astype(np.int64)
        seen = np.asarray(reduce(np.multiply.outer, [species] * len(names)))
    largest, combinations = rates.largest(tracks), np.argwhere(seen)
    of_tracks = [largest[combinations[:, i], rates.role_index(track)] for i, track in enumerate(names)]
    product = seen[tuple(combinations.T)] / seen.sum() * np.prod(of_tracks, axis=0)
    needs = misid_rates.needs({track: combinations[:, i] for i, track in enumerate(names)})
    return weight * float(product.sum()), {name: float(n @ product / product.sum()) for name, n in needs.items()}


def _channel(
    results: Results, samples: Sequence[Sample], rates: Rates, number: float, mass: float | None, pairing: str
) -> Channel:
    passes = in_signal_region(results.cuts, mass, pairing)
    survivors = all_passed if mass is None else partial(majorana.survivors, mass, pairing=pairing)
    bands = normalization.side_bands(results, number, survivors)
    processes = [_process(sample, passes(sample.candidates), rates) for sample in samples]
    processes += [Process(kind, kind, b.n, b.tau, n_direct=b.n) for kind, b in bands.items() if b.n is not None]
    return Channel(mass, tuple(processes), tuple(kind for kind, band in bands.items() if band.n is None))


def _process(sample: Sample, is_inside: BoolArray, rates: Rates) -> Process:
    """Return a sample as counts and a scale, whose quotient is what is expected of the candidates inside."""
    inside = sample.expected[is_inside]
    total, squares = float(inside.sum()), float(np.square(inside).sum())
    needs = sample.largest_needs
    if len(inside):
        names = misid_rates.tracks_of(sample.candidates)
        species = {track: np.asarray(sample.candidates[f"species_{track}"])[is_inside] for track in names}
        needs = {name: float(n @ inside) / total for name, n in misid_rates.needs(species).items()}
    own = {f"branching fraction of {sample.name}": sample.kappa} if sample.kappa else {}
    return Process(
        name=sample.name,
        kind=EXCLUSIVE,
        m=total**2 / squares if len(inside) else 0.0,
        tau=total / squares if len(inside) else 1.0 / sample.largest,
        factors={name: n * rates.factors[name].kappa for name, n in needs.items()} | own,
        needs=needs,
        n_kinematic=len(inside),
        n_direct=sample.n_direct,
        weight=sample.weight,
    )


def quote(processes: Sequence[Process], scale: float = 1.0) -> Quoted:
    """Return what is quoted of processes together, for `scale` times the data.

    Of an exclusive process Gamma(m + 1/2)/tau is drawn, of a side band Gamma(m)/tau: an empty one says nothing of which
    decay could be there, and is quoted by its own bound. Every name has random numbers of its own, so that a factor is
    the same for all processes and channels.
    """
    drawn = {process.name: scale * _draws(process) for process in processes}
    total = np.sum([*drawn.values(), np.zeros(N_DRAWS)], axis=0)
    centre, low, high, upper = np.quantile(total, [CENTRE, *CENTRAL_68, UPPER_90])
    shares = {name: float(np.mean(draws / np.maximum(total, np.finfo(float).tiny))) for name, draws in drawn.items()}
    leading = max(shares, key=lambda name: shares[name], default="")
    p_any = float(np.mean(-np.expm1(-total)))
    return Quoted(float(centre), float(low), float(high), float(upper), p_any, leading)


def _draws(process: Process) -> FloatArray:
    """Return (N_DRAWS,) numbers of events that a process may have."""
    shape = process.m + (0.5 if process.kind == EXCLUSIVE else 0.0)
    if shape == 0.0:
        return np.zeros(N_DRAWS)
    logarithm = np.sum([np.zeros(N_DRAWS), *(k * _normal(name) for name, k in process.factors.items())], axis=0)
    return _random(process.name).standard_gamma(shape, N_DRAWS) / process.tau * np.exp(logarithm)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


@cache
def _normal(name: str) -> FloatArray:
    return _random(name).standard_normal(N_DRAWS)


def upper_alone(process: Process, confidence_level: float = UPPER_90) -> float:
    """Return the upper limit of a process alone as its count gives it: of none, ln 10/tau at 90 %."""
    return float(stats.gamma.ppf(confidence_level, process.m + 1.0)) / process.tau


def against_rate(processes: Iterable[Process], rates: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Return the events expected if rates had other values, all in proportion.

    Args:
        processes: The processes of a channel.
        rates: Name -> mean of the rate in use.
        values: Name -> the mean that is assumed.
    """
    return math.fsum(
        p.expected * math.prod((value / rates[name]) ** p.needs.get(name, 0.0) for name, value in values.items())
        for p in processes
    )


def considered() -> tuple[str, ...]:
    """Return the processes that the simulation can make and that may contribute, then those that nobody simulates."""
    return (*(process.reaction for process in (*BACKGROUNDS.values(), *CONTROLS.values())), *NOT_MADE)


def spectrum(results: Results, like: hist.Hist, n_jpsi: float | None = None) -> hist.Hist:
    """Return the expected exclusive background in the axes ``chi2_4c`` and mass of a histogram."""
    filled = hist.Hist(*like.axes, storage=hist.storage.Weight())
    for sample in weighted(results, normalization.n_jpsi(results, n_jpsi).value)[0]:
        filled.fill(*(sample.candidates[axis.name] for axis in like.axes), weight=sample.expected)
    return filled


def to_json(found: Background) -> dict[str, Any]:
    """Return the content of `background.json`.

    ``channels`` holds of the overall search (``m_majorana`` null) and of each mass its ``processes`` with ``name``,
    ``m``, ``tau`` and ``factors`` (name -> width of the logarithm), from which the limit is made, and the ``quoted``
    estimate.
    """
    return {
        "n_jpsi": found.n_jpsi,
        "channels": [_channel_json(channel) for channel in found.channels],
        "factors": {name: asdict(factor) for name, factor in found.rates.factors.items()},
        "not_simulated": list(found.not_simulated),
    }


def _channel_json(channel: Channel) -> dict[str, Any]:
    quoted = channel.quoted()
    expected = math.fsum(p.expected for p in channel.processes)
    source = f"{len(channel.processes)} processes, leading {quoted.leading}"
    return {
        "m_majorana": channel.m_majorana,
        "total": asdict(Count(expected, 0.5 * (quoted.high - quoted.low), source)),
        "quoted": asdict(quoted) | {"text": str(quoted)},
        "processes": [asdict(p) | {"expected": p.expected, "upper_90": upper_alone(p)} for p in channel.processes],
        "hidden": list(channel.hidden),
    }


def channels(content: Mapping[str, Any]) -> dict[float | None, Channel]:
    """Return the channels of `background.json`: of the overall search (None) and of each mass in GeV/c^2."""
    names = [f.name for f in fields(Process)]
    return {
        c["m_majorana"]: Channel(
            c["m_majorana"], tuple(Process(**{n: p[n] for n in names}) for p in c["processes"]), tuple(c["hidden"])
        )
        for c in content["channels"]
    }


def totals(content: Mapping[str, Any]) -> dict[float | None, Count]:
    """Return the total of every channel of `background.json`: of the overall search (None) and at each mass."""
    return {channel["m_majorana"]: Count(**channel["total"]) for channel in content["channels"]}
