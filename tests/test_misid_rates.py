"""Rates of misidentification: no bin is zero, sums are kept, periods differ, measured tables replace simulated ones."""

from __future__ import annotations

import json
import math

import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import misid_rates
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection import control_probes, misid

pytestmark = pytest.mark.fast

PION, KAON, ELECTRON = (misid.SPECIES.index(name) for name in ("pi", "k", "e"))
AS_ELECTRON, AS_KAON = (misid.roles_of(KKEE).index(name) for name in ("electron", "kaon"))


def make_map(rng, n=100_000, pion_to_electron=0.01, period=2018, p_max=1.6, electron_to_kaon=0.01):
    h = misid.empty_map()
    p, c = rng.uniform(0, p_max, n), rng.uniform(0, 0.93, n)
    taken = np.where(rng.uniform(size=n) < pion_to_electron, "electron", "none")
    h.fill(np.full(n, period), np.full(n, "pi"), p, c, taken)
    h.fill(np.full(n, period), np.full(n, "k"), p, c, np.where(rng.uniform(size=n) < 0.9, "kaon", "none"))
    h.fill(np.full(n, period), np.full(n, "e"), p, c, np.where(rng.uniform(size=n) < electron_to_kaon, "kaon", "none"))
    return h


def candidates(n=3, period=2018, species=(KAON, KAON, PION, PION), p=0.5):
    rows = {"run": np.ones(n), "m_kkee": np.full(n, 3.1), "period": np.full(n, period)}
    for track, of in zip(KKEE.tracks, species, strict=True):
        rows |= {f"p_{track}": np.full(n, p), f"abs_cos_theta_{track}": np.full(n, 0.3)}
        rows[f"species_{track}"] = np.full(n, of)
    return rows


def test_a_planted_rate_is_found_in_every_bin(rng):
    h = make_map(rng, 2_000_000)
    rates = misid_rates.counted([h])
    # Four standard deviations of the tracks of each bin.
    n_tracks = h.values().sum(axis=(0, -1))
    for species, role, planted in ((PION, AS_ELECTRON, 0.01), (KAON, AS_KAON, 0.9)):
        sigma = np.sqrt(planted * (1.0 - planted) / n_tracks[species])
        assert np.abs((rates.value[0, species, ..., role] - planted) / sigma).max() < 4.0
    assert rates.factors["pi_to_electron"].rate == pytest.approx(0.01, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.floats(0.0, 0.02), st.integers(0, 1000))
def test_no_rate_is_zero_or_above_one_and_bins_add_up_to_the_tracks_that_passed(n, rate, seed):
    h = make_map(np.random.default_rng(seed), n, rate)
    rates = misid_rates.counted([h])
    assert np.all((rates.value > 0.0) & (rates.value <= 1.0))
    counts = h.values()[2, PION]
    expected = (counts.sum(axis=-1) * rates.value[0, PION, ..., AS_ELECTRON]).sum()
    passed = counts[..., AS_ELECTRON].sum()
    assert passed / 2 - 1 <= expected <= 1.5 * passed + 1.5


def test_without_any_track_that_passes_the_rate_is_half_a_track(rng):
    n = 10_000
    rates = misid_rates.counted([make_map(rng, n, 0.0)])
    assert rates.factors["pi_to_electron"].rate == pytest.approx(0.5 / (n + 1))
    assert rates.value[0, PION, ..., AS_ELECTRON].min() > 0.3 * 0.5 / n


def test_a_bin_without_tracks_takes_the_rate_of_its_species(rng):
    rates = misid_rates.counted([make_map(rng, 200_000, 0.05, p_max=1.0)])
    np.testing.assert_allclose(rates.value[0, PION, -1, :, AS_ELECTRON], 0.05, rtol=0.05)


def test_periods_have_their_own_rates_and_an_unknown_one_those_of_all(rng):
    maps = [make_map(rng, 1_000_000, 0.01, 2009), make_map(rng, 1_000_000, 0.03, 2018)]
    rates = misid_rates.counted(maps)
    assert rates.periods == (0, 2009, 2018)
    found = [rates.of_candidates(candidates(1, period))[0] for period in (2009, 2018, 2012)]
    assert found == pytest.approx([0.81 * r**2 for r in (0.01, 0.03, 0.02)], rel=0.35)


def test_the_weight_is_the_product_over_four_tracks(rng):
    rates = misid_rates.counted([make_map(rng)])
    rows = candidates(5)
    at = np.searchsorted(rates.p_edges, 0.5, side="right") - 1
    wanted = rates.value[0, KAON, at, 0, AS_KAON] ** 2 * rates.value[0, PION, at, 0, AS_ELECTRON] ** 2
    np.testing.assert_allclose(rates.of_candidates(rows), wanted)


def test_the_largest_rate_is_that_of_momenta_that_a_sample_has(rng):
    """A momentum that one track in a hundred has counts, a rarer one and a species that is not there do not."""
    rates = misid_rates.counted([make_map(rng)])
    tracks = np.zeros(rates.value.shape[1:4])
    tracks[PION, 2, 0], tracks[PION, 5, 0] = 1000, 9
    often, rare = rates.value[0, PION, 2, 0], rates.value[0, PION, 5, 0]
    np.testing.assert_array_equal(rates.largest(tracks)[PION], often)
    np.testing.assert_array_equal(rates.largest(tracks)[KAON], 0.0)
    tracks[PION, 5, 0] = 11
    np.testing.assert_array_equal(rates.largest(tracks)[PION], np.maximum(often, rare))


def test_what_a_candidate_needs():
    rows = candidates(1, species=(KAON, PION, KAON, PION))
    needs = misid_rates.needs({track: rows[f"species_{track}"] for track in KKEE.tracks})
    assert {name: n.tolist() for name, n in needs.items()} == {
        "pi_to_electron": [1],
        "pi_to_kaon": [1],
        "k_to_electron": [1],
    }
    right = candidates(1, species=(KAON, KAON, ELECTRON, ELECTRON))
    assert misid_rates.needs({track: right[f"species_{track}"] for track in KKEE.tracks}) == {}


def test_a_rate_that_nobody_measured_is_known_to_a_factor_of_three(rng):
    factor = misid_rates.counted([make_map(rng)]).factors["pi_to_electron"]
    assert factor.kappa == pytest.approx(math.log(3.0), rel=0.01)
    assert "not measured" in factor.source


def given_table(tmp_path, **rates):
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"version": 1, "rates": rates}))
    return path


def test_a_given_table_replaces_rates_and_widths(rng, tmp_path):
    simulated = misid_rates.counted([make_map(rng)])
    path = given_table(tmp_path, pi_to_electron={"value": 1e-3, "kappa": 0.2, "source": "a measurement"})
    rates = misid_rates.with_given(simulated, path)
    assert np.all(rates.value[:, PION, ..., AS_ELECTRON] == 1e-3)
    assert rates.factors["pi_to_electron"] == misid_rates.Factor(0.2, pytest.approx(1e-3), "a measurement")
    np.testing.assert_array_equal(rates.value[:, KAON], simulated.value[:, KAON])


def test_what_is_written_is_read_back(rng, tmp_path):
    one, other = (misid_rates.counted([make_map(rng, pion_to_electron=r)]) for r in (0.01, 0.05))
    (tmp_path / "misid.json").write_text(json.dumps(misid_rates.to_json(one)))
    read = misid_rates.with_given(other, tmp_path / "misid.json")
    np.testing.assert_array_equal(read.value[:, PION, ..., AS_ELECTRON], one.value[:, PION, ..., AS_ELECTRON])
    assert read.factors["pi_to_electron"].source == one.factors["pi_to_electron"].source


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        ({"value": 0.0, "kappa": 1, "source": ""}, "above 0"),
        ({"value": 1.5, "kappa": 1, "source": ""}, "up to 1"),
        ({"value": 0.1, "kappa": -1, "source": ""}, "not negative"),
        ({"value": 0.1, "source": ""}, "KeyError"),
        ({"value": [0.1, 0.2], "kappa": 1, "source": ""}, r"fits \(1, 11, 6\)"),
    ],
)
def test_given_rates_that_are_none_are_refused(rng, tmp_path, rate, said):
    with pytest.raises(ResultsError, match=rf"measured.json: rate 'pi_to_electron'.*{said}"):
        misid_rates.with_given(misid_rates.counted([make_map(rng)]), given_table(tmp_path, pi_to_electron=rate))


def test_unknown_names_and_versions_are_refused(rng, tmp_path):
    rates = misid_rates.counted([make_map(rng)])
    with pytest.raises(ResultsError, match="unknown rate 'pi_to_muon'"):
        misid_rates.with_given(rates, given_table(tmp_path, pi_to_muon={}))
    (tmp_path / "old.json").write_text('{"version": 0, "rates": {}}')
    with pytest.raises(ResultsError, match="got version 0"):
        misid_rates.with_given(rates, tmp_path / "old.json")


def test_maps_of_an_older_version_are_refused():
    with pytest.raises(ResultsError, match="run `lnv run` again"):
        misid_rates.counted([hist.Hist(misid.P, storage=hist.storage.Int64())])


def test_maps_of_other_species_are_refused():
    axes = [
        hist.axis.StrCategory(["e", "pi"], name="species") if a.name == "species" else a for a in misid.empty_map().axes
    ]
    with pytest.raises(ResultsError, match="run `lnv run` again"):
        misid_rates.counted([hist.Hist(*axes, storage=hist.storage.Int64())])


def with_probes(rates, **shares):
    """Return rates after control samples whose probes are taken for others this often, in data and simulation."""
    datasets = {}
    for kind, (n, share) in shares.items():
        h = hist.Hist(control_probes.P, control_probes.COS_THETA, control_probes.PASSED, storage=hist.storage.Int64())
        h.fill(np.full(n, 0.8), np.full(n, 0.1), np.arange(n) < share * n)
        # Faster than any track of the search: they say nothing of its rates.
        h.fill(np.full(n, 1.5), np.full(n, 0.1), np.full(n, True))
        of = DatasetMetadata(kind=kind, sqrt_s=M_JPSI)
        found = {"control_ee": SelectionResult({"all": n}, {"misid": h})}
        datasets[kind] = DatasetResult(of, n, n, found)
    return misid_rates.with_probes(rates, Results(datasets, {}, {}))


def test_probes_of_control_samples_correct_the_rates_and_their_width(rng):
    simulated = misid_rates.counted([make_map(rng)])
    rates = with_probes(simulated, data=(10_000, 0.02), control=(20_000, 0.01))
    taken = simulated.value[:, ELECTRON, ..., AS_KAON]
    # Half a probe is added on both sides: 200 + 1/2 over half of 200 + 1/2.
    np.testing.assert_allclose(rates.value[:, ELECTRON, ..., AS_KAON], np.minimum(2 * taken, 1), rtol=1e-9)
    factor = rates.factors["e_to_kaon"]
    assert factor.kappa == pytest.approx(math.hypot(200**-0.5, 200**-0.5), rel=0.01)
    assert factor.source.startswith("200 of 10000 probes in data")
    assert rates.factors["k_to_electron"] == simulated.factors["k_to_electron"]


@pytest.mark.parametrize("data", [{}, {"data": (1000, 0.001)}])
def test_too_few_probes_leave_the_assumption(rng, data):
    simulated = misid_rates.counted([make_map(rng)])
    assert with_probes(simulated, control=(1000, 0.001), **data).factors == simulated.factors


def test_other_momenta_in_data_are_no_difference_of_rates(rng):
    simulated = misid_rates.counted([make_map(rng)])
    datasets = {}
    for kind, numbers in {"data": (100_000, 10_000), "control": (10_000, 100_000)}.items():
        h = hist.Hist(control_probes.P, control_probes.COS_THETA, control_probes.PASSED, storage=hist.storage.Int64())
        for n, p, share in zip(numbers, (0.4, 0.8), (0.05, 0.005), strict=True):
            h.fill(np.full(n, p), np.full(n, 0.1), np.arange(n) < share * n)
        found = {"control_ee": SelectionResult({"all": 1}, {"misid": h})}
        datasets[kind] = DatasetResult(DatasetMetadata(kind=kind, sqrt_s=M_JPSI), 1, 1, found)
    rates = misid_rates.with_probes(simulated, Results(datasets, {}, {}))
    before, after = (r.factors["e_to_kaon"].rate for r in (simulated, rates))
    assert after == pytest.approx(before, rel=0.01)


def test_probes_that_are_other_particles_measure_nothing(rng):
    """A sample whose simulation has twenty times as many mistaken probes as its rates explain."""
    simulated = misid_rates.counted([make_map(rng, electron_to_kaon=0.0005)])
    assert with_probes(simulated, data=(10_000, 0.02), control=(20_000, 0.01)).factors == simulated.factors
