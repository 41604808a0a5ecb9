"""Final-state radiation: exact conservation with many photons, the soft spectrum, the share of the emitters."""

from __future__ import annotations

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON
from jpsi_lnv.analysis.simulation import decays

pytestmark = pytest.mark.fast
KKEE = np.array([M_KAON, M_KAON, M_ELECTRON, M_ELECTRON])
EE = np.array([M_ELECTRON, M_ELECTRON])


def radiated(rng, masses, n):
    momenta = decays.phase_space(rng, M_JPSI, list(masses), n)
    radiation = decays.radiate(rng, momenta, np.tile(masses, (n, 1)), np.ones(len(masses), bool))
    total = radiation.momenta.sum(axis=1)
    np.add.at(total, radiation.decay, radiation.photons)
    return radiation, total


@pytest.mark.parametrize(("masses", "tolerance"), [(KKEE, 1e-12), (np.full(4, M_ELECTRON), 1e-10), (EE, 1e-7)])
def test_four_momentum_is_conserved_with_several_photons(rng, masses, tolerance):
    radiation, total = radiated(rng, masses, 30_000)
    per_decay = np.bincount(radiation.decay, minlength=30_000)
    assert per_decay.max() >= 2, "the recoil of a second photon is not tested"
    assert np.abs(total - [0, 0, 0, M_JPSI]).max() < tolerance


def test_masses_are_kept(rng):
    radiation, _ = radiated(rng, KKEE, 10_000)
    p2 = (radiation.momenta[..., :3] ** 2).sum(axis=-1)
    np.testing.assert_allclose(radiation.momenta[..., 3], np.sqrt(p2 + KKEE**2), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(radiation.photons[:, :3], axis=1), radiation.photons[:, 3], rtol=1e-9)


def test_the_soft_spectrum_has_the_leading_logarithm(rng):
    """The number of photons per unit of ln k is alpha/pi (L - 1) per electron with L = ln(4 E^2/m^2)."""
    n = 60_000
    radiation, _ = radiated(rng, EE, n)
    energy = radiation.photons[:, 3]
    low, high = 0.003, 0.03
    counted = ((energy > low) & (energy < high)).sum() / n / 2 / np.log(high / low)
    beam = M_JPSI / 2
    wanted = decays.FINE_STRUCTURE / np.pi * (np.log(4 * beam**2 / M_ELECTRON**2) - 1)
    assert counted == pytest.approx(wanted, rel=0.04)


def test_both_electrons_radiate_alike(rng):
    momenta = decays.phase_space(rng, M_JPSI, list(EE), 40_000)
    radiation = decays.radiate(rng, momenta, np.tile(EE, (40_000, 1)), np.ones(2, bool))
    along = (radiation.photons[:, None, :3] * radiation.momenta[radiation.decay][:, :, :3]).sum(axis=-1)
    share = np.mean(along[:, 0] > along[:, 1])
    assert share == pytest.approx(0.5, abs=0.02)


def test_the_share_of_decays_that_lose_energy_is_the_measured_one(rng):
    radiation, _ = radiated(rng, KKEE, 40_000)
    lost = np.bincount(radiation.decay, weights=radiation.photons[:, 3], minlength=40_000)
    for threshold, wanted in ((0.005, 0.25), (0.020, 0.17), (0.100, 0.08)):
        assert np.mean(lost > threshold) == pytest.approx(wanted, abs=0.03)


def test_neutral_daughters_do_not_radiate(rng):
    momenta = decays.phase_space(rng, M_JPSI, list(EE), 5_000)
    radiation = decays.radiate(rng, momenta, np.tile(EE, (5_000, 1)), np.zeros(2, bool))
    assert len(radiation.photons) == 0
    np.testing.assert_array_equal(radiation.momenta, momenta)


def test_slow_particles_radiate_little():
    slow, fast = decays.soft_factor(np.array([0.1, 0.9999]))
    assert 0 < slow < 0.02
    assert fast == pytest.approx(np.log(4 / (1 - 0.9999**2)) - 1, rel=1e-3)
