"""The angles of J/psi -> nu nu, nu -> K e: what they are, and what other ones do to an efficiency."""

from __future__ import annotations

import numpy as np
import pytest

from jpsi_lnv.analysis import recast_map
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.simulation.decays import REVERSED, boost
from jpsi_lnv.analysis.systematics import modelling, table

pytestmark = pytest.mark.fast
N = 50_000
TRACKS = ("k1", "e1", "k2", "e2")


def decays(rng, m_majorana, n=N):
    """Return four-momenta (n, 4, 4) of kaon, electron, kaon, electron."""
    return recast_map.two_neutrinos(rng, np.full((n, 2), m_majorana)).momenta


def as_candidates(momenta, electrons=("e1", "e2")):
    """Return decays as the table of candidates; the electrons' names may be exchanged."""
    of = dict(zip(("k1", electrons[0], "k2", electrons[1]), np.moveaxis(momenta, 1, 0), strict=True))
    size = {t: np.linalg.norm(p4[:, :3], axis=1) for t, p4 in of.items()}
    found = {f"p_{t}": size[t] for t in TRACKS} | {f"cos_theta_{t}": of[t][:, 2] / size[t] for t in TRACKS}
    for name in KKEE.pair_names:
        sum_ = of[name[2:4]] + of[name[4:6]]
        found[name] = np.sqrt(sum_[:, 3] ** 2 - np.square(sum_[:, :3]).sum(axis=1))
    return found


def true_cosines(momenta):
    """Return cos(theta) of the first neutrino and cos(theta*) of both electrons by boosts."""
    pairs = momenta[:, 0::2] + momenta[:, 1::2]
    unit = pairs[..., :3] / np.linalg.norm(pairs[..., :3], axis=-1, keepdims=True)
    star = boost(momenta[:, 1::2], pairs * REVERSED)[..., :3]
    stars = (star * unit).sum(axis=-1) / np.linalg.norm(star, axis=-1)
    return unit[:, 0, 2], stars[:, 0], stars[:, 1]


@pytest.mark.parametrize("m_majorana", [0.575, 1.0, 1.525])
@pytest.mark.parametrize("electrons", [("e1", "e2"), ("e2", "e1")])
def test_cosines_are_those_of_boosted_decays(rng, m_majorana, electrons):
    momenta = decays(rng, m_majorana, 1000)
    found = modelling.cosines(as_candidates(momenta, electrons), m_majorana)
    for got, wanted in zip(found, true_cosines(momenta), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_without_a_selection_no_model_changes_the_efficiency(rng):
    changes = modelling.angular(as_candidates(decays(rng, 0.9)), 0.9)
    assert set(changes) == set(modelling.ANGLES)
    assert all(abs(change) < 4.0 / np.sqrt(N) for change in changes.values())


def test_a_selection_in_the_angle_of_the_neutrinos_changes_it_by_what_the_integrals_say(rng):
    found = as_candidates(decays(rng, 0.9))
    is_kept = np.abs(modelling.cosines(found, 0.9)[0]) < 0.5
    changes = modelling.angular({name: values[is_kept] for name, values in found.items()}, 0.9)
    for name, alpha in (("opposite helicities", 1.0), ("equal helicities", -1.0)):
        wanted = (1.0 + alpha * 0.25 / 3.0) / (1.0 + alpha / 3.0) - 1.0
        assert changes[name] == pytest.approx(wanted, abs=4.0 / np.sqrt(is_kept.sum()))


def test_a_selection_in_the_angles_of_the_electrons_moves_equal_and_opposite_helicities_apart(rng):
    found = as_candidates(decays(rng, 0.9))
    _, first, second = modelling.cosines(found, 0.9)
    is_kept = first * second > 0.0
    changes = modelling.angular({name: values[is_kept] for name, values in found.items()}, 0.9)
    assert changes["equal helicities"] == pytest.approx(0.25, abs=0.02)
    assert changes["opposite helicities"] == pytest.approx(-0.25, abs=0.02)


def test_the_uncertainty_is_that_of_a_uniform_distribution_between_the_extreme_models(rng):
    found = as_candidates(decays(rng, 0.9, 2000))
    row = table.of_angles(found, 0.9)
    values = row.details.values()
    assert row.value == pytest.approx((max(values) - min(values)) / np.sqrt(12.0))
