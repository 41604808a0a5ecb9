"""The requirements of the control samples; the publication names the samples and gives no number."""

from __future__ import annotations

from dataclasses import dataclass

from jpsi_lnv.analysis.cuts import OURS, requirement


@dataclass(frozen=True, kw_only=True)
class ControlCuts:
    """Requirements of tag and probe and of the p pbar pi+ pi- sample."""

    p_tag_min: float = requirement(0.3, unit="GeV/c", source=OURS, meaning="momentum of a tag above")
    photon_energy_min: float = requirement(
        0.1, unit="GeV", source=OURS, meaning="radiated photon: energy above; noise clusters are softer"
    )
    photon_energy_max: float = requirement(
        1.3, unit="GeV", source=OURS, meaning="radiated photon: energy below; the cluster of an electron is harder"
    )
    photon_angle_min: float = requirement(
        0.22, unit="rad", source=OURS, meaning="radiated photon: angle to the expected impact of the probe above"
    )
    m2_recoil_electron_max: float = requirement(
        0.15, unit="GeV^2/c^4", source=OURS, meaning="recoil of tag and photon: |m^2 - m_e^2| below, three sigma"
    )
    m2_recoil_kaon_max: float = requirement(
        0.15, unit="GeV^2/c^4", source=OURS, meaning="recoil of tag and pi0: |m^2 - m_K^2| below, three sigma"
    )
    p_probe_min: float = requirement(
        0.1, unit="GeV/c", source=OURS, meaning="momentum expected of a probe above: slower ones curl up"
    )
    probe_angle_max: float = requirement(
        0.35, unit="rad", source=OURS, meaning="angle between a probe's track and the expected direction below"
    )
    m_ppbarpipi_sideband: float = requirement(
        0.1, unit="GeV/c^2", source=OURS, meaning="p pbar pi pi: |M - m(J/psi)| below, before the fit"
    )
    m_ppbarpipi_half_width: float = requirement(
        0.016,
        unit="GeV/c^2",
        source="III, par. 4: three times the resolution; that of p pbar pi pi is 5.2 MeV/c^2",
        meaning="p pbar pi pi: half width of the signal region",
    )


CONTROL = ControlCuts()
