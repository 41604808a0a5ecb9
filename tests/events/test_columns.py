"""Sums over the entries of each event, and decisions on events passed to their entries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.events.columns import of_event, sum_per_event

pytestmark = pytest.mark.fast


def test_sums_of_charges_and_of_masks():
    offsets = np.array([0, 2, 2, 5])
    charge = np.array([1, -1, 1, 1, -1], dtype=np.int8)
    assert sum_per_event(offsets, charge).tolist() == [0, 0, 1]
    assert sum_per_event(offsets, charge > 0).tolist() == [1, 0, 2]
    assert sum_per_event(np.zeros(1, dtype=np.int64), charge[:0]).shape == (0,)


@given(st.lists(st.lists(st.integers(-100, 100), max_size=6), max_size=8))
def test_sums_are_those_of_the_lists(events):
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in events])]).astype(np.int64)
    values = np.array([v for e in events for v in e], dtype=np.int8)
    assert sum_per_event(offsets, values).tolist() == [sum(e) for e in events]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=300))
def test_entries_get_the_decision_on_their_event(events):
    decision = np.array([d for d, _ in events], dtype=np.bool_)
    counts = np.array([n for _, n in events], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    np.testing.assert_array_equal(of_event(offsets, decision), np.repeat(decision, counts))
