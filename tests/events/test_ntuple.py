"""The coffea schema, its behaviors, and the flat columns agree with each other and with what was written."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.columns import ChunkColumns
from jpsi_lnv.analysis.events.ntuple import BesSchema
from jpsi_lnv.analysis.events.ntuple_writer import NtupleWriter

pytestmark = pytest.mark.fast


def open_events(path, **kwargs):
    return NanoEventsFactory.from_root({str(path): "Events"}, schemaclass=BesSchema, **kwargs).events()


@pytest.fixture
def ntuple(tmp_path, toy_columns):
    path = tmp_path / "toy.root"
    with NtupleWriter(path) as writer:
        writer.extend(toy_columns)
    return path


def test_flat_columns_are_what_was_written(ntuple, toy_columns):
    columns = ChunkColumns(open_events(ntuple))
    offsets, kappa = toy_columns["Track_kappa"]
    assert columns.n_events == 50
    np.testing.assert_array_equal(columns.offsets("Track"), offsets)
    np.testing.assert_array_equal(columns.flat("Track", "kappa"), kappa.astype(np.float32))
    np.testing.assert_array_equal(columns.scalar("ip_x"), toy_columns["ip_x"].astype(np.float32))
    assert not columns.has("Track", "kappa_e")


def test_flat_columns_of_a_range_of_entries(ntuple, toy_columns):
    columns = ChunkColumns(open_events(ntuple, entry_start=10, entry_stop=25))
    offsets, kappa = toy_columns["Track_kappa"]
    np.testing.assert_array_equal(columns.offsets("Track"), offsets[10:26] - offsets[10])
    np.testing.assert_array_equal(columns.flat("Track", "kappa"), kappa[offsets[10] : offsets[25]].astype(np.float32))


def test_flat_columns_of_selected_events(ntuple):
    events = open_events(ntuple)
    chosen = events[np.arange(50) % 3 == 0]
    columns = ChunkColumns(chosen)
    np.testing.assert_array_equal(np.diff(columns.offsets("Track")), ak.num(chosen.Track.kappa))
    np.testing.assert_array_equal(columns.flat("Track", "dz"), ak.to_numpy(ak.flatten(chosen.Track.dz)))


def test_a_branch_is_read_only_when_used(ntuple):
    log = []
    columns = ChunkColumns(open_events(ntuple, access_log=log))
    columns.flat("Track", "kappa")
    assert {entry.branch for entry in log} == {"nTrack", "Track_kappa"}


def test_distances_are_to_the_interaction_point_of_the_own_event(ntuple, toy_columns):
    events = open_events(ntuple)
    offsets, _ = toy_columns["Track_kappa"]
    event = np.repeat(np.arange(50), np.diff(offsets))
    values = {
        name: toy_columns[f"Track_{name}"][1].astype(np.float32).astype(float)
        for name in ("dr", "phi0", "kappa", "dz", "tanl")
    }
    place = {axis: toy_columns[f"ip_{axis}"].astype(np.float32).astype(float)[event] for axis in "xyz"}
    dr, _, dz = kinematics.closest_approach(**values, **place, field=1.0)
    np.testing.assert_allclose(ak.flatten(events.Track.r_xy), np.abs(dr), rtol=1e-12)
    np.testing.assert_allclose(ak.flatten(events.Track.r_z), np.abs(dz), rtol=1e-12)


def test_behaviors_survive_event_and_track_masks(ntuple):
    events = open_events(ntuple)
    keep = np.arange(50) % 2 == 1
    assert ak.all(events.Track.r_xy[keep] == events[keep].Track.r_xy)
    positive = events.Track.charge > 0
    assert ak.all(events.Track.r_z[positive] == events.Track[positive].r_z)
    assert ak.all(ak.flatten(events.Track.r_z) == ak.flatten(events.Track).r_z)


def test_four_momenta_have_the_mass_of_their_species(ntuple):
    tracks = open_events(ntuple).Track
    np.testing.assert_allclose(ak.flatten(tracks.p4("K").mass), 0.493677, rtol=1e-9)
    np.testing.assert_allclose(ak.flatten(tracks.p4("E").p), ak.flatten(tracks.p), rtol=1e-12)
    for name in ("pt", "phi", "theta"):
        np.testing.assert_allclose(
            ak.flatten(getattr(tracks.p4("pi"), name)), ak.flatten(getattr(tracks, name)), atol=1e-12
        )
    with pytest.raises(ValueError, match="no species 'tau'; there are e, mu, pi, K and p"):
        tracks.p4("tau")


def test_photons_point_away_from_the_interaction_point(ntuple):
    showers = open_events(ntuple).Shower
    np.testing.assert_allclose(ak.flatten(showers.p4.mass), 0, atol=1e-6)
    np.testing.assert_allclose(ak.flatten(showers.p4.energy), ak.flatten(showers.energy), rtol=1e-6)
    assert ak.all(abs(showers.cos_theta) <= 1)


def test_generated_particles_add_up(ntuple):
    gen = open_events(ntuple).Gen
    np.testing.assert_allclose(ak.sum(gen.p4, axis=1).x, ak.sum(gen.px, axis=1), rtol=1e-5)


def test_a_missing_branch_is_named(tmp_path):
    import uproot

    with uproot.recreate(tmp_path / "bad.root") as file:
        file.mktree("Events", {"run": "int32", "sqrt_s": "float32"}).extend(
            {"run": np.zeros(3, np.int32), "sqrt_s": np.zeros(3, np.float32)}
        )
    with pytest.raises(SchemaError, match="'event' is missing"):
        open_events(tmp_path / "bad.root")
