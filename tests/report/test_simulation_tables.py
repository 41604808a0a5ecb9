"""The tables that the documentation shows."""

from __future__ import annotations

import dataclasses

import pytest

from jpsi_lnv.analysis.report import documentation, render
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS

pytestmark = pytest.mark.fast


def test_every_parameter_channel_and_cross_section_has_a_row():
    assert len(documentation.parameters().rows) == len(dataclasses.fields(DetectorParameters))
    assert len(documentation.processes().rows) == len(BACKGROUNDS) + len(CONTROLS)
    assert len(documentation.continuum().rows) == len(CONTINUUM)


@pytest.mark.parametrize("name", ["parameters", "processes", "continuum", "final_states"])
def test_tables_become_markdown(name):
    text = render.markdown(getattr(documentation, name)())
    assert text.count("\n") >= 3
    assert "|" in text
