"""Checks of the background estimate: the closure of its weights, and inclusive samples beside exclusive ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis import misid_rates, normalization, topology
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.background import Background, Candidates, in_signal_region
from jpsi_lnv.analysis.datasets import BACKGROUND, CONTROL, INCLUSIVE, MISID
from jpsi_lnv.analysis.misid_rates import RIGHT, Rates
from jpsi_lnv.analysis.results import Results, SelectionResult
from jpsi_lnv.analysis.selection.misid import N_PAIRED, NO_ROLE, SPECIES

PAIRS_MIN: Final = 3.0


@dataclass(frozen=True)
class Closure:
    """A test of the weights with loosened identification.

    Attributes:
        dataset: Name, or which two misidentifications a pair of tracks makes, in all datasets.
        counted: Events that pass with loosened identification, but for chi2 and signal region; or pairs.
        expected: The same from candidates without identification, or pairs, and loosened rates.
        sigma: Standard uncertainty of the difference: both counts and the counted rates.
    """

    dataset: str
    counted: int
    expected: float
    sigma: float


@dataclass(frozen=True)
class Overlap:
    """One final state in exclusive and inclusive samples: candidates without identification, weighted with the rates.

    Attributes:
        final_state: Its particles.
        exclusive: Events in the signal region that its exclusive samples give.
        exclusive_sigma: From the number of their candidates.
        inclusive: The same of the inclusive sample.
        inclusive_sigma: From the number of its candidates.
        n_inclusive: That number.
    """

    final_state: str
    exclusive: float
    exclusive_sigma: float
    inclusive: float
    inclusive_sigma: float
    n_inclusive: int


def closure(results: Results) -> tuple[Closure, ...]:
    """Return the test of the weights with loosened identification on every dataset that has candidates."""
    ran = results.ran(MISID, BACKGROUND, CONTROL)
    found = {name: d.selections[MISID] for name, d in ran.items() if d.selections[MISID].candidates}
    rates = misid_rates.counted([s.histograms["roles_loose"] for s in found.values()])
    rows = []
    for name, selection in found.items():
        weights = rates.of_candidates(selection.candidates)
        counted = selection.cutflow["loosened_identification"]
        sigma = math.hypot(math.sqrt(weights.sum()), math.sqrt(np.square(weights).sum()))
        rows.append(Closure(name, counted, float(weights.sum()), float(sigma)))
    return tuple(row for row in rows if row.expected > 0) + pair_closure(list(found.values()), rates)


def pair_closure(found: Sequence[SelectionResult], rates: Rates) -> tuple[Closure, ...]:
    """Return how many pairs of tracks of an event make two mistakes, against the product of both rates.

    Where hardly an event passes as a whole, these test the product: a pair of mistakes is what an event needs least.
    Two tracks taken for the same are of one charge and two taken for kaon and electron of both, as in a candidate. Left
    out are kinds of which less than `PAIRS_MIN` pairs are expected.

    Args:
        found: What the selection stored of each dataset.
        rates: The loosened rates.
    """
    stored = [s.histograms for s in found if "pairs" in s.histograms]
    if not stored:
        return ()
    cells, taken = (np.sum([h[name].values() for h in stored], axis=0) for name in ("pairs", "pairs_taken"))
    kinds = [
        (i, r)
        for i, s in enumerate(SPECIES)
        for r, role in enumerate(rates.roles)
        if role != NO_ROLE and (s, role) not in RIGHT
    ]
    rows = (_pairs(cells, taken, rates, a, b) for k, a in enumerate(kinds) for b in kinds[k:])
    return tuple(row for row in rows if row.expected >= PAIRS_MIN)


def _pairs(cells: AnyArray, taken: AnyArray, rates: Rates, a: tuple[int, int], b: tuple[int, int]) -> Closure:
    """Return the pairs of two kinds of mistakes, (species, role) each."""
    of_a, of_b = (_by_cell(rates, *kind) for kind in (a, b))
    both_ways, is_like = 0.5 if a == b else 1.0, int(a[1] == b[1])
    expected = both_ways * float(of_a @ cells[..., is_like] @ of_b)
    n_roles = len(rates.roles)
    counted = both_ways * float(taken[a[0] * n_roles + a[1], b[0] * n_roles + b[1], is_like])
    known = [taken[k * n_roles + r].sum() / (N_PAIRED - 1) for k, r in (a, b)]
    sigma = math.sqrt(expected + expected**2 * sum(1.0 / max(n, 1.0) for n in known))
    names = (f"{SPECIES[k]} to {rates.roles[r]}" for k, r in (a, b))
    return Closure(f"pairs: {', '.join(names)}", round(counted), expected, sigma)


def _by_cell(rates: Rates, species: int, role: int) -> FloatArray:
    """Return the rate of a kind of mistake in every cell, 0 for other species."""
    value = np.zeros(rates.value.shape[1:4])
    value[species] = rates.value[0, species, ..., role]
    return value.ravel()


def overlaps(results: Results, found: Background) -> tuple[Overlap, ...]:
    """Return what inclusive and exclusive samples give for every final state that both have among their candidates.

    An inclusive event of a final state stands for N(J/psi)/N_gen events, whichever resonances it went through; an
    exclusive sample has those that it was made with.

    Args:
        results: A merged accumulator.
        found: Its estimate.
    """
    passes = in_signal_region(results.cuts)
    exclusive = [_by_final_state(s.candidates, s.expected, passes(s.candidates)) for s in found.samples]
    inclusive = []
    for name, dataset in results.ran(MISID, INCLUSIVE).items():
        table = dataset.selections[MISID].candidates
        weight = found.n_jpsi / normalization.require_produced(name, dataset)
        inclusive.append(_by_final_state(table, weight * found.rates.of_candidates(table), passes(table)))
    one, other = _together(exclusive), _together(inclusive)
    return tuple(_overlap(state, one[state], other[state]) for state in sorted(set(one) & set(other)))


def _by_final_state(table: Candidates, expected: FloatArray, is_inside: BoolArray) -> dict[str, FloatArray]:
    """Return the expected events of each candidate by final state, those outside as zero."""
    chains, place = np.unique(np.asarray(table["decay"]).astype(np.str_), return_inverse=True)
    states = np.array([topology.final_state(chain) for chain in chains.tolist()], dtype=np.str_)[place]
    return {str(state): (expected * is_inside)[states == state] for state in np.unique(states)}


def _together(samples: Iterable[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    found: dict[str, list[FloatArray]] = {}
    for state, expected in (item for sample in samples for item in sample.items()):
        found.setdefault(state, []).append(expected)
    return {state: np.concatenate(expected) for state, expected in found.items()}


def _overlap(state: str, exclusive: FloatArray, inclusive: FloatArray) -> Overlap:
    (one, one_sigma), (other, other_sigma) = (
        (float(of.sum()), math.sqrt(np.square(of).sum())) for of in (exclusive, inclusive)
    )
    return Overlap(state, one, one_sigma, other, other_sigma, int(np.count_nonzero(inclusive)))


def to_json(results: Results, found: Background) -> dict[str, Any]:
    """Return both checks as they stand in `background.json`."""
    return {
        "closure": [asdict(row) for row in closure(results)],
        "overlaps": [asdict(row) for row in overlaps(results, found)],
    }
