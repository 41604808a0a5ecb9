"""J/psi -> p pbar pi+ pi-: the kinematic fit and the signal region. It has four tracks and no neutral particle.

The last steps are the numerators of efficiencies whose denominators are the steps before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI, M_PION, M_PROTON
from jpsi_lnv.analysis.cuts import OURS, requirement
from jpsi_lnv.analysis.events.columns import of_event
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.search import CHI2_4C
from jpsi_lnv.analysis.selection.search_events import GOOD_TRACKS, SearchEvents
from jpsi_lnv.analysis.selection.steps import Step, apply

HYPOTHESES: Final = ("pi", "k", "p")
PION, KAON, PROTON = range(3)
# Rows of the momenta and masses of this view.
MASSES: Final = (M_PION, M_PROTON)
SPECIES: Final = (1, 1, 0, 0)
N_TRACKS: Final = 4
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


class ProtonEvents:
    """A view of a chunk of events.

    Args:
        search: The chunk as the search looks at it, which defines good tracks and the requirement on chi2.
        control: The requirements of the sample.
    """

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
        chi = (pid.dedx_chi(self.columns, HYPOTHESES), pid.tof_chi(self.columns, HYPOTHESES))
        return pid.confidence_levels(chi, self.search.cuts.pid_chi_max).cl

    @cached_property
    def cand(self) -> IntArray:
        """Track indices (p, pbar, pi+, pi-) of the events that have one good track of each, shape (B, 4)."""
        charge = self.search.charge
        largest = np.where(self.search.is_good & (self.cl.max(axis=1) > 0), self.cl.argmax(axis=1), -1)
        wanted = [(PROTON, 1), (PROTON, -1), (PION, 1), (PION, -1)]
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
        """Momenta (4 B, 2, 3) and covariances (4 B, 2, 6) of the candidates' tracks as pion and as proton."""
        suffixes = ("", "_p" if self.columns.has("Track", "dr_p") else "")
        sets = [
            tracks.momenta_at_ip(
                tracks.read_helix(self.columns, suffix),
                [self.columns.flat("Track", name + suffix) for name in tracks.MOMENTUM_COVARIANCE],
                self.search.frame,
                self.cand.ravel(),
            )
            for suffix in suffixes
        ]
        return np.stack([p for p, _ in sets], axis=1), np.stack([v for _, v in sets], axis=1)

    @property
    def _rows(self) -> IntArray:
        """Rows of `momenta` that hold the tracks of `cand`, shape (B, 4)."""
        return np.arange(self.cand.size).reshape(self.cand.shape)

    @cached_property
    def mass(self) -> FloatArray:
        """Measured M(p pbar pi pi), scaled by m(J/psi)/sqrt(s), shape (B,), in GeV/c^2."""
        p, _ = self.momenta
        p4 = four_momentum(p[self._rows, np.array(SPECIES)], [MASSES[row] for row in SPECIES]).sum(axis=1)
        return invariant_mass(p4) * (M_JPSI / self.search.sqrt_s)

    @cached_property
    def in_sideband(self) -> BoolArray:
        """Candidates near the J/psi mass: the denominator of the fit's efficiency."""
        return np.abs(self.mass - M_JPSI) < self.control.m_ppbarpipi_sideband

    @cached_property
    def chi2(self) -> FloatArray:
        """chi2 of the 4C fit, shape (B,); inf where it did not converge."""
        p, v = self.momenta
        p4_total = initial_four_momentum(self.search.sqrt_s)
        fit = fourc.fit4c(p, v, self._rows, np.array([SPECIES]), p4_total, mass=MASSES)
        return np.where(fit.status[:, 0] == fourc.Status.OK, fit.chi2[:, 0], np.inf)

    @cached_property
    def passes_fit(self) -> BoolArray:
        """Candidates near the J/psi mass whose chi2 passes the search's requirement."""
        return self.in_sideband & (self.chi2 < self.search.cuts.chi2_4c_max)

    @cached_property
    def in_signal_region(self) -> BoolArray:
        """Candidates that pass the fit and lie in the signal region."""
        return self.passes_fit & (np.abs(self.mass - M_JPSI) < self.control.m_ppbarpipi_half_width)

    def of_event(self, decision: BoolArray) -> BoolArray:
        """Return a decision on the candidates as one per event."""
        per_event = np.zeros(self.n_events, dtype=np.bool_)
        per_event[self.event[decision]] = True
        return per_event


def four_tracks(events: ProtonEvents) -> BoolArray:
    """Four good tracks, charges that add up to zero, and no more."""
    return events.has_four_tracks


def hadrons(events: ProtonEvents) -> BoolArray:
    """A proton, an antiproton, a pi+ and a pi-, each by its largest confidence level among pi, K, p."""
    return events.has_candidate


def near_jpsi(events: ProtonEvents) -> BoolArray:
    """|M(p pbar pi pi) - m(J/psi)| < 0.1 GeV/c^2: the denominator of the fit's efficiency."""
    return events.of_event(events.in_sideband)


def chi2_4c(events: ProtonEvents) -> BoolArray:
    """chi2_4C < 20 as in the search: the numerator of the fit's efficiency, denominator of the signal region's."""
    return events.of_event(events.passes_fit)


def signal_region(events: ProtonEvents) -> BoolArray:
    """|M(p pbar pi pi) - m(J/psi)| < 0.016 GeV/c^2, three times the resolution as in the search."""
    return events.of_event(events.in_signal_region)


PPBARPIPI_STEPS: Final = (
    Step("four_tracks", "four good tracks, net charge zero", four_tracks),
    Step("hadrons", "p, pbar, pi+, pi- identified", hadrons, hides=True),
    Step("near_jpsi", "mass near the J/psi", near_jpsi),
    Step("chi2_4c", "chi2 of the 4C fit", chi2_4c),
    Step("signal_region", "signal region", signal_region),
)


def select(chunk: Chunk) -> dict[str, Found]:
    """Return cut flow and histograms of the sample."""
    view = ProtonEvents(chunk.events)
    flow = chunk.cut_flow(PPBARPIPI_STEPS, apply(PPBARPIPI_STEPS, view), ProtonEvents)
    return {datasets.CONTROL_PPBARPIPI: {"cutflow": flow, "histograms": fill(view)}}


def fill(view: ProtonEvents) -> dict[str, hist.Hist]:
    """Return chi2 against mass of the candidates near the J/psi of a chunk."""
    chosen = view.in_sideband
    filled = hist.Hist(CHI2_4C, MASS, storage=hist.storage.Int64())
    filled.fill(view.chi2[chosen], view.mass[chosen])
    return {"chi2_4c_m_ppbarpipi": filled}


PPBARPIPI: Final = Selection(select, GOOD_TRACKS | pid.reads(HYPOTHESES))
