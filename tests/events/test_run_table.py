"""A run table gives each run its conditions, and is refused if it could give two."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events.dst import spot_of_tracks
from jpsi_lnv.analysis.events.run_table import (
    BEAM_P4,
    IP_SIGMA,
    JPSI_RUNS,
    Conditions,
    from_offlinedb,
    read_run_table,
    to_json,
    uniform,
)
from jpsi_lnv.analysis.kinematics import initial_four_momentum

pytestmark = pytest.mark.fast

ROW = {"first": 100, "last": 199, "sqrt_s": 3.0969, "field": 1.0, "period": 2009, "ip": [0.1, -0.2, 0.3]}
NEXT = {"first": 200, "last": 300, "sqrt_s": 3.08, "field": 0.9, "period": 2012}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_each_run_has_the_conditions_of_its_range(tmp_path):
    table = read_run_table(write(tmp_path / "runs.json", {"runs": [NEXT, ROW]}))
    found = table.look_up([100, 199, -150, 200, 300])
    assert found.sqrt_s.tolist() == [3.0969, 3.0969, 3.0969, 3.08, 3.08]
    assert found.field.tolist() == [1.0, 1.0, 1.0, 0.9, 0.9]
    assert found.period.tolist() == [2009, 2009, 2009, 2012, 2012]
    np.testing.assert_array_equal(found.ip[:3], np.tile([0.1, -0.2, 0.3], (3, 1)))
    assert np.isnan(found.ip[3:]).all()


@pytest.mark.parametrize("run", [99, 301, -5])
def test_a_run_that_is_not_there_is_named(tmp_path, run):
    table = read_run_table(write(tmp_path / "runs.json", {"runs": [ROW, NEXT]}))
    with pytest.raises(NtupleError, match=rf"run {abs(run)} \(1 runs in all\) is not in run table"):
        table.look_up([150, run])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ({"runs": []}, "wanted"),
        ([ROW], "wanted"),
        ({"runs": [{k: v for k, v in ROW.items() if k != "field"}]}, "entry 0: got"),
        ({"runs": [ROW | {"beam": 1}]}, "entry 0: got"),
        ({"runs": [ROW | {"sqrt_s": "3.1"}]}, "'sqrt_s' is '3.1'"),
        ({"runs": [ROW | {"period": 2010}]}, "'period' is 2010"),
        ({"runs": [ROW | {"ip": [0.1, 0.2]}]}, "'ip' is"),
        ({"runs": [ROW | {"last": 99}]}, "'last' is 99"),
        ({"runs": [ROW, NEXT | {"first": 150}]}, "runs 150 to 199 stand in two ranges"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, content, message):
    path = write(tmp_path / "runs.json", content)
    with pytest.raises(NtupleError, match=message) as caught:
        read_run_table(path)
    assert str(path) in str(caught.value)


def test_without_a_table_all_runs_are_alike():
    found = uniform(Conditions(sqrt_s=3.097, field=0.9, period=2012)).look_up([-9989, 0, 70000])
    assert found.sqrt_s.tolist() == [3.097] * 3
    assert found.period.tolist() == [2012] * 3


@pytest.mark.parametrize("spot", [(0.0, 0.0, 0.0), (0.3, -0.2, 1.5)])
def test_the_spot_is_found_among_secondary_tracks(spot):
    rng = np.random.default_rng(1)
    phi0 = rng.uniform(0, 2 * np.pi, 400)
    dr = spot[0] * np.cos(phi0) + spot[1] * np.sin(phi0) + rng.normal(0, 0.02, 400)
    dr[:60] += rng.uniform(-0.9, 0.9, 60)
    helix = np.stack([dr, phi0, np.ones(400), rng.normal(spot[2], 0.8, 400), np.zeros(400)], axis=1)
    x, y, z = spot_of_tracks(helix)
    assert np.hypot(x - spot[0], y - spot[1]) < 0.01
    assert abs(z - spot[2]) < 0.2


def test_the_spot_of_too_few_tracks_is_the_origin():
    assert spot_of_tracks(np.zeros((2, 5))) == (0.0, 0.0, 0.0)


POINT = {"ip_sigma": [0.04, 0.001, 0.8], "p4": [0.034, 0.0, 0.0, 3.0969]}


def test_spread_and_four_momentum_become_columns_where_the_table_has_them(tmp_path):
    bare = read_run_table(write(tmp_path / "bare.json", {"runs": [ROW, NEXT]})).look_up([150, 250])
    assert not bare.optional
    full = read_run_table(
        write(tmp_path / "full.json", {"runs": [ROW | POINT, NEXT | {"ip_sigma": POINT["ip_sigma"]}]})
    ).look_up([150, 250])
    assert [full.optional[name][0] for name in IP_SIGMA] == POINT["ip_sigma"]
    p4 = np.stack([full.optional[name] for name in BEAM_P4], axis=1)
    np.testing.assert_array_equal(p4, [POINT["p4"], initial_four_momentum(NEXT["sqrt_s"])])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ip_sigma": [0.1, 0.0, 0.1]}, "'ip_sigma' is"),
        ({"p4": [0.034, 0.0, 3.0969]}, "'p4' is"),
        ({"p4": [3.2, 0.0, 0.0, 3.0969]}, "'p4' is"),
        ({"ip_sigma": [0.1, 0.1, 0.1]}, "runs 200 to 300 have no 'ip_sigma'"),
    ],
)
def test_wrong_spreads_and_four_momenta_are_refused(tmp_path, change, message):
    with pytest.raises(NtupleError, match=message):
        read_run_table(write(tmp_path / "runs.json", {"runs": [ROW | change, NEXT]}))


def make_offlinedb(path, versions, beams):
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE CalVtxLumVer "
            "(BossRelease TEXT, RunFrom INT, RunTo INT, DataType TEXT, SftVer TEXT, ParVer INT)"
        )
        db.execute(
            "CREATE TABLE BeamPar (RunNo INT, SftVer TEXT, ParVer INT, Vx REAL, Vy REAL, Vz REAL, "
            "SigmaVx REAL, SigmaVy REAL, SigmaVz REAL)"
        )
        db.executemany("INSERT INTO CalVtxLumVer VALUES (?, ?, ?, ?, ?, ?)", versions)
        db.executemany("INSERT INTO BeamPar VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", beams)
        db.commit()
    return path


VERSIONS = [
    ("7.0.8", 9947, 10000, "LumVtx", "6.6.3", 1),
    ("7.0.8", 10001, 10878, "LumVtx", "6.6.3", 2),
    ("7.0.8", 9947, 10878, "Other", "6.6.4", 1),
    ("6.6.4", 9947, 10878, "LumVtx", "6.6.4", 1),
]
BEAMS = [
    (9950, "6.6.3", 1, 0.1, -0.2, 0.3, 0.04, 0.001, 0.8),
    (9950, "6.6.4", 1, 9.0, 9.0, 9.0, 0.04, 0.001, 0.8),
    (9951, "6.6.3", 1, 8.0, 8.0, 8.0, 0.04, 0.001, 0.8),
    (9951, "6.6.3", 1, 0.4, -0.5, 0.6, 0.05, 0.002, 0.9),
    (10001, "6.6.3", 1, 7.0, 7.0, 7.0, 0.04, 0.001, 0.8),
    (10001, "6.6.3", 2, 0.7, -0.8, 0.9, 0.06, 0.003, 1.0),
    (20000, "6.6.3", 1, 6.0, 6.0, 6.0, 0.04, 0.001, 0.8),
]


def test_interaction_points_come_from_the_version_that_the_release_takes_for_a_run(tmp_path):
    path = make_offlinedb(tmp_path / "offline.db", VERSIONS, BEAMS)
    table = from_offlinedb(path, "7.0.8", JPSI_RUNS)
    assert [c.first for c in table.rows] == [9950, 9951, 10001]
    found = table.look_up([-9950, 9951, 10001])
    np.testing.assert_array_equal(found.ip, [[0.1, -0.2, 0.3], [0.4, -0.5, 0.6], [0.7, -0.8, 0.9]])
    assert [found.optional[name][1] for name in IP_SIGMA] == [0.05, 0.002, 0.9]
    assert set(found.period) == {2009}
    written = read_run_table(write(tmp_path / "runs.json", to_json(table)))
    assert written.rows == table.rows
    with pytest.raises(NtupleError, match="run 9949"):
        table.look_up([9949])


@pytest.mark.parametrize(
    ("release", "beams", "message"),
    [
        ("7.0.9", BEAMS, "release '7.0.9' for the runs of the J/psi samples; it knows 6.6.4, 7.0.8"),
        ("7.0.8", BEAMS[-1:], "no interaction points of release '7.0.8'"),
        ("7.0.8", [(9950, "6.6.3", 1, 0.1, None, 0.3, 0.04, 0.001, 0.8)], r"run 9950 has Vx to SigmaVz \[0.1, None"),
        ("7.0.8", [(9950, "6.6.3", 1, 0.1, 0.2, 0.3, 0.04, 0.0, 0.8)], "run 9950"),
    ],
)
def test_a_data_base_without_usable_points_is_refused(tmp_path, release, beams, message):
    path = make_offlinedb(tmp_path / "offline.db", VERSIONS, beams)
    with pytest.raises(NtupleError, match=message):
        from_offlinedb(path, release, JPSI_RUNS)


def test_what_is_no_data_base_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("no data base, " * 100)
    with closing(sqlite3.connect(tmp_path / "empty.db")) as db:
        db.execute("CREATE TABLE Other (a INT)")
    for name in ("text.db", "empty.db", "absent.db"):
        with pytest.raises(NtupleError, match=f"{name}: is no SQLite copy of offlinedb"):
            from_offlinedb(tmp_path / name, "7.0.8", JPSI_RUNS)
    assert not (tmp_path / "absent.db").exists()
