"""Histograms of the control samples: efficiency maps of tag and probe, chi2 and mass of the fit's sample.

Storage is Int64, as in the search: any chunking and any executor give equal histograms.
"""

from __future__ import annotations

from typing import Final

import hist
import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.histograms import CHI2_4C
from jpsi_lnv.analysis.selection.control_fit import ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import ProbeEvents

# Wide bins: a radiated photon that slows an electron down to the signal's momenta is rare.
P: Final = hist.axis.Variable([0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.4, 1.7], name="p", label="$p$ of the probe [GeV/$c$]")
COS_THETA: Final = hist.axis.Variable(
    [-0.93, -0.8, -0.4, 0.4, 0.8, 0.93], name="cos_theta", label=r"$\cos\theta$ of the probe"
)
PASSED: Final = hist.axis.Boolean(name="passed", label="passed")
M2_DIFFERENCE: Final = hist.axis.Regular(
    100, -0.5, 0.5, name="m2_difference", label=r"$m^2_\mathrm{recoil}-m^2_\mathrm{probe}$ [GeV$^2/c^4$]"
)
MASS: Final = hist.axis.Regular(200, 3.0, 3.2, name="m_ppbarpipi", label=r"$M(p\bar p\pi^+\pi^-)$ [GeV/$c^2$]")


def fill_probes(view: ProbeEvents, is_visible: BoolArray) -> dict[str, hist.Hist]:
    """Return the maps ``tracking`` and ``pid`` and the recoil's squared mass of a chunk.

    Args:
        view: The events.
        is_visible: Events that may be counted, shape (events,).
    """
    seen = is_visible[view.event]
    int64 = hist.storage.Int64
    tracking, pid = (hist.Hist(P, COS_THETA, PASSED, storage=int64()) for _ in range(2))
    expected = seen & view.in_acceptance
    tracking.fill(view.p_probe[expected], view.cos_theta_probe[expected], view.is_found[expected])
    clean = seen & view.is_clean
    p4 = view.p4[view.probe[clean]]
    momentum = np.linalg.norm(p4[:, :3], axis=1)
    pid.fill(momentum, p4[:, 2] / momentum, view.probe_is_identified[clean])
    recoil = hist.Hist(M2_DIFFERENCE, storage=int64())
    recoil.fill(view.m2_difference[seen & np.isfinite(view.m2_difference)])
    return {"tracking": tracking, "pid": pid, "m2_difference": recoil}


def fill_fit(view: ProtonEvents, is_visible: BoolArray) -> dict[str, hist.Hist]:
    """Return chi2 against mass of the candidates near the J/psi of a chunk.

    Args:
        view: The events.
        is_visible: Events that may be counted, shape (events,).
    """
    chosen = is_visible[view.event] & view.in_sideband
    filled = hist.Hist(CHI2_4C, MASS, storage=hist.storage.Int64())
    filled.fill(view.chi2[chosen], view.mass[chosen])
    return {"chi2_4c_m_ppbarpipi": filled}
