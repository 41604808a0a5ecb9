"""Calibration files: each run has one set of constants, and whatever is wrong with a file is said in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.errors import CalibrationError, NtupleError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import BEAM_P4, IP_SIGMA
from jpsi_lnv.analysis.objects import calibration, tracks
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast

HELIX = {
    "format": "jpsi-lnv helix 1",
    "corrections": [
        {
            "first": 9900,
            "last": 9999,
            "species": species,
            "charge": charge,
            "mean": [0.1, 0.2 * charge, 0.3],
            "width": [1.1, 1.2, 1.3],
            "control_sample": "made up",
            "source": "this test",
        }
        for species in ("k", "pi")
        for charge in (1, -1)
    ],
}
TABLE = {"p": [0.2, 0.6], "cos_theta": [-0.5, 0.5], "offset": [[1.0, 1.0], [3.0, 3.0]], "width": [[2, 2], [2, 2]]}
CHI = {"format": "jpsi-lnv chi 1", "corrections": {"dedx": {"k": TABLE}, "tof12e": {"k": TABLE}}}
RUNS = {
    "runs": [
        {
            "first": 9900,
            "last": 9999,
            "sqrt_s": 3.097,
            "field": 1.0,
            "period": 2009,
            "ip": [0.1, 0.2, 0.3],
            "ip_sigma": [0.04, 0.001, 0.8],
        }
    ]
}


def write(directory, *ranges, run_table=None, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    content = {"format": "jpsi-lnv calibration 1", "source": "this test", "ranges": list(ranges)}
    content |= {"run_table": run_table} if run_table else {}
    path = directory / "calibration.json"
    path.write_text(json.dumps(content))
    return path


def of(first, last, simulation=True, **files):
    return {"first": first, "last": last, "simulation": simulation, **files}


def columns(run=9950, n=200, period=2009, process=processes.SIGNAL):
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "d", 0, n, 5))
    values = dict(block.values) | {"run": np.full(n, run, np.int32), "period": np.full(n, period, np.int32)}
    return ArrayColumns(values, block.offsets, n)


def test_recorded_and_simulated_runs_have_constants_of_their_own(tmp_path):
    path = write(tmp_path, of(9900, 9999, helix="h.json"), of(9900, 9949, False), of(9950, 9999, False), h=HELIX)
    simulated = calibration.read(path, is_simulation=True)
    recorded = calibration.read(path, is_simulation=False)
    assert [r.first for r in recorded.ranges] == [9900, 9950]
    assert simulated.ranges[0].constants.helix is not None
    assert simulated.digest == recorded.digest
    ((constants, events),) = simulated.parts(np.array([-9900, -9999]))
    assert events.all()
    assert constants.helix is simulated.ranges[0].constants.helix
    with pytest.raises(CalibrationError, match=r"run 10000 is not in .*calibration.json"):
        recorded.parts(np.array([9900, 10000]))


def test_the_digest_is_that_of_all_files(tmp_path):
    before = calibration.read(write(tmp_path, of(9900, 9999, helix="h.json"), h=HELIX), is_simulation=True).digest
    changed = json.loads(json.dumps(HELIX))
    changed["corrections"][0]["mean"][0] = 0.11
    assert (
        calibration.read(write(tmp_path, of(9900, 9999, helix="h.json"), h=changed), is_simulation=True).digest
        != before
    )


@pytest.mark.parametrize(
    ("ranges", "files", "message"),
    [
        ([of(1, 5), of(5, 9)], {}, "runs 5 to 5 stand in two ranges"),
        ([of(5, 1)], {}, "has a range from run 5 to 1"),
        ([of(1, 5, False)], {}, "has no ranges of simulated runs"),
        ([of(1, 5, helix="absent.json")], {}, r"helix corrections .*absent.json: cannot be read"),
        ([of(1, 5, emc="absent.json")], {}, r"absent.json: cannot be read"),
        ([of(1, 5, toff="a.json")], {}, r"ranges.0.toff is"),
        ([{"first": 1, "last": 5}], {}, r"ranges.0.simulation is missing"),
        ([of(1, 5, helix="h.json")], {"h": HELIX}, r"runs 9900-9999; wanted such as hold all runs 1-5"),
        ([of(9990, 10010, helix="h.json")], {"h": HELIX}, "wanted such as hold all runs 9990-10010"),
        ([of(1, 5, chi="c.json")], {"c": CHI | {"format": "x"}}, "has the format 'x'"),
        ([of(1, 5, chi="c.json")], {"c": CHI | {"corrections": {"emc": {}}}}, "not by subsystem"),
        ([of(1, 5, chi="c.json")], {"c": CHI | {"corrections": {"dedx": {"z": {}}}}}, "not by hypothesis"),
        ([of(1, 5, chi="c.json")], {"c": CHI | {"corrections": {"dedx": {"k": {}}}}}, "dedx.k.p is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, ranges, files, message):
    with pytest.raises(CalibrationError, match=message) as caught:
        calibration.read(write(tmp_path, *ranges, **files), is_simulation=True)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": [0.9, 1.1, 1.1]}, "corrections.0.width.0 is 0.9"),
        ({"mean": [0.1, 0.1]}, "corrections.0.mean.2 is missing"),
        ({"charge": 0}, "corrections.0.charge is 0"),
        ({"species": "tau"}, "corrections.0.species is 'tau'"),
        ({"charge": -1}, r"runs 9900 to 9999 of k with charge -1 are no range or overlap"),
    ],
)
def test_wrong_helix_corrections_are_refused(tmp_path, change, message):
    content = json.loads(json.dumps(HELIX))
    content["corrections"][0] |= change
    with pytest.raises(CalibrationError, match=message):
        calibration.read(write(tmp_path, of(9900, 9999, helix="h.json"), h=content), is_simulation=True)


def test_the_run_table_gives_points_spreads_and_the_four_momentum(tmp_path):
    found = calibration.read(write(tmp_path, of(9900, 9999), run_table="r.json", r=RUNS), is_simulation=True)
    chunk = calibration.applied(columns(-9950), found)
    assert chunk.has("", "beam_energy")
    assert set(chunk.scalar("ip_x")) == {0.1}
    assert [set(chunk.scalar(name)) for name in IP_SIGMA] == [{0.04}, {0.001}, {0.8}]
    p4 = np.stack([chunk.scalar(name) for name in BEAM_P4])
    np.testing.assert_allclose(p4[3] ** 2 - (p4[:3] ** 2).sum(axis=0), 3.097**2)


def test_a_table_of_another_period_and_runs_outside_are_refused(tmp_path):
    found = calibration.read(write(tmp_path, of(9000, 9999), run_table="r.json", r=RUNS), is_simulation=True)
    with pytest.raises(CalibrationError, match=r"run -9950: the file says period 2012, run table .*r.json 2009"):
        calibration.applied(columns(-9950, period=2012), found)
    with pytest.raises(NtupleError, match=r"run 9100 \(1 runs in all\) is not in run table"):
        calibration.applied(columns(-9100), found)


def test_chi_is_corrected_inside_the_nodes_and_in_its_runs_alone(tmp_path):
    path = write(tmp_path, of(9900, 9999, False, chi="c.json"), of(9900, 9999), c=CHI)
    plain = columns(9950)
    found = calibration.applied(plain, calibration.read(path, is_simulation=False))
    p = tracks.momentum(plain.flat("Track", "kappa"), plain.flat("Track", "tanl"))
    cosine = tracks.cos_theta(plain.flat("Track", "tanl"))
    inside = (p > 0.2) & (p < 0.6) & (np.abs(cosine) < 0.5)
    before, after = (c.flat("Track", "dedx_chi_k").astype(float) for c in (plain, found))
    np.testing.assert_allclose(
        after[inside], (before - (1.0 + (p - 0.2) / 0.4 * 2.0))[inside] / 2.0, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(after[~inside], before[~inside])
    assert 10 < inside.sum() < len(p)
    assert found.flat("Track", "dedx_chi_pi") is plain.flat("Track", "dedx_chi_pi")
    simulated = columns(-9950)
    same = calibration.applied(simulated, calibration.read(path, is_simulation=True))
    assert same.flat("Track", "dedx_chi_k") is simulated.flat("Track", "dedx_chi_k")


def test_without_a_calibration_nothing_changes():
    plain = columns(-9950)
    assert calibration.applied(plain, calibration.simulated()) is plain
    assert calibration.simulated().helix_correction(plain.scalar("run")) is None
