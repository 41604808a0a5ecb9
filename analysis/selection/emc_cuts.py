"""The requirements of the control samples that the calorimeter's tables are made from; all of them are ours."""

from __future__ import annotations

from dataclasses import dataclass

from jpsi_lnv.analysis.cuts import OURS, requirement


@dataclass(frozen=True, kw_only=True)
class EmcControlCuts:
    """Requirements of J/psi -> 2(e+ e-) and J/psi -> 2(pi+ pi-); none looks at the calorimeter's answer to a probe."""

    cl_tag_min: float = requirement(
        0.001, unit="", source=OURS, meaning="tag: CL of its species, of dE/dx and TOF alone, above; as an electron's"
    )
    cl_ratio_tag_min: float = requirement(
        0.5, unit="", source=OURS, meaning="tag: share of that CL in CL_e+CL_pi+CL_K above: likelier than all others"
    )
    e_over_p_electron_min: float = requirement(
        0.8, unit="c", source="III, par. 2", meaning="tag electron: E/p above; removes pions and muons"
    )
    e_over_p_electron_max: float = requirement(
        1.2, unit="c", source="III, par. 2", meaning="tag electron: E/p below; removes clusters of two particles"
    )
    e_over_p_pion_max: float = requirement(
        0.8, unit="c", source="III, par. 2, of kaons", meaning="tag pion: E/p below; removes electrons"
    )
    chi2_4c_max: float = requirement(
        60.0,
        unit="",
        source=OURS,
        meaning="chi2 of the 4C fit below; three times the search's, so that tracks with radiation stay",
    )


EMC_CONTROL = EmcControlCuts()
