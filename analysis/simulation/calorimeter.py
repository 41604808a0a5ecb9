"""The CsI calorimeter: impacts, deposited energies and shower shapes by kind of particle."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_KAON, M_MUON, M_PION, M_PROTON
from jpsi_lnv.analysis.simulation.energy_loss import expected as expected_dedx
from jpsi_lnv.analysis.simulation.helix import Trajectory
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, MUON, PION, PROTON

# Kinds of clusters; they index the shape tables below.
ELECTROMAGNETIC, IONISING, HADRONIC = 0, 1, 2
# Mean and spread of eSeed/e3x3 and e3x3/e5x5, scale of the second moment in cm^2 and its relative spread, mean and
# spread of the lateral moment, per kind: [assumption], ordered as electromagnetic, ionising, hadronic showers are.
_SEED: Final = np.array([[0.62, 0.09], [0.86, 0.08], [0.58, 0.14]])
_CORE: Final = np.array([[0.94, 0.025], [0.97, 0.025], [0.83, 0.10]])
_SECOND_MOMENT: Final = np.array([[14.0, 0.25], [6.0, 0.45], [24.0, 0.50]])
_LATERAL: Final = np.array([[0.16, 0.05], [0.08, 0.06], [0.27, 0.11]])
_OUTSIDE: Final = 0.97  # e5x5 over the cluster's energy, [assumption]
_MIP_DEDX: Final = 0.75  # minimum of the dE/dx curve
_RESPONSE: Final = (1.1, 2.6)  # beta distribution of the visible share of interacting hadrons, [assumption]
_EXCHANGE: Final = (8.0, 1.5)  # the same after charge exchange, [assumption]
_ANNIHILATION: Final = (2.0, 3.0)  # share of the annihilation's energy that is seen, [assumption]


class Impact(NamedTuple):
    """Where particles enter the crystals: points in cm (n, 3), turning angle in rad, in the barrel, at all; (n,)."""

    point: FloatArray
    turning: FloatArray
    is_barrel: BoolArray
    is_inside: BoolArray


class Deposit(NamedTuple):
    """Energy in GeV and kind of cluster, (n,)."""

    energy: FloatArray
    kind: IntArray


class Shapes(NamedTuple):
    """Shower shapes, (n,): energies in GeV, second moment in cm^2, lateral moment."""

    e_seed: FloatArray
    e3x3: FloatArray
    e5x5: FloatArray
    second_moment: FloatArray
    lat_moment: FloatArray


def charged_impact(tracks: Trajectory, parameters: DetectorParameters) -> Impact:
    """Return where helices enter the calorimeter."""
    p = parameters
    barrel = tracks.turning_to_radius(p.emc_radius)
    is_barrel = (np.abs(tracks.z(barrel)) < p.emc_barrel_z) & (barrel > tracks.start)
    endcap = tracks.turning_to_z(p.emc_endcap_z)
    end_point = tracks.position(endcap)
    is_endcap = _in_endcap(end_point, p) & (endcap < np.pi) & (endcap > tracks.start) & ~is_barrel
    turning = np.where(is_barrel, barrel, np.where(is_endcap, endcap, np.nan))
    point = np.where(is_barrel[:, None], tracks.position(barrel), end_point)
    return Impact(np.where((is_barrel | is_endcap)[:, None], point, np.inf), turning, is_barrel, is_barrel | is_endcap)


def straight_impact(vertex: FloatArray, p3: FloatArray, parameters: DetectorParameters) -> Impact:
    """Return where straight lines from a vertex in cm along `p3`, both (n, 3), enter the calorimeter."""
    p = parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        pt2 = p3[:, 0] ** 2 + p3[:, 1] ** 2
        along = vertex[:, 0] * p3[:, 0] + vertex[:, 1] * p3[:, 1]
        rest = vertex[:, 0] ** 2 + vertex[:, 1] ** 2 - p.emc_radius**2
        barrel = (-along + np.sqrt(np.maximum(along**2 - pt2 * rest, 0.0))) / pt2
        barrel_point = vertex + p3 * barrel[:, None]
        endcap = (np.copysign(p.emc_endcap_z, p3[:, 2]) - vertex[:, 2]) / p3[:, 2]
        end_point = vertex + p3 * endcap[:, None]
        is_barrel = np.abs(barrel_point[:, 2]) < p.emc_barrel_z
        is_inside = is_barrel | _in_endcap(end_point, p)
    point = np.where(is_barrel[:, None], barrel_point, end_point)
    return Impact(np.where(is_inside[:, None], point, np.inf), np.zeros(len(p3)), is_barrel, is_inside)


def _in_endcap(point: FloatArray, parameters: DetectorParameters) -> BoolArray:
    radius = np.hypot(point[:, 0], point[:, 1])
    return (radius > parameters.emc_endcap_r_min) & (radius < parameters.emc_endcap_r_max)


def relative_resolution(energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters) -> FloatArray:
    """Return sigma(E)/E of photons of an energy in GeV, (n,)."""
    p = parameters
    stochastic = np.where(is_barrel, p.emc_stochastic, p.emc_endcap_stochastic)
    constant = np.where(is_barrel, p.emc_constant, p.emc_endcap_constant)
    return np.hypot(stochastic / np.sqrt(np.maximum(energy, 1e-3)), constant)


def photon_energy(
    rng: np.random.Generator, energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters
) -> FloatArray:
    """Return measured energies of photons in GeV, (n,)."""
    sigma = relative_resolution(energy, is_barrel, parameters)
    return np.maximum(energy * (1.0 + sigma * rng.normal(size=len(energy))), 0.0)


def electron_energy(
    rng: np.random.Generator, energy: FloatArray, is_barrel: BoolArray, parameters: DetectorParameters
) -> FloatArray:
    """Return measured energies of electrons in GeV, (n,): resolution, leakage, loss before the crystals, low tail."""
    p, n = parameters, len(energy)
    ratio = 1.0 - p.electron_leakage - p.electron_loss / energy
    width = np.hypot(relative_resolution(energy, is_barrel, p), p.electron_loss_width / energy)
    ratio += width * rng.normal(size=n)
    is_tail = rng.uniform(size=n) < p.electron_tail
    ratio -= np.where(is_tail, p.electron_tail_scale * rng.exponential(size=n), 0.0)
    return np.maximum(energy * ratio, 0.0)


def deposit(
    rng: np.random.Generator,
    pdg_id: IntArray,
    momentum: FloatArray,
    is_barrel: BoolArray,
    parameters: DetectorParameters,
) -> Deposit:
    """Return what charged particles leave in the crystals.

    Args:
        rng: Source of random numbers.
        pdg_id: PDG codes of electrons, muons, pions, kaons and protons, (n,).
        momentum: Momenta at the calorimeter in GeV/c, (n,).
        is_barrel: Whether they hit the barrel, (n,).
        parameters: Detector.
    """
    size = np.abs(pdg_id)
    is_electron = size == ELECTRON
    energy = np.empty(len(pdg_id))
    energy[is_electron] = electron_energy(rng, momentum[is_electron], is_barrel[is_electron], parameters)
    hadrons = _hadron_deposit(rng, pdg_id[~is_electron], momentum[~is_electron], parameters)
    energy[~is_electron] = hadrons.energy
    kind = np.full(len(pdg_id), ELECTROMAGNETIC)
    kind[~is_electron] = hadrons.kind
    return Deposit(energy, kind)


def _hadron_deposit(
    rng: np.random.Generator, pdg_id: IntArray, momentum: FloatArray, parameters: DetectorParameters
) -> Deposit:
    """Return the energies of muons and hadrons: ionisation, and interactions of the hadrons."""
    p, n, size = parameters, len(pdg_id), np.abs(pdg_id)
    mass = np.select([size == code for code in (MUON, PION, KAON)], [M_MUON, M_PION, M_KAON], M_PROTON)
    kinetic = np.hypot(momentum, mass) - mass
    relative = expected_dedx(np.maximum(momentum / mass, 0.1)) / _MIP_DEDX
    ionisation = np.maximum(relative * rng.gumbel(p.mip_energy, p.mip_width, n), 0.0)
    chance = -np.expm1(-p.crystal_length / p.interaction_length)
    is_interacting = (size != MUON) & (rng.uniform(size=n) < chance)
    depth = np.where(is_interacting, rng.uniform(size=n), 1.0)
    energy = np.minimum(ionisation * depth, kinetic)
    rows = np.flatnonzero(is_interacting)
    energy[rows] += (kinetic[rows] - energy[rows]) * _visible_share(rng, size[rows], p)
    stopped = np.flatnonzero((pdg_id == -PROTON) & (is_interacting | (energy >= kinetic)))
    energy[stopped] += p.annihilation * rng.beta(*_ANNIHILATION, stopped.size)
    is_hadronic = is_interacting.copy()
    is_hadronic[stopped] = True
    return Deposit(energy, np.where(is_hadronic, HADRONIC, IONISING))


def _visible_share(rng: np.random.Generator, size: IntArray, parameters: DetectorParameters) -> FloatArray:
    exchange = np.select([size == PION, size == KAON], [parameters.pion_exchange, parameters.kaon_exchange], 0.0)
    is_exchange = rng.uniform(size=len(size)) < exchange
    share = rng.beta(*_RESPONSE, len(size))
    share[is_exchange] = rng.beta(*_EXCHANGE, int(is_exchange.sum()))
    return np.asarray(share)


def shapes(rng: np.random.Generator, energy: FloatArray, kind: IntArray) -> Shapes:
    """Return shower shapes of clusters of an energy in GeV and a kind, (n,)."""
    n = len(energy)
    draws = rng.normal(size=(4, n))
    core = np.clip(_CORE[kind, 0] + _CORE[kind, 1] * draws[0], 0.2, 1.0)
    seed = np.clip(_SEED[kind, 0] + _SEED[kind, 1] * draws[1], 0.1, 1.0)
    moment = _SECOND_MOMENT[kind, 0] * np.exp(_SECOND_MOMENT[kind, 1] * draws[2])
    lateral = np.clip(_LATERAL[kind, 0] + _LATERAL[kind, 1] * draws[3], 0.0, 1.0)
    e5x5 = _OUTSIDE * energy
    return Shapes(e5x5 * core * seed, e5x5 * core, e5x5, moment, lateral)
