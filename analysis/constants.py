"""Masses, beam parameters and sample sizes: unit and source beside each value.

Units: GeV, GeV/c, GeV/c^2, cm, ns, rad, T.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# Particle masses in GeV/c^2, PDG 2026.
M_ELECTRON: Final = 0.51099895e-3
M_MUON: Final = 0.1056583755
M_PION: Final = 0.13957039
M_PION0: Final = 0.1349768
M_KAON: Final = 0.493677
M_PROTON: Final = 0.93827208816
M_JPSI: Final = 3.096900

# Speed of light in cm/ns (exact) and the radius constant of a track: R[cm] = P_TO_RADIUS * pT[GeV/c] / B[T].
SPEED_OF_LIGHT: Final = 29.9792458
P_TO_RADIUS: Final = 333.564095

# Half of the BEPCII crossing angle (2 x 11 mrad) in rad; the real BOSS file shows p_x = 0.03407 GeV/c.
HALF_CROSSING_ANGLE: Final = 0.011

# Number of J/psi in the data, BESIII, Chin. Phys. C 46, 074001 (2022), arXiv:2111.07571.
N_JPSI: Final = 10087e6
N_JPSI_UNCERTAINTY: Final = 44e6
# The same of the data sets one by one, and their uncertainties, by the names of the publication.
N_JPSI_OF: Final = {"2009": (224.0e6, 1.3e6), "2012": (1088.5e6, 4.4e6), "2017-2019": (8774.0e6, 39.4e6)}

# First and last run of each period, with the psi(3686) and the scans beside the J/psi (BEAN's list of samples).
PERIOD_RUNS: Final = {2009: (8093, 10878), 2012: (25338, 28266), 2018: (52940, 59141)}

# chi2 of the 4C fit up to which fits are decided and stored, the upper edge of the chi2 axes: below it every decision
# of the cascade is that of the full fits.
CHI2_MAX: Final = 200.0


class Species(IntEnum):
    """Mass hypotheses of a charged track; the value indexes every per-species array."""

    E = 0
    PI = 1
    K = 2
    P = 3
    MU = 4


# Mass of each species in GeV/c^2, in the order of `Species`.
SPECIES_MASS: Final[tuple[float, ...]] = (M_ELECTRON, M_PION, M_KAON, M_PROTON, M_MUON)

# Hypotheses that BOSS identifies a charged track with, in its order.
PID_HYPOTHESES: Final = ("e", "mu", "pi", "k", "p")
