"""Every number of the detector response, with its source; and the three data-taking periods.

Sources are tagged: [paper] the publication, [BOSS file] a fit to the real BOSS simulation, [single particles] a fit to
the public efficiencies of single pions and protons in BOSS (`SINGLE_PARTICLES`), [geometry] tables of the BESIII
geometry, [PDG], [calculated] from geometry and PDG, [memory] published values quoted from memory, [assumption]. What is
remembered or assumed has a range. No number was chosen by an efficiency of the search.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

PAPER: Final = "[paper]"
BOSS: Final = "[BOSS file]"
SINGLE: Final = "[single particles]"
GEOMETRY: Final = "[geometry]"
PDG: Final = "[PDG]"
CALCULATED: Final = "[calculated]"
MEMORY: Final = "[memory]"
ASSUMPTION: Final = "[assumption]"
SOURCES: Final = (PAPER, BOSS, SINGLE, GEOMETRY, PDG, CALCULATED, MEMORY, ASSUMPTION)


def parameter(default: float, unit: str, source: str, meaning: str, likely: tuple[float, float] | None = None) -> Any:
    """Return a dataclass field that carries its unit, its source tag, its meaning and the range it can be in."""
    metadata = {"unit": unit, "source": source, "meaning": meaning, "range": likely}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class DetectorParameters:
    """The response of the detector; lengths in cm, times in ns, energies in GeV."""

    # Material and decays in flight. The pipe is 14 um Au, 1.4 mm Be and 0.8 mm oil, the wall 1.2 mm carbon fibre with
    # Al films; together 0.58 g/cm^2.
    pipe_material: float = parameter(0.0097, "X0", GEOMETRY, "beam pipe at normal incidence")
    wall_material: float = parameter(0.0064, "X0", GEOMETRY, "inner wall of the MDC")
    inner_mass: float = parameter(0.58, "g/cm^2", GEOMETRY, "both together")
    gas_material: float = parameter(
        0.0025, "X0", CALCULATED, "gas and wires of the MDC, spread over it", (0.0015, 0.0035)
    )
    pipe_radius: float = parameter(3.2, "cm", GEOMETRY, "radius of the beam pipe")
    wall_radius: float = parameter(6.1, "cm", GEOMETRY, "radius of the MDC's inner wall")
    decay_radius_early: float = parameter(
        15.0, "cm", ASSUMPTION, "decays inside: the daughter makes the track", (10.0, 25.0)
    )
    decay_radius_late: float = parameter(
        65.0, "cm", SINGLE, "decays between the radii: the track is lost", (50.0, 76.0)
    )
    kink_found: float = parameter(
        0.0, "", SINGLE, "share of these that leave a track all the same: its longer part, before or after", (0.0, 0.5)
    )
    match_distance: float = parameter(
        20.0,
        "cm",
        ASSUMPTION,
        "a decay's daughter further from the track's impact has a cluster of its own",
        (10.0, 30.0),
    )
    # MDC
    cos_theta_max: float = parameter(0.93, "", GEOMETRY, "angular acceptance of the MDC")
    mdc_radius_in: float = parameter(7.89, "cm", GEOMETRY, "first layer")
    mdc_radius_out: float = parameter(76.34, "cm", GEOMETRY, "last layer")
    mdc_half_length: float = parameter(115.3, "cm", GEOMETRY, "half length of the outer layers")
    mdc_layers: int = parameter(43, "", GEOMETRY, "layers")
    hit_efficiency: float = parameter(0.97, "", ASSUMPTION, "probability of a hit in a crossed layer", (0.95, 0.99))
    hits_min: int = parameter(5, "", ASSUMPTION, "smallest number of hits of a track", (5, 9))
    tracking_efficiency: float = parameter(0.9998, "", SINGLE, "plateau of the tracking efficiency")
    turn_on_pt: float = parameter(0.0646, "GeV/c", SINGLE, "beta pT at the half point of the tracking turn-on")
    turn_on_width: float = parameter(0.0056, "GeV/c", SINGLE, "width of the tracking turn-on")
    hadron_loss: float = parameter(0.0068, "", CALCULATED, "interaction lengths of pipe and wall: hadrons lost")
    kappa_hits: float = parameter(0.0030, "c/GeV", BOSS, "sigma(kappa)/kappa per GeV/c from the hits")
    kappa_scattering: float = parameter(0.0023, "", BOSS, "sigma(kappa)/kappa from multiple scattering")
    phi0_hits: float = parameter(0.0003, "rad", BOSS, "sigma(phi0) from the hits")
    phi0_scattering: float = parameter(0.0016, "rad GeV/c", BOSS, "sigma(phi0) from multiple scattering")
    dr_hits: float = parameter(0.0108, "cm", BOSS, "sigma(dr) from the hits")
    dr_scattering: float = parameter(0.0068, "cm GeV/c", BOSS, "sigma(dr) from multiple scattering")
    dz_hits: float = parameter(0.149, "cm", BOSS, "sigma(dz)")
    tanl_hits: float = parameter(0.0029, "", BOSS, "sigma(tan lambda) from the hits")
    tanl_scattering: float = parameter(0.00146, "GeV/c", BOSS, "sigma(tan lambda) from multiple scattering")
    pull_width_2009: float = parameter(1.10, "", ASSUMPTION, "true error over quoted error, 2009", (1.0, 1.2))
    pull_width_2012: float = parameter(1.10, "", ASSUMPTION, "the same, 2012", (1.0, 1.2))
    pull_width_2018: float = parameter(1.10, "", ASSUMPTION, "the same, 2017-19", (1.0, 1.2))
    pull_tail: float = parameter(0.05, "", ASSUMPTION, "share of tracks with an error larger still", (0.0, 0.10))
    pull_tail_scale: float = parameter(3.0, "", ASSUMPTION, "factor on their error", (2.0, 4.0))
    # dE/dx
    dedx_resolution: float = parameter(0.0657, "", BOSS, "resolution at 25 hits and normal incidence")
    dedx_hits: float = parameter(0.68, "", BOSS, "share of the hits that enter the truncated mean")
    dedx_scale: float = parameter(1.0, "", ASSUMPTION, "factor on the measured dE/dx", (0.995, 1.005))
    # TOF
    tof_radius: float = parameter(84.2, "cm", BOSS, "radius of the barrel counters")
    tof_inner_radius: float = parameter(81.35, "cm", BOSS, "radius of the first of two layers of barrel counters")
    tof_outer_radius: float = parameter(87.05, "cm", BOSS, "radius of the second")
    tof_barrel_z: float = parameter(115.0, "cm", BOSS, "half length of the barrel counters")
    tof_endcap_z: float = parameter(133.2, "cm", BOSS, "position of the end-cap counters")
    tof_endcap_r_min: float = parameter(40.1, "cm", GEOMETRY, "inner radius of the end-cap counters")
    tof_endcap_r_max: float = parameter(83.1, "cm", GEOMETRY, "outer radius of the end-cap counters")
    tof_sigma: float = parameter(0.0713, "ns", BOSS, "barrel resolution at z = 0")
    tof_sigma_slope: float = parameter(0.00025, "ns/cm", BOSS, "fall of the barrel resolution with |z|")
    tof_efficiency: float = parameter(
        0.96, "", ASSUMPTION, "probability of a time in each of the two barrel layers, or in the end cap", (0.92, 0.98)
    )
    tof_one_layer: float = parameter(
        1.3, "", CALCULATED, "resolution of one barrel layer over that of two, with 41 ps in common", (1.2, 1.4)
    )
    tof_tail: float = parameter(0.03, "", ASSUMPTION, "share of times with a larger error", (0.0, 0.06))
    tof_tail_scale: float = parameter(3.0, "", ASSUMPTION, "factor on their error", (2.0, 4.0))
    tof_shift: float = parameter(0.0, "ns", ASSUMPTION, "offset of the measured times", (-0.01, 0.01))
    # EMC
    emc_radius: float = parameter(95.0, "cm", GEOMETRY, "front of the barrel crystals")
    emc_barrel_z: float = parameter(136.2, "cm", GEOMETRY, "half length of the barrel")
    emc_endcap_z: float = parameter(139.8, "cm", GEOMETRY, "front of the end-cap crystals")
    emc_endcap_r_min: float = parameter(50.9, "cm", GEOMETRY, "inner radius of the end caps")
    emc_endcap_r_max: float = parameter(88.0, "cm", GEOMETRY, "outer radius of the end caps")
    emc_stochastic: float = parameter(
        0.021, "GeV^1/2", PAPER, "barrel resolution, falling with sqrt(E); 2.5 % at 1 GeV"
    )
    emc_constant: float = parameter(0.0136, "", PAPER, "constant term of the barrel; 2.5 % at 1 GeV")
    emc_endcap_stochastic: float = parameter(0.045, "GeV^1/2", PAPER, "end-cap resolution; 5 % at 1 GeV")
    emc_endcap_constant: float = parameter(0.022, "", PAPER, "constant term of the end caps; 5 % at 1 GeV")
    electron_leakage: float = parameter(0.012, "", ASSUMPTION, "electrons: 1 - E/p at high momentum", (0.0, 0.03))
    electron_loss: float = parameter(
        0.021, "GeV", CALCULATED, "electrons: energy lost in 10 cm of scintillator before the crystals", (0.012, 0.030)
    )
    electron_loss_width: float = parameter(0.012, "GeV", ASSUMPTION, "electrons: width of that loss", (0.004, 0.018))
    electron_tail: float = parameter(0.07, "", ASSUMPTION, "electrons: share with a low tail", (0.02, 0.16))
    electron_tail_scale: float = parameter(0.10, "", ASSUMPTION, "electrons: scale of the low tail", (0.05, 0.15))
    emc_threshold: float = parameter(0.025, "GeV", PAPER, "smallest cluster")
    emc_position: float = parameter(0.6, "cm GeV^1/2", MEMORY, "position resolution, falling with sqrt(E)", (0.5, 0.8))
    merge_distance: float = parameter(15.0, "cm", ASSUMPTION, "impacts closer than this share one cluster", (8.0, 20.0))
    photon_merge_distance: float = parameter(
        12.0, "cm", ASSUMPTION, "photons closer to a track are part of its cluster", (8.0, 20.0)
    )
    mip_energy: float = parameter(
        0.165, "GeV", ASSUMPTION, "most probable energy of a minimum-ionising particle", (0.155, 0.185)
    )
    mip_width: float = parameter(0.012, "GeV", ASSUMPTION, "width of that energy", (0.008, 0.020))
    interaction_length: float = parameter(39.3, "cm", PDG, "nuclear interaction length of CsI")
    crystal_length: float = parameter(28.0, "cm", GEOMETRY, "length of the crystals")
    pion_exchange: float = parameter(
        0.04, "", ASSUMPTION, "pions: share of interactions with charge exchange", (0.01, 0.08)
    )
    kaon_exchange: float = parameter(
        0.02, "", ASSUMPTION, "kaons: share of interactions with charge exchange", (0.005, 0.05)
    )
    annihilation: float = parameter(
        1.6, "GeV", ASSUMPTION, "energy an antiproton's annihilation can deposit", (1.2, 1.9)
    )
    split_off: float = parameter(
        0.15, "", ASSUMPTION, "share of interacting hadrons that leave a second cluster", (0.05, 0.3)
    )
    noise_clusters: float = parameter(0.3, "", ASSUMPTION, "mean number of clusters of beam background", (0.1, 1.0))
    neutral_hadron_response: float = parameter(
        0.4, "", ASSUMPTION, "share of K_L and neutrons that leave a cluster", (0.3, 0.6)
    )
    # Muon chambers
    muc_front: float = parameter(
        22.0, "cm", CALCULATED, "iron that stops as the calorimeter, TOF and coil before the chambers do", (18.0, 27.0)
    )
    muc_efficiency: float = parameter(0.96, "", MEMORY, "probability of a hit in a crossed layer", (0.92, 0.98))
    iron_interaction_length: float = parameter(16.77, "cm", PDG, "nuclear interaction length of iron")

    @property
    def material(self) -> float:
        """Material before the first layer of the MDC in radiation lengths at normal incidence."""
        return self.pipe_material + self.wall_material

    @property
    def pull_widths(self) -> tuple[float, ...]:
        """True error over quoted error in each of `PERIODS`."""
        return (self.pull_width_2009, self.pull_width_2012, self.pull_width_2018)


NOMINAL: Final = DetectorParameters()

# What pseudo-data differ in. Pulls: BESIII widens those of simulated kaons to the data's by 1.10 to 1.23 (method of PRD
# 87, 012002); the rest within the publication's control-sample uncertainties (tracking 0.3 % to 0.7 % per track, PID
# 0.5 % to 0.6 %), so that corrections and systematics have something real to find.
DATA_LIKE: Final = dataclasses.replace(
    NOMINAL,
    tracking_efficiency=0.9958,
    pull_width_2009=1.28,
    pull_width_2012=1.31,
    pull_width_2018=1.27,
    dedx_resolution=0.0675,
    dedx_scale=1.003,
    tof_sigma=0.0735,
    tof_shift=0.004,
    electron_loss=0.023,
)


@dataclass(frozen=True)
class Period:
    """One data-taking period.

    Attributes:
        year: The name of the period in the column table.
        field: Magnetic field in T, [paper].
        fraction: Share of the J/psi sample, arXiv:2111.07571.
        tof_endcap_sigma: Resolution of the end-cap TOF in ns; with its tails the 110 and 60 ps of the [paper].
        has_mrpc: Whether the end-cap TOF is an MRPC, [paper].
        first_run: First of its `N_RUNS` run numbers.
        beam_spot: Mean of the interaction point in cm over all runs, the 2018 value from the [BOSS file].
    """

    year: int
    field: float
    fraction: float
    tof_endcap_sigma: float
    has_mrpc: bool
    first_run: int
    beam_spot: tuple[float, float, float]


N_RUNS: Final = 16
PERIODS: Final = (
    Period(2009, 1.0, 0.0222, 0.099, False, 9900, (0.235, -0.187, 0.116)),
    Period(2012, 0.9, 0.1079, 0.099, False, 27200, (0.190, -0.150, 0.250)),
    Period(2018, 1.0, 0.8699, 0.054, True, 53200, (0.241, -0.081, 0.618)),
)
# Spread of the vertices about the run's interaction point and of that point from run to run, in cm.
VERTEX_SPREAD: Final = (0.037, 0.0004, 0.77)  # [BOSS file]
RUN_SPREAD: Final = (0.010, 0.005, 0.100)  # [assumption]
# Spread of the beams' longitudinal momentum in GeV/c at the J/psi, [BOSS file]; the width and energy spread of E_cm
# in GeV off resonance, [memory].
LONGITUDINAL_SPREAD: Final = 0.0011
ENERGY_SPREAD: Final = 0.00092
JPSI_MASS_SPREAD: Final = 0.00015

# Efficiencies of single pi- and p with |cos theta| < 0.9 to make any track in BOSS 7.0.8 (Geant4 and Kalman filter),
# read from vector figures of GitHub yuansicheng/bes3_add_layer: species -> (momenta in GeV/c, efficiencies).
SINGLE_PARTICLES: Final[Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]] = MappingProxyType(
    {
        "pi": (
            (0.15, 0.25, 0.35, 0.45, 0.55, 0.75, 0.95, 1.15),
            (0.797, 0.940, 0.961, 0.970, 0.975, 0.980, 0.978, 0.982),
        ),
        "p": ((0.35, 0.45, 0.55, 1.15), (0.939, 0.984, 0.990, 0.993)),
    }
)
