"""Other decays than the publication's go from simulation to the limit by their cards alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import chi2

from jpsi_lnv.analysis import cards
from jpsi_lnv.analysis.constants import SPECIES_MASS
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter, make_block
from jpsi_lnv.analysis.kinematics import four_momentum, invariant_mass
from jpsi_lnv.analysis.results import read
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import apply, of_channel
from jpsi_lnv.analysis.simulation import processes, production
from jpsi_lnv.analysis.simulation.particles import signed_charge
from jpsi_lnv.processors.books.fileset import Dataset
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.run import RunOptions, _parts

OTHERS = [name for name in cards.names() if name != cards.DEFAULT]
N = 3000


def recipe(process):
    return production.Recipe(processes=((process, 1.0),), sqrt_s=3.0969, keep=("muon",))


@pytest.fixture(scope="module", params=OTHERS)
def searched(request):
    """The requirements of a card and the search for its signal."""
    cuts = cards.read(request.param).cuts
    block = make_block(production.make_block(recipe(processes.signal(cuts.channel)), request.param, 0, N, 11))
    return cuts, SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, 3.0969)


def test_the_efficiency_closes_on_truth(searched):
    """Selected candidates are the generated particles, and those that were generated and seen are found."""
    cuts, view = searched
    channel, steps = cuts.channel, of_channel(cuts.channel)
    decisions = apply(steps, view)
    selected = decisions.all(axis=0)
    assert selected.mean() > 0.05
    chosen = selected[view.best.event]
    true = true_codes(view)[view.best_tracks[chosen]]
    sign = np.sign(true[:, 0]) * np.sign(processes.codes(channel.slots)[0])
    is_right = (true * sign[:, None] == np.array(processes.codes(channel.slots))).all(axis=1)
    assert is_right.mean() > 0.98
    # Of all events: those whose particles are all good tracks and taken for what they are have a candidate of them.
    code = np.where(is_of_the_decay(view), true_codes(view), 0)
    seen = np.ones(view.n_events, dtype=bool)
    for species in channel.kinds:
        own = view.taken_for(species) & (np.abs(code) == abs(processes.POSITIVE[species]))
        seen &= view.count_tracks(own) >= channel.species.count(species)
    has_candidate = decisions[[s.name for s in steps].index("charge_pattern")]
    found = (has_candidate & view.has_pid)[seen & view.has_pid & view.has_photons]
    # Of photons some are not those of the decay, and the window of a mass takes the rest.
    assert found.mean() > 0.8 if channel.n_photons else found.all()


def test_the_mass_is_that_of_the_generated_particles(searched):
    cuts, view = searched
    channel = cuts.channel
    assert abs(np.median(view.best_mass) - 3.0969) < 0.02
    if channel.n_photons:
        fitted = invariant_mass(view.fitted_p4[view.best.has_chi2].sum(axis=1))
        np.testing.assert_allclose(fitted, 3.0969, rtol=1e-6)
        return
    p, species = view._start.p, np.array(channel.species if view._start.p.shape[1] > 1 else (0,) * len(channel.slots))
    p3 = p[view._start.cand, species]
    total = four_momentum(p3, [SPECIES_MASS[s] for s in channel.species]).sum(axis=1)
    np.testing.assert_allclose(view.mass, invariant_mass(total), rtol=1e-9)


def test_muons_need_the_columns_of_their_chambers():
    cuts = cards.read("jpsi_emu").cuts
    plain = production.Recipe(processes=((processes.signal(cuts.channel), 1.0),), sqrt_s=3.0969)
    block = make_block(production.make_block(plain, "plain", 0, 20, 11))
    view = SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, 3.0969)
    with pytest.raises(SchemaError, match="muons need the muon chambers, and the file has no Track_muc_depth; wanted"):
        view.is_muon  # noqa: B018


PI0 = "pi0: gamma1 gamma2 0.115 0.15"
OWN = {
    "two pi0": {
        "final_state": "pi+ pi- gamma gamma gamma gamma",
        "intermediates": f"{PI0}, pi0: gamma3 gamma4 0.115 0.15",
    },
    "omega": {
        "final_state": "K+ K- pi+ pi- gamma gamma",
        "intermediates": f"{PI0}, omega(782): pi1 pi2 gamma1 gamma2 0.72 0.84",
    },
    "K_S": {"final_state": "K+ pi+ pi- pi-", "intermediates": "K(S)0: pi1 pi2 0.487 0.51"},
    "neutrino": {"final_state": "K+ pi+ pi- mu-", "missing": "nu(mu)", "pid_identify": "e mu pi k"},
}


@pytest.mark.parametrize("name", OWN)
def test_fits_of_photons_masses_and_a_missing_particle_close_on_truth(name):
    """chi2 is about the number of constraints, and what the fit holds masses and four-momentum to is what they are."""
    wide = {"alternatives": "", "m_signal_min": 3.0, "m_signal_max": 3.2}
    cuts = dataclasses.replace(SELECTION, **wide, **OWN[name])
    channel = cuts.channel
    block = make_block(production.make_block(recipe(processes.signal(channel)), name, 0, 2000, 11))
    view = SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, 3.0969)
    ok = view.best.has_chi2
    assert ok.sum() > 25
    assert abs(np.median(view.best_mass[ok]) - 3.0969) < 0.03
    for mass in channel.constraints.masses:
        fitted = invariant_mass(view.fitted_p4[ok][:, list(mass.places)].sum(axis=1))
        np.testing.assert_allclose(fitted, mass.mass, rtol=1e-4)
    # A K_S flies, and its pions are measured where they pass the interaction point.
    median = chi2.median(channel.constraints.ndf) * (1.5 if name == "K_S" else 1.0)
    assert 0.6 * median < np.median(view.best.chi2_4c[ok]) < 1.7 * median
    missing = view.p4_total - view.fitted_p4[ok].sum(axis=1)
    if channel.missing:
        np.testing.assert_allclose(missing[:, 3], np.linalg.norm(missing[:, :3], axis=1), atol=1e-4)
    else:
        np.testing.assert_allclose(missing, 0.0, atol=1e-4)


def test_photons_need_the_columns_of_showers():
    cuts = cards.read("jpsi_kkpi0").cuts
    block = make_block(production.make_block(recipe(processes.signal(cuts.channel)), "plain", 0, 20, 11))
    values = {name: of for name, of in block.values.items() if not name.startswith("Shower")}
    offsets = {name: of for name, of in block.offsets.items() if name != "Shower"}
    view = SearchEvents(ArrayColumns(values, offsets, block.n_events), cuts, 3.0969)
    with pytest.raises(SchemaError, match="photons need the showers, and the file has none; wanted"):
        view.has_photons  # noqa: B018


def test_crowded_events_are_counted():
    cuts = cards.read("jpsi_kkpi0").cuts
    block = make_block(production.make_block(recipe(processes.signal(cuts.channel)), "crowd", 0, 60, 11))
    view = SearchEvents(ArrayColumns(block.values, block.offsets, block.n_events), cuts, 3.0969)
    assert "too_many_particles" not in view.fit_status
    has_all = view.has_all
    crowded = view.like()
    photons = view.photons
    many = np.repeat(np.arange(len(photons.event)), 17)
    vars(crowded)["photons"] = type(photons)(photons.p4[many], photons.event[many], photons.distance[many])
    assert crowded.fit_status["too_many_particles"] == has_all.sum() > 0
    assert not len(crowded.best.event)


def is_of_the_decay(view):
    """Return which tracks are of daughters of the J/psi, with the charge of these."""
    row = np.maximum(true_rows(view), 0)
    sign = signed_charge(view.columns.flat("Gen", "pdg_id"))
    return (view.columns.flat("Gen", "mother")[row] == 0) & (sign[row] == view.charge)


def true_rows(view):
    """Return the generated particle of every track as a row of the chunk, -1 without."""
    row = view.columns.flat("Track", "gen").astype(int)
    event = np.repeat(np.arange(view.n_events), np.diff(view.offsets))
    return np.where(row >= 0, view.columns.offsets("Gen")[event] + row, -1)


def true_codes(view):
    """Return the code of the generated particle of every track, 0 without."""
    row = true_rows(view)
    return np.where(row >= 0, view.columns.flat("Gen", "pdg_id")[np.maximum(row, 0)], 0)


def lnv(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


@pytest.mark.parametrize("name", OTHERS)
def test_a_card_goes_from_simulation_to_the_limit(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    channel = cards.read(name).cuts.channel
    made = ["simulate", "--card", name, "--events", 1500, "--keep", "muon", "--executor", "iterative"]
    assert lnv(*made, "--process", "signal") == 0
    (simulated,) = (tmp_path / "samples").glob("signal_*/fileset.json")
    plain = json.loads(simulated.read_text())
    files = plain["signal"]["files"]
    plain["signal"]["files"] = {str(simulated.parent / file): tree for file, tree in files.items()}
    with NtupleWriter(tmp_path / "data.root", basket_events=1000) as writer:
        writer.extend(production.make_block(recipe(processes.BACKGROUNDS["kkpipi"]), "data", 0, 500, 5))
    data = {"kind": "data", "sqrt_s": 3.0969, "is_simulation": True, "n_jpsi": 1e7, "blind": False}
    metadata = DatasetMetadata.from_dict("data", data).to_dict()
    plain["data"] = {"files": {str(tmp_path / "data.root"): "Events"}, "metadata": metadata}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    assert lnv("fileset", "complete", "plain.json", "--output", "fileset.json") == 0
    assert lnv("run", "fileset.json", "--card", name, "--executor", "iterative") == 0
    assert lnv("systematics") != 0
    assert f"no control samples for its tracks {channel.tracks[0]}" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "results" / "systematics.json").exists()
    assert lnv("limits") == 0
    assert "simulated statistics only" in " ".join(capsys.readouterr().out.split())
    assert lnv("report", "--no-figures") == 0
    said = capsys.readouterr().out
    assert channel.in_powers in said
    assert channel.signed in said
    assert not {"kaon", "K±"} & set(said.split()) or "K+" in channel.final_state
    assert "KKee" not in said
    assert "OTHER CUTS" not in said
    assert f"chi2 of the {4 + len(channel.intermediates)}C fit" in said
    result = read(tmp_path / "results" / "accumulator.zip")
    assert result.provenance["card"]["name"] == name
    assert result.channel == channel
    search = result.datasets["signal"].selections["search"]
    assert search.n_passed > 0
    assert channel.mass in search.histograms
    assert search.histograms[channel.mass].axes[1].label == f"$M({channel.latex_signed})$ [GeV/$c^2$]"
    assert set(channel.pair_names) <= search.candidates.keys()
    for mass in channel.intermediates:
        stored = search.candidates[f"m_{''.join(mass.particles)}"]
        assert len(stored) == search.n_passed
        assert ((stored > mass.window[0]) & (stored < mass.window[1])).all()
    assert {f"e_{name}" for name in channel.particles[len(channel.slots) :]} <= search.candidates.keys()
    (first, *_) = json.loads((tmp_path / "results" / "limits.json").read_text())["limits"]
    assert first["branching_fraction_ul"] > 0
    assert first["efficiency"] == search.n_passed / 1500
    assert result.cuts != SELECTION


def test_parts_of_one_card_are_not_used_for_another(tmp_path):
    metadata = DatasetMetadata(kind="signal", sqrt_s=3.0969)
    fileset = {"signal": Dataset("signal", metadata, ())}
    keys = set()
    for name in cards.names():
        card = cards.read(name)
        options = RunOptions(output=tmp_path, card=card, cuts=card.cuts, box=card.cuts)
        keys.add(_parts(fileset, options)._keys["signal"])
    assert len(keys) == len(cards.names())
