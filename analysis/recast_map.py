"""The efficiency as a table, for people without this package: decays that were simulated, and how often they passed.

The efficiency of a decay is the share of simulations that passed among its `N_NEAREST` nearest rows, in the features of
`FEATURES` divided by `SCALES`; that of a model is the mean over its decays. The features say all of the decay but how
it lies about the beams, of which they have the track nearest to them. Every row is simulated `N_TRIALS` times, half of
them with either charge: one simulation alone leaves the rows about a mass, some ten thousand, with 1.5 % of counting,
which is the same error for all models near it. The rows are importance-sampled in the two M(Ke), for phase space has
next to no decays where both are small: half of them have masses that are independent and rather small, half have
nearly equal ones. All radiate in the rest frames of their pairs.

How far the table can be believed is measured: models of one and of two neutrinos of every mass are simulated and looked
up. A model whose pairs have masses where that went wrong by more than `WORST` is refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy.spatial import KDTree

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_ELECTRON, M_JPSI, M_KAON
from jpsi_lnv.analysis.documents import replacing
from jpsi_lnv.analysis.majorana import nearest_pairing
from jpsi_lnv.analysis.recast import Decays, DecaysError
from jpsi_lnv.analysis.simulation.decays import boost, phase_space

FEATURES: Final = ("p_k1", "p_k2", "p_e1", "p_e2", "cos_theta_max", "m_ee", "m_ke_1", "m_ke_2")
# What makes distances of the features comparable: GeV/c, 1, GeV/c^2.
SCALES: Final = (0.3, 0.3, 0.3, 0.3, 0.25, 0.6, 0.3, 0.3)
N_NEAREST: Final = 10
N_TRIALS: Final = 8
# Closure that is wanted beyond two standard errors, from this mass on in GeV/c^2; and what is refused.
WANTED: Final = 0.03
WANTED_FROM: Final = 0.75
WORST: Final = 0.10
METADATA: Final = b"jpsi_lnv"
THRESHOLD: Final = M_KAON + M_ELECTRON
# Distance from the edges of phase space in GeV/c^2, powers of a uniform number that give a mass, and the scale in
# GeV/c^2 on which two masses are nearly equal.
_EDGE: Final = 1e-4
_POWER: Final = 2.0
_POWER_EQUAL: Final = 1.5
_NEARLY_EQUAL: Final = 0.04
PHASE_SPACE: Final = "phase space"


@dataclass(frozen=True)
class Closure:
    """A model simulated and looked up.

    Attributes:
        mode: ``2nu``, ``1nu`` or `PHASE_SPACE`.
        m_majorana: Mass of the neutrino in GeV/c^2; None for phase space.
        simulated: Efficiency of the simulated decays.
        error: Its standard error.
        looked_up: Efficiency of the same decays in the table.
    """

    mode: str
    m_majorana: float | None
    simulated: float
    error: float
    looked_up: float

    @property
    def deviation(self) -> float:
        """The looked-up over the simulated efficiency, less one."""
        return self.looked_up / self.simulated - 1.0

    @property
    def beyond(self) -> float:
        """What of the deviation two standard errors do not explain, zero or more."""
        return max(0.0, abs(self.deviation) - 2.0 * self.error / self.simulated)

    @property
    def is_wanted(self) -> bool:
        """Whether the deviation is within what is wanted at its mass."""
        is_low = self.m_majorana is not None and self.m_majorana < WANTED_FROM
        return is_low or self.beyond <= WANTED

    def to_dict(self) -> dict[str, Any]:
        """Return the record of the closure table."""
        return dataclasses.asdict(self) | {"deviation": self.deviation, "beyond": self.beyond}


@dataclass(frozen=True)
class Map:
    """The table.

    Attributes:
        features: (N, 8), in the order of `FEATURES`.
        n_passed: How many of `N_TRIALS` simulations passed (N,).
        closure: Records of the models that it was tried on.
        cuts_digest: Digest of the requirements of its search; empty where nobody said.
    """

    features: FloatArray
    n_passed: IntArray
    closure: tuple[Mapping[str, Any], ...] = ()
    cuts_digest: str = ""

    def looked_up(self, decays: Decays) -> FloatArray:
        """Return the efficiency of each decay (N,)."""
        nearest = self._tree.query(features(decays.momenta) / SCALES, k=N_NEAREST, workers=-1)[1]
        return np.asarray(self.n_passed[nearest].mean(axis=1) / N_TRIALS)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.features / SCALES)

    def expected_deviation(self, decays: Decays) -> float:
        """Return how wrong the table may be on a model: the worst closure at the mass of each decay's pairs, averaged.

        A mass below all that were tried counts as wrong altogether.
        """
        known = sorted((c["m_majorana"], abs(c["deviation"])) for c in self.closure if c["m_majorana"] is not None)
        masses = np.unique([m for m, _ in known])
        worst = np.array([max(d for m, d in known if m == mass) for mass in masses])
        of_pairs = pair_masses(decays.momenta).min(axis=1)
        found = np.interp(of_pairs, masses, worst)
        found[of_pairs < masses[0] - _NEARLY_EQUAL / 2.0] = 1.0
        return float(decays.weight @ found / decays.weight.sum())


def features(momenta: FloatArray) -> FloatArray:
    """Return the features (N, 8) of decays: momenta, the larger first, largest abs(cos(theta)), M(ee), both M(Ke).

    The M(Ke) are those of the pairing whose masses differ least, the smaller first.

    Args:
        momenta: (px, py, pz, E) in GeV of kaon, electron, kaon, electron (N, 4, 4) in the rest frame of the J/psi.
    """
    p = np.sqrt(np.square(momenta[..., :3]).sum(axis=-1))
    kaons, electrons = -np.sort(-p[:, 0::2], axis=1), -np.sort(-p[:, 1::2], axis=1)
    cos_theta = np.abs(momenta[..., 2] / p).max(axis=1)
    pairs = np.sort(pair_masses(momenta), axis=1)
    return np.column_stack([kaons, electrons, cos_theta, _mass(momenta[:, 1] + momenta[:, 3]), pairs])


def pair_masses(momenta: FloatArray) -> FloatArray:
    """Return both M(Ke) of decays (N, 2) in GeV/c^2, in the pairing whose masses differ least."""
    return nearest_pairing(_mass(momenta[:, [0, 2, 0, 2]] + momenta[:, [1, 3, 3, 1]]))


def _mass(p4: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(p4[..., 3] ** 2 - np.square(p4[..., :3]).sum(axis=-1), 0.0)))


def sample(rng: np.random.Generator, n: int) -> Decays:
    """Return decays for the rows of the table: every other one with nearly equal M(Ke)."""
    masses = np.empty((n, 2))
    masses[0::2] = _accepted(rng, len(masses[0::2]), _independent)
    masses[1::2] = _accepted(rng, len(masses[1::2]), _nearly_equal)
    return two_neutrinos(rng, masses)


def trials(rows: Decays) -> list[Decays]:
    """Return the decays of the rows once per simulation, either charge in every other one."""
    kind = np.arange(len(rows)) // 2
    return [dataclasses.replace(rows, is_conjugated=(kind + i) % 2 == 1) for i in range(N_TRIALS)]


def _accepted(rng: np.random.Generator, n: int, propose: Any) -> FloatArray:
    found = np.empty((0, 2))
    while len(found) < n:
        masses = propose(rng, n)
        is_inside = (masses.min(axis=1) > THRESHOLD + _EDGE) & (masses.sum(axis=1) < M_JPSI - _EDGE)
        found = np.concatenate([found, masses[is_inside]])
    return found[:n]


def _independent(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(THRESHOLD + (M_JPSI - 2.0 * THRESHOLD) * rng.uniform(size=(n, 2)) ** _POWER)


def _nearly_equal(rng: np.random.Generator, n: int) -> FloatArray:
    mean = THRESHOLD + (M_JPSI / 2.0 - THRESHOLD) * rng.uniform(size=n) ** _POWER_EQUAL
    half = rng.laplace(0.0, _NEARLY_EQUAL / 2.0, n)
    return np.column_stack([mean + half, mean - half])


def two_neutrinos(rng: np.random.Generator, masses: FloatArray) -> Decays:
    """Return J/psi -> nu nu, nu -> K e with neutrinos of masses (N, 2) in GeV/c^2."""
    n = len(masses)
    pair = phase_space(rng, M_JPSI, list(masses.T), n)
    return _decays(np.concatenate([_of_neutrino(rng, pair[:, i]) for i in (0, 1)], axis=1), 2)


def one_neutrino(rng: np.random.Generator, m_majorana: float, n: int) -> Decays:
    """Return J/psi -> nu K e, nu -> K e with a neutrino of one mass in GeV/c^2."""
    three = phase_space(rng, M_JPSI, [m_majorana, M_KAON, M_ELECTRON], n)
    return _decays(np.concatenate([_of_neutrino(rng, three[:, 0]), three[:, 1:]], axis=1), 1)


def no_neutrino(rng: np.random.Generator, n: int) -> Decays:
    """Return J/psi -> K e K e flat in phase space."""
    return _decays(phase_space(rng, M_JPSI, [M_KAON, M_ELECTRON, M_KAON, M_ELECTRON], n), 0)


def _of_neutrino(rng: np.random.Generator, p4: FloatArray) -> FloatArray:
    return boost(phase_space(rng, _mass(p4), [M_KAON, M_ELECTRON], len(p4)), p4[:, None])


def _decays(momenta: FloatArray, n_neutrinos: int) -> Decays:
    n = len(momenta)
    return Decays(momenta, np.full(n, n_neutrinos), np.arange(n) % 2 == 1, np.ones(n))


def models(rng: np.random.Generator, masses: Sequence[float], n: int) -> dict[tuple[str, float | None], Decays]:
    """Return n decays of every model of the closure: (mode, mass) -> decays."""
    found: dict[tuple[str, float | None], Decays] = {(PHASE_SPACE, None): no_neutrino(rng, n)}
    for mass in masses:
        found["2nu", mass] = two_neutrinos(rng, np.full((n, 2), mass))
        found["1nu", mass] = one_neutrino(rng, mass, n)
    return found


def closure(table: Map, decays: Decays, is_passed: BoolArray, mode: str, m_majorana: float | None) -> Closure:
    """Return a model simulated and looked up.

    Raises:
        DecaysError: None of its decays passes.
    """
    if not (value := float(is_passed.mean())):
        msg = f"{mode} {m_majorana or ''}: none of {len(decays)} decays passes; wanted more of them for a closure"
        raise DecaysError(msg)
    error = math.sqrt(value * (1.0 - value) / len(decays))
    return Closure(mode, m_majorana, value, error, float(table.looked_up(decays).mean()))


def write(path: Path, table: Map, about: Mapping[str, Any]) -> Path:
    """Write the table as Parquet, with its closure and how it is to be read in the metadata of the file."""
    columns = {name: table.features[:, i].astype(np.float32) for i, name in enumerate(FEATURES)}
    how = {"features": FEATURES, "scales": SCALES, "n_nearest": N_NEAREST, "n_trials": N_TRIALS}
    content = {**how, "closure": table.closure, **about}
    stored = pa.table(columns | {"n_passed": table.n_passed.astype(np.uint8)}).replace_schema_metadata(
        {METADATA: json.dumps(content)}
    )
    with replacing(path) as partial:
        parquet.write_table(
            stored, partial, compression="zstd", use_dictionary=False, column_encoding=_encoding(columns)
        )
    return path


def _encoding(columns: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(columns, "BYTE_STREAM_SPLIT") | {"n_passed": "PLAIN"}


def read(path: Path) -> Map:
    """Return the table of a file.

    Raises:
        DecaysError: It cannot be read, or is no such table.
    """
    try:
        stored = parquet.read_table(path)
        content = json.loads((stored.schema.metadata or {})[METADATA])
        columns = np.column_stack([stored[name].to_numpy() for name in FEATURES]).astype(np.float64)
        return Map(columns, stored["n_passed"].to_numpy(), tuple(content["closure"]), content.get("cuts_digest", ""))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        what = f"no map of the efficiency ({type(error).__name__}: {error})"
        msg = f"{path}: {what}; make one with `lnv recast --make-map`"
        raise DecaysError(msg) from None
