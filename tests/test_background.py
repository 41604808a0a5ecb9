"""The expected background: counts and scales against brute force and direct counts, and what is quoted of nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import hist
import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory
from hypothesis import given, settings
from hypothesis import strategies as st

from jpsi_lnv.analysis import background, background_checks, misid_rates, normalization
from jpsi_lnv.analysis.background import EXCLUSIVE, Process, quote
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.constants import M_JPSI, N_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.efficiency import bin_of
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.objects.tracks import cos_theta, momentum
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection import misid
from jpsi_lnv.analysis.selection.misid import SPECIES
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.parameters import NOMINAL
from jpsi_lnv.processors.search import SearchProcessor

pytestmark = pytest.mark.fast

PION, KAON, ELECTRON = (SPECIES.index(name) for name in ("pi", "k", "e"))


def roles(rng, probability, n=200_000):
    """Return maps in which every pion is an electron with one probability, every kaon a kaon with 0.9."""
    h = misid.empty_map()
    p, c, period = rng.uniform(0, 1.6, n), rng.uniform(0, 0.93, n), np.full(n, 2018)
    h.fill(period, np.full(n, "pi"), p, c, np.where(rng.uniform(size=n) < probability, "electron", "none"))
    h.fill(period, np.full(n, "k"), p, c, np.where(rng.uniform(size=n) < 0.9, "kaon", "none"))
    return h


def combinations(*species):
    """Return the combinations, and their tracks over all momenta."""
    filled = hist.Hist(
        *(hist.axis.StrCategory(misid.SPECIES, name=track) for track in KKEE.tracks), storage=hist.storage.Int64()
    )
    tracks = hist.Hist(misid.SPECIES_AXIS, misid.P, misid.ABS_COS_THETA, storage=hist.storage.Int64())
    p = np.arange(0.05, 1.6, 0.1)
    for of in species:
        filled.fill(*(SPECIES[i] for i in of))
        for i in of:
            tracks.fill(np.full(len(p), SPECIES[i]), p, np.full(len(p), 0.3))
    return {"combinations": filled, "tracks": tracks}


KKPIPI = (KAON, KAON, PION, PION)


def table(rng, n, chi2=5.0, species=KKPIPI):
    rows = {"run": np.ones(n, int), "event": np.arange(n), "chi2_4c": np.full(n, chi2), "m_kkee": np.full(n, M_JPSI)}
    rows |= {name: np.full(n, 1.2) for name in KKEE.pair_names}
    rows["decay"] = np.full(n, "443(321,-321,211,-211)")
    for track, of in zip(KKEE.tracks, species, strict=True):
        rows |= {f"p_{track}": rng.uniform(0.1, 1.5, n), f"abs_cos_theta_{track}": rng.uniform(0, 0.9, n)}
        rows[f"species_{track}"] = np.full(n, of)
    return rows


def selection(histogram, rows, seen=(KKPIPI,)):
    histograms = {"roles": histogram, "roles_loose": histogram, **combinations(*seen)}
    return SelectionResult({"all": 1, "loosened_identification": 0}, histograms, {}, rows)


def make_results(histogram, rows, n_produced=10_000, kind="background", seen=(KKPIPI,), **metadata):
    record = DatasetMetadata.from_dict("b", {"kind": kind, "sqrt_s": M_JPSI, "branching_fraction": 1e-3} | metadata)
    search = SelectionResult({"all": n_produced, "signal_region": 0})
    selections = {"search": search, "misid": selection(histogram, rows, seen)}
    return Results({"b": DatasetResult(record, n_produced, n_produced, selections)}, {}, {"complete": True})


def overall(results, **options):
    return background.estimate(results, **{"n_jpsi": N_JPSI} | options).channels[0]


def expected(results, **options):
    return math.fsum(p.expected for p in overall(results, **options).processes)


def with_datasets(results, **datasets):
    return dataclasses.replace(results, datasets=results.datasets | datasets)


def test_what_is_expected_is_counts_times_rates(rng):
    (found,) = overall(make_results(roles(rng, 0.01), table(rng, 500)), n_jpsi=1e9).processes
    assert found.weight == pytest.approx(1e-3 * 1e9 / 10_000)
    assert found.n_kinematic == 500
    assert found.expected == pytest.approx(100 * 500 * 0.9**2 * 0.01**2, rel=0.1)
    assert 250 < found.m <= 500
    assert found.needs == pytest.approx({"pi_to_electron": 2.0})
    assert found.factors["pi_to_electron"] == pytest.approx(2 * math.log(3), rel=0.01)


def test_simulated_events_that_pass_the_search_are_counted(rng):
    """In every dataset of the process that the search ran on; one that only the loosened selections saw has none."""
    results = make_results(roles(rng, 0.01), table(rng, 5), process="J/psi -> K+ K- pi+ pi-")
    (one,) = results.datasets.values()
    passing = SelectionResult({"all": 10_000, "signal_region": 3})
    seen = dataclasses.replace(one, selections=one.selections | {"search": passing})
    unseen = dataclasses.replace(one, selections={"misid": one.selections["misid"]})
    assert overall(with_datasets(results, b=seen)).processes[0].n_direct == 3
    assert overall(with_datasets(results, b=seen, c=seen)).processes[0].n_direct == 6
    assert overall(with_datasets(results, b=unseen, c=seen)).processes[0].n_direct == 3


def test_the_branching_fraction_is_a_factor_of_its_own_process(rng):
    process = "J/psi -> K+ K- e+ e-"
    results = make_results(roles(rng, 0.01), table(rng, 5), process=process, branching_fraction_sigma=1e-3)
    (found,) = overall(results).processes
    assert found.factors[f"branching fraction of {process}"] == pytest.approx(math.log(2))
    assert found.needs == {"pi_to_electron": 2.0}


def test_equal_weights_count_as_what_they_are(rng):
    rows = table(rng, 7)
    rows |= {f"p_{track}": np.full(7, 0.5) for track in KKEE.tracks}
    rows |= {f"abs_cos_theta_{track}": np.full(7, 0.1) for track in KKEE.tracks}
    assert overall(make_results(roles(rng, 0.01), rows)).processes[0].m == pytest.approx(7)


@given(st.integers(1, 5))
def test_the_estimate_is_linear_in_the_number_of_jpsi(k):
    rng = np.random.default_rng(1)
    results = make_results(roles(rng, 0.05, 5000), table(rng, 50))
    one, many = (overall(results, n_jpsi=n) for n in (1e8, k * 1e8))
    assert many.processes[0].expected == pytest.approx(k * one.processes[0].expected)
    assert many.quoted().upper_90 == pytest.approx(one.quoted(k).upper_90)


def halves(results, **metadata):
    """Return results whose background dataset is split in two, the second one's metadata changed."""
    whole = results.datasets["b"]
    record, search, stored = whole.metadata, whole.selections["search"], whole.selections["misid"]

    def half(maps, rows, **change):
        candidates = {column: values[rows] for column, values in stored.candidates.items()}
        described = dataclasses.replace(record, **change)
        selections = {"search": search, "misid": selection(maps, candidates)}
        return DatasetResult(described, whole.n_produced // 2, whole.n_events // 2, selections)

    n, maps = len(stored.candidates["run"]), stored.histograms["roles"]
    empty = maps.copy().reset()
    datasets = {"first": half(maps, slice(0, n // 2)), "second": half(empty, slice(n // 2, n), **metadata)}
    return dataclasses.replace(results, datasets=datasets)


@pytest.mark.parametrize(("chi2", "probability"), [(5.0, 0.01), (5.0, 0.0), (50.0, 0.01)])
def test_splitting_a_dataset_changes_nothing(rng, chi2, probability):
    whole = make_results(roles(rng, probability), table(rng, 500, chi2=chi2), process="J/psi -> K+ K- pi+ pi-")
    one, two = (overall(r, n_jpsi=1e9) for r in (whole, halves(whole)))
    assert len(two.processes) == 1
    assert two.processes[0].m == pytest.approx(one.processes[0].m)
    assert two.processes[0].tau == pytest.approx(one.processes[0].tau)
    assert two.quoted().upper_90 == pytest.approx(one.quoted().upper_90)


def test_a_process_without_a_candidate_has_the_largest_weight_that_one_could_have(rng):
    results = make_results(roles(rng, 0.01), table(rng, 500, chi2=50.0))
    (found,) = overall(results, n_jpsi=1e9).processes
    assert (found.m, found.n_kinematic) == (0.0, 0)
    assert found.tau == pytest.approx(1 / (100 * 0.9**2 * 0.01**2), rel=0.6)
    stored = background.weighted(results, 1e9)[0][0].expected
    assert 1 / found.tau >= stored.max()
    assert background.upper_alone(found) == pytest.approx(math.log(10) / found.tau)


@pytest.mark.parametrize("seen", [(KKPIPI, (KAON, KAON, KAON, PION)), ()])
def test_nothing_that_was_simulated_is_zero_without_uncertainty(rng, seen):
    (found,) = overall(make_results(roles(rng, 0.0), table(rng, 0), seen=seen), n_jpsi=1e9).processes
    assert found.expected == 0.0
    assert quote([found]).upper_90 > 0.0


def test_dangerous_species_count_as_often_as_they_are_seen(rng):
    """Pions that would have to pass for kaons, which they never do, and in one of fifty combinations need not."""
    histogram, rows, harmless = roles(rng, 0.01), table(rng, 0), (PION, KAON, PION, PION)
    few, half, all_of_them = (
        overall(make_results(histogram, rows, seen=seen), n_jpsi=1e9).processes[0]
        for seen in ([harmless] * 49 + [KKPIPI], [harmless, KKPIPI], [KKPIPI])
    )
    assert all_of_them.tau == pytest.approx(half.tau / 2, rel=0.01)
    assert all_of_them.tau == pytest.approx(few.tau / 50, rel=0.05)
    assert all_of_them.needs == {"pi_to_electron": 2.0}
    assert few.needs == pytest.approx({"pi_to_electron": 2.0, "pi_to_kaon": 0.0}, abs=0.01)


def test_a_sample_that_a_part_of_it_covers_counts_no_background(rng):
    """Two tracks make no candidate without a conversion: a sample of conversions says more than all events do."""
    histogram, process = roles(rng, 0.01), "J/psi -> e+ e- (gamma)"
    whole = make_results(histogram, table(rng, 0), process=process).datasets["b"]
    part = make_results(histogram, table(rng, 3), process="converted", part_of=process).datasets["b"]
    both = Results({"whole": whole, "part": part}, {}, {"complete": True})
    assert [p.name for p in overall(both).processes] == ["converted"]
    assert process not in background.estimate(both, N_JPSI).not_simulated


def test_side_bands_count_as_they_are(rng):
    results = make_results(roles(rng, 0.01), table(rng, 5))
    passed = {"search": SelectionResult({"all": 1000, "signal_region": 1})}
    nothing = {"search": SelectionResult({"all": 1000, "signal_region": 0})}
    off = DatasetMetadata(kind="continuum", sqrt_s=3.08, luminosity=167.0, blind=False)
    inclusive = DatasetMetadata(kind="inclusive", sqrt_s=M_JPSI)
    both = with_datasets(
        results, c=DatasetResult(off, 1000, 1000, passed), i=DatasetResult(inclusive, 1000, 1000, nothing)
    )
    *_, seen, empty = overall(both, n_jpsi=1e6).processes
    assert (seen.name, seen.m, empty.name, empty.m) == ("continuum", 1, "inclusive", 0)
    assert seen.expected == pytest.approx(
        normalization.continuum_scale([(3.08, 167.0)], normalization.jpsi_luminosity(1e6))
    )
    assert background.upper_alone(empty) == pytest.approx(2302.6, abs=0.1)
    without = dataclasses.replace(both, datasets={n: d for n, d in both.datasets.items() if n != "i"})
    assert overall(without, n_jpsi=1e6).quoted() == overall(both, n_jpsi=1e6).quoted()


def test_a_hidden_side_band_is_named_and_counts_nothing(rng):
    off = DatasetMetadata(kind="continuum", sqrt_s=3.08, luminosity=167.0)
    hidden = DatasetResult(off, 10, 10, {"search": SelectionResult({"all": 10, "signal_region": 1})})
    found = overall(with_datasets(make_results(roles(rng, 0.01), table(rng, 5)), c=hidden))
    assert found.hidden == ("continuum",)
    assert [p.kind for p in found.processes] == [EXCLUSIVE]


def test_parts_of_processes_are_parts_of_ones_that_are_simulated():
    reactions = {p.reaction for p in (*processes.BACKGROUNDS.values(), *processes.CONTROLS.values())}
    parts = {p.part_of for p in processes.BACKGROUNDS.values()} - {None}
    assert parts <= reactions
    assert parts


def test_missing_pieces_are_named(rng):
    with pytest.raises(ResultsError, match="no dataset of kind 'background' with the selection 'misid'"):
        background.estimate(Results({}, {}, {}), N_JPSI)
    with pytest.raises(ResultsError, match="lack 'branching_fraction'"):
        background.estimate(make_results(roles(rng, 0.1, 100), table(rng, 5), branching_fraction=None), N_JPSI)


def test_the_spectrum_holds_the_estimate(rng):
    rows = table(rng, 300, chi2=7.5)
    results = make_results(roles(rng, 0.02), rows)
    like = hist.Hist(hist.axis.Regular(20, 0, 20, name="chi2_4c"), hist.axis.Regular(10, 3.07, 3.12, name="m_kkee"))
    filled = background.spectrum(results, like, n_jpsi=1e9)
    assert filled.sum().value == pytest.approx(expected(results, n_jpsi=1e9))
    assert filled[7, :].sum().value == pytest.approx(filled.sum().value)
    named = make_results(roles(rng, 0.02), rows, process="J/psi -> K+ K- pi+ pi-")
    one, two = (background.spectrum(r, like, n_jpsi=1e9) for r in (named, halves(named)))
    np.testing.assert_allclose(two.values(), one.values())


def test_events_are_background_near_their_own_masses(rng):
    results = make_results(roles(rng, 0.01), table(rng, 5))
    record = DatasetMetadata(kind="continuum", sqrt_s=3.08, luminosity=167.0, blind=False)
    near = SelectionResult(
        {"all": 10, "signal_region": 1}, candidates={name: np.array([0.9]) for name in KKEE.pair_names}
    )
    added = {"c": DatasetResult(record, 10, 10, {"search": near})}
    for mass in (0.9, 1.2, 1.5):
        of = DatasetMetadata(kind="majorana", sqrt_s=M_JPSI, m_majorana=mass, majorana_mode="2nu")
        added[f"majorana_{mass}"] = DatasetResult(of, 10, 10, {})
    found = background.estimate(with_datasets(results, **added), n_jpsi=1e9)
    assert [c.m_majorana for c in found.channels] == [None, 0.9, 1.2, 1.5]
    assert [[p.m > 0 for p in c.processes] for c in found.channels] == [
        [True, True],
        [False, True],
        [True, False],
        [False, False],
    ]
    written = json.loads(json.dumps(background.to_json(found)))
    assert background.channels(written) == {c.m_majorana: c for c in found.channels}


def test_what_was_not_simulated_is_listed(rng):
    lacking = background.estimate(
        make_results(roles(rng, 0.01), table(rng, 5), process="J/psi -> K+ K- pi+ pi-"), N_JPSI
    ).not_simulated
    assert "J/psi -> 2(pi+ pi-)" in lacking
    assert "J/psi -> K+ K- pi+ pi-" not in lacking


def zeros(n, tau=1.0):
    return [Process(f"process {i}", EXCLUSIVE, 0.0, tau) for i in range(n)]


def test_empty_counts_add_up_by_sampling_and_not_by_their_bounds():
    """Four empty counts of one weight: the 90 % point of Gamma(2), 3.89; the sum of four bounds would be 5.4."""
    assert quote(zeros(4)).upper_90 == pytest.approx(3.890, rel=0.02)
    assert quote(zeros(1)).upper_90 == pytest.approx(1.353, rel=0.02)
    assert quote(zeros(1, tau=10.0)).upper_90 == pytest.approx(0.1353, rel=0.02)


def test_a_shared_factor_moves_processes_together():
    def pair(*names):
        return [Process(f"p{i}", EXCLUSIVE, 1e6, 1e6, {name: 1.0}) for i, name in enumerate(names)]

    shared, own = quote(pair("a", "a")), quote(pair("a", "b"))
    assert shared.high / shared.low == pytest.approx(math.exp(2 * 0.9945), rel=0.03)
    assert own.high / own.low < 0.75 * shared.high / shared.low
    assert shared.centre == pytest.approx(2.0, rel=0.02)


def test_known_background_gives_the_poisson_probability_of_any_event():
    found = quote([Process("p", EXCLUSIVE, 1e8, 1e8 / 0.3)])
    assert found.p_any == pytest.approx(1 - math.exp(-0.3), rel=1e-3)
    assert (found.leading, str(found)) == ("p", "0.3 (< 0.3 at 90 %)")


@pytest.mark.parametrize(
    ("centre", "upper", "text"),
    [
        (0.123, 0.44, "0.1 (< 0.4 at 90 %)"),
        (4.2, 27.0, "4 (< 30 at 90 %)"),
        (2.5e-10, 7e-6, "below 0.0001 at 90 %"),
        (2.5e-10, 3e-3, "0 (< 0.003 at 90 %)"),
    ],
)
def test_the_estimate_is_quoted_in_plain_digits(centre, upper, text):
    assert str(background.Quoted(centre, 0.0, upper, upper, 0.0, "")) == text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=4), st.floats(0.1, 100.0))
def test_another_process_never_lowers_what_is_quoted(counts, tau):
    found = [Process(f"p{i}", EXCLUSIVE, m, tau, {"rate": 0.5}) for i, m in enumerate(counts)]
    fewer, all_of_them = quote(found[:-1]), quote(found)
    assert all_of_them.centre >= fewer.centre
    assert all_of_them.upper_90 >= fewer.upper_90
    assert all_of_them.low <= all_of_them.centre <= all_of_them.high <= 1.3 * all_of_them.upper_90


def test_an_empty_side_band_is_no_statement_about_a_decay():
    empty = Process("continuum", "continuum", 0.0, 0.25)
    assert quote([empty]).upper_90 == 0.0
    assert background.upper_alone(empty) == pytest.approx(4 * math.log(10))
    assert quote([dataclasses.replace(empty, m=2.0)]).centre == pytest.approx(4 * 1.678, rel=0.03)


def test_the_expectation_follows_assumed_rates():
    one = Process("one", EXCLUSIVE, 4.0, 2.0, needs={"pi_to_electron": 2.0})
    other = Process("other", EXCLUSIVE, 3.0, 1.0, needs={"k_to_electron": 1.0})
    rates = {"pi_to_electron": 1e-4, "k_to_electron": 1e-3}
    assert background.against_rate([one, other], rates, rates) == pytest.approx(5.0)
    assert background.against_rate([one, other], rates, {"pi_to_electron": 1e-3}) == pytest.approx(203.0)
    assert background.against_rate([one, other], rates, {"k_to_electron": 1e-2}) == pytest.approx(32.0)


def run(path, block, **metadata):
    with NtupleWriter(path) as writer:
        writer.extend(block)
    metadata = {"dataset": "d", "kind": "background", "sqrt_s": M_JPSI, "branching_fraction": 1.0} | metadata
    events = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, metadata=metadata).events()
    return SearchProcessor().process(events)["d"]


def simulated(tmp_path, process, n_events, seed=9, **detector):
    """Return what search and misid store of one simulated process, as a result."""
    parameters = dataclasses.replace(NOMINAL, **detector)
    recipe = production.Recipe(processes=((process, 1.0),), sqrt_s=M_JPSI, parameters=parameters)
    block = make_block(production.make_block(recipe, "b", 0, n_events, seed))
    found = run(tmp_path / "b.root", block, selections=["search", "misid"])
    stored = found["misid"]
    of_misid = SelectionResult(stored["cutflow"], stored["histograms"], {}, stored["candidates"].columns)
    record = DatasetMetadata(kind="background", sqrt_s=M_JPSI, branching_fraction=1.0)
    selections = {"search": SelectionResult(found["search"]["cutflow"]), "misid": of_misid}
    return Results({"b": DatasetResult(record, n_events, n_events, selections)}, {}, {"complete": True})


def test_candidates_that_fail_one_step_are_stored_beside_those_that_pass(tmp_path):
    recipe = production.Recipe(processes=((processes.BACKGROUNDS["kkpipi"], 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "b", 0, 6000, 9))
    found = run(tmp_path / "b.root", block, selections=["misid"])
    passing, failing = (found[name]["candidates"].columns for name in ("misid", "misid_failed"))
    assert set(failing["failed"]) <= {"alternative_hypotheses", "conversion_veto"}
    others = failing["failed"] == "alternative_hypotheses"
    assert np.count_nonzero(others) > 10
    assert (failing["chi2_difference"][others] <= 0).all()
    assert (failing["chi2_difference"][~others] > 0).all()
    assert (passing["chi2_difference"] > 0).all()
    assert (failing["chi2_4c"] < SELECTION.chi2_4c_max).all()
    assert set(failing) == {*passing, "failed"}


def test_weighted_signal_counts_what_the_search_selects(tmp_path):
    """Closure on a decay that does pass: K+ K+ e- e- itself, whose tracks are taken for what they are."""
    results = simulated(tmp_path, processes.SIGNAL, 6000)
    direct = results.datasets["b"].selections["search"].n_passed
    assert expected(results, n_jpsi=6000) == pytest.approx(direct, rel=0.1)


def test_loosened_identification_passes_as_often_as_the_rates_say(tmp_path):
    """The closure of the whole weight, on a decay that needs two misidentifications."""
    row, *_ = background_checks.closure(simulated(tmp_path, processes.BACKGROUNDS["eeee"], 12_000))
    assert abs(row.counted - row.expected) < 3 * row.sigma


# A detector that confuses electrons and kaons: every kaon showers as an electron does, electrons lose energy, and dE/dx
# and time of flight hardly tell them apart.
CONFUSED = {
    "electron_tail": 0.7,
    "electron_tail_scale": 1.5,
    "kaon_exchange": 1.0,
    "interaction_length": 1.0,
    "dedx_resolution": 0.12,
    "tof_sigma": 1.0,
}


def test_events_pass_as_often_as_the_rates_say_where_there_are_enough_to_count(tmp_path):
    """The closure of the whole weight, e -> K and K -> e and two right ones, of K+ K- e+ e- in a detector that errs."""
    parts = [simulated(tmp_path, processes.BACKGROUNDS["kkee"], 60_000, seed, **CONFUSED) for seed in range(12)]
    together = dataclasses.replace(parts[0], datasets={f"b{i}": of.datasets["b"] for i, of in enumerate(parts)})
    rows = [row for row in background_checks.closure(together) if not row.dataset.startswith("pairs")]
    counted, total = (sum(getattr(row, name) for row in rows) for name in ("counted", "expected"))
    assert total > 50
    assert abs(counted - total) < 3 * math.hypot(*(row.sigma for row in rows)), (counted, total)


def test_no_track_is_electron_and_kaon_at_once_with_the_loosened_identification():
    loose = misid.loosened(SELECTION)
    assert loose.e_over_p_hadron_max <= loose.e_over_p_electron_min


@pytest.mark.parametrize(
    ("name", "n_events", "kinds"),
    [
        ("eeee", 40_000, {"e to kaon, e to kaon"}),
        ("pipipipi", 150_000, {"pi to kaon, pi to kaon", "pi to electron, pi to kaon"}),
        ("ppbaree", 40_000, {"e to kaon, p to kaon", "p to kaon, pbar to electron"}),
    ],
)
def test_pairs_of_mistakes_are_as_many_as_the_rates_say(tmp_path, name, n_events, kinds):
    """The closure that counts, with the loosened identification that the report shows."""
    rows = background_checks.closure(simulated(tmp_path, processes.BACKGROUNDS[name], n_events))
    found = {row.dataset.removeprefix("pairs: "): row for row in rows}
    assert kinds <= set(found)
    for row in rows:
        assert abs(row.counted - row.expected) < 3 * row.sigma, row


def test_two_tracks_are_misidentified_as_often_as_the_rates_of_each_say():
    """The closure of the product, where there are counts: pairs of pions taken for electrons, or for kaons."""
    recipe = production.Recipe(processes=((processes.BACKGROUNDS["pipipipi"], 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "b", 0, 60_000, 9))
    columns = ArrayColumns(block.values, block.offsets, block.n_events)
    loose = dataclasses.replace(SELECTION, e_over_p_electron_min=0.02, cl_e_min=0.0, cl_e_ratio_min=1e-3)
    view = SearchEvents(columns, loose, M_JPSI)
    rates = misid_rates.counted([misid.maps(view)])
    counts, role = misid.roles(view)
    kappa, tanl = columns.flat("Track", "kappa"), columns.flat("Track", "tanl")
    p = bin_of(rates.p_edges, momentum(kappa, tanl))
    angle = bin_of(rates.abs_cos_theta_edges, np.abs(cos_theta(tanl)))
    of_track = rates.value[0, misid.true_species(columns), p, angle]
    event = np.repeat(np.arange(columns.n_events), np.diff(columns.offsets("Track")))
    first, second = pairs_of_equal_charge(event[counts], columns.flat("Track", "charge")[counts])
    for name in ("electron", "kaon"):
        i = misid.roles_of(KKEE).index(name)
        both = np.count_nonzero((role[counts][first] == i) & (role[counts][second] == i))
        expected = float((of_track[counts, i][first] * of_track[counts, i][second]).sum())
        assert expected > 10
        assert abs(both - expected) < 3 * math.sqrt(expected), (name, both, expected)


def pairs_of_equal_charge(event, charge):
    """Return the places of every two tracks of one event that have the same charge."""
    places = [np.flatnonzero((event == e) & (charge == q)) for e in np.unique(event) for q in (-1, 1)]
    pairs = [pair for of in places for pair in itertools.combinations(of, 2)]
    return np.array(pairs).T


def test_inclusive_and_exclusive_samples_are_compared_where_they_overlap(rng):
    """An inclusive sample in which one event of a hundred is K K pi pi, through a resonance or not."""
    histogram = roles(rng, 0.05)
    results = make_results(histogram, table(rng, 400), n_produced=10_000, branching_fraction=0.01)
    rows = table(rng, 60)
    rows["decay"] = np.array(["443(333(321,-321),211,-211)", "443(321,-321,211,-211,22)", "443(321,-321,111)"] * 20)
    of = DatasetMetadata(kind="inclusive", sqrt_s=M_JPSI)
    selections = {"search": SelectionResult({"all": 1, "signal_region": 0}), "misid": selection(histogram, rows)}
    both = with_datasets(results, i=DatasetResult(of, 100_000, 100_000, selections))
    (row,) = background_checks.overlaps(both, background.estimate(both, n_jpsi=1e9))
    assert (row.final_state, row.n_inclusive) == ("K+ K- pi+ pi-", 40)
    assert row.exclusive == pytest.approx(expected(results, n_jpsi=1e9), rel=0.05)
    assert abs(row.inclusive - row.exclusive) < 3 * math.hypot(row.inclusive_sigma, row.exclusive_sigma)


def test_the_table_names_what_a_process_needs(tmp_path):
    results = simulated(tmp_path, processes.BACKGROUNDS["kkee"], 6000)
    (found,) = overall(results).processes
    assert found.needs["e_to_kaon"] == pytest.approx(1.0, abs=0.1)
    assert found.needs["k_to_electron"] == pytest.approx(1.0, abs=0.1)
    assert set(misid_rates.to_json(background.estimate(results, N_JPSI).rates)["rates"]) >= set(found.needs)
