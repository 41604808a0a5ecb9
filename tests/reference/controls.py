"""The second implementation, step three: control samples of section IV, event by event.

Tag and probe in e+ e- (gamma), 2(e+ e-), conversions and K+ K- pi0, whose probes show tracking and identification; and
p pbar pi+ pi- and K+ K- pi+ pi-, which show the kinematic fit, the signal region and what a track is mistaken for.
"""

from itertools import combinations

import numpy as np
from events import ALPHA, M_JPSI, M_PI0, MASS, angle, beams, mass, mass2, p4_of, photons
from search import circles_of, fit, is_conversion

P_EDGES = np.array([0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.4, 1.7])
COS_THETA_EDGES = np.array([-0.93, -0.8, -0.4, 0.4, 0.8, 0.93])
YEARS = (2009, 2012, 2018)
# Years, charges, momenta, angles, failed and passed.
EDGES = ([2008.5, 2009.5, 2012.5, 2018.5], [-2, 0, 2], P_EDGES, COS_THETA_EDGES, [-0.5, 0.5, 1.5])
EMC_RADIUS = 95.0


def filled(rows, edges):
    """Return how many rows lie in each bin; beyond the last edges there is none."""
    rows = np.array(rows, dtype=float).reshape(-1, len(edges))
    return np.histogramdd(rows, [np.asarray(e, dtype=float) for e in edges])[0]


# ---- tag and probe


def impact(events, k, tag_charge, p4):
    """Return where the probe's direction meets the calorimeter, turned by the field."""
    px, py, pz, _ = p4
    radius = ALPHA * np.hypot(px, py) / events.scalar("field")[k]
    turn = -tag_charge * np.arcsin(np.clip(EMC_RADIUS / (2 * max(radius, EMC_RADIUS / 2)), 0, 1))
    return np.array([px * np.cos(turn) - py * np.sin(turn), px * np.sin(turn) + py * np.cos(turn), pz])


def beside_a_photon(events, k, tag_charge, against, of_event):
    """Return what tag and at most one hard photon leave: the choice nearest to the electron's mass."""
    choices = [against]
    for photon in of_event:
        left = against - photon
        if 0.1 < photon[3] < 1.3 and angle(photon[:3], impact(events, k, tag_charge, left)[None])[0] > 0.22:
            choices.append(left)
    return min(choices, key=lambda p4: abs(mass2(p4) - MASS["e"] ** 2))


def best_pi0(of_event):
    """Return the two photons nearest to the pi0 mass, scaled to it; None without any in its window."""
    pairs = [a + b for a, b in combinations(of_event, 2) if 0.115 < mass(a + b) < 0.150]
    best = min(pairs, key=lambda p4: abs(mass(p4) - M_PI0), default=None)
    return None if best is None else best * M_PI0 / mass(best)


def tags(events, sample, identified, p4):
    """Return (tracks of the tag, four-momentum expected of the probe) of every tag."""
    if sample in ("eeee", "conversion"):
        for k in range(events.n):
            electrons = [t for t in range(*events.bounds[k : k + 2]) if identified[t]]
            for three in combinations(electrons, 3) if len(electrons) in (3, 4) else ():
                if abs(events.charge[list(three)].sum()) == 1:
                    yield three, beams(events.sqrt_s) - p4[list(three)].sum(axis=0)
        return
    of_photons = photons(events)
    for t in np.flatnonzero(identified & (np.linalg.norm(p4[:, :3], axis=1) > 0.3)):
        k, against = events.event[t], beams(events.sqrt_s) - p4[t]
        if sample == "ee":
            yield (t,), beside_a_photon(events, k, events.charge[t], against, of_photons[k])
        elif (pi0 := best_pi0(of_photons[k])) is not None:
            yield (t,), against - pi0


def tag_and_probe(events, sample):
    """Return counts of probes: ``tracking`` and ``pid`` (year, charge, p, cos theta, passed), ``misid`` without two."""
    species, half_width = {"ee": ("e", 0.15), "kkpi0": ("k", 0.15)}.get(sample, ("e", 0.01))
    measured = events.good & (events.ndof > 0)
    electron, kaon = measured & events.electron, measured & events.kaon
    identified, mistaken = (electron, kaon) if species == "e" else (kaon, electron)
    p4 = p4_of(events.momenta(species)[0], MASS[species])
    circles = circles_of(events)
    tracking, pid, misid = [], [], []
    for tag, recoil in tags(events, sample, identified, p4):
        k, charge = events.event[tag[0]], -events.charge[list(tag)].sum()
        p = np.linalg.norm(recoil[:3])
        is_expected = abs(mass2(recoil) - MASS[species] ** 2) < half_width and abs(recoil[2] / p) < 0.93 and p > 0.1
        if not is_expected:
            continue
        others = [t for t in range(*events.bounds[k : k + 2]) if events.good[t] and events.charge[t] == charge]
        others = np.array([t for t in others if t not in tag], dtype=int)
        angles = angle(recoil[:3], p4[others, :3])
        is_found = bool((angles < 0.35).any())
        tracking.append((events.scalar("period")[k], charge, p, recoil[2] / p, is_found))
        if not is_found or events.n_good[k] != len(tag) + 1:
            continue
        probe = others[angles.argmin()]
        opposite = [t for t in tag if events.charge[t] == -charge]
        if sample == "conversion" and not any(is_conversion(events, probe, t, circles) for t in opposite):
            continue
        p_probe = np.linalg.norm(p4[probe, :3])
        where = (events.scalar("period")[k], charge, p_probe, p4[probe, 2] / p_probe)
        pid.append((*where, identified[probe]))
        misid.append((*where[2:], mistaken[probe]))
    return {"tracking": filled(tracking, EDGES), "pid": filled(pid, EDGES), "misid": filled(misid, EDGES[2:])}


# ---- four hadrons


def hadrons(events, heavy):
    """Return the cut flow of h+ h- pi+ pi- and counts of what its probes are mistaken for.

    Args:
        events: The events.
        heavy: "p" or "k".
    """
    hypotheses = ("pi", "k", "p")
    cl, _ = events.confidence_levels(hypotheses, has_emc=False)
    kind = np.where(events.good & (cl.max(axis=1) > 0), cl.argmax(axis=1), -1)
    wanted = np.array([hypotheses.index(heavy)] * 2 + [0, 0])
    has_four = events.retained & (events.n_good == 4)
    decay = (heavy, heavy, "pi", "pi")
    found, ways = [], []
    for k in np.flatnonzero(has_four):
        good = [t for t in range(*events.bounds[k : k + 2]) if events.good[t]]
        plus, minus = ([t for t in good if events.charge[t] == sign] for sign in (1, -1))
        for i in (0, 1):
            for j in (0, 1):
                way = (plus[i], minus[j], plus[1 - i], minus[1 - j])
                is_right = kind[list(way)] == wanted
                if is_right.all():
                    found.append(way)
                if is_right.sum() >= 3:
                    ways.append((k, way, is_right))
    tracks = np.array(found, dtype=int).reshape(-1, 4)
    near, passes, inside, chi2 = steps_of_hadrons(events, tracks, decay)
    flow = {"near_jpsi": near.sum(), "chi2_4c": passes.sum(), "signal_region": inside.sum()}
    if heavy == "k":
        others = [fit(events, tracks, s)[0] for s in (("k", "k", "e", "e"), ("pi",) * 4, ("k",) * 4)]
        flow["smallest_chi2"] = (inside & (chi2 <= np.min(others, axis=0, initial=np.inf))).sum()
    return {name: int(n) for name, n in flow.items()}, mistakes(events, ways, decay)


def steps_of_hadrons(events, tracks, decay):
    """Return which candidates lie near the J/psi, pass chi2 too, and lie in the signal region too; and chi2."""
    measured = sum(p4_of(events.momenta(s)[0][tracks[:, i]], MASS[s]) for i, s in enumerate(decay))
    off = np.abs(mass(measured) * M_JPSI / events.sqrt_s - M_JPSI)
    chi2 = fit(events, tracks, decay)[0]
    return off < 0.1, (off < 0.1) & (chi2 < 20), (off < 0.016) & (chi2 < 20), chi2


def mistakes(events, ways, decay):
    """Return counts (p, cos theta, passed) by name, such as ``pi_to_electron``.

    Three identified tracks and the fit say what the fourth is; of several ways the one of the smallest chi2.
    """
    tracks = np.array([way for _, way, _ in ways], dtype=int).reshape(-1, 4)
    _, _, inside, chi2 = steps_of_hadrons(events, tracks, decay)
    best = {}
    for row, (k, _, _) in enumerate(ways):
        if k not in best or chi2[row] < chi2[best[k]]:
            best[k] = row
    names = ("p", "pbar", "pi", "pi") if decay[0] == "p" else ("k", "k", "pi", "pi")
    rows = {f"{s}_to_{role}": [] for s in set(names) for role in ("electron", "kaon") if (s, role) != ("k", "kaon")}
    for row in (row for row in best.values() if inside[row]):
        is_right = ways[row][2]
        for place, t in enumerate(tracks[row]):
            if is_right.sum() - is_right[place] == 3:
                for role, taken in (("electron", events.electron[t]), ("kaon", events.kaon[t])):
                    if (names[place], role) != ("k", "kaon"):
                        rows[f"{names[place]}_to_{role}"].append((events.p[t], events.cos_theta[t], taken))
    return {name: filled(of, EDGES[2:]) for name, of in rows.items()}
