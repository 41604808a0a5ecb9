"""J/psi -> p pbar pi+ pi- and K+ K- pi+ pi-: the fit, the signal region and the veto of other hypotheses.

They have four tracks and no neutral particle. The last steps are the numerators of efficiencies whose denominators are
the steps before them. K+ K- pi+ pi- competes with K+ K- e+ e-, 2(pi+ pi-) and 2(K+ K-) as the signal competes with
K K pi pi and these: the same masses the other way round.

Three identified tracks and the fit say what the fourth is, whatever it is taken for: probes of misidentification.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Final, TypeVar

import hist
import numpy as np

from jpsi_lnv.analysis import candidates, datasets
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON, M_PION, M_PROTON, Species
from jpsi_lnv.analysis.cuts import OURS, requirement
from jpsi_lnv.analysis.events.columns import of_event
from jpsi_lnv.analysis.kinematics import four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.control_probes import COS_THETA, PASSED, P
from jpsi_lnv.analysis.selection.search import chi2_axis
from jpsi_lnv.analysis.selection.search_events import READS, SearchEvents
from jpsi_lnv.analysis.selection.steps import Step, apply

HYPOTHESES: Final = ("pi", "k", "p")
PION, KAON, PROTON = range(3)
N_TRACKS: Final = 4
# Ways to take two positive and two negative tracks for (heavy+, heavy-, pi+, pi-), as places in (+, +, -, -).
WAYS: Final = np.array([[0, 2, 1, 3], [0, 3, 1, 2], [1, 2, 0, 3], [1, 3, 0, 2]])
# What a probe can be taken for by mistake.
MISTAKES: Final = {"electron": pid.is_electron, "kaon": pid.is_hadron}
DELTA_CHI2: Final = hist.axis.Regular(60, -20, 100, name="delta_chi2", label=r"$\chi^2_\mathrm{other}-\chi^2$")
MASS: Final = hist.axis.Regular(200, 3.0, 3.2, name="m_ppbarpipi", label=r"$M(p\bar p\pi^+\pi^-)$ [GeV/$c^2$]")


@dataclass(frozen=True, kw_only=True)
class FitCuts:
    """Requirements of the p pbar pi+ pi- sample; the publication names it and gives no number."""

    m_ppbarpipi_sideband: float = requirement(
        0.1, unit="GeV/c^2", source=OURS, meaning="p pbar pi pi: |M - m(J/psi)| below, before the fit"
    )
    m_ppbarpipi_half_width: float = requirement(
        0.016,
        unit="GeV/c^2",
        source="III, par. 4: three times the resolution; that of p pbar pi pi is 5.2 MeV/c^2",
        meaning="p pbar pi pi: half width of the signal region",
    )


FIT: Final = FitCuts()


View = TypeVar("View", bound="HadronEvents")


class HadronEvents:
    """A view of a chunk of events with two heavy hadrons and two pions.

    Attributes:
        heavy: Index in `HYPOTHESES` of the heavy ones.
        species: What the tracks are, as rates of misidentification tell them apart.
        masses: Rows of the momenta and of masses in GeV/c^2.
        hypotheses: Species of these rows.
        assignments: What the tracks are, as rows, first the decay itself: shape (A, 4).

    Args:
        search: The chunk as the search looks at it, which defines good tracks and the requirement on chi2.
        control: The requirements of the sample.
    """

    heavy: ClassVar[int]
    species: ClassVar[tuple[str, ...]]
    masses: ClassVar[tuple[float, ...]]
    hypotheses: ClassVar[tuple[Species, ...]]
    assignments: ClassVar[tuple[tuple[int, ...], ...]]

    def __init__(self, search: SearchEvents, control: FitCuts = FIT) -> None:
        self.search = search
        self.control = control
        self.columns = search.columns
        self.n_events = search.n_events

    @cached_property
    def has_four_tracks(self) -> BoolArray:
        """Events with four good tracks, whose charges add up to zero, and no more."""
        return self.search.is_retained & (self.search.n_good == N_TRACKS)

    @cached_property
    def cl(self) -> FloatArray:
        """Confidence levels of pi, K and p, shape (tracks, 3)."""
        cuts = dataclasses.replace(self.search.cuts, pid_emc=False, pid_muc=False, pid_identify=" ".join(HYPOTHESES))
        return pid.identify(self.columns, cuts, calibration=self.search.calibration, considered=HYPOTHESES).cl

    @cached_property
    def largest(self) -> IntArray:
        """Hypothesis of the largest confidence level of each track, an index of `HYPOTHESES`; -1: none, (tracks,)."""
        return np.where(self.search.is_good & (self.cl.max(axis=1) > 0), self.cl.argmax(axis=1), -1)

    @cached_property
    def cand(self) -> IntArray:
        """Track indices (p, pbar, pi+, pi-) or (K+, K-, pi+, pi-) of events with one good track of each, (B, 4)."""
        charge, largest = self.search.charge, self.largest
        wanted = [(self.heavy, 1), (self.heavy, -1), (PION, 1), (PION, -1)]
        masks = [(largest == species) & (charge == sign) for species, sign in wanted]
        counts = np.stack([self.search.count_tracks(m) for m in masks])
        is_complete = self.has_four_tracks & (counts == 1).all(axis=0)
        of_track = of_event(self.search.offsets, is_complete)
        return np.stack([np.flatnonzero(m & of_track) for m in masks], axis=1)

    @cached_property
    def event(self) -> IntArray:
        """Event of each candidate, shape (B,)."""
        return np.searchsorted(self.search.offsets, self.cand[:, 0], side="right") - 1

    @cached_property
    def has_candidate(self) -> BoolArray:
        """Events with a candidate, shape (events,)."""
        return np.isin(np.arange(self.n_events), self.event)

    @cached_property
    def momenta(self) -> tuple[FloatArray, FloatArray]:
        """Momenta (4 B, S, 3) and covariances (4 B, S, 6) of the candidates' tracks in each row of `masses`."""
        chosen = self.cand.ravel()
        return tracks.read_momenta(self.columns, self.search.frame, chosen, self.search.correction, self.hypotheses)

    @property
    def _rows(self) -> IntArray:
        """Rows of `momenta` that hold the tracks of `cand`, shape (B, 4)."""
        return np.arange(self.cand.size).reshape(self.cand.shape)

    @cached_property
    def mass(self) -> FloatArray:
        """Measured mass of the four, scaled by m(J/psi)/sqrt(s), shape (B,), in GeV/c^2."""
        p, _ = self.momenta
        decay = self.assignments[0]
        of = np.array(decay) if p.shape[1] > 1 else 0
        p4 = four_momentum(p[self._rows, of], [self.masses[row] for row in decay]).sum(axis=1)
        return invariant_mass(p4) * (M_JPSI / self.search.sqrt_s)

    @cached_property
    def in_sideband(self) -> BoolArray:
        """Candidates near the J/psi mass: the denominator of the fit's efficiency."""
        return np.abs(self.mass - M_JPSI) < self.control.m_ppbarpipi_sideband

    @cached_property
    def chi2_of_each(self) -> FloatArray:
        """chi2 of the 4C fit with every assignment, shape (B, A); inf where it did not converge."""
        search, assignments = self.search, np.array(self.assignments)
        combinations = self._rows, self.event
        tried = candidates.measured(
            self.columns, self.cand.ravel(), combinations, search.cuts, search.correction, self.hypotheses
        )
        spread, limits = search.cuts.beam_spread, fourc.LIMITS[search.cuts.fit_limits]
        p4 = search.p4_of(self.event)
        fits = [
            fourc.fit4c(*start, assignments[of], p4, mass=self.masses, spread=spread, limits=limits)
            for of, start in tried.starts(assignments, np.arange(len(self.event)))
        ]
        status, chi2 = (np.concatenate([getattr(f, name) for f in fits], axis=1) for name in ("status", "chi2"))
        return np.where(status == fourc.Status.OK, chi2, np.inf)

    @property
    def chi2(self) -> FloatArray:
        """chi2 of the 4C fit as the decay itself, shape (B,)."""
        return self.chi2_of_each[:, 0]

    @cached_property
    def passes_fit(self) -> BoolArray:
        """Candidates near the J/psi mass whose chi2 passes the search's requirement."""
        return self.in_sideband & (self.chi2 < self.search.cuts.chi2_4c_max)

    @cached_property
    def in_signal_region(self) -> BoolArray:
        """Candidates that pass the fit and lie in the signal region."""
        return self.passes_fit & (np.abs(self.mass - M_JPSI) < self.control.m_ppbarpipi_half_width)

    @cached_property
    def is_smallest(self) -> BoolArray:
        """Candidates in the signal region whose chi2 is smallest as the decay itself."""
        return self.in_signal_region & (self.chi2 <= self.chi2_of_each.min(axis=1))

    @cached_property
    def probes(self) -> tuple[IntArray, IntArray]:
        """Tracks whose species the others and the fit say, and their place in (heavy+, heavy-, pi+, pi-), (N,) each.

        Every way to give the four tracks their species is tried that agrees with three of them; of several in an event
        the one with the smallest chi2 is taken, if it passes the fit and lies in the signal region.
        """
        four = np.flatnonzero(self.search.is_good & of_event(self.search.offsets, self.has_four_tracks)).reshape(-1, 4)
        order = np.argsort(-self.search.charge[four].astype(np.int64), axis=1, kind="stable")
        ways = np.take_along_axis(four, order, axis=1)[:, WAYS]
        is_right = self.largest[ways] == np.array([self.heavy, self.heavy, PION, PION])
        event, way = np.nonzero(is_right.sum(axis=2) >= N_TRACKS - 1)
        tried = type(self)(self.search, self.control)
        tried.cand = ways[event, way]
        order = np.lexsort((tried.chi2, event))
        _, first = np.unique(event[order], return_index=True)
        best = order[first]
        best = best[tried.in_signal_region[best]]
        others = is_right[event[best], way[best]]
        row, place = np.nonzero((others.sum(axis=1, keepdims=True) - others) == N_TRACKS - 1)
        return tried.cand[best][row, place], place

    def of_event(self, decision: BoolArray) -> BoolArray:
        """Return a decision on the candidates as one per event."""
        per_event = np.zeros(self.n_events, dtype=np.bool_)
        per_event[self.event[decision]] = True
        return per_event


class ProtonEvents(HadronEvents):
    """J/psi -> p pbar pi+ pi-."""

    heavy = PROTON
    species = ("p", "pbar", "pi", "pi")
    masses = (M_PION, M_PROTON)
    hypotheses = (Species.PI, Species.P)
    assignments = ((1, 1, 0, 0),)


class KaonEvents(HadronEvents):
    """J/psi -> K+ K- pi+ pi-, and with pions as electrons, kaons as pions, pions as kaons."""

    heavy = KAON
    species = ("k", "k", "pi", "pi")
    masses = (M_ELECTRON, M_PION, M_KAON)
    hypotheses = tracks.FITTED
    assignments = ((2, 2, 1, 1), (2, 2, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2))


def four_tracks(events: HadronEvents) -> BoolArray:
    """Four good tracks, charges that add up to zero, and no more."""
    return events.has_four_tracks


def hadrons(events: HadronEvents) -> BoolArray:
    """Two heavy hadrons, a pi+ and a pi-, each by its largest confidence level among pi, K, p."""
    return events.has_candidate


def near_jpsi(events: HadronEvents) -> BoolArray:
    """|M - m(J/psi)| < 0.1 GeV/c^2: the denominator of the fit's efficiency."""
    return events.of_event(events.in_sideband)


def chi2_4c(events: HadronEvents) -> BoolArray:
    """chi2_4C < 20 as in the search: the numerator of the fit's efficiency, denominator of the signal region's."""
    return events.of_event(events.passes_fit)


def signal_region(events: HadronEvents) -> BoolArray:
    """|M - m(J/psi)| < 0.016 GeV/c^2, three times the resolution as in the search."""
    return events.of_event(events.in_signal_region)


def smallest_chi2(events: KaonEvents) -> BoolArray:
    """chi2 as K+ K- pi+ pi- is smaller than as K+ K- e+ e-, 2(pi+ pi-) and 2(K+ K-)."""
    return events.of_event(events.is_smallest)


PPBARPIPI_STEPS: Final = (
    Step("four_tracks", "four good tracks, net charge zero", four_tracks),
    Step("hadrons", "p, pbar, pi+, pi- identified", hadrons, hides=True),
    Step("near_jpsi", "mass near the J/psi", near_jpsi),
    Step("chi2_4c", "chi2 of the 4C fit", chi2_4c),
    Step("signal_region", "signal region", signal_region),
)


KKPIPI_STEPS: Final = (
    PPBARPIPI_STEPS[0],
    Step("hadrons", "K+, K-, pi+, pi- identified", hadrons, hides=True),
    *PPBARPIPI_STEPS[2:],
    Step("smallest_chi2", "smallest chi2 of all hypotheses", smallest_chi2),
)


def select(
    chunk: Chunk, name: str, view: type[View], steps: Sequence[Step], histograms: Callable[[View], dict[str, hist.Hist]]
) -> dict[str, Found]:
    """Return cut flow and histograms of one sample."""
    of = view(chunk.events)
    filled = histograms(of) | fill_mistakes(of)
    return {name: {"cutflow": chunk.cut_flow(steps, apply(steps, of), view), "histograms": filled}}


def fill_mistakes(view: HadronEvents) -> dict[str, hist.Hist]:
    """Return for each species and mistake, such as ``pi_to_electron``, how many probes make it."""
    probes, place = view.probes
    cuts, cl = view.search.cuts, pid.identify(view.columns, view.search.cuts, probes).cl
    kappa, tanl = (view.columns.flat("Track", name)[probes] for name in ("kappa", "tanl"))
    p, cos_theta = tracks.momentum(kappa, tanl), tracks.cos_theta(tanl)
    filled = {}
    for species in sorted(set(view.species)):
        is_own = np.array(view.species)[place] == species
        for role, decide in MISTAKES.items():
            if (species, role) != ("k", "kaon"):
                taken = decide(cl, view.search.e_over_p[probes], cuts)
                filled[f"{species}_to_{role}"] = hist.Hist(P, COS_THETA, PASSED, storage=hist.storage.Int64())
                filled[f"{species}_to_{role}"].fill(p[is_own], cos_theta[is_own], taken[is_own])
    return filled


def fill(view: HadronEvents) -> dict[str, hist.Hist]:
    """Return chi2 against mass of the candidates near the J/psi of a chunk."""
    chosen = view.in_sideband
    filled = hist.Hist(chi2_axis(view.search.channel), MASS, storage=hist.storage.Int64())
    filled.fill(view.chi2[chosen], view.mass[chosen])
    return {"chi2_4c_m_ppbarpipi": filled}


def fill_competition(view: KaonEvents) -> dict[str, hist.Hist]:
    """Return by how much chi2 is smaller than that of the nearest other hypothesis, in the signal region."""
    filled = hist.Hist(DELTA_CHI2, storage=hist.storage.Int64())
    chosen = view.chi2_of_each[view.in_signal_region]
    filled.fill(chosen[:, 1:].min(axis=1) - chosen[:, 0])
    return {"delta_chi2": filled}


PROBE_READS: Final = READS | pid.reads(HYPOTHESES)
KKPIPI: Final = Selection(
    partial(select, name=datasets.CONTROL_KKPIPI, view=KaonEvents, steps=KKPIPI_STEPS, histograms=fill_competition),
    PROBE_READS,
)
PPBARPIPI: Final = Selection(
    partial(select, name=datasets.CONTROL_PPBARPIPI, view=ProtonEvents, steps=PPBARPIPI_STEPS, histograms=fill), READS
)
