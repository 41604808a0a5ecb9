"""A selection as a tuple of named steps; cut flow and N-1 come from the steps' masks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, IntArray

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


def count(steps: Sequence[Step], decisions: BoolArray, is_visible: BoolArray) -> dict[str, int]:
    """Return the cut flow: all events read, then those that pass each step and all before it.

    Hidden events are counted as any other before the step at which they leave. It rejects so many visible events that
    its own number says nothing of theirs. Without them from the start, a skim that kept only events that pass the first
    steps would give their number away: what these steps reject would be the hidden events alone.
    """
    flow, passes = {ALL_EVENTS: len(is_visible)}, np.ones(len(is_visible), dtype=np.bool_)
    last = next((i for i, step in enumerate(steps) if step.hides), 0)
    for i, (step, decision) in enumerate(zip(steps, decisions, strict=True)):
        passes &= decision & is_visible if i == last else decision
        flow[step.name] = int(np.count_nonzero(passes))
    return flow


def passes_all_but(decisions: BoolArray, left_out: Sequence[int]) -> BoolArray:
    """Return which events pass every step except those numbered in `left_out`, shape (events,)."""
    passes = np.ones(decisions.shape[1], dtype=np.bool_)
    for i, decision in enumerate(decisions):
        if i not in left_out:
            passes &= decision
    return passes
