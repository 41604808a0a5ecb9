"""Histograms hold what the view says, stage by stage, and nothing of hidden events."""

from __future__ import annotations

import hist
import numpy as np
import pytest

from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ArrayColumns, ChosenEvents
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.kinfit.fourc import CHI2_MAX
from jpsi_lnv.analysis.selection import search, steps
from jpsi_lnv.analysis.selection.chunk import Chunk
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import SECTION_III, STAGES
from jpsi_lnv.analysis.simulation import processes, production

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def block():
    recipe = production.Recipe(processes=((processes.SIGNAL, 1.0),), sqrt_s=3.0969)
    return make_block(production.make_block(recipe, "histograms", 0, 3000, 3))


@pytest.fixture(scope="module")
def view(block):
    return SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), SELECTION, 3.0969)


@pytest.fixture(scope="module")
def decisions(view):
    return steps.apply(SECTION_III, view)


@pytest.fixture(scope="module")
def filled(view, decisions):
    return search.fill(view, decisions)


def test_each_stage_holds_the_events_of_the_cut_flow(view, decisions, filled):
    flow = steps.count(SECTION_III, decisions)
    for stage in STAGES:
        assert filled["m_kkee"][stage, :].sum(flow=True) == flow[stage]
        assert filled["chi2_4c"][stage, :].sum(flow=True) == flow[stage]
        assert filled["m_ke"][stage, :].sum(flow=True) == 4 * flow[stage]


def test_each_stage_holds_the_candidates_that_reach_it(view, decisions, filled):
    reached = steps.depth(decisions)[view.best.event]
    for i, stage in enumerate(STAGES, start=len(SECTION_III) - len(STAGES)):
        plain = hist.Hist(search.mass_axis(KKEE), storage=hist.storage.Int64()).fill(view.best_mass[reached > i])
        assert filled["m_kkee"][stage, :] == plain
        plain = hist.Hist(search.pair_axis(KKEE), storage=hist.storage.Int64()).fill(
            view.pair_masses[reached > i].ravel()
        )
        assert filled["m_ke"][stage, :] == plain


def test_an_n_minus_1_distribution_cut_at_its_value_gives_the_final_count(view, decisions, filled):
    final = int(decisions.all(axis=0).sum())
    chi2 = filled["n_minus_1_chi2_4c"]
    assert chi2[: int(SELECTION.chi2_4c_max)].sum() - chi2.view(flow=True)[0] in {
        final,
        final - chi2.view(flow=True)[0],
    }
    mass = view.best_mass[steps.passes_all_but(decisions, [len(SECTION_III) - 1])[view.best.event]]
    assert filled["n_minus_1_signal_region"].sum(flow=True) == len(mass)
    assert ((mass >= SELECTION.m_signal_min) & (mass <= SELECTION.m_signal_max)).sum() == final


def test_the_plane_of_chi2_and_mass_allows_another_cut_without_a_rerun(view, decisions, filled):
    plane = filled["chi2_4c_m_kkee"]
    low, high = (round((edge - 2.9) / 0.005) for edge in (3.07, 3.12))
    expected = steps.passes_all_but(decisions, [8])[view.best.event] & (view.best.chi2_4c < 50)
    assert plane[:50, low:high].sum() == expected.sum()


def test_an_empty_chunk_has_every_histogram(view, decisions):
    nobody = SearchEvents(ChosenEvents(view.columns, np.zeros(view.n_events, bool)), SELECTION, 3.0969)
    nothing = search.fill(nobody, steps.apply(SECTION_III, nobody))
    assert all(h.sum(flow=True) == 0 for h in nothing.values())
    assert nothing.keys() == search.book(KKEE).keys()


def test_no_fit_falls_off_the_axis_of_chi2(view, filled):
    """The axis ends where the fits are decided: every candidate with a chi2 lies on it."""
    assert search.chi2_axis(KKEE).edges[-1] == search.chi2_difference_axis(KKEE).edges[-1] == CHI2_MAX
    assert filled["chi2_4c"]["kinematic_fit", :].values().sum() == view.best.has_chi2.sum()


def test_table_has_one_row_per_selected_event_and_its_masses(view, decisions):
    selected = decisions.all(axis=0)
    table = search.candidates(view, selected)
    assert {len(values) for values in table.values()} == {int(selected.sum())}
    np.testing.assert_array_equal(table["event"], view.columns.scalar("event")[selected])
    assert (table["chi2_kkee"] < SELECTION.chi2_4c_max).all()
    assert (table["chi2_kkee"] < np.minimum(table["chi2_kkpipi"], table["chi2_kkkk"])).all()
    pairs = table["m_k1e1"] + table["m_k2e2"], table["m_k1e2"] + table["m_k2e1"]
    assert all((total < 3.0969 + 1e-6).all() for total in pairs)
    assert (table["e_over_p_e1"] > 0.8).all()
    assert (table["e_over_p_k2"] < 0.8).all()


def test_pairs_of_the_veto_are_those_of_candidates_that_pass_all_else(view, decisions, filled):
    veto = [step.name for step in SECTION_III].index("conversion_veto")
    rest = steps.passes_all_but(decisions, [veto])[view.best.event]
    electrons = view.best_tracks[rest, 2:]
    opposite = [
        np.count_nonzero(view.is_good[a:b] & (view.charge[a:b] == -view.charge[e]))
        for e, a, b in zip(
            electrons.ravel(),
            *np.repeat(
                np.stack([view.offsets[view.best.event[rest]], view.offsets[view.best.event[rest] + 1]]), 2, axis=1
            ),
            strict=True,
        )
    ]
    assert filled["conversion_delta_xy"].sum(flow=True) == sum(opposite) > 0
    lost = np.count_nonzero(rest & view.has_conversion)
    below = filled["conversion_m_ee"][: hist.loc(SELECTION.conversion_m_ee_max) : sum]
    assert lost <= below <= 4 * lost


def test_a_display_has_the_tracks_of_each_selected_event(view, decisions):
    selected = decisions.all(axis=0)
    table, shown = search.candidates(view, selected), search.display(view, selected)
    assert {len(values) for values in shown.values()} == {int(selected.sum())}
    momentum = np.sqrt(1 + shown["tanl_k1"] ** 2) / np.abs(shown["kappa_k1"])
    np.testing.assert_allclose(momentum, table["p_k1"], rtol=1e-6)
    np.testing.assert_array_equal(np.sign(shown["kappa_k1"]), table["charge"])
    cuts = view.cuts
    for electron in ("e1", "e2"):
        touches = np.abs(shown[f"delta_xy_{electron}"]) < cuts.conversion_delta_xy_max
        inside = (shown[f"radius_{electron}"] > cuts.conversion_radius_min) & (
            shown[f"radius_{electron}"] < cuts.conversion_radius_max
        )
        assert not (touches & inside & (shown[f"m_ee_{electron}"] < cuts.conversion_m_ee_max)).any()


@pytest.mark.parametrize(("kind", "is_there"), [("data", True), ("signal", False)])
def test_displays_are_stored_for_data_alone(view, kind, is_there):
    metadata = DatasetMetadata(kind=kind, sqrt_s=3.0969, blind=False)
    found = search.select(Chunk(view.columns, "d", metadata, SELECTION))["search"]["candidates"]
    assert ("dr_k1" in found) == is_there


def test_columns_of_nan_pass_no_event(block):
    """The whole search over events in which every number that can be NaN is."""
    values = {n: np.full_like(v, np.nan) if v.dtype.kind == "f" else v for n, v in block.values.items()}
    metadata = DatasetMetadata.from_dict("nan", {"kind": "signal", "sqrt_s": 3.0969})
    chunk = Chunk(ArrayColumns(values, block.offsets, block.n_events), "nan", metadata, SELECTION)
    flow = list(search.SEARCH.select(chunk)["search"]["cutflow"].values())
    assert (flow[0], flow[-1]) == (block.n_events, 0)
