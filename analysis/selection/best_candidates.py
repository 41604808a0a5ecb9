"""The best candidate of each event: the one with the smallest chi2 of the 4C fit, and what is decided on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.candidates import best_per_event
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.kinfit import fourc, hypotheses

SIGNAL = 0


@dataclass(frozen=True)
class FittedCandidates:
    """Candidates with the chi2 of their fits.

    Attributes:
        row: Row among the combinations, shape (B,).
        event: Event, shape (B,).
        chi2: chi2 under every assignment, shape (B, H); inf where the fit did not converge or does not compete.
        status: Status of every fit, shape (B, H).
    """

    row: IntArray
    event: IntArray
    chi2: FloatArray
    status: npt.NDArray[np.int8]

    @property
    def chi2_4c(self) -> FloatArray:
        """chi2 of the KKee assignment, shape (B,)."""
        return self.chi2[:, SIGNAL]

    @property
    def chi2_alternative(self) -> FloatArray:
        """Smallest chi2 of the other assignments, shape (B,)."""
        return self.chi2[:, SIGNAL + 1 :].min(axis=1, initial=np.inf)

    @property
    def has_chi2(self) -> BoolArray:
        """Fits that converged below the upper edge of the stored axis, shape (B,)."""
        return self.chi2_4c < fourc.CASCADE_CHI2

    def __getitem__(self, keep: BoolArray) -> FittedCandidates:
        """Return the candidates that a mask selects."""
        return FittedCandidates(*(getattr(self, f.name)[keep] for f in fields(self)))


def fit_signal(p: FloatArray, v: FloatArray, cand: IntArray, p4_total: FloatArray) -> tuple[fourc.Fit4C, FloatArray]:
    """Fit every combination as KKee.

    Args:
        p: Momenta (P, S, 3) of the tracks in play in GeV/c.
        v: Their covariances (P, S, 6).
        cand: Places (N, 4) of the combinations' tracks among those.
        p4_total: Initial four-momentum (4,) in GeV.

    Returns:
        The fits, of shape (N, 1), and the fitted four-momenta (N, 4, 4) in GeV; NaN where a fit is not OK.
    """
    return fourc.fit_with_momenta(p, v, cand, hypotheses.HYPOTHESES[SIGNAL], p4_total)


def fit_best(
    signal: fourc.Fit4C,
    p: FloatArray,
    v: FloatArray,
    combinations: tuple[IntArray, IntArray],
    chi2_pid: FloatArray,
    p4_total: FloatArray,
    cuts: Cuts,
) -> FittedCandidates:
    """Keep the combination of each event with the smallest chi2 as KKee, and fit it under the other assignments.

    The alternatives are fitted up to the upper edge of the stored chi2 axis, not only below the cut, so that the cut
    can be chosen again without a rerun.

    Args:
        signal: Fits of every combination as KKee, from `fit_signal`.
        p: Momenta (P, S, 3) of the tracks in play in GeV/c.
        v: Their covariances (P, S, 6).
        combinations: Places (N, 4) of their tracks among those, and event (N,).
        chi2_pid: PID chi2 (P, 3) of e, pi, K.
        p4_total: Initial four-momentum (4,) in GeV.
        cuts: The requirements.
    """
    cand, event = combinations
    row = best_per_event(signal.chi2[:, SIGNAL], event)
    tracks = cand[row]
    competes = hypotheses.competing(cuts.kkpipi_permutations, tracks, chi2_pid)[:, SIGNAL + 1 :]
    competes &= (signal.chi2[row, SIGNAL] < fourc.CASCADE_CHI2)[:, None]
    others = fourc.fit4c(p, v, tracks, hypotheses.HYPOTHESES[SIGNAL + 1 :], p4_total, competes=competes)
    status = np.concatenate([signal.status[row], others.status], axis=1)
    chi2 = np.concatenate([signal.chi2[row], others.chi2], axis=1)
    chi2[status != fourc.Status.OK] = np.inf
    return FittedCandidates(row, event[row], chi2, status)
