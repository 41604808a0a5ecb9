"""Random helices with valid covariances."""

import numpy as np
import pivot
import pytest


def make_helices(n: int, seed: int):
    """Return helices (n, 5) of both charges and covariances (n, 15)."""
    rng = np.random.default_rng(seed)
    kappa = rng.choice([-1.0, 1.0], n) / rng.uniform(0.05, 1.5, n)
    h = np.stack(
        [rng.normal(0, 0.3, n), rng.uniform(0, 2 * np.pi, n), kappa, rng.normal(0, 1, n), rng.normal(0, 1, n)], axis=1
    )
    root = rng.normal(size=(n, 5, 5)) * np.array([0.02, 1e-3, 5e-3, 0.1, 3e-3])[:, None]
    return h, pivot.pack(root @ root.transpose(0, 2, 1))


@pytest.fixture(scope="session")
def helices():
    return make_helices
