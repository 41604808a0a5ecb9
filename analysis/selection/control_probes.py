"""Tag and probe in J/psi -> e+ e- (gamma), 2(e+ e-) and pi0 K+ K-: tracking and identification of electrons, kaons.

A tag is one identified track, in 2(e+ e-) and with a converted photon three. What the initial four-momentum leaves
after the tag and the neutral particles is the probe: its momentum is known whether or not its track was found, and its
species whether or not it was identified. Every track of an event can be of a tag. The last steps are the numerators of
efficiencies whose denominators are the steps before them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import ClassVar, Final

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import P_TO_RADIUS, SPECIES_MASS, Species
from jpsi_lnv.analysis.cuts import OURS, requirement
from jpsi_lnv.analysis.events.schema import branch
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum
from jpsi_lnv.analysis.objects import photons, pid, tracks
from jpsi_lnv.analysis.selection import conversion
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.search_events import READS, SearchEvents
from jpsi_lnv.analysis.selection.steps import Step, apply

NO_TRACK = -1
# Front of the barrel's crystals in cm.
EMC_RADIUS = 95.0

# Wide bins: a radiated photon that slows an electron down to the signal's momenta is rare. Below 0.3 GeV/c electrons
# are identified ever less, and conversions have probes.
P: Final = hist.axis.Variable(
    [0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.4, 1.7], name="p", label="$p$ of the probe [GeV/$c$]"
)
COS_THETA: Final = hist.axis.Variable(
    [-0.93, -0.8, -0.4, 0.4, 0.8, 0.93], name="cos_theta", label=r"$\cos\theta$ of the probe"
)
YEARS: Final = (2009, 2012, 2018)
PERIOD: Final = hist.axis.IntCategory(list(YEARS), name="period", label="data-taking period")
CHARGE: Final = hist.axis.IntCategory([-1, 1], name="charge", label="charge of the probe")
PASSED: Final = hist.axis.Boolean(name="passed", label="passed")
M2_DIFFERENCE: Final = hist.axis.Regular(
    100, -0.5, 0.5, name="m2_difference", label=r"$m^2_\mathrm{recoil}-m^2_\mathrm{probe}$ [GeV$^2/c^4$]"
)


@dataclass(frozen=True, kw_only=True)
class ProbeCuts:
    """Requirements of tag and probe; the publication names the samples and gives no number."""

    p_tag_min: float = requirement(0.3, unit="GeV/c", source=OURS, meaning="momentum of a tag above")
    photon_energy_min: float = requirement(
        0.1, unit="GeV", source=OURS, meaning="radiated photon: energy above; noise clusters are softer"
    )
    photon_energy_max: float = requirement(
        1.3, unit="GeV", source=OURS, meaning="radiated photon: energy below; the cluster of an electron is harder"
    )
    photon_angle_min: float = requirement(
        0.22, unit="rad", source=OURS, meaning="radiated photon: angle to the expected impact of the probe above"
    )
    m2_recoil_electron_max: float = requirement(
        0.15, unit="GeV^2/c^4", source=OURS, meaning="recoil of tag and photon: |m^2 - m_e^2| below, three sigma"
    )
    m2_recoil_four_electrons_max: float = requirement(
        0.01,
        unit="GeV^2/c^4",
        source=OURS,
        meaning="recoil of three electrons: |m^2 - m_e^2| below, or a photon is lost",
    )
    m2_recoil_kaon_max: float = requirement(
        0.15, unit="GeV^2/c^4", source=OURS, meaning="recoil of tag and pi0: |m^2 - m_K^2| below, three sigma"
    )
    p_probe_min: float = requirement(
        0.1, unit="GeV/c", source=OURS, meaning="momentum expected of a probe above: slower ones curl up"
    )
    probe_angle_max: float = requirement(
        0.35, unit="rad", source=OURS, meaning="angle between a probe's track and the expected direction below"
    )


PROBES: Final = ProbeCuts()


class ProbeEvents(ABC):
    """A view of a chunk of events with tags and probes of one species.

    Args:
        search: The chunk as the search looks at it, which defines good tracks and identification.
        control: The requirements of tag and probe.
    """

    species: ClassVar[Species]
    n_tracks: ClassVar[int] = 2

    def __init__(self, search: SearchEvents, control: ProbeCuts = PROBES) -> None:
        self.search = search
        self.control = control
        self.columns = search.columns
        self.n_events = search.n_events

    @cached_property
    def p4(self) -> FloatArray:
        """Four-momenta of all tracks as the probe's species, shape (tracks, 4), in GeV."""
        p, _ = tracks.read_momenta(self.columns, self.search.frame)
        return four_momentum(p[:, self.species if p.shape[1] > 1 else 0], SPECIES_MASS[self.species])

    @cached_property
    def identification(self) -> pid.Identification:
        """Confidence levels of all tracks, as the search makes them."""
        return pid.identify(self.columns, self.search.cuts, calibration=self.search.calibration)

    @property
    def _is_measured(self) -> BoolArray:
        """Good tracks with confidence levels, shape (tracks,)."""
        return self.search.is_good & (self.identification.ndof > 0)

    @property
    @abstractmethod
    def is_identified(self) -> BoolArray:
        """Good tracks that pass the search's identification of the species, shape (tracks,)."""

    @property
    @abstractmethod
    def is_mistaken(self) -> BoolArray:
        """Good tracks that the search takes for the other of its two species, shape (tracks,)."""

    @property
    def _is_electron(self) -> BoolArray:
        return self._is_measured & pid.is_electron(self.identification.cl, self.search.e_over_p, self.search.cuts)

    @property
    def _is_kaon(self) -> BoolArray:
        return self._is_measured & pid.is_hadron(self.identification.cl, self.search.e_over_p, self.search.cuts)

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

    @property
    def tags(self) -> IntArray:
        """Tracks that make up every tag, shape (N, 1) or more."""
        return self.tag[:, None]

    @cached_property
    def against_tag(self) -> FloatArray:
        """What the initial four-momentum leaves after the tag, shape (N, 4), in GeV."""
        return initial_four_momentum(self.search.sqrt_s) - self.p4[self.tags].sum(axis=1)

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
        is_other = (track[:, None] != self.tags[tag]).all(axis=1)
        is_other &= charge[track] == -charge[self.tags].sum(axis=1)[tag]
        fits = self.search.is_good[track] & is_other & self.in_acceptance[tag]
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
        return self.is_found & (self.search.n_good == self.n_tracks)[self.event]

    @cached_property
    def probe_is_identified(self) -> BoolArray:
        """Clean tags whose probe is identified: the numerator of the PID efficiency."""
        return self.is_clean & self.is_identified[self.probe] if len(self.tag) else np.zeros(0, dtype=np.bool_)

    def category(self, chosen: BoolArray) -> tuple[IntArray, IntArray]:
        """Return data-taking period and charge of the probes of chosen tags, (M,) each."""
        charge = -self.search.charge[self.tags[chosen]].astype(np.int64).sum(axis=1)
        return self.columns.scalar("period")[self.event[chosen]], charge

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
        return self._is_electron

    @property
    def is_mistaken(self) -> BoolArray:
        """Good tracks that are kaons."""
        return self._is_kaon

    @property
    def m2_recoil_max(self) -> float:
        """Half width of the window of the recoil's squared mass in GeV^2/c^4."""
        return self.control.m2_recoil_electron_max

    @cached_property
    def recoil(self) -> FloatArray:
        """What tag and at most one photon leave: of all choices the one whose squared mass is nearest to m_e^2."""
        energy = self.photons.p4[:, 3]
        is_hard = (energy > self.control.photon_energy_min) & (energy < self.control.photon_energy_max)
        hard = self.photons[is_hard]
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


class FourElectronProbes(ElectronProbes):
    """J/psi -> 2(e+ e-): three electrons leave the fourth, which is often as slow as the signal's.

    This decay and the searched one share events of four tracks: the probes show what the identification of electrons
    loses there. A lost photon moves the probe, so tracks below 0.5 GeV/c are found less often than they are there: the
    map of tracking is shown, and enters no correction.
    """

    n_tracks = 4

    @cached_property
    def tags(self) -> IntArray:
        """Every three identified electrons of an event with three or four, of total charge +1 or -1, shape (N, 3)."""
        electrons = np.flatnonzero(self.is_identified)
        event = self._event_of_track[electrons]
        first = np.searchsorted(event, event)
        count = np.searchsorted(event, event, side="right") - first
        is_first = first == np.arange(len(event))
        choices = {3: [(0, 1, 2)], 4: list(combinations(range(4), 3))}
        found = [
            electrons[np.flatnonzero(is_first & (count == n))[:, None] + np.array(choice)]
            for n, triples in choices.items()
            for choice in triples
        ]
        tags = np.concatenate(found).reshape(-1, 3)
        charge = self.search.charge.astype(np.int64)[tags].sum(axis=1)
        tags = tags[np.abs(charge) == 1]
        return np.asarray(tags[np.lexsort((tags[:, 1], tags[:, 0]))])

    @property
    def m2_recoil_max(self) -> float:
        """Half width of the window of the recoil's squared mass in GeV^2/c^4: a radiated photon moves the probe."""
        return self.control.m2_recoil_four_electrons_max

    @cached_property
    def tag(self) -> IntArray:
        """First track of every tag, shape (N,)."""
        return np.asarray(self.tags[:, 0])

    @cached_property
    def recoil(self) -> FloatArray:
        """What the three electrons leave."""
        return self.against_tag


class ConversionProbes(FourElectronProbes):
    """J/psi -> e+ e- gamma, gamma -> e+ e- in the material: probes that form a conversion with an electron of the tag.

    The geometry says that they are electrons, whatever their identification: slow ones from photons of any energy.
    """

    @cached_property
    def is_clean(self) -> BoolArray:
        """Clean tags as of four electrons, whose probe forms a conversion with one of them."""
        clean = np.flatnonzero(self.is_found & (self.search.n_good == self.n_tracks)[self.event])
        probe = np.repeat(self.probe[clean], self.tags.shape[1])
        of_tag = np.repeat(clean, self.tags.shape[1])
        helix = tracks.read_helix(self.columns, "_e" if self.columns.has("Track", "dr_e") else "")
        partner, event = self.tags[clean].ravel(), self.event[of_tag]
        pairs = conversion.geometry(probe, partner, event, helix, self.search.frame.field)
        is_pair = conversion.is_conversion(pairs, self.search.cuts)
        is_pair &= self.search.charge[probe] * self.search.charge[partner] < 0
        found = np.zeros(len(self.tag), dtype=np.bool_)
        found[of_tag[is_pair]] = True
        return found


class KaonProbes(ProbeEvents):
    """J/psi -> pi0 K+ K-."""

    species = Species.K

    @cached_property
    def is_identified(self) -> BoolArray:
        """Good tracks that are kaons."""
        return self._is_kaon

    @property
    def is_mistaken(self) -> BoolArray:
        """Good tracks that are electrons."""
        return self._is_electron

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


def tag(events: ProbeEvents) -> BoolArray:
    """A good track that is identified as the search does it, with p > 0.3 GeV/c."""
    return events.search.count_tracks(events.is_identified) > 0


def three_tags(events: FourElectronProbes) -> BoolArray:
    """Three good tracks that are identified as electrons, of total charge +1 or -1."""
    return events.any_tag(np.ones(len(events.tag), dtype=np.bool_))


def pi0(events: KaonProbes) -> BoolArray:
    """Two photons (barrel > 25 MeV, end cap > 50 MeV, within 700 ns) with 0.115 < m < 0.150 GeV/c^2."""
    return events.has_pi0


def recoil_mass(events: ProbeEvents) -> BoolArray:
    """What tag and neutral particles leave has the mass of the probe: the probe's momentum is known."""
    return events.any_tag(events.has_recoil_mass)


def acceptance(events: ProbeEvents) -> BoolArray:
    """The probe is expected with |cos theta| < 0.93 and p > 0.1 GeV/c: the tracking denominator."""
    return events.any_tag(events.in_acceptance)


def probe_found(events: ProbeEvents) -> BoolArray:
    """A good track of the other charge within 0.35 rad of the expected direction: the tracking numerator."""
    return events.any_tag(events.is_found)


def two_tracks(events: ProbeEvents) -> BoolArray:
    """The tag's tracks and the probe's, and no further good track: the PID denominator."""
    return events.any_tag(events.is_clean)


def probe_identified(events: ProbeEvents) -> BoolArray:
    """The probe is identified as the search does it: the PID numerator."""
    return events.any_tag(events.probe_is_identified)


_PROBE: Final = (
    Step("recoil_mass", "recoil has the probe's mass", recoil_mass),
    Step("acceptance", "probe expected in the acceptance", acceptance),
    Step("probe_found", "probe's track found", probe_found),
    Step("two_tracks", "no further track", two_tracks),
    Step("probe_identified", "probe identified", probe_identified),
)
EE_STEPS: Final = (Step("tag", "identified electron", tag), *_PROBE)
EEEE_STEPS: Final = (
    Step("tag", "three identified electrons", three_tags),
    *_PROBE[:3],
    Step("four_tracks", "no further track", two_tracks),
    _PROBE[4],
)
CONVERSION_STEPS: Final = (
    *EEEE_STEPS[:4],
    Step("conversion", "no further track, probe of a conversion", two_tracks),
    _PROBE[4],
)
KKPI0_STEPS: Final = (Step("tag", "identified kaon", tag), Step("pi0", "pi0", pi0), *_PROBE)


def select(chunk: Chunk, name: str, view: type[ProbeEvents], steps: Sequence[Step]) -> dict[str, Found]:
    """Return cut flow and histograms of one sample."""
    of = view(chunk.events)
    return {name: {"cutflow": chunk.cut_flow(steps, apply(steps, of), view), "histograms": fill(of)}}


def fill(view: ProbeEvents) -> dict[str, hist.Hist]:
    """Return the maps ``tracking``, ``pid`` and ``misid`` and the recoil's squared mass of a chunk."""
    int64 = hist.storage.Int64
    tracking, identification = (hist.Hist(PERIOD, CHARGE, P, COS_THETA, PASSED, storage=int64()) for _ in range(2))
    misid = hist.Hist(P, COS_THETA, PASSED, storage=int64())
    expected, clean = view.in_acceptance, view.is_clean
    tracking.fill(
        *view.category(expected), view.p_probe[expected], view.cos_theta_probe[expected], view.is_found[expected]
    )
    p4 = view.p4[view.probe[clean]]
    momentum = np.linalg.norm(p4[:, :3], axis=1)
    cos_theta = p4[:, 2] / momentum
    identification.fill(*view.category(clean), momentum, cos_theta, view.probe_is_identified[clean])
    misid.fill(momentum, cos_theta, view.is_mistaken[view.probe[clean]])
    recoil = hist.Hist(M2_DIFFERENCE, storage=int64())
    recoil.fill(view.m2_difference[np.isfinite(view.m2_difference)])
    return {"tracking": tracking, "pid": identification, "misid": misid, "m2_difference": recoil}


TRACK_READS: Final = READS | {"period", *(branch("Track", name) for name in tracks.MOMENTUM_COVARIANCE)}
PROBE_READS: Final = TRACK_READS | photons.READS
EE: Final = Selection(partial(select, name=datasets.CONTROL_EE, view=ElectronProbes, steps=EE_STEPS), PROBE_READS)
EEEE: Final = Selection(
    partial(select, name=datasets.CONTROL_EEEE, view=FourElectronProbes, steps=EEEE_STEPS), TRACK_READS
)
CONVERSION: Final = Selection(
    partial(select, name=datasets.CONTROL_CONVERSION, view=ConversionProbes, steps=CONVERSION_STEPS), TRACK_READS
)
KKPI0: Final = Selection(partial(select, name=datasets.CONTROL_KKPI0, view=KaonProbes, steps=KKPI0_STEPS), PROBE_READS)
