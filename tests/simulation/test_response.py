"""The detector: resolutions of the publication, covariances, conversions, decays in flight, clusters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jpsi_lnv.analysis.constants import M_KAON, M_PION
from jpsi_lnv.analysis.events.schema import COVARIANCE
from jpsi_lnv.analysis.report import validation_response as response
from jpsi_lnv.analysis.simulation import beam, calorimeter, generator, processes, tracking, transport
from jpsi_lnv.analysis.simulation.detector import simulate
from jpsi_lnv.analysis.simulation.parameters import DATA_LIKE, NOMINAL, PERIODS, SOURCES, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, MUON, PHOTON, PION, PROTON, signed_charge
from jpsi_lnv.analysis.simulation.tracking import trajectory

N = 8_000


def test_momentum_resolution_at_1_gev_is_half_a_percent(rng):
    assert response.momentum_resolution(rng, N) == pytest.approx(0.005, rel=0.10)


def test_dedx_resolution_of_bhabha_electrons_is_six_percent(rng):
    assert response.dedx_resolution(rng, N) == pytest.approx(0.06, rel=0.10)


@pytest.mark.parametrize(
    ("region", "years", "wanted"),
    [
        (response.BARREL, (), 0.068),
        (response.ENDCAP, (2009, 2012), 0.110),
        (response.ENDCAP, (2018,), 0.060),
    ],
)
def test_time_resolution(rng, region, years, wanted):
    assert response.tof_resolution(rng, region, years, N) == pytest.approx(wanted, rel=0.10)


@pytest.mark.parametrize(("region", "wanted"), [(response.BARREL, 0.025), (response.ENDCAP, 0.05)])
def test_photon_energy_resolution(rng, region, wanted):
    assert response.photon_resolution(rng, region, N) == pytest.approx(wanted, rel=0.10)


def tracks_of(rng, n, charge):
    p3 = rng.normal(0, 0.6, (n, 3))
    p3[:, :2] += np.sign(p3[:, :2]) * 0.1
    return trajectory(np.zeros((n, 3)), p3, np.full(n, charge), 1.0)


@pytest.mark.parametrize("charge", [-1.0, 1.0])
def test_covariances_are_positive_definite_and_pulls_as_configured(rng, charge):
    tracks = tracks_of(rng, N, charge)
    exact = dataclasses.replace(NOMINAL, pull_tail=0.0)
    measured = tracking.measure(rng, tracks, np.full(N, M_PION), np.ones(N), exact)
    matrix = np.zeros((N, 5, 5))
    rows, columns = tracking.UPPER_TRIANGLE
    assert len(rows) == len(COVARIANCE)
    as_stored = measured.covariance.astype(np.float32)
    matrix[:, rows, columns] = matrix[:, columns, rows] = as_stored
    assert np.all(np.linalg.eigvalsh(matrix / np.sqrt(np.einsum("nii,njj->nij", matrix, matrix))) > 0)
    difference = measured.parameters - tracks.parameters
    difference[:, 1] = (difference[:, 1] + np.pi) % (2 * np.pi) - np.pi
    chi2 = np.einsum("ni,nij,nj->n", difference, np.linalg.inv(matrix), difference)
    assert stats.kstest(chi2, stats.chi2(5).cdf).pvalue > 1e-3


def test_tails_widen_the_pulls(rng):
    tracks = tracks_of(rng, N, 1.0)
    measured = tracking.measure(rng, tracks, np.full(N, M_PION), np.full(N, 1.2), NOMINAL)
    pull = (measured.parameters[:, 0] - tracks.dr) / np.sqrt(measured.covariance[:, 0])
    wanted = 1.2 * np.sqrt(1 + NOMINAL.pull_tail * (NOMINAL.pull_tail_scale**2 - 1))
    assert pull.std() == pytest.approx(wanted, rel=0.05)


def test_tracks_outside_the_acceptance_are_not_seen(rng):
    events = response.single(rng, MUON, 1.0, (0.94, 0.97), 1000)
    assert len(events.flat("Track", "charge")) == 0


def test_tracking_efficiency_is_the_plateau_at_high_momentum(rng):
    events = response.single(rng, MUON, 1.0, (-0.8, 0.8), N)
    assert len(events.flat("Track", "charge")) / N == pytest.approx(NOMINAL.tracking_efficiency, abs=0.01)


def test_conversions_happen_as_often_as_the_material_says(rng):
    beams = beam.cross(rng, 40_000)
    table = generator.generate(rng, processes.BACKGROUNDS["phieta"], 3.0969, beams)
    converted = transport.convert(rng, table, NOMINAL)
    photons = (table.pdg_id == PHOTON) & table.is_final & (table.p4[:, 3] > 0.005)
    p4 = table.p4[photons]
    expected = 1 - np.exp(-7 / 9 * NOMINAL.material * p4[:, 3] / np.hypot(p4[:, 0], p4[:, 1]))
    made = (~converted.is_final & (converted.pdg_id == PHOTON)).sum()
    assert abs(made - expected.sum()) < 4 * np.sqrt(expected.sum())
    pairs = converted.event.size - table.event.size
    assert pairs == 2 * made
    radius = np.hypot(converted.vertex[:, 0], converted.vertex[:, 1])
    own = (np.abs(converted.pdg_id) == ELECTRON) & (radius > 1.0)
    assert set(np.round(radius[own], 3)) == {NOMINAL.pipe_radius, NOMINAL.wall_radius}


def test_conversion_energies_follow_bethe_heitler(rng):
    share = transport.pair_share(rng, 20_000)
    assert stats.kstest(share, lambda x: (x - 2 / 3 * x**2 + 4 / 9 * x**3) * 9 / 7).pvalue > 1e-3


def test_bremsstrahlung_takes_the_mean_share_of_the_thickness(rng):
    """For a thickness t the mean of z is 2^(-t/ln 2) = exp(-t)."""
    p3 = np.tile([0.5, 0.0, 0.0], (60_000, 1))
    kept = transport.bremsstrahlung(rng, p3, np.ones(60_000, bool), NOMINAL)
    assert kept.mean() == pytest.approx(np.exp(-NOMINAL.material - NOMINAL.gas_material / 2), abs=2e-3)
    assert np.all(transport.bremsstrahlung(rng, p3, np.zeros(60_000, bool), NOMINAL) == 1.0)


def decayed(rng, n=20_000):
    beams = beam.cross(rng, n)
    table = generator.generate(rng, processes.BACKGROUNDS["kkpipi"], 3.0969, beams)
    return table, transport.decay_in_flight(rng, table, beams.field, NOMINAL), beams


def test_decays_in_flight_conserve_four_momentum_and_charge(rng):
    _, (grown, flight), _ = decayed(rng)
    assert len(flight.decay_path) == len(grown.event)
    mothers = grown.offsets[grown.event] + np.maximum(grown.mother, 0)
    early = np.flatnonzero(~grown.is_final & np.isin(np.abs(grown.pdg_id), (KAON, PION)))
    assert early.size > 500
    total, charge = np.zeros_like(grown.p4), np.zeros(len(grown.event))
    np.add.at(total, mothers, grown.p4)
    np.add.at(charge, mothers, signed_charge(grown.pdg_id))
    np.testing.assert_allclose(total[early, 3], grown.p4[early, 3], rtol=1e-6)
    np.testing.assert_array_equal(charge[early], signed_charge(grown.pdg_id[early]))


def test_lengths_of_flight_are_exponential(rng):
    _, (grown, flight), _ = decayed(rng)
    kaons = (np.abs(grown.pdg_id) == KAON) & np.isfinite(flight.decay_path)
    momentum = np.linalg.norm(grown.p4[kaons, :3], axis=1)
    times = flight.decay_path[kaons] * M_KAON / momentum / 371.1
    assert times.mean() == pytest.approx(1.0, rel=0.03)
    assert stats.kstest(times[:5000], "expon").pvalue > 1e-3


def test_electrons_fill_and_hadrons_do_not(rng):
    for code, low, high in ((ELECTRON, 0.85, 1.0), (PION, 0.15, 0.45), (MUON, 0.1, 0.3)):
        events = response.single(rng, code, 1.0, (-0.7, 0.7), 2000)
        energy = events.flat("Track", "emc_energy")
        assert low < np.median(energy[energy > 0]) < high


def test_shapes_are_ordered(rng):
    energy, kind = np.full(3000, 0.5), np.repeat([0, 1, 2], 1000)
    shapes = calorimeter.shapes(rng, energy, kind)
    assert np.all(shapes.e_seed <= shapes.e3x3)
    assert np.all(shapes.e3x3 <= shapes.e5x5)
    assert np.all(shapes.e5x5 <= energy)
    moment = [shapes.second_moment[kind == k].mean() for k in range(3)]
    assert moment[1] < moment[0] < moment[2]


def cells(positions, energies, track):
    n = len(energies)
    at = np.array([[p, 0.0, 95.0] for p in positions])
    return calorimeter.Clusters(
        np.zeros(n, int), at, np.array(energies, float), np.zeros(n, int), np.array(track), np.zeros(n)
    )


def test_close_clusters_become_one_and_energy_is_kept():
    parts = cells([0.0, 10.0, 60.0], [0.3, 0.5, 0.2], [0, 1, 2])
    energy = calorimeter.merge(parts, np.ones(3, bool), NOMINAL)
    assert energy == pytest.approx([0.0, 0.8, 0.2])


@settings(max_examples=settings.default.max_examples // 2)
@given(st.lists(st.tuples(st.floats(-60, 60), st.floats(0.03, 1.5), st.booleans()), min_size=1, max_size=8))
def test_overlaps_keep_the_energy_and_end_with_distant_clusters(given_cells):
    positions, energies, matched = zip(*given_cells, strict=True)
    parts = cells(list(positions), list(energies), np.arange(len(energies)))
    energy = calorimeter.merge(parts, np.array(matched), NOMINAL)
    assert energy.sum() == pytest.approx(sum(energies))
    assert np.all(energy >= 0)


def test_a_track_takes_what_a_photon_left_near_it():
    parts = cells([0.0, 5.0], [0.1, 0.9], [0, -1])
    energy = calorimeter.merge(parts, np.array([True, False]), NOMINAL)
    assert energy == pytest.approx([1.0, 0.0])


def test_clusters_of_different_events_stay_apart():
    parts = cells([0.0, 0.0], [0.3, 0.5], [0, 1])
    parts = parts._replace(event=np.array([0, 1]))
    assert calorimeter.merge(parts, np.ones(2, bool), NOMINAL) == pytest.approx([0.3, 0.5])


def test_every_parameter_has_unit_source_and_meaning():
    for field in dataclasses.fields(DetectorParameters):
        assert {"unit", "source", "meaning", "range"} <= set(field.metadata)
        assert field.metadata["source"] in SOURCES
    assert sum(p.fraction for p in PERIODS) == pytest.approx(1.0)
    assert NOMINAL != DATA_LIKE


def test_a_late_decay_leaves_the_cluster_where_the_daughter_goes(rng):
    """Kaons that decay before the calorimeter leave the energy of a muon, often away from the track."""
    events = response.single(rng, KAON, 0.4, (-0.5, 0.5), 20_000)
    energy = events.flat("Track", "emc_energy")
    stable = response.single(rng, PROTON, 0.9, (-0.5, 0.5), 5_000).flat("Track", "emc_energy")
    assert np.mean(energy == 0.0) > 2 * np.mean(stable == 0.0)


def test_kaons_that_decay_inside_the_chamber_make_no_track(rng):
    """At normal incidence, from 15 to 65 cm."""
    n, p = 20_000, 0.5
    events = response.single(rng, KAON, p, (-0.001, 0.001), n)
    lengths = np.array([NOMINAL.decay_radius_early, NOMINAL.decay_radius_late])
    kept = np.exp(-lengths * M_KAON / (p * 371.1))
    wanted = (1.0 - kept[0] + kept[1]) * NOMINAL.tracking_efficiency * np.exp(-NOMINAL.hadron_loss)
    counts = np.diff(events.offsets("Track"))
    # The track bends: its path to 65 cm is a bit longer. Daughters of early decays may leave the acceptance.
    assert np.mean(counts > 0) == pytest.approx(wanted, abs=0.02)


def test_one_layer_of_the_barrel_has_the_larger_error(rng):
    sigma = response.single(rng, MUON, 1.0, (-0.02, 0.02), N).flat("Track", "tof_sigma")
    two, one = np.median(sigma[sigma > 0]), np.max(sigma)
    assert one / two == pytest.approx(NOMINAL.tof_one_layer, rel=0.01)
    share = np.mean(sigma[sigma > 0] > 1.1 * two)
    miss = 1 - NOMINAL.tof_efficiency
    assert share == pytest.approx(2 * miss * (1 - miss) / (1 - miss**2), abs=0.01)


def test_data_like_tracks_are_found_a_little_less_often():
    ratio = DATA_LIKE.tracking_efficiency / NOMINAL.tracking_efficiency
    assert 0.99 < ratio < 1.0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_kinks_leave_a_track_of_their_longer_part(rng, share):
    """Pions of 0.3 GeV/c: with kinks all tracks are there, and some have the momentum of the muon."""
    n = 20_000
    table, beams = response.gun(rng, PION, np.full(n, 0.3), rng.uniform(-0.5, 0.5, n), (2018,))
    columns = simulate(rng, table, beams, dataclasses.replace(NOMINAL, kink_found=share))
    momentum = np.hypot(1.0, columns["Track_tanl"][1]) / np.abs(columns["Track_kappa"][1])
    odd = np.mean(np.abs(momentum - 0.3) > 0.02)
    decays = 1.0 - np.exp(-0.5 * M_PION / (0.3 * 7.8045))
    if share:
        assert len(momentum) > 0.96 * n
        assert 0.2 * decays < odd < decays
    else:
        assert len(momentum) < 0.975 * n
