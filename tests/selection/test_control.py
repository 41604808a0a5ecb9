"""The control samples: tags, probes and fits on simulated events, against what was generated."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory

from jpsi_lnv.analysis import efficiency
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.selection import control_fit, control_probes, misid, registry, steps
from jpsi_lnv.analysis.selection.control_fit import ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import (
    NO_TRACK,
    ConversionProbes,
    ElectronProbes,
    FourElectronProbes,
    KaonProbes,
)
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.processors.search import SearchProcessor

pytestmark = pytest.mark.fast

SQRT_S = M_JPSI


def simulate(name, n_events, parameters=NOMINAL, dataset=""):
    process = (processes.CONTROLS | processes.BACKGROUNDS)[name]
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=SQRT_S, parameters=parameters)
    return make_block(production.make_block(recipe, f"{name}{dataset}", 0, n_events, 5))


def columns_of(block):
    return ArrayColumns(block.values, block.offsets, block.n_events)


def flow(of, view):
    return steps.count(of, steps.apply(of, view))


@pytest.fixture(scope="module")
def electron_view():
    return ElectronProbes(SearchEvents(columns_of(simulate("ee", 8000)), SELECTION, SQRT_S))


@pytest.fixture(scope="module")
def four_electron_view():
    return FourElectronProbes(SearchEvents(columns_of(simulate("eeee", 6000)), SELECTION, SQRT_S))


@pytest.fixture(scope="module")
def kaon_view():
    return KaonProbes(SearchEvents(columns_of(simulate("kkpi0", 8000)), SELECTION, SQRT_S))


@pytest.fixture(scope="module")
def proton_view():
    return ProtonEvents(SearchEvents(columns_of(simulate("ppbarpipi", 4000)), SELECTION, SQRT_S))


@pytest.mark.parametrize(
    ("fixture", "steps"),
    [
        ("electron_view", control_probes.EE_STEPS),
        ("four_electron_view", control_probes.EEEE_STEPS),
        ("kaon_view", control_probes.KKPI0_STEPS),
    ],
)
def test_counts_fall_and_most_probes_pass(fixture, steps, request):
    view = request.getfixturevalue(fixture)
    values = list(flow(steps, view).values())
    assert values == sorted(values, reverse=True)
    assert view.is_found.sum() > 0.75 * view.in_acceptance.sum()
    assert view.probe_is_identified.sum() > 0.8 * view.is_clean.sum() > 0


@pytest.mark.parametrize("fixture", ["electron_view", "kaon_view"])
def test_a_probe_is_another_good_track_of_the_other_charge(fixture, request):
    view = request.getfixturevalue(fixture)
    found = view.probe != NO_TRACK
    probe, tag = view.probe[found], view.tag[found]
    assert (view.search.charge[probe] == -view.search.charge[tag]).all()
    assert view.search.is_good[probe].all()
    offsets = view.search.offsets
    assert ((probe >= offsets[view.event[found]]) & (probe < offsets[view.event[found] + 1])).all()


@pytest.mark.parametrize("fixture", ["electron_view", "kaon_view"])
def test_what_is_slow_is_neither_tag_nor_probe(fixture, request):
    """A momentum at its limit is too slow, the next one is not."""
    view = request.getfixturevalue(fixture)

    def with_limit(**limits):
        return type(view)(view.search, dataclasses.replace(view.control, **limits))

    p_probe = view.p_probe[view.in_acceptance]
    middle = float(np.median(p_probe))
    found = with_limit(p_probe_min=middle)
    np.testing.assert_array_equal(found.in_acceptance, view.in_acceptance & (view.p_probe > middle))
    p_tag = np.linalg.norm(view.p4[:, :3], axis=1)[view.is_identified]
    limit = float(p_tag[p_tag > view.control.p_tag_min].min())
    with_it = with_limit(p_tag_min=float(np.nextafter(limit, 0.0)))
    assert np.isin(with_limit(p_tag_min=limit).tags, with_it.tags).all()
    assert len(with_it.tags) - len(with_limit(p_tag_min=limit).tags) == 1


@pytest.mark.parametrize("fixture", ["electron_view", "kaon_view"])
def test_the_expected_momentum_is_the_measured_one(fixture, request):
    view = request.getfixturevalue(fixture)
    clean = view.is_clean
    measured = np.linalg.norm(view.p4[view.probe[clean], :3], axis=1)
    assert abs(np.median(measured - view.p_probe[clean])) < 0.02
    assert np.median(np.abs(measured - view.p_probe[clean])) < 0.05


def test_four_electrons_probe_as_slow_ones_as_the_signal_has(four_electron_view):
    """Of the signal's electrons 37 % are below 0.5 GeV/c."""
    view = four_electron_view
    assert np.mean(view.p_probe[view.in_acceptance] < 0.5) > 0.2


def test_slow_electrons_are_identified_as_often_as_the_generated_ones():
    """In every bin of the measured momentum, of events with four tracks."""
    view = FourElectronProbes(SearchEvents(columns_of(simulate("eeee", 16_000)), SELECTION, SQRT_S))
    columns = view.columns
    tracks = np.flatnonzero(view.search.is_good & (columns.flat("Track", "gen") >= 0))
    event = view._event_of_track[tracks]
    rows = columns.offsets("Gen")[event] + columns.flat("Track", "gen")[tracks]
    is_own = (np.abs(columns.flat("Gen", "pdg_id")) == 11) & (columns.flat("Gen", "mother") == 0)
    tracks = tracks[is_own[rows] & (view.search.n_good == 4)[event]]
    probes = view.probe[view.is_clean]
    p = np.linalg.norm(view.p4[:, :3], axis=1)
    for low, high in itertools.pairwise((0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2)):
        probed, generated = (view.is_identified[t[(p[t] > low) & (p[t] < high)]] for t in (probes, tracks))
        assert_same(probed, generated)


def test_electrons_of_conversions_are_identified_as_often_as_other_slow_ones(four_electron_view):
    """As in 2(e+ e-). Not as often as all electrons of conversions: two that share a cluster are no tag and probe."""
    view = ConversionProbes(SearchEvents(columns_of(simulate("ee_converted", 16_000)), SELECTION, SQRT_S))
    assert np.all(misid.true_species(view.columns)[view.probe[view.is_clean]] == misid.SPECIES.index("e"))

    def identified(of):
        probes = of.probe[of.is_clean]
        return np.linalg.norm(of.p4[probes, :3], axis=1), of.is_identified[probes]

    (p, is_identified), (p_other, other) = identified(view), identified(four_electron_view)
    for low, high in itertools.pairwise((0.15, 0.2, 0.3, 0.5, 1.2)):
        assert_same(is_identified[(p > low) & (p < high)], other[(p_other > low) & (p_other < high)])


def test_kkpipi_loses_to_other_hypotheses_what_its_fits_say():
    view = control_fit.KaonEvents(SearchEvents(columns_of(simulate("kkpipi", 8_000)), SELECTION, SQRT_S))
    counts = flow(control_fit.KKPIPI_STEPS, view)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert 0.98 < counts["smallest_chi2"] / counts["signal_region"] < 1.0
    inside = view.in_signal_region
    wins = view.chi2_of_each[inside].argmin(axis=1)
    assert counts["smallest_chi2"] == np.count_nonzero(wins == 0)
    filled = control_fit.fill_competition(view)["delta_chi2"]
    assert filled.sum(flow=True) == counts["signal_region"]
    is_below = np.append(-np.inf, filled.axes[0].edges) < -1.0
    assert filled.values(flow=True)[is_below].sum() == counts["signal_region"] - counts["smallest_chi2"]


@pytest.mark.parametrize(("name", "view"), [("kkpipi", control_fit.KaonEvents), ("ppbarpipi", ProtonEvents)])
def test_the_fit_says_what_a_fourth_track_is(name, view):
    of = view(SearchEvents(columns_of(simulate(name, 8_000)), SELECTION, SQRT_S))
    probes, place = of.probes
    assert len(probes) > 4_000
    true = np.array(misid.SPECIES)[misid.true_species(of.columns)[probes]]
    for i, species in enumerate(view.species):
        assert np.mean(true[place == i] == species) > 0.997
    assert len(np.unique(probes)) == len(probes)


def test_probes_of_misidentification_have_the_rates_of_all_tracks():
    """Protons, whose rates are large; of the same momenta, in all angles."""
    of = ProtonEvents(SearchEvents(columns_of(simulate("ppbarpipi", 16_000)), SELECTION, SQRT_S))
    filled, roles = control_fit.fill_mistakes(of), misid.maps(of.search)
    for species, (i, role) in itertools.product(("p", "pbar"), enumerate(misid.roles_of(KKEE)[1:], 1)):
        probes = filled[f"{species}_to_{role}"].values().sum(axis=1)
        for k, (low, high) in enumerate(itertools.pairwise(control_probes.P.edges)):
            inside = (roles.axes["p"].edges[:-1] >= low - 1e-9) & (roles.axes["p"].edges[1:] <= high + 1e-9)
            tracks = roles.values()[:, misid.SPECIES.index(species), inside].sum(axis=(0, 1, 2))
            if inside.any() and probes[k].sum() > 200:
                expected = tracks[i] / tracks.sum()
                sigma = np.sqrt(expected * (1 - expected) * (1 / probes[k].sum() + 1 / tracks.sum()))
                assert abs(probes[k, 1] / probes[k].sum() - expected) <= 4 * sigma


def assert_same(probed, generated):
    """The shares agree within three standard deviations of both."""
    share = generated.mean()
    sigma = np.sqrt(share * (1 - share) * (1 / len(probed) + 1 / len(generated)))
    assert abs(probed.mean() - share) < 3 * sigma


def test_three_tagged_electrons_and_their_probe_are_four_tracks(four_electron_view):
    view = four_electron_view
    found = view.probe != NO_TRACK
    charge = view.search.charge.astype(int)
    assert np.all(charge[view.tags[found]].sum(axis=1) + charge[view.probe[found]] == 0)
    assert not (view.tags[found] == view.probe[found][:, None]).any()
    assert view.is_identified[view.tags].all()
    assert np.all(view._event_of_track[view.tags] == view.event[:, None])


def test_the_measured_kaon_efficiency_is_the_generated_one(kaon_view):
    """Above 0.4 GeV/c, where decays in flight do not blur what "found" means."""
    columns = kaon_view.columns
    p = np.sqrt(sum(columns.flat("Gen", c).astype(float) ** 2 for c in ("px", "py", "pz")))
    cos_theta = columns.flat("Gen", "pz") / np.maximum(p, 1e-9)
    is_kaon = (np.abs(columns.flat("Gen", "pdg_id")) == 321) & (columns.flat("Gen", "mother") == 0)
    is_kaon &= (p > 0.4) & (np.abs(cos_theta) < 0.9)
    tracks = np.flatnonzero(kaon_view.search.is_good & (columns.flat("Track", "gen") >= 0))
    event = kaon_view._event_of_track[tracks]
    found = np.zeros(len(p), dtype=bool)
    found[columns.offsets("Gen")[event] + columns.flat("Track", "gen")[tracks]] = True
    generated = found[is_kaon].mean()
    expected = kaon_view.in_acceptance & (kaon_view.p_probe > 0.4) & (np.abs(kaon_view.cos_theta_probe) < 0.9)
    assert kaon_view.is_found[expected].mean() == pytest.approx(generated, abs=0.025)


def test_radiative_decays_give_slow_electrons(electron_view):
    slow = electron_view.in_acceptance & (electron_view.p_probe < 1.2)
    assert slow.sum() > 80
    assert electron_view.is_found[slow].mean() > 0.88  # as of all electrons: lost probes are no more often slow


def test_the_fit_of_the_control_sample(proton_view):
    counts = flow(control_fit.PPBARPIPI_STEPS, proton_view)
    assert counts["hadrons"] > 0.9 * counts["four_tracks"]
    assert 0.8 < counts["chi2_4c"] / counts["near_jpsi"] < 0.97
    assert counts["signal_region"] > 0.9 * counts["chi2_4c"]
    core = proton_view.mass[np.abs(proton_view.mass - M_JPSI) < 0.02]
    assert 0.004 < core.std() < 0.009


def test_histograms_hold_what_the_steps_count(electron_view, proton_view):
    maps = control_probes.fill(electron_view)
    tracking = efficiency.efficiency_map(maps["tracking"])
    inside = electron_view.in_acceptance
    assert tracking.n_total.sum() == (inside & (electron_view.p_probe < 1.7)).sum()
    filled = control_fit.fill(proton_view)["chi2_4c_m_ppbarpipi"]
    assert filled.values(flow=True).sum() == proton_view.in_sideband.sum()
    assert filled[:20j, sum].values().sum() == proton_view.passes_fit.sum()


@pytest.mark.parametrize("name", list(registry.SELECTIONS))
def test_no_events_no_tracks_no_showers(name, tmp_path):
    block = simulate("ee", 50)
    empty = block.select(np.zeros(50, dtype=bool))
    output = find(open_events(tmp_path / "empty.root", empty, selections=[name]))
    del output["ledger"]
    assert {n for found in output.values() for n in found["cutflow"].values()} == {0}


def open_events(path, block, **metadata):
    with NtupleWriter(path) as writer:
        writer.extend(block)
    metadata = {"dataset": "d", "kind": "control", "sqrt_s": SQRT_S, "is_simulation": True} | metadata
    return NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, metadata=metadata).events()


def find(events):
    return SearchProcessor().process(events)["d"]


def test_chunks_add_up(tmp_path):
    block = simulate("kkpi0", 1200)
    whole = find(open_events(tmp_path / "a.root", block, selections=["control_kkpi0"]))["control_kkpi0"]
    halves = [
        find(open_events(tmp_path / f"{i}.root", block.cut(*ends), selections=["control_kkpi0"]))["control_kkpi0"]
        for i, ends in enumerate([(0, 500), (500, 1200)])
    ]
    for step, n in whole["cutflow"].items():
        assert n == sum(half["cutflow"][step] for half in halves)
    for name, h in whole["histograms"].items():
        assert h == halves[0]["histograms"][name] + halves[1]["histograms"][name]


def test_blind_data_hide_the_box_in_control_samples_too(tmp_path):
    """Events with four tracks are counted by both selections or by none: their difference would be those hidden."""
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=SQRT_S)
    block = make_block(production.make_block(recipe, "s", 0, 400, 5))
    flows = {}
    for kind in ("data", "control"):
        events = open_events(tmp_path / f"{kind}.root", block, kind=kind, selections=["control_ppbarpipi", "search"])
        flows[kind] = tuple(found["cutflow"] for name, found in find(events).items() if name != "ledger")
    (fit, search), (fit_open, search_open) = flows["data"], flows["control"]
    assert fit["four_tracks"] == fit_open["four_tracks"] > 0
    assert search["four_tracks_zero_charge"] == search_open["four_tracks_zero_charge"]
    assert search["electrons"] < search_open["electrons"]
    assert fit["hadrons"] <= fit_open["hadrons"]


@pytest.mark.parametrize(("name", "view"), [("ee", ElectronProbes), ("kkpi0", KaonProbes)])
def test_a_planted_tracking_difference_is_recovered(name, view):
    """Two per cent fewer tracks in the data: the ratio of the maps says so within its uncertainty."""
    loss = 0.02
    planted = dataclasses.replace(NOMINAL, tracking_efficiency=NOMINAL.tracking_efficiency * (1 - loss))
    maps = {}
    for dataset, parameters in (("nominal", NOMINAL), ("planted", planted)):
        of = view(SearchEvents(columns_of(simulate(name, 20_000, parameters, dataset)), SELECTION, SQRT_S))
        maps[dataset] = efficiency.efficiency_map(control_probes.fill(of)["tracking"])
    totals = {k: (m.n_passed.sum(), m.n_total.sum()) for k, m in maps.items()}
    (a, n), (b, m) = totals["planted"], totals["nominal"]
    difference = (a / n) / (b / m) - 1
    sigma = np.sqrt(1 / a - 1 / n + 1 / b - 1 / m)
    assert abs(difference + loss) < 3 * sigma
    assert sigma < 0.006


@pytest.mark.parametrize(("name", "view"), [("ee", ElectronProbes), ("kkpi0", KaonProbes)])
def test_a_track_that_is_not_good_is_not_identified(name, view):
    block = simulate(name, 200)
    dz = block.values["Track_dz"].copy()
    arrays = block.values | {"Track_dz": dz}
    plain = view(SearchEvents(columns_of(block), SELECTION, SQRT_S))
    lost = int(np.flatnonzero(plain.is_identified)[0])
    dz[lost] += 50.0
    moved = view(SearchEvents(ArrayColumns(arrays, block.offsets, block.n_events), SELECTION, SQRT_S))
    assert moved.identification.ndof[lost] > 0
    assert not moved.is_identified[lost]
    assert moved.is_identified.sum() == plain.is_identified.sum() - 1


def test_a_track_that_is_not_good_is_in_no_misid_map():
    block = simulate("kkpi0", 50)
    dz = block.values["Track_dz"].copy()
    view = SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), SELECTION, SQRT_S)
    counts, _ = misid.roles(view)
    dz[np.flatnonzero(counts)[0]] += 50.0
    arrays = ArrayColumns(block.values | {"Track_dz": dz}, block.offsets, block.n_events)
    assert misid.roles(SearchEvents(arrays, SELECTION, SQRT_S))[0].sum() == counts.sum() - 1
