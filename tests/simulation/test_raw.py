"""Raw records: they give the measurements again, and are numbered and worded as BOSS does it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import uproot

from jpsi_lnv.analysis.constants import M_KAON, M_PION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block as make_ntuple
from jpsi_lnv.analysis.events.schema import BRANCHES, PID_HYPOTHESES
from jpsi_lnv.analysis.objects import networks
from jpsi_lnv.analysis.objects.calibration import simulated
from jpsi_lnv.analysis.report import validation_response as response
from jpsi_lnv.analysis.selection import registry
from jpsi_lnv.analysis.simulation import raw, samplesets
from jpsi_lnv.analysis.simulation.calorimeter import Hit, TimeOfFlight
from jpsi_lnv.analysis.simulation.detector import simulate
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, MUON, PION, PROTON
from jpsi_lnv.analysis.simulation.production import make_block
from jpsi_lnv.analysis.simulation.transport import CARBON, ionisation

N = 8_000
BARREL, CLUSTER, MRPC = 1 << 4, 1 << 3, 1 << 24
COUNTER = 1 << 2


@pytest.fixture(scope="module")
def columns():
    dataset = samplesets.signal(N)
    return make_block(dataclasses.replace(dataset.recipe, keep=raw.GROUPS), dataset.name, 0, N, 1)


def of_tracks(columns, name):
    return np.asarray(columns[f"Track_{name}"][1])


def of_records(columns, name):
    return np.asarray(columns[f"Tof_{name}"][1])


def rows(columns):
    """Return the row of each record's track among all tracks."""
    first = np.repeat(columns["Track_charge"][0][:-1], np.diff(columns["Tof_track"][0]))
    return first + of_records(columns, "track")


def layer(columns):
    return of_records(columns, "status") >> 6 & 3


def test_every_measured_time_has_a_cluster(columns):
    is_cluster = (of_records(columns, "status") & CLUSTER) != 0
    row = rows(columns)[is_cluster]
    assert len(np.unique(row)) == len(row)
    np.testing.assert_array_equal(row, np.flatnonzero(of_tracks(columns, "tof_quality") == 1))


@pytest.mark.parametrize("name", ["time", "sigma", *(f"texp_{h}" for h in PID_HYPOTHESES)])
def test_the_cluster_over_both_layers_is_what_was_measured(columns, name):
    both = layer(columns) == 3
    measured = of_tracks(columns, f"tof_{name}")[rows(columns)[both]]
    np.testing.assert_allclose(of_records(columns, name)[both], measured, rtol=2.0**-15)


def lateness(columns, hypothesis, code):
    """Return for each record how late it is, and whether its track is of a kind."""
    late = of_records(columns, "time") - of_records(columns, f"texp_{hypothesis}")
    gen = np.repeat(columns["Gen_pdg_id"][0][:-1], np.diff(columns["Track_gen"][0])) + of_tracks(columns, "gen")
    return late, (np.abs(columns["Gen_pdg_id"][1]) == code)[gen][rows(columns)]


@pytest.mark.parametrize(("hypothesis", "code"), [("e", ELECTRON), ("k", KAON)])
def test_records_are_as_late_as_the_measurement(columns, hypothesis, code):
    """Some kaons decay on the way, and their daughters are of another speed between the layers."""
    late, is_own = lateness(columns, hypothesis, code)
    measured = (of_tracks(columns, "tof_time") - of_tracks(columns, f"tof_texp_{hypothesis}"))[rows(columns)]
    single = (of_records(columns, "status") & CLUSTER) != 0
    inner, outer = (np.flatnonzero((layer(columns) == k) & ~single) for k in (1, 2))
    np.testing.assert_array_equal(rows(columns)[inner], rows(columns)[outer])
    np.testing.assert_allclose((late[inner] + late[outer]) / 2, measured[inner], atol=1e-3)
    assert np.quantile(np.abs(late - measured)[single & is_own], 0.95) < 0.02


@pytest.mark.parametrize(("hypothesis", "code"), [("e", ELECTRON), ("k", KAON)])
def test_layers_are_apart_by_what_their_errors_say(columns, hypothesis, code):
    late, is_own = lateness(columns, hypothesis, code)
    single = (of_records(columns, "status") & CLUSTER) != 0
    inner, outer = (np.flatnonzero((layer(columns) == k) & ~single & is_own) for k in (1, 2))
    sigma = of_records(columns, "sigma")
    pull = (late[inner] - late[outer]) / np.hypot(sigma[inner], sigma[outer])
    assert abs(np.median(pull)) < 0.1
    assert np.subtract(*np.quantile(pull, [0.841, 0.159])) / 2 == pytest.approx(1.0, rel=0.05)


def test_end_caps_are_mrpc_in_their_period_alone(columns):
    is_endcap = (of_records(columns, "status") & BARREL) == 0
    year = np.repeat(columns["period"], np.diff(columns["Tof_track"][0]))
    assert is_endcap.any()
    assert np.array_equal((of_records(columns, "status") & MRPC) != 0, is_endcap & (year == 2018))


def test_counters_are_in_range_and_all_are_there(columns):
    status, counter = of_records(columns, "status"), of_records(columns, "counter")
    is_barrel, is_mrpc = (status & BARREL) != 0, (status & MRPC) != 0
    assert set(counter[is_barrel]) == set(range(2 * raw.N_BARREL))
    assert set(counter[is_mrpc]) <= set(range(2 * raw.N_MRPC * raw.N_STRIPS))
    assert set(counter[~is_barrel & ~is_mrpc]) <= set(range(2 * raw.N_ENDCAP))


def test_extrapolations_lie_on_the_layers(columns):
    rho, has = of_tracks(columns, "ext_rho"), of_tracks(columns, "tof_quality") == 1
    z1, z2 = of_tracks(columns, "ext_z1"), of_tracks(columns, "ext_z2")
    is_endcap = np.abs(z1) > 120
    np.testing.assert_allclose(rho[has & ~is_endcap], 81.35, rtol=1e-4)
    assert np.mean(z2[is_endcap] == 0) > 0.95  # daughters of decays can hit what their mothers point past
    outward = np.sign(z1) * (z2 - z1) > -1.0
    assert np.mean(outward[has & ~is_endcap]) > 0.98


def boss_records(path):
    """Return counters, words of status and extrapolations (x1, y1, x2, y2) of the real file's barrel records."""
    import pybes3  # noqa: F401 registers the readers of BOSS's classes

    tree = uproot.open(path)["Event/TDstEvent"]
    times, extrapolated = tree["m_tofTrackCol"].array(), tree["m_extTrackCol"].array()
    for event in range(len(times)):
        at = {int(e["m_trackId"]): e for e in extrapolated[event]}
        for t in times[event]:
            if int(t["m_status"]) & (COUNTER | CLUSTER) and int(t["m_trackID"]) in at:
                e = at[int(t["m_trackID"])]
                place = [float(e[f"myTof{k}Position{axis}"]) for k in (1, 2) for axis in "XY"]
                yield int(t["m_tofID"]), int(t["m_status"]), place, float(e["myTof1PositionZ"])


def test_counters_and_status_are_those_of_the_real_file(boss_file):
    """The simulation's numbering, at the extrapolations of real tracks, gives BOSS's counters and words of status."""
    is_same = []
    for counter, status, (x1, y1, x2, y2), z in boss_records(boss_file):
        is_barrel, place = bool(status & BARREL), (status >> 6 & 3) - 1
        place = place if is_barrel else raw.ENDCAP
        one, mrpc = np.array([0]), np.array([False])
        azimuth = np.array([[np.arctan2(y1, x1), np.arctan2(y2, x2)]])
        crossed = raw.Crossing(np.array([z]), np.zeros(1), np.hypot([x1], [y1]), azimuth, np.zeros(1))
        is_same.append(raw._counter(one, np.array([place]), crossed, mrpc)[0] == counter)
        layers = 2 if place == raw.BOTH or (is_barrel and not status & CLUSTER) else 1
        times = TimeOfFlight(*np.zeros((5, 1)), np.array([layers]))
        hit = Hit(np.ones(1), np.array([z]), np.array([is_barrel]))
        assert raw._status(one, np.array([place]), hit, times, mrpc) == status
    assert len(is_same) > 40
    assert np.mean(is_same) > 0.9  # one real track hits the counter beside the one that it points at


def gun(rng, code, momentum, n=4_000):
    """Return what the muon chambers show of particles of a momentum, found tracks only."""
    table, beams = response.gun(rng, code, np.full(n, momentum), rng.uniform(-0.7, 0.7, n), (2018,))
    columns = simulate(rng, table, beams, NOMINAL, keep=["muon"])
    is_own = columns["Track_gen"][1] == 0
    return {name: columns[f"Track_muc_{name}"][1][is_own] for name in ("depth", "n_layers", "n_hits", "max_hits")}


def test_particles_reach_as_deep_as_their_mass_and_interactions_let_them(rng):
    depth = {code: gun(rng, code, 1.2)["depth"].mean() for code in (ELECTRON, MUON, PION, KAON, PROTON)}
    assert depth[ELECTRON] == 0.0
    assert depth[MUON] > 2 * depth[PION]
    assert depth[PION] > depth[KAON] > depth[PROTON]


@pytest.mark.parametrize(("momentum", "least", "most"), [(0.35, 0.0, 0.02), (1.4, 0.9, 1.0)])
def test_muons_of_1_gev_cross_the_chambers_and_slow_ones_do_not_reach_them(rng, momentum, least, most):
    assert least <= np.mean(gun(rng, MUON, momentum)["n_layers"] >= 4) <= most


def test_tracks_reach_the_volumes_of_the_muon_chambers_that_boss_names(boss_file):
    """The simulation's numbers, at the extrapolations of real tracks, are BOSS's: gaps and end caps met first."""
    import pybes3  # noqa: F401 registers the readers of BOSS's classes

    first = {base + raw._VOLUME_STEP * k for base, n in zip(raw._VOLUMES, (8, 4, 4), strict=True) for k in range(n)}
    tracks = uproot.open(boss_file)["Event/TDstEvent/m_extTrackCol"].array()
    seen = [e for event in tracks for e in event if int(e["myMucVolumeNumber"]) in first]
    place = np.array([[float(e[f"myMucPosition{axis}"]) for axis in "XYZ"] for e in seen])
    is_barrel = np.abs(place[:, 2]) < raw.MUC_HALF_LENGTH
    found = raw._volume(place[:, :2], is_barrel, place[:, 2])
    assert len(seen) > 12
    assert set(is_barrel) == {True, False}
    np.testing.assert_array_equal(found, [int(e["myMucVolumeNumber"]) for e in seen])


def test_a_network_of_the_muon_chambers_runs_on_the_simulation(columns):
    """Any network does: asked are tracks of 0.5 GeV/c in reach of the chambers, whether or not they leave hits."""
    n = len(networks.MUC.inputs)
    network = networks.Network(
        *(np.zeros(n), np.ones(n), np.zeros(1), np.zeros((1, n)), np.zeros(1), np.zeros(1)),
        p_edges=np.array([0.5, 2.0]),
        output_edges=np.array([-1.0, 2.0]),
        chi=np.array([[[1.0]], [[2.0]]]),
    )
    block = make_ntuple(columns)
    chi = networks.muc_chi(ArrayColumns(block.values, block.offsets, block.n_events), network, np.arange(5000))
    tanl = of_tracks(columns, "tanl")[:5000]
    is_fast = np.hypot(1.0, tanl) / np.abs(of_tracks(columns, "kappa")[:5000]) > 0.5
    is_met = np.isfinite(chi[:, 0])
    assert is_met[is_fast & (np.abs(tanl) < 1.0)].mean() > 0.9
    assert not is_met[~is_fast].any()
    np.testing.assert_array_equal(chi[is_met], np.tile([2.0, 1.0, 2.0, 2.0, 2.0], (is_met.sum(), 1)))


@pytest.fixture(scope="module")
def read_as_muon():
    """Tracks of other random numbers than the package's network was made of: rows of reads by species."""
    network = networks.of_package()
    found = response.read_as_muon(np.random.default_rng(77), network, 20_000)
    return {name: [row for row in found if row["species"] == name] for name in ("e", "mu", "pi", "K", "p")}


def test_rates_of_being_read_as_a_muon_are_those_that_the_network_states(read_as_muon):
    stated = json.loads(networks.MUC_FILE.read_text())["made_from"]["read_as_muon"]
    pulls = []
    for row in (row for rows in read_as_muon.values() for row in rows):
        bins = {key: row[key] for key in ("species", "p_min", "p_max", "cos_theta_min", "cos_theta_max")}
        (of,) = (s for s in stated if bins.items() <= s.items())
        spread = of["rate"] * (1.0 - of["rate"]) * (1.0 / row["n"] + 1.0 / of["n"])
        pulls.append((row["read"] / row["n"] - of["read"] / of["n"]) / np.sqrt(spread))
        assert of["rate"] > 0.0
    assert np.abs(pulls).max() < 4.0
    assert np.mean(np.square(pulls)) < 1.5


def test_muons_are_found_and_pions_pass_for_them_when_they_decay_or_punch_through(read_as_muon):
    rate = {name: np.array([row["rate"] for row in rows]) for name, rows in read_as_muon.items()}
    assert rate["mu"].min() > 0.8
    assert np.all((rate["pi"] > 0.01) & (rate["pi"] < 0.25))
    assert max(rate["e"].max(), rate["p"].max()) < 0.02
    depth = {name: np.array([row["depth"] for row in rows]) for name, rows in read_as_muon.items()}
    assert np.all((depth["mu"] > depth["pi"]) & (depth["pi"] > depth["p"]) & (depth["e"] < 0.5))
    # Slow kaons stop before the chambers, where pions come through or decay to muons that do.
    assert np.all(rate["K"][:9] < rate["pi"][:9])


def test_chi_of_the_package_network_is_standard_normal_for_muons():
    columns = response.chamber_tracks(np.random.default_rng(78), MUON, 20_000)
    own = response.own_tracks(columns)
    chi = networks.muc_chi(columns, simulated().ranges[0].constants.muc, own)[:, 1]
    chi = chi[np.isfinite(chi)]
    inside = chi[np.abs(chi) < 4.0]
    assert len(inside) > 0.98 * len(chi)
    assert inside.mean() == pytest.approx(0.0, abs=0.1)
    assert inside.std() == pytest.approx(1.0, abs=0.1)


def test_interacting_pions_leave_more_hits_in_a_layer_than_muons(rng):
    hits = {code: gun(rng, code, 1.4) for code in (MUON, PION)}
    crowded = {code: found["max_hits"][found["n_layers"] > 0].mean() for code, found in hits.items()}
    assert crowded[PION] > crowded[MUON]


def test_the_smallest_loss_in_iron_is_that_of_the_pdg():
    """PDG, atomic and nuclear properties of iron: 1.451 MeV cm2/g."""
    loss = np.diff(np.hypot(1.0, raw._BETA_GAMMA)) / np.diff(raw._RANGE)
    assert loss.min() == pytest.approx(1.451e-3 * 7.874, rel=0.03)


def helices(rng, code, momentum, n=4_000):
    """Return the mean difference of the momentum to the truth in MeV/c, by suffix of the hypothesis."""
    table, beams = response.gun(rng, code, np.full(n, momentum), rng.uniform(-0.7, 0.7, n), (2018,))
    columns = simulate(rng, table, beams, NOMINAL, has_hypotheses=True)
    is_own = columns["Track_gen"][1] == 0
    kappa = {s: columns[f"Track_kappa{s}"][1][is_own] for s in ("", "_e", "_mu", "_k", "_p")}
    cosh = np.hypot(1.0, columns["Track_tanl"][1][is_own])
    return {s: 1e3 * float(np.median(cosh / np.abs(values)) - momentum) for s, values in kappa.items()}


@pytest.mark.parametrize(("code", "suffix"), [(ELECTRON, "_e"), (PION, ""), (KAON, "_k"), (PROTON, "_p")])
def test_the_own_hypothesis_is_right_and_heavier_ones_put_back_more(rng, code, suffix):
    momentum = 0.35
    found = helices(rng, code, momentum)
    brems = -3.0 if code == ELECTRON else 0.0
    assert found[suffix] == pytest.approx(brems, abs=0.4 if code != ELECTRON else 3.0)
    assert found["_p"] > found["_k"] > found[""] > found["_mu"]


def test_a_slow_kaon_taken_for_a_pion_misses_what_the_bethe_equation_says(rng):
    """0.58 g/cm2 of mostly carbon: a kaon of 0.35 GeV/c loses 2.8 MeV/c more than a pion does."""
    found = helices(rng, KAON, 0.35)
    beta = {mass: 0.35 / np.hypot(0.35, mass) for mass in (M_KAON, M_PION)}
    loss = {mass: ionisation(0.35 / mass, CARBON) * 0.58 / beta[mass] for mass in beta}
    inclined = np.mean(1.0 / np.sqrt(1.0 - np.linspace(-0.7, 0.7, 201) ** 2))
    assert found["_k"] - found[""] == pytest.approx(1e3 * (loss[M_KAON] - loss[M_PION]) * inclined, rel=0.15)


@pytest.mark.parametrize("name", registry.SELECTIONS)
def test_no_selection_reads_a_raw_column(name):
    raw_columns = {b for b, (_, column) in BRANCHES.items() if column.group}
    assert not raw_columns & registry.SELECTIONS[name].reads


def test_raw_columns_change_no_other(columns):
    dataset = samplesets.signal(N)
    plain = make_block(dataset.recipe, dataset.name, 0, N, 1)
    assert set(columns) - set(plain) == {b for b in columns if BRANCHES[b][1].group}
    for name, given in plain.items():
        pairs = zip(given, columns[name], strict=True) if isinstance(given, tuple) else [(given, columns[name])]
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_what_is_not_simulated_is_refused():
    samples = samplesets.SampleSet("one", 1, (samplesets.signal(10),))
    with pytest.raises(samplesets.SampleSetError, match="got 'v0', which is not simulated; wanted some of pid, muon"):
        samplesets.with_columns(samples, ("pid", "v0"), has_hypotheses=False)
