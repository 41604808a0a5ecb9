"""What the steps of section III ask of a chunk of events, each quantity computed at its first use.

Tracks and events keep their place in the chunk; a quantity that is not needed for an event because it failed already is
not computed for it. Columns are read at first use, so a chunk without candidates never reads the columns of the fit.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis import candidates
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.candidates import AtInteractionPoint, AtVertex, FittedCandidates, Measured, Start
from jpsi_lnv.analysis.channel import WORDS, Channel
from jpsi_lnv.analysis.constants import M_JPSI, Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.columns import Columns, of_event, sum_per_event
from jpsi_lnv.analysis.events.run_table import BEAM_P4
from jpsi_lnv.analysis.events.schema import HELIX, branch
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc, vertex
from jpsi_lnv.analysis.objects import photons, pid, tracks
from jpsi_lnv.analysis.objects.calibration import Calibration, simulated
from jpsi_lnv.analysis.objects.helix_correction import ChunkCorrection
from jpsi_lnv.analysis.selection import conversion

# What good tracks are read from, with run and energy, which are compared with the metadata; and what the view reads of
# every chunk that has events, whatever they are.
GOOD_TRACKS = frozenset(
    {"run", "sqrt_s", "ip_x", "ip_y", "ip_z", "field", "nTrack"} | {branch("Track", n) for n in ("charge", *HELIX)}
)
READS = GOOD_TRACKS | pid.reads(pid.CONSIDERED) | {branch("Track", f"emc_{n}") for n in ("energy", "e3x3", "e5x5")}


class SearchEvents:
    """A view of a chunk of events under one set of cuts.

    Args:
        columns: The chunk's columns.
        cuts: The requirements.
        sqrt_s: Centre-of-mass energy of the dataset in GeV.
        calibration: Constants of the identification; those of the package's simulation where it is left out.
    """

    def __init__(self, columns: Columns, cuts: Cuts, sqrt_s: float, calibration: Calibration | None = None) -> None:
        self.columns = columns
        self.cuts = cuts
        self.sqrt_s = sqrt_s
        self.calibration = calibration or simulated()
        self.n_events = columns.n_events

    def like(self, columns: Columns | None = None, cuts: Cuts | None = None) -> SearchEvents:
        """Return a view of other columns of these events, or under other cuts."""
        return SearchEvents(columns or self.columns, cuts or self.cuts, self.sqrt_s, self.calibration)

    @property
    def channel(self) -> Channel:
        """The decay that is searched for."""
        return self.cuts.channel

    @cached_property
    def offsets(self) -> IntArray:
        """Offsets of the tracks, shape (events + 1,)."""
        return self.columns.offsets("Track")

    @cached_property
    def frame(self) -> tracks.EventFrame:
        """Interaction points and field."""
        return tracks.read_frame(self.columns)

    @cached_property
    def charge(self) -> npt.NDArray[np.int8]:
        """Charge of each track."""
        return self.columns.flat("Track", "charge")

    @cached_property
    def is_good(self) -> BoolArray:
        """Tracks within the acceptance that come from the interaction point."""
        if self.cuts.track_helix == "kalman":
            return tracks.is_good(tracks.read_helix(self.columns), self.frame, self.cuts)
        return tracks.is_good(tracks.read_helix(self.columns, "_mdc"), self.frame, self.cuts) & self._is_original

    @property
    def _is_original(self) -> BoolArray:
        """Tracks that the MDC's fit does not call copies of others."""
        return np.asarray(self.columns.flat("Track", "mdc_status") != tracks.COPY)

    @cached_property
    def n_good(self) -> IntArray:
        """Good tracks of each event."""
        return self.count_tracks(self.is_good)

    @cached_property
    def is_retained(self) -> BoolArray:
        """Events with enough good tracks whose charges add up to the wanted net charge."""
        net_charge = sum_per_event(self.offsets, self.charge * self.is_good)
        return (self.n_good >= len(self.channel.slots)) & (net_charge == self.cuts.net_charge)

    @cached_property
    def is_identified(self) -> BoolArray:
        """Good tracks of retained events that have confidence levels."""
        needed = self.is_good & of_event(self.offsets, self.is_retained)
        return pid.is_measured(self.columns, self.cuts, needed, self.calibration)

    @cached_property
    def has_pid(self) -> BoolArray:
        """Events with enough identified tracks."""
        return self.count_tracks(self.is_identified) >= len(self.channel.slots)

    @cached_property
    def momentum(self) -> FloatArray:
        """Momentum of every track in GeV/c."""
        return tracks.momentum(self.columns.flat("Track", "kappa"), self.columns.flat("Track", "tanl"))

    @cached_property
    def e_over_p(self) -> FloatArray:
        """EMC energy over momentum of every track, in units of c."""
        return pid.e_over_p(self.columns.flat("Track", "emc_energy"), self.momentum)

    @cached_property
    def is_examined(self) -> BoolArray:
        """Identified tracks whose event has enough of them with an electron's E/p: no others can make a candidate."""
        if not (n_electrons := self.channel.species.count(Species.E)):
            return self.is_identified
        has_e_over_p = self.is_identified & pid.has_e_over_p(self.e_over_p, self.cuts)
        return self.is_identified & of_event(self.offsets, self.count_tracks(has_e_over_p) >= n_electrons)

    @cached_property
    def examined(self) -> IntArray:
        """Indices of the examined tracks, shape (P,): confidence levels and momenta are theirs alone."""
        return np.flatnonzero(self.is_examined)

    @cached_property
    def row_of_track(self) -> IntArray:
        """Row of each track among the `examined` ones, shape (tracks,); without a meaning for the others."""
        return np.cumsum(self.is_examined) - 1

    @cached_property
    def identification(self) -> pid.Identification:
        """Confidence levels of the examined tracks, in their order, under the channel's hypotheses."""
        return pid.identify(self.columns, self.cuts, self.examined, self.calibration, self.channel.considered)

    @cached_property
    def is_electron(self) -> BoolArray:
        """Examined tracks that are taken for electrons."""
        return self._as(Species.E)

    @cached_property
    def is_muon(self) -> BoolArray:
        """Examined tracks that are taken for muons."""
        return self._as(Species.MU)

    @cached_property
    def is_pion(self) -> BoolArray:
        """Examined tracks that are taken for pions."""
        return self._as(Species.PI)

    @cached_property
    def is_kaon(self) -> BoolArray:
        """Examined tracks that are taken for kaons."""
        return self._as(Species.K)

    @cached_property
    def is_proton(self) -> BoolArray:
        """Examined tracks that are taken for protons."""
        return self._as(Species.P)

    def taken_for(self, species: Species) -> BoolArray:
        """Return the examined tracks that are taken for a species."""
        return np.asarray(getattr(self, f"is_{WORDS[species].word}"))

    def has_enough(self, species: Species) -> BoolArray:
        """Return the events with as many tracks taken for a species as the channel has."""
        return self.count_tracks(self.taken_for(species)) >= self.channel.species.count(species)

    @cached_property
    def photons(self) -> photons.Photons:
        """Photons, which only decays with some ask for.

        Raises:
            SchemaError: The file has no showers.
        """
        if not self.columns.has("Shower", "energy"):
            msg = (
                f"final_state {self.cuts.final_state!r}: photons need the showers, and the file has none; "
                "wanted an ntuple with the collection Shower"
            )
            raise SchemaError(msg)
        return photons.select(self.columns)

    @cached_property
    def n_photons(self) -> IntArray:
        """Photons of each event."""
        return np.bincount(self.photons.event, minlength=self.n_events)

    @cached_property
    def has_photons(self) -> BoolArray:
        """Events with as many photons as the channel has."""
        n = self.channel.n_photons
        return self.n_photons >= n if n else np.ones(self.n_events, dtype=np.bool_)

    @cached_property
    def has_all(self) -> BoolArray:
        """Events with as many particles of every kind as the channel has."""
        return np.all([self.has_pid, *map(self.has_enough, self.channel.kinds), self.has_photons], axis=0)

    @cached_property
    def _combined(self) -> tuple[IntArray, IntArray, IntArray]:
        """Tracks (N, n) and photons (N, m) of every combination, and its event (N,), before windows of masses."""
        accepts = {species: self.taken_for(species) for species in self.channel.kinds}
        found, event = candidates.find(self.offsets, self.charge, accepts, self.channel, self.has_all)
        if not self.channel.n_photons:
            return found, np.empty((len(found), 0), dtype=np.int64), event
        photon, other = candidates.find_photons(self._photon_offsets, self.channel, self.has_all)
        of, place = candidates.crossed(event, other)
        return found[of], photon[place], event[of]

    @property
    def _photon_offsets(self) -> IntArray:
        return np.concatenate([[0], np.cumsum(self.n_photons)])

    @cached_property
    def _is_inside(self) -> BoolArray:
        """Combinations whose intermediate particles have masses in their windows, shape (N,) as of `_combined`."""
        inside = np.ones(len(self._combined[0]), dtype=np.bool_)
        for mass, of in zip(self.channel.intermediates, self.channel.constraints.masses, strict=True):
            m = invariant_mass(self._p4[:, list(of.places)].sum(axis=1))
            inside &= (m > mass.window[0]) & (m < mass.window[1])
        return inside

    @cached_property
    def combinations(self) -> tuple[IntArray, IntArray]:
        """Track indices of every combination in the order of the channel, shape (N, n), and its event, shape (N,)."""
        found, _, event = self._combined
        if not self.channel.intermediates:
            return found, event
        return found[self._is_inside], event[self._is_inside]

    @cached_property
    def has_candidate(self) -> BoolArray:
        """Events with any combination."""
        has_any = np.zeros(self.n_events, dtype=np.bool_)
        has_any[self.combinations[1]] = True
        return has_any

    @cached_property
    def correction(self) -> ChunkCorrection | None:
        """What corrects the helices of simulated events before a fit; None: nothing does."""
        return self.calibration.helix_correction(self.columns.scalar("run"))

    @cached_property
    def measured(self) -> Measured:
        """The tracks of all combinations as the cuts want them fitted.

        Without any combination there are none, and no column of the fit is read.
        """
        if not len(self.combinations[0]):
            return AtInteractionPoint(np.empty((0, 1, 3)), np.empty((0, 1, 6)), self._rows)
        if self.channel.n_photons or not self.channel.is_closed:
            return AtInteractionPoint(*self._objects, self._rows)
        combinations = self._rows, self.combinations[1]
        return candidates.measured(
            self.columns, self.examined, combinations, self.cuts, self.correction, self.channel.hypotheses
        )

    @cached_property
    def vertices(self) -> vertex.VertexFit | None:
        """The common vertex of every combination, (N,); None: they are not fitted to one."""
        measured = self.measured
        return measured.fit(self.channel.assignments[0], slice(None)) if isinstance(measured, AtVertex) else None

    @cached_property
    def _start(self) -> Start:
        """The tracks of every combination."""
        if self.vertices is not None:
            return candidates.at_vertices(self.vertices)
        return self.measured.start(self.channel.assignments[0], slice(None))

    @cached_property
    def _rows(self) -> IntArray:
        """Rows of every combination: of its tracks among the `examined` ones, of photons after these, (N, n)."""
        if not self.channel.intermediates:
            return self._rows_before_windows
        return self._rows_before_windows[self._is_inside]

    @cached_property
    def _rows_before_windows(self) -> IntArray:
        found, photon, _ = self._combined
        return np.concatenate([self.row_of_track[found], len(self.examined) + photon], axis=1)

    @cached_property
    def _objects(self) -> tuple[FloatArray, FloatArray]:
        """Momenta and covariances of the examined tracks, and of all photons after them."""
        species = self.channel.hypotheses
        measured = tracks.read_momenta(self.columns, self.frame, self.examined, self.correction, species)
        return candidates.with_photons(*measured, self.photons) if self.channel.n_photons else measured

    @cached_property
    def _p4(self) -> FloatArray:
        """Measured four-momenta of every combination before windows of masses, shape (N, n, 4), in GeV."""
        (p, _), rows, of = self._objects, self._rows_before_windows, self.channel.rows[0]
        masses = np.array(self.channel.fit_masses)[of]
        return four_momentum(p[rows, of if p.shape[1] > 1 else 0], masses)

    @property
    def best_p4(self) -> FloatArray:
        """Measured four-momenta of the best candidates, shape (B, n, 4), in GeV."""
        return self._p4[self._is_inside][self.best.row]

    @cached_property
    def mass(self) -> FloatArray:
        """Measured mass of every combination, scaled by m(J/psi)/sqrt(s), in GeV/c^2."""
        if self.channel.n_photons or not self.channel.is_closed:
            p4, missing = self._p4[self._is_inside], self.channel.constraints.missing
            return candidates.complete_mass(p4, self.p4_total, missing) * (M_JPSI / self.sqrt_s)
        species, masses = self.channel.species, self.channel.masses
        return candidates.invariant_mass(self._start.p, self._start.cand, species, masses) * (M_JPSI / self.sqrt_s)

    @cached_property
    def p4_total(self) -> FloatArray:
        """Initial four-momentum in GeV: (4,), or of every combination (N, 4) where the file has one of its own."""
        return self.p4_of(self.combinations[1])

    def p4_of(self, event: IntArray) -> FloatArray:
        """Return the initial four-momentum in GeV: (4,), or that of each event (N, 4) where the file has one."""
        if not self.columns.has("", BEAM_P4[-1]):
            return initial_four_momentum(self.sqrt_s)
        return np.stack([self.columns.scalar(name)[event].astype(np.float64) for name in BEAM_P4], axis=-1)

    @cached_property
    def _signal_fit(self) -> tuple[fourc.Fit4C, FloatArray]:
        """The 4C fit of every combination, and the fitted four-momenta (N, n, 4) in GeV."""
        return candidates.fit_signal(self._start, self.p4_total, self.cuts)

    @property
    def signal_fit(self) -> fourc.Fit4C:
        """The 4C fit of every combination, shape (N, 1)."""
        return self._signal_fit[0]

    @cached_property
    def best(self) -> FittedCandidates:
        """The combination of each event with the smallest chi2 of the 4C fit."""
        combinations, chi2_pid = (self._rows, self.combinations[1]), self.identification.chi2
        return candidates.fit_best(self.signal_fit, self.measured, combinations, chi2_pid, self.p4_total, self.cuts)

    @cached_property
    def best_tracks(self) -> IntArray:
        """Track indices of the best candidates in the order of the channel, shape (B, n)."""
        return self.combinations[0][self.best.row]

    @property
    def fit_status(self) -> dict[str, int]:
        """How the fits ended: of every combination, and of the best one's alternatives; their vertices before."""
        crowded = np.diff(self.offsets) > candidates.N_TRACKS_MAX
        if self.channel.n_photons:
            crowded |= self.n_photons > candidates.N_PHOTONS_MAX
        crowded &= self.has_all
        counts = fourc.count_status(np.concatenate([self.signal_fit.status.ravel(), self.best.status[:, 1:].ravel()]))
        if self.vertices is not None:
            counts |= {f"vertex_{name}": n for name, n in fourc.count_status(self.vertices.status).items() if n}
        if crowded.any():
            counts["too_many_particles"] = int(np.count_nonzero(crowded))
        return counts

    @cached_property
    def best_mass(self) -> FloatArray:
        """Measured, scaled mass of the best candidates in GeV/c^2."""
        return self.mass[self.best.row]

    @cached_property
    def chi2_difference(self) -> FloatArray:
        """By how much the best other assignment of the best candidates is worse, (B,), at most the edge of the axis."""
        # Without a fit there is no difference; such candidates fail the fit, and are in no histogram of it anyway.
        signal = np.where(self.best.has_chi2, self.best.chi2_4c, 0.0)
        return np.minimum(self.best.chi2_alternative - signal, fourc.CHI2_MAX)

    @cached_property
    def best_electrons(self) -> IntArray:
        """Tracks of the best candidates that are electrons, shape (B, electrons of the channel)."""
        return self.best_tracks[:, np.array(self.channel.species) == Species.E]

    @cached_property
    def conversions(self) -> conversion.Pairs:
        """Geometry of every pair of a best candidate's electron and a good track of the other charge."""
        is_partner = self.is_good if self.cuts.conversion_partners == "all" else self.is_good & ~self.is_kaon
        selected = self.best_electrons
        event = np.repeat(self.best.event, selected.shape[1])
        pairs = conversion.find_pairs(self.offsets, self.charge, selected.ravel(), event, is_partner)
        # Without any pair the set that is read already does: these five are a quarter of what background costs to read.
        suffix = "_e" if len(pairs[0]) and self.columns.has("Track", "dr_e") else ""
        return conversion.geometry(*pairs, tracks.read_helix(self.columns, suffix), self.frame.field)

    def conversions_of(self, chosen: BoolArray) -> conversion.Pairs:
        """Return the pairs of the electrons of some best candidates, which a mask (B,) selects."""
        is_theirs = np.zeros(len(self.charge), dtype=np.bool_)
        is_theirs[self.best_electrons[chosen]] = True
        return self.conversions.of(is_theirs[self.conversions.electron])

    @cached_property
    def has_conversion(self) -> BoolArray:
        """Best candidates one of whose electrons forms a conversion."""
        vetoed = np.zeros(len(self.charge), dtype=np.bool_)
        vetoed[self.conversions.electron[conversion.is_conversion(self.conversions, self.cuts)]] = True
        return np.asarray(vetoed[self.best_electrons].any(axis=1))

    @cached_property
    def conversion_radius(self) -> FloatArray:
        """Radius in cm of the pair with the smallest m(ee) of each best candidate; inf without any pair."""
        return conversion.closest_radius(self.conversions, self.best_electrons)

    @cached_property
    def fitted_p4(self) -> FloatArray:
        """Fitted four-momenta of the best candidates, shape (B, n, 4), in GeV; NaN without a fit."""
        return self._signal_fit[1][self.best.row]

    @cached_property
    def pair_masses(self) -> FloatArray:
        """Fitted masses of the channel's pairs in the best candidates, shape (B, 4) or (B, 0), in GeV/c^2."""
        places = np.array(self.channel.pairs, dtype=np.int64).reshape(-1, 2)
        return invariant_mass(self.fitted_p4[:, places].sum(axis=2))

    @cached_property
    def in_signal_region(self) -> BoolArray:
        """Best candidates in the mass window."""
        return (self.best_mass >= self.cuts.m_signal_min) & (self.best_mass <= self.cuts.m_signal_max)

    def of_best(self, decision: BoolArray) -> BoolArray:
        """Return a decision on the best candidates as one per event; False for events without."""
        per_event = np.zeros(self.n_events, dtype=np.bool_)
        per_event[self.best.event] = decision
        return per_event

    def count_tracks(self, mask: BoolArray) -> IntArray:
        """Return how many tracks of each event a mask selects."""
        return sum_per_event(self.offsets, mask)

    def _as(self, species: Species) -> BoolArray:
        """Return which tracks are taken for a species, one decision per track; False for those not examined."""
        per_track = np.zeros(len(self.is_examined), dtype=np.bool_)
        e_over_p = self.e_over_p[self.examined]
        cl, columns, cuts = self.identification.cl, self.columns, self.cuts
        per_track[self.examined] = pid.taken_for(species, cl, e_over_p, columns, self.examined, cuts)
        return per_track
