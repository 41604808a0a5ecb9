"""Toy candidates: phase space in the laboratory, smeared like tracks in the BESIII drift chamber."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from jpsi_lnv.analysis.constants import M_JPSI, SPECIES_MASS, Species
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.simulation.decays import boost, phase_space

E, PI, K, P, _ = Species
MASS = np.array(SPECIES_MASS)
P4_TOTAL = initial_four_momentum(M_JPSI)


@dataclass(frozen=True)
class Toys:
    """N candidates of four tracks of their own: p (4N, 1, 3), v (4N, 1, 6), cand (N, 4), true p4 (N, 4, 4)."""

    p: np.ndarray
    v: np.ndarray
    cand: np.ndarray
    true: np.ndarray

    def __len__(self) -> int:
        return len(self.cand)

    def __getitem__(self, keep) -> Toys:
        return replace(self, cand=self.cand[keep], true=self.true[keep])

    @property
    def of_candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """Momenta (N, 4, 3) and covariances (N, 4, 6)."""
        return self.p[self.cand, 0], self.v[self.cand, 0]


def smear(rng: np.random.Generator, true: np.ndarray, species: tuple[int, ...], scale: float) -> Toys:
    p3 = true[..., :3]
    pt, p = np.hypot(p3[..., 0], p3[..., 1]), np.linalg.norm(p3, axis=-1)
    beta = p / true[..., 3]
    sigma = scale * np.stack(
        [np.hypot(6e-4, 1e-3 / (beta * p)), np.hypot(3.2e-3 * pt, 3.7e-3 / beta), np.hypot(2.5e-3, 1e-3 / (beta * pt))],
        axis=-1,
    )
    z = rng.normal(size=p3.shape)
    z[..., 1] = 0.5 * z[..., 0] + np.sqrt(0.75) * z[..., 1]
    phi = np.arctan2(p3[..., 1], p3[..., 0]) + sigma[..., 0] * z[..., 0]
    inverse_pt = (1.0 + sigma[..., 1] * z[..., 1]) / pt
    tanl = p3[..., 2] / pt + sigma[..., 2] * z[..., 2]
    measured = np.stack([np.cos(phi), np.sin(phi), tanl], axis=-1) / inverse_pt[..., None]
    jacobian = np.zeros((*measured.shape, 3))
    jacobian[..., 0, 0], jacobian[..., 1, 0] = -measured[..., 1], measured[..., 0]
    jacobian[..., :, 1] = -measured / inverse_pt[..., None]
    jacobian[..., 2, 2] = 1.0 / inverse_pt
    width = sigma * np.stack([np.ones_like(pt), 1.0 / pt, np.ones_like(pt)], axis=-1)
    correlation = np.eye(3)
    correlation[0, 1] = correlation[1, 0] = 0.5
    covariance = width[..., :, None] * correlation * width[..., None, :]
    rows, columns = np.triu_indices(3)
    v = (jacobian @ covariance @ np.swapaxes(jacobian, -1, -2))[..., rows, columns]
    n = len(true)
    return Toys(measured.reshape(-1, 1, 3), v.reshape(-1, 1, 6), np.arange(4 * n).reshape(n, 4), true)


def make_toys(species: tuple[int, ...], n: int, seed: int, scale: float = 1.0) -> Toys:
    """Return n candidates within the acceptance whose tracks are of `species`."""
    rng = np.random.default_rng((seed, *species))
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < n:
        rest = phase_space(rng, M_JPSI, [MASS[s] for s in species], 2 * n)
        true = boost(rest, np.broadcast_to(P4_TOTAL, (len(rest), 1, 4)))
        pt, pz = np.hypot(true[..., 0], true[..., 1]), true[..., 2]
        is_seen = (pt > 0.05) & (np.abs(pz) < 0.93 * np.hypot(pt, pz))
        kept.append(true[is_seen.all(axis=1)])
    return smear(rng, np.concatenate(kept)[:n], species, scale)


@pytest.fixture(scope="session")
def toys():
    """The maker of toys: ``toys(species, n, seed, scale)``."""
    return make_toys


@pytest.fixture(scope="session")
def p4_total():
    return P4_TOTAL


@pytest.fixture(scope="session")
def signal_toys():
    return make_toys((K, K, E, E), 100_000, 1)
