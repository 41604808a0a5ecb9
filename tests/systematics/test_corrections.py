"""Corrections through correctionlib are the ratios of the maps, bin by bin."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.systematics import corrections, table
from jpsi_lnv.analysis.systematics.table import ratio_map

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def derived(measured):
    return corrections.derive(measured)


@pytest.fixture(scope="module")
def ready(derived):
    return corrections.ready(derived)


@pytest.fixture
def signal(measured):
    return table.candidates(measured.of_kind("signal"))


@pytest.mark.parametrize("variation", corrections.VARIATIONS)
def test_values_are_those_of_the_map(measured, ready, variation, rng):
    p, cos_theta = rng.uniform(0.05, 2.0, 500), rng.uniform(-1, 1, 500)
    period, charge = rng.choice([2009, 2012, 2018], 500), rng.choice([-1, 1], 500)
    ratios, factors = (of(measured, Species.K, "tracking") for of in (ratio_map, corrections.factors))
    values = corrections.varied(ratios, factors, variation)
    wanted = values[(*factors.at(period, charge), *ratios.bins(p, cos_theta))]
    np.testing.assert_allclose(ready["tracking_kaon"].evaluate(variation, period, charge, p, cos_theta), wanted)


def test_variations_lie_on_both_sides(ready):
    nominal, up, down = (ready["pid_electron"].evaluate(v, 2018, 1, 0.5, 0.1) for v in ("nominal", "up", "down"))
    assert down < nominal < up
    assert up - nominal == pytest.approx(nominal - down)


def test_weights_multiply_the_tracks(ready, signal):
    one = {k: v[:1] for k, v in signal.items()}
    wanted = 1.0
    for label, tracks in (("kaon", ("k1", "k2")), ("electron", ("e1", "e2"))):
        for track in tracks:
            charge = int(one["charge"][0]) * (1 if label == "kaon" else -1)
            at = (int(one["period"][0]), charge, float(one[f"p_{track}"][0]), float(one[f"cos_theta_{track}"][0]))
            wanted *= ready[f"tracking_{label}"].evaluate("nominal", *at)
            wanted *= ready[f"pid_{label}"].evaluate("nominal", *at)
    assert corrections.weights(ready, one)[0] == pytest.approx(wanted)


def test_the_corrected_efficiency_undoes_what_was_planted(measured, signal):
    found = corrections.corrected_efficiency(measured, signal, 100_000)
    assert found["uncorrected"] == pytest.approx(0.16)
    assert found["corrected"] / found["uncorrected"] == pytest.approx(0.98**4 * 1.01**4, abs=0.006)
    assert 0 < found["statistical"] < 0.01
    assert 0 < found["systematic"] < 0.05


def test_the_file_reads_back(derived, ready, signal, tmp_path):
    path = corrections.write(derived, tmp_path / "deep" / "corrections.json")
    np.testing.assert_array_equal(
        corrections.weights(corrections.read(path), signal), corrections.weights(ready, signal)
    )


def test_bad_inputs(measured, ready, signal, tmp_path):
    with pytest.raises(ResultsError, match="no corrections"):
        corrections.read(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text('{"schema_version": 2, "corrections": []}')
    with pytest.raises(ResultsError, match="lacks the corrections"):
        corrections.read(tmp_path / "empty.json")
    with pytest.raises(ResultsError, match="variation is 'sideways'"):
        corrections.weights(ready, signal, "sideways")
    broken = signal | {"p_e1": np.full_like(signal["p_e1"], np.nan)}
    with pytest.raises(ResultsError, match="not finite"):
        corrections.weights(ready, broken)
    for name in ("p_e1", "cos_theta_k2"):
        one_broken = signal | {name: np.where(np.arange(len(signal[name])) == 3, np.nan, signal[name])}
        with pytest.raises(ResultsError, match="not finite"):
            corrections.weights(ready, one_broken)
    with pytest.raises(ResultsError, match="no efficiency to correct"):
        corrections.corrected_efficiency(measured, signal, 0)


def test_other_bins_are_refused(measured, drop):
    import hist

    odd = hist.Hist.new.Reg(2, 0, 2, name="p").Reg(2, -1, 1, name="cos_theta").Bool(name="passed").Int64()
    data = measured.datasets["control_data"]
    selection = dataclasses.replace(data.selections["control_ee"], histograms={"tracking": odd, "pid": odd})
    changed = dataclasses.replace(data, selections=data.selections | {"control_ee": selection})
    results = dataclasses.replace(measured, datasets=measured.datasets | {"control_data": changed})
    with pytest.raises(ResultsError, match="different bins"):
        corrections.derive(results)
    empty = dataclasses.replace(selection, histograms={})
    changed = dataclasses.replace(data, selections=data.selections | {"control_ee": empty})
    results = dataclasses.replace(measured, datasets=measured.datasets | {"control_data": changed})
    with pytest.raises(ResultsError, match="another version"):
        corrections.derive(results)


def test_a_factor_planted_in_one_period_and_charge_is_found_there_alone(measured, make_probes):
    """Positive probes of 2012, 5 % rarer in data: their factor says so, the others stay at 1."""
    data = measured.datasets["control_data"]
    changed = dataclasses.replace(
        data, selections=data.selections | {"control_kkpi0": make_probes(0.9212, 0.909, positive_2012=-0.05)}
    )
    results = dataclasses.replace(measured, datasets=measured.datasets | {"control_data": changed})
    found = corrections.factors(results, Species.K, "tracking")
    planted = np.ones((3, 2))
    planted[1, 1] = 0.95
    planted *= 0.98 / (0.98 * (1.0 - 0.05 * 0.11 / 2.0))
    assert np.all(np.abs(found.value - planted) < 4 * found.sigma)
    assert found.value[1, 1] < 0.97


def test_a_factor_without_a_probe_that_passes_is_one_and_could_be_anything(measured):
    """Of the other factors one is known as well as the counts of both sides say."""
    data = measured.datasets["control_data"]
    probes = data.selections["control_kkpi0"]
    counts = probes.histograms["tracking"].copy()
    counts.view()[1, 1, ..., 1] = 0
    lost = dataclasses.replace(probes, histograms=probes.histograms | {"tracking": counts})
    changed = dataclasses.replace(data, selections=data.selections | {"control_kkpi0": lost})
    results = dataclasses.replace(measured, datasets=measured.datasets | {"control_data": changed})
    found = corrections.factors(results, Species.K, "tracking")
    assert (found.value[1, 1], found.sigma[1, 1]) == (1.0, pytest.approx(corrections.UNKNOWN))
    sides = [
        d.selections["control_kkpi0"].histograms["tracking"]
        for d in measured.datasets.values()
        if "control_kkpi0" in d.selections
    ]
    shares = [h.values()[0, 0].sum(axis=(0, 1)) for h in sides]
    relative = np.sqrt(sum(failed / passed / (failed + passed) for failed, passed in shares))
    assert found.sigma[0, 0] == pytest.approx(found.value[0, 0] * relative, rel=1e-6)


def test_sources_give_the_covariance_of_the_efficiencies(measured):
    """Against a sum over the bins and factors one by one."""
    channels = table.channels(measured)
    found = corrections.sources(measured, channels)
    names = tuple(channels)
    got = sum(np.outer(*[[shift[c] for c in names]] * 2) for shift in found.values())
    wanted = np.zeros_like(got)
    for name in table.MAPS:
        for species in table.TRACKS:
            ratios, factors = (of(measured, species, name) for of in (ratio_map, corrections.factors))
            shifts = np.stack([corrections._shifts(ratios, factors, species, c) for c in channels.values()])
            wanted += shifts @ shifts.T
    np.testing.assert_allclose(got, wanted, rtol=2e-3)
    assert len(found) <= len(names) * 4


def test_a_track_that_is_moved_by_one_standard_deviation_moves_the_efficiency_by_the_sources(measured, ready, signal):
    """All bins and factors up at once bound the sum of the sources from above."""
    found = corrections.sources(measured, {"overall": signal})
    up = corrections.weights(ready, signal, "up").sum() / corrections.weights(ready, signal).sum() - 1.0
    total = np.sqrt(sum(shift["overall"] ** 2 for shift in found.values()))
    assert 0.0 < total < up


def test_a_period_without_probes_is_named(measured, signal):
    with pytest.raises(ResultsError, match="periods \\[1999\\]"):
        corrections.sources(measured, {"overall": signal | {"period": np.full(len(signal["p_k1"]), 1999)}})


def test_a_bin_in_which_no_probe_of_the_data_passes_has_a_source_like_any_other(measured, make_probes, signal):
    """Its ratio is 0: a change relative to that would be infinite, and LAPACK never ends on it."""
    data = measured.datasets["control_data"]
    probes = make_probes(0.9, 0.9)
    lost = probes.histograms["tracking"].copy()
    counts = lost.view()
    counts[..., 2, 2, 0] += counts[..., 2, 2, 1]
    counts[..., 2, 2, 1] = 0
    changed = dataclasses.replace(probes, histograms={**probes.histograms, "tracking": lost})
    selections = data.selections | {"control_kkpi0": changed}
    held = measured.datasets | {"control_data": dataclasses.replace(data, selections=selections)}
    results = dataclasses.replace(measured, datasets=held)
    assert ratio_map(results, Species.K, "tracking").value[2, 2] == 0.0
    found = corrections.sources(results, {"overall": signal})
    assert all(np.isfinite(shift["overall"]) for shift in found.values())


def test_the_sources_of_bins_add_up_to_the_uncertainty_of_the_table(measured, signal):
    ratios, factors = (of(measured, Species.K, "pid") for of in (ratio_map, corrections.factors))
    exact = dataclasses.replace(factors, sigma=np.zeros_like(factors.sigma))
    shifts = corrections._shifts(ratios, exact, Species.K, signal)
    per_track = table.track_difference(measured, "pid", Species.K, signal).sigma
    assert np.linalg.norm(shifts) == pytest.approx(2.0 * per_track)


@pytest.fixture(scope="module")
def named(measured):
    channels = table.channels(measured)
    maps = corrections.sources(measured, channels)
    budgets = [corrections.at_least(b, maps) for b in table.measure(measured)]
    return budgets, maps, channels, corrections.named_sources(budgets, maps, channels)


def test_named_sources_add_up_to_the_total_of_every_table(named):
    budgets, _, _, found = named
    for budget in budgets:
        channel = corrections.channel_of(budget)
        total = np.sqrt(sum(changes.get(channel, 0.0) ** 2 for changes in found.values()))
        assert total == pytest.approx(budget.total, rel=1e-9)


def test_what_is_wrong_everywhere_has_one_name_and_statistics_their_own(named):
    _, maps, channels, found = named
    for name in ("n_jpsi", "kinematic_fit", *maps):
        assert set(found[name]) == set(channels)
    for channel in channels:
        assert set(found[f"mc_statistics {channel}"]) == {channel}
    assert {"overall", "K+K+e-e-", "K-K-e+e+", "0.700", "0.900"} == set(channels)
    assert set(found["mc_modelling nu nu"]) == {"0.700", "0.900"}
    halves = [found[f"mc_statistics {c}"][c] ** -2 for c in ("K+K+e-e-", "K-K-e+e+")]
    assert sum(halves) == pytest.approx(found["mc_statistics overall"]["overall"] ** -2)


def test_a_row_is_no_smaller_than_what_its_maps_are_known_to(named):
    budgets, maps, _, _ = named
    larger = {name: dict.fromkeys(of, 0.5) if name == "pid_kaon_1" else of for name, of in maps.items()}
    rows = {r.source: r.value for r in corrections.at_least(budgets[0], larger).rows}
    assert rows["pid"] > 0.5
    assert rows["tracking"] == {r.source: r.value for r in budgets[0].rows}["tracking"]
