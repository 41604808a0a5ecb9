"""Processes that can fake the signal: virtual photons, flying K_S, Bhabha scattering, forced conversions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON
from jpsi_lnv.analysis.simulation import beam, decays, processes, production, transport
from jpsi_lnv.analysis.simulation.generator import bhabha_cos_theta, generate, photon_phase_space
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.analysis.simulation.particles import ELECTRON, K_SHORT, KINDS, PHOTON, Particles
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTINUUM
from jpsi_lnv.analysis.simulation.samplesets import DEMO_BACKGROUNDS, sample_set

pytestmark = pytest.mark.fast
N = 20_000
# Conservative shares of tracks taken for another: (species, as kaon), (species, as electron).
AS_KAON = {11: 1.5e-2, 13: 5e-2, 211: 3e-2, 321: 1.0, 2212: 0.8}
AS_ELECTRON = {11: 1.0, 13: 1e-3, 211: 1e-3, 321: 1e-3, 2212: 5e-3}


def events(rng, name, n=N):
    return generate(rng, BACKGROUNDS[name], M_JPSI, beam.cross(rng, n))


def test_photon_phase_space_is_the_one_of_the_generator(rng):
    """The volume is the mean weight of proposed decays, up to what all masses of the photon share."""
    grid, volume = photon_phase_space(M_JPSI, (M_KAON, M_KAON))
    mean = []
    for q in (0.0, 0.5, 1.0, 1.5):
        daughters = np.broadcast_to(np.array([M_KAON, M_KAON, q])[:, None], (3, 60_000))
        nested = decays._propose(rng, np.full(60_000, M_JPSI), daughters)
        mean.append(decays.weights(nested, daughters).mean() * (M_JPSI - 2 * M_KAON - q))
    np.testing.assert_allclose(np.array(mean) / mean[0], np.interp([0.0, 0.5, 1.0, 1.5], grid, volume), rtol=0.02)


def test_masses_of_virtual_photons_follow_their_spectrum(rng):
    table = generate(rng, BACKGROUNDS["kkee"], M_JPSI, beam.cross(rng, N), emitters=())
    pair = [table.p4[(table.pdg_id == sign * ELECTRON) & (table.mother == 0)] for sign in (1, -1)]
    total = pair[0] + pair[1]
    mass = np.sqrt(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1))
    grid, volume = photon_phase_space(M_JPSI, (M_KAON, M_KAON))
    edges = np.geomspace(2 * M_ELECTRON * 1.0001, grid[-1], 4000)
    ratio = np.minimum(4 * M_ELECTRON**2 / edges**2, 1.0)
    density = np.sqrt(1 - ratio) * (1 + ratio / 2) / edges * np.interp(edges, grid, volume)
    cdf = integrate.cumulative_trapezoid(density, edges, initial=0.0)
    assert stats.kstest(mass, lambda m: np.interp(m, edges, cdf / cdf[-1])).pvalue > 1e-3


def test_k_short_fly_and_their_pions_start_there(rng):
    table = events(rng, "kskpi")
    kaons = np.flatnonzero(table.pdg_id == K_SHORT)
    pions = np.flatnonzero((table.mother == table.row[kaons[0]]) & (np.abs(table.pdg_id) == 211))
    assert len(pions) == 2 * len(kaons)
    path = np.linalg.norm(table.vertex[pions[::2]] - table.vertex[kaons], axis=1)
    momentum = np.linalg.norm(table.p4[kaons, :3], axis=1)
    times = path * KINDS[K_SHORT].mass / momentum / KINDS[K_SHORT].c_tau
    assert stats.kstest(times, "expon").pvalue > 1e-3


def bhabha(cosine):
    return ((3 + cosine**2) / (1 - cosine)) ** 2


def test_bhabha_electrons_follow_the_born_cross_section(rng):
    cosine = bhabha_cos_theta(rng, N)
    edges = np.linspace(-processes.BHABHA_COSINE, processes.BHABHA_COSINE, 4001)
    cdf = integrate.cumulative_trapezoid(bhabha(edges), edges, initial=0.0)
    assert stats.kstest(cosine, lambda c: np.interp(c, edges, cdf / cdf[-1])).pvalue > 1e-3


def test_bhabha_events_per_jpsi_are_the_cross_section_times_the_luminosity():
    integral, _ = integrate.quad(bhabha, -processes.BHABHA_COSINE, processes.BHABHA_COSINE)
    picobarn = np.pi * (1 / 137.036) ** 2 / (2 * M_JPSI**2) * integral * 0.389379e9
    assert processes.BF_BHABHA.value == pytest.approx(picobarn * 3083 / 10_087e6, rel=0.01)


@pytest.mark.parametrize("name", [n for n, p in BACKGROUNDS.items() if p.is_converted])
def test_one_photon_of_every_event_converts(rng, name):
    recipe = production.Recipe(processes=((BACKGROUNDS[name], 1.0),), sqrt_s=M_JPSI)
    table = production._one_process(rng, BACKGROUNDS[name], recipe, beam.cross(rng, 2000))
    radius = np.hypot(table.vertex[:, 0], table.vertex[:, 1])
    converted = (np.abs(table.pdg_id) == ELECTRON) & (radius > 3.0)
    assert np.all(np.bincount(table.event[converted], minlength=2000) == 2)


def test_forced_conversions_are_distributed_as_those_by_chance(rng):
    process = BACKGROUNDS["kkpi0_converted"]
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI)
    forced = production._generate_converted(rng, process, recipe, beam.cross(rng, 4000))
    plain = generate(rng, process, M_JPSI, beam.cross(rng, 150_000))
    chance = transport.convert(rng, plain, NOMINAL)
    energies = []
    for table in (forced, chance):
        photons = (table.pdg_id == PHOTON) & ~table.is_final
        inside = np.abs(table.p4[:, 2]) < NOMINAL.cos_theta_max * table.p4[:, 3]
        energies.append(table.p4[photons & inside, 3])
    assert stats.ks_2samp(*energies).pvalue > 1e-3
    assert len(energies[1]) / 150_000 == pytest.approx(production.converted_share(process, M_JPSI), rel=0.05)


def test_an_event_without_a_photon_cannot_be_forced(rng):
    table = generate(rng, BACKGROUNDS["kkkk"], M_JPSI, beam.cross(rng, 10), emitters=())
    with pytest.raises(ValueError, match="10 of 10 events have no photon"):
        transport.force_conversion(rng, table, NOMINAL)


def test_a_weight_above_one_is_refused(rng, monkeypatch):
    monkeypatch.setattr(production, "CONVERSION_MAX", 0.01)
    recipe = production.Recipe(processes=((BACKGROUNDS["kkgamma"], 1.0),), sqrt_s=M_JPSI)
    with pytest.raises(production.WeightError, match=r"has weight \d+\.\d+, wanted at most 1"):
        production._generate_converted(rng, BACKGROUNDS["kkgamma"], recipe, beam.cross(rng, 500))


def test_an_energy_without_a_cross_section_is_refused():
    with pytest.raises(processes.CrossSectionError, match=r"no cross section at 4\.2 GeV.*from 3\.0 to 3\.75 GeV"):
        CONTINUUM["pipipipi"][1].at(4.2)


def test_four_pions_fall_as_the_electromagnetic_relation_says():
    """B(psi(2S) -> 2(pi+ pi-))/B(mu mu) sigma(mu mu) at 3.686 GeV is 190 pb."""
    assert CONTINUUM["pipipipi"][1].at(3.686) == pytest.approx(190, rel=0.03)


def test_a_period_without_a_share_is_refused(rng):
    with pytest.raises(beam.PeriodError, match=r"period 1999: it has no share .*\[2009, 2012, 2018\]"):
        beam.cross(rng, 3, (1999,))


def test_the_demo_set_has_the_nearest_backgrounds():
    assert {"kkee", "kskpi"} <= set(DEMO_BACKGROUNDS)
    assert set(DEMO_BACKGROUNDS) <= {d.name for d in sample_set("demo").datasets}


def likeliest_mistake(table: Particles) -> float:
    """Return the largest product of misidentification shares with which four charged particles fake the signal."""
    code = table.pdg_id[table.event == 0]
    own = [int(c) for c in code if abs(c) in AS_KAON]
    sign = {c: (-1 if abs(c) in (11, 13) else 1) * (1 if c > 0 else -1) for c in own}
    best = 0.0
    for charge in (1, -1):
        kaons = sorted((AS_KAON[abs(c)] for c in own if sign[c] == charge), reverse=True)
        electrons = sorted((AS_ELECTRON[abs(c)] for c in own if sign[c] == -charge), reverse=True)
        if len(kaons) > 1 and len(electrons) > 1:
            best = max(best, kaons[0] * kaons[1] * electrons[0] * electrons[1])
    return best


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_no_candidate_of_the_full_set_stands_for_more_than_one_event(rng, name):
    process = BACKGROUNDS[name]
    dataset = next(d for d in sample_set("paper").datasets if d.name == name)
    recipe = dataset.recipe
    table = production._one_process(rng, process, recipe, beam.cross(rng, 1))
    weight = 10_087e6 * dataset.metadata.branching_fraction / dataset.n_events
    assert weight * likeliest_mistake(table) < 1.0


@pytest.mark.parametrize(
    ("name", "sqrt_s", "wanted", "error"),
    [
        ("kkpipi", 3.65, 161.7, 24.8),
        ("pipipipi", 3.65, 177.7, 23.0),
        ("kkkk", 3.65, 24.1, 7.0),
        ("kkpipi", 3.2875, 304.0, 22.0),
        ("kkkk", 3.2875, 30.0, 9.0),
    ],
)
def test_cross_sections_are_those_measured_elsewhere(name, sqrt_s, wanted, error):
    """BES at 3.65 GeV (HEPData 26996) and a bin of BaBar's between (HEPData 62222), not in the fit."""
    found = CONTINUUM[name][1]
    assert abs(found.at(sqrt_s) - wanted) < 2.0 * math.hypot(error, found.error * found.at(sqrt_s) / found.value)
