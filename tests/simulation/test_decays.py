"""Phase space: conservation, masses, flatness, bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON, M_PION
from jpsi_lnv.analysis.simulation import decays
from jpsi_lnv.analysis.simulation.processes import BACKGROUNDS, CONTROLS, SIGNAL, known_mass

pytestmark = pytest.mark.fast
KKEE = (M_KAON, M_KAON, M_ELECTRON, M_ELECTRON)


def mass(p4):
    return np.sqrt(np.maximum(p4[..., 3] ** 2 - (p4[..., :3] ** 2).sum(axis=-1), 0))


@settings(max_examples=settings.default.max_examples // 3)
@given(
    masses=st.lists(st.floats(0.0, 0.6), min_size=2, max_size=6),
    excess=st.floats(0.01, 2.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_four_momentum_and_masses_are_kept(masses, excess, seed):
    parent = sum(masses) + excess
    momenta = decays.phase_space(np.random.default_rng(seed), parent, masses, 50)
    total = momenta.sum(axis=1)
    assert np.abs(total - [0, 0, 0, parent]).max() < 1e-9
    p2 = (momenta[..., :3] ** 2).sum(axis=-1)
    np.testing.assert_allclose(momenta[..., 3], np.sqrt(p2 + np.square(masses)), atol=1e-9)


def test_parents_and_daughters_may_have_a_mass_each(rng):
    parent, first = rng.uniform(2.0, 3.0, 100), rng.uniform(0.1, 0.9, 100)
    momenta = decays.phase_space(rng, parent, [first, M_PION, M_PION], 100)
    np.testing.assert_allclose(mass(momenta.sum(axis=1)), parent, rtol=1e-12)
    np.testing.assert_allclose(mass(momenta[:, 0]), first, rtol=1e-7)


def test_three_massless_daughters_fill_the_dalitz_plot_evenly(rng):
    momenta = decays.phase_space(rng, 1.0, [0.0, 0.0, 0.0], 20_000)
    s12 = mass(momenta[:, 0] + momenta[:, 1]) ** 2
    # Flat in (s12, s23): the density of s12 falls linearly, so (1 - s12)^2 is uniform.
    assert stats.kstest((1 - s12) ** 2, "uniform").pvalue > 1e-3
    assert stats.kstest((momenta[:, 0, 2] / momenta[:, 0, 3] + 1) / 2, "uniform").pvalue > 1e-3


def test_equal_daughters_are_interchangeable(rng):
    momenta = decays.phase_space(rng, M_JPSI, KKEE, 20_000)
    for a, b in ((0, 1), (2, 3)):
        assert stats.ks_2samp(momenta[:, a, 3], momenta[:, b, 3]).pvalue > 1e-3


def test_no_weight_exceeds_the_bound_of_its_pilot(rng):
    channels = [SIGNAL, *BACKGROUNDS.values(), *CONTROLS.values()]
    for masses in {tuple(known_mass(d) for d in c.tree.daughters) for c in channels}:
        n = 100_000
        daughters = np.broadcast_to(np.array(masses)[:, None], (len(masses), n))
        nested = decays._propose(rng, np.full(n, M_JPSI), daughters)
        weight = decays.weights(nested, daughters)
        assert (weight > decays.maximum_weight(M_JPSI, masses)).sum() == 0


def test_a_forbidden_decay_is_refused(rng):
    with pytest.raises(ValueError, match=r"0\.9000 GeV/c\^2 cannot decay into 0\.98"):
        decays.phase_space(rng, 0.9, [M_KAON, M_KAON], 3)


def test_no_decays_give_no_momenta(rng):
    assert decays.phase_space(rng, M_JPSI, KKEE, 0).shape == (0, 4, 4)


def test_boost_and_its_inverse(rng):
    frame = np.concatenate([rng.normal(size=(50, 3)), np.full((50, 1), 4.0)], axis=1)
    momenta = decays.phase_space(rng, 1.0, [0.1, 0.2], 50)[:, 0]
    opposite = frame * [-1.0, -1.0, -1.0, 1.0]
    back = decays.boost(decays.boost(momenta, frame), opposite)
    np.testing.assert_allclose(back, momenta, atol=1e-10)
    np.testing.assert_allclose(mass(decays.boost(momenta, frame)), 0.1, rtol=1e-6)


def test_transverse_decays_follow_one_plus_cosine_squared(rng):
    cosine = decays.transverse_cos_theta(rng, 20_000)
    assert stats.kstest(cosine, lambda c: (3 * c + c**3 + 4) / 8).pvalue > 1e-3
