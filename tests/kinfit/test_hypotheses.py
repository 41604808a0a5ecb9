"""Which assignments there are, and which compete."""

import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE, Channel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.kinfit import fourc

pytestmark = pytest.mark.fast

E, PI, K, *_ = Species
CHARGES = np.array([1, 1, -1, -1])


def test_table():
    assert KKEE.names == ("kkee", "kkpipi", "kkpipi", "kkpipi", "kkpipi", "kkkk", "pipipipi")
    assert KKEE.assignments[0].tolist() == [K, K, E, E]
    assert len({tuple(h) for h in KKEE.assignments}) == len(KKEE.assignments)


def test_kkpipi_has_one_kaon_of_each_charge():
    for assignment, name in zip(KKEE.assignments, KKEE.names, strict=True):
        if name == "kkpipi":
            assert sorted(CHARGES[assignment == K]) == [-1, 1]
            assert sorted(CHARGES[assignment == PI]) == [-1, 1]


def test_one_permutation_has_the_smallest_pid_chi2():
    rng = np.random.default_rng(1)
    cand = rng.permuted(np.arange(400).reshape(100, 4), axis=1)
    chi2 = rng.chisquare(2, (400, 3))
    mask = KKEE.competing("one", cand, chi2)
    four = slice(1, 5)
    sums = np.stack([chi2[cand, h].sum(axis=1) for h in KKEE.assignments[four]], axis=1)
    np.testing.assert_array_equal(mask[:, four], sums == sums.min(axis=1, keepdims=True))
    assert mask[:, [0, 5, 6]].all()


def test_tracks_without_pid_take_the_first_assignment():
    mask = KKEE.competing("one", np.array([[0, 1, 2, 3]]), np.zeros((4, 3)))
    assert mask.tolist() == [[True, True, False, False, False, True, True]]


def test_all_permutations():
    assert KKEE.competing("all", np.zeros((3, 4), dtype=np.int64), np.zeros((4, 3))).all()
    with pytest.raises(ValueError, match="'two'"):
        KKEE.competing("two", np.zeros((0, 4), dtype=np.int64), np.zeros((0, 3)))


def test_smallest_by_name():
    chi2 = np.arange(14.0).reshape(2, 7)[:, ::-1]
    smallest = KKEE.smallest_by_name(chi2)
    assert list(smallest) == ["kkee", "kkpipi", "kkkk", "pipipipi"]
    assert smallest["kkpipi"].tolist() == [2.0, 9.0]


def test_a_tie_of_some_charge_takes_the_first_of_it():
    chi2 = np.zeros((4, 3))
    chi2[1, K], chi2[1, PI] = 0.0, 9.0
    mask = KKEE.competing("one", np.array([[0, 1, 2, 3]]), chi2)
    assert KKEE.assignments[1:5][mask[0, 1:5]].tolist() == [[PI, K, K, PI]]


def test_other_channels_have_the_assignments_of_their_charges():
    channel = Channel(("pi+", "pi+", "pi-", "e-"), (("K+", "pi+", "K-", "pi-"), ("p+", "p+", "p-", "p-")))
    assert channel.names == ("pipipie", "kkpipi", "kkpipi", "kkpipi", "kkpipi", "pppp")
    assert not channel.is_self_conjugate
    assert Channel(("p+", "p-", "pi+", "pi-")).is_self_conjugate
    assert len(Channel(("K+", "pi+", "K-"), (("pi+", "K-", "K+"), ("K+", "p+", "pi-"))).assignments) == 5


def test_bad_channels_are_refused():
    with pytest.raises(ValueError, match=r"no particle 'tau\+'; there are e\+, e-, pi\+"):
        _ = Channel(("tau+", "e-")).slots
    with pytest.raises(ValueError, match=r"K\+ K\+ has other charges than K\+ e-"):
        Channel(("K+", "e-"), (("K+", "K+"),))


def test_inputs_per_species_equal_separate_calls(toys, p4_total):
    """Real tracks have another momentum under each hypothesis: every fit must take the one of its species."""
    sample = toys((K, PI, K, PI), 500, 51)
    rng = np.random.default_rng(51)
    p = sample.p * (1.0 + 5e-3 * rng.normal(size=(len(sample.p), 3, 1)))
    v = sample.v * rng.uniform(0.8, 1.25, (len(sample.v), 3, 1))
    for function in (fourc.fit4c, fourc.cascade):
        together = function(p, v, sample.cand, KKEE.assignments, p4_total)
        for h, assignment in enumerate(KKEE.assignments):
            own_p, own_v = p[sample.cand, assignment][..., None, :], v[sample.cand, assignment][..., None, :]
            alone = fourc.fit4c(
                own_p.reshape(-1, 1, 3), own_v.reshape(-1, 1, 6), sample.cand, assignment[None], p4_total
            )
            is_fitted = together.status[:, h] == fourc.Status.OK
            np.testing.assert_array_equal(together.chi2[is_fitted, h], alone.chi2[is_fitted, 0])
            if function is fourc.fit4c:
                np.testing.assert_array_equal(together.status[:, h], alone.status[:, 0])
