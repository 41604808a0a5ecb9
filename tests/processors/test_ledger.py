"""The ledger: spans join, overlap and leave holes as sets of entries would."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.processors.books.chunks import cut
from jpsi_lnv.processors.books.ledger import Spans

pytestmark = pytest.mark.fast

SPAN = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1]))


def counts(spans, n=100):
    total = np.zeros(n, dtype=int)
    for start, stop in spans:
        total[start:stop] += 1
    return total


@given(st.lists(SPAN, max_size=12), st.integers(0, 12), st.randoms())
def test_any_order_of_merging_gives_one_ledger(spans, k, random):
    whole = Spans(spans)
    random.shuffle(spans)
    merged = Spans(spans[:k]) + Spans(spans[k:])
    assert (counts(merged) == counts(whole)).all()
    assert whole.n_entries == merged.n_entries == sum(b - a for a, b in spans)
    if not whole.overlaps():
        assert [s for s in merged if s[0] < s[1]] == [s for s in whole if s[0] < s[1]]


@given(st.lists(SPAN, max_size=12), st.integers(1, 90))
def test_holes_and_overlaps_are_those_of_the_entries(spans, n):
    seen = counts(spans)
    holes, overlaps = Spans(spans).holes(n), Spans(spans).overlaps()
    assert (counts(holes)[:n] == (seen[:n] == 0)).all()
    assert ((counts(overlaps) > 0) == (seen > 1)).all()


@given(st.integers(0, 1000), st.integers(1, 300), st.lists(st.integers(0, 1000), max_size=5), st.randoms())
def test_chunks_cover_a_file_once_and_join_to_one_span(n, chunksize, clusters, random):
    edges = tuple(sorted({0, n, *(c for c in clusters if c <= n)}))
    chunks = list(cut((0, n), chunksize, edges))
    assert all(b - a <= chunksize for a, b in chunks)
    random.shuffle(chunks)
    ledger = sum((Spans([c]) for c in chunks), Spans())
    assert list(ledger) == [(0, n)]
    assert ledger.holes(n) == []
    assert ledger.overlaps() == []


def test_chunks_end_at_baskets_where_one_is_in_reach():
    assert list(cut((0, 100), 45, (0, 20, 40, 60, 80, 100))) == [(0, 40), (40, 80), (80, 100)]
    assert list(cut((0, 100), 15, (0, 40, 100))) == [
        (0, 15),
        (15, 30),
        (30, 40),
        (40, 55),
        (55, 70),
        (70, 85),
        (85, 100),
    ]


def test_an_empty_file_leaves_a_trace():
    assert Spans().holes(0) == [(0, 0)]
    assert Spans([(0, 0)]).holes(0) == []


def test_ten_thousand_chunks_take_no_more_room_than_one():
    rng = np.random.default_rng(1)
    starts = rng.permutation(10_000)
    assert len(Spans([(int(s), int(s) + 1) for s in starts])) == 1
