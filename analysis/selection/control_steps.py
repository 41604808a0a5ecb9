"""The selections of the control samples, step by step.

The last steps are the numerators of efficiencies whose denominators are the steps before them.
"""

from __future__ import annotations

from typing import Final

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.selection.control_fit import ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import KaonProbes, ProbeEvents
from jpsi_lnv.analysis.selection.steps import Step


def tag(events: ProbeEvents) -> BoolArray:
    """A good track that is identified as the search does it, with p > 0.3 GeV/c."""
    return events.search.count_tracks(events.is_identified) > 0


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
    """Two good tracks and no more: the PID denominator."""
    return events.any_tag(events.is_clean)


def probe_identified(events: ProbeEvents) -> BoolArray:
    """The probe is identified as the search does it: the PID numerator."""
    return events.any_tag(events.probe_is_identified)


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


_PROBE: Final = (
    Step("recoil_mass", "recoil has the probe's mass", recoil_mass),
    Step("acceptance", "probe expected in the acceptance", acceptance),
    Step("probe_found", "probe's track found", probe_found),
    Step("two_tracks", "no further track", two_tracks),
    Step("probe_identified", "probe identified", probe_identified),
)
EE: Final = (Step("tag", "identified electron", tag), *_PROBE)
KKPI0: Final = (Step("tag", "identified kaon", tag), Step("pi0", "pi0", pi0), *_PROBE)
PPBARPIPI: Final = (
    Step("four_tracks", "four good tracks, net charge zero", four_tracks),
    Step("hadrons", "p, pbar, pi+, pi- identified", hadrons, hides=True),
    Step("near_jpsi", "mass near the J/psi", near_jpsi),
    Step("chi2_4c", "chi2 of the 4C fit", chi2_4c),
    Step("signal_region", "signal region", signal_region),
)
