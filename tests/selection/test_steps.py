"""Cut flow and N-1 are counts of the steps' masks; hidden events appear nowhere but in the number read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jpsi_lnv.analysis.selection.steps import Step, apply, count, depth, passes_all_but

pytestmark = pytest.mark.fast

decision_arrays = hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(0, 40)))


class View:
    n_events = 4


STEPS = (
    Step("even", "", lambda view: np.arange(4) % 2 == 0),
    Step("positive", "", lambda view: np.arange(4) > 0),
)


def test_counts_are_cumulative():
    decisions = apply(STEPS, View())
    assert count(STEPS, decisions) == {"all": 4, "even": 2, "positive": 1}


@given(decision_arrays)
def test_depth_counts_leading_passes(decisions):
    for event, reached in enumerate(depth(decisions)):
        assert decisions[:reached, event].all()
        assert reached == len(decisions) or not decisions[reached, event]


@given(decision_arrays)
def test_counts_never_rise(decisions):
    steps = tuple(Step(str(i), "", lambda view: None) for i in range(len(decisions)))
    counts = list(count(steps, decisions).values())
    assert counts == sorted(counts, reverse=True)


@given(decision_arrays)
def test_an_event_passes_all_exactly_if_it_passes_a_step_and_the_others(decisions):
    for i in range(len(decisions)):
        np.testing.assert_array_equal(passes_all_but(decisions, [i]) & decisions[i], decisions.all(axis=0))
