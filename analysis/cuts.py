"""Every requirement of the publication's section III, as frozen values with unit and place.

A variation is a copy: ``dataclasses.replace(SELECTION, chi2_4c_max=25.0)``. The README's cut table is made from here.
Where the publication names a requirement without a number, `source` says that the value is ours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from jpsi_lnv.analysis.documents import digest_of_json

OURS = "ours: the publication gives no number"


def requirement(default: Any, *, unit: str, source: str, meaning: str) -> Any:
    """Return a dataclass field that carries its unit, its place in the publication and its meaning."""
    return dataclasses.field(default=default, metadata={"unit": unit, "source": source, "meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """The requirements of the search for J/psi -> K+ K+ e- e- + c.c., in the order they are applied."""

    cos_theta_max: float = requirement(
        0.93, unit="", source="III, par. 1", meaning="largest |cos theta| of a good track"
    )
    r_xy_max: float = requirement(
        1.0, unit="cm", source="III, par. 1", meaning="a good track's distance to the interaction point in xy is below"
    )
    r_z_max: float = requirement(
        10.0, unit="cm", source="III, par. 1", meaning="a good track's distance to the interaction point in z is below"
    )
    n_tracks_min: int = requirement(4, unit="", source="III, par. 1", meaning="smallest number of good tracks")
    net_charge: int = requirement(0, unit="e", source="III, par. 1", meaning="sum of the good tracks' charges")
    pid_chi_max: float = requirement(
        4.0, unit="sigma", source="BOSS ParticleID", meaning="a subsystem counts if any hypothesis has |chi| below"
    )
    pid_emc: bool = requirement(
        True, unit="", source="III, par. 2", meaning="EMC energy and shower shape enter the confidence levels"
    )
    cl_e_min: float = requirement(0.001, unit="", source="III, par. 2", meaning="electron: CL_e above")
    cl_e_ratio_min: float = requirement(
        0.8, unit="", source="III, par. 2", meaning="electron: CL_e/(CL_e+CL_K+CL_pi) above"
    )
    e_over_p_electron_min: float = requirement(0.8, unit="c", source="III, par. 2", meaning="electron: E/p above")
    e_over_p_electron_max: float = requirement(1.2, unit="c", source="III, par. 2", meaning="electron: E/p below")
    cl_k_min: float = requirement(0.0, unit="", source="III, par. 2", meaning="kaon: CL_K above (and above CL_pi)")
    e_over_p_kaon_max: float = requirement(0.8, unit="c", source="III, par. 2", meaning="kaon: E/p below")
    n_electrons_min: int = requirement(2, unit="", source="III, par. 2", meaning="smallest number of electrons")
    n_kaons_min: int = requirement(2, unit="", source="III, par. 2", meaning="smallest number of kaons")
    kkpipi_permutations: Literal["one", "all"] = requirement(
        "one",
        unit="",
        source="III, par. 3; " + OURS,
        meaning="K+K-pi+pi- assignments a candidate competes with: the one best by PID, or all four",
    )
    chi2_4c_max: float = requirement(20.0, unit="", source="III, par. 3", meaning="chi2 of the 4C fit below")
    conversion_partners: Literal["all", "not_kaons"] = requirement(
        "all",
        unit="",
        source="III, par. 3; " + OURS,
        meaning="partners of an electron in the veto: every good track of opposite charge, or none read as kaon",
    )
    conversion_delta_xy_max: float = requirement(
        0.3, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: gap or overlap of the two circles below"
    )
    conversion_m_ee_max: float = requirement(
        0.05, unit="GeV/c^2", source="III, par. 3; " + OURS, meaning="conversion: m(ee) at the conversion point below"
    )
    conversion_radius_min: float = requirement(
        2.0, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: radius of the conversion point above"
    )
    conversion_radius_max: float = requirement(
        7.5, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: radius of the conversion point below"
    )
    m_kkee_min: float = requirement(3.07, unit="GeV/c^2", source="III, par. 4", meaning="signal region: M(KKee) from")
    m_kkee_max: float = requirement(3.12, unit="GeV/c^2", source="III, par. 4", meaning="signal region: M(KKee) to")

    def digest(self) -> str:
        """Return a short digest of every value: two results agree in it only if their cuts do."""
        return digest_of_json(dataclasses.asdict(self))


SELECTION = Cuts()
