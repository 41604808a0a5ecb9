"""The columns that a skim keeps for those who identify particles again."""

from __future__ import annotations

import numpy as np
import pytest
from dst_oracle import RUNS

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst import OF_GROUP, open_dst
from jpsi_lnv.analysis.events.dst_tracks import TOF_CLUSTER, TOF_COUNTER, TOF_RAW
from jpsi_lnv.analysis.events.ntuple_writer import make_block

pytestmark = pytest.mark.fast

# Beyond the columns that are kept exactly: 16 bits of the mantissa.
ROUNDED = {"rtol": 2.0**-15, "atol": 1e-6}


def read(boss_file, *keep):
    with open_dst(str(boss_file), keep) as dst:
        return make_block(dst.read(0, dst.n_events, RUNS))


@pytest.fixture(scope="module")
def block(boss_file):
    return read(boss_file, *schema.GROUPS)


def of(block, collection, *names):
    return tuple(block.values[schema.branch(collection, name)] for name in names)


def test_each_group_adds_its_columns_and_changes_no_other(boss_file, block):
    plain = read(boss_file)
    assert not any(schema.BRANCHES[name][1].group for name in plain.values)
    for group in ("pid", "muon", "v0"):
        found = read(boss_file, group)
        assert {schema.BRANCHES[name][1].group for name in found.values.keys() - plain.values.keys()} == {group}
    assert {c.name for c in schema.BRANCHES.values() for c in [c[1]] if c.group} <= {
        schema.BRANCHES[name][1].name for name in block.values
    }
    for name, values in plain.values.items():
        assert block.values[name].tobytes() == values.tobytes()


def test_single_ends_are_kept_on_request(boss_file, block):
    status = read(boss_file, "pid").values["Tof_status"]
    assert np.all(status & (TOF_RAW | TOF_COUNTER | TOF_CLUSTER))
    assert len(status) < len(block.values["Tof_status"]) == 111


def test_the_record_of_a_track_is_among_its_records(block):
    track, time, sigma, texp = of(block, "Tof", "track", "time", "sigma", "texp_pi")
    first = block.offsets["Track"][:-1]
    row = track + np.repeat(first, np.diff(block.offsets["Tof"]))
    best_time, best_sigma, best_texp = of(block, "Track", "tof_time", "tof_sigma", "tof_texp_pi")
    for t in np.flatnonzero(best_sigma > 0):
        mine = row == t
        is_best = np.isclose(time[mine], best_time[t], **ROUNDED) & np.isclose(sigma[mine], best_sigma[t], **ROUNDED)
        assert np.count_nonzero(is_best) == 1
        np.testing.assert_allclose(texp[mine][is_best], best_texp[t], **ROUNDED)


def test_the_helix_of_the_mdc_is_near_that_of_the_kalman_fit(block):
    mdc, pion, muon = (of(block, "Track", *(f"{n}{s}" for n in ("phi0", "kappa"))) for s in ("_mdc", "", "_mu"))
    assert np.median(np.abs(mdc[1] / pion[1] - 1)) < 0.02
    assert np.median(np.abs(muon[1] / pion[1] - 1)) < 0.005
    assert np.all(muon[1] != pion[1])
    assert np.median(np.abs(mdc[0] - pion[0])) < 0.01


def test_clusters_lie_where_the_extrapolation_reaches_the_emc(block):
    volume, dtheta, dphi, energy = of(block, "Track", "emc_volume", "emc_dtheta", "emc_dphi", "emc_energy")
    has_both = (volume >= 0) & (energy > 0)
    assert np.count_nonzero(has_both) > 12
    assert np.median(np.abs(dtheta[has_both])) < 0.05
    assert np.median(np.abs(dphi[has_both])) < 0.05
    assert not dtheta[~has_both].any()


def test_extrapolations_lie_in_the_tof(block):
    rho, z1, z2 = of(block, "Track", "ext_rho", "ext_z1", "ext_z2")
    barrel = np.abs(rho - 81.35) < 0.1
    assert np.count_nonzero(barrel) > 12
    assert np.all(np.abs(z1[barrel]) < 120)
    # The second layer lies 5 % farther out: so does z for a track from the origin.
    assert np.median(z2[barrel] / z1[barrel]) == pytest.approx(1.06, abs=0.03)


def test_a_pair_of_tracks_has_opposite_charges(block):
    a, b = of(block, "V0", "track_a", "track_b")
    first = np.repeat(block.offsets["Track"][:-1], np.diff(block.offsets["V0"]))
    (charge,) = of(block, "Track", "charge")
    assert len(a) == 21
    assert np.all(a >= 0)
    assert np.all(charge[first + a] == -charge[first + b])


def test_muons_leave_hits_and_most_pions_stop_before(block):
    hits, status, depth = of(block, "Track", "muc_n_hits", "muc_status", "muc_depth")
    assert np.all(hits[status == 1] > 3 * np.median(hits))
    assert 0 < np.count_nonzero(hits) < len(hits)
    assert depth.max() < 100


def test_a_file_without_the_collections_is_told_what_to_leave_out(boss_file, monkeypatch):
    monkeypatch.setitem(OF_GROUP, "muon", {"muc": OF_GROUP["muon"]["muc"]._replace(path="TDstEvent/absent")})
    with pytest.raises(NtupleError, match=r"lacks TDstEvent/absent; leave 'muon' out of what is kept"):
        read(boss_file, "muon")


def test_rounding_keeps_so_many_bits(rng):
    values = np.concatenate([rng.normal(0, 10.0 ** rng.integers(-20, 20, 1000)), [0.0, -0.0, 1.0]]).astype(np.float32)
    np.testing.assert_allclose(schema.rounded(values, 16), values, rtol=2.0**-16, atol=0)
    assert np.all(schema.rounded(values, 16).view(np.uint32) & 0xFF == 0)
    assert schema.rounded(values, 24).tobytes() == values.tobytes()
