"""Tag and probe: what the steps of J/psi -> e+ e- (gamma) and J/psi -> pi0 K+ K- ask of a chunk of events.

A tag is one identified track. What the initial four-momentum leaves after the tag and the neutral particles is the
probe: its momentum is known whether or not its track was found, and its species whether or not it was identified.
Both tracks of an event can be tags.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import P_TO_RADIUS, SPECIES_MASS, Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum
from jpsi_lnv.analysis.objects import photons, pid, tracks
from jpsi_lnv.analysis.selection.control_cuts import CONTROL, ControlCuts
from jpsi_lnv.analysis.selection.search_events import SearchEvents

NO_TRACK = -1
# Front of the barrel's crystals in cm.
EMC_RADIUS = 95.0
N_BODY_TRACKS = 2


class ProbeEvents(ABC):
    """A view of a chunk of events with tags and probes of one species.

    Args:
        columns: The chunk's columns.
        cuts: The requirements of the search, which define good tracks and identification.
        sqrt_s: Centre-of-mass energy in GeV.
        control: The requirements of tag and probe.
    """

    species: ClassVar[Species]

    def __init__(self, columns: Columns, cuts: Cuts, sqrt_s: float, control: ControlCuts = CONTROL) -> None:
        self.columns = columns
        self.control = control
        self.search = SearchEvents(columns, cuts, sqrt_s)
        self.n_events = columns.n_events

    @cached_property
    def p4(self) -> FloatArray:
        """Four-momenta of all tracks as the probe's species, shape (tracks, 4), in GeV."""
        p, _ = tracks.read_momenta(self.columns, self.search.frame)
        return four_momentum(p[:, self.species if p.shape[1] > 1 else 0], SPECIES_MASS[self.species])

    @cached_property
    def identification(self) -> pid.Identification:
        """Confidence levels of all tracks, as the search makes them."""
        return pid.identify(self.columns, self.search.cuts)

    @property
    def _is_measured(self) -> BoolArray:
        """Good tracks with confidence levels, shape (tracks,)."""
        return self.search.is_good & (self.identification.ndof > 0)

    @property
    @abstractmethod
    def is_identified(self) -> BoolArray:
        """Good tracks that pass the search's identification of the species, shape (tracks,)."""

    @cached_property
    def photons(self) -> photons.Photons:
        """Selected photons."""
        return photons.select(self.columns)

    @cached_property
    def tag(self) -> IntArray:
        """Track index of every tag, shape (N,)."""
        p = np.linalg.norm(self.p4[:, :3], axis=1)
        return np.flatnonzero(self.is_identified & (p > self.control.p_tag_min))

    @cached_property
    def event(self) -> IntArray:
        """Event of every tag, shape (N,)."""
        return self._event_of_track[self.tag]

    @cached_property
    def _event_of_track(self) -> IntArray:
        return np.repeat(np.arange(self.n_events), np.diff(self.search.offsets))

    @cached_property
    def against_tag(self) -> FloatArray:
        """What the initial four-momentum leaves after the tag, shape (N, 4), in GeV."""
        return initial_four_momentum(self.search.sqrt_s) - self.p4[self.tag]

    @property
    @abstractmethod
    def recoil(self) -> FloatArray:
        """Four-momentum expected of the probe, shape (N, 4), in GeV; NaN where there is none."""

    @property
    @abstractmethod
    def m2_recoil_max(self) -> float:
        """Half width of the window of the recoil's squared mass in GeV^2/c^4."""

    @cached_property
    def m2_difference(self) -> FloatArray:
        """Squared mass of the recoil less that of the species, shape (N,), in GeV^2/c^4."""
        return mass_squared(self.recoil) - SPECIES_MASS[self.species] ** 2

    @cached_property
    def has_recoil_mass(self) -> BoolArray:
        """Tags whose recoil has the probe's mass."""
        return np.abs(self.m2_difference) < self.m2_recoil_max

    @cached_property
    def p_probe(self) -> FloatArray:
        """Momentum expected of the probe in GeV/c, shape (N,)."""
        return np.linalg.norm(self.recoil[:, :3], axis=1)

    @cached_property
    def cos_theta_probe(self) -> FloatArray:
        """cos(theta) expected of the probe, shape (N,)."""
        return self.recoil[:, 2] / self.p_probe

    @cached_property
    def in_acceptance(self) -> BoolArray:
        """Tags whose probe is expected within the acceptance and fast enough."""
        inside = np.abs(self.cos_theta_probe) < self.search.cuts.cos_theta_max
        return self.has_recoil_mass & inside & (self.p_probe > self.control.p_probe_min)

    @cached_property
    def probe(self) -> IntArray:
        """Good track of the other charge nearest to the expected direction, or `NO_TRACK`, shape (N,)."""
        tag, track = photons.pairs(self.event, self.search.offsets)
        charge = self.search.charge.astype(np.int64)
        fits = self.search.is_good[track] & (charge[track] == -charge[self.tag[tag]]) & self.in_acceptance[tag]
        tag, track = tag[fits], track[fits]
        angle = photons.opening_angle(self.p4[track, :3], self.recoil[tag, :3])
        near = np.flatnonzero(angle < self.control.probe_angle_max)
        order = near[np.argsort(angle[near], kind="stable")]
        of_tag, first = np.unique(tag[order], return_index=True)
        found = np.full(len(self.tag), NO_TRACK)
        found[of_tag] = track[order[first]]
        return found

    @cached_property
    def is_found(self) -> BoolArray:
        """Accepted tags whose probe has a track: the numerator of the tracking efficiency."""
        return self.in_acceptance & (self.probe != NO_TRACK)

    @cached_property
    def is_clean(self) -> BoolArray:
        """Tags with a found probe and no further good track: the denominator of the PID efficiency."""
        return self.is_found & (self.search.n_good == N_BODY_TRACKS)[self.event]

    @cached_property
    def probe_is_identified(self) -> BoolArray:
        """Clean tags whose probe is identified: the numerator of the PID efficiency."""
        return self.is_clean & self.is_identified[self.probe] if len(self.tag) else np.zeros(0, dtype=np.bool_)

    def any_tag(self, decision: BoolArray) -> BoolArray:
        """Return which events have a tag with a decision, shape (events,)."""
        has_any = np.zeros(self.n_events, dtype=np.bool_)
        has_any[self.event[decision]] = True
        return has_any


class ElectronProbes(ProbeEvents):
    """J/psi -> e+ e- (gamma): the photon of a radiative decay leaves the probe less momentum than the tag."""

    species = Species.E

    @cached_property
    def is_identified(self) -> BoolArray:
        """Good tracks that are electrons."""
        return self._is_measured & pid.is_electron(self.identification.cl, self.search.e_over_p, self.search.cuts)

    @property
    def m2_recoil_max(self) -> float:
        """Half width of the window of the recoil's squared mass in GeV^2/c^4."""
        return self.control.m2_recoil_electron_max

    @cached_property
    def recoil(self) -> FloatArray:
        """What tag and at most one photon leave: of all choices the one whose squared mass is nearest to m_e^2."""
        energy = self.photons.p4[:, 3]
        is_hard = (energy > self.control.photon_energy_min) & (energy < self.control.photon_energy_max)
        hard = photons.Photons(self.photons.p4[is_hard], self.photons.event[is_hard])
        offsets = np.concatenate([[0], np.cumsum(np.bincount(hard.event, minlength=self.n_events))])
        tag, photon = photons.pairs(self.event, offsets)
        beside = self.against_tag[tag] - hard.p4[photon]
        is_apart = photons.opening_angle(hard.p4[photon, :3], self.impact(tag, beside)) > self.control.photon_angle_min
        tag, photon, beside = tag[is_apart], photon[is_apart], beside[is_apart]
        choice = np.concatenate([self.against_tag, beside])
        of_tag = np.concatenate([np.arange(len(self.tag)), tag])
        distance = np.abs(mass_squared(choice) - SPECIES_MASS[self.species] ** 2)
        order = np.lexsort((distance, of_tag))
        _, first = np.unique(of_tag[order], return_index=True)
        return choice[order[first]]

    def impact(self, tag: IntArray, p4: FloatArray) -> FloatArray:
        """Return the direction of the calorimeter's point that a probe is expected to hit, shape (N, 3).

        A photon near a track counts as part of its cluster, whether near is measured from the track or, where the
        track is lost, from here: with the track alone as measure the photons of lost probes would be found more often.

        Args:
            tag: Tags, shape (N,); the probe has the other charge.
            p4: Four-momenta of the probes, shape (N, 4), in GeV.
        """
        pt = np.hypot(p4[:, 0], p4[:, 1])
        radius = P_TO_RADIUS * pt / self.search.frame.field[self.event[tag]]
        turn = np.arcsin(np.clip(EMC_RADIUS / (2.0 * np.maximum(radius, EMC_RADIUS / 2.0)), 0.0, 1.0))
        turn = -self.search.charge[self.tag[tag]].astype(np.float64) * turn
        x = p4[:, 0] * np.cos(turn) - p4[:, 1] * np.sin(turn)
        y = p4[:, 0] * np.sin(turn) + p4[:, 1] * np.cos(turn)
        return np.stack([x, y, p4[:, 2]], axis=1)


class KaonProbes(ProbeEvents):
    """J/psi -> pi0 K+ K-."""

    species = Species.K

    @cached_property
    def is_identified(self) -> BoolArray:
        """Good tracks that are kaons."""
        return self._is_measured & pid.is_kaon(self.identification.cl, self.search.e_over_p, self.search.cuts)

    @property
    def m2_recoil_max(self) -> float:
        """Half width of the window of the recoil's squared mass in GeV^2/c^4."""
        return self.control.m2_recoil_kaon_max

    @cached_property
    def has_pi0(self) -> BoolArray:
        """Events with a pair of photons in the pi0 window, shape (events,)."""
        return np.isfinite(self.pi0[:, 0])

    @cached_property
    def pi0(self) -> FloatArray:
        """The pi0 of each event, shape (events, 4), in GeV; NaN without one."""
        p4 = np.full((self.n_events, 4), np.nan)
        best = photons.best_pi0(self.photons, self.n_events)
        p4[best.event] = best.p4
        return p4

    @cached_property
    def recoil(self) -> FloatArray:
        """What tag and pi0 leave."""
        return self.against_tag - self.pi0[self.event]


def mass_squared(p4: FloatArray) -> FloatArray:
    """Return E^2 - p^2 of four-momenta (..., 4), which resolution can make negative."""
    return np.square(p4[..., 3]) - np.square(p4[..., :3]).sum(axis=-1)
