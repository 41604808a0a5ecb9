"""The search as a loop over events in Python: readable, and what a first script looks like."""

from __future__ import annotations

import bisect
import math
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from benchmarks.peer_formulae import (
    KKPIPI,
    MASSES,
    OTHERS,
    SCALAR,
    SIGNAL,
    conversion,
    distances,
    momentum_at_ip,
    survival,
)
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.cuts import SELECTION as CUTS
from jpsi_lnv.analysis.events.schema import TREE
from jpsi_lnv.analysis.kinematics import initial_four_momentum
from jpsi_lnv.analysis.kinfit.kernels import Limits
from jpsi_lnv.analysis.objects import emc_pid
from tests.support import kinfit_reference as reference

COVARIANCE = tuple(f"cov{i}" for i in (0, 1, 2, 4, 5, 6, 8, 9, 11, 14))
P4_TOTAL = initial_four_momentum(M_JPSI)
CHI2_MAX = 200.0
N_STEPS = 11


def run(path: Path, branches: list[str], n_events: int) -> list[int]:
    """Return for every event how many steps it passes.

    Args:
        path: The ntuple.
        branches: Branches to read.
        n_events: Events to look at, from the first.
    """
    with uproot.open({path: TREE}) as tree:
        events = tree.arrays(branches, entry_stop=n_events)
    tables = emc_pid.load()
    return [depth(event, tables) for event in events.to_list()]


def depth(event: dict[str, Any], tables: emc_pid.EmcTables) -> int:
    """Return how many steps of the selection an event passes."""
    tracks = [
        {name.removeprefix("Track_"): values[t] for name, values in event.items() if name.startswith("Track_")}
        for t in range(len(event["Track_charge"]))
    ]
    good = [t for t in tracks if is_good(t, event)]
    if not good:
        return 0
    if len(good) < 4 or sum(t["charge"] for t in good) != CUTS.net_charge:
        return 1
    for t in good:
        identify(t, tables)
    known = [t for t in good if t["ndof"] > 0]
    if len(known) < 4:
        return 2
    electrons = [t for t in known if is_electron(t)]
    if len(electrons) < 2:
        return 3
    kaons = [t for t in known if is_kaon(t)]
    if len(kaons) < 2:
        return 4
    pairs = product(combinations(kaons, 2), combinations(electrons, 2))
    found = [(*k, *e) for k, e in pairs if abs(sum(t["charge"] for t in k)) == 2 and charges_match(k, e)]
    return depth_of_candidates(found, good, event) if found else 5


def charges_match(kaons: Any, electrons: Any) -> bool:
    """Whether both electrons have the charge opposite to the kaons'."""
    return all(e["charge"] == -kaons[0]["charge"] for e in electrons)


def depth_of_candidates(found: list[Any], good: list[Any], event: dict[str, Any]) -> int:
    """Return how many steps an event with candidates passes."""
    chi2, best = min(((fit(c, SIGNAL, event), c) for c in found), key=lambda pair: pair[0])
    if not chi2 < CHI2_MAX:
        return 6
    if not chi2 < min(fit(best, species, event) for species in (*KKPIPI, *OTHERS)):
        return 7
    if not chi2 < CUTS.chi2_4c_max:
        return 8
    if any(is_conversion(e, t, event) for e in best[2:] for t in good if t["charge"] == -e["charge"]):
        return 9
    return N_STEPS if CUTS.m_signal_min <= mass(best) <= CUTS.m_signal_max else 10


def is_good(t: dict[str, Any], event: dict[str, Any]) -> bool:
    place = (event["ip_x"], event["ip_y"], event["ip_z"], event["field"])
    r_xy, r_z = distances(SCALAR, t["dr"], t["phi0"], t["kappa"], t["dz"], t["tanl"], *place)
    cosine = t["tanl"] / math.sqrt(1 + t["tanl"] ** 2)
    return abs(cosine) < CUTS.cos_theta_max and r_xy < CUTS.r_xy_max and r_z < CUTS.r_z_max


def identify(t: dict[str, Any], tables: emc_pid.EmcTables) -> None:
    """Add p, E/p, sums of chi2, number of subsystems and confidence levels to a track."""
    length = math.sqrt(1 + t["tanl"] ** 2)
    t["p"] = length / abs(t["kappa"])
    t["e_over_p"] = t["emc_energy"] / t["p"]
    t["chi2"], t["ndof"] = [0.0, 0.0, 0.0], 0
    subsystems = []
    if t["dedx_n_hits"] > 0:
        subsystems.append([t[f"dedx_chi_{h}"] for h in ("e", "pi", "k")])
    if t["tof_quality"] == 1 and t["tof_sigma"] > 0:
        subsystems.append([(t["tof_time"] - t[f"tof_texp_{h}"]) / t["tof_sigma"] for h in ("e", "pi", "k")])
    if t["emc_energy"] > 0 and t["emc_e5x5"] != 0:
        subsystems.append(emc_chi(t, abs(t["tanl"] / length), tables))
    for chi in subsystems:
        if math.isfinite(sum(chi)) and min(map(abs, chi)) < CUTS.pid_dedx_chi_max:
            t["chi2"] = [total + x * x for total, x in zip(t["chi2"], chi, strict=True)]
            t["ndof"] += 1
    t["cl"] = [survival(SCALAR, x, t["ndof"]) for x in t["chi2"]] if t["ndof"] else [-1.0] * 3


def emc_chi(t: dict[str, Any], cosine: float, tables: emc_pid.EmcTables) -> list[float]:
    i, j = (
        bisect.bisect_right(edges, x) - 1 for edges, x in ((tables.p_edges, t["p"]), (tables.cos_theta_edges, cosine))
    )
    if not (0 <= i < len(tables.p_edges) - 1 and 0 <= j < len(tables.cos_theta_edges) - 1):
        return [math.nan] * 3
    (x, fx), (y, fy) = node(tables.e_over_p, t["e_over_p"]), node(tables.compactness, t["emc_e3x3"] / t["emc_e5x5"])
    s = tables.score[i, j]
    low, high = (s[k, y] * (1 - fy) + s[k, y + 1] * fy for k in (x, x + 1))
    score = low * (1 - fx) + high * fx
    pion = quantile(tables.quantiles[1, i, j], tables.chi, score)
    return [quantile(tables.quantiles[0, i, j], tables.chi, score), pion, pion]


def node(nodes: Any, value: float) -> tuple[int, float]:
    i = min(max(bisect.bisect_right(nodes, value) - 1, 0), len(nodes) - 2)
    return i, min(max((value - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0), 1.0)


def quantile(q: Any, chi: Any, score: float) -> float:
    middle = len(chi) // 2
    if score < q[0] or score > q[-1]:
        end = 0 if score < q[0] else -1
        return chi[end] + (chi[end] - chi[middle]) / (q[end] - q[middle]) * (score - q[end])
    return float(np.interp(score, q, chi))


def is_electron(t: dict[str, Any]) -> bool:
    cl = t["cl"]
    in_range = CUTS.e_over_p_electron_min < t["e_over_p"] < CUTS.e_over_p_electron_max
    return cl[0] > CUTS.cl_e_min and cl[0] > CUTS.cl_e_ratio_min * sum(cl) and in_range


def is_kaon(t: dict[str, Any]) -> bool:
    return t["cl"][2] > CUTS.cl_hadron_min and t["cl"][2] > t["cl"][1] and t["e_over_p"] < CUTS.e_over_p_hadron_max


def at_ip(t: dict[str, Any], event: dict[str, Any]) -> Any:
    """Return momentum and covariance of a track, computed once."""
    if "at_ip" not in t:
        cov = [t[name] for name in COVARIANCE]
        place = (event["ip_x"], event["ip_y"], event["field"])
        t["at_ip"] = momentum_at_ip(SCALAR, t["dr"], t["phi0"], t["kappa"], t["tanl"], cov, *place)
    return t["at_ip"]


def fit(candidate: Any, species: tuple[int, ...], event: dict[str, Any]) -> float:
    p, v = (np.array(values)[None] for values in zip(*(at_ip(t, event) for t in candidate), strict=True))
    masses = np.array([MASSES[s] for s in species])
    return float(reference.fit(p, v, masses, P4_TOTAL, spread=0.0, limits=Limits())[0][0])


def mass(candidate: Any) -> float:
    momenta = [t["at_ip"][0] for t in candidate]
    energy = sum(math.sqrt(sum(x * x for x in p) + MASSES[s] ** 2) for p, s in zip(momenta, SIGNAL, strict=True))
    return math.sqrt(max(energy**2 - sum(sum(p[i] for p in momenta) ** 2 for i in range(3)), 0.0))


def is_conversion(one: dict[str, Any], two: dict[str, Any], event: dict[str, Any]) -> bool:
    first, second = ([t[n] for n in ("dr", "phi0", "kappa", "tanl")] for t in (one, two))
    gap, radius, m_ee = conversion(SCALAR, first, second, event["field"])
    in_material = CUTS.conversion_radius_min < radius < CUTS.conversion_radius_max
    return abs(gap) < CUTS.conversion_delta_xy_max and in_material and m_ee < CUTS.conversion_m_ee_max
