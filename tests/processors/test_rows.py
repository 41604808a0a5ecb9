"""Rows of candidates add up like coffea's columns, without copies."""

import pickle

import numpy as np
import pytest
from coffea.processor import accumulate, column_accumulator
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.processors.books.checkpoints import in_order
from jpsi_lnv.processors.work.executors import merge
from jpsi_lnv.processors.work.rows import PIECES_MAX, Rows

pytestmark = pytest.mark.fast


def columns(n_rows, first=0):
    event = np.arange(first, first + n_rows)
    return {"event": event, "p": 0.1 * np.outer(event, [1.0, 2.0]), "name": event.astype(str)}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3 * PIECES_MAX))
def test_tables_add_up_like_columns_of_coffea(sizes):
    edges = np.concatenate([[0], np.cumsum(sizes)])
    pieces = [columns(n, first) for n, first in zip(sizes, edges, strict=False)]
    expected = accumulate([{name: column_accumulator(v) for name, v in piece.items()} for piece in pieces])
    total = merge({"candidates": Rows(piece)} for piece in pieces)["candidates"]
    assert len(total) == edges[-1]
    assert len(total._pieces) <= PIECES_MAX
    for name, values in total.columns.items():
        np.testing.assert_array_equal(values, expected[name].value)
    for found, wanted in zip(in_order(total).values(), in_order(expected).values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_rows_are_ordered_by_run_then_event_then_all_else():
    rows = {"chi2": [5, 1, 2, 3, 4], "event": [7, 9, 9, 3, 3], "run": [1, 1, 1, 2, 1]}
    found = in_order({name: np.array(values) for name, values in rows.items()})
    assert {name: values.tolist() for name, values in found.items()} == {
        "chi2": [4, 5, 1, 2, 3],
        "event": [3, 7, 9, 9, 3],
        "run": [1, 1, 1, 1, 2],
    }


def test_a_table_travels_as_one_piece():
    total = Rows(columns(2)) + Rows(columns(3, 2))
    arrived = pickle.loads(pickle.dumps(total))
    assert len(arrived._pieces) == 1
    np.testing.assert_array_equal(arrived.columns["p"], columns(5)["p"])


def test_a_sum_leaves_its_terms_alone():
    one, none = Rows(columns(2)), Rows(columns(0))
    assert len(accumulate([{"a": one}, {"a": one, "b": none}, {"a": one}])["a"]) == 6
    assert len(one) == 2
    assert (none + none).columns["p"].shape == (0, 2)


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"columns \{'q': \(\)\} cannot be added to columns \{'q': \(2,\)\}"):
        Rows({"q": np.zeros((1, 2))}) + Rows({"q": np.zeros(2)})
    with pytest.raises(ValueError, match="cannot be added"):
        Rows(columns(1)) + Rows({"q": np.zeros(2)})


@pytest.mark.parametrize("given", [{}, {"a": np.zeros(2), "b": np.zeros(3)}])
def test_a_table_has_columns_of_one_length(given):
    with pytest.raises(ValueError, match="columns of one length"):
        Rows(given)
