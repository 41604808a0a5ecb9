"""Control samples of the calorimeter: pure, without the generator, and without the calorimeter's word on the probe."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import Block, make_block
from jpsi_lnv.analysis.objects import emc_pid
from jpsi_lnv.analysis.objects.emc_pid import ControlTracks
from jpsi_lnv.analysis.selection import blinding, misid, steps
from jpsi_lnv.analysis.selection.emc_probes import (
    EMC_CONTROL,
    EMC_STEPS,
    N_TRACKS,
    EmcProbes,
    assignments,
    control_tracks,
)
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.parameters import NOMINAL

pytestmark = pytest.mark.fast

CHANNEL_OF = {Species.E: "eeee", Species.PI: "pipipipi"}
EMC_NAMES = ("emc_energy", "emc_e3x3", "emc_e5x5", "emc_e_seed", "emc_second_moment", "emc_lat_moment")


def simulate(channel, n_events, seed=21, parameters=NOMINAL):
    recipe = production.Recipe(processes=((channel, 1.0),), sqrt_s=M_JPSI, parameters=parameters)
    return make_block(production.make_block(recipe, channel.reaction, 0, n_events, seed))


def columns_of(block: Block) -> ArrayColumns:
    return ArrayColumns(block.values, block.offsets, block.n_events)


def truth(columns, species):
    return misid.true_species(columns) == misid.SPECIES.index(species.name.lower())


@pytest.fixture(scope="module")
def samples():
    """Columns with generated particles of the channel of each species."""
    return {s: columns_of(simulate(processes.BACKGROUNDS[name], 16_000)) for s, name in CHANNEL_OF.items()}


@pytest.fixture(scope="module", params=CHANNEL_OF, ids=CHANNEL_OF.values())
def view(request, samples):
    return EmcProbes(samples[request.param], request.param)


def changed(columns, **arrays):
    """Return columns with other values of some branches; None leaves a branch out."""
    values = {k: v for k, v in (columns._arrays | arrays).items() if v is not None}
    return ArrayColumns(values, columns._offsets, columns.n_events)


def without_truth(columns):
    names = [n for n in columns._arrays if n.startswith("Gen_")]
    return changed(columns, **dict.fromkeys([*names, "Track_gen"]))


def build(electrons, pions, monkeypatch):
    """Return tables of samples that are smaller than is allowed."""
    monkeypatch.setattr(emc_pid, "N_TRACKS_MIN", 3)
    return emc_pid.build(electrons, pions)


@pytest.mark.parametrize("own", CHANNEL_OF)
def test_assignments_are_neutral_and_competing_ones_have_none_of_the_species(own):
    found = assignments(own)
    assert found.shape == (7, 4)
    assert (found[0] == own).all()
    assert (found[1:] != own).all()
    np.testing.assert_array_equal(np.sort(found[:, :2], axis=1), np.sort(found[:, 2:], axis=1))
    assert len(np.unique(found, axis=0)) == len(found)


def test_probes_are_what_they_are_taken_for(view):
    is_right = truth(view.columns, view.species)[view.probe]
    assert len(view.probe) > 8000
    assert is_right.mean() > 0.998  # the rest are muons of decayed pions


@pytest.mark.parametrize("name", ["kkpipi", "kkkk", "kkee", "pipiee", "eemumu", "omegapipi", "pipipi0_dalitz"])
def test_other_decays_give_no_probes(name):
    columns = columns_of(simulate(processes.BACKGROUNDS[name], 4000))
    for species in CHANNEL_OF:
        assert len(EmcProbes(columns, species).probe) <= 10


def test_other_samples_give_no_probes(samples):
    assert len(EmcProbes(samples[Species.PI], Species.E).probe) == 0
    assert len(EmcProbes(samples[Species.E], Species.PI).probe) == 0


def test_selection_and_tables_do_not_know_the_generator(samples, monkeypatch):
    found, blind = [], []
    for species, columns in samples.items():
        bare = without_truth(columns)
        assert not bare.has("Track", "gen")
        found.append(control_tracks(columns, EmcProbes(columns, species).probe))
        blind.append(control_tracks(bare, EmcProbes(bare, species).probe))
    for one, other in zip(build(*found, monkeypatch), build(*blind, monkeypatch), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("place", range(N_TRACKS))
def test_the_calorimeter_is_not_asked_about_the_probe(view, place, rng):
    own = view.quartet[:, place]
    arrays = {}
    for name in EMC_NAMES:
        if view.columns.has("Track", name):
            values = view.columns.flat("Track", name).copy()
            values[own] = rng.permutation(values[own]) * rng.choice([0.0, 0.3, 3.0], len(own))
            arrays[f"Track_{name}"] = values
    assert len(arrays) >= 3
    other = EmcProbes(changed(view.columns, **arrays), view.species)
    assert len(np.intersect1d(view.probe, own)) > 1000
    np.testing.assert_array_equal(np.intersect1d(view.probe, own), np.intersect1d(other.probe, own))


@given(st.lists(st.tuples(*[st.booleans()] * N_TRACKS), min_size=1, max_size=20))
def test_a_probe_has_three_tags_beside_it(tags):
    events = object.__new__(EmcProbes)
    events.__dict__["is_tag"] = np.array(tags)
    for row, found in zip(tags, events.is_untagged, strict=True):
        assert found.tolist() == [sum(row) - own == 3 for own in row]


def test_every_track_is_probe_in_turn(view):
    n_probes = np.bincount(np.searchsorted(view.search.offsets, view.probe, side="right") - 1, minlength=view.n_events)
    is_full = view.of_event(view.is_tag.all(axis=1) & view.is_selected)
    assert (n_probes[is_full] == N_TRACKS).all()
    assert set(n_probes[~is_full]) == {0, 1}
    places = [np.isin(view.quartet[:, i], view.probe).sum() for i in range(N_TRACKS)]
    assert min(places) > 0.9 * max(places)


def test_chunks_do_not_change_the_probes(samples):
    block = simulate(processes.BACKGROUNDS["eeee"], 3000)
    whole = EmcProbes(columns_of(block), Species.E).probe
    parts = [EmcProbes(columns_of(block.cut(*span)), Species.E).probe for span in ((0, 1100), (1100, 3000))]
    parts[1] = parts[1] + block.offsets["Track"][1100]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("n_events", [0, 3])
def test_nothing_gives_nothing(n_events):
    """Neither a chunk without events nor one without tracks."""
    block = simulate(processes.BACKGROUNDS["eeee"], 3)
    values = {n: v[: 0 if "_" in n and n.split("_")[0] in block.offsets else n_events] for n, v in block.values.items()}
    empty = ArrayColumns(values, {name: np.zeros(n_events + 1, np.int64) for name in block.offsets}, n_events)
    view = EmcProbes(empty, Species.E)
    assert len(view.probe) == 0
    assert view.n_tags == 0
    flow = steps.count(EMC_STEPS, steps.apply(EMC_STEPS, view) & view.is_visible)
    assert list(flow.values()) == [n_events, 0, 0, 0, 0]


def test_requirements_are_strict(view):
    """A value at its limit does not pass, the next one does."""
    chi2 = view.fit.chi2[view.is_selected, 0]
    for limit, n in ((chi2.max(), len(chi2) - 1), (np.nextafter(chi2.max(), np.inf), len(chi2))):
        cuts = dataclasses.replace(EMC_CONTROL, chi2_4c_max=float(limit))
        assert np.count_nonzero(EmcProbes(view.columns, view.species, cuts).is_selected) == n
    ratio = view.search.e_over_p[view.quartet[view.is_tag]].max()
    name = "e_over_p_electron_max" if view.species == Species.E else "e_over_p_pion_max"
    n_tags = np.count_nonzero(view.is_tag)
    for limit, lost in ((ratio, 1), (np.nextafter(ratio, np.inf), 0)):
        cuts = dataclasses.replace(EMC_CONTROL, **{name: float(limit)})
        assert np.count_nonzero(EmcProbes(view.columns, view.species, cuts).is_tag) == n_tags - lost


def test_what_the_search_hides_is_hidden():
    columns = columns_of(simulate(processes.SIGNAL, 4000))
    hidden = blinding.in_box(SearchEvents(columns, SELECTION, M_JPSI))
    view = EmcProbes(columns, Species.E)
    assert np.count_nonzero(hidden & view.has_four_tracks) > 500
    assert not (hidden & view.has_four_tracks & view.is_visible).any()
    flow = steps.count(EMC_STEPS, steps.apply(EMC_STEPS, view) & view.is_visible)
    assert flow["four_tracks"] == np.count_nonzero(view.has_four_tracks & view.is_visible)


def test_cut_flow_ends_at_the_events_with_probes(view):
    flow = steps.count(EMC_STEPS, steps.apply(EMC_STEPS, view) & view.is_visible)
    counts = list(flow.values())
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == np.count_nonzero(view.is_selected)
    assert 3 * counts[-1] <= view.n_tags <= 4 * counts[-1]


def test_probes_look_like_all_tracks_of_their_kind(view):
    """Their E/p has the quantiles of all generated tracks of the kind, within 4 sigma of both samples' statistics."""
    every = control_tracks(view.columns, np.flatnonzero(truth(view.columns, view.species)))
    probes = control_tracks(view.columns, view.probe)
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 1.4)):
        own, wanted = (t.e_over_p[(t.p > low) & (t.p < high) & (t.e_over_p > 0)] for t in (probes, every))
        for share in (0.16, 0.5, 0.84):
            below = np.mean(own < np.quantile(wanted, share))
            sigma = np.sqrt(share * (1 - share) * (1 / len(own) + 1 / len(wanted)))
            assert below == pytest.approx(share, abs=4 * sigma)


@pytest.fixture(scope="module")
def probe_tracks(samples):
    return [control_tracks(c, EmcProbes(c, s).probe) for s, c in samples.items()]


@pytest.fixture(scope="module")
def truth_tracks():
    """Tracks of each kind by the generator, of other events."""
    others = {s: columns_of(simulate(processes.BACKGROUNDS[name], 16_000, seed=22)) for s, name in CHANNEL_OF.items()}
    return [control_tracks(c, np.flatnonzero(truth(c, s))) for s, c in others.items()]


def part(tracks, first, step, n):
    """Return every `step`-th track, n of them."""
    return ControlTracks(*(values[first::step][:n] for values in tracks))


def test_tables_of_probes_are_those_of_truth(truth_tracks, probe_tracks, monkeypatch):
    """They differ by no more than the tables of two samples of generated tracks that are as large as theirs."""
    sizes = [min(len(probes.p), len(tracks.p) // 2) for probes, tracks in zip(probe_tracks, truth_tracks, strict=True)]
    halves = [[part(t, i, 2, n) for t, n in zip(truth_tracks, sizes, strict=True)] for i in (0, 1)]
    ours, first, second = (build(*tracks, monkeypatch) for tracks in (probe_tracks, *halves))
    for row, tracks in enumerate(truth_tracks):
        chi, one, other = (emc_pid.evaluate(tables, *tracks)[:, row] for tables in (ours, first, second))
        assert np.nanmean(chi) == pytest.approx(np.nanmean(other), abs=0.03)
        assert np.nanstd(chi) == pytest.approx(np.nanstd(other), abs=0.03)
        assert np.nanstd(chi - one) < 1.15 * np.nanstd(other - one)


def test_a_planted_change_of_the_energy_moves_the_tables(samples, probe_tracks, monkeypatch):
    columns = samples[Species.E]
    scaled = {f"Track_{n}": columns.flat("Track", n) * np.float32(0.95) for n in EMC_NAMES[:3]}
    moved = changed(columns, **scaled)
    tracks = control_tracks(moved, EmcProbes(moved, Species.E).probe)
    assert np.median(tracks.e_over_p) / np.median(probe_tracks[0].e_over_p) == pytest.approx(0.95, abs=0.003)
    before, after = build(*probe_tracks, monkeypatch), build(tracks, probe_tracks[1], monkeypatch)
    own, other = (emc_pid.evaluate(tables, *tracks)[:, 0] for tables in (after, before))
    assert abs(np.nanmean(own)) < 0.02
    assert abs(np.nanmean(other)) > 0.1
