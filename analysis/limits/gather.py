"""The inputs of every limit: counts and efficiencies of a merged accumulator, and what the commands before wrote.

Systematic uncertainties come from the file of `lnv systematics`, the background from that of `lnv background`, or both
are given; nothing of it is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import derived, majorana, normalization
from jpsi_lnv.analysis.background import totals
from jpsi_lnv.analysis.constants import N_JPSI, N_JPSI_UNCERTAINTY
from jpsi_lnv.analysis.datasets import BACKGROUND, DATA, MISID, SEARCH, SIGNAL, mass_mev, mass_text
from jpsi_lnv.analysis.efficiency import Efficiency
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import checks
from jpsi_lnv.analysis.limits.inputs import EFFICIENCY, LimitInputs
from jpsi_lnv.analysis.limits.sideband import Background, SideBand
from jpsi_lnv.analysis.normalization import Count, Survivors
from jpsi_lnv.analysis.results import DatasetResult, Results
from jpsi_lnv.analysis.systematics import table


@dataclass(frozen=True)
class Estimate:
    """An expected background.

    Attributes:
        total: Events, with their uncertainty and source.
        side_bands: The same as it was counted, process by process; empty for a number.
    """

    total: Count
    side_bands: tuple[SideBand, ...] = ()


NO_BACKGROUND: Final = Estimate(Count(0.0, 0.0, "assumed"))


@dataclass(frozen=True)
class GivenSystematics:
    """Relative systematic uncertainties of the efficiency from a file.

    Attributes:
        source: Where the values come from.
        overall: Fraction for the overall search.
        per_mass: Mass in MeV/c^2 -> fraction.
        made_from: Identity of the result they were measured on; empty for values from elsewhere.
        sources: What the overall one is made of: title of a source -> fraction; empty where the file does not say.
        changes: Channel -> name of a source -> relative change of the efficiency by one standard deviation; equal names
            move all channels together. Empty where the file does not say.
    """

    source: str
    overall: float
    per_mass: dict[float, float]
    made_from: dict[str, str | None] = field(default_factory=dict)
    sources: dict[str, float] = field(default_factory=dict)
    changes: dict[str, dict[str, float]] = field(default_factory=dict)

    def of(self, m_majorana: float | None) -> float:
        """Return the fraction for one mass (GeV/c^2) or, for None, the overall one.

        Raises:
            ResultsError: The file has no value for this mass.
        """
        if m_majorana is None:
            return self.overall
        if (key := mass_mev(m_majorana)) not in self.per_mass:
            msg = f"{self.source}: no systematic uncertainty for mass {m_majorana} GeV/c^2; add it under 'per_mass'"
            raise ResultsError(msg)
        return self.per_mass[key]


def read_systematics(path: Path) -> GivenSystematics:
    """Read ``{"source": text, "overall": fraction, "per_mass": {"0.575": fraction, ...}}``.

    Raises:
        ResultsError: The file is missing or has another form.
    """
    given = derived.load(path, "lnv systematics")
    try:
        per_mass = {mass_mev(float(mass)): float(value) for mass, value in given.get("per_mass", {}).items()}
        overall_value = float(checks.non_negative("overall", given["overall"]))
        checks.non_negative("per_mass", list(per_mass.values()))
        if derived.MADE_FROM not in given:
            checks.fraction("overall or per_mass", [overall_value, *per_mass.values()])
        source = f"{given.get('source', 'given')} ({path.name})"
        rows = next((table["rows"] for table in given.get("tables", ()) if table["m_majorana"] is None), ())
        sources = {str(row["title"]): float(row["value"]) for row in rows}
        made_from, changes = dict(given.get(derived.MADE_FROM, {})), _changes(given.get("sources", {}))
        totals = {table.OVERALL: overall_value} | {mass_text(m / 1000.0): value for m, value in per_mass.items()}
        for channel in changes.keys() & totals.keys():
            _require_whole(channel, changes[channel], totals[channel])
        return GivenSystematics(source, overall_value, per_mass, made_from, sources, changes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"source": ..., "overall": fraction, "per_mass": {"0.575": fraction, ...}}'
        msg = f"{path}: no systematic uncertainties ({type(error).__name__}: {error}); wanted {form}"
        raise ResultsError(msg) from error


def _changes(sources: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return channel -> source -> change of a file; a source that is a number belongs to no channel."""
    found: dict[str, dict[str, float]] = {}
    for name, of_channels in sources.items():
        for channel, change in of_channels.items() if isinstance(of_channels, Mapping) else ():
            found.setdefault(channel, {})[name] = checks.number(f"{name}, {channel}", change)
    return found


def _require_whole(channel: str, changes: Mapping[str, float], total: float) -> None:
    if not math.isclose(together := math.hypot(*changes.values()), total, rel_tol=1e-6):
        msg = f"sources of {channel} add up to {together:g}, its uncertainty is {total:g}; run `lnv systematics` again"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a limit takes besides counts and efficiencies.

    Attributes:
        systematics: Systematic uncertainties; None for those that the result itself shows.
        background: Expected background, the same for the overall search and each mass.
        per_channel: Expected background at each mass in GeV/c^2 and, for None, of the overall search; used instead of
            `background` unless it is empty.
        files: What they were read from.
        n_jpsi: Number of J/psi that is given; None: as the data say.
        pairing: How candidates belong to a mass, one of `majorana.PAIRINGS`.
    """

    systematics: GivenSystematics | None = None
    background: Estimate = NO_BACKGROUND
    per_channel: Mapping[float | None, Estimate] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    n_jpsi: float | None = None
    pairing: str = majorana.BOTH

    def survivors(self, m_majorana: float | None) -> Survivors:
        """Return what counts the events of a search that belong to a mass (GeV/c^2) or, for None, all of them."""
        if m_majorana is None:
            return normalization.all_passed
        return partial(majorana.survivors, m_majorana, pairing=self.pairing)

    def sources_of(self, channel: str, delta_sys: float) -> Mapping[str, float]:
        """Return the uncertainties of a channel's efficiency by name; one of the whole where they are not told apart.

        Args:
            channel: Name of the channel as `lnv systematics` writes it.
            delta_sys: Its relative uncertainty.
        """
        named = self.systematics.changes.get(channel) if self.systematics else None
        return named or ({EFFICIENCY: delta_sys} if delta_sys else {})

    def background_of(self, m_majorana: float | None) -> Estimate:
        """Return the background at one mass (GeV/c^2) or, for None, the overall one.

        Raises:
            ResultsError: The estimate has no value for this mass.
        """
        if not self.per_channel:
            return self.background
        if m_majorana not in self.per_channel:
            msg = f"background.json: no background for mass {m_majorana} GeV/c^2; run `lnv background` again"
            raise ResultsError(msg)
        return self.per_channel[m_majorana]


def choose(
    results: Results,
    output: Path,
    *,
    systematics: Path | None = None,
    background: Estimate | None = None,
    n_jpsi: float | None = None,
    pairing: str = majorana.BOTH,
) -> Choices:
    """Return what is given, and for the rest what the commands before wrote from this very result.

    ``systematics.json`` is read where the control samples ran, ``background.json`` where background samples ran.

    Args:
        results: A merged accumulator.
        output: Directory in which the commands before wrote.
        systematics: A file that is read instead of theirs.
        background: Expected background instead of theirs.
        n_jpsi: Number of J/psi instead of the data's.
        pairing: How candidates belong to a mass, one of `majorana.PAIRINGS`.

    Raises:
        ResultsError: A file is missing, of another form, or made from another result, number of J/psi or pairing.
    """
    files: list[Path] = []
    if systematics is None and table.has_samples(results):
        systematics = derived.derived(output, "systematics")
    given = None
    if systematics is not None:
        given = read_systematics(systematics)
        if given.made_from:
            derived.require({derived.MADE_FROM: given.made_from}, results, systematics, "lnv systematics")
        files.append(systematics)
    if background is not None or not results.ran(MISID, BACKGROUND):
        return Choices(
            systematics=given,
            background=background or NO_BACKGROUND,
            files=tuple(files),
            n_jpsi=n_jpsi,
            pairing=pairing,
        )
    number = normalization.n_jpsi(results, n_jpsi).value
    estimated = derived.read(output, "background", results, {"n_jpsi": number, "pairing": pairing})
    files.append(derived.derived(output, "background"))
    return Choices(
        systematics=given, per_channel=_per_channel(estimated), files=tuple(files), n_jpsi=n_jpsi, pairing=pairing
    )


def require_own_number(results: Results, n_jpsi: float | None) -> None:
    """Refuse a number of J/psi that is not the one of the data whose events a limit counts.

    Raises:
        ResultsError: It is another one; or none is given and the data do not say.
    """
    observed, _ = _observed(results, normalization.all_passed)
    stated = [d.metadata.n_jpsi for d in results.ran(SEARCH, DATA).values()]
    if n_jpsi is None or observed is None or None in stated:
        return
    if not math.isclose(total := math.fsum(n for n in stated if n is not None), n_jpsi):
        msg = (
            f"got --n-jpsi {n_jpsi:g}; the metadata of the data, whose {observed} events are counted, say {total:g}: "
            "leave the option out, mend the metadata, or add --expected for what another number would show"
        )
        raise ResultsError(msg)


def _per_channel(content: Mapping[str, Any]) -> dict[float | None, Estimate]:
    """Return what `background.json` holds of every channel."""
    sums = totals(content)
    path = "background.json"
    try:
        bands = {c["m_majorana"]: tuple(map(SideBand.from_dict, c["processes"])) for c in content["channels"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path}: no side bands ({type(error).__name__}: {error}); run `lnv background` again"
        raise ResultsError(msg) from error
    return {mass: Estimate(total, bands[mass]) for mass, total in sums.items()}


def given_background(n_bkg: float, sigma: float, side_bands: Sequence[SideBand] = ()) -> Estimate:
    """Return the background of numbers that somebody gives, and say how they are read.

    Args:
        n_bkg: Expected events, without side bands.
        sigma: Their uncertainty.
        side_bands: Counts away from the signal, used instead.

    Raises:
        ValueError: An uncertainty of nothing is given.
    """
    source = "command line"
    if side_bands:
        all_of_it = Background(tuple(side_bands))
        said = ", ".join(f"{b.name}: {b.m:g} at tau {b.tau:g}" for b in side_bands)
        return Estimate(Count(all_of_it.mean, all_of_it.sigma, f"{source}: {said}"), tuple(side_bands))
    if sigma == 0.0:
        return Estimate(Count(n_bkg, 0.0, source))
    band = SideBand.from_mean("background", n_bkg, sigma)
    formula = f"m = (b/sigma)^2 = {band.m:.4g}, tau = b/sigma^2 = {band.tau:.4g}, b ~ gamma(m)/tau"
    return Estimate(Count(n_bkg, sigma, f"{source}: {n_bkg:g} ± {sigma:g} read as {formula}"), (band,))


def overall(results: Results, choices: Choices) -> LimitInputs:
    """Return the inputs of the overall limit: phase-space efficiency, all candidates.

    Raises:
        ResultsError: There is no signal dataset, or none of its events passes.
    """
    signal = together(results, results.of_kind(SIGNAL))
    if signal.n_produced == 0:
        msg = f"no dataset of kind 'signal' among {sorted(results.datasets)}: no efficiency; add one to the fileset"
        raise ResultsError(msg)
    return _inputs(results, choices, signal, m_majorana=None)


def per_mass(results: Results, choices: Choices) -> list[LimitInputs]:
    """Return the inputs of the limit at every mass for which J/psi -> nu nu was simulated, in increasing order."""
    return [
        _inputs(
            results, choices, together(results, datasets, choices.survivors(mass / 1000.0)), m_majorana=mass / 1000.0
        )
        for mass, datasets in majorana.by_mass(results).items()
    ]


@dataclass(frozen=True)
class Simulated:
    """Signal samples: events, efficiency with its statistical uncertainty, and how the samples were put together."""

    n_passed: int
    n_produced: int
    efficiency: float
    sigma: float
    source: str


def together(
    results: Results, datasets: Mapping[str, DatasetResult], survivors: Survivors = normalization.all_passed
) -> Simulated:
    """Return samples as one: added up, or, if they are of different periods, weighted as the data are.

    Args:
        results: A merged accumulator, whose data say how many J/psi each period has.
        datasets: Name -> signal sample.
        survivors: Counts the events of a sample's search that are asked for.

    Raises:
        ResultsError: Samples are of different periods, and one is of none or one of the data's has no sample.
    """
    n_passed = sum(survivors(d.selections[SEARCH]) for d in datasets.values())
    n_produced = sum(d.n_produced for d in datasets.values())
    source = f"{n_passed} of {n_produced} simulated events"
    if n_passed == 0:
        return Simulated(0, n_produced, 0.0, 0.0, source)
    if len({d.metadata.period for d in datasets.values()}) > 1:
        weights = normalization.n_jpsi_by_period(results)
        value, sigma = normalization.period_efficiency(datasets, weights, survivors)
        return Simulated(n_passed, n_produced, value, sigma, f"{source}, periods weighted by their J/psi")
    added = Efficiency(n_passed, n_produced)
    return Simulated(n_passed, n_produced, added.value, added.sigma, source)


def _inputs(results: Results, choices: Choices, signal: Simulated, *, m_majorana: float | None) -> LimitInputs:
    if signal.n_passed == 0:
        what = "phase-space signal" if m_majorana is None else f"signal of mass {m_majorana} GeV/c^2"
        msg = f"none of {signal.n_produced} produced events of the {what} passes the selection: no efficiency, no limit"
        raise ResultsError(msg)
    n_obs, observed_source = _observed(results, choices.survivors(m_majorana))
    n_jpsi = normalization.n_jpsi(results, choices.n_jpsi)
    delta_sys, systematics_source = _delta_sys(choices, signal, m_majorana)
    background = choices.background_of(m_majorana)
    return LimitInputs(
        n_obs=n_obs,
        n_bkg=background.total.value,
        n_bkg_sigma=background.total.sigma,
        side_bands=background.side_bands,
        efficiency=signal.efficiency,
        delta_sys=delta_sys,
        n_jpsi=n_jpsi.value,
        m_majorana=m_majorana,
        provenance={
            "n_obs": observed_source,
            "n_bkg": background.total.source,
            "efficiency": signal.source,
            "delta_sys": systematics_source,
            "n_jpsi": n_jpsi.source,
        },
    )


def _observed(results: Results, survivors: Survivors) -> tuple[int | None, str]:
    data = {name: d for name, d in results.of_kind(DATA).items() if SEARCH in d.selections}
    if not data:
        return None, "no data"
    if blind := sorted(name for name, dataset in data.items() if dataset.metadata.is_blind):
        return None, f"blinded: {', '.join(blind)}"
    return sum(survivors(d.selections[SEARCH]) for d in data.values()), f"data: {', '.join(sorted(data))}"


def _delta_sys(choices: Choices, signal: Simulated, m_majorana: float | None) -> tuple[float, str]:
    if choices.systematics is not None:
        return choices.systematics.of(m_majorana), choices.systematics.source
    return math.hypot(
        signal.sigma / signal.efficiency, N_JPSI_UNCERTAINTY / N_JPSI
    ), "N(J/psi) and simulated statistics only"
