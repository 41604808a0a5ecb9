"""With what probability a track is taken for an electron or a kaon, by species, momentum, angle and period.

The rates are counted on simulated tracks. No bin is zero: each starts with half a track that passes at the rate of the
coarser bins (all angles, all momenta, all periods), and the coarsest one with Jeffreys' half, so that sums over bins
are not raised. A simulated rate is no measurement: where no control sample has probes, all rates of a species for a
role are taken to be wrong by one common factor, log-normal, of `ASSUMED_FACTOR`. A table of measured rates replaces
them (`with_given`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import hist
import numpy as np

from jpsi_lnv.analysis import derived
from jpsi_lnv.analysis.arrays import AnyArray, FloatArray, IntArray
from jpsi_lnv.analysis.channel import WORDS, species_of_track
from jpsi_lnv.analysis.datasets import (
    CONTROL,
    CONTROL_CONVERSION,
    CONTROL_EE,
    CONTROL_EEEE,
    CONTROL_KKPI0,
    CONTROL_KKPIPI,
    CONTROL_PPBARPIPI,
    DATA,
    MISID,
)
from jpsi_lnv.analysis.efficiency import bin_of
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.misid import NO_ROLE, SPECIES

VERSION: Final = 1
ALL_PERIODS: Final = 0
# What a simulated rate is taken to be wrong by, as one standard deviation, until somebody measures it.
ASSUMED_FACTOR: Final = 3.0
# What needs no misidentification.
RIGHT: Final = frozenset(
    {("e", "electron"), ("mu", "muon"), ("pi", "pion"), ("k", "kaon"), ("p", "proton"), ("pbar", "proton")}
)
# A momentum counts for the largest rate if this share of a sample's tracks of the species has it.
POPULATED: Final = 0.01
# Rate -> the control samples whose probes show it, and the largest of their momenta in GeV/c that the search has too.
PROBES: Final = {
    "e_to_kaon": (CONTROL_EE, CONTROL_EEEE, CONTROL_CONVERSION),
    "k_to_electron": (CONTROL_KKPI0, CONTROL_KKPIPI),
    "pi_to_electron": (CONTROL_KKPIPI, CONTROL_PPBARPIPI),
    "pi_to_kaon": (CONTROL_KKPIPI, CONTROL_PPBARPIPI),
    **{f"{species}_to_{role}": (CONTROL_PPBARPIPI,) for species in ("p", "pbar") for role in ("electron", "kaon")},
}
P_PROBE_MAX: Final = 1.2
PURITY_MIN: Final = 0.5

Candidates = Mapping[str, AnyArray]
# Column of the generated species of a track, before its name.
_SPECIES_OF: Final = "species_"


@dataclass(frozen=True)
class Factor:
    """What the rates of one species for one role have in common: one nuisance for all processes.

    Attributes:
        kappa: Width of its logarithm.
        rate: Mean over all simulated tracks of the species.
        source: Where rate and width come from.
    """

    kappa: float
    rate: float
    source: str


@dataclass(frozen=True)
class Rates:
    """The table.

    Attributes:
        periods: `ALL_PERIODS`, then the years that have rates of their own.
        p_edges: (P + 1,) in GeV/c.
        abs_cos_theta_edges: (C + 1,) of |cos theta|.
        roles: What a track may be taken for.
        value: (period, species, P, C, role) probabilities above zero.
        factors: Name such as ``pi_to_electron`` -> its factor.
    """

    periods: tuple[int, ...]
    p_edges: FloatArray
    abs_cos_theta_edges: FloatArray
    roles: tuple[str, ...]
    value: FloatArray
    factors: Mapping[str, Factor]

    def of_candidates(self, table: Candidates) -> FloatArray:
        """Return the probability that the tracks of each candidate are taken for what it needs, shape (N,)."""
        product = np.ones(len(table["run"]))
        period = self._period(table)
        for track in tracks_of(table):
            p = bin_of(self.p_edges, table[f"p_{track}"])
            cos_theta = bin_of(self.abs_cos_theta_edges, table[f"abs_cos_theta_{track}"])
            species = np.asarray(table[f"species_{track}"])
            product *= self.value[period, species, p, cos_theta, self.role_index(track)]
        return product

    def largest(self, tracks: FloatArray) -> FloatArray:
        """Return the largest rate of each species for each role at any momentum of a sample, (species, role).

        Args:
            tracks: Tracks of the sample, (species, P, C); a momentum counts if it has `POPULATED` of a species' tracks.
        """
        at_p = tracks.sum(axis=2, keepdims=True)
        mean = np.einsum("spc,spcr->spr", tracks / np.maximum(at_p, 1), self.value[0])
        is_populated = at_p >= POPULATED * np.maximum(at_p.sum(axis=1, keepdims=True), 1)
        return np.where(is_populated, mean, 0.0).max(axis=1)

    def role_index(self, track: str) -> int:
        """Return what a track of a candidate is taken for, as an index of `roles`."""
        return self.roles.index(role_of(track))

    def _period(self, table: Candidates) -> IntArray:
        period = np.asarray(table.get("period", np.zeros(len(table["run"]), dtype=np.int64)))
        index = np.zeros(len(period), dtype=np.int64)
        for i, year in enumerate(self.periods):
            index[period == year] = i
        return index


def name_of(species: str, role: str) -> str:
    """Return the name of a rate and of its factor."""
    return f"{species}_to_{role}"


def tracks_of(table: Candidates) -> tuple[str, ...]:
    """Return the names of the tracks of candidates, such as ``k1``."""
    return tuple(name.removeprefix(_SPECIES_OF) for name in table if name.startswith(_SPECIES_OF))


def role_of(track: str) -> str:
    """Return what a track of a candidate is taken for, by its name."""
    return WORDS[species_of_track(track)].word


def needs(species: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Return how often each candidate needs each misidentification.

    Args:
        species: Track name -> (N,) index of the generated species.

    Returns:
        Name of the factor -> (N,) 0, 1 or 2, for those that any candidate needs.
    """
    found: dict[str, IntArray] = {}
    for i, name in enumerate(SPECIES):
        for role in sorted(set(map(role_of, species))):
            tracks = [track for track in species if role_of(track) == role]
            count = np.sum([np.asarray(species[track]) == i for track in tracks], axis=0)
            if (name, role) not in RIGHT and count.any():
                found[name_of(name, role)] = count
    return found


def counted(maps: Sequence[hist.Hist]) -> Rates:
    """Return the rates that simulated tracks show.

    Args:
        maps: Histograms ``roles`` of the datasets, at least one, with the axes species, p, abs_cos_theta, role and,
            where it was stored, period.

    Raises:
        ResultsError: The histograms have other axes.
    """
    (periods, passed), roles = _counts(maps), tuple(maps[0].axes["role"])
    n = passed.sum(axis=-1, keepdims=True)
    whole = (passed.sum(axis=(0, 2, 3), keepdims=True) + 0.5) / (n.sum(axis=(0, 2, 3), keepdims=True) + 1.0)
    rows = _drawn(passed.sum(axis=(0, 3), keepdims=True), n.sum(axis=(0, 3), keepdims=True), whole)
    bins = _drawn(passed.sum(axis=0, keepdims=True), n.sum(axis=0, keepdims=True), rows)
    value = np.concatenate([bins, _drawn(passed, n, bins)]) if len(periods) > 1 else bins
    factors = {
        name_of(species, role): _assumed(float(passed[:, i, ..., j].sum()), float(whole[0, i, 0, 0, j]))
        for i, species in enumerate(SPECIES)
        for j, role in enumerate(roles)
        if role != NO_ROLE and (species, role) not in RIGHT
    }
    p, abs_cos_theta = (np.asarray(maps[0].axes[axis].edges) for axis in ("p", "abs_cos_theta"))
    known = (ALL_PERIODS, *periods) if len(periods) > 1 else (ALL_PERIODS,)
    return Rates(known, p, abs_cos_theta, roles, value, factors)


def _drawn(passed: FloatArray, n: FloatArray, coarse: FloatArray) -> FloatArray:
    """Return rates of bins that each start with half a track passing at the rate of coarser bins."""
    return (passed + 0.5) / (n + 0.5 / coarse)


def _assumed(n_passed: float, rate: float) -> Factor:
    kappa = math.hypot(math.log(ASSUMED_FACTOR), 1.0 / math.sqrt(n_passed + 0.5))
    return Factor(kappa, rate, f"{n_passed:.0f} simulated tracks; a factor {ASSUMED_FACTOR:g} assumed, not measured")


def _counts(maps: Sequence[hist.Hist]) -> tuple[tuple[int, ...], FloatArray]:
    """Return the periods and the counts (period, species, P, C, role) of all histograms together."""
    wanted = ("period", "species", "p", "abs_cos_theta", "role")
    for h in maps:
        if (names := tuple(axis.name for axis in h.axes)) != wanted:
            msg = f"a histogram with axes {names} holds no misidentification; wanted {wanted}; run `lnv run` again"
            raise ResultsError(msg)
        if (species := tuple(h.axes["species"])) != SPECIES:
            msg = (
                f"a map of misidentification of {', '.join(species)}; wanted {', '.join(SPECIES)}; run `lnv run` again"
            )
            raise ResultsError(msg)
    counts = np.stack([np.asarray(h.values(), dtype=np.float64) for h in maps]).sum(axis=0)
    years = np.array(list(maps[0].axes["period"]))
    is_filled = counts.sum(axis=(1, 2, 3, 4)) > 0
    return tuple(years[is_filled].tolist()), counts[is_filled]


@dataclass(frozen=True)
class Probes:
    """Probes of a control sample that are as slow as the search's tracks, by momentum and angle.

    Attributes:
        p: (N,) middle of the bin in GeV/c.
        abs_cos_theta: (N,) the same of |cos theta|.
        data: (N, 2) probes that are not taken for the other species, and those that are.
        simulation: The same of the simulation.
    """

    p: FloatArray
    abs_cos_theta: FloatArray
    data: FloatArray
    simulation: FloatArray


def with_probes(rates: Rates, results: Results) -> Rates:
    """Return rates times what control samples show in data over simulation, where they know it better than assumed.

    Electrons of J/psi -> e+ e- (gamma), 2(e+ e-) and conversions have probes, kaons of K+ K- pi0 and K+ K- pi+ pi-,
    pions of the latter and of p pbar pi+ pi-, protons of that; muons have none.
    """
    for name, selections in PROBES.items():
        if name not in rates.factors:
            continue
        found = [probes for selection in selections if (probes := _probes(results, selection, name)) is not None]
        if found:
            rates = _measured(
                rates, name, Probes(*(np.concatenate(c) for c in zip(*map(_columns, found), strict=True)))
            )
    return rates


def _columns(probes: Probes) -> tuple[FloatArray, ...]:
    return probes.p, probes.abs_cos_theta, probes.data, probes.simulation


def _probes(results: Results, selection: str, name: str) -> Probes | None:
    """Return the probes of a control sample for a rate; None without data or simulation."""
    sides = []
    for kind in (DATA, CONTROL):
        found = (d.selections[selection].histograms for d in results.ran(selection, kind).values())
        maps = [h for histograms in found if (h := histograms.get(name, histograms.get(MISID))) is not None]
        if not maps:
            return None
        sides.append(np.stack([np.asarray(h.values(), dtype=np.float64) for h in maps]).sum(axis=0).reshape(-1, 2))
    axes = maps[0].axes
    p, cos_theta = (m.ravel() for m in np.meshgrid(axes["p"].centers, axes["cos_theta"].centers, indexing="ij"))
    slow = p < P_PROBE_MAX
    return Probes(p[slow], np.abs(cos_theta[slow]), sides[0][slow], sides[1][slow])


def _measured(rates: Rates, name: str, probes: Probes) -> Rates:
    """Return rates times data over simulation, bins of the simulation weighted to the probes in data.

    Where the simulation's own rates explain less than `PURITY_MIN` of its probes that are taken for others, most of
    these are other particles, and nothing is measured.
    """
    species, role = (names.index(word) for names, word in zip((SPECIES, rates.roles), name.split("_to_"), strict=True))
    n, n_simulated = probes.data.sum(axis=1), probes.simulation.sum(axis=1)
    weight = np.where(n_simulated > 0, n / np.maximum(n_simulated, 1.0), 0.0)
    passed, simulated = probes.data[n_simulated > 0, 1].sum(), probes.simulation[:, 1].sum()
    bins = bin_of(rates.p_edges, probes.p), bin_of(rates.abs_cos_theta_edges, probes.abs_cos_theta)
    explained = n_simulated @ rates.value[0, species, *bins, role]
    kappa = math.hypot(1.0 / math.sqrt(passed + 0.5), 1.0 / math.sqrt(simulated + 0.5))
    if kappa > math.log(ASSUMED_FACTOR) or explained < PURITY_MIN * simulated:
        return rates
    mean = float(n.sum() / max(n_simulated.sum(), 1.0))
    ratio = float((passed + 0.5) / (probes.simulation[:, 1] @ weight + 0.5 * mean))
    value = rates.value.copy()
    value[:, species, ..., role] = np.minimum(ratio * value[:, species, ..., role], 1.0)
    source = f"{passed:.0f} of {n.sum():.0f} probes in data, {ratio:.3g} times as many as in simulation"
    factor = Factor(kappa, min(ratio * rates.factors[name].rate, 1.0), source)
    return replace(rates, value=value, factors={**rates.factors, name: factor})


def with_given(rates: Rates, path: Path) -> Rates:
    """Return rates of which a table given by the user replaces some.

    Args:
        rates: The rates.
        path: JSON ``{"version": 1, "rates": {"pi_to_electron": {"value": …, "kappa": …, "source": …}}}``; ``value`` is
            one number or an array that fits (period, P, C), ``kappa`` the width of the logarithm.

    Raises:
        ResultsError: The file has another form or version, an unknown name, or a value that is no probability above 0.
    """
    content = derived.load(path, "lnv background")
    if content.get("version") != VERSION or not isinstance(content.get("rates"), Mapping):
        msg = f"{path}: got version {content.get('version')!r}; wanted {{'version': {VERSION}, 'rates': {{name: …}}}}"
        raise ResultsError(msg)
    for name, given in content["rates"].items():
        rates = _replaced(rates, name, given, path)
    return rates


def _replaced(rates: Rates, name: str, given: Any, path: Path) -> Rates:
    if name not in rates.factors:
        msg = f"{path}: unknown rate {name!r}; there are {sorted(rates.factors)}"
        raise ResultsError(msg)
    species, role = name.split("_to_")
    values = rates.value.copy()
    place = values[:, SPECIES.index(species), ..., rates.roles.index(role)]
    try:
        place[...] = np.asarray(given["value"], dtype=np.float64)
        kappa, source = float(given["kappa"]), str(given["source"])
    except (TypeError, ValueError, KeyError) as error:
        msg = (
            f"{path}: rate {name!r}: {type(error).__name__}: {error}; wanted 'value' (a number or an array that fits "
            f"{place.shape}: period, p, |cos theta|), 'kappa' and 'source'"
        )
        raise ResultsError(msg) from error
    if not (np.all((place > 0.0) & (place <= 1.0)) and 0.0 <= kappa < np.inf):
        msg = f"{path}: rate {name!r}: wanted values above 0 and up to 1, and a finite kappa that is not negative"
        raise ResultsError(msg)
    return replace(rates, value=values, factors={**rates.factors, name: Factor(kappa, float(place.mean()), source)})


def to_json(rates: Rates) -> dict[str, Any]:
    """Return the table in the form that `with_given` reads, with the edges of its bins."""
    found = {
        name: {"value": rates.value[:, i, ..., j].tolist(), **vars(rates.factors[name])}
        for i, species in enumerate(SPECIES)
        for j, role in enumerate(rates.roles)
        if (name := name_of(species, role)) in rates.factors
    }
    return {
        "version": VERSION,
        "periods": list(rates.periods),
        "p_edges": rates.p_edges.tolist(),
        "abs_cos_theta_edges": rates.abs_cos_theta_edges.tolist(),
        "rates": found,
    }
