"""The blind box: events whose candidates lie in the signal window are hidden before anything is counted.

An event is hidden as soon as one of its candidates has a mass in the box, whatever its chi2: the box is defined by
measured momenta, before the kinematic fit, so that no choice made later can move an event out of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.cuts import Cuts


def in_box(
    m_kkee: npt.NDArray[np.float64], event: npt.NDArray[np.int64], n_events: int, cuts: Cuts
) -> npt.NDArray[np.bool_]:
    """Return which events have any candidate in the signal window.

    Args:
        m_kkee: Measured M(KKee) of every candidate, scaled by m(J/psi)/sqrt(s), in GeV/c^2.
        event: Event of every candidate.
        n_events: Number of events.
        cuts: The requirements; the box is their signal region.
    """
    inside = (m_kkee >= cuts.m_kkee_min) & (m_kkee <= cuts.m_kkee_max)
    hidden = np.zeros(n_events, dtype=np.bool_)
    hidden[event[inside]] = True
    return hidden
