"""The second implementation, step one: what an ntuple says of tracks, and what they are taken for.

Plain numpy in double precision: no compiled code, no chunks, no code of the package. Written from the publication
(section III, "III.1" for its first paragraph), BOSS's ParticleID and docs/physics.md; where they leave a choice to the
analysis, such as bins, control samples and rates, from the package's own definition. Units: GeV, cm, ns, rad, T.
"""

import json

import awkward as ak
import numpy as np
import uproot
from scipy import stats

M_JPSI, M_PI0 = 3.0969, 0.1349768
MASS = {"e": 0.51099895e-3, "pi": 0.13957039, "k": 0.493677, "p": 0.93827208816}
CROSSING = 0.011  # half of the angle between the beams
ALPHA = 333.564095  # radius in cm of a track of 1 GeV/c in 1 T
SUFFIX = {"e": "_e", "pi": "", "k": "_k", "p": "_p"}
HELIX = ("dr", "phi0", "kappa", "dz", "tanl")


def beams(sqrt_s):
    """Return (px, py, pz, E) of both beams together."""
    return np.array([sqrt_s * np.tan(CROSSING), 0.0, 0.0, sqrt_s / np.cos(CROSSING)])


def p4_of(p, mass):
    """Return four-momenta (..., 4) of momenta (..., 3)."""
    return np.concatenate([p, np.sqrt((p**2).sum(axis=-1, keepdims=True) + mass**2)], axis=-1)


def mass2(p4):
    return p4[..., 3] ** 2 - (p4[..., :3] ** 2).sum(axis=-1)


def mass(p4):
    return np.sqrt(np.maximum(mass2(p4), 0.0))


class Events:
    """All events of a dataset: scalars per event, flat columns per track, shower and generated particle."""

    def __init__(self, files, sqrt_s, emc_tables):
        arrays = [uproot.open(f"{name}:{tree}").arrays() for name, tree in files.items()]
        self.arrays, self.sqrt_s, self.emc_tables = ak.concatenate(arrays), sqrt_s, emc_tables
        self.n = len(self.arrays)
        self.bounds = self.bounds_of("Track")
        self.event = np.repeat(np.arange(self.n), np.diff(self.bounds))
        self.charge = self.track("charge").astype(int)
        self.point = np.stack([self.scalar(f"ip_{axis}") for axis in "xyz"], axis=1)
        self.good = self._is_good()
        self.p = np.sqrt(1 + self.track("tanl") ** 2) / np.abs(self.track("kappa"))
        self.cos_theta = self.track("tanl") / np.sqrt(1 + self.track("tanl") ** 2)
        self.e_over_p = self.track("emc_energy") / self.p
        self.cl, self.ndof = self.confidence_levels(("e", "pi", "k"))
        self.electron = self.is_electron()
        cl_k = self.cl[:, 2]
        self.kaon = (cl_k > 0) & (cl_k > self.cl[:, 1]) & (self.e_over_p < 0.8)  # III.2
        n_good, net = self.count(self.good), np.bincount(self.event, self.charge * self.good, self.n)
        self.n_good, self.retained = n_good, (n_good >= 4) & (net == 0)  # III.1
        self._momenta = {}

    def is_electron(self, share_min=0.8, e_over_p_min=0.8):
        """III.2: CL_e > 0.001, its share of CL_e + CL_pi + CL_K, E/p."""
        cl_e, total = self.cl[:, 0], self.cl.sum(axis=1)
        return (cl_e > 0.001) & (cl_e > share_min * total) & (self.e_over_p > e_over_p_min) & (self.e_over_p < 1.2)

    def scalar(self, name):
        return np.asarray(self.arrays[name], dtype=float)

    def flat(self, name):
        return ak.to_numpy(ak.flatten(self.arrays[name])).astype(float)

    def track(self, name):
        return self.flat(f"Track_{name}")

    def bounds_of(self, collection):
        return np.concatenate([[0], np.cumsum(ak.to_numpy(self.arrays[f"n{collection}"]), dtype=int)])

    def count(self, mask):
        """Return how many tracks of each event a mask selects."""
        return np.bincount(self.event[mask], minlength=self.n)

    def helix(self, species=None):
        """Return dr, phi0, kappa, dz, tanl at the origin; those of a hypothesis where the file has them."""
        suffix = SUFFIX[species] if species and f"Track_dr{SUFFIX[species]}" in self.arrays.fields else ""
        return [self.track(name + suffix) for name in HELIX], suffix

    def field(self):
        return self.scalar("field")[self.event]

    def _is_good(self):
        """III.1: |cos theta| < 0.93, R_xy < 1 cm, |R_z| < 10 cm from the interaction point."""
        (dr, phi0, kappa, dz, tanl), _ = self.helix()
        rho = ALPHA / (self.field() * kappa)  # signed radius; the centre is at dr - rho along phi0
        x, y, z = self.point[self.event].T
        cx, cy, sign = (dr - rho) * np.cos(phi0) - x, (dr - rho) * np.sin(phi0) - y, np.sign(kappa)
        turn = (np.arctan2(-sign * cy, -sign * cx) - phi0 + np.pi) % (2 * np.pi) - np.pi
        r_xy, r_z = np.abs(np.abs(rho) - np.hypot(cx, cy)), np.abs(dz + rho * tanl * turn - z)
        return (np.abs(tanl / np.sqrt(1 + tanl**2)) < 0.93) & (r_xy < 1.0) & (r_z < 10.0)

    def momenta(self, species):
        """Return momenta (T, 3) at the interaction point and covariances (T, 3, 3).

        kappa and tanl do not change on the way, the azimuth is that of the circle's centre seen from the point.
        """
        if species not in self._momenta:
            (dr, phi0, kappa, _, tanl), suffix = self.helix(species)
            rho = ALPHA / (self.field() * kappa)
            cx = (dr - rho) * np.cos(phi0) - self.point[self.event, 0]
            cy = (dr - rho) * np.sin(phi0) - self.point[self.event, 1]
            sign, pt = np.sign(kappa), 1 / np.abs(kappa)
            phi = np.arctan2(-sign * cy, -sign * cx)
            p = np.stack([-pt * np.sin(phi), pt * np.cos(phi), pt * tanl], axis=1)
            by_dr = (cx * np.sin(phi0) - cy * np.cos(phi0)) / (cx**2 + cy**2)
            by_phi0 = (dr - rho) * (cx * np.cos(phi0) + cy * np.sin(phi0)) / (cx**2 + cy**2)
            azimuth = np.stack([by_dr, by_phi0, by_dr * rho / kappa, 0 * dr, 0 * dr], axis=1)
            jacobian = np.stack([-p[:, 1], p[:, 0], 0 * dr], axis=1)[:, :, None] * azimuth[:, None, :]
            jacobian[:, :, 2] -= p / kappa[:, None]
            jacobian[:, 2, 4] += pt
            packed = np.stack([self.track(f"cov{i}{suffix}") for i in range(15)], axis=1)
            cov, upper = np.empty((len(dr), 5, 5)), np.triu_indices(5)
            cov[:, upper[0], upper[1]] = cov[:, upper[1], upper[0]] = packed
            self._momenta[species] = p, jacobian @ cov @ jacobian.transpose(0, 2, 1)
        return self._momenta[species]

    def confidence_levels(self, hypotheses, has_emc=True):
        """III.2: CL of hypotheses (T, H) and the number of subsystems; -1 without any.

        BOSS's ParticleID: a subsystem counts if any hypothesis has |chi| < 4, and adds its chi2 to all.
        """
        measured = [
            np.where((self.track("dedx_n_hits") > 0)[:, None], self.of(hypotheses, "dedx_chi_"), np.nan),
            self._tof_chi(hypotheses),
            *([emc_chi(self, self.emc_tables)] if has_emc else []),
        ]
        chi2, ndof = np.zeros((len(self.event), len(hypotheses))), np.zeros(len(self.event), dtype=int)
        for chi in measured:
            counts = np.isfinite(chi).all(axis=1) & (np.abs(chi) < 4).any(axis=1)
            chi2[counts] += chi[counts] ** 2
            ndof += counts
        return np.where(ndof[:, None] > 0, stats.chi2.sf(chi2, np.maximum(ndof, 1)[:, None]), -1.0), ndof

    def of(self, hypotheses, prefix):
        return np.stack([self.track(prefix + h) for h in hypotheses], axis=1)

    def _tof_chi(self, hypotheses):
        sigma, is_good = self.track("tof_sigma"), self.track("tof_quality") == 1
        deviation = self.track("tof_time")[:, None] - self.of(hypotheses, "tof_texp_")
        is_measured = is_good & (sigma > 0)
        return np.where(is_measured[:, None], deviation / np.where(is_measured, sigma, 1)[:, None], np.nan)


def load_emc_tables(path):
    """Return the calibration of the calorimeter, a file of numbers made by `lnv emc-tables`."""
    names = ("p_edges", "cos_theta_edges", "e_over_p", "compactness", "score", "chi", "quantiles")
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: np.array(content[name]) for name in names}


def emc_chi(events, tables):
    """Return chi of the calorimeter for e, pi, K: the place of a track's score among those of each kind.

    The score is bilinear in E/p and the compactness e3x3/e5x5 between nodes, the quantiles are joined by lines, which
    go on beyond the ends at the mean slope from the median; a kaon counts as a pion.
    """
    energy, e5x5 = events.track("emc_energy"), events.track("emc_e5x5")
    with np.errstate(divide="ignore", invalid="ignore"):
        compactness = events.track("emc_e3x3") / e5x5
    chi = np.full((len(energy), 3), np.nan)
    i = np.digitize(events.p, tables["p_edges"]) - 1
    j = np.digitize(np.abs(events.cos_theta), tables["cos_theta_edges"]) - 1
    n_p, n_c = tables["score"].shape[:2]
    inside = (energy > 0) & np.isfinite(compactness) & (i >= 0) & (i < n_p) & (j >= 0) & (j < n_c)
    for t in np.flatnonzero(inside):
        x = np.clip(events.e_over_p[t], *tables["e_over_p"][[0, -1]])
        y = np.clip(compactness[t], *tables["compactness"][[0, -1]])
        of_x = [np.interp(y, tables["compactness"], row) for row in tables["score"][i[t], j[t]]]
        score = np.interp(x, tables["e_over_p"], of_x)
        chi[t] = [quantile(score, tables["quantiles"][kind, i[t], j[t]], tables["chi"]) for kind in (0, 1, 1)]
    return chi


def quantile(score, scores, chi):
    """Return the normal quantile of a score."""
    for end, is_beyond in ((0, score < scores[0]), (-1, score > scores[-1])):
        if is_beyond:
            middle = len(chi) // 2
            return chi[end] + (chi[end] - chi[middle]) / (scores[end] - scores[middle]) * (score - scores[end])
    i = min(max(int(np.searchsorted(scores, score, side="right")) - 1, 0), len(chi) - 2)
    width = scores[i + 1] - scores[i]
    return chi[i] + (chi[i + 1] - chi[i]) * ((score - scores[i]) / width if width > 0 else 0.5)


def angle(a, b):
    """Return the angle between a vector (3,) and vectors (N, 3)."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b, axis=-1)
    return np.arccos(np.clip(b @ a / np.maximum(lengths, 1e-300), -1, 1))


def photons(events):
    """Return the four-momenta of the photons of each event: BESIII's requirements on energy, time and distance."""
    corner = np.stack([events.flat(f"Shower_{axis}") for axis in "xyz"], axis=1)
    energy, time = events.flat("Shower_energy"), events.flat("Shower_time")
    impact = np.stack([events.track(f"emc_{axis}") for axis in "xyz"], axis=1)
    has_cluster = events.track("emc_energy") > 0
    bounds, found = events.bounds_of("Shower"), []
    for k in range(events.n):
        tracks = np.arange(*events.bounds[k : k + 2])
        impacts = impact[tracks[has_cluster[tracks]]]
        found.append([])
        for s in range(*bounds[k : k + 2]):
            direction = corner[s] - events.point[k]
            direction /= np.linalg.norm(direction)
            cos_theta = abs(direction[2])
            is_hard = energy[s] > 0.025 if cos_theta < 0.80 else 0.86 < cos_theta < 0.92 and energy[s] > 0.05
            if is_hard and 0 <= time[s] <= 700 and (angle(direction, impacts) > 0.1745).all():
                found[k].append(np.append(direction * energy[s], energy[s]))
    return found
