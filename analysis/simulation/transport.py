"""What happens between the vertex and the drift chamber: conversions, bremsstrahlung, decays in flight."""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION
from jpsi_lnv.analysis.simulation.decays import boost, phase_space
from jpsi_lnv.analysis.simulation.generator import decay_pions
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters
from jpsi_lnv.analysis.simulation.particles import (
    ELECTRON,
    KAON,
    KINDS,
    MUON,
    PHOTON,
    PION,
    PION0,
    FloatArray,
    IntArray,
    Particles,
    append,
    make,
    signed_charge,
)
from jpsi_lnv.analysis.simulation.tracking import trajectory

# Decays of the K+ with the daughters' codes; branching fractions of PDG 2026 S010.1, .2, .3, .6, .5, .4.
KAON_DECAYS: Final[tuple[tuple[float, tuple[int, ...]], ...]] = (
    (0.6356, (-MUON, 14)),
    (0.2067, (PION, PION0)),
    (0.0558, (PION, PION, -PION)),
    (0.0507, (PION0, -ELECTRON, 12)),
    (0.0335, (PION0, -MUON, 14)),
    (0.0176, (PION, PION0, PION0)),
)
PION_DECAYS: Final[tuple[tuple[float, tuple[int, ...]], ...]] = ((1.0, (-MUON, 14)),)


class Medium(NamedTuple):
    """What ionisation depends on: Z/A in mol/g, excitation energy in GeV, and x0, x1, a, k, C of the density effect."""

    z_over_a: float
    excitation: float
    density_effect: tuple[float, float, float, float, float]


# Sternheimer's numbers, [PDG]. Pipe and wall are beryllium, oil and carbon fibre, with thin gold and aluminium: carbon.
IRON: Final = Medium(26 / 55.845, 286.0e-9, (-0.0012, 3.1531, 0.1468, 2.9632, 4.2911))
CARBON: Final = Medium(6 / 12.011, 78.0e-9, (-0.0178, 2.3415, 0.26142, 2.8697, 2.8926))
_BETHE: Final = 0.307075e-3  # GeV cm^2/mol
_PAIR_FRACTION: Final = 7.0 / 9.0
_CONVERSION_MIN: Final = 0.005  # photons below this energy in GeV leave no track: not converted
_ENERGY_LEAST: Final = 2.0 * M_ELECTRON  # of each electron of a pair, so that none is at rest
_KEPT_MIN: Final = 1e-4


class Flight(NamedTuple):
    """Late decays per row of the table: length of flight in cm (inf: none) and the daughter's momentum in GeV/c (3)."""

    decay_path: FloatArray
    daughter: FloatArray


def convert(rng: np.random.Generator, table: Particles, parameters: DetectorParameters) -> Particles:
    """Return the table with photons converted in the beam pipe and the MDC's inner wall."""
    photons, probability = conversion_probability(table, parameters)
    return _converted(rng, table, photons[rng.uniform(size=photons.size) < probability], parameters)


def conversion_probability(table: Particles, parameters: DetectorParameters) -> tuple[IntArray, FloatArray]:
    """Return the rows of the photons that can convert, (m,), and how likely each does, (m,)."""
    photons = np.flatnonzero((table.pdg_id == PHOTON) & table.is_final & (table.p4[:, 3] > _CONVERSION_MIN))
    sine = np.hypot(table.p4[photons, 0], table.p4[photons, 1]) / table.p4[photons, 3]
    with np.errstate(divide="ignore"):
        probability = -np.expm1(-_PAIR_FRACTION * parameters.material / sine)
    return photons, np.where(sine > 0.0, probability, 0.0)


def seen_conversions(table: Particles, parameters: DetectorParameters) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return rows and probabilities of the photons that can convert inside the acceptance, and their sum per event.

    The electrons keep the direction of the photon, so that others make no track. The sum, (n_events,), is the chance
    of a conversion but for those of two photons at once, a share of a hundredth.
    """
    photons, probability = conversion_probability(table, parameters)
    cosine = np.abs(table.p4[photons, 2]) / table.p4[photons, 3]
    inside = cosine < parameters.cos_theta_max
    photons, probability = photons[inside], probability[inside]
    total = np.zeros(table.n_events)
    np.add.at(total, table.event[photons], probability)
    return photons, probability, total


def force_conversion(rng: np.random.Generator, table: Particles, parameters: DetectorParameters) -> Particles:
    """Return the table with one photon of every event converted, each as likely as it would be by chance.

    Raises:
        ValueError: An event has no photon inside the acceptance.
    """
    photons, probability, total = seen_conversions(table, parameters)
    if not np.all(total > 0.0):
        msg = f"forced conversion: {int((total <= 0.0).sum())} of {table.n_events} events have no photon to convert"
        raise ValueError(msg)
    event = table.event[photons]
    reached = np.cumsum(probability)
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    first = np.searchsorted(reached, before + rng.uniform(size=table.n_events) * total, side="right")
    first = np.clip(first, np.searchsorted(event, np.arange(table.n_events)), None)
    last = np.searchsorted(event, np.arange(table.n_events), side="right") - 1
    return _converted(rng, table, photons[np.minimum(first, last)], parameters)


def _converted(
    rng: np.random.Generator, table: Particles, chosen: IntArray, parameters: DetectorParameters
) -> Particles:
    """Return the table with the photons of the rows `chosen` replaced by pairs.

    The energies follow the Bethe-Heitler spectrum at complete screening, dN/dx ~ 1 - 4/3 x (1 - x); the pair keeps the
    photon's direction (its opening angle, m/E, is far below the multiple scattering).
    """
    if chosen.size == 0:
        return table
    is_pipe = rng.uniform(size=chosen.size) < parameters.pipe_material / parameters.material
    radius = np.where(is_pipe, parameters.pipe_radius, parameters.wall_radius)
    p4 = table.p4[chosen]
    point = straight_to_radius(table.vertex[chosen], p4[:, :3], radius)
    energy = p4[:, 3] * pair_share(rng, chosen.size)
    electron = _along(p4, np.clip(energy, _ENERGY_LEAST, p4[:, 3] - _ENERGY_LEAST))
    positron = _along(p4, p4[:, 3] - electron[:, 3])
    is_final = table.is_final.copy()
    is_final[chosen] = False
    table = dataclasses.replace(table, is_final=is_final)
    rows = np.repeat(chosen, 2)
    codes = np.tile([ELECTRON, -ELECTRON], chosen.size)
    pair = np.stack([electron, positron], axis=1).reshape(-1, 4)
    return append(table, make(table, rows, codes, pair, np.repeat(point, 2, axis=0)))


def pair_share(rng: np.random.Generator, n: int) -> FloatArray:
    """Return shares x of the photon's energy distributed as 1 - 4/3 x (1 - x), (n,).

    The distribution is the mixture of a uniform one (weight 6/7 of its integral 7/9) and 1/3 (2x - 1)^2.
    """
    u = rng.uniform(-1.0, 1.0, n)
    is_flat = rng.uniform(size=n) < 6.0 / 7.0
    return np.asarray((1.0 + np.where(is_flat, u, np.cbrt(u))) / 2.0)


def _along(p4: FloatArray, energy: FloatArray) -> FloatArray:
    """Return electrons of an energy in GeV along the photons `p4`, (n, 4)."""
    momentum = np.sqrt(np.maximum(energy**2 - M_ELECTRON**2, 0.0))
    return np.concatenate([p4[:, :3] * (momentum / p4[:, 3])[:, None], energy[:, None]], axis=1)


def straight_to_radius(point: FloatArray, p3: FloatArray, radius: npt.ArrayLike) -> FloatArray:
    """Return where straight lines leave a cylinder about the z axis, in cm, (n, 3).

    Args:
        point: Points inside the cylinder in cm, (n, 3).
        p3: Directions, (n, 3), not along z.
        radius: Radius in cm, a number or (n,).
    """
    a = p3[:, 0] ** 2 + p3[:, 1] ** 2
    b = point[:, 0] * p3[:, 0] + point[:, 1] * p3[:, 1]
    c = point[:, 0] ** 2 + point[:, 1] ** 2 - np.square(radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        length = (-b + np.sqrt(np.maximum(b * b - a * c, 0.0))) / a
        return point + p3 * length[:, None]


def bremsstrahlung(
    rng: np.random.Generator, p3: FloatArray, is_electron: BoolArray, parameters: DetectorParameters
) -> FloatArray:
    """Return the share z of its momentum that each charged particle keeps, (n,).

    Bethe-Heitler: -ln z follows a gamma distribution of shape t/ln 2 for a thickness of t radiation lengths. Of the
    chamber's gas, half counts: what is lost late does not change the momentum that is measured.
    """
    kept = np.ones(len(p3))
    sine = np.hypot(p3[is_electron, 0], p3[is_electron, 1]) / np.linalg.norm(p3[is_electron], axis=1)
    thickness = parameters.material + parameters.gas_material / 2.0
    lost = rng.standard_gamma(thickness / np.maximum(sine, 1e-3) / np.log(2.0))
    kept[is_electron] = np.maximum(np.exp(-lost), _KEPT_MIN)
    return kept


def ionisation(beta_gamma: npt.ArrayLike, medium: Medium) -> FloatArray:
    """Return the mean energy loss of a heavy particle in GeV cm^2/g: the Bethe equation, PDG 2024, eq. 34.5."""
    bg = np.asarray(beta_gamma, dtype=np.float64)
    beta2 = bg**2 / (1.0 + bg**2)
    x0, x1, a, k, c = medium.density_effect
    x = np.log10(bg)
    effect = np.where(x > x0, np.log(10.0) * x - c / 2.0 + a * np.clip(x1 - x, 0.0, None) ** k / 2.0, 0.0)
    logarithm = np.log(2.0 * M_ELECTRON * bg**2 / medium.excitation)
    return np.asarray(_BETHE * medium.z_over_a / beta2 * np.maximum(logarithm - beta2 - effect, 0.5))


def momentum_lost(
    momentum: FloatArray, mass: FloatArray | float, sin_theta: FloatArray, parameters: DetectorParameters
) -> FloatArray:
    """Return the momentum in GeV/c that a mass in GeV/c^2 loses to ionisation before the chamber, (n,)."""
    beta = momentum / np.hypot(momentum, mass)
    return np.asarray(ionisation(momentum / mass, CARBON) * parameters.inner_mass / sin_theta / beta)


def decay_in_flight(
    rng: np.random.Generator, table: Particles, field: FloatArray, parameters: DetectorParameters
) -> tuple[Particles, Flight]:
    """Decay kaons and pions along their helices.

    Decays within `decay_radius_early` put their daughters into the table; later ones are left to the response.

    Args:
        rng: Source of random numbers.
        table: Particles at their production.
        field: Magnetic field of every event in T, (n_events,).
        parameters: Detector.

    Returns:
        The table with the daughters of early decays, and the later decays per row of it.
    """
    rows = np.flatnonzero(np.isin(np.abs(table.pdg_id), (KAON, PION)) & table.is_final)
    p4, codes = table.p4[rows], table.pdg_id[rows]
    tracks = trajectory(table.vertex[rows], p4[:, :3], signed_charge(codes), field[table.event[rows]])
    is_kaon = np.abs(codes) == KAON
    c_tau = np.where(is_kaon, KINDS[KAON].c_tau, KINDS[PION].c_tau)
    path = (
        c_tau * np.linalg.norm(p4[:, :3], axis=1) / np.where(is_kaon, M_KAON, M_PION) * rng.exponential(size=rows.size)
    )
    turning = tracks.turning_after(path)
    point = tracks.position(turning)
    # A curling particle is early only before it has turned back.
    is_early = (np.hypot(point[:, 0], point[:, 1]) < parameters.decay_radius_early) & (turning < np.pi)
    is_early &= np.abs(point[:, 2]) < parameters.mdc_half_length
    p4 = np.concatenate([tracks.direction(turning), p4[:, 3:]], axis=1)
    muon = _muon_momentum(rng, p4, is_kaon)
    flight = Flight(_spread(table, rows, path, np.inf), _spread(table, rows, muon, 0.0))
    return _decay_early(rng, table, flight, rows[is_early], p4[is_early], point[is_early])


def _spread(table: Particles, rows: IntArray, values: FloatArray, default: float) -> FloatArray:
    out = np.full((len(table.event), *values.shape[1:]), default)
    out[rows] = values
    return out


def _muon_momentum(rng: np.random.Generator, p4: FloatArray, is_kaon: BoolArray) -> FloatArray:
    """Return the momentum in GeV/c of the muon of K, pi -> mu nu, (n, 3): it stands for late decays of all modes."""
    mass = np.where(is_kaon, M_KAON, M_PION)
    muon = phase_space(rng, mass, [M_MUON, 0.0], len(mass))[:, 0]
    return np.asarray(boost(muon, p4)[:, :3])


def _decay_early(
    rng: np.random.Generator, table: Particles, flight: Flight, rows: IntArray, p4: FloatArray, point: FloatArray
) -> tuple[Particles, Flight]:
    is_final = table.is_final.copy()
    is_final[rows] = False
    old = dataclasses.replace(table, is_final=is_final)
    parents, codes, momenta, vertices = _daughters(rng, old, rows, p4, point)
    grown = decay_pions(rng, append(old, make(old, parents, codes, momenta, vertices)))
    # Rows are only added behind those of the same event, so the old ones are found by event and number.
    place = grown.offsets[old.event] + old.row
    path, momentum = np.full(len(grown.event), np.inf), np.zeros((len(grown.event), 3))
    path[place], momentum[place] = flight.decay_path, flight.daughter
    return grown, Flight(path, momentum)


def _daughters(
    rng: np.random.Generator, table: Particles, rows: IntArray, p4: FloatArray, point: FloatArray
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Return parents (m,), codes (m,), momenta (m, 4) and vertices (m, 3) of the daughters."""
    choice = rng.uniform(size=rows.size)
    pieces: list[tuple[IntArray, IntArray, FloatArray, FloatArray]] = []
    for parent, modes in ((KAON, KAON_DECAYS), (PION, PION_DECAYS)):
        edges = np.cumsum([0.0] + [fraction for fraction, _ in modes])
        mode = np.clip(np.searchsorted(edges / edges[-1], choice, side="right") - 1, 0, len(modes) - 1)
        for i, (_, daughters) in enumerate(modes):
            own = np.flatnonzero((np.abs(table.pdg_id[rows]) == parent) & (mode == i))
            pieces.append(_one_mode(rng, table.pdg_id[rows[own]], rows[own], p4[own], point[own], parent, daughters))
    return tuple(np.concatenate(column) for column in zip(*pieces, strict=True))  # type: ignore[return-value]


def _one_mode(
    rng: np.random.Generator,
    code: IntArray,
    rows: IntArray,
    p4: FloatArray,
    point: FloatArray,
    parent: int,
    daughters: tuple[int, ...],
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    k, n = len(daughters), len(rows)
    masses = [KINDS[abs(d)].mass if abs(d) in KINDS else 0.0 for d in daughters]
    momenta = boost(phase_space(rng, KINDS[parent].mass, masses, n), p4[:, None, :])
    sign = np.where(np.array(daughters) == PION0, 1, np.sign(code)[:, None])
    return np.repeat(rows, k), (sign * np.array(daughters)).ravel(), momenta.reshape(-1, 4), np.repeat(point, k, axis=0)
