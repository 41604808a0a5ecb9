"""Ten real tracks: chi, probabilities and decisions are those of an independent evaluation of BOSS's ParticleID.

The tracks are BOSS's own simulation, the parameters a user's copy of the directory share, and the reference an
evaluation that knows nothing of this package; none of them is part of the project.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pid_reference import density_chi, network_output

from jpsi_lnv.analysis.cuts import PID_VARIANTS, SELECTION
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.dst import open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.analysis.objects import calibration, networks, pid, tof_pid, tofcorr
from jpsi_lnv.processors.commands.calibration import import_

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(
        not {"BEAN_SHARE", "PID_REFERENCE"} <= set(os.environ),
        reason="set BEAN_SHARE and PID_REFERENCE to the directories of BEAN's parameters and of the reference",
    ),
]

WITHIN = 1e-3
FIVE = range(len(schema.PID_HYPOTHESES))
# The reference has no TOFE, which measures the track in the end cap.
BY_TOFE = 8


@pytest.fixture(scope="module")
def columns(boss_file):
    with open_dst(str(boss_file), tuple(schema.GROUPS)) as dst:
        block = make_block(dst.read(0, dst.n_events, uniform(Conditions(sqrt_s=3.097))))
    return ArrayColumns(block.values, block.offsets, block.n_events)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The calibration of simulated events that `lnv calibration import` makes."""
    directory = tmp_path_factory.mktemp("calibration")
    import_.callback(share=Path(os.environ["BEAN_SHARE"]), output=directory, dedx=None)
    return directory


@pytest.fixture(scope="module")
def constants(imported):
    return calibration.read(imported / "calibration.json", is_simulation=True)


@pytest.fixture(scope="module")
def golden():
    return json.loads((Path(os.environ["PID_REFERENCE"]) / "golden_pid_run-9989.json").read_text())["tracks"]


@pytest.fixture(scope="module")
def chosen(columns, golden):
    """Indices of the ten tracks: the first of its charge in each event."""
    offsets, charge = columns.offsets("Track"), columns.flat("Track", "charge")
    return np.array([offsets[t["event"]] + int(charge[offsets[t["event"]]] != t["charge"]) for t in golden])


def reference(golden, name):
    return np.array([t[name] if t[name] is not None else [np.nan] * 5 for t in golden], dtype=float)


def test_the_tracks_are_those_of_the_reference(columns, golden, chosen):
    kappa, tanl = (columns.flat("Track", n)[chosen] for n in ("kappa", "tanl"))
    np.testing.assert_allclose(np.sqrt(1 + tanl**2) / np.abs(kappa), [t["p_pi"] for t in golden], atol=1e-4)


def test_chi_of_dedx(columns, golden, chosen):
    found = pid.dedx_chi(columns, schema.PID_HYPOTHESES, chosen)
    np.testing.assert_allclose(found, reference(golden, "dedx"), atol=WITHIN)


def test_chi_of_two_layers(columns, golden, chosen):
    found, endcap = tof_pid.barrel_and_endcap_chi(columns, chosen, (-4.0, 4.0))
    np.testing.assert_allclose(found, reference(golden, "tof12"), atol=WITHIN)
    assert np.flatnonzero(np.isfinite(endcap[:, 0])).tolist() == [BY_TOFE]


def test_chi_of_corrected_times(columns, golden, chosen, constants):
    found = tofcorr.chi(columns, constants.ranges[0].constants.tofcorr, chosen, (-4.0, 6.0))
    np.testing.assert_allclose(found, reference(golden, "tofcorr"), atol=WITHIN)


def test_chi_of_the_calorimeter(columns, golden, chosen, constants):
    found = networks.emc_chi(columns, constants.ranges[0].constants.emc, chosen)
    np.testing.assert_allclose(found, reference(golden, "emc"), atol=WITHIN)


@pytest.mark.parametrize(
    ("name", "variant", "emc"),
    [
        ("prob_dedx_tof12_emc", "tof12e", True),
        ("prob_dedx_tofcorr_emc", "tofcorr", True),
        ("prob_dedx_tof12", "tof12e", False),
    ],
)
def test_probabilities_and_decisions(columns, golden, chosen, constants, name, variant, emc):
    cuts = replace(SELECTION, pid_emc=emc, **PID_VARIANTS[variant])
    wanted, rows = reference(golden, name), np.arange(len(golden))
    if variant == "tof12e":
        rows = np.delete(rows, BY_TOFE)
    of_three = pid.identify(columns, cuts, chosen, constants).cl
    of_others = pid.identify(columns, cuts, chosen, constants, considered=("mu", "p", "e")).cl
    np.testing.assert_allclose(of_three[rows], wanted[rows][:, [0, 2, 3]], atol=WITHIN)
    np.testing.assert_allclose(of_others[rows], wanted[rows][:, [1, 4, 0]], atol=WITHIN)
    np.testing.assert_array_equal(of_three[:, 1] > of_three[:, 2], wanted[:, 2] > wanted[:, 3])


def test_the_muon_chambers_network_is_the_reference(columns, imported, constants):
    """BOSS's evaluation of MucPID, written out for one track after the other."""
    content = json.loads((imported / "muc.json").read_text())
    names = ("kappa_mdc", "tanl_mdc", "phi0_mdc", "muc_depth", "muc_max_hits", "muc_chi2", "muc_distance", "muc_dphi")
    kappa, tanl, phi0, *chambers = (columns.flat("Track", n).astype(float) for n in names)
    found = networks.muc_chi(columns, constants.ranges[0].constants.muc, np.arange(len(kappa)))
    measured = np.flatnonzero(np.isfinite(found[:, 0]))
    assert len(measured) > 10
    for t in measured:
        p, cosine = np.sqrt(1 + tanl[t] ** 2) / abs(kappa[t]), tanl[t] / np.sqrt(1 + tanl[t] ** 2)
        depth, hits, chi2, distance, dphi = (c[t] for c in chambers)
        inputs = (p, (phi0[t] + np.pi / 2) % (2 * np.pi), cosine, depth, hits, chi2, distance, 3.14159 - dphi)
        output = network_output(content, inputs)
        chi = {kind: density_chi(content, kind, p, output, own_bin=False) for kind in ("mu", "pi")}
        np.testing.assert_allclose(found[t], [chi["mu" if h == 1 else "pi"] for h in FIVE], atol=1e-9)
