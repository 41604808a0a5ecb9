"""Decays: N bodies flat in phase space, and the final-state radiation of their charged daughters.

Phase space is GENBOD (F. James, CERN 68-15, 1968): ordered random numbers give the masses of the nested subsystems,
the product of the break-up momenta is the weight, and accept-reject makes the weights one.

Radiation is in the manner of PHOTOS, at most one photon per charged daughter. The spectrum is the leading-log one of
E. Barberio, Z. Was, Comput. Phys. Commun. 79, 291 (1994), with the velocity-dependent soft factor, so that heavy and
slow daughters radiate little. Four-momentum is conserved exactly: the emitter keeps its direction, and everything
else, photons emitted before included, recoils as one system.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray

# What turns a four-momentum into that of the frame that sees it at rest.
REVERSED: Final = np.array([-1.0, -1.0, -1.0, 1.0])
_PILOT_EVENTS: Final = 20_000
_PILOT_MARGIN: Final = 1.1
_TWO_BODIES: Final = 2
# Steps of Newton's method from momenta that are right to a few MeV.
_N_NEWTON: Final = 5
# A pilot is made for a mass rounded up to this step in GeV, so that masses that vary share one.
_PILOT_STEP: Final = 0.005


def break_up_momentum(mass: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Return the momentum in GeV/c of both daughters in the rest frame of a two-body decay."""
    m, a, b = np.asarray(mass), np.asarray(first), np.asarray(second)
    kallen = (m * m - (a + b) ** 2) * (m * m - (a - b) ** 2)
    return np.asarray(np.sqrt(np.maximum(kallen, 0.0)) / (2.0 * m))


def boost(p4: FloatArray, frame: FloatArray) -> FloatArray:
    """Return four-momenta given in the rest frame of `frame` as seen where `frame` moves.

    Args:
        p4: (px, py, pz, E) in GeV, shape (..., 4).
        frame: Four-momentum of the system in GeV, shape that broadcasts to (..., 4).
    """
    mass = np.sqrt(np.maximum(frame[..., 3] ** 2 - (frame[..., :3] ** 2).sum(axis=-1), 0.0))
    along = (p4[..., :3] * frame[..., :3]).sum(axis=-1)
    energy = (frame[..., 3] * p4[..., 3] + along) / mass
    out = np.empty(np.broadcast_shapes(p4.shape, frame.shape))
    out[..., :3] = p4[..., :3] + frame[..., :3] * ((energy + p4[..., 3]) / (frame[..., 3] + mass))[..., None]
    out[..., 3] = energy
    return out


def isotropic(rng: np.random.Generator, n: int) -> FloatArray:
    """Return n unit vectors, uniform on the sphere, (n, 3)."""
    return direction(rng.uniform(-1.0, 1.0, n), rng.uniform(-np.pi, np.pi, n))


def direction(cos_theta: FloatArray, phi: FloatArray) -> FloatArray:
    """Return unit vectors of a polar cosine and an azimuth in rad, (n, 3)."""
    sine = np.sqrt(np.maximum(1.0 - cos_theta * cos_theta, 0.0))
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), cos_theta], axis=-1)


def transverse_cos_theta(rng: np.random.Generator, n: int) -> FloatArray:
    """Return polar cosines distributed as 1 + cos^2, the one of e+e- -> lepton pairs, (n,).

    Mixture: with probability 3/4 uniform, else the one of cos^2, whose cube is uniform.
    """
    flat = rng.uniform(-1.0, 1.0, n)
    return np.where(rng.uniform(size=n) < 0.75, flat, np.cbrt(flat))  # noqa: PLR2004 integrals of 1 and cos^2


def phase_space(rng: np.random.Generator, mass: npt.ArrayLike, masses: Sequence[npt.ArrayLike], n: int) -> FloatArray:
    """Return four-momenta of decays flat in phase space, in the rest frame of the parent.

    Args:
        rng: Source of random numbers.
        mass: Mass of the parent in GeV/c^2, a number or (n,).
        masses: Masses of the k >= 2 daughters in GeV/c^2, numbers or (n,).
        n: Number of decays.

    Returns:
        (px, py, pz, E) in GeV, shape (n, k, 4).

    Raises:
        ValueError: A parent is lighter than its daughters together.
    """
    parent = np.broadcast_to(np.asarray(mass, dtype=np.float64), (n,))
    daughters = np.stack([np.broadcast_to(np.asarray(m, dtype=np.float64), (n,)) for m in masses])
    _check_threshold(parent, daughters)
    nested = _nested_masses(rng, parent, daughters)
    return _momenta(rng, nested, daughters)


def scale_to(mass: FloatArray, p3: FloatArray, masses: FloatArray) -> FloatArray:
    """Return four-momenta (n, k, 4) of decays whose momenta are all stretched by what makes the energies add up.

    Args:
        mass: Energies of the decays in their rest frames in GeV, (n,), above the sums of the masses.
        p3: Momenta in GeV/c, (n, k, 3).
        masses: Masses in GeV/c^2, (n, k).
    """
    p2 = np.square(p3).sum(axis=-1)
    factor = np.ones(len(mass))
    for _ in range(_N_NEWTON):
        energy = np.sqrt(np.square(masses) + factor[:, None] ** 2 * p2)
        factor -= (energy.sum(axis=1) - mass) / (factor[:, None] * p2 / energy).sum(axis=1)
    energy = np.sqrt(np.square(masses) + factor[:, None] ** 2 * p2)
    return np.concatenate([p3 * factor[:, None, None], energy[..., None]], axis=-1)


def maximum_weight(mass: float, masses: tuple[float, ...]) -> float:
    """Return an upper bound in GeV^(k-1) of the phase-space weight, the product of the break-up momenta.

    The bound is 1.1 times the largest weight of a pilot with a seed of its own, so results do not depend on the call.
    """
    return _pilot(float(np.ceil(mass / _PILOT_STEP) * _PILOT_STEP), masses)


@lru_cache(maxsize=4096)
def _pilot(mass: float, masses: tuple[float, ...]) -> float:
    rng = np.random.default_rng(len(masses))
    daughters = np.broadcast_to(np.array(masses)[:, None], (len(masses), _PILOT_EVENTS))
    nested = _propose(rng, np.full(_PILOT_EVENTS, mass), daughters)
    return _PILOT_MARGIN * float(weights(nested, daughters).max())


def weights(nested: FloatArray, daughters: FloatArray) -> FloatArray:
    """Return phase-space weights (n,) of nested subsystem masses (k, n) with daughter masses (k, n)."""
    return np.asarray(break_up_momentum(nested[1:], nested[:-1], daughters[1:]).prod(axis=0))


def _check_threshold(parent: FloatArray, daughters: FloatArray) -> None:
    total = daughters.sum(axis=0)
    if np.any(parent <= total):
        worst = int(np.argmin(parent - total))
        msg = f"a parent of {parent[worst]:.4f} GeV/c^2 cannot decay into {total[worst]:.4f} GeV/c^2"
        raise ValueError(msg)


def _propose(rng: np.random.Generator, parent: FloatArray, daughters: FloatArray) -> FloatArray:
    """Return masses of the subsystems of the first 1, 2, ... k daughters, (k, n): before accept-reject."""
    k, n = daughters.shape
    sums = daughters.cumsum(axis=0)
    nested = np.empty((k, n))
    nested[0], nested[-1] = daughters[0], parent
    if k > _TWO_BODIES:
        nested[1:-1] = sums[1:-1] + np.sort(rng.uniform(size=(k - 2, n)), axis=0) * (parent - sums[-1])
    return nested


def _nested_masses(rng: np.random.Generator, parent: FloatArray, daughters: FloatArray) -> FloatArray:
    """Return accepted subsystem masses, (k, n)."""
    k, n = daughters.shape
    if k == _TWO_BODIES or n == 0:
        return _propose(rng, parent, daughters)
    # Weights grow with the parent's mass and fall with the daughters': one bound serves all events.
    bound = maximum_weight(float(parent.max()), tuple(daughters.min(axis=1).tolist()))
    nested = np.empty((k, n))
    pending = np.arange(n)
    while pending.size:
        trial = _propose(rng, parent[pending], daughters[:, pending])
        is_accepted = rng.uniform(size=pending.size) * bound < weights(trial, daughters[:, pending])
        nested[:, pending[is_accepted]] = trial[:, is_accepted]
        pending = pending[~is_accepted]
    return nested


def _momenta(rng: np.random.Generator, nested: FloatArray, daughters: FloatArray) -> FloatArray:
    """Build the momenta from the inside: each step decays a subsystem into the previous one and a daughter."""
    k, n = daughters.shape
    momenta = np.zeros((n, k, 4))
    momenta[:, 0, 3] = daughters[0]
    for i in range(1, k):
        momentum = break_up_momentum(nested[i], nested[i - 1], daughters[i])
        p3 = isotropic(rng, n) * momentum[:, None]
        inner = np.concatenate([-p3, np.hypot(momentum, nested[i - 1])[:, None]], axis=1)
        if i == 1:
            momenta[:, 0] = inner
        else:
            momenta[:, :i] = boost(momenta[:, :i], inner[:, None, :])
        momenta[:, i, :3] = p3
        momenta[:, i, 3] = np.hypot(momentum, daughters[i])
    return momenta


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
