"""Electrons and pions for the calorimeter's tables, by tag and probe: J/psi -> 2(e+ e-) and J/psi -> 2(pi+ pi-).

Events have four tracks. Three of them are tags, identified by dE/dx and TOF, and by E/p for purity; the fourth is the
probe. Charge, lepton number and strangeness leave it the tags' species, and the kinematic fit says so once more: its
chi2 with four tracks of the species is small, and smaller than without any. Of the calorimeter nothing is asked about
the probe, and nothing at all of the generator. Each of the four is the probe in turn.

The events that the search hides are hidden here too, and some more: those in which any reading of the tracks as
K K e e, identified or not, has a mass in the signal region.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI, SPECIES_MASS, Species
from jpsi_lnv.analysis.cuts import OURS, SELECTION, requirement
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.objects.emc_pid import KINDS, ControlTracks
from jpsi_lnv.analysis.selection import misid
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import Step, apply, count

N_TRACKS: Final = 4
N_TAGS: Final = 3
# Species of the kinds of tracks that the tables are made of.
SPECIES: Final = dict(zip(KINDS, (Species.E, Species.PI), strict=True))
# Species that the fit tells apart.
FITTED: Final = (Species.E, Species.PI, Species.K)
# Tracks are ordered (+, +, -, -): either charge can be the kaons' in K K e e.
_READINGS: Final = (SELECTION.channel.species, SELECTION.channel.species[::-1])


def assignments(own: Species) -> IntArray:
    """Return four tracks of one species, and the assignments without it that its chi2 competes with, shape (7, 4).

    Tracks are ordered (+, +, -, -), and a species occurs as often in either charge. Assignments with two tracks of the
    species do not compete: an electron that radiates looks like a heavier particle, and would be lost.

    Args:
        own: Species that all four tracks have in the first one.
    """
    pairs = list(itertools.product([s for s in FITTED if s != own], repeat=2))
    rivals = [(*plus, *minus) for plus in pairs for minus in pairs if sorted(plus) == sorted(minus)]
    return np.array([(own,) * N_TRACKS, *rivals], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class EmcControlCuts:
    """Requirements of J/psi -> 2(e+ e-) and J/psi -> 2(pi+ pi-); none looks at the calorimeter's answer to a probe."""

    cl_tag_min: float = requirement(
        0.001, unit="", source=OURS, meaning="tag: CL of its species, of dE/dx and TOF alone, above; as an electron's"
    )
    cl_ratio_tag_min: float = requirement(
        0.5, unit="", source=OURS, meaning="tag: share of that CL in CL_e+CL_pi+CL_K above: likelier than all others"
    )
    e_over_p_electron_min: float = requirement(
        0.8, unit="c", source="III, par. 2", meaning="tag electron: E/p above; removes pions and muons"
    )
    e_over_p_electron_max: float = requirement(
        1.2, unit="c", source="III, par. 2", meaning="tag electron: E/p below; removes clusters of two particles"
    )
    e_over_p_pion_max: float = requirement(
        0.8, unit="c", source="III, par. 2, of kaons", meaning="tag pion: E/p below; removes electrons"
    )
    chi2_4c_max: float = requirement(
        60.0,
        unit="",
        source=OURS,
        meaning="chi2 of the 4C fit below; three times the search's, so that tracks with radiation stay",
    )


EMC_CONTROL = EmcControlCuts()


class EmcProbes:
    """A view of a chunk of events in which one species is looked for.

    Args:
        columns: The chunk's columns.
        species: Electron or pion.
        cuts: The requirements.
        every: Use events whose number is a multiple of this one; 1: all.
    """

    def __init__(self, columns: Columns, species: Species, cuts: EmcControlCuts = EMC_CONTROL, every: int = 1) -> None:
        self.columns = columns
        self.species = species
        self.cuts = cuts
        self.every = every
        self.n_events = columns.n_events
        # Good tracks and E/p of the search, which do not depend on the energy; that of each event stands in the file.
        self.search = SearchEvents(columns, dataclasses.replace(SELECTION, pid_emc=False), M_JPSI)

    @cached_property
    def has_four_tracks(self) -> BoolArray:
        """Used events with four good tracks, two of each charge, and no more, shape (events,)."""
        charge, is_used = self.search.charge, self.columns.scalar("event") % self.every == 0
        n_of_charge = [self.search.count_tracks(self.search.is_good & (charge == sign)) for sign in (1, -1)]
        return is_used & (n_of_charge[0] == N_TRACKS // 2) & (n_of_charge[1] == N_TRACKS // 2)

    @cached_property
    def event(self) -> IntArray:
        """The events with four tracks, shape (B,)."""
        return np.flatnonzero(self.has_four_tracks)

    @cached_property
    def quartet(self) -> IntArray:
        """Indices of their tracks, in the order (+, +, -, -), shape (B, 4)."""
        chosen = self.search.is_good & np.repeat(self.has_four_tracks, np.diff(self.search.offsets))
        track = np.flatnonzero(chosen)
        event = np.searchsorted(self.search.offsets, track, side="right")
        order = np.lexsort((-self.search.charge[track].astype(np.int64), event))
        return track[order].reshape(-1, N_TRACKS)

    @cached_property
    def momenta(self) -> tuple[FloatArray, FloatArray]:
        """Momenta (4 B, S, 3) and covariances (4 B, S, 6) at the interaction point of their tracks, in their order."""
        return tracks.read_momenta(self.columns, self.search.frame, self.quartet.ravel())

    @property
    def _rows(self) -> IntArray:
        """Rows of `momenta` that hold the tracks of `quartet`, shape (B, 4)."""
        return np.arange(self.quartet.size).reshape(self.quartet.shape)

    @cached_property
    def sqrt_s(self) -> FloatArray:
        """Centre-of-mass energy of these events in GeV, shape (B,)."""
        return self.columns.scalar("sqrt_s")[self.event].astype(np.float64)

    @cached_property
    def is_visible(self) -> BoolArray:
        """Events outside the box: no reading of their four tracks as K K e e is in it, shape (events,)."""
        p, _ = self.momenta
        hidden = np.zeros(self.n_events, dtype=np.bool_)
        for species in _READINGS:
            rows = np.array(species if p.shape[1] > 1 else (0,) * N_TRACKS)
            p3 = p[self._rows, rows]
            p4 = four_momentum(p3, [SPECIES_MASS[s] for s in species]).sum(axis=1)
            mass = invariant_mass(p4) * (M_JPSI / self.sqrt_s)
            hidden[self.event] |= (mass >= SELECTION.m_signal_min) & (mass <= SELECTION.m_signal_max)
        return ~hidden

    @cached_property
    def is_tag(self) -> BoolArray:
        """Which of the four tracks are tags, shape (B, 4)."""
        cl = pid.identify(self.columns, self.search.cuts, self.quartet.ravel()).cl
        is_likely = (cl[:, self.species] > self.cuts.cl_tag_min) & (
            pid.cl_ratio(cl, self.species) > self.cuts.cl_ratio_tag_min
        )
        return is_likely.reshape(self.quartet.shape) & self._has_e_over_p[self.quartet]

    @property
    def _has_e_over_p(self) -> BoolArray:
        """Tracks with the E/p of a tag, shape (tracks,)."""
        ratio, cuts = self.search.e_over_p, self.cuts
        if self.species == Species.E:
            return (ratio > cuts.e_over_p_electron_min) & (ratio < cuts.e_over_p_electron_max)
        return ratio < cuts.e_over_p_pion_max

    @cached_property
    def is_untagged(self) -> BoolArray:
        """Which of the four tracks have three tags beside them, shape (B, 4)."""
        return self.is_tag.sum(axis=1, keepdims=True) - self.is_tag == N_TAGS

    @cached_property
    def has_tags(self) -> BoolArray:
        """Visible events with three tags, shape (events,)."""
        return self.of_event(np.asarray(self.is_untagged.any(axis=1))) & self.is_visible

    @cached_property
    def fit(self) -> fourc.Fit4C:
        """The 4C fit of the events with four tracks under `assignments`; skipped for those without tags."""
        hypotheses = assignments(self.species)
        competes = np.repeat(self.has_tags[self.event][:, None], len(hypotheses), axis=1)
        return fourc.cascade(
            *self.momenta, self._rows, hypotheses, initial_four_momentum(self.sqrt_s), competes=competes
        )

    @cached_property
    def is_smallest(self) -> BoolArray:
        """Events whose chi2 with four tracks of the species is the smallest, shape (events,)."""
        return self.of_event(fourc.is_smallest(self.fit))

    @cached_property
    def passes_fit(self) -> BoolArray:
        """Events whose chi2 with four tracks of the species passes the requirement, shape (events,)."""
        return self.of_event(self.fit.chi2[:, 0] < self.cuts.chi2_4c_max)

    @cached_property
    def is_selected(self) -> BoolArray:
        """Which of the events with four tracks have probes, shape (B,)."""
        return (self.has_tags & self.passes_fit & self.is_smallest)[self.event]

    @cached_property
    def probe(self) -> IntArray:
        """Track index of every probe, shape (N,)."""
        return self.quartet[self.is_untagged & self.is_selected[:, None]]

    @property
    def n_tags(self) -> int:
        """Tags of the events that have probes."""
        return int(np.count_nonzero(self.is_tag[self.is_selected]))

    def of_event(self, decision: BoolArray) -> BoolArray:
        """Return a decision on the events with four tracks as one on all events."""
        per_event = np.zeros(self.n_events, dtype=np.bool_)
        per_event[self.event] = decision
        return per_event


def control_tracks(columns: Columns, chosen: IntArray) -> ControlTracks:
    """Return what the tables are made of, for chosen tracks, in their order."""
    names = ("kappa", "tanl", "emc_energy", "emc_e3x3", "emc_e5x5")
    kappa, tanl, energy, e3x3, e5x5 = (columns.flat("Track", n)[chosen].astype(np.float64) for n in names)
    p = tracks.momentum(kappa, tanl)
    with np.errstate(divide="ignore", invalid="ignore"):
        return ControlTracks(p, tracks.cos_theta(tanl), pid.e_over_p(energy, p), e3x3 / e5x5)


def four_tracks(events: EmcProbes) -> BoolArray:
    """Four good tracks, two of each charge, and no more."""
    return events.has_four_tracks


def three_tags(events: EmcProbes) -> BoolArray:
    """Three tracks with CL > 0.001 and CL/(CL_e+CL_pi+CL_K) > 0.5 of the species, without the EMC, and its E/p."""
    return events.has_tags


def chi2_4c(events: EmcProbes) -> BoolArray:
    """chi2_4C < 60 with four tracks of the species."""
    return events.passes_fit


def smallest_chi2(events: EmcProbes) -> BoolArray:
    """This chi2 is smaller than that of every assignment without the species."""
    return events.is_smallest


EMC_STEPS: Final = (
    Step("four_tracks", "four good tracks, two of each charge", four_tracks),
    Step("three_tags", "three tags of the species", three_tags),
    Step("chi2_4c", "chi2 of the 4C fit", chi2_4c),
    Step("smallest_chi2", "smallest chi2", smallest_chi2),
)


def select(columns: Columns, every: Mapping[Species, int]) -> dict[str, dict[str, Any]]:
    """Return, by kind, cut flow, number of tags, the probes' tracks, and of simulation how many are of the kind.

    Args:
        columns: The chunk.
        every: Species that is looked for in some events only -> see `EmcProbes`.
    """
    out: dict[str, dict[str, Any]] = {}
    for kind, species in SPECIES.items():
        view = EmcProbes(columns, species, every=every.get(species, 1))
        out[kind] = {
            "cutflow": count(EMC_STEPS, apply(EMC_STEPS, view) & view.is_visible),
            "tags": view.n_tags,
            "tracks": control_tracks(columns, view.probe)._asdict(),
            "truth": _count_truth(columns, view, kind),
        }
    return out


def _count_truth(columns: Columns, view: EmcProbes, kind: str) -> dict[str, int]:
    """Return probes with a known species and those of them that are of the kind; for information only."""
    if not columns.has("Track", "gen"):
        return {"known": 0, "right": 0}
    right = misid.true_species(columns)[view.probe] == misid.SPECIES.index(kind)
    return {"known": len(right), "right": int(np.count_nonzero(right))}
