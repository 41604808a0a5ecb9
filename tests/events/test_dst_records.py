"""Links, fallbacks and truth of the DST reader, on constructed collections and on altered ones of the real file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import awkward as ak
import numpy as np
import pytest

from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst import COLLECTIONS, open_dst
from jpsi_lnv.analysis.events.dst_records import NO_LINK, row_of
from jpsi_lnv.analysis.events.dst_tracks import Event, shower_columns, track_columns
from jpsi_lnv.analysis.events.dst_truth import gen_columns, match_tracks

pytestmark = pytest.mark.fast

dst_fallback = pytest.importorskip("jpsi_lnv.analysis.events.dst_fallback")


def records(events):
    """Records of lists of dictionaries."""
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in events])])
    return dst_fallback.AwkwardRecords(offsets, ak.Array([r for e in events for r in e]).layout)


def test_links_are_followed_within_their_event():
    of = records([[{"x": 1.0}, {"x": 2.0}], [], [{"x": 3.0}]])
    row = row_of(of, np.array([0, 0, 0, 1, 2, 2]), np.array([1, 0, 2, 0, 0, -1]))
    assert row.tolist() == [1, 0, NO_LINK, NO_LINK, 2, NO_LINK]
    assert of.pick("x", row, -9.0).tolist() == [2.0, 1.0, -9.0, -9.0, 3.0, -9.0]


def test_a_collection_without_records_has_columns_of_the_right_shape(boss_file):
    with open_dst(str(boss_file)) as dst:
        none = {name: dst.records(collection, np.arange(0)) for name, collection in COLLECTIONS.items()}
    assert none["kal"].column("m_zhelix", 5).shape == (0, 5)
    assert row_of(none["kal"], np.arange(0), np.arange(0)).tolist() == []
    assert [len(a) for a in none["links"].nested("m_tofTrackIds")] == [1, 0]


def particle(pdg, index, mother):
    zero = dict.fromkeys(("m_zInitialMomentum", "m_xInitialPosition", "m_yInitialPosition", "m_zInitialPosition"), 0.0)
    momentum = {"m_xInitialMomentum": float(index), "m_yInitialMomentum": 0.0, "m_eInitialMomentum": 1.0}
    return {"m_particleID": pdg, "m_trackIndex": index, "m_mother": mother, **zero, **momentum}


def test_truth_begins_with_the_jpsi_and_mothers_are_renumbered():
    before = [particle(23, 0, -99), particle(4, 1, 0), particle(443, 2, 1), particle(11, 3, -99)]
    events = [[*before, particle(113, 4, 2), particle(111, 5, 2), particle(211, 6, 4)], [], [particle(11, 0, -99)]]
    offsets, columns, place = gen_columns(records(events))
    assert offsets.tolist() == [0, 4, 4, 5]
    assert columns["pdg_id"].tolist() == [443, 113, 111, 211, 11]
    assert columns["mother"].tolist() == [-1, 0, 0, 1, -1]
    assert place.tolist() == [-1, -1, 0, -1, 1, 2, 3, 0]
    assert columns["px"].tolist() == [2.0, 4.0, 5.0, 6.0, 0.0]


def test_particles_are_found_by_their_index_not_by_their_place():
    offsets, columns, _ = gen_columns(records([[particle(443, 7, -99), particle(211, 9, 7)]]))
    assert offsets.tolist() == [0, 2]
    assert columns["mother"].tolist() == [-1, 0]


def test_a_track_belongs_to_the_particle_of_most_of_its_hits():
    particles = records([[particle(443, 0, -99), particle(211, 1, 0), particle(-211, 2, 0)], [particle(11, 0, -99)]])
    _, _, place = gen_columns(particles)
    pairs = [(1, 0), (2, 0), (2, 0), (1, 1), (2, 1), (5, 2), (5, 2), (1, 2)]
    hits = records([[{"key": k, "val": v} for k, v in pairs], []])
    owner, number = np.array([0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, 0])
    # Most hits; of equal numbers the first; a particle that is not recorded; no hits at all, twice.
    assert match_tracks(hits, particles, place, owner, number).tolist() == [2, 1, -1, -1, -1]


@pytest.fixture(scope="module")
def event(boss_file):
    with open_dst(str(boss_file)) as dst:
        return Event(**{name: dst.records(collection, np.arange(10)) for name, collection in COLLECTIONS.items()})


@dataclass(frozen=True)
class Altered:
    """Records with some members of other values."""

    records: object
    members: dict

    @property
    def offsets(self):
        return self.records.offsets

    def column(self, name, *shape):
        return self.members[name] if name in self.members else self.records.column(name, *shape)

    def pick(self, name, row, fill, *shape):
        if name not in self.members:
            return self.records.pick(name, row, fill, *shape)
        has_row = (row != NO_LINK).reshape(-1, *(1 for _ in shape))
        return np.where(has_row, self.members[name][row], fill)

    def pick_all(self, members, row, fill):
        return {name: self.pick(name, row, fill, *shape) for name, shape in members.items()}

    def nested(self, name):
        return self.members[name] if name in self.members else self.records.nested(name)


def altered(collection, **members):
    return Altered(collection, members)


def test_a_failed_refit_leaves_the_fit_of_the_mdc(event):
    stat = event.kal.column("m_stat", 5).copy()
    stat[3, 3] = 1  # the kaon hypothesis of one track
    _, before = track_columns(event)
    _, after = track_columns(replace(event, kal=altered(event.kal, m_stat=stat)))
    changed = np.flatnonzero(after["kappa_k"] != before["kappa_k"])
    assert len(changed) == 1
    np.testing.assert_array_equal(after["kappa"], before["kappa"])
    np.testing.assert_array_equal(after["kappa_p"], before["kappa_p"])
    helix = np.array([after[f"{n}_k"][changed[0]] for n in schema.HELIX])
    assert np.any(np.all(event.mdc.column("m_helix", 5) == helix, axis=1))
    assert after["cov0_k"][changed[0]] > 0
    assert after["cov5_k"][changed[0]] > 0


def test_a_track_without_refit_dedx_tof_or_cluster_is_kept(event):
    none = np.full(event.links.offsets[-1], -1)
    ids = np.arange(len(none) + 1), none
    links = altered(event.links, m_mdcKalTrackId=none, m_mdcDedxId=none, m_emcShowerId=none, m_tofTrackIds=ids)
    offsets, columns = track_columns(replace(event, links=links))
    assert offsets[-1] == 19
    np.testing.assert_array_equal(columns["kappa"], columns["kappa_k"])
    assert np.all(np.isfinite(columns["kappa"]))
    for name in ("dedx_n_hits", "tof_sigma", "tof_quality", "emc_energy"):
        assert not columns[name].any()


def test_tof_takes_the_good_record_before_the_precise_one(event):
    quality = event.tof.column("m_quality").copy()
    quality[:] = 4
    _, poor = track_columns(replace(event, tof=altered(event.tof, m_quality=quality)))
    _, usual = track_columns(event)
    # The cluster goes first whatever its quality, so the same records are taken.
    np.testing.assert_array_equal(poor["tof_sigma"], usual["tof_sigma"])
    assert set(poor["tof_quality"]) == {0, 4}


def test_an_event_without_tracks_has_only_showers(event):
    number = np.full(event.links.offsets[-1], -1)
    links = altered(event.links, m_mdcTrackId=number)
    offsets, columns = track_columns(replace(event, links=links))
    assert offsets.tolist() == [0] * 11
    assert all(len(values) == 0 for values in columns.values())
    showers, _ = shower_columns(replace(event, links=links))
    assert showers[-1] == event.emc.offsets[-1]
