"""Channels in the laboratory: conservation with every channel, conjugation, mothers, beams, radiation, Dalitz pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.simulation import beam, generator, processes
from jpsi_lnv.analysis.simulation.particles import KINDS, SELF_CONJUGATE, signed_charge

pytestmark = pytest.mark.fast
N = 2_000
BHABHA = processes.BACKGROUNDS["bhabha_converted"]
CONTINUUM = {name: process for name, (process, _) in processes.CONTINUUM.items()} | {"bhabha": BHABHA}
JPSI_PROCESSES = {
    "signal": processes.SIGNAL,
    "2nu": processes.majorana(0.7, "2nu"),
    "1nu": processes.majorana(2.5, "1nu"),
    **{name: process for name, process in processes.BACKGROUNDS.items() if process is not BHABHA},
    **processes.CONTROLS,
}


def generate(rng, channel, sqrt_s=M_JPSI, n=N):
    return generator.generate(rng, channel, sqrt_s, beam.cross(rng, n))


def final_sum(table):
    total = np.zeros((table.n_events, 4))
    np.add.at(total, table.event[table.is_final], table.p4[table.is_final])
    return total


def mass(p4):
    return np.sqrt(p4[..., 3] ** 2 - (p4[..., :3] ** 2).sum(axis=-1))


@pytest.mark.parametrize("name", JPSI_PROCESSES)
def test_every_channel_conserves_four_momentum_charge_and_order(rng, name):
    table = generate(rng, JPSI_PROCESSES[name])
    tops = table.p4[table.offsets[:-1]]
    assert np.all(table.pdg_id[table.offsets[:-1]] == 443)
    assert np.abs(final_sum(table) - tops).max() < 1e-7
    charge = np.bincount(table.event, weights=signed_charge(table.pdg_id) * table.is_final, minlength=N)
    assert np.all(charge == 0)
    assert np.all(np.diff(table.event) >= 0)
    has_mother = table.mother >= 0
    assert np.all(table.mother[has_mother] < table.row[has_mother])
    assert np.all(table.row[~has_mother] == 0)


@pytest.mark.parametrize("name", JPSI_PROCESSES)
def test_daughters_add_up_to_their_mother(rng, name):
    table = generate(rng, JPSI_PROCESSES[name], n=300)
    mothers = table.offsets[table.event] + table.mother
    has = table.mother >= 0
    total = np.zeros_like(table.p4)
    np.add.at(total, mothers[has], table.p4[has])
    decayed = ~table.is_final
    np.testing.assert_allclose(total[decayed], table.p4[decayed], atol=1e-7)


@pytest.mark.parametrize("name", CONTINUUM)
def test_continuum_events_and_their_radiation_add_up_to_the_beams(rng, name):
    table = generate(rng, CONTINUUM[name], 3.650)
    total = final_sum(table)
    assert mass(total).mean() == pytest.approx(3.650, abs=2e-3)
    np.testing.assert_allclose(total[:, 0], initial_four_momentum(3.650)[0], atol=1e-3)
    isr = (table.mother < 0) & (table.pdg_id == 22)
    assert isr.sum() == N
    assert np.all(table.p4[isr, 3] < beam.ISR_MAX * 3.650 / 2 * 1.01)


@pytest.mark.parametrize("name", processes.CONTINUUM)
def test_cross_sections_fall_with_the_energy_and_have_a_source(name):
    cross_section = processes.CONTINUUM[name][1]
    assert cross_section.at(3.0) > cross_section.at(3.650)
    assert cross_section.source


def test_half_of_the_signal_is_conjugated(rng):
    table = generate(rng, processes.SIGNAL)
    kaons = np.abs(table.pdg_id) == 321
    sign = np.sign(table.pdg_id[kaons]).reshape(N, 2)
    assert np.all(sign[:, 0] == sign[:, 1])
    assert (sign[:, 0] > 0).sum() == N // 2
    electrons = np.abs(table.pdg_id) == 11
    assert np.all(np.sign(table.pdg_id[electrons]).reshape(N, 2) == sign)


@pytest.mark.parametrize(("mode", "heaviest"), [("2nu", 1.525), ("1nu", 2.5)])
def test_the_neutrino_has_its_mass(rng, mode, heaviest):
    for value in (0.575, heaviest):
        table = generate(rng, processes.majorana(value, mode), n=500)
        neutrinos = np.abs(table.pdg_id) == 9910012
        assert neutrinos.sum() == 500 * (2 if mode == "2nu" else 1)
        np.testing.assert_allclose(mass(table.p4[neutrinos]), value, rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "mode"), [(0.40, "2nu"), (M_KAON, "1nu"), (1.549, "2nu"), (2.7, "1nu"), (-1.0, "2nu")]
)
def test_a_mass_outside_the_kinematic_range_is_refused(value, mode):
    with pytest.raises(ValueError, match=r"m_majorana: got .* wanted above 0\.49"):
        processes.majorana(value, mode)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="3nu"):
        processes.majorana(1.0, "3nu")


def test_electron_pairs_follow_one_plus_cosine_squared(rng):
    table = generate(rng, processes.CONTROLS["ee"], n=10_000)
    electrons = table.p4[(table.pdg_id == 11) & table.is_final]
    cosine = electrons[:, 2] / np.linalg.norm(electrons[:, :3], axis=1)
    assert stats.kstest(cosine, lambda c: (3 * c + c**3 + 4) / 8).pvalue > 1e-3


def test_pi0_decay_to_dalitz_pairs_as_often_as_measured(rng):
    table = generate(rng, processes.BACKGROUNDS["pipipi0"], n=40_000)
    electrons = (table.pdg_id == 11).sum() / 40_000
    assert electrons == pytest.approx(processes.BF_PI0_DALITZ.value, rel=0.15)


def test_dalitz_pairs_are_light(rng):
    momenta = generator.dalitz_decay(rng, np.full(20_000, KINDS[111].mass))
    pair = mass(momenta[:, 0] + momenta[:, 1])
    assert pair.min() >= 2 * M_ELECTRON * 0.999
    # Integral of the Kroll-Wada spectrum without form factor: half of the pairs are below 8.0 MeV/c^2.
    assert np.median(pair) == pytest.approx(kroll_wada_median(), rel=0.03)
    np.testing.assert_allclose(momenta.sum(axis=1)[:, 3], KINDS[111].mass, rtol=1e-9)


def kroll_wada_median():
    q2 = np.geomspace(4 * M_ELECTRON**2, KINDS[111].mass ** 2, 200_001)[1:-1]
    r = 4 * M_ELECTRON**2 / q2
    density = np.sqrt(1 - r) * (1 + r / 2) * (1 - q2 / KINDS[111].mass ** 2) ** 3  # per unit of ln q2
    return np.sqrt(q2[np.searchsorted(np.cumsum(density), density.sum() / 2)])


def test_resonances_have_their_width(rng):
    table = generate(rng, processes.BACKGROUNDS["phipipi"], n=20_000)
    phi = mass(table.p4[table.pdg_id == 333])
    low, high = np.quantile(phi, [0.25, 0.75])
    assert (low + high) / 2 == pytest.approx(KINDS[333].mass, abs=3e-4)
    assert high - low == pytest.approx(KINDS[333].width, rel=0.12)


def test_beams_cross_at_an_angle_and_at_the_beam_spot(rng):
    beams = beam.cross(rng, 50_000)
    p4 = beam.jpsi_momentum(rng, 50_000)
    assert p4[:, 0].mean() == pytest.approx(0.03407, abs=1e-5)
    assert np.all(p4[:, 1] == 0)
    assert p4[:, 2].std() == pytest.approx(0.0011, rel=0.03)
    assert (beams.vertex - beams.ip).std(axis=0) == pytest.approx([0.037, 0.0004, 0.77], rel=0.03)
    shares = np.bincount(beams.period, minlength=3) / 50_000
    assert shares == pytest.approx([0.0222, 0.1079, 0.8699], abs=0.006)
    assert np.all(beams.field[beams.period == 1] == 0.9)


def test_the_interaction_point_belongs_to_the_run(rng):
    first, second = beam.cross(rng, 5_000), beam.cross(rng, 5_000)
    points = {int(run): tuple(ip) for run, ip in zip(first.run, first.ip, strict=True)}
    assert all(points[int(run)] == tuple(ip) for run, ip in zip(second.run, second.ip, strict=True))


def test_initial_state_radiation_has_the_leading_log_spectrum(rng):
    _, photon = beam.virtual_photon(rng, 3.65, 50_000)
    x = photon[:, 3] * 2 / 3.65
    exponent = 2 / 137.036 / np.pi * (2 * np.log(3.65 / M_ELECTRON) - 1)
    soft = x < 0.01
    # Below 1 % the hard factors are one: x^beta is uniform.
    assert stats.kstest((x[soft] / 0.01) ** exponent, "uniform").pvalue > 1e-3
    assert (photon[:, 2] > 0).mean() == pytest.approx(0.5, abs=0.01)


def test_self_conjugate_codes_stay(rng):
    table = generate(rng, processes.majorana(1.0, "2nu"), n=500)
    assert set(table.pdg_id[np.isin(np.abs(table.pdg_id), SELF_CONJUGATE)]) <= set(SELF_CONJUGATE)
