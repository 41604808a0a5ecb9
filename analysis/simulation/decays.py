"""Decays into N bodies, flat in phase space, for many events at once.

The algorithm is GENBOD (F. James, CERN 68-15, 1968): ordered random numbers give the masses of the nested subsystems,
the product of the break-up momenta is the weight, and accept-reject makes the weights one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import FloatArray

_PILOT_EVENTS: Final = 20_000
_PILOT_MARGIN: Final = 1.1
_TWO_BODIES: Final = 2
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
