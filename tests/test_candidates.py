"""K K e e combinations: every right one, none twice, in a fixed order."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import candidates, kinematics
from jpsi_lnv.analysis.channel import KKEE, PHOTON, Channel, read
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.kinfit import fourc

pytestmark = pytest.mark.fast


def kkee(is_electron, is_kaon):
    return {Species.E: is_electron, Species.K: is_kaon}


def all_combinations(offsets, charge, is_electron, is_kaon, mask):
    """The same in plain Python."""
    found = []
    for event in np.flatnonzero(mask):
        of_event = range(offsets[event], offsets[event + 1])
        for sign in (1, -1):
            kaons = [t for t in of_event if is_kaon[t] and charge[t] == sign]
            electrons = [t for t in of_event if is_electron[t] and charge[t] == -sign]
            found += [(event, *k, *e) for k in combinations(kaons, 2) for e in combinations(electrons, 2)]
    return found


@settings(max_examples=settings.default.max_examples // 2)
@given(n_tracks=st.lists(st.integers(0, 9), max_size=6), seed=st.integers(0, 10**6))
def test_every_combination_once(n_tracks, seed):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(n_tracks)]).astype(np.int64)
    n = offsets[-1]
    charge = rng.choice([-1, 1], n).astype(np.int8)
    is_electron, is_kaon = rng.random((2, n)) < 0.6
    mask = rng.random(len(n_tracks)) < 0.8
    cand, event = candidates.find(offsets, charge, kkee(is_electron, is_kaon), KKEE, mask)
    found = [(e, *c) for e, c in zip(event.tolist(), cand.tolist(), strict=True)]
    assert found == all_combinations(offsets, charge, is_electron, is_kaon, mask)
    assert all(len(set(c)) == 4 for c in cand.tolist())
    assert (charge[cand].sum(axis=1) == 0).all()


CHANNELS = (
    KKEE,
    Channel(("p+", "p-", "pi+", "pi-")),
    Channel(("K+", "pi+", "pi+", "e-")),
    Channel(("e+", "e-")),
    Channel(("K+", "pi+", "e+", "pi-", "pi-", "K-")),
)


def by_brute_force(offsets, charge, accepts, channel):
    """Every choice of different tracks for the slots, each set of like particles in its increasing order."""
    slots = channel.slots
    signs = (1,) if channel.is_self_conjugate else (1, -1)
    found = []
    for event in range(len(offsets) - 1):
        for sign in signs:
            for chosen in permutations(range(offsets[event], offsets[event + 1]), len(slots)):
                fits = all(
                    accepts[s.species][t] and charge[t] == sign * s.charge for s, t in zip(slots, chosen, strict=True)
                )
                ordered = all(chosen[k] > chosen[k - 1] for k in range(1, len(slots)) if slots[k] == slots[k - 1])
                if fits and ordered:
                    found.append((event, *chosen))
    return found


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: " ".join(c.final_state))
@settings(max_examples=settings.default.max_examples // 4)
@given(n_tracks=st.lists(st.integers(0, 6), max_size=4), seed=st.integers(0, 10**6))
def test_every_channel_gets_its_combinations_once_and_in_order(channel, n_tracks, seed):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(n_tracks)]).astype(np.int64)
    charge = rng.choice([-1, 1], offsets[-1]).astype(np.int8)
    accepts = {species: rng.random(offsets[-1]) < 0.7 for species in Species}
    cand, event = candidates.find(offsets, charge, accepts, channel)
    assert [(e, *c) for e, c in zip(event.tolist(), cand.tolist(), strict=True)] == by_brute_force(
        offsets, charge, accepts, channel
    )


def both_conjugates():
    offsets = np.array([0, 4, 8])
    charge = np.array([1, 1, -1, -1, -1, -1, 1, 1])
    is_kaon = np.array([1, 1, 0, 0] * 2, dtype=bool)
    return offsets, charge, kkee(~is_kaon, is_kaon)


def test_both_conjugates():
    cand, event = candidates.find(*both_conjugates())
    assert cand.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert event.tolist() == [0, 1]


def test_opposite_sign_pairs_are_none():
    charge = np.array([1, -1, -1, 1])
    is_kaon = np.array([True, True, False, False])
    assert len(candidates.find(np.array([0, 4]), charge, kkee(~is_kaon, is_kaon))[0]) == 0


def test_tracks_that_are_both_are_used_once():
    both = np.ones(4, dtype=bool)
    cand, _ = candidates.find(np.array([0, 4]), np.array([1, 1, -1, -1]), kkee(both, both))
    assert cand.tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]


def test_forty_tracks():
    charge = np.repeat([1, -1], 20)
    both = np.ones(40, dtype=bool)
    cand, event = candidates.find(np.array([0, 40]), charge, kkee(both, both))
    assert len(cand) == 2 * 190 * 190
    assert (event == 0).all()


def test_an_event_of_more_tracks_than_may_be_has_no_combination():
    n = np.array([4, candidates.N_TRACKS_MAX + 1, 4])
    offsets = np.concatenate([[0], np.cumsum(n)])
    charge = np.concatenate([np.resize(np.array([1, 1, -1, -1], dtype=np.int8), of) for of in n])
    yes = np.ones(len(charge), dtype=bool)
    _, event = candidates.find(offsets, charge, kkee(yes, yes))
    assert np.unique(event).tolist() == [0, 2]


def same_candidate(channel, chosen):
    """What makes a combination: particles by kind, and those of each intermediate together."""
    kind = dict(zip(channel.particles, [*channel.slots, *[PHOTON] * channel.n_photons], strict=True))
    object_of = dict(zip(channel.particles, chosen, strict=True))
    masses = [(m.of, frozenset((kind[n], object_of[n]) for n in m.particles)) for m in channel.intermediates]
    return frozenset((kind[n], o) for n, o in object_of.items()), tuple(sorted(masses, key=repr))


DECAYS = (
    read("pi+ pi- gamma gamma", "", "pi0: gamma1 gamma2 0.1 0.2"),
    read("pi+ pi- gamma gamma gamma", "", "pi0: gamma1 gamma3 0.1 0.2"),
    read("pi+ pi- gamma gamma gamma gamma", "", "pi0: gamma1 gamma2 0.1 0.2, pi0: gamma3 gamma4 0.1 0.2"),
    read("pi+ pi- gamma gamma gamma gamma", "", "pi0: gamma1 gamma2 0.1 0.2, eta: gamma3 gamma4 0.4 0.7"),
    read("pi+ pi+ pi- pi-", "", "K(S)0: pi1 pi3 0.4 0.6"),
    read("pi+ pi+ pi- pi-", "", "K(S)0: pi1 pi3 0.4 0.6, K(S)0: pi2 pi4 0.4 0.6"),
    read("pi+ pi+ pi- pi- gamma gamma", "", "eta: pi1 pi3 gamma1 0.4 0.7, eta: pi2 pi4 gamma2 0.4 0.7"),
)


@pytest.mark.parametrize("channel", DECAYS, ids=lambda c: ", ".join(map(str, c.intermediates)))
def test_combinations_of_tracks_and_photons_come_once(channel):
    """Of all ways to give objects their places, one of each that makes the same particles."""
    charge = np.array([1, -1, 1, -1, -1, 1], dtype=np.int8)[: 6 if len(channel.slots) == 4 else 3]
    n_photons, yes = 5, np.ones(1, dtype=bool)
    offsets, of_photons = np.array([0, len(charge)]), np.array([0, n_photons])
    cand, event = candidates.find(offsets, charge, dict.fromkeys(Species, np.ones(len(charge), dtype=bool)), channel)
    photon = np.empty((len(cand), 0), dtype=int)
    if channel.n_photons:
        photons, other = candidates.find_photons(of_photons, channel, yes)
        of, place = candidates.crossed(event, other)
        cand, photon = cand[of], photons[place]
    found = [same_candidate(channel, (*c, *g)) for c, g in zip(cand.tolist(), photon.tolist(), strict=True)]
    wanted = {
        same_candidate(channel, (*c, *g))
        for c in permutations(range(len(charge)), len(channel.slots))
        if all(charge[t] == s.charge for t, s in zip(c, channel.slots, strict=True))
        for g in permutations(range(n_photons), channel.n_photons)
    }
    assert len(found) == len(set(found))
    assert set(found) == wanted


@given(
    event=st.lists(st.integers(0, 5), max_size=9).map(sorted), other=st.lists(st.integers(0, 5), max_size=9).map(sorted)
)
def test_crossing_gives_every_two_of_an_event(event, other):
    of, place = candidates.crossed(np.array(event, dtype=int), np.array(other, dtype=int))
    wanted = [(i, j) for i, e in enumerate(event) for j, o in enumerate(other) if e == o]
    assert list(zip(of.tolist(), place.tolist(), strict=True)) == wanted


def test_empty_chunk():
    nothing = np.zeros(0, dtype=bool)
    cand, event = candidates.find(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int8), kkee(nothing, nothing))
    assert cand.shape == (0, 4)
    assert event.shape == (0,)


@settings(max_examples=settings.default.max_examples // 2)
@given(
    event=st.lists(st.integers(0, 5), max_size=20).map(sorted),
    seed=st.integers(0, 10**6),
)
def test_best_is_the_smallest_chi2_of_its_event(event, seed):
    event = np.array(event, dtype=np.int64)
    chi2 = np.random.default_rng(seed).choice([1.0, 2.0, 3.0, np.inf], len(event))
    best = candidates.best_per_event(chi2, event)
    assert event[best].tolist() == sorted(set(event.tolist()))
    for i in best:
        of_event = np.flatnonzero(event == event[i])
        assert i == of_event[np.argmin(chi2[of_event])]


def test_an_undefined_chi2_loses():
    assert candidates.best_per_event(np.array([np.nan, 5.0, np.nan]), np.zeros(3, dtype=np.int64)).tolist() == [1]
    assert candidates.best_per_event(np.array([np.nan, np.nan]), np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("per_species", [False, True])
def test_mass_is_that_of_the_summed_four_momenta(per_species):
    rng = np.random.default_rng(3)
    p = rng.normal(0, 0.5, (9, 3 if per_species else 1, 3))
    cand = np.array([rng.choice(9, 4, replace=False) for _ in range(20)])
    species, masses = (Species.K, Species.K, Species.E, Species.E), (0.494, 0.494, 0.0005, 0.0005)
    rows = species if per_species else (0, 0, 0, 0)
    p4 = np.stack([kinematics.four_momentum(p[cand[:, i], rows[i]], masses[i]) for i in range(4)], axis=1)
    found = candidates.invariant_mass(p, cand, species, masses)
    np.testing.assert_allclose(found, kinematics.invariant_mass(p4.sum(axis=1)), rtol=1e-13)


def test_a_chi2_at_the_upper_edge_is_none():
    chi2 = np.array([[np.nextafter(fourc.CHI2_MAX, 0.0)], [fourc.CHI2_MAX]])
    of = np.arange(2)
    found = candidates.FittedCandidates(of, of, chi2, np.zeros((2, 1), np.int8))
    assert found.has_chi2.tolist() == [True, False]


@given(seed=st.integers(0, 10**6), mass=st.floats(0.0, 0.9))
def test_the_complete_mass_is_that_of_the_system_where_one_particle_is_not_seen(seed, mass):
    """With its true mass; one that is heavier takes more energy than there is."""
    p3 = np.random.default_rng(seed).normal(0.0, 0.3, (6, 4, 3))
    p4 = kinematics.four_momentum(p3, np.array([0.494, 0.14, 0.0, mass]))
    total = p4.sum(axis=1)
    wanted = kinematics.invariant_mass(total)
    np.testing.assert_allclose(candidates.complete_mass(p4[:, :3], total, mass), wanted, rtol=1e-9)
    np.testing.assert_allclose(candidates.complete_mass(p4, total, None), wanted, rtol=1e-9)
    assert (candidates.complete_mass(p4[:, :3], total, mass + 0.1) > wanted).all()
