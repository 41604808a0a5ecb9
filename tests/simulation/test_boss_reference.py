"""The response against numbers of the real BOSS simulation: dE/dx, times of flight, the bending of tracks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_PION, M_PROTON, P_TO_RADIUS
from jpsi_lnv.analysis.simulation import calorimeter, tracking
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.analysis.simulation.tracking import Trajectory

FIXTURE = Path(calorimeter.__file__).parent / "boss_tracks.json"
CHI = ("E", "Mu", "Pi", "K", "P")


def momentum_and_sine(helix):
    return float(np.hypot(1.0, helix[4]) / abs(helix[2])), float(1.0 / np.hypot(1.0, helix[4]))


def read_boss(path):
    """Return dE/dx of every track, and times of flight of the fitted ones, as lists of numbers."""
    import pybes3  # noqa: F401 registers the readers of BOSS's classes

    tree = uproot.open(path)["Event/TDstEvent"]
    names = ("m_mdcDedxCol", "m_mdcTrackCol", "m_mdcKalTrackCol", "m_tofTrackCol")
    dedx, mdc, kalman, times = (tree[name].array() for name in names)
    rows = {"dedx": [], "tof": []}
    for event in range(len(dedx)):
        helix = {int(t["m_trackId"]): np.asarray(t["m_helix"]) for t in mdc[event]}
        fitted = {int(t["m_trackId"]): np.asarray(t["m_zhelix"]) for t in kalman[event]}
        for d in dedx[event]:
            p, sine = momentum_and_sine(helix[int(d["m_trackId"])])
            chi = [round(float(d[f"m_chi{c}"]), 6) for c in CHI]
            signal = round(float(d["m_normPH"]), 6)
            rows["dedx"].append([round(p, 6), round(sine, 6), int(d["m_numGoodHits"]), signal, *chi])
        for t in times[event]:
            if int(t["m_trackID"]) not in fitted:
                continue
            p, _ = momentum_and_sine(fitted[int(t["m_trackID"])])
            expected = np.asarray(t["m_texp"])
            if expected[0] > 0:
                path_and_times = [round(float(x), 6) for x in (t["m_path"], *expected)]
                rows["tof"].append([round(p, 6), *path_and_times])
    return rows


@pytest.fixture(scope="module")
def boss():
    return {name: np.array(rows) for name, rows in json.loads(FIXTURE.read_text()).items()}


def test_the_numbers_are_those_of_the_file(boss, boss_file):
    for name, rows in read_boss(boss_file).items():
        np.testing.assert_allclose(boss[name], np.array(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.fast
def test_dedx_curve_and_resolution_reproduce_the_chi_values(boss):
    p, sine, hits, signal = boss["dedx"][:, :4].T
    mean = calorimeter.expected_dedx(p[:, None] / calorimeter.HYPOTHESIS_MASSES)
    sigma = calorimeter.dedx_resolution(mean, sine[:, None], hits[:, None], NOMINAL.dedx_resolution)
    deviation = np.abs((signal[:, None] - mean) / sigma - boss["dedx"][:, 4:])
    assert deviation.size == 95
    assert np.median(deviation) < 0.1
    assert np.sqrt(np.mean(deviation**2)) < 0.3


@pytest.mark.fast
def test_expected_times_are_the_path_at_the_speed_of_each_hypothesis(boss):
    p, path = boss["tof"][:, :2].T
    ours = calorimeter.flight_time(path[:, None], p[:, None], calorimeter.HYPOTHESIS_MASSES)
    difference = np.abs(ours - boss["tof"][:, 2:])
    # Kaons and protons lose energy on the way, which the formula does not know.
    assert np.all(np.median(difference, axis=0) < [0.001, 0.001, 0.001, 0.003, 0.010])


def test_tracks_of_both_charges_bend_towards_their_clusters(boss_file):
    from jpsi_lnv.analysis.events.dst import open_dst
    from jpsi_lnv.analysis.events.run_table import Conditions, RunTable

    with open_dst(str(boss_file)) as dst:
        columns = dst.read(0, dst.n_events, RunTable((Conditions(sqrt_s=3.0969),)))
    names = ("dr", "phi0", "kappa", "dz", "tanl", "emc_x", "emc_y", "emc_energy")
    get = {name: np.asarray(columns[f"Track_{name}"][1], dtype=np.float64) for name in names}
    has = get["emc_energy"] > 0.05
    helix = {name: values[has] for name, values in get.items()}
    distance = {sign: gap_to_cluster(helix, sign) for sign in (1.0, -1.0)}
    assert {-1.0, 1.0} == set(np.sign(helix["kappa"]))
    for charge in (-1.0, 1.0):
        own = np.sign(helix["kappa"]) == charge
        assert np.median(distance[1.0][own]) < 3.0
        assert np.median(distance[-1.0][own]) > 10.0


def test_quoted_errors_of_helices_are_those_of_the_file(boss_file):
    """The mean of log(file/simulation) over the tracks is zero within two standard uncertainties."""
    from jpsi_lnv.analysis.events.dst import open_dst
    from jpsi_lnv.analysis.events.run_table import Conditions, RunTable

    with open_dst(str(boss_file)) as dst:
        columns = dst.read(0, dst.n_events, RunTable((Conditions(sqrt_s=3.0969),)))
    helix = [np.asarray(columns[f"Track_{n}"][1], dtype=np.float64) for n in ("dr", "phi0", "kappa", "dz", "tanl")]
    tracks = Trajectory(*helix, np.sign(helix[2]), P_TO_RADIUS / np.abs(helix[2]), np.zeros(len(helix[2])))
    ratios = []
    for suffix, mass in {"_e": M_ELECTRON, "": M_PION, "_k": M_KAON, "_p": M_PROTON}.items():
        variances = [np.asarray(columns[f"Track_cov{i}{suffix}"][1], dtype=np.float64) for i in (0, 5, 9, 12, 14)]
        ours = tracking.resolutions(tracks, np.full(len(helix[2]), mass), NOMINAL)
        ratios.append(np.log(np.sqrt(variances).T / ours))
    of_track = np.mean(ratios, axis=0)
    assert of_track.shape == (19, 5)
    mean, error = of_track.mean(axis=0), of_track.std(axis=0) / np.sqrt(len(of_track))
    assert np.all(np.abs(mean) < 2.0 * error), (mean, error)


def gap_to_cluster(helix, sign):
    """Distance in xy in cm between the track at the cluster's radius and the cluster, for one sense of rotation."""
    charge = sign * np.sign(helix["kappa"])
    radius = P_TO_RADIUS / np.abs(helix["kappa"])
    values = [helix[name] for name in ("dr", "phi0", "kappa", "dz", "tanl")]
    tracks = Trajectory(*values, charge, radius, np.zeros(len(radius)))
    point = tracks.position(tracks.turning_to_radius(np.hypot(helix["emc_x"], helix["emc_y"])))
    return np.hypot(point[:, 0] - helix["emc_x"], point[:, 1] - helix["emc_y"])
