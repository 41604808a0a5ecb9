"""The selection of section III, step by step: what a step is, what steps make of events, and the steps themselves.

A selection is a tuple of named steps; cut flow and N-1 come from their decisions alone. Every rule of `SECTION_III`
takes a `SearchEvents` view and returns one decision per event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, IntArray
from jpsi_lnv.analysis.channel import KKEE, WORDS, Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.selection.search_events import SearchEvents

ALL_EVENTS = "all"


@dataclass(frozen=True)
class Step:
    """One requirement.

    Attributes:
        name: Key of the step in cut flows and histograms.
        title: What it requires, for tables.
        rule: Function of a view of the events that returns one decision per event; its docstring says the requirement.
        hides: Whether the hidden events of blind data leave here, the first step where none says so.
    """

    name: str
    title: str
    rule: Callable[[Any], BoolArray]
    hides: bool = False


def apply(steps: Sequence[Step], view: Any) -> BoolArray:
    """Return every step's own decision on every event, shape (steps, events)."""
    decisions = [np.asarray(step.rule(view), dtype=np.bool_) for step in steps]
    return np.stack(decisions) if decisions else np.ones((0, view.n_events), dtype=np.bool_)


def depth(decisions: BoolArray) -> IntArray:
    """Return how many steps each event passes before the first that rejects it, shape (events,)."""
    reached = np.zeros(decisions.shape[1], dtype=np.int64)
    passes = np.ones(decisions.shape[1], dtype=np.bool_)
    for decision in decisions:
        passes &= decision
        reached += passes
    return reached


def count(steps: Sequence[Step], decisions: BoolArray) -> dict[str, int]:
    """Return the cut flow: all events, then those that pass each step and all before it.

    Args:
        steps: The steps.
        decisions: Their decisions, shape (steps, events).
    """
    flow, passes = {ALL_EVENTS: decisions.shape[1]}, np.ones(decisions.shape[1], dtype=np.bool_)
    for step, decision in zip(steps, decisions, strict=True):
        passes &= decision
        flow[step.name] = int(np.count_nonzero(passes))
    return flow


def passes_all_but(decisions: BoolArray, left_out: Sequence[int]) -> BoolArray:
    """Return which events pass every step except those numbered in `left_out`, shape (events,)."""
    passes = np.ones(decisions.shape[1], dtype=np.bool_)
    for i, decision in enumerate(decisions):
        if i not in left_out:
            passes &= decision
    return passes


def good_tracks(events: SearchEvents) -> BoolArray:
    """At least one track with |cos theta| < 0.93, R_xy < 1 cm and |R_z| < 10 cm."""
    return events.n_good > 0


def four_tracks_zero_charge(events: SearchEvents) -> BoolArray:
    """At least as many good tracks as the decay has, whose charges add up to zero."""
    return events.is_retained


def confidence_levels(events: SearchEvents) -> BoolArray:
    """At least as many good tracks with a PID measurement, hence with confidence levels."""
    return events.has_pid


def electrons(events: SearchEvents) -> BoolArray:
    """At least two electrons: CL_e > 0.001, CL_e/(CL_e + CL_K + CL_pi) > 0.8, 0.8 < E/p < 1.2."""
    return events.has_enough(Species.E)


def kaons(events: SearchEvents) -> BoolArray:
    """At least two kaons: CL_K > 0, CL_K > CL_pi, E/p < 0.8."""
    return events.has_enough(Species.K)


def muons(events: SearchEvents) -> BoolArray:
    """At least as many muons as the decay has: CL_mu > CL_e, CL_K, energy < 0.3 GeV, deep in the muon chambers."""
    return events.has_enough(Species.MU)


def pions(events: SearchEvents) -> BoolArray:
    """At least as many pions as the decay has: CL_pi > 0, CL_pi > CL_K, E/p < 0.8."""
    return events.has_enough(Species.PI)


def protons(events: SearchEvents) -> BoolArray:
    """At least as many protons as the decay has: CL_p > 0, CL_p > CL_pi, CL_p > CL_K, E/p < 0.8."""
    return events.has_enough(Species.P)


def photons(events: SearchEvents) -> BoolArray:
    """At least as many photons as the decay has: energy, time, angle to tracks as BESIII's analyses ask for."""
    return events.has_photons


def charge_pattern(events: SearchEvents) -> BoolArray:
    """The particles of the decay or of its conjugate: two kaons of one charge and two electrons of the other."""
    return events.has_candidate


def kinematic_fit(events: SearchEvents) -> BoolArray:
    """A candidate whose 4C fit converges below the upper edge of the stored chi2; the smallest chi2 is retained."""
    return events.of_best(events.best.has_chi2)


def alternative_hypotheses(events: SearchEvents) -> BoolArray:
    """The chi2 of the decay, K K e e, is smaller than that of every other assignment: KKpipi, KKKK, pipipipi."""
    return events.of_best(events.best.chi2_4c < events.best.chi2_alternative)


def chi2_4c(events: SearchEvents) -> BoolArray:
    """chi2 of the 4C fit < 20."""
    return events.of_best(events.best.chi2_4c < events.cuts.chi2_4c_max)


def conversion_veto(events: SearchEvents) -> BoolArray:
    """No selected electron forms a photon conversion with a track of the other charge."""
    return events.of_best(~events.has_conversion)


def signal_region(events: SearchEvents) -> BoolArray:
    """3.07 <= mass of all particles, M(KKee), <= 3.12 GeV/c^2, moved with sqrt(s)."""
    return events.of_best(events.in_signal_region)


_OF_SPECIES: Final = {
    Species.E: electrons,
    Species.MU: muons,
    Species.PI: pions,
    Species.K: kaons,
    Species.P: protons,
}
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six")


@cache
def of_channel(channel: Channel) -> tuple[Step, ...]:
    """Return the steps of the search for a decay; those of species, the lightest first, are what decays differ in."""
    return (
        Step("good_tracks", "good charged tracks", good_tracks),
        Step("four_tracks_zero_charge", "enough good tracks, net charge zero", four_tracks_zero_charge),
        Step("confidence_levels", "PID confidence levels", confidence_levels),
        *(_of_species(channel, i, species) for i, species in enumerate(channel.kinds)),
        *((Step("photons", f"{_NUMBERS[channel.n_photons]} photons", photons),) if channel.n_photons else ()),
        Step("charge_pattern", f"charges {channel.signed}", charge_pattern),
        Step("kinematic_fit", f"{channel.fit_name} fit, best candidate", kinematic_fit),
        Step("alternative_hypotheses", f"{channel.symbols} is the best hypothesis", alternative_hypotheses),
        Step("chi2_4c", f"chi2 of the {channel.fit_name} fit", chi2_4c),
        Step("conversion_veto", "gamma-conversion veto", conversion_veto),
        Step("signal_region", f"signal region of M({channel.symbols})", signal_region),
    )


def _of_species(channel: Channel, i: int, species: Species) -> Step:
    """Return the step of the i-th species; at the first of them hidden events leave."""
    n, word = channel.species.count(species), WORDS[species].word
    return Step(f"{word}s", f"{_NUMBERS[n]} {word}{'s' if n > 1 else ''}", _OF_SPECIES[species], hides=i == 0)


SECTION_III: Final = of_channel(KKEE)
# The steps that decide on the best candidate, the same for all decays.
STAGES: Final = tuple(step.name for step in SECTION_III[-5:])
