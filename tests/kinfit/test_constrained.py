"""The fit under any constraints, against a general minimiser, its own limits, and the 4C fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE, M_ELECTRON, M_JPSI, M_KAON, M_PION, M_PION0
from jpsi_lnv.analysis.constraints import Constraints, Mass
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.kinfit import constrained, fourc
from jpsi_lnv.analysis.kinfit.fourc import Limits, Status
from jpsi_lnv.analysis.simulation.decays import boost, phase_space

pytestmark = pytest.mark.fast

P4_TOTAL = initial_four_momentum(M_JPSI)
TIGHT = Limits(chi2=1e-10, energy=1e-10, n_iter=200)
PACKED = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
ALONG = np.array([np.sin(HALF_CROSSING_ANGLE), 0.0, 0.0, 1.0])
M_K_S, M_OMEGA = 0.497611, 0.78266
N_TOYS = 50


@dataclass(frozen=True)
class Decay:
    """A decay chain: masses of the daughters, or the chain of one that decays; and what a fit may use of it."""

    name: str
    tree: tuple
    constraints: Constraints
    n_missing: int = 0
    spread: float = 0.0


def pi0():
    return (M_PION0, (0.0, 0.0))


DECAYS = (
    Decay("two tracks", (M_ELECTRON, M_ELECTRON), Constraints(2)),
    Decay("four tracks", (M_KAON, M_KAON, M_ELECTRON, M_ELECTRON), Constraints(4)),
    Decay("six tracks", (M_PION,) * 6, Constraints(6)),
    Decay("beam spread", (M_KAON, M_KAON, M_PION, M_PION), Constraints(4), spread=0.001),
    Decay("a pi0", (M_KAON, M_KAON, pi0()), Constraints(4, (Mass((2, 3), M_PION0),))),
    Decay(
        "four tracks and a pi0",
        (M_PION, M_PION, M_PION, M_PION, pi0()),
        Constraints(6, (Mass((4, 5), M_PION0),)),
    ),
    Decay(
        "two pi0",
        (M_PION, M_PION, pi0(), pi0()),
        Constraints(6, (Mass((2, 3), M_PION0), Mass((4, 5), M_PION0))),
    ),
    Decay("a missing neutrino", (M_KAON, M_KAON, M_PION, M_ELECTRON, 0.0), Constraints(4, missing=0.0), n_missing=1),
    Decay(
        "a missing kaon beside a pi0",
        (pi0(), M_KAON, M_KAON),
        Constraints(3, (Mass((0, 1), M_PION0),), missing=M_KAON),
        n_missing=1,
        spread=0.001,
    ),
    Decay("a K_S", (M_KAON, M_PION, (M_K_S, (M_PION, M_PION))), Constraints(4, (Mass((2, 3), M_K_S),))),
    Decay(
        "an omega over a pi0",
        (M_KAON, M_KAON, (M_OMEGA, (M_PION, M_PION, pi0()))),
        Constraints(6, (Mass((4, 5), M_PION0), Mass((2, 3, 4, 5), M_OMEGA))),
    ),
)


def mass_of(node):
    return node[0] if isinstance(node, tuple) else node


def masses(tree):
    """Return the masses of the particles that are seen."""
    return [m for node in tree for m in (masses(node[1]) if isinstance(node, tuple) else [node])]


def generate(rng, parent, tree, n):
    """Return (n, particles, 4): a chain of phase-space decays, parents of four-momentum (n, 4)."""
    mass = np.sqrt(np.maximum(parent[:, 3] ** 2 - (parent[:, :3] ** 2).sum(axis=1), 0.0))
    rest = phase_space(rng, float(mass.mean()), [mass_of(node) for node in tree], n)
    daughters = boost(rest, np.broadcast_to(parent[:, None], (n, 1, 4)))
    parts = [
        generate(rng, daughters[:, i], node[1], n) if isinstance(node, tuple) else daughters[:, i : i + 1]
        for i, node in enumerate(tree)
    ]
    return np.concatenate(parts, axis=1)


def make(decay, n, seed):
    """Return measured momenta (n, k, 3), covariances (n, k, 6) and masses (k,) of the particles that are seen."""
    rng = np.random.default_rng(seed)
    total = P4_TOTAL + np.sqrt(2.0) * decay.spread * rng.normal(size=(n, 1)) * ALONG
    true = generate(rng, total, decay.tree, n)
    mass = np.array(masses(decay.tree))
    true, mass = true[:, : len(mass) - decay.n_missing], mass[: len(mass) - decay.n_missing]
    p = true[..., :3]
    size = np.linalg.norm(p, axis=2, keepdims=True)
    along = np.where(mass[:, None] > 0.0, 0.005, 0.025 / np.sqrt(size)) * size
    across = np.where(mass[:, None] > 0.0, 0.003, 0.008) * size
    direction = p / size
    projector = direction[..., :, None] * direction[..., None, :]
    covariance = along[..., None] ** 2 * projector + across[..., None] ** 2 * (np.eye(3) - projector)
    z = rng.normal(size=p.shape)
    measured = p + np.einsum("nkij,nkj->nki", np.linalg.cholesky(covariance), z)
    rows, columns = np.triu_indices(3)
    return measured, covariance[..., rows, columns], mass


def run(decay, sample, limits=TIGHT, **options):
    p, v, mass = sample
    n, k = p.shape[:2]
    cand = np.arange(n * k).reshape(n, k)
    return constrained.fit(
        p.reshape(-1, 1, 3), v.reshape(-1, 1, 6), cand, range(k), P4_TOTAL, decay.constraints,
        mass=mass, spread=decay.spread, limits=limits, **options,
    )  # fmt: skip


def invariant(constraints, p, e, total):
    """Return what must vanish, from the definition of each constraint."""
    p4 = np.concatenate([p, e[:, None]], axis=1)
    rows = [] if constraints.missing is not None else [p4.sum(axis=0) - total]
    sums = [(p4[list(m.places)].sum(axis=0), m.mass) for m in constraints.masses]
    if constraints.missing is not None:
        sums.append((total - p4.sum(axis=0), constraints.missing))
    rows += [[q[3] - np.sqrt(q[:3] @ q[:3] + mass**2)] for q, mass in sums]
    return np.concatenate(rows)


def slsqp(decay, p0, v, mass):
    """Minimise |x|^2 with p = p0 + L x, P = P0 + spread; return chi2, or None where SLSQP gives up."""
    lower = np.linalg.cholesky(v[:, PACKED])
    k = len(p0)

    def constraints(x):
        p = p0 + np.einsum("kij,kj->ki", lower, x[: 3 * k].reshape(k, 3))
        e = np.sqrt((p * p).sum(axis=1) + mass**2)
        return invariant(decay.constraints, p, e, P4_TOTAL + np.sqrt(2.0) * decay.spread * x[3 * k] * ALONG)

    result = minimize(
        lambda x: x @ x, np.zeros(3 * k + 1), jac=lambda x: 2 * x, constraints={"type": "eq", "fun": constraints},
        method="SLSQP", options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    return result.fun if result.success and np.abs(constraints(result.x)).max() < 1e-8 else None


@pytest.mark.parametrize("decay", DECAYS, ids=lambda d: d.name)
def test_agrees_with_slsqp(decay):
    sample = make(decay, N_TOYS + 5, 1)
    fit, _ = run(decay, sample)
    compared = 0
    for i in np.flatnonzero(fit.status[:, 0] == Status.OK):
        expected = slsqp(decay, sample[0][i], sample[1][i], sample[2])
        if expected is not None:
            assert fit.chi2[i, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
            compared += 1
    assert compared >= N_TOYS


@pytest.mark.parametrize("decay", DECAYS, ids=lambda d: d.name)
def test_chi2_follows_its_degrees_of_freedom(decay):
    fit, _ = run(decay, make(decay, 4000, 2), fourc.DEFAULT_LIMITS)
    is_ok = fit.status[:, 0] == Status.OK
    assert is_ok.mean() > 0.97
    probability = stats.chi2.sf(fit.chi2[is_ok, 0], decay.constraints.ndf)
    assert probability.mean() == pytest.approx(0.5, abs=0.025)


@pytest.mark.parametrize("decay", DECAYS, ids=lambda d: d.name)
def test_a_fit_of_fitted_momenta_moves_nothing(decay):
    sample = make(decay, 200, 3)
    fit, p4 = run(decay, sample)
    chosen = fit.status[:, 0] == Status.OK
    hard = Decay(decay.name, decay.tree, decay.constraints, decay.n_missing)
    again, _ = run(hard if not decay.spread else decay, (p4[chosen][..., :3], sample[1][chosen], sample[2]))
    if not decay.spread:
        assert np.all(again.chi2[:, 0] < 1e-12)
    else:
        assert np.all(again.chi2[:, 0] <= fit.chi2[chosen, 0] + 1e-9)


@pytest.mark.parametrize(
    "decay", [d for d in DECAYS if not d.constraints.masses and not d.n_missing], ids=lambda d: d.name
)
def test_without_masses_it_is_the_4c_fit(decay):
    p, v, mass = make(decay, 500, 4)
    n, k = p.shape[:2]
    cand, species = np.arange(n * k).reshape(n, k), np.arange(k)
    general, p4 = run(decay, (p, v, mass))
    special, wanted = fourc.fit_with_momenta(
        p.reshape(-1, 1, 3), v.reshape(-1, 1, 6), cand, species, P4_TOTAL, mass=mass, spread=decay.spread, limits=TIGHT
    )
    np.testing.assert_array_equal(general.status, special.status)
    np.testing.assert_allclose(general.chi2, special.chi2, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(p4, wanted, rtol=1e-8, atol=1e-9)


def test_the_order_of_the_particles_does_not_matter():
    decay = next(d for d in DECAYS if d.name == "an omega over a pi0")
    p, v, mass = make(decay, 100, 5)
    order = np.array([5, 3, 0, 4, 1, 2])
    place = np.argsort(order)
    turned = Constraints(6, tuple(Mass(tuple(place[list(m.places)]), m.mass) for m in decay.constraints.masses))
    plain, _ = run(decay, (p, v, mass))
    other, _ = run(Decay("", (), turned), (p[:, order], v[:, order], mass[order]))
    np.testing.assert_allclose(other.chi2, plain.chi2, rtol=1e-8)


def test_constraints_that_follow_from_others_are_refused():
    everything = tuple(range(4))
    with pytest.raises(ValueError, match=r"5 constraints on 4 particles of which 4 are independent"):
        Constraints(4, (Mass(everything, M_JPSI),))
    for places in ((2, 4), (2, 2), (2,), (), (1, 0)):
        with pytest.raises(ValueError, match="wanted two or more different ones of 0 to 3, and one mass of them"):
            Constraints(4, (Mass((0, 1), 1.0), Mass(places, M_PION0)))
    with pytest.raises(ValueError, match="wanted zero or more"):
        Constraints(4, missing=float("nan"))


def test_a_sum_lighter_than_its_parts_is_refused():
    decay = Decay("", (), Constraints(4, (Mass((2, 3), 0.2),)))
    with pytest.raises(ValueError, match=r"particles \(2, 3\) weigh 0.279141 GeV/c\^2, the mass of their sum is 0.2"):
        run(decay, make(DECAYS[3], 5, 6))


def test_bad_measurements_have_a_status_and_no_chi2():
    decay = DECAYS[4]
    p, v, mass = make(decay, 3, 7)
    p[0, 2, 1], v[1, 0, 0] = np.nan, -1.0
    fit, p4 = run(decay, (p, v, mass))
    assert [Status(s).name for s in fit.status[:, 0]] == ["NOT_FINITE", "BAD_COVARIANCE", "OK"]
    assert np.isinf(fit.chi2[:2]).all()
    assert np.isnan(p4[:2]).all()


def test_a_pair_far_from_its_mass_ends_above_or_open():
    decay = DECAYS[4]
    p, v, mass = make(decay, 100, 8)
    p[:, 2:] *= 2.0
    fit, _ = run(decay, (p, v, mass), fourc.DEFAULT_LIMITS, give_up=200.0)
    assert np.isin(fit.status, [Status.ABOVE, Status.NOT_CONVERGED]).all()
