"""A run table gives each run its conditions, and is refused if it could give two."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events.dst import spot_of_tracks
from jpsi_lnv.analysis.events.run_table import Conditions, read_run_table, uniform

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
