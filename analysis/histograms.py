"""Every histogram of the search, each axis declared once.

Storage is Int64: unweighted counts add up exactly, so that any chunking and any executor give equal histograms.
Masses of the KKee system are scaled by m(J/psi)/sqrt(s), which leaves J/psi data alone and brings continuum data into
the same window. Units: GeV/c^2.
"""

from __future__ import annotations

from typing import Final

import hist

CHI2_UPPER_EDGE: Final = 200.0
ROLES: Final = ("electron", "kaon")

M_KKEE: Final = hist.axis.Regular(400, 2.9, 3.3, name="m_kkee", label=r"$M(K^\pm K^\pm e^\mp e^\mp)$ [GeV/$c^2$]")
M_KKEE_COARSE: Final = hist.axis.Regular(80, 2.9, 3.3, name="m_kkee", label=r"$M(K^\pm K^\pm e^\mp e^\mp)$ [GeV/$c^2$]")
M_KE: Final = hist.axis.Regular(440, 0.4, 2.6, name="m_ke", label=r"$M(K^\pm e^\mp)$, fitted [GeV/$c^2$]")
CHI2_4C: Final = hist.axis.Regular(200, 0.0, CHI2_UPPER_EDGE, name="chi2_4c", label=r"$\chi^2_\mathrm{4C}(KKee)$")
CHI2_DIFFERENCE: Final = hist.axis.Regular(
    400,
    -200.0,
    200.0,
    name="chi2_difference",
    label=r"smallest alternative $\chi^2_\mathrm{4C}$ - $\chi^2_\mathrm{4C}(KKee)$",
)
CONVERSION_RADIUS: Final = hist.axis.Regular(60, 0.0, 30.0, name="conversion_radius", label="conversion radius [cm]")
E_OVER_P: Final = hist.axis.Regular(150, 0.0, 1.5, name="e_over_p", label=r"$E/p$ [$c$]")
CONFIDENCE_LEVEL: Final = hist.axis.Regular(
    100, 0.0, 1.0, name="confidence_level", label="confidence level of its role"
)
ROLE: Final = hist.axis.StrCategory(ROLES, name="role", label="role")


def stage_axis(names: tuple[str, ...]) -> hist.axis.StrCategory:
    """Return the axis of selection stages; its categories are fixed, so that merging cannot reorder them."""
    return hist.axis.StrCategory(names, name="stage", label="after")


def search_histograms(stages: tuple[str, ...]) -> dict[str, hist.Hist]:
    """Return the empty histograms of the search for one dataset.

    Args:
        stages: Names of the steps from the first that has a candidate's mass to the last.

    Returns:
        Name -> histogram. `n_minus_1_<step>` holds the variable of a step after all other steps.
    """
    int64 = hist.storage.Int64
    return {
        "m_kkee": hist.Hist(stage_axis(stages), M_KKEE, storage=int64()),
        "m_ke": hist.Hist(stage_axis(stages), M_KE, storage=int64()),
        "chi2_4c": hist.Hist(stage_axis(stages), CHI2_4C, storage=int64()),
        "chi2_4c_m_kkee": hist.Hist(CHI2_4C, M_KKEE_COARSE, storage=int64()),
        "e_over_p": hist.Hist(ROLE, E_OVER_P, storage=int64()),
        "confidence_level": hist.Hist(ROLE, CONFIDENCE_LEVEL, storage=int64()),
        "n_minus_1_alternative_hypotheses": hist.Hist(CHI2_DIFFERENCE, storage=int64()),
        "n_minus_1_chi2_4c": hist.Hist(CHI2_4C, storage=int64()),
        "n_minus_1_conversion_veto": hist.Hist(CONVERSION_RADIUS, storage=int64()),
        "n_minus_1_signal_region": hist.Hist(M_KKEE, storage=int64()),
    }
