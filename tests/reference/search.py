"""The second implementation, step two: the 4C fit and section III of the publication, event by event.

The same steps make the candidates without identification, from which backgrounds are estimated: every identified track
is taken for a kaon of one charge or an electron of the other.
"""

from itertools import combinations

import numpy as np
from events import ALPHA, M_JPSI, MASS, beams, mass, p4_of

STEPS = (
    *("all", "good_tracks", "four_tracks_zero_charge", "confidence_levels", "electrons", "kaons", "charge_pattern"),
    *("kinematic_fit", "alternative_hypotheses", "chi2_4c", "conversion_veto", "signal_region"),
)
CHI2_MAX = 200.0  # above it nothing is called a fit
SIGNAL = ("k", "k", "e", "e")
# III.3: all ways in which the tracks of K K e e can be K+ K- pi+ pi-, K+ K- K+ K- or pi+ pi- pi+ pi-.
PAIRS = (("k", "pi"), ("pi", "k"))
ALTERNATIVES = (*(a + b for a in PAIRS for b in PAIRS), ("k",) * 4, ("pi",) * 4)


def fit(events, tracks, species):
    """Return chi2 (N,) of the 4C fit of tracks (N, 4), inf without one, and the fitted four-momenta (N, 4, 4).

    Lagrange multipliers with successive linearisation, the four equations in full. It ends when chi2 changes by less
    than 1e-3 and the energy is right to 1 keV, after 20 steps at most.
    """
    n, masses = len(tracks), np.array([MASS[s] for s in species])
    p0, v = np.empty((n, 4, 3)), np.empty((n, 4, 3, 3))
    for i, s in enumerate(species):
        p_all, v_all = events.momenta(s)
        p0[:, i], v[:, i] = p_all[tracks[:, i]], v_all[tracks[:, i]]
    chi2, p4, wanted = np.full(n, np.inf), np.full((n, 4, 4), np.nan), beams(events.sqrt_s)
    for k in range(n):
        p, last = p0[k], np.inf
        for _ in range(20):
            energy = np.sqrt((p**2).sum(axis=1) + masses**2)
            a = np.concatenate([np.stack([np.eye(3)] * 4), (p / energy[:, None])[:, None, :]], axis=1)
            off = np.append(p.sum(axis=0), energy.sum()) - wanted + np.einsum("iaj,ij->a", a, p0[k] - p)
            av = a @ v[k]
            multiplier = np.linalg.solve(np.einsum("iaj,ibj->ab", av, a), off)
            p = p0[k] - np.einsum("iaj,a->ij", av, multiplier)
            now, gap = off @ multiplier, np.sqrt((p**2).sum(axis=1) + masses**2).sum() - wanted[3]
            if abs(now - last) < 1e-3 and abs(gap) < 1e-6:
                chi2[k] = now
                p4[k] = p4_of(p, masses[:, None])
                break
            last = now
    return chi2, p4


def is_conversion(events, one, other, circles):
    """III.3: whether two tracks of opposite charge come from one point of the beam pipe, in one direction."""
    (x1, y1, r1), (x2, y2, r2) = circles[one], circles[other]
    distance = np.hypot(x2 - x1, y2 - y1)
    gap = distance - r1 - r2
    # The middle of the two points where the line of the centres leaves the circles.
    x, y = ((a + b + (r1 - r2) * (b - a) / distance) / 2 for a, b in ((x1, x2), (y1, y2)))
    pt, pz = events.pt_pz_e[[one, other]].T
    energy = np.sqrt(pt**2 + pz**2 + MASS["e"] ** 2).sum()
    m_ee = np.sqrt(max(energy**2 - pt.sum() ** 2 - pz.sum() ** 2, 0.0))
    return abs(gap) < 0.3 and 2.0 < np.hypot(x, y) < 7.5 and m_ee < 0.05


def circles_of(events):
    """Return centres and radii (T, 3) of the tracks as electrons; transverse and z momentum are left in the events."""
    (dr, phi0, kappa, _, tanl), _ = events.helix("e")
    rho = ALPHA / (events.field() * kappa)
    events.pt_pz_e = np.stack([1 / np.abs(kappa), tanl / np.abs(kappa)], axis=1)
    return np.stack([(dr - rho) * np.cos(phi0), (dr - rho) * np.sin(phi0), np.abs(rho)], axis=1)


def best_candidates(events, is_kaon, is_electron, chosen):
    """Return every combination (N, 4) of chosen events, and of each event the best: event -> what is known of it.

    Two kaons of one charge and two electrons of the other; the smallest chi2 is the best (III.2).
    """
    found, of = [], []
    for k in np.flatnonzero(chosen):
        tracks = np.arange(*events.bounds[k : k + 2])
        for sign in (1, -1):
            kaons = tracks[is_kaon[tracks] & (events.charge[tracks] == sign)]
            electrons = tracks[is_electron[tracks] & (events.charge[tracks] == -sign)]
            rows = [(*a, *b) for a in combinations(kaons, 2) for b in combinations(electrons, 2)]
            found += rows
            of += [k] * len(rows)
    tracks, of = np.array(found, dtype=int).reshape(-1, 4), np.array(of, dtype=int)
    chi2, p4 = fit(events, tracks, SIGNAL)
    measured = mass(sum(p4_of(events.momenta(s)[0][tracks[:, i]], MASS[s]) for i, s in enumerate(SIGNAL)))
    best = {}
    for row, k in enumerate(of):
        if k not in best or chi2[row] < best[k]["chi2"]:
            best[k] = {"tracks": tracks[row], "chi2": chi2[row], "p4": p4[row]}
            best[k]["m_kkee"] = measured[row] * M_JPSI / events.sqrt_s
    fitted = [k for k, c in best.items() if c["chi2"] < CHI2_MAX]
    others = [
        fit(events, np.array([best[k]["tracks"] for k in fitted], dtype=int).reshape(-1, 4), a)[0] for a in ALTERNATIVES
    ]
    circles = circles_of(events)
    for i, k in enumerate(fitted):
        candidate = best[k]
        candidate["chi2_other"] = min(chi2[i] for chi2 in others)
        pairs = [(e, t) for e in candidate["tracks"][2:] for t in range(*events.bounds[k : k + 2]) if events.good[t]]
        opposite = [(e, t) for e, t in pairs if events.charge[e] == -events.charge[t]]
        candidate["is_conversion"] = any(is_conversion(events, e, t, circles) for e, t in opposite)
        k1, k2, e1, e2 = candidate["p4"]
        straight, crossed = ((mass(a + b), mass(c + d)) for a, b, c, d in ((k1, e1, k2, e2), (k1, e2, k2, e1)))
        candidate["m_ke"] = (*straight, *crossed)
    return tracks, of, best


def in_signal_region(candidate):
    return 3.07 <= candidate["m_kkee"] <= 3.12  # III.4


def section_iii(events):
    """Return the cut flow and the selected candidates."""
    identified = events.good & events.retained[events.event] & (events.ndof > 0)
    is_kaon, is_electron = events.kaon & identified, events.electron & identified
    passes = np.ones(events.n, dtype=bool)
    flow = [events.n]
    for decision in (
        events.n_good > 0,
        events.retained,
        events.count(identified) >= 4,
        events.count(is_electron) >= 2,
        events.count(is_kaon) >= 2,
    ):
        passes = passes & decision
        flow.append(int(passes.sum()))
    _, _, best = best_candidates(events, is_kaon, is_electron, passes)
    left = best
    flow.append(len(left))
    for requirement in (
        lambda c: c["chi2"] < CHI2_MAX,
        lambda c: c["chi2"] < c["chi2_other"],
        lambda c: c["chi2"] < 20,
        lambda c: not c["is_conversion"],
        in_signal_region,
    ):
        left = {k: c for k, c in left.items() if requirement(c)}
        flow.append(len(left))
    return dict(zip(STEPS, flow, strict=True)), [describe(events, k, left[k]) for k in sorted(left)]


def describe(events, k, candidate):
    """Return what later steps need of a candidate; tracks are K, K, e, e."""
    t = candidate["tracks"]
    of_track = {"p": events.p[t], "cos_theta": events.cos_theta[t], "period": int(events.scalar("period")[k])}
    return candidate | of_track | {"charge": int(events.charge[t[0]])}


def without_identification(events, kaon_charge):
    """Return all combinations (N, 4) of kaons of one charge and electrons of the other, and the best that pass.

    They pass every step but those on chi2 and the signal region.
    """
    identified = events.good & events.retained[events.event] & (events.ndof > 0)
    is_kaon, is_electron = (identified & (events.charge == s * kaon_charge) for s in (1, -1))
    chosen = (events.count(identified) >= 4) & (events.count(is_kaon) >= 2) & (events.count(is_electron) >= 2)
    tracks, _, best = best_candidates(events, is_kaon, is_electron, chosen)
    passing = {
        k: c for k, c in best.items() if c["chi2"] < CHI2_MAX and c["chi2"] < c["chi2_other"] and not c["is_conversion"]
    }
    return tracks, [describe(events, k, passing[k]) for k in sorted(passing)]
