"""The tables that the documentation shows."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

from jpsi_lnv.analysis.report import render
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM, CONTROLS

pytestmark = pytest.mark.fast
TABLES = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generated.py"))


def test_every_parameter_channel_and_cross_section_has_a_row():
    assert len(TABLES["parameters"]().rows) == len(dataclasses.fields(DetectorParameters))
    assert len(TABLES["processes"]().rows) == len(BACKGROUNDS) + len(CONTROLS)
    assert len(TABLES["continuum"]().rows) == len(CONTINUUM)


@pytest.mark.parametrize("name", ["parameters", "processes", "continuum", "final_states"])
def test_tables_become_markdown(name):
    text = render.markdown(TABLES[name]())
    assert text.count("\n") >= 3
    assert "|" in text
