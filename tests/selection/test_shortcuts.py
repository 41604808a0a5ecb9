"""What the search leaves out changes nothing: every shortcut against the plain computation of everything."""

import numpy as np
import pytest

from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.objects import pid
from jpsi_lnv.analysis.selection import steps
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast


class PlainEvents(SearchEvents):
    """The search without its shortcuts: every track gets confidence levels and momenta."""

    @property
    def is_identified(self):
        return self.is_good & np.repeat(self.is_retained, np.diff(self.offsets)) & (self.identification.ndof > 0)

    @property
    def is_examined(self):
        return self.is_identified

    @property
    def identification(self):
        return pid.identify(self.columns, self.cuts)

    @property
    def examined(self):
        return np.arange(len(self.charge))

    row_of_track = examined

    @property
    def is_electron(self):
        return self.is_identified & pid.is_electron(self.identification.cl, self.e_over_p, self.cuts)

    @property
    def is_kaon(self):
        return self.is_identified & pid.is_hadron(self.identification.cl, self.e_over_p, self.cuts)


@pytest.fixture(params=["signal", "kkpipi", "eeee"])
def columns(request):
    channel = processes.SIGNAL if request.param == "signal" else processes.BACKGROUNDS[request.param]
    recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(recipe, "test", 0, 1500, 7))
    return ArrayColumns(block.values, block.offsets, block.n_events)


def test_decisions_are_those_of_the_plain_search(columns):
    fast, plain = (kind(columns, SELECTION, 3.0969) for kind in (SearchEvents, PlainEvents))
    reached = [steps.depth(steps.apply(SECTION_III, view)) for view in (fast, plain)]
    np.testing.assert_array_equal(*reached)
    np.testing.assert_array_equal(fast.combinations[0], plain.combinations[0])
    np.testing.assert_array_equal(fast.best.chi2, plain.best.chi2)


def test_tracks_that_are_measured_are_those_with_confidence_levels(columns):
    view = SearchEvents(columns, SELECTION, 3.0969)
    for needed in (view.is_good, np.ones_like(view.is_good), np.zeros_like(view.is_good)):
        measured = pid.is_measured(columns, SELECTION, needed)
        np.testing.assert_array_equal(measured, needed & (pid.identify(columns, SELECTION).ndof > 0))


def test_depth_is_the_plain_product(rng):
    decisions = rng.random((7, 500)) < 0.8
    np.testing.assert_array_equal(steps.depth(decisions), np.cumprod(decisions, axis=0).sum(axis=0))
