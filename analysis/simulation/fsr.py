"""Final-state radiation in the manner of PHOTOS: at most one photon per charged daughter.

The spectrum is the leading-log one of E. Barberio, Z. Was, Comput. Phys. Commun. 79, 291 (1994), with the
velocity-dependent soft factor, so that heavy and slow daughters radiate little. Four-momentum is conserved exactly: the
emitter keeps its direction, and everything else, photons emitted before included, recoils as one system.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.simulation.decays import direction

FINE_STRUCTURE: Final = 1.0 / 137.035999
# Softest photon that is generated, in GeV.
ENERGY_MIN: Final = 0.002
_TINY: Final = 1e-12
_PAIR: Final = 2


class Radiation(NamedTuple):
    """Daughters after radiation (n, k, 4) in GeV, photons (m, 4) in GeV and the decay each came from (m,)."""

    momenta: FloatArray
    photons: FloatArray
    decay: IntArray


def soft_factor(beta: FloatArray) -> FloatArray:
    """Return (1 + beta^2) / (2 beta) ln((1 + beta)/(1 - beta)) - 1, which is ln(4 E^2/m^2) - 1 for fast particles."""
    b = np.clip(beta, 1e-6, 1.0 - _TINY)
    return np.asarray((1.0 + b * b) / (2.0 * b) * np.log((1.0 + b) / (1.0 - b)) - 1.0)


def radiate(rng: np.random.Generator, momenta: FloatArray, masses: FloatArray, is_charged: BoolArray) -> Radiation:
    """Let the charged daughters of decays radiate.

    Args:
        rng: Source of random numbers.
        momenta: Daughters in the rest frame of the parent in GeV, (n, k, 4).
        masses: Their masses in GeV/c^2, (n, k).
        is_charged: Which daughters are charged, (k,).
    """
    n, k, _ = momenta.shape
    # The last slots hold the photons: zero until they are emitted, so that the recoil includes them.
    system = np.concatenate([momenta, np.zeros((n, k, 4))], axis=1)
    for emitter in np.flatnonzero(is_charged):
        _emit(rng, system, masses, int(emitter))
    photons = system[:, k:].reshape(-1, 4)
    is_emitted = photons[:, 3] > 0.0
    return Radiation(system[:, :k], photons[is_emitted], np.repeat(np.arange(n), k)[is_emitted])


def _emit(rng: np.random.Generator, system: FloatArray, masses: FloatArray, emitter: int) -> None:
    energy, mass = system[:, emitter, 3], masses[:, emitter]
    momentum = np.sqrt((system[:, emitter, :3] ** 2).sum(axis=1))
    largest = energy - mass
    beta = momentum / energy
    expected = FINE_STRUCTURE / np.pi * soft_factor(beta) * np.log(np.maximum(largest / ENERGY_MIN, 1.0))
    chosen = np.flatnonzero(rng.uniform(size=len(energy)) < expected)
    if chosen.size == 0:
        return
    photon = ENERGY_MIN * (largest[chosen] / ENERGY_MIN) ** rng.uniform(size=chosen.size)
    x = photon / energy[chosen]
    is_kept = rng.uniform(size=chosen.size) < (1.0 + (1.0 - x) ** 2) / 2.0
    chosen, photon = chosen[is_kept], photon[is_kept]
    angle = _photon_direction(rng, system[chosen, emitter, :3], beta[chosen])
    _recoil(system, masses, chosen, emitter, photon, angle)


def _photon_direction(rng: np.random.Generator, p3: FloatArray, beta: FloatArray) -> FloatArray:
    """Return directions distributed as 1/(1 - beta cos) about the emitter's momentum, (m, 3)."""
    u, azimuth = rng.uniform(size=len(beta)), rng.uniform(-np.pi, np.pi, len(beta))
    b = np.clip(beta, 1e-6, 1.0 - _TINY)
    cosine = np.clip((1.0 - (1.0 + b) * ((1.0 - b) / (1.0 + b)) ** u) / b, -1.0, 1.0)
    return rotate_to(direction(cosine, azimuth), p3)


def rotate_to(vectors: FloatArray, axis: FloatArray) -> FloatArray:
    """Return vectors given about the z axis turned so that z becomes `axis`; both (m, 3)."""
    w = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    is_steep = np.abs(w[:, 2:]) > 0.9  # noqa: PLR2004 any axis that is not parallel serves
    other = np.where(is_steep, [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
    u = np.cross(other, w)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(w, u)
    return np.asarray(vectors[:, :1] * u + vectors[:, 1:2] * v + vectors[:, 2:] * w)


def _mass2(system: FloatArray, masses: FloatArray, emitter: int) -> FloatArray:
    """Return the squared mass of all but the emitter, (m,), from the known masses where they alone are left.

    The mass of a fast electron is lost in E^2 - p^2.
    """
    k = masses.shape[1]
    rest = system.sum(axis=1) - system[:, emitter]
    mass2 = rest[:, 3] ** 2 - (rest[:, :3] ** 2).sum(axis=1)
    smallest = masses.sum(axis=1) - masses[:, emitter]
    is_alone = (k == _PAIR) & (system[:, k:, 3].sum(axis=1) == 0.0)
    return np.where(is_alone, smallest**2, np.maximum(mass2, smallest**2))


def _recoil(
    system: FloatArray,
    masses: FloatArray,
    rows: IntArray,
    emitter: int,
    photon: FloatArray,
    photon_direction: FloatArray,
) -> None:
    """Add the photons to `system` and make the emitter and the rest balance them; impossible ones are dropped."""
    total = system[rows].sum(axis=1)
    old = system[rows, emitter]
    mass = masses[rows, emitter]
    axis = old[:, :3] / np.linalg.norm(old[:, :3], axis=1, keepdims=True)
    rest = total - old
    rest_mass2 = _mass2(system[rows], masses[rows], emitter)
    cosine = (axis * photon_direction).sum(axis=1)
    momentum = _emitter_momentum(total[:, 3] - photon, mass, rest_mass2, photon, cosine)
    is_possible = momentum > 0.0
    rows, momentum, photon = rows[is_possible], momentum[is_possible], photon[is_possible]
    rest_mass2 = rest_mass2[is_possible]
    new = np.concatenate(
        [axis[is_possible] * momentum[:, None], np.hypot(momentum, mass[is_possible])[:, None]], axis=1
    )
    light = np.concatenate([photon_direction[is_possible] * photon[:, None], photon[:, None]], axis=1)
    _boost_rest(system, rows, emitter, (rest[is_possible], total[is_possible] - new - light, rest_mass2))
    system[rows, emitter] = new
    system[rows, masses.shape[1] + emitter] = light


def _boost_rest(
    system: FloatArray, rows: IntArray, emitter: int, move: tuple[FloatArray, FloatArray, FloatArray]
) -> None:
    """Give all but the emitter, with four-momentum before -> after and a squared mass (the `move`), the recoil."""
    before, after, mass2 = move
    others = [i for i in range(system.shape[1]) if i != emitter]
    mass = np.sqrt(mass2)[:, None]
    moved = _boost(system[rows][:, others], before[:, None] * [-1.0, -1.0, -1.0, 1.0], mass)
    system[rows[:, None], others] = _boost(moved, after[:, None], mass)


def _boost(p4: FloatArray, frame: FloatArray, mass: FloatArray) -> FloatArray:
    """Boost like `decays.boost`, by the velocity p/sqrt(p^2 + m^2) of a frame whose mass is known beforehand."""
    p3 = frame[..., :3]
    energy = np.sqrt((p3**2).sum(axis=-1) + mass**2)
    along = (energy * p4[..., 3] + (p4[..., :3] * p3).sum(axis=-1)) / mass
    out = np.empty_like(p4)
    out[..., :3] = p4[..., :3] + p3 * ((along + p4[..., 3]) / (energy + mass))[..., None]
    out[..., 3] = along
    return out


def _emitter_momentum(
    energy: FloatArray, mass: FloatArray, rest_mass2: FloatArray, photon: FloatArray, cosine: FloatArray
) -> FloatArray:
    """Solve sqrt(p^2 + m^2) + sqrt(M^2 + |p + k|^2) = E for the emitter's momentum p; -1 where there is none.

    In the parent's rest frame; squaring twice leaves a quadratic equation.
    """
    b = energy**2 + mass**2 - rest_mass2 - photon**2
    kc = photon * cosine
    a = energy**2 - kc**2
    root2 = (b * kc) ** 2 - a * (4.0 * energy**2 * mass**2 - b * b)
    momentum = (-b * kc + np.sqrt(np.maximum(root2, 0.0))) / (2.0 * a)
    is_solution = (root2 >= 0.0) & (b - 2.0 * kc * momentum > 0.0)
    return np.asarray(np.where(is_solution, momentum, -1.0))
