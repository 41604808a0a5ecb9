"""The second implementation, step five: the table of systematic uncertainties, section IV.

Every uncertainty is relative to the efficiency. Those of tracks are differences between data and simulation, averaged
over the tracks of the selected signal, and no smaller than what the samples know them to.
"""

import math

import numpy as np
from controls import COS_THETA_EDGES, P_EDGES, YEARS
from events import M_JPSI, MASS
from scipy import stats

N_JPSI = 44 / 10087
SAMPLES = {("tracking", "e"): ("ee",), ("tracking", "k"): ("kkpi0",), ("pid", "k"): ("kkpi0",)}
SAMPLES["pid", "e"] = ("ee", "eeee", "conversion")
PLACES = {"k": (0, 1), "e": (2, 3)}
ONE_SIGMA = 2 * stats.norm.cdf(1) - 1


def larger_half(k, n):
    """Return the larger half of the exact one-sigma interval of efficiencies k/n."""
    tail = (1 - ONE_SIGMA) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.where(k > 0, stats.beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0)
        high = np.where(k < n, stats.beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1)
        return np.where(n > 0, np.maximum(k / n - low, high - k / n), np.nan)


def ratio(data, simulation):
    """Return data over simulation (p, angle) of one sample and its uncertainty.

    Bins that either leaves empty take the ratio of the whole with the uncertainty of the least known bin.
    """
    (k, n), (k0, n0) = ((of.sum(axis=(0, 1))[..., 1], of.sum(axis=(0, 1, 4))) for of in (data, simulation))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (k / n) / (k0 / n0)
        sigma = np.hypot(larger_half(k, n), value * larger_half(k0, n0)) / (k0 / n0)
    known = np.isfinite(value) & np.isfinite(sigma)
    whole = (k.sum() / n.sum()) / (k0.sum() / n0.sum())
    worst = sigma[known].max() if known.any() else 1.0
    return np.where(known, value, whole), np.where(known, sigma, worst)


def category_factors(data, simulation, value):
    """Return what year and charge (Y, 2) differ by from the map of one sample, and the uncertainty."""
    with np.errstate(invalid="ignore", divide="ignore"):
        n = data.sum(axis=(2, 3, 4))
        of_map = (data.sum(axis=4) / n[..., None, None] * value).sum(axis=(2, 3))
        (e, s), (e0, s0) = (share(of[..., 1].sum(axis=(2, 3)), of.sum(axis=(2, 3, 4))) for of in (data, simulation))
        found, relative = e / e0 / of_map, np.hypot(s, s0)
    known = np.isfinite(found) & np.isfinite(relative) & (found > 0)
    return np.where(known, found, 1), np.where(known, found * relative, 1)


def share(k, n):
    """Return efficiencies and their relative uncertainties."""
    return k / n, np.sqrt(k * (n - k) / n) / n * (n / k)


def mean_of(pairs):
    """Return the mean of values weighted by their inverse squared uncertainties."""
    values, weights = np.stack([v for v, _ in pairs]), np.stack([1 / np.maximum(s, 1e-6) ** 2 for _, s in pairs])
    return (weights * values).sum(axis=0) / weights.sum(axis=0), 1 / np.sqrt(weights.sum(axis=0))


def maps(controls):
    """Return (name, species) -> map and factors, each a value with its uncertainty."""
    found = {}
    for (name, species), samples in SAMPLES.items():
        pairs = [(controls[s][0][name], controls[s][1][name]) for s in samples if s in controls]
        ratios = [ratio(*pair) for pair in pairs]
        factors = [category_factors(*pair, value) for pair, (value, _) in zip(pairs, ratios, strict=True)]
        found[name, species] = mean_of(ratios), mean_of(factors)
    return found


def bins(candidates, species):
    """Return the bins (p, angle) of the tracks of a species."""
    places = PLACES[species]
    p, cos_theta = (np.array([c[of][i] for i in places for c in candidates]) for of in ("p", "cos_theta"))
    pairs = ((P_EDGES, p), (COS_THETA_EDGES, cos_theta))
    return tuple(np.clip(np.searchsorted(e, x, side="right") - 1, 0, len(e) - 2) for e, x in pairs)


def of_tracks(all_maps, name, candidates):
    """Return the uncertainty of two electrons and two kaons, linear in the tracks."""
    total = 0.0
    for species in ("k", "e"):
        (value, sigma), _ = all_maps[name, species]
        weight = np.zeros(value.shape)
        np.add.at(weight, bins(candidates, species), 1 / (2 * len(candidates)))
        difference = (weight * (value - 1)).sum()
        total += 2 * max(abs(difference), math.sqrt(((weight * sigma) ** 2).sum()))
    return total


def known_to(all_maps, name, channels):
    """Return what bins, years and charges of the maps leave open of each channel's efficiency, all but 1e-4 of it.

    Changes of all channels by one standard deviation of each are written as few independent sources: the leading
    singular vectors.
    """
    squares = dict.fromkeys(channels, 0.0)
    for species in ("e", "k"):
        (value, sigma), (_, of_category) = all_maps[name, species]
        rows = []
        for candidates in channels.values():
            of_bins, of_years = np.zeros(value.shape), np.zeros(of_category.shape)
            year = np.array([YEARS.index(c["period"]) for c in candidates] * 2)
            charge = np.array([c["charge"] for c in candidates] * 2) * (1 if species == "k" else -1)
            place = bins(candidates, species)
            np.add.at(of_bins, place, sigma[place] / len(candidates))
            at = year, (charge > 0).astype(int)
            np.add.at(of_years, at, of_category[at] / len(candidates))
            rows.append(np.concatenate([of_bins.ravel(), of_years.ravel()]))
        left, size, _ = np.linalg.svd(np.stack(rows), full_matrices=False)
        cumulated = np.cumsum(size**2)
        n = int(np.searchsorted(cumulated, 0.9999 * cumulated[-1])) + 1
        for row, channel in zip(left[:, :n] * size[:n], channels, strict=True):
            squares[channel] += (row**2).sum()
    return {channel: math.sqrt(s) for channel, s in squares.items()}


def step(flows, after, before):
    """Return the larger of the difference of data and simulation in a step of a control sample, and its uncertainty."""
    (e, s), (e0, s0) = (share(flow[after], flow[before]) for flow in flows)
    return max(abs(e / e0 - 1), math.hypot(s, s0) * e / e0)


def multiplicity(controls):
    """Return the uncertainty of the identification of electrons in events of four tracks instead of two."""
    (two, sigma2), (four, sigma4) = (ratio(controls[s][0]["pid"], controls[s][1]["pid"]) for s in ("ee", "eeee"))
    weight = 1 / (sigma2**2 + sigma4**2)
    return 2 * max(abs((weight * (four - two)).sum() / weight.sum()), 1 / math.sqrt(weight.sum()))


def angles(candidates, m):
    """Return the uncertainty of the angles of J/psi -> nu nu, nu -> K e at a mass.

    The neutrinos follow 1 + alpha cos^2, alpha = +-1 for opposite and equal helicities, the pair of electrons in their
    rest frames 1 -+ c1 c2 or nothing. Every model between is as good: width over sqrt(12).
    """
    p_nu, in_rest = math.sqrt(M_JPSI**2 / 4 - m**2), (m**2 + MASS["e"] ** 2 - MASS["k"] ** 2) / (2 * m)
    weights = {(alpha, beta): [] for alpha, beta in ((1, -1), (1, 0), (-1, 1), (-1, 0))}
    for c in candidates:
        is_straight = abs(c["m_ke"][0] - c["m_ke"][1]) <= abs(c["m_ke"][2] - c["m_ke"][3])
        pairs = ((0, 2), (1, 3)) if is_straight else ((0, 3), (1, 2))
        pz = c["p"] * c["cos_theta"]
        along = [pz[k] + pz[e] for k, e in pairs]
        energy = [math.hypot(c["p"][e], MASS["e"]) for _, e in pairs]
        stars = [(m * e - M_JPSI / 2 * in_rest) / (p_nu * math.sqrt(in_rest**2 - MASS["e"] ** 2)) for e in energy]
        nu, one, two = np.clip([(along[0] - along[1]) / (2 * p_nu), *stars], -1, 1)
        for (alpha, beta), of in weights.items():
            of.append((1 + alpha * nu**2) / (1 + alpha / 3) * (1 + beta * one * two))
    means = [np.mean(of) for of in weights.values()]
    return (max(means) - min(means)) / math.sqrt(12)


def table(controls, flows, all_maps, channels, channel, k, n, model):
    """Return the rows of one efficiency.

    Args:
        controls: Sample -> probes in data and in simulation.
        flows: Sample -> cut flows of data and of simulation.
        all_maps: What `maps` returned.
        channels: Name -> selected candidates.
        channel: Which of them.
        k: Events that pass.
        n: Events produced.
        model: Uncertainty of the decay model.
    """
    rows = {"n_jpsi": N_JPSI}
    for name in ("tracking", "pid"):
        rows[name] = max(of_tracks(all_maps, name, channels[channel]), known_to(all_maps, name, channels)[channel])
    rows["kinematic_fit"] = step(flows["ppbarpipi"], "chi2_4c", "near_jpsi")
    rows["signal_region"] = step(flows["ppbarpipi"], "signal_region", "chi2_4c")
    rows["hypotheses"] = step(flows["kkpipi"], "smallest_chi2", "signal_region")
    rows["multiplicity"] = multiplicity(controls)
    rows["mc_statistics"] = math.sqrt(k * (n - k) / n) / k
    rows["mc_modelling"] = model
    return rows
