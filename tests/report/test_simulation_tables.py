"""The tables that the documentation shows."""

from __future__ import annotations

import dataclasses

import pytest

from jpsi_lnv.analysis.report import render, simulation_tables
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS

pytestmark = pytest.mark.fast


def test_every_parameter_channel_and_cross_section_has_a_row():
    assert len(simulation_tables.parameters().rows) == len(dataclasses.fields(DetectorParameters))
    assert len(simulation_tables.processes().rows) == len(BACKGROUNDS) + len(CONTROLS)
    assert len(simulation_tables.continuum().rows) == len(CONTINUUM)


@pytest.mark.parametrize("name", ["parameters", "processes", "continuum"])
def test_tables_become_markdown(name):
    text = render.markdown(getattr(simulation_tables, name)())
    assert text.count("\n") >= 3
    assert "|" in text
