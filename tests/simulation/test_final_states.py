"""The table of final states, and how an event finds its row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.simulation import final_states
from jpsi_lnv.analysis.simulation.beam import cross
from jpsi_lnv.analysis.simulation.final_states import FINAL_STATES, FractionError, observe, signatures
from jpsi_lnv.analysis.simulation.generator import generate
from jpsi_lnv.analysis.simulation.inclusive import FragmentationError, fragment
from jpsi_lnv.analysis.simulation.particles import ETA, K_LONG, K_SHORT, KAON, OMEGA, PHOTON, PION, PION0
from jpsi_lnv.analysis.simulation.processes import Process, jpsi, leaves

pytestmark = pytest.mark.fast


def events(rng, *daughters, n=50):
    return generate(rng, Process("test", jpsi(*daughters)), 3.0969, cross(rng, n), ())


def test_rows_are_disjoint():
    own = [signatures(row) for row in FINAL_STATES]
    assert sum(map(len, own)) == len(set().union(*own))


def test_every_mode_is_counted_in_its_row(rng):
    for row in FINAL_STATES:
        for mode in row.modes:
            seen = observe(events(rng, *mode.daughters, n=20))
            assert np.isin(seen.signature, list(signatures(row))).all(), row.name


def test_a_bit_more_than_half_of_the_decays_is_measured():
    assert 0.5 < final_states.measured_fraction() < 0.6


def test_a_table_above_one_is_refused():
    large = dataclasses.replace(FINAL_STATES[0], multiplicity=10.0)
    with pytest.raises(FractionError, match=r"2 final states add up to 1\.194\d, wanted at most 1"):
        final_states.measured_fraction((large, large))


def test_shares_that_do_not_add_up_are_refused():
    half = dataclasses.replace(FINAL_STATES[0], modes=(dataclasses.replace(FINAL_STATES[0].modes[0], share=0.5),))
    with pytest.raises(FractionError, match="got shares"):
        final_states.measured_fraction((half,))


@pytest.mark.parametrize(
    ("daughters", "is_forbidden"),
    [
        ((PION, -PION, PION0), False),
        ((PION, -PION, PION0, PION0), True),
        ((PION, -PION, ETA), True),
        ((PION, -PION, PHOTON), False),
        ((PION, -PION, PION0, PHOTON), True),
        ((final_states.Node(OMEGA, leaves(PION0, PHOTON)), PION, -PION), False),
        ((K_SHORT, K_LONG), False),
        ((K_SHORT, K_SHORT), True),
        ((ETA, PION0, PION0, PION0), True),
        ((KAON, -KAON, PION0, PION0), False),
    ],
)
def test_parities_forbid_what_gluons_cannot_make(rng, daughters, is_forbidden):
    assert np.all(observe(events(rng, *daughters)).is_forbidden == is_forbidden)


def test_a_generator_that_makes_only_measured_states_is_found_out(rng):
    with pytest.raises(FragmentationError, match=r"3 of 3 decays .* refused"):
        fragment(lambda n: events(rng, PION, -PION, PION0, n=n), 3)
