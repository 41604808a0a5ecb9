"""Against Pythia 8, where it is installed: phase space, and inclusive decays."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from scipy import stats

from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON, M_PION
from jpsi_lnv.analysis.report import validation
from jpsi_lnv.analysis.simulation import beam, inclusive
from jpsi_lnv.analysis.simulation.decays import phase_space
from jpsi_lnv.analysis.simulation.final_states import FINAL_STATES, observe, signatures
from jpsi_lnv.analysis.simulation.particles import KINDS, signed_charge

SAMPLES = {
    "KKee": ((321, 321, 11, 11), (M_KAON, M_KAON, M_ELECTRON, M_ELECTRON)),
    "4pi": ((211, -211, 211, -211), (M_PION,) * 4),
}
N = 12_000


@pytest.fixture(scope="module")
def pythia8mc():
    return pytest.importorskip("pythia8mc", reason="pip install 'jpsi-lnv[sim]'")


def pythia_phase_space(pythia8mc, codes):
    pythia = pythia8mc.Pythia("", False)
    settings = ("Print:quiet = on", "ProcessLevel:all = off", "Random:setSeed = on", "Random:seed = 7")
    for line in (
        *settings,
        f"443:oneChannel = 1 1.0 0 {' '.join(map(str, codes))}",
        f"443:m0 = {M_JPSI}",
        "443:mWidth = 0",
    ):
        assert pythia.readString(line)
    pythia.init()
    pythia.event.reset()
    for _ in range(N):
        pythia.event.append(443, 1, 0, 0, 0.0, 0.0, 0.0, M_JPSI, M_JPSI)
    record = pythia.nextBatch(1).prt[0]
    final = np.asarray(record.status) > 0
    order = np.argsort(np.asarray(record.mother1)[final], kind="stable")
    p4 = np.stack([np.asarray(getattr(record.p, c))[final] for c in ("px", "py", "pz", "e")], axis=-1)
    return p4[order].reshape(N, len(codes), 4)


def mass(p4):
    return np.sqrt(p4[:, 3] ** 2 - (p4[:, :3] ** 2).sum(axis=-1))


@pytest.mark.parametrize("name", SAMPLES)
def test_phase_space_agrees(rng, pythia8mc, name):
    codes, masses = SAMPLES[name]
    theirs, ours = pythia_phase_space(pythia8mc, codes), phase_space(rng, M_JPSI, list(masses), N)
    for i in range(4):
        assert stats.ks_2samp(theirs[:, i, 3], ours[:, i, 3]).pvalue > 1e-4
    for a, b in ((0, 1), (0, 2), (2, 3)):
        assert stats.ks_2samp(mass(theirs[:, a] + theirs[:, b]), mass(ours[:, a] + ours[:, b])).pvalue > 1e-4


def test_inclusive_decays(rng, pythia8mc):
    n = 6_000
    table = inclusive.generate_inclusive(rng, beam.cross(rng, n))
    total = np.zeros((n, 4))
    np.add.at(total, table.event[table.is_final], table.p4[table.is_final])
    np.testing.assert_allclose(total, table.p4[table.offsets[:-1]], atol=1e-9)
    charged = signed_charge(table.pdg_id) * table.is_final
    assert np.all(np.bincount(table.event, weights=charged, minlength=n) == 0)
    assert np.mean(np.abs(table.pdg_id[table.is_final]) == 321) > 0
    has_mother = table.mother >= 0
    assert np.all(table.mother[has_mother] < table.row[has_mother])


def test_final_states_have_their_measured_fractions(rng, pythia8mc):
    found = validation.fraction_rows(rng, 100_000)
    assert len(found) == len(FINAL_STATES)
    largest, sum_of_squares = validation.fraction_summary(found)
    assert largest.is_met, max(found, key=lambda row: abs(row["pull"]))
    assert sum_of_squares.is_met


def test_what_is_fragmented_is_neither_measured_nor_forbidden(rng, pythia8mc):
    pythia = inclusive._pythia()
    pythia.rndm.init(7)
    table = inclusive.fragment(lambda n: inclusive._batch(pythia, n), 8_000)
    seen = observe(table)
    assert table.n_events == 8_000
    assert not seen.is_forbidden.any()
    assert not np.isin(seen.signature, list(set().union(*map(signatures, FINAL_STATES)))).any()
    energy = np.bincount(table.event, weights=table.p4[:, 3] * table.is_final)
    np.testing.assert_allclose(energy, M_JPSI, atol=0.010)


def test_charge_conjugates_are_as_frequent(rng, pythia8mc):
    table = inclusive.generate_inclusive(rng, beam.cross(rng, 40_000))
    for code in (321, 2212, 3122, 3112):
        n_plus, n_minus = ((table.pdg_id == sign * code).sum() for sign in (1, -1))
        assert abs(n_plus - n_minus) < 5 * np.sqrt(n_plus + n_minus)


def test_kaons_and_hyperons_fly_before_they_decay(rng, pythia8mc):
    table = inclusive.generate_inclusive(rng, beam.cross(rng, 20_000))
    mother = table.offsets[table.event] + np.maximum(table.mother, 0)
    for code in (310, 3122):
        first = np.flatnonzero((np.abs(table.pdg_id[mother]) == code) & (table.mother >= 0))
        first = first[np.unique(mother[first], return_index=True)[1]]
        parents = mother[first]
        path = np.linalg.norm(table.vertex[first] - table.vertex[parents], axis=1)
        momentum = np.linalg.norm(table.p4[parents, :3], axis=1)
        times = path * KINDS[code].mass / momentum / KINDS[code].c_tau
        assert stats.kstest(times[:2000], "expon").pvalue > 1e-3


def test_inclusive_decays_depend_on_their_generator_alone(pythia8mc):
    beams = beam.cross(np.random.default_rng(1), 500)
    first = inclusive.generate_inclusive(np.random.default_rng(5), beams)
    inclusive.generate_inclusive(np.random.default_rng(6), beams)
    again = inclusive.generate_inclusive(np.random.default_rng(5), beams)
    np.testing.assert_array_equal(first.p4, again.p4)


@pytest.mark.fast
def test_without_the_extra_the_error_says_which_one(monkeypatch):
    inclusive._pythia.cache_clear()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "pythia8mc":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(inclusive.MissingExtraError, match=r"jpsi-lnv\[sim\]"):
        inclusive.generate_inclusive(np.random.default_rng(1), beam.cross(np.random.default_rng(1), 3))
