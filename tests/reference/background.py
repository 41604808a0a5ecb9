"""The second implementation, step four: the background that is expected of each process.

An exclusive decay counts with the candidates that it has without identification, each with the probabilities that its
tracks are mistaken; events off the resonance and inclusive ones count as they are. What enters the limits are a count m
of each process, the size tau of its sample, and widths of common factors; see docs/limits.md.
"""

import math
import zlib
from collections import Counter

import awkward as ak
import controls
import numpy as np
from controls import filled
from events import M_JPSI
from search import in_signal_region, without_identification

SPECIES = ("e", "mu", "pi", "k", "p", "pbar", "other")
PDG = {11: 0, -11: 0, 13: 1, -13: 1, 211: 2, -211: 2, 321: 3, -321: 3, 2212: 4, -2212: 5}
ROLES = ("none", "electron", "kaon")
ROLE_OF = (2, 2, 1, 1)  # of the tracks K, K, e, e
NEEDED = [(s, r) for s in range(7) for r in (1, 2) if (SPECIES[s], ROLES[r]) not in {("e", "electron"), ("k", "kaon")}]
P_EDGES = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6])
COS_THETA_EDGES = np.array([0.0, 0.4, 0.8, 0.82, 0.845, 0.86, 0.93])  # finer in the gap of the calorimeter
YEARS = (2009, 2012, 2018)
KNOWN_TO = 3.0  # the factor by which a simulated rate may be wrong, as one standard deviation
LUMINOSITY, N_JPSI = 82.0 + 323.0 + 2678.0, 10087e6  # of the J/psi data, pb^-1
# Control samples whose probes show a rate.
HADRONS, PROTONS = ("kkpipi", "ppbarpipi"), ("ppbarpipi",)
PROBES = {
    "e_to_kaon": ("ee", "eeee", "conversion"),
    "k_to_electron": ("kkpi0", "kkpipi"),
    "pi_to_electron": HADRONS,
    "pi_to_kaon": HADRONS,
    **{f"{species}_to_{role}": PROTONS for species in ("p", "pbar") for role in ROLES[1:]},
}


def bins(p, cos_theta):
    """Return the bins of momenta and angles; those outside belong to the nearest one."""
    of = ((P_EDGES, p), (COS_THETA_EDGES, np.abs(cos_theta)))
    return tuple(np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2) for edges, x in of)


def true_species(events):
    """Return the generated species (T,) of each track."""
    of_track = events.track("gen").astype(int)
    codes, bounds = ak.to_numpy(ak.flatten(events.arrays["Gen_pdg_id"])), events.bounds_of("Gen")
    known = of_track >= 0
    found = np.full(len(of_track), SPECIES.index("other"))
    found[known] = [PDG.get(c, SPECIES.index("other")) for c in codes[bounds[events.event[known]] + of_track[known]]]
    return found


def misid(events):
    """Return of a dataset: tracks by (year, species, p, angle, role), all combinations, and candidates."""
    species, measured = true_species(events), events.good & (events.ndof > 0)
    role = np.where(events.kaon, 2, np.where(events.electron, 1, 0))
    year = events.scalar("period")[events.event]
    rows = np.stack([year, species, events.p, np.abs(events.cos_theta), role], axis=1)[measured]
    edges = ([2008.5, 2009.5, 2012.5, 2018.5], np.arange(8) - 0.5, P_EDGES, COS_THETA_EDGES, np.arange(4) - 0.5)
    of_charges = [without_identification(events, charge) for charge in (1, -1)]
    tracks = np.concatenate([t for t, _ in of_charges])
    candidates = [c | {"species": species[c["tracks"]]} for _, of in of_charges for c in of]
    used = tracks.ravel()
    of_tracks = np.stack([species[used], events.p[used], np.abs(events.cos_theta[used])], axis=1)
    return {
        "roles": filled(rows, edges),
        "combinations": Counter(map(tuple, species[tracks].tolist())),
        "tracks": filled(of_tracks, edges[1:4]),
        "candidates": candidates,
    }


# ---- rates


def started(passed, n, coarse):
    """Return rates of bins that start with half a track passing at the rate of coarser bins."""
    return (passed + 0.5) / (n + 0.5 / coarse)


def rates_of(found, probes):
    """Return rates (year or all, species, p, angle, role), the years, and of each mistake (kappa, mean rate)."""
    counts = sum(of["roles"] for of in found.values())
    is_filled = counts.sum(axis=(1, 2, 3, 4)) > 0
    passed, years = counts[is_filled], tuple(np.array(YEARS)[is_filled])
    n = passed.sum(axis=-1, keepdims=True)

    def both(axes):
        return passed.sum(axis=axes, keepdims=True), n.sum(axis=axes, keepdims=True)

    k, total = both((0, 2, 3))
    whole = (k + 0.5) / (total + 1.0)
    mean = started(*both((0,)), started(*both((0, 3)), whole))
    value = np.concatenate([mean, started(passed, n, mean)]) if len(years) > 1 else mean
    factors = {
        f"{SPECIES[s]}_to_{ROLES[r]}": (
            math.hypot(math.log(KNOWN_TO), 1 / math.sqrt(passed[:, s, ..., r].sum() + 0.5)),
            whole[0, s, 0, 0, r],
        )
        for s, r in NEEDED
    }
    for name, samples in PROBES.items():
        sides = [probes[s] for s in samples if s in probes]
        maps = [[of.get(name, of.get("misid")) for of in both_sides] for both_sides in sides]
        if maps:
            measure(value, factors, name, *(np.stack(side) for side in zip(*maps, strict=True)))
    return value, years if len(years) > 1 else (), factors


def measure(value, factors, name, data, simulation):
    """Multiply rates by data over simulation of probes (samples, p, angle, passed), if they know it better."""
    s, r = (names.index(word) for names, word in zip((SPECIES, ROLES), name.split("_to_"), strict=True))
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in controls.EDGES[2:4]]
    p, cos_theta = (m.ravel() for m in np.meshgrid(*middles, indexing="ij"))
    slow = p < 1.2  # faster ones the search has none of
    p, cos_theta = np.tile(p[slow], len(data)), np.tile(cos_theta[slow], len(data))
    data, simulation = (of.reshape(len(of), -1, 2)[:, slow].reshape(-1, 2) for of in (data, simulation))
    n, n_simulated = data.sum(axis=1), simulation.sum(axis=1)
    weight = np.where(n_simulated > 0, n / np.maximum(n_simulated, 1), 0)
    passed, simulated = data[n_simulated > 0, 1].sum(), simulation[:, 1].sum()
    explained = n_simulated @ value[(0, s, *bins(p, cos_theta), r)]
    kappa = math.hypot(1 / math.sqrt(passed + 0.5), 1 / math.sqrt(simulated + 0.5))
    if kappa > math.log(KNOWN_TO) or explained < 0.5 * simulated:
        return
    ratio = (passed + 0.5) / (simulation[:, 1] @ weight + 0.5 * n.sum() / max(n_simulated.sum(), 1))
    value[:, s, ..., r] = np.minimum(ratio * value[:, s, ..., r], 1)
    factors[name] = kappa, min(ratio * factors[name][1], 1.0)


def rate_of(candidate, value, years):
    """Return the probability that the four tracks are taken for what the candidate needs."""
    year = 1 + years.index(candidate["period"]) if candidate["period"] in years else 0
    i, j = bins(candidate["p"], candidate["cos_theta"])
    return np.prod([value[year, s, i[t], j[t], ROLE_OF[t]] for t, s in enumerate(candidate["species"])])


def needs_of(species):
    """Return how often four tracks of these species need each mistake."""
    counted = Counter((s, r) for s, r in zip(species, ROLE_OF, strict=True) if (s, r) in NEEDED)
    return {f"{SPECIES[s]}_to_{ROLES[r]}": n for (s, r), n in counted.items()}


def largest(of, weight, value):
    """Return the largest number of events that one more candidate could stand for, and what it would need."""
    tracks, seen = of["tracks"], of["combinations"]
    if not seen:
        tracks = of["roles"].sum(axis=(0, -1))
        there = [s for s in range(7) if tracks[s].any()]
        seen = Counter({(a, b, c, d): 1 for a in there for b in there for c in there for d in there})
    if not tracks.any():
        return weight, {}
    at_p = tracks.sum(axis=2, keepdims=True)
    mean = np.einsum("spc,spcr->spr", tracks / np.maximum(at_p, 1), value[0])
    is_populated = at_p >= 0.01 * np.maximum(at_p.sum(axis=1, keepdims=True), 1)
    rate = np.where(is_populated, mean, 0).max(axis=1)
    share = {c: n * np.prod([rate[s, r] for s, r in zip(c, ROLE_OF, strict=True)]) for c, n in seen.items()}
    total = sum(share.values())
    needs = Counter()
    for c, weighted in share.items():
        for name, n in needs_of(c).items():
            needs[name] += n * weighted / total
    return weight * total / sum(seen.values()), dict(needs)


# ---- processes


def processes(fileset, found, n_produced, searched, n_jpsi, belongs, rates):
    """Return {name: (m, tau, factors)} of a channel, whose candidates `belongs` chooses.

    Args:
        fileset: Name -> metadata.
        found: Name -> what `misid` returned.
        n_produced: Name -> events.
        searched: Name -> candidates of the search.
        n_jpsi: Number of J/psi in the data.
        belongs: Whether a candidate belongs to the channel.
        rates: What `rates_of` returned.
    """
    value, years, factors = rates
    exclusive = [n for n in found if fileset[n]["kind"] in ("background", "control")]
    covered = {fileset[n].get("part_of") for n in exclusive}
    result = {}
    for process in dict.fromkeys(fileset[n]["process"] for n in exclusive):
        names = [n for n in exclusive if fileset[n]["process"] == process]
        if process in covered:
            continue
        fraction = fileset[names[0]]["branching_fraction"]
        weight = fraction * n_jpsi / sum(n_produced[n] for n in names)
        everyone = [c for n in names for c in found[n]["candidates"]]
        expected = [weight * rate_of(c, value, years) for c in everyone]
        chosen = [c["chi2"] < 20 and in_signal_region(c) and belongs(c) for c in everyone]
        inside = [(c, w) for c, w, is_inside in zip(everyone, expected, chosen, strict=True) if is_inside]
        w = np.array([w for _, w in inside])
        if inside:
            m, tau, needs = w.sum() ** 2 / (w**2).sum(), w.sum() / (w**2).sum(), Counter()
            for c, of_one in inside:
                for name, n in needs_of(c["species"]).items():
                    needs[name] += n * of_one / w.sum()
        else:
            most, needs = max((largest(found[n], weight, value) for n in names), key=lambda pair: pair[0])
            m, tau = 0.0, 1 / max([most, *expected])
        widths = {name: n * factors[name][0] for name, n in needs.items()}
        sigma = fileset[names[0]].get("branching_fraction_sigma") or 0.0
        if sigma:
            widths[f"branching fraction of {process}"] = math.log1p(sigma / fraction)
        result[process] = m, tau, widths
    for kind in ("continuum", "inclusive"):
        if names := [n for n in searched if fileset[n]["kind"] == kind]:
            m = sum(sum(map(belongs, searched[n])) for n in names)
            if kind == "inclusive":
                tau = sum(n_produced[n] for n in names) / n_jpsi
            else:  # cross sections fall as 1/s
                exposure = sum(fileset[n]["luminosity"] / fileset[n]["sqrt_s"] ** 2 for n in names)
                tau = exposure / (LUMINOSITY * n_jpsi / N_JPSI / M_JPSI**2)
            result[kind] = float(m), tau, {}
    return result


def width(of_processes):
    """Return half of the central 68 % of what is quoted: 40 000 draws, one normal number per factor for all processes.

    Of an exclusive process Gamma(m + 1/2)/tau is drawn, of a counted one Gamma(m)/tau.
    """
    n, total = 40_000, np.zeros(40_000)

    def generator(name):
        return np.random.default_rng([20250706, zlib.crc32(name.encode())])

    for name, (m, tau, factors) in of_processes.items():
        shape = m if name in ("continuum", "inclusive") else m + 0.5
        if shape:
            logarithm = sum(kappa * generator(f).standard_normal(n) for f, kappa in factors.items())
            total += generator(name).standard_gamma(shape, n) / tau * np.exp(logarithm)
    low, high = np.quantile(total, [0.16, 0.84])
    return (high - low) / 2
