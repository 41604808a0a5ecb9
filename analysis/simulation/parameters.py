"""Every number of the detector response, with its source; and the three data-taking periods.

Sources are tagged: [paper] the publication, [BOSS file] a fit to the real BOSS simulation, [geometry] tables of the
BESIII geometry, [PDG], [memory] published values quoted from memory, [assumption].
The set `NOMINAL` was chosen knowing the published efficiencies: E/p of electrons, material, shower overlap, tails,
TOF and tracking efficiency. Agreement with them is one of shape, not a prediction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

PAPER: Final = "[paper]"
BOSS: Final = "[BOSS file]"
GEOMETRY: Final = "[geometry]"
PDG: Final = "[PDG]"
MEMORY: Final = "[memory]"
ASSUMPTION: Final = "[assumption]"


def parameter(default: float, unit: str, source: str, meaning: str) -> Any:
    """Return a dataclass field that carries its unit, its source tag and its meaning."""
    return dataclasses.field(default=default, metadata={"unit": unit, "source": source, "meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class DetectorParameters:
    """The response of the detector; lengths in cm, times in ns, energies in GeV."""

    # Material and decays in flight
    material: float = parameter(
        0.021, "X0", ASSUMPTION, "beam pipe, inner wall, gas and wires together, at normal incidence"
    )
    pipe_fraction: float = parameter(0.70, "", MEMORY, "share of the beam pipe in the material")
    pipe_radius: float = parameter(3.2, "cm", MEMORY, "radius of the beam pipe")
    wall_radius: float = parameter(6.1, "cm", MEMORY, "radius of the MDC's inner wall")
    decay_radius_early: float = parameter(15.0, "cm", ASSUMPTION, "decays inside: the daughter makes the track")
    decay_radius_late: float = parameter(65.0, "cm", ASSUMPTION, "decays inside: the track is lost or kinked")
    decay_loss: float = parameter(0.5, "", ASSUMPTION, "share of the tracks lost between the two radii")
    decay_smear: float = parameter(0.04, "", ASSUMPTION, "relative momentum error of the kinked tracks")
    # MDC
    cos_theta_max: float = parameter(0.93, "", GEOMETRY, "angular acceptance of the MDC")
    mdc_radius_in: float = parameter(7.89, "cm", GEOMETRY, "first layer")
    mdc_radius_out: float = parameter(76.34, "cm", GEOMETRY, "last layer")
    mdc_half_length: float = parameter(115.3, "cm", GEOMETRY, "half length of the outer layers")
    mdc_layers: int = parameter(43, "", GEOMETRY, "layers")
    hit_efficiency: float = parameter(0.97, "", ASSUMPTION, "probability of a hit in a crossed layer")
    hits_min: int = parameter(5, "", ASSUMPTION, "smallest number of hits of a track")
    tracking_efficiency: float = parameter(0.955, "", ASSUMPTION, "plateau of the tracking efficiency")
    turn_on_pt: float = parameter(0.055, "GeV/c", ASSUMPTION, "half point of the tracking turn-on")
    turn_on_width: float = parameter(0.020, "GeV/c", ASSUMPTION, "width of the tracking turn-on")
    hadron_loss: float = parameter(0.006, "", ASSUMPTION, "hadrons lost in the material at normal incidence")
    kappa_hits: float = parameter(0.0030, "c/GeV", BOSS, "sigma(kappa)/kappa per GeV/c from the hits")
    kappa_scattering: float = parameter(0.0023, "", BOSS, "sigma(kappa)/kappa from multiple scattering")
    phi0_hits: float = parameter(0.0003, "rad", BOSS, "sigma(phi0) from the hits")
    phi0_scattering: float = parameter(0.0016, "rad GeV/c", BOSS, "sigma(phi0) from multiple scattering")
    dr_hits: float = parameter(0.0080, "cm", BOSS, "sigma(dr) from the hits")
    dr_scattering: float = parameter(0.0070, "cm GeV/c", BOSS, "sigma(dr) from multiple scattering")
    dz_hits: float = parameter(0.13, "cm", BOSS, "sigma(dz)")
    tanl_hits: float = parameter(0.0025, "", BOSS, "sigma(tan lambda) from the hits")
    tanl_scattering: float = parameter(0.0010, "GeV/c", BOSS, "sigma(tan lambda) from multiple scattering")
    pull_width: float = parameter(1.10, "", ASSUMPTION, "true error over quoted error")
    pull_tail: float = parameter(0.08, "", ASSUMPTION, "share of tracks with an error larger still")
    pull_tail_scale: float = parameter(2.5, "", ASSUMPTION, "factor on their error")
    # dE/dx
    dedx_resolution: float = parameter(0.0657, "", BOSS, "resolution at 25 hits and normal incidence")
    dedx_hits: float = parameter(0.68, "", BOSS, "share of the hits that enter the truncated mean")
    dedx_scale: float = parameter(1.0, "", ASSUMPTION, "factor on the measured dE/dx")
    # TOF
    tof_radius: float = parameter(84.2, "cm", BOSS, "radius of the barrel counters")
    tof_barrel_z: float = parameter(115.0, "cm", BOSS, "half length of the barrel counters")
    tof_endcap_z: float = parameter(133.2, "cm", BOSS, "position of the end-cap counters")
    tof_endcap_r_min: float = parameter(41.0, "cm", MEMORY, "inner radius of the end-cap counters")
    tof_endcap_r_max: float = parameter(89.0, "cm", MEMORY, "outer radius of the end-cap counters")
    tof_sigma: float = parameter(0.0713, "ns", BOSS, "barrel resolution at z = 0")
    tof_sigma_slope: float = parameter(0.00025, "ns/cm", BOSS, "fall of the barrel resolution with |z|")
    tof_efficiency: float = parameter(0.92, "", ASSUMPTION, "probability of a time")
    tof_tail: float = parameter(0.03, "", ASSUMPTION, "share of times with a larger error")
    tof_tail_scale: float = parameter(3.0, "", ASSUMPTION, "factor on their error")
    tof_shift: float = parameter(0.0, "ns", ASSUMPTION, "offset of the measured times")
    # EMC
    emc_radius: float = parameter(95.0, "cm", GEOMETRY, "front of the barrel crystals")
    emc_barrel_z: float = parameter(136.2, "cm", GEOMETRY, "half length of the barrel")
    emc_endcap_z: float = parameter(139.8, "cm", GEOMETRY, "front of the end-cap crystals")
    emc_endcap_r_min: float = parameter(53.4, "cm", GEOMETRY, "inner radius of the end caps")
    emc_endcap_r_max: float = parameter(90.0, "cm", GEOMETRY, "outer radius of the end caps")
    emc_stochastic: float = parameter(
        0.021, "GeV^1/2", PAPER, "barrel resolution, falling with sqrt(E); 2.5 % at 1 GeV"
    )
    emc_constant: float = parameter(0.0136, "", PAPER, "constant term of the barrel; 2.5 % at 1 GeV")
    emc_endcap_stochastic: float = parameter(0.045, "GeV^1/2", PAPER, "end-cap resolution; 5 % at 1 GeV")
    emc_endcap_constant: float = parameter(0.022, "", PAPER, "constant term of the end caps; 5 % at 1 GeV")
    electron_leakage: float = parameter(0.012, "", ASSUMPTION, "electrons: 1 - E/p at high momentum")
    electron_loss: float = parameter(0.025, "GeV", ASSUMPTION, "electrons: energy lost before the crystals")
    electron_loss_width: float = parameter(0.012, "GeV", ASSUMPTION, "electrons: width of that loss")
    electron_tail: float = parameter(0.14, "", ASSUMPTION, "electrons: share with a low tail")
    electron_tail_scale: float = parameter(0.10, "", ASSUMPTION, "electrons: scale of the low tail")
    emc_threshold: float = parameter(0.025, "GeV", PAPER, "smallest cluster")
    emc_position: float = parameter(0.6, "cm GeV^1/2", MEMORY, "position resolution, falling with sqrt(E)")
    merge_distance: float = parameter(15.0, "cm", ASSUMPTION, "impacts closer than this share one cluster")
    photon_merge_distance: float = parameter(
        12.0, "cm", ASSUMPTION, "photons closer to a track are part of its cluster"
    )
    mip_energy: float = parameter(0.165, "GeV", ASSUMPTION, "most probable energy of a minimum-ionising particle")
    mip_width: float = parameter(0.012, "GeV", ASSUMPTION, "width of that energy")
    interaction_length: float = parameter(39.3, "cm", PDG, "nuclear interaction length of CsI")
    crystal_length: float = parameter(28.0, "cm", MEMORY, "length of the crystals")
    pion_exchange: float = parameter(0.04, "", ASSUMPTION, "pions: share of interactions with charge exchange")
    kaon_exchange: float = parameter(0.02, "", ASSUMPTION, "kaons: share of interactions with charge exchange")
    annihilation: float = parameter(1.6, "GeV", ASSUMPTION, "energy an antiproton's annihilation can deposit")
    split_off: float = parameter(0.15, "", ASSUMPTION, "share of interacting hadrons that leave a second cluster")
    noise_clusters: float = parameter(0.3, "", ASSUMPTION, "mean number of clusters of beam background")
    neutral_hadron_response: float = parameter(0.4, "", ASSUMPTION, "share of K_L and neutrons that leave a cluster")


NOMINAL: Final = DetectorParameters()

# What pseudo-data differ in: within the publication's control-sample uncertainties (tracking 0.3 % to 0.7 % per track,
# PID 0.5 % to 0.6 %, kinematic fit 6.2 %), so that corrections and systematics have something real to find.
DATA_LIKE: Final = dataclasses.replace(
    NOMINAL,
    tracking_efficiency=0.951,
    pull_width=1.17,
    pull_tail=0.095,
    dedx_resolution=0.0675,
    dedx_scale=1.003,
    tof_sigma=0.0735,
    tof_shift=0.004,
    electron_loss=0.027,
)

PARAMETER_SETS: Final[Mapping[str, DetectorParameters]] = MappingProxyType({"nominal": NOMINAL, "data_like": DATA_LIKE})


@dataclass(frozen=True)
class Period:
    """One data-taking period.

    Attributes:
        year: The name of the period in the column table.
        field: Magnetic field in T, [paper].
        fraction: Share of the J/psi sample, arXiv:2111.07571.
        tof_endcap_sigma: Resolution of the end-cap TOF in ns; with its tails the 110 and 60 ps of the [paper].
        first_run: First of its `N_RUNS` run numbers.
        beam_spot: Mean of the interaction point in cm over all runs, the 2018 value from the [BOSS file].
    """

    year: int
    field: float
    fraction: float
    tof_endcap_sigma: float
    first_run: int
    beam_spot: tuple[float, float, float]


N_RUNS: Final = 16
PERIODS: Final = (
    Period(2009, 1.0, 0.0222, 0.099, 9900, (0.235, -0.187, 0.116)),
    Period(2012, 0.9, 0.1079, 0.099, 27200, (0.190, -0.150, 0.250)),
    Period(2018, 1.0, 0.8699, 0.054, 53200, (0.241, -0.081, 0.618)),
)
# Spread of the vertices about the run's interaction point and of that point from run to run, in cm.
VERTEX_SPREAD: Final = (0.037, 0.0004, 0.77)  # [BOSS file]
RUN_SPREAD: Final = (0.010, 0.005, 0.100)  # [assumption]
# Spread of the beams' longitudinal momentum in GeV/c at the J/psi, [BOSS file]; the width and energy spread of E_cm
# in GeV off resonance, [memory].
LONGITUDINAL_SPREAD: Final = 0.0011
ENERGY_SPREAD: Final = 0.00092
JPSI_MASS_SPREAD: Final = 0.00015
