"""Misidentification weights: against brute force, against direct counts, and in the limits of nothing seen."""

from __future__ import annotations

import dataclasses
import json

import hist
import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis import background, normalization
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.results import DatasetResult, Results, SelectionResult
from jpsi_lnv.analysis.selection import misid
from jpsi_lnv.analysis.selection.misid import SPECIES
from jpsi_lnv.analysis.selection.search import M_KE_NAMES, TRACKS
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.processors.search import SearchProcessor

pytestmark = pytest.mark.fast

PION, KAON = SPECIES.index("pi"), SPECIES.index("k")


def roles(rng, probability, n=200_000):
    """Return maps in which every pion is an electron with one probability, every kaon a kaon with 0.9."""
    h = hist.Hist(
        misid.SPECIES_AXIS,
        misid.P,
        misid.ABS_COS_THETA,
        misid.ROLE_AXIS,
        storage=hist.storage.Int64(),
    )
    p, c = rng.uniform(0, 1.6, n), rng.uniform(0, 0.93, n)
    h.fill(np.full(n, "pi"), p, c, np.where(rng.uniform(size=n) < probability, "electron", "none"))
    h.fill(np.full(n, "k"), p, c, np.where(rng.uniform(size=n) < 0.9, "kaon", "none"))
    return h


def table(rng, n, chi2=5.0, species=(KAON, KAON, PION, PION)):
    rows = {"run": np.ones(n, int), "event": np.arange(n), "chi2_4c": np.full(n, chi2), "m_kkee": np.full(n, M_JPSI)}
    rows |= {name: np.full(n, 1.2) for name in M_KE_NAMES}
    for track, of in zip(TRACKS, species, strict=True):
        rows |= {f"p_{track}": rng.uniform(0.1, 1.5, n), f"abs_cos_theta_{track}": rng.uniform(0, 0.9, n)}
        rows[f"species_{track}"] = np.full(n, of)
    return rows


def make_results(histogram, rows, n_produced=10_000, kind="background", **metadata):
    metadata = {"kind": kind, "sqrt_s": M_JPSI, "branching_fraction": 1e-3} | metadata
    selections = {
        "search": SelectionResult({"all": n_produced, "signal_region": 0}),
        "misid": SelectionResult({"all": n_produced}, {"roles": histogram}, {}, rows),
    }
    record = DatasetMetadata.from_dict("b", metadata)
    return Results({"b": DatasetResult(record, n_produced, n_produced, selections)}, {}, {"complete": True})


def test_the_estimate_is_counts_times_probabilities(rng):
    results = make_results(roles(rng, 0.01), table(rng, 500))
    found = background.estimate(results, n_jpsi=1e9).contributions[0]
    assert found.weight == pytest.approx(1e-3 * 1e9 / 10_000)
    assert found.n_kinematic == 500
    assert found.n_bkg == pytest.approx(100 * 500 * 0.9**2 * 0.01**2, rel=0.1)
    assert 0 < found.sigma < found.n_bkg


def test_weights_are_the_product_over_tracks(rng):
    probabilities = background.measure(make_results(roles(rng, 0.3), table(rng, 1)))
    rows = table(rng, 20)
    wanted = np.ones(20)
    for track, role in (("k1", 2), ("k2", 2), ("e1", 1), ("e2", 1)):
        p = np.digitize(rows[f"p_{track}"], probabilities.p_edges) - 1
        c = np.digitize(rows[f"abs_cos_theta_{track}"], probabilities.cos_theta_edges) - 1
        wanted *= probabilities.value[rows[f"species_{track}"], p, c, role]
    np.testing.assert_allclose(background.weights(probabilities, rows), wanted)


@given(st.integers(1, 5))
def test_the_estimate_is_linear_in_the_number_of_jpsi(k):
    rng = np.random.default_rng(1)
    results = make_results(roles(rng, 0.05, 5000), table(rng, 50))
    one, many = (background.estimate(results, n_jpsi=n).total for n in (1e8, k * 1e8))
    assert many.value == pytest.approx(k * one.value)
    assert many.sigma == pytest.approx(k * one.sigma)


def halves(results, **metadata):
    """Return results whose background dataset is split in two, the second one's metadata changed."""
    whole = results.datasets["b"]
    record, search, misid = whole.metadata, whole.selections["search"], whole.selections["misid"]

    def half(maps, rows, **change):
        candidates = {column: values[rows] for column, values in misid.candidates.items()}
        selections = {"search": search, "misid": SelectionResult(misid.cutflow, {"roles": maps}, {}, candidates)}
        described = dataclasses.replace(record, **change)
        return DatasetResult(described, whole.n_produced // 2, whole.n_events // 2, selections)

    n, maps = len(misid.candidates["run"]), misid.histograms["roles"]
    datasets = {
        "first": half(maps, slice(0, n // 2)),
        "second": half(maps.copy().reset(), slice(n // 2, n), **metadata),
    }
    return dataclasses.replace(results, datasets=datasets)


@pytest.mark.parametrize(("chi2", "probability"), [(5.0, 0.01), (5.0, 0.0), (50.0, 0.01)])
def test_splitting_a_dataset_changes_nothing(rng, chi2, probability):
    whole = make_results(roles(rng, probability), table(rng, 500, chi2=chi2), process="J/psi -> K+ K- pi+ pi-")
    one, two = (background.estimate(r, n_jpsi=1e9) for r in (whole, halves(whole)))
    assert len(two.contributions) == 2
    assert two.total.value == pytest.approx(one.total.value)
    assert two.total.sigma == pytest.approx(one.total.sigma)
    assert two.total.source == one.total.source
    assert one.total.sigma == pytest.approx(one.contributions[0].sigma)
    assert one.total.sigma > 0.0


def test_the_maps_move_all_processes_together(rng):
    """A misidentification never seen: all of the uncertainty is the maps', whichever process the candidates are of."""
    whole = make_results(roles(rng, 0.0), table(rng, 500), process="one")
    both = halves(whole, process="another")
    one, two = (background.estimate(r, n_jpsi=1e9) for r in (whole, both))
    assert {c.weight for c in two.contributions} == {2 * one.contributions[0].weight}
    assert two.total.sigma == pytest.approx(2 * one.total.sigma)
    assert two.total.sigma == pytest.approx(sum(c.sigma for c in two.contributions), rel=0.1)


def test_the_counts_of_processes_are_independent(rng):
    """With known maps only the numbers of candidates are uncertain."""
    whole = make_results(roles(rng, 0.5), table(rng, 500), process="one")
    known = dataclasses.replace(background.measure(whole), sigma=np.zeros_like(background.measure(whole).sigma))
    rows = background.in_signal_region(whole.cuts)
    found = background.expect(whole.datasets["b"], 1.0, known, rows)
    assert background.sigma_of([[found], [found]]) == pytest.approx(2**0.5 * background.sigma_of([[found]]))
    assert background.sigma_of([[found, found]]) == pytest.approx(background.sigma_of([[found], [found]]))
    assert background.sigma_of([]) == 0.0


def test_candidates_outside_do_not_count_but_say_how_well_none_is_known(rng):
    results = make_results(roles(rng, 0.01), table(rng, 500, chi2=50.0))
    found = background.estimate(results, n_jpsi=1e9).contributions[0]
    assert (found.n_kinematic, found.n_bkg) == (0, 0.0)
    assert found.sigma == pytest.approx(100 * 1.841 * 0.9**2 * 0.01**2, rel=0.1)


def test_a_species_never_taken_for_another_still_has_an_uncertainty(rng):
    found = background.estimate(make_results(roles(rng, 0.0), table(rng, 500)), n_jpsi=1e9).contributions[0]
    assert found.n_bkg == 0.0
    assert found.sigma > 0.0


def test_inclusive_events_give_a_limit_that_enters_nothing(rng):
    results = make_results(roles(rng, 0.01), table(rng, 5))
    inclusive = DatasetMetadata(kind="inclusive", sqrt_s=M_JPSI)
    nothing = {"search": SelectionResult({"all": 1000, "signal_region": 0})}
    both = dataclasses.replace(
        results, datasets=results.datasets | {"i": DatasetResult(inclusive, 1000, 1000, nothing)}
    )
    found = background.estimate(both, n_jpsi=1e6)
    assert found.inclusive_limit == pytest.approx(2302.6, abs=0.1)
    assert found.total == background.estimate(results, n_jpsi=1e6).total


def test_missing_pieces_are_named(rng):
    with pytest.raises(ResultsError, match="no dataset of kind 'background' with the selection 'misid'"):
        background.estimate(Results({}, {}, {}))
    with pytest.raises(ResultsError, match="lack 'branching_fraction'"):
        background.estimate(make_results(roles(rng, 0.1, 100), table(rng, 5), branching_fraction=None))


def test_the_spectrum_holds_the_estimate(rng):
    rows = table(rng, 300, chi2=7.5)
    results = make_results(roles(rng, 0.02), rows)
    like = hist.Hist(hist.axis.Regular(20, 0, 20, name="chi2_4c"), hist.axis.Regular(10, 3.07, 3.12, name="m_kkee"))
    filled = background.spectrum(results, like, n_jpsi=1e9)
    assert filled.sum().value == pytest.approx(background.estimate(results, n_jpsi=1e9).total.value)
    assert filled[7, :].sum().value == pytest.approx(filled.sum().value)
    named = make_results(roles(rng, 0.02), rows, process="J/psi -> K+ K- pi+ pi-")
    one, two = (background.spectrum(r, like, n_jpsi=1e9) for r in (named, halves(named)))
    np.testing.assert_allclose(two.values(), one.values())


def run(processor, path, block, **metadata):
    with NtupleWriter(path) as writer:
        writer.extend(block)
    metadata = {"dataset": "d", "kind": "background", "sqrt_s": M_JPSI, "branching_fraction": 1.0} | metadata
    events = NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, metadata=metadata).events()
    return processor.process(events)["d"]


def test_weighted_signal_counts_what_the_search_selects(tmp_path):
    """Closure on a decay that does pass: K+ K+ e- e- itself, whose tracks are taken for what they are."""
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=M_JPSI)
    block = make_block(production.make_block(recipe, "signal", 0, 6000, 9))
    path = tmp_path / "signal.root"
    found = run(SearchProcessor(), path, block, selections=["search", "misid"])
    direct, stored = list(found["search"]["cutflow"].values())[-1], found["misid"]
    rows = stored["candidates"].columns
    results = make_results(stored["histograms"]["roles"], rows, n_produced=6000, branching_fraction=1.0)
    found = background.estimate(results, n_jpsi=6000)
    assert found.total.value == pytest.approx(direct, rel=0.1)


def test_continuum_is_part_of_the_total(rng):
    results = make_results(roles(rng, 0.01), table(rng, 5))
    record = DatasetMetadata(kind="continuum", sqrt_s=3.08, luminosity=167.0, blind=False)
    passed = {"search": SelectionResult({"all": 10, "signal_region": 1})}
    both = dataclasses.replace(results, datasets=results.datasets | {"c": DatasetResult(record, 10, 10, passed)})
    total = background.estimate(both).total
    exclusive = background.estimate(results).total.value
    assert total.value == pytest.approx(normalization.continuum(both).value + exclusive)
    assert "continuum" in total.source


def test_events_are_background_near_their_own_masses(rng):
    results = make_results(roles(rng, 0.01), table(rng, 5))
    record = DatasetMetadata(kind="continuum", sqrt_s=3.08, luminosity=167.0, blind=False)
    near = SelectionResult({"all": 10, "signal_region": 1}, candidates={name: np.array([0.9]) for name in M_KE_NAMES})
    added = {"c": DatasetResult(record, 10, 10, {"search": near})}
    for mass in (0.9, 1.2, 1.5):
        of = DatasetMetadata(kind="majorana", sqrt_s=M_JPSI, m_majorana=mass, majorana_mode="2nu")
        added[f"majorana_{mass}"] = DatasetResult(of, 10, 10, {})
    found = background.per_channel(dataclasses.replace(results, datasets=results.datasets | added), n_jpsi=1e9)
    assert list(found) == [None, 0.9, 1.2, 1.5]
    assert found[0.9].continuum == found[None].continuum
    assert [found[m].contributions[0].n_kinematic for m in found] == [5, 0, 5, 0]
    assert found[1.2].continuum.value == 0
    totals = background.totals(json.loads(json.dumps(background.to_json(found))))
    assert totals == {mass: estimate.total for mass, estimate in found.items()}
