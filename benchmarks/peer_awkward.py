"""The search in plain awkward and numpy, without numba: what a careful coffea analyst writes.

Events that fail are dropped after every step, and the columns of the fit are read for a chunk with candidates only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from benchmarks.peer_formulae import (
    ARRAY,
    KKPIPI,
    MASSES,
    OTHERS,
    SIGNAL,
    conversion,
    distances,
    momentum_at_ip,
    survival,
)
from benchmarks.peer_loop import CHI2_MAX, COVARIANCE, N_STEPS
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION as CUTS
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.kinfit.kernels import Limits
from jpsi_lnv.analysis.objects import emc_pid
from tests.support import kinfit_reference as reference

P4_TOTAL = initial_four_momentum(M_JPSI)
HYPOTHESES = ("e", "pi", "k")
SCALARS = ("ip_x", "ip_y", "ip_z", "field")
FIRST = ("charge", "dr", "phi0", "kappa", "dz", "tanl", "dedx_n_hits", "tof_time", "tof_sigma", "tof_quality",
         "emc_energy", "emc_e3x3", "emc_e5x5", *(f"dedx_chi_{h}" for h in HYPOTHESES),
         *(f"tof_texp_{h}" for h in HYPOTHESES))  # fmt: skip


def run(path: Path, step: int) -> np.ndarray:
    """Return for every event how many steps it passes.

    Args:
        path: The ntuple.
        step: Events to read at a time.
    """
    with uproot.open({path: TREE}) as tree:
        starts = range(0, int(tree.num_entries), step)
        return np.concatenate([run_chunk(tree, start, start + step) for start in starts])


def run_chunk(tree: Any, start: int, stop: int) -> np.ndarray:
    """Return for every event of a chunk how many steps it passes."""
    tracks = read(tree, FIRST, start, stop)
    scalars = tree.arrays(list(SCALARS), entry_start=start, entry_stop=stop)
    for name in SCALARS:
        tracks[name] = ak.broadcast_arrays(ak.values_astype(scalars[name], np.float64), tracks.kappa)[0]
    tracks["index"] = ak.local_index(tracks.kappa)
    depth = np.zeros(len(tracks), dtype=np.int64)
    events, tracks = select_tracks(tracks, depth)
    if len(events):
        select_candidates(events, tracks, read(tree, COVARIANCE, start, stop)[events], depth)
    return depth


def read(tree: Any, names: tuple[str, ...], start: int, stop: int) -> ak.Array:
    """Return columns of the tracks as records, in double precision."""
    columns = tree.arrays([f"Track_{n}" for n in names], entry_start=start, entry_stop=stop)
    return ak.zip({n: ak.values_astype(columns[f"Track_{n}"], np.float64) for n in names})


def select_tracks(tracks: ak.Array, depth: np.ndarray) -> tuple[np.ndarray, ak.Array]:
    """Do the steps up to two kaons; return the events left and their good tracks."""
    r_xy, r_z = distances(ARRAY, *(tracks[n] for n in ("dr", "phi0", "kappa", "dz", "tanl", *SCALARS)))
    cosine = tracks.tanl / np.sqrt(1 + tracks.tanl**2)
    is_good = (abs(cosine) < CUTS.cos_theta_max) & (r_xy < CUTS.r_xy_max) & (r_z < CUTS.r_z_max)
    good, events = tracks[is_good], np.arange(len(tracks))

    def keep(decision: ak.Array) -> None:
        nonlocal good, events
        decision = ak.to_numpy(decision)
        good, events = good[decision], events[decision]
        depth[events] += 1

    keep(ak.num(good) > 0)
    keep((ak.num(good) >= 4) & (ak.sum(good.charge, axis=1) == CUTS.net_charge))
    good = identify(good)
    keep(ak.sum(good.ndof > 0, axis=1) >= 4)
    known, ratio = good.ndof > 0, good.e_over_p
    total = good.cl_e + good.cl_pi + good.cl_k
    in_range = (ratio > CUTS.e_over_p_electron_min) & (ratio < CUTS.e_over_p_electron_max)
    is_electron = known & (good.cl_e > CUTS.cl_e_min) & (good.cl_e > CUTS.cl_e_ratio_min * total) & in_range
    is_kaon = known & (good.cl_k > CUTS.cl_hadron_min) & (good.cl_k > good.cl_pi) & (ratio < CUTS.e_over_p_hadron_max)
    good["is_electron"], good["is_kaon"] = is_electron, is_kaon
    keep(ak.sum(good.is_electron, axis=1) >= 2)
    keep(ak.sum(good.is_kaon, axis=1) >= 2)
    return events, good


def identify(tracks: ak.Array) -> ak.Array:
    """Add E/p, sums of chi2, number of subsystems and confidence levels."""
    n = ak.num(tracks)
    t = ak.flatten(tracks)
    flat = {name: ak.to_numpy(t[name]) for name in t.fields}
    length = np.sqrt(1 + flat["tanl"] ** 2)
    p = length / abs(flat["kappa"])
    with np.errstate(divide="ignore", invalid="ignore"):
        dedx = np.stack([np.where(flat["dedx_n_hits"] > 0, flat[f"dedx_chi_{h}"], np.nan) for h in HYPOTHESES])
        sigma = np.where((flat["tof_quality"] == 1) & (flat["tof_sigma"] > 0), flat["tof_sigma"], np.nan)
        tof = np.stack([(flat["tof_time"] - flat[f"tof_texp_{h}"]) / sigma for h in HYPOTHESES])
        emc = emc_chi(p, abs(flat["tanl"] / length), flat["emc_energy"] / p, flat["emc_e3x3"] / flat["emc_e5x5"])
        chi2, ndof = np.zeros((3, len(p))), np.zeros(len(p), dtype=np.int64)
        for chi in (dedx, tof, emc):
            counts = np.isfinite(chi.sum(axis=0)) & (abs(chi).min(axis=0) < CUTS.pid_dedx_chi_max)
            chi2 += np.where(counts, chi**2, 0.0)
            ndof += counts
    cl = np.select([ndof == k for k in (1, 2, 3)], [survival(ARRAY, chi2, k) for k in (1, 2, 3)], -1.0)
    new = {"e_over_p": flat["emc_energy"] / p, "ndof": ndof}
    new |= {f"cl_{h}": cl[i] for i, h in enumerate(HYPOTHESES)} | {
        f"chi2_{h}": chi2[i] for i, h in enumerate(HYPOTHESES)
    }
    for name, values in new.items():
        tracks[name] = ak.unflatten(values, n)
    return tracks


def emc_chi(p: np.ndarray, cosine: np.ndarray, ratio: np.ndarray, compactness: np.ndarray) -> np.ndarray:
    """Return chi (3, T) of the calorimeter; NaN without a cluster or outside the tables."""
    t = emc_pid.load()
    i, j = (np.searchsorted(e, x, side="right") - 1 for e, x in ((t.p_edges, p), (t.cos_theta_edges, cosine)))
    is_inside = (i >= 0) & (i < len(t.p_edges) - 1) & (j >= 0) & (j < len(t.cos_theta_edges) - 1)
    is_inside &= np.isfinite(compactness) & (ratio > 0)
    out = np.full((3, len(p)), np.nan)
    i, j, ratio, compactness = (x[is_inside] for x in (i, j, ratio, compactness))
    (x, fx), (y, fy) = node(t.e_over_p, ratio), node(t.compactness, compactness)
    low, high = (t.score[i, j, k, y] * (1 - fy) + t.score[i, j, k, y + 1] * fy for k in (x, x + 1))
    score = low * (1 - fx) + high * fx
    for kind, rows in ((0, [0]), (1, [1, 2])):
        out[np.ix_(np.array(rows), np.flatnonzero(is_inside))] = quantile(t.quantiles[kind, i, j], t.chi, score)
    return out


def node(nodes: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i = np.clip(np.searchsorted(nodes, value, side="right") - 1, 0, len(nodes) - 2)
    return i, np.clip((value - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0)


def quantile(q: np.ndarray, chi: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return chi at the scores, one row of `q` each; beyond its ends along the line from the median."""
    i = np.clip((q <= score[:, None]).sum(axis=1) - 1, 0, len(chi) - 2)
    rows, middle = np.arange(len(q)), len(chi) // 2
    width = q[rows, i + 1] - q[rows, i]
    share = np.divide(score - q[rows, i], width, out=np.full(len(q), 0.5), where=width > 0)
    inside = chi[i] + share * (chi[i + 1] - chi[i])
    ends = [chi[e] + (chi[e] - chi[middle]) / (q[:, e] - q[:, middle]) * (score - q[:, e]) for e in (0, -1)]
    return np.select([score < q[:, 0], score > q[:, -1]], ends, inside)


def select_candidates(events: np.ndarray, tracks: ak.Array, covariance: ak.Array, depth: np.ndarray) -> None:
    """Do the steps from the combinations on."""
    for name in COVARIANCE:
        tracks[name] = covariance[name][ak.values_astype(tracks["index"], np.int64)]
    k, e = (ak.combinations(tracks[tracks[role]], 2) for role in ("is_kaon", "is_electron"))
    k, e = (x[x["0"].charge == x["1"].charge] for x in (k, e))
    both = ak.cartesian({"k": k, "e": e})
    both = both[both.k["0"].charge == -both.e["0"].charge]
    has_any = ak.to_numpy(ak.num(both) > 0)
    events, tracks, both = events[has_any], tracks[has_any], both[has_any]
    depth[events] += 1
    flat = ak.flatten(both)
    four = [flat.k["0"], flat.k["1"], flat.e["0"], flat.e["1"]]
    p, v = momenta(four)
    first = ak.unflatten(fit(p, v, SIGNAL), ak.num(both))
    place = ak.to_numpy(ak.argmin(first, axis=1)) + np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(both)))[:-1]])
    chi2 = ak.to_numpy(ak.flatten(first))[place]
    best, p, v = [t[place] for t in four], p[place], v[place]
    passes = chi2 < CHI2_MAX
    others = [fit(p, v, species) for species in (*KKPIPI, *OTHERS)]
    decisions = [
        passes,
        chi2 < np.min(others, axis=0),
        chi2 < CUTS.chi2_4c_max,
        ~has_conversion(best, tracks),
        in_region(p),
    ]
    depth[events] += np.cumprod(decisions, axis=0).sum(axis=0)
    if depth.max() > N_STEPS:
        msg = f"an event passes {depth.max()} steps, wanted {N_STEPS} at most"
        raise ValueError(msg)


def momenta(tracks: list[ak.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Return momenta (N, 4, 3) and covariances (N, 4, 6) of the four tracks of N candidates."""
    results = []
    for t in tracks:
        c = {name: ak.to_numpy(t[name]) for name in t.fields}
        cov = [c[name] for name in COVARIANCE]
        dr, phi0, kappa, tanl, x, y, field = (c[n] for n in ("dr", "phi0", "kappa", "tanl", "ip_x", "ip_y", "field"))
        results.append(momentum_at_ip(ARRAY, dr, phi0, kappa, tanl, cov, x, y, field))
    p, v = (np.stack([np.stack(r[i], axis=1) for r in results], axis=1) for i in (0, 1))
    return p, v


def fit(p: np.ndarray, v: np.ndarray, species: tuple[int, ...]) -> np.ndarray:
    masses = np.array([MASSES[s] for s in species])
    return reference.fit(p, v, masses, P4_TOTAL, spread=0.0, limits=Limits())[0]


def in_region(p: np.ndarray) -> np.ndarray:
    energy = np.sqrt((p * p).sum(axis=2) + np.array([MASSES[s] for s in SIGNAL]) ** 2).sum(axis=1)
    mass = np.sqrt(np.maximum(energy**2 - (p.sum(axis=1) ** 2).sum(axis=1), 0.0))
    return (mass >= CUTS.m_signal_min) & (mass <= CUTS.m_signal_max)


def has_conversion(best: list[ak.Array], tracks: ak.Array) -> np.ndarray:
    """Return which candidates have an electron that makes a conversion with a good track of the other charge."""
    vetoed = np.zeros(len(tracks), dtype=bool)
    for electron in best[2:]:
        own, other = ak.broadcast_arrays(electron.charge, tracks.charge)
        partners = tracks[own == -other]
        helix = [ak.broadcast_arrays(electron[n], partners.kappa)[0] for n in ("dr", "phi0", "kappa", "tanl")]
        gap, radius, m_ee = conversion(
            ARRAY, helix, [partners[n] for n in ("dr", "phi0", "kappa", "tanl")], partners.field
        )
        in_material = (radius > CUTS.conversion_radius_min) & (radius < CUTS.conversion_radius_max)
        is_conversion = (abs(gap) < CUTS.conversion_delta_xy_max) & in_material & (m_ee < CUTS.conversion_m_ee_max)
        vetoed |= ak.to_numpy(ak.any(is_conversion, axis=1))
    return vetoed
