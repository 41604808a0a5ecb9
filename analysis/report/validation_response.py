"""What the simulated detector does to single particles: resolutions, and how often a species is read as which."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.columns import ArrayColumns
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES
from jpsi_lnv.analysis.objects import networks, pid, tracks
from jpsi_lnv.analysis.objects.networks import COS_THETA_MUC_MAX, Network
from jpsi_lnv.analysis.simulation import beam, calorimeter
from jpsi_lnv.analysis.simulation.decays import direction
from jpsi_lnv.analysis.simulation.detector import Branch, simulate
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, PERIODS, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import ELECTRON, KAON, KINDS, MUON, PHOTON, PION, PROTON, Particles
from jpsi_lnv.analysis.simulation.tracking import measure, trajectory

N_SINGLE: Final = 20_000
BARREL: Final = (-0.8, 0.8)
ENDCAP: Final = (0.87, 0.92)
REFERENCE_MOMENTUM: Final = 1.0
BHABHA_MOMENTUM: Final = M_JPSI / 2
SPECIES: Final = {"e": ELECTRON, "pi": PION, "K": KAON, "p": PROTON}
MOMENTUM_EDGES: Final = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
# Momenta in GeV/c of what is shot at the muon chambers; bins of what they are read as.
CHAMBER_MOMENTA: Final = (0.45, 1.8)
CHAMBER_KINDS: Final = {"mu": MUON, "pi": PION}
CHAMBER_P: Final = (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5)
CHAMBER_COS_THETA: Final = (0.0, 0.4, 0.7, COS_THETA_MUC_MAX)
_PHOTON_SHOWER_MIN: Final = 0.5  # GeV: what a photon of 1 GeV leaves, and noise does not
_DEPTH, _HITS = (networks.MUC.inputs.index(name) for name in ("depth", "max_hits"))
_FLAT_CUT: Final = 0.8


def columns_of(columns: Any) -> ArrayColumns:
    """Return simulated columns as a reader of an ntuple would give them, rounded to the types on disk."""
    block = make_block(columns)
    return ArrayColumns(block.values, block.offsets, block.n_events)


def gun(
    rng: np.random.Generator,
    pdg_id: int | IntArray,
    momentum: FloatArray,
    cos_theta: FloatArray,
    years: tuple[int, ...] = (),
) -> tuple[Particles, beam.Beams]:
    """Return events with one particle each, and their beams.

    Args:
        rng: Source of random numbers.
        pdg_id: PDG code of the particles, all of one species, or their codes (n,).
        momentum: Momenta in GeV/c, (n,).
        cos_theta: Cosines of the polar angles, (n,).
        years: Data-taking periods; empty: all, in the shares of the J/psi sample.
    """
    n = len(momentum)
    beams = beam.cross(rng, n, years)
    p3 = direction(cos_theta, rng.uniform(-np.pi, np.pi, n)) * momentum[:, None]
    energy = np.hypot(momentum, KINDS[int(np.abs(pdg_id).max())].mass)
    p4 = np.concatenate([p3, energy[:, None]], axis=1)
    everywhere = np.ones(n, dtype=np.bool_)
    return Particles(n, np.arange(n), np.full(n, pdg_id), np.full(n, -1), p4, beams.vertex, everywhere), beams


def shoot(
    rng: np.random.Generator,
    pdg_id: int | IntArray,
    momentum: FloatArray,
    cos_theta: FloatArray,
    parameters: DetectorParameters,
    years: tuple[int, ...] = (),
    keep: tuple[str, ...] = (),
) -> dict[str, Branch]:
    """Return the columns of events with one particle each, as `gun` makes them, with event scalars and raw columns."""
    table, beams = gun(rng, pdg_id, momentum, cos_theta, years)
    n = len(momentum)
    scalars: dict[str, Branch] = {f"ip_{axis}": beams.ip[:, i] for i, axis in enumerate("xyz")}
    scalars |= {"run": -beams.run, "event": np.arange(n) + 1, "field": beams.field, "sqrt_s": np.full(n, M_JPSI)}
    scalars["period"] = np.array([p.year for p in PERIODS])[beams.period]
    return simulate(rng, table, beams, parameters, keep=keep) | scalars


def single(
    rng: np.random.Generator,
    pdg_id: int,
    momentum: float,
    cos_theta: tuple[float, float],
    n: int,
    years: tuple[int, ...] = (),
    parameters: DetectorParameters = NOMINAL,
) -> ArrayColumns:
    """Return events with one particle of a momentum in GeV/c, uniform in a range of cos(theta)."""
    cosine = rng.uniform(*cos_theta, n)
    return columns_of(shoot(rng, pdg_id, np.full(n, momentum), cosine, parameters, years))


def momentum_resolution(rng: np.random.Generator, n: int = N_SINGLE) -> float:
    """Return the rms of p/p_true - 1 of muons of 1 GeV/c in the barrel."""
    p3 = np.zeros((n, 3))
    cosine, phi = rng.uniform(*BARREL, n), rng.uniform(-np.pi, np.pi, n)
    sine = np.sqrt(1 - cosine**2)
    p3[:] = REFERENCE_MOMENTUM * np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=-1)
    true = trajectory(np.zeros((n, 3)), p3, np.ones(n), 1.0)
    helix = measure(rng, true, np.full(n, KINDS[MUON].mass), np.full(n, NOMINAL.pull_width_2018), NOMINAL).parameters
    ratio = np.hypot(1.0, helix[:, 4]) / np.abs(helix[:, 2]) / REFERENCE_MOMENTUM
    return float(np.sqrt(np.mean((ratio - 1.0) ** 2)))


def dedx_resolution(rng: np.random.Generator, n: int = N_SINGLE) -> float:
    """Return the relative width of dE/dx of Bhabha electrons."""
    events = single(rng, ELECTRON, BHABHA_MOMENTUM, BARREL, n)
    signal = events.flat("Track", "dedx_norm_ph")[events.flat("Track", "dedx_n_hits") > 0]
    return float(np.std(signal) / np.mean(signal))


def tof_resolution(
    rng: np.random.Generator, cos_theta: tuple[float, float], years: tuple[int, ...] = (), n: int = N_SINGLE
) -> float:
    """Return the width in ns of the time residuals of muons of 1 GeV/c."""
    events = single(rng, MUON, REFERENCE_MOMENTUM, cos_theta, n, years)
    has = events.flat("Track", "tof_quality") == 1
    residual = events.flat("Track", "tof_time")[has] - events.flat("Track", "tof_texp_mu")[has]
    return float(np.std(residual))


def photon_resolution(rng: np.random.Generator, cos_theta: tuple[float, float], n: int = N_SINGLE) -> float:
    """Return the relative width of the energies of photons of 1 GeV."""
    energy = single(rng, PHOTON, REFERENCE_MOMENTUM, cos_theta, n).flat("Shower", "energy")
    energy = energy[energy > _PHOTON_SHOWER_MIN]
    return float(np.std(energy) / np.mean(energy))


_BOSS: Final = Form("numbers of BOSS tracks", "install the package again", ResultsError)


def boss_numbers() -> dict[str, FloatArray]:
    """Return the numbers of the real BOSS file: per track momentum, sine of theta, hits, dE/dx and five chi values
    (``dedx``), per TOF record momentum, path in cm and five expected times in ns (``tof``)."""  # noqa: D205, D209
    path = Path(calorimeter.__file__).with_name("boss_tracks.json")
    return {name: np.array(rows) for name, rows in _BOSS.read(path).items()}


def dedx_deviation() -> float:
    """Return the median of |chi of the model - chi of BOSS| over all tracks and hypotheses of the real file."""
    momentum, sine, hits, signal = boss_numbers()["dedx"][:, :4].T
    mean = calorimeter.expected_dedx(momentum[:, None] / calorimeter.HYPOTHESIS_MASSES)
    sigma = calorimeter.dedx_resolution(mean, sine[:, None], hits[:, None], NOMINAL.dedx_resolution)
    return float(np.median(np.abs((signal[:, None] - mean) / sigma - boss_numbers()["dedx"][:, 4:])))


def read_by_species(rng: np.random.Generator, n: int = N_SINGLE) -> list[dict[str, Any]]:
    """Return, per species and range of momentum, the shares of the tracks read as electron and as kaon."""
    rows = []
    for name, code in SPECIES.items():
        for low, high in itertools.pairwise(MOMENTUM_EDGES):
            cosine = rng.uniform(-_FLAT_CUT, _FLAT_CUT, n)
            found = columns_of(shoot(rng, code, rng.uniform(low, high, n), cosine, NOMINAL))
            rows.append({"species": name, "p_min": low, "p_max": high, **read_as(found, code)})
    return rows


def read_as(columns: ArrayColumns, code: int) -> dict[str, float | int]:
    """Return tracks of the generated particle, the mean E/p of those with a cluster, and the shares read as e and K."""
    gen = columns.offsets("Gen")[:-1]
    own = columns.flat("Track", "gen") == 0
    of_event = np.repeat(np.arange(columns.n_events), np.diff(columns.offsets("Track")))
    own &= np.abs(columns.flat("Gen", "pdg_id")[gen[of_event]]) == abs(code)
    level = pid.identify(columns, SELECTION)
    momentum = tracks.momentum(columns.flat("Track", "kappa"), columns.flat("Track", "tanl"))
    ratio = pid.e_over_p(columns.flat("Track", "emc_energy"), momentum)
    is_known = own & (level.ndof > 0)
    has_cluster = own & (ratio > 0)
    return {
        "n_tracks": int(own.sum()),
        "e_over_p": float(ratio[has_cluster].mean()) if has_cluster.any() else 0.0,
        "as_electron": _share(is_known & pid.is_electron(level.cl, ratio, SELECTION), own),
        "as_kaon": _share(is_known & pid.is_hadron(level.cl, ratio, SELECTION), own),
    }


def chamber_tracks(rng: np.random.Generator, code: int, n: int) -> ArrayColumns:
    """Return events with one particle of either charge in reach of the muon chambers, with their raw columns."""
    momentum, cosine = rng.uniform(*CHAMBER_MOMENTA, n), rng.uniform(-COS_THETA_MUC_MAX, COS_THETA_MUC_MAX, n)
    codes = code * rng.choice((-1, 1), n)
    return columns_of(shoot(rng, codes, momentum, cosine, NOMINAL, keep=("muon",)))


def own_tracks(columns: ArrayColumns) -> IntArray:
    """Return the tracks that the one particle of each event made."""
    return np.flatnonzero(columns.flat("Track", "gen") == 0)


def read_as_muon(rng: np.random.Generator, network: Network, n: int = N_SINGLE) -> list[dict[str, Any]]:
    """Return the share of tracks that the muon chambers read as muons, with chi closer to zero for a muon than a pion.

    Args:
        rng: Source of random numbers.
        network: The chambers' network.
        n: Particles of each species.

    Returns:
        One row per species, range of momentum in GeV/c and of abs(cos theta): tracks, their mean depth in cm and hits
        in the fullest layer, those read as muons, and the rate with half a track more (Jeffreys), which is never zero.
    """
    rows = []
    for name, code in (SPECIES | {"mu": MUON}).items():
        columns = chamber_tracks(rng, code, n)
        inputs, _ = networks.muc_inputs(columns, own := own_tracks(columns))
        chi = np.abs(networks.muc_chi(columns, network, own)[:, [PID_HYPOTHESES.index(h) for h in ("mu", "pi")]])
        for (low, high), (near, far) in itertools.product(*map(itertools.pairwise, (CHAMBER_P, CHAMBER_COS_THETA))):
            at = (inputs[:, 0] >= low) & (inputs[:, 0] < high) & np.isfinite(chi).all(axis=1)
            at &= (np.abs(inputs[:, 2]) >= near) & (np.abs(inputs[:, 2]) < far)
            bins: dict[str, Any] = {"species": name, "p_min": low, "p_max": high}
            bins |= {"cos_theta_min": near, "cos_theta_max": far}
            n_own, n_read = int(at.sum()), int((at & (chi[:, 0] < chi[:, 1])).sum())
            depth, hits = (float(inputs[at, i].mean()) if n_own else 0.0 for i in (_DEPTH, _HITS))
            left = {"depth": depth, "max_hits": hits}
            rows.append(bins | left | {"n": n_own, "read": n_read, "rate": (n_read + 0.5) / (n_own + 1.0)})
    return rows


def _share(passed: BoolArray, of: BoolArray) -> float:
    return float(passed.sum() / max(int(of.sum()), 1))
