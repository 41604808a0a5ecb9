"""J/psi -> p pbar pi+ pi-: what its steps ask of a chunk of events. It has four tracks and no neutral particle."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI, M_PION, M_PROTON
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.events.columns import Columns, of_event
from jpsi_lnv.analysis.kinematics import four_momentum, initial_four_momentum, invariant_mass
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.selection.control_cuts import CONTROL, ControlCuts
from jpsi_lnv.analysis.selection.search_events import SearchEvents

HYPOTHESES: Final = ("pi", "k", "p")
PION, KAON, PROTON = range(3)
# Rows of the momenta and masses of this view.
MASSES: Final = (M_PION, M_PROTON)
SPECIES: Final = (1, 1, 0, 0)
N_TRACKS: Final = 4


class ProtonEvents:
    """A view of a chunk of events.

    Args:
        columns: The chunk's columns.
        cuts: The requirements of the search, which define good tracks and the requirement on chi2.
        sqrt_s: Centre-of-mass energy in GeV.
        control: The requirements of the sample.
    """

    def __init__(self, columns: Columns, cuts: Cuts, sqrt_s: float, control: ControlCuts = CONTROL) -> None:
        self.columns = columns
        self.control = control
        self.search = SearchEvents(columns, cuts, sqrt_s)
        self.n_events = columns.n_events

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
