"""The real BOSS file: what the reader makes of it agrees with the file, its truth and the detector's own record."""

from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
import uproot
from pivot import move_pivot

from jpsi_lnv.analysis.events import dst_baskets, schema
from jpsi_lnv.analysis.events.dst import open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.analysis.kinematics import momentum_and_covariance, unpack
from jpsi_lnv.analysis.objects.tracks import momentum

pytestmark = pytest.mark.fast

RUNS = uniform(Conditions(sqrt_s=3.097))
N_TRACKS = 19


@pytest.fixture(scope="module")
def columns(boss_file):
    with open_dst(str(boss_file)) as dst:
        assert dst.n_events == 10
        assert dst.is_simulation
        assert dst.n_job == 10
        return dst.read(0, 10, RUNS)


@pytest.fixture(scope="module")
def tree(boss_file):
    pytest.importorskip("pybes3")
    with uproot.open({boss_file: "Event"}) as tree:
        yield tree


def flat(columns, name):
    return columns[f"Track_{name}"][1]


def owner(columns):
    offsets = columns["Track_kappa"][0]
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def helix_of(columns, suffix=""):
    return (
        np.stack([flat(columns, n + suffix) for n in schema.HELIX], axis=1),
        np.stack([flat(columns, n + suffix) for n in schema.COVARIANCE], axis=1),
    )


@pytest.mark.parametrize("suffix", ["", *schema.HYPOTHESIS_SUFFIXES])
def test_covariances_are_positive_definite_for_every_hypothesis(columns, suffix):
    helix, cov = helix_of(columns, suffix)
    assert helix.shape == (N_TRACKS, 5)
    lowest = np.linalg.eigvalsh(unpack(cov))[:, 0]
    assert np.count_nonzero(lowest > 0) == N_TRACKS


def test_hypotheses_differ_as_a_refit_does(columns):
    pion, kaon = 1 / np.abs(flat(columns, "kappa")), 1 / np.abs(flat(columns, "kappa_k"))
    assert np.abs(kaon - pion).max() > 1e-4
    np.testing.assert_allclose(kaon, pion, rtol=0.02)


def test_covariance_of_the_mdc_fit_is_repacked(tree):
    """Regression: pybes3 0.5.6 delivers it in the wrong order, 19 of 19 not positive definite."""
    delivered = ak.to_numpy(ak.flatten(tree["TDstEvent/m_mdcTrackCol"].array()["m_err"]))
    dst_fallback = pytest.importorskip("jpsi_lnv.analysis.events.dst_fallback")
    mdc_covariance = dst_fallback.mdc_covariance
    repaired = unpack(mdc_covariance(delivered))
    assert np.count_nonzero(np.linalg.eigvalsh(repaired)[:, 0] > 0) == N_TRACKS
    # A reader that has it right is left alone.
    np.testing.assert_array_equal(unpack(mdc_covariance(repaired)), repaired)
    kalman = ak.to_numpy(ak.flatten(tree["TDstEvent/m_mdcKalTrackCol"].array()["m_zerror"]))
    ratio = np.diagonal(repaired, axis1=1, axis2=2).mean(0) / np.diagonal(kalman, axis1=1, axis2=2).mean(0)
    assert np.all((ratio > 0.03) & (ratio < 3))


@pytest.fixture(scope="module")
def matched(columns):
    """Per track: PDG code of its particle (0: none), true momentum, helix and covariance about the true vertex."""
    gen = flat(columns, "gen")
    row = np.where(gen >= 0, columns["Gen_pdg_id"][0][owner(columns)] + gen, 0)
    truth = {name: columns[f"Gen_{name}"][1][row] for name in ("px", "py", "pz", "vx", "vy", "vz", "pdg_id")}
    vertex = np.stack([truth[n] for n in ("vx", "vy", "vz")], axis=1)
    helix, cov = move_pivot(*helix_of(columns), vertex, 1.0)
    true = np.stack([truth[n] for n in ("px", "py", "pz")], axis=1)
    return np.where(gen >= 0, truth["pdg_id"], 0), true, helix, cov


def test_tracks_are_matched_to_particles_of_their_charge(columns, matched):
    pdg = matched[0]
    assert np.count_nonzero(np.abs(pdg) == 211) == 17
    charged = pdg != 0
    charge = np.where(np.abs(pdg) == 13, -np.sign(pdg), np.sign(pdg))
    np.testing.assert_array_equal(charge[charged], flat(columns, "charge")[charged])
    # One track of a particle made in the detector after the J/psi's decay, one muon of a pion that decayed.
    assert np.count_nonzero(~charged) == 1
    assert np.count_nonzero(pdg == -13) == 1


def test_pions_have_their_true_momentum_within_five_sigma(columns, matched):
    pdg, true, helix, cov = matched
    p, v = momentum_and_covariance(helix, cov)
    pull = np.abs(p - true) / np.sqrt(v[:, [0, 3, 5]])
    is_pion = np.abs(pdg) == 211
    is_right = (pull < 5).all(axis=1)
    assert np.count_nonzero(is_pion & is_right) == 16
    # The one that differs misses its own vertex in z by more than 5 cm, 30 sigma, on 24 hits: wrong stereo hits.
    (wrong,) = np.flatnonzero(is_pion & ~is_right)
    assert abs(helix[wrong, 3]) > 5 > 30 * np.sqrt(cov[wrong, 12])
    assert flat(columns, "n_hits")[wrong] == flat(columns, "n_hits")[is_pion].min() == 24
    assert pull[wrong, :2].max() < 10


@pytest.mark.parametrize("charge", [-1, 1])
def test_helices_reach_the_recorded_emc_impacts(columns, tree, charge):
    """Regression: pybes3 0.5.6 moves a pivot the same way for both charges and misses positive impacts by 31 cm."""
    links = tree["TEvtRecObject/m_evtRecTrackCol"].array()
    extrapolated = tree["TDstEvent/m_extTrackCol"].array()
    extrapolated = ak.flatten(extrapolated[links["m_extTrackId"][links["m_mdcTrackId"] >= 0]])
    impact = np.stack([ak.to_numpy(extrapolated[f"myEmcPosition{axis}"]) for axis in "XYZ"], axis=1)
    chosen = (flat(columns, "charge") == charge) & (np.hypot(impact[:, 0], impact[:, 1]) > 80)
    assert np.count_nonzero(chosen) >= 8
    helix, cov = helix_of(columns)
    moved, _ = move_pivot(helix[chosen], cov[chosen], impact[chosen], 1.0)
    distance = np.abs(moved[:, 0])
    # One slow track lost 17 % of its transverse momentum on the way, as its record at the EMC says: no helix.
    pt = np.hypot(*(ak.to_numpy(extrapolated[f"myEmcMomentum{axis}"]) for axis in "XY"))[chosen]
    is_helix = pt * np.abs(helix[chosen, 2]) > 0.9
    assert np.count_nonzero(~is_helix) == (1 if charge > 0 else 0)
    assert distance[is_helix].max() < 1.0
    assert distance.max() < 1.5
    assert np.median(np.abs(moved[:, 3])) < 1.0
    # The same helix turned the other way misses by far more: the sign is what is tested.
    turned = helix[chosen] * [1, 1, -1, 1, 1]
    assert np.median(np.abs(move_pivot(turned, cov[chosen], impact[chosen], 1.0)[0][:, 0])) > 10


def test_dedx_and_e_over_p_are_the_files_own(columns, tree):
    links = tree["TEvtRecObject/m_evtRecTrackCol"].array()
    links = links[links["m_mdcTrackId"] >= 0]
    dedx = ak.flatten(tree["TDstEvent/m_mdcDedxCol"].array()[links["m_mdcDedxId"]])
    for ours, boss in {"e": "E", "mu": "Mu", "pi": "Pi", "k": "K", "p": "P"}.items():
        np.testing.assert_array_equal(flat(columns, f"dedx_chi_{ours}"), ak.to_numpy(dedx[f"m_chi{boss}"]))
    np.testing.assert_array_equal(flat(columns, "dedx_norm_ph"), ak.to_numpy(dedx["m_normPH"]))
    energy = ak.flatten(tree["TDstEvent/m_emcTrackCol"].array()[links["m_emcShowerId"]])["m_energy"]
    kal = ak.flatten(tree["TDstEvent/m_mdcKalTrackCol"].array()[links["m_mdcKalTrackId"]])["m_zhelix"]
    kal = ak.to_numpy(kal)
    p_boss = momentum(kal[:, 2], kal[:, 4])
    p_ours = momentum(flat(columns, "kappa"), flat(columns, "tanl"))
    np.testing.assert_array_equal(flat(columns, "emc_energy") / p_ours, ak.to_numpy(energy) / p_boss)


def test_collections_are_not_in_the_order_of_the_tracks(tree):
    """The trap behind the links: without them a track of the third event would get the other one's dE/dx."""
    links = tree["TEvtRecObject/m_evtRecTrackCol"].array()
    links = links[links["m_mdcTrackId"] >= 0]
    assert ak.any(links["m_mdcDedxId"] != links["m_mdcTrackId"])
    assert ak.all(tree["TDstEvent/m_mdcDedxCol"].array()[links["m_mdcDedxId"]]["m_trackId"] == links["m_mdcTrackId"])


def test_tof_is_the_cluster_over_both_layers_where_there_is_one(columns, tree):
    sigma, time = flat(columns, "tof_sigma"), flat(columns, "tof_time")
    has_tof = sigma > 0
    assert np.count_nonzero(has_tof) == 17
    assert np.all(time[~has_tof] == 0)
    assert time[has_tof].max() < 10
    texp = np.stack([flat(columns, f"tof_texp_{h}") for h in schema.PID_HYPOTHESES], axis=1)
    assert np.all(np.diff(texp[has_tof], axis=1) > 0)
    good = has_tof & (flat(columns, "tof_quality") == 1)
    assert np.count_nonzero(good) == 15
    assert np.median(np.abs(time - texp[:, 2])[good] / sigma[good]) < 1.5
    # The resolution of two layers together is better than that of either.
    records = ak.flatten(tree["TDstEvent/m_tofTrackCol"].array())
    assert np.median(sigma[good]) < ak.min(records["m_sigma"][:, 0][records["m_quality"] == 1]) * 2


def test_generated_particles_begin_with_the_jpsi(columns):
    offsets, pdg = columns["Gen_pdg_id"]
    mother, energy = columns["Gen_mother"][1], columns["Gen_energy"][1]
    first = offsets[:-1]
    assert np.all(pdg[first] == 443)
    assert np.count_nonzero(pdg == 443) == 10
    assert not np.isin(pdg, [23, 4, -4, 91]).any()
    np.testing.assert_array_equal(np.flatnonzero(mother == -1), first)
    place = np.arange(len(pdg)) - np.repeat(first, np.diff(offsets))
    assert np.all(mother < place)
    # The daughters of each J/psi have its four-momentum: 34 MeV along x from the crossing angle.
    event = np.repeat(np.arange(10), np.diff(offsets))
    is_daughter = mother == 0
    assert np.allclose(np.bincount(event[is_daughter], energy[is_daughter]), energy[first], atol=1e-5)
    assert np.allclose(columns["Gen_px"][1][first], 0.034, atol=2e-4)


def test_showers_are_those_without_a_track(columns, tree):
    n_showers = ak.to_numpy(ak.num(tree["TDstEvent/m_emcTrackCol"].array()))
    offsets, energy = columns["Shower_energy"]
    np.testing.assert_array_equal(np.diff(offsets) + np.diff(columns["Track_kappa"][0]), n_showers)
    assert energy.min() > 0.005
    assert np.median(columns["Shower_time"][1]) == 350


def test_the_spot_of_the_tracks_is_where_the_truth_says(columns, boss_file):
    """No event of the file has a valid primary vertex: the fallback of the fallback."""
    with open_dst(str(boss_file)) as dst:
        x, y, _ = dst.spot
    true = [columns[f"Gen_{n}"][1][columns["Gen_pdg_id"][0][:-1]].mean() for n in ("vx", "vy")]
    assert np.hypot(x - true[0], y - true[1]) < 0.05
    np.testing.assert_array_equal(columns["ip_x"], np.full(10, x))


def test_an_event_with_a_vertex_of_its_own_happened_there(boss_file, monkeypatch):
    """The file has no valid vertex, so two are made up."""

    with open_dst(str(boss_file)) as dst:
        spot = dst.spot
        found = dst.vertices(np.arange(10))
        found[[2, 5]] = [0.2, -0.1, 1.5]
        monkeypatch.setattr(dst, "vertices", lambda entries: found)
        columns = dst.read(0, 10, RUNS)
    has_own = np.isin(np.arange(10), [2, 5])
    assert np.all(columns["ip_z"][has_own] == 1.5)
    assert np.all(columns["ip_x"][~has_own] == spot[0])


def test_a_run_table_goes_before_vertices(boss_file):
    table = uniform(Conditions(sqrt_s=3.097, field=0.9, period=2012, ip=(0.1, 0.2, 0.3)))
    with open_dst(str(boss_file)) as dst:
        columns = dst.read(0, 10, table)
    assert [float(columns[f"ip_{axis}"][0]) for axis in "xyz"] == [0.1, 0.2, 0.3]
    assert set(columns["field"]) == {0.9}
    assert set(columns["period"]) == {2012}


def test_data_have_no_generated_particles(boss_file, columns):
    with open_dst(str(boss_file)) as dst:
        dst.is_simulation = False
        data = dst.read(0, 10, RUNS)
    assert set(columns) - set(data) == {n for n in columns if n.startswith("Gen_")} | {"Track_gen"}
    assert make_block(data).n_events == 10


@pytest.mark.parametrize("edges", [(0, 10), (0, 1, 10), (0, 3, 3, 7, 10), tuple(range(11))])
def test_chunks_make_the_same_events(boss_file, columns, edges):
    whole = make_block(columns)
    with open_dst(str(boss_file)) as dst:
        for start, stop in itertools.pairwise(edges):
            part, wanted = make_block(dst.read(start, stop, RUNS)), whole.cut(start, stop)
            assert part.n_events == stop - start
            for name, values in wanted.values.items():
                np.testing.assert_array_equal(part.values[name], values, err_msg=name)
            for name, offsets in wanted.offsets.items():
                np.testing.assert_array_equal(part.offsets[name], offsets)


@pytest.fixture
def unpacked(monkeypatch):
    """The branch and the number of every basket that is decompressed."""
    found = []
    original = dst_baskets.Baskets.__getitem__

    def get(self, number):
        found.extend([] if number in self.kept else [(self.name, number)])
        return original(self, number)

    monkeypatch.setattr(dst_baskets.Baskets, "__getitem__", get)
    return found


def test_only_the_needed_branches_are_read_and_each_basket_once(boss_file, unpacked):
    with open_dst(str(boss_file)) as dst:
        for start in range(10):
            dst.read(start, start + 1, RUNS)
    assert len(unpacked) == len(set(unpacked)) == 11
    assert not {"m_extTrackCol", "m_mucTrackCol", "m_mdcMcHitCol"} & {name for name, _ in unpacked}


def test_baskets_of_rejected_events_alone_stay_packed(boss_file, unpacked):
    with open_dst(str(boss_file), keep=tuple(schema.GROUPS)) as dst:
        nothing = make_block(dst.read(0, 10, RUNS, lambda columns: np.zeros(columns.n_events, dtype=np.bool_)))
    assert nothing.n_events == 0
    assert {name for name, _ in unpacked} == {
        "m_runId",
        "m_eventId",
        "m_evtRecPrimaryVertex",
        "m_evtRecTrackCol",
        "m_mdcKalTrackCol",
        "m_mdcTrackCol",
    }
