"""A chunk shows what may be seen, once for all selections, and counts hidden events where they cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChosenEvents
from jpsi_lnv.analysis.selection import blinding
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, Step, apply, count

pytestmark = pytest.mark.fast

SQRT_S = 3.0969
BLIND = DatasetMetadata(kind="data", sqrt_s=SQRT_S)
OPEN = DatasetMetadata(kind="signal", sqrt_s=SQRT_S)


@pytest.fixture(scope="module")
def hidden(signal):
    return blinding.in_box(SearchEvents(signal, SELECTION, SQRT_S))


def test_all_selections_share_one_view(signal):
    for metadata in (BLIND, OPEN):
        chunk = Chunk(signal, "d", metadata, SELECTION)
        assert chunk.events is chunk.events
        assert chunk.decisions is chunk.decisions


def test_an_open_chunk_shows_every_event(signal):
    chunk = Chunk(signal, "d", OPEN, SELECTION)
    assert chunk.n_read == chunk.events.n_events == signal.n_events


def test_a_blind_chunk_shows_what_lies_outside_the_box(signal, hidden):
    chunk = Chunk(signal, "d", BLIND, SELECTION)
    assert hidden.any()
    assert chunk.n_read == signal.n_events
    np.testing.assert_array_equal(chunk.events.columns.scalar("event"), signal.scalar("event")[~hidden])


def test_a_blind_chunk_without_hidden_events_computes_nothing_twice(signal, hidden):
    chunk = Chunk(ChosenEvents(signal, ~hidden), "d", BLIND, SELECTION)
    assert chunk.events.n_events == np.count_nonzero(~hidden)
    assert {"is_good", "is_identified", "combinations", "mass"} <= vars(chunk.events).keys()
    np.testing.assert_array_equal(chunk.decisions, Chunk(signal, "d", BLIND, SELECTION).decisions)


def test_some_events_of_a_chunk_are_a_chunk(signal, hidden):
    """Counts, decisions and columns are those of the events alone."""
    whole, some = SearchEvents(signal, SELECTION, SQRT_S), SearchEvents(ChosenEvents(signal, hidden), SELECTION, SQRT_S)
    np.testing.assert_array_equal(apply(SECTION_III, some), apply(SECTION_III, whole)[:, hidden])
    np.testing.assert_array_equal(some.best_mass, whole.best_mass[hidden[whole.best.event]])
    assert some.columns.has("Track", "kappa")
    assert not some.columns.has("Track", "nothing")


def test_hidden_events_leave_at_the_step_that_says_so(signal, hidden):
    steps = [
        Step("odd", "", lambda of: of.columns.scalar("event") % 2 == 1),
        Step("thirds", "", lambda of: of.columns.scalar("event") % 3 == 0, hides=True),
        Step("rest", "", lambda of: np.ones(of.n_events, dtype=bool)),
    ]
    chunk = Chunk(signal, "d", BLIND, SELECTION)
    odd, thirds = (signal.scalar("event") % n == rest for n, rest in ((2, 1), (3, 0)))
    seen = int((odd & thirds & ~hidden).sum())
    found = chunk.cut_flow(steps, apply(steps, chunk.events))
    assert found == {"all": signal.n_events, "odd": odd.sum(), "thirds": seen, "rest": seen}
    late = chunk.cut_flow(steps[2:], apply(steps[2:], chunk.events))
    assert late == {"all": signal.n_events, "rest": int((~hidden).sum())}


def test_an_open_cut_flow_is_the_blind_one_and_the_box(signal, hidden):
    flows = []
    for metadata in (BLIND, OPEN):
        chunk = Chunk(signal, "d", metadata, SELECTION)
        flows.append(chunk.cut_flow(SECTION_III, chunk.decisions))
    box = apply(SECTION_III, SearchEvents(ChosenEvents(signal, hidden), SELECTION, SQRT_S))
    leaves = next(i for i, step in enumerate(SECTION_III) if step.hides)
    for i, (step, n) in enumerate(count(SECTION_III, box).items()):
        assert flows[1][step] == flows[0][step] + (n if i > leaves else 0)
