"""The detector's dimensions and the numbers of its counters, against the tables of the geometry that pybes3 ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jpsi_lnv.analysis.simulation import raw
from jpsi_lnv.analysis.simulation.parameters import NOMINAL

EAST_MRPC, WEST_MRPC = 3, 4
BARREL = 1


def table(name):
    pybes3 = pytest.importorskip("pybes3")
    with np.load(Path(pybes3.__file__).parent / "data" / f"{name}_geom.npz") as found:
        return {key: found[key] for key in found.files}


def corners(of, chosen):
    """Return the corners of the chosen elements, (n, 8, 3), in cm."""
    return np.stack([of[f"points_{axis}"][chosen] for axis in "xyz"], axis=-1)


def distance(points):
    return np.hypot(points[..., 0], points[..., 1])


def test_the_end_caps_of_the_tof_lie_where_the_tables_say():
    of = table("tof")
    scintillators = corners(of, of["part"] == 0)
    assert NOMINAL.tof_endcap_r_min == pytest.approx(distance(scintillators).min(), abs=0.1)
    assert NOMINAL.tof_endcap_r_max == pytest.approx(distance(scintillators).max(), abs=0.1)
    assert NOMINAL.tof_endcap_z == pytest.approx(scintillators[..., 2].min(), abs=0.1)


def test_the_crystals_lie_where_the_tables_say():
    of = table("emc")
    endcap, barrel = corners(of, of["part"] == 0), corners(of, of["part"] == BARREL)
    front = endcap[:, :4]
    assert NOMINAL.emc_endcap_r_min == pytest.approx(distance(front).min(), abs=0.1)
    assert NOMINAL.emc_endcap_r_max == pytest.approx(distance(front).max(), abs=0.1)
    assert distance(barrel[:, :4].mean(axis=1)).min() < NOMINAL.emc_radius < distance(barrel[:, :4].mean(axis=1)).max()
    length = np.linalg.norm(barrel[:, :4].mean(axis=1) - barrel[:, 4:].mean(axis=1), axis=-1)
    assert NOMINAL.crystal_length == pytest.approx(np.median(length), abs=0.1)


@pytest.mark.parametrize("part", [EAST_MRPC, WEST_MRPC])
def test_the_middle_of_every_mrpc_strip_has_its_number(part):
    of = table("tof")
    chosen = of["part"] == part
    middle = corners(of, chosen).mean(axis=1)
    n = len(middle)
    azimuth = np.repeat(np.arctan2(middle[:, 1], middle[:, 0])[:, None], 2, axis=1)
    crossed = raw.Crossing(middle[:, 2], np.zeros(n), distance(middle), azimuth, np.zeros(n))
    place = np.full(n, raw.ENDCAP)
    found = raw._counter(np.arange(n), place, crossed, np.ones(n, dtype=bool))
    module = raw.N_MRPC * (part == WEST_MRPC) + of["layer_or_module"][chosen]
    np.testing.assert_array_equal(found, raw.N_STRIPS * module + of["phi_or_strip"][chosen])


def test_the_muon_chambers_lie_where_the_tables_say():
    of = table("muc")
    for layer, radius in enumerate(raw.MUC_RADII):
        # The first segment stands at right angles to x.
        own = (of["part"] == BARREL) & (of["layer"] == layer) & (of["segment"] == 0)
        assert np.abs(of["center_x"][own]).max() == pytest.approx(radius, abs=0.1)
    for layer, z in enumerate(raw.MUC_Z):
        assert of["center_z"][(of["part"] == 0) & (of["layer"] == layer)] == pytest.approx(z, abs=0.1)
    endcap = distance(corners(of, of["part"] == 0))
    assert (endcap.min(), endcap.max()) == pytest.approx(raw.MUC_ENDCAP_RHO, abs=0.5)
