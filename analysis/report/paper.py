"""The published results, as printed: BESIII Collaboration, arXiv:2507.06872.

Where two printed numbers disagree both stand here. Only the report and the tests import this module: nothing
that computes a limit can read it off the publication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SOURCE: Final = "BESIII Collaboration, arXiv:2507.06872"
N_JPSI: Final = 10087e6
N_JPSI_UNCERTAINTY: Final = 44e6
CONFIDENCE_LEVEL: Final = 0.90

# Detection efficiency in percent: section III, and section V.A where the limit is computed.
EFFICIENCY_PERCENT_SELECTION: Final = 15.68
EFFICIENCY_PERCENT_LIMIT: Final = 15.83
N_SIGNAL_MC: Final = 100_000
N_OBSERVED: Final = 1
N_BACKGROUND: Final = 0
# Limit of the produced yield and of the branching fraction, section V.A.
N_UP: Final = 23.2
BRANCHING_FRACTION_UL: Final = 2.1e-9
SIGNAL_REGION: Final = (3.07, 3.12)
CHI2_4C_MAX: Final = 20.0

# Table 1, in percent.
SYSTEMATIC_PERCENT: Final = {
    "n_jpsi": 0.5,
    "tracking": 2.0,
    "pid": 2.2,
    "kinematic_fit": 6.2,
    "signal_region": 0.4,
    "mc_statistics": 0.9,
    "mc_modelling": 1.0,
}
SYSTEMATIC_PERCENT_TOTAL: Final = 7.0
# Section IV, in percent per track.
TRACKING_PERCENT_PER_TRACK: Final = {"electron": 0.7, "kaon": 0.3}
PID_PERCENT_PER_TRACK: Final = {"electron": 0.5, "kaon": 0.6}

# Smallest and largest limit of the mass scan in 1e-9 as the text has them (sections V.B and VI).
TEXT_LIMIT_RANGE: Final = (0.92, 2.04)
# Masses of the scan in GeV/c^2 as section V.B has them; Table 2 goes on to 1.525.
TEXT_MASS_RANGE: Final = (0.575, 1.500)


@dataclass(frozen=True)
class MassPoint:
    """One row of Table 2.

    Attributes:
        m_majorana: Mass in GeV/c^2.
        efficiency_percent: Detection efficiency of J/psi -> nu nu, in percent.
        n_obs: Observed events.
        n_bkg: Expected background events.
        delta_sys_percent: Total relative systematic uncertainty, in percent.
        branching_fraction_ul_1e9: Upper limit of the branching fraction at 90 % CL, in 1e-9.
    """

    m_majorana: float
    efficiency_percent: float
    n_obs: int
    n_bkg: int
    delta_sys_percent: float
    branching_fraction_ul_1e9: float


MASS_SCAN: Final = (
    MassPoint(0.575, 8.97, 0, 0, 26.8, 2.04),
    MassPoint(0.600, 12.34, 0, 0, 25.8, 1.48),
    MassPoint(0.625, 13.69, 0, 0, 26.4, 1.34),
    MassPoint(0.650, 13.60, 0, 0, 22.9, 1.35),
    MassPoint(0.675, 13.79, 0, 0, 19.3, 1.33),
    MassPoint(0.700, 14.15, 0, 0, 16.9, 1.29),
    MassPoint(0.725, 14.56, 0, 0, 15.5, 1.26),
    MassPoint(0.750, 15.32, 0, 0, 14.1, 1.19),
    MassPoint(0.775, 15.87, 0, 0, 12.1, 1.15),
    MassPoint(0.800, 16.14, 0, 0, 11.3, 1.13),
    MassPoint(0.825, 16.18, 0, 0, 8.4, 1.13),
    MassPoint(0.850, 16.67, 0, 0, 11.2, 1.10),
    MassPoint(0.875, 16.57, 0, 0, 9.0, 1.11),
    MassPoint(0.900, 16.26, 0, 0, 7.0, 1.11),
    MassPoint(0.925, 16.55, 0, 0, 7.0, 1.11),
    MassPoint(0.950, 16.55, 0, 0, 7.0, 1.09),
    MassPoint(0.975, 16.72, 0, 0, 7.0, 1.09),
    MassPoint(1.000, 16.74, 0, 0, 7.0, 1.08),
    MassPoint(1.025, 16.94, 0, 0, 7.1, 1.08),
    MassPoint(1.050, 16.96, 0, 0, 7.0, 1.07),
    MassPoint(1.075, 17.16, 0, 0, 7.2, 1.08),
    MassPoint(1.100, 16.96, 0, 0, 7.5, 1.08),
    MassPoint(1.125, 17.01, 0, 0, 7.8, 1.06),
    MassPoint(1.150, 17.28, 0, 0, 7.0, 1.05),
    MassPoint(1.175, 17.36, 0, 0, 7.4, 1.05),
    MassPoint(1.200, 17.47, 1, 0, 7.2, 1.93),
    MassPoint(1.225, 17.94, 0, 0, 7.0, 1.02),
    MassPoint(1.250, 17.16, 0, 0, 7.0, 1.01),
    MassPoint(1.275, 18.30, 0, 0, 7.5, 1.00),
    MassPoint(1.300, 18.55, 0, 0, 7.3, 0.99),
    MassPoint(1.325, 18.51, 0, 0, 7.6, 0.99),
    MassPoint(1.350, 18.75, 0, 0, 8.5, 0.98),
    MassPoint(1.375, 18.80, 0, 0, 8.9, 0.97),
    MassPoint(1.400, 19.12, 0, 0, 9.4, 0.96),
    MassPoint(1.425, 18.82, 0, 0, 8.7, 0.97),
    MassPoint(1.450, 19.31, 0, 0, 11.5, 0.95),
    MassPoint(1.475, 19.38, 0, 0, 11.1, 0.95),
    MassPoint(1.500, 20.00, 0, 0, 12.8, 0.92),
    MassPoint(1.525, 20.28, 0, 0, 16.2, 0.90),
)
