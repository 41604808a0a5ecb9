"""All clusters of the calorimeter in an event: overlaps, and who keeps the energy."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.simulation.calorimeter import ELECTROMAGNETIC, HADRONIC
from jpsi_lnv.analysis.simulation.parameters import DetectorParameters

NOISE_ENERGY: Final = (0.025, 0.030)  # GeV: threshold and scale of clusters of beam background, [assumption]
NOISE_TIME: Final = 1500.0  # ns: they are uniform in time up to here, [assumption]
SPLIT_ENERGY: Final = (0.020, 0.045)  # GeV: least energy and scale of split-off clusters, [assumption]
SPLIT_DISTANCE: Final = (15.0, 45.0)  # cm: their distance from the track's impact, [assumption]


class Clusters(NamedTuple):
    """Clusters, n of them.

    Attributes:
        event: Their event, (n,).
        position: Where they are in cm, (n, 3).
        energy: Energy in GeV, (n,).
        kind: Kind of shower, see `calorimeter`, (n,).
        track: Row of the charged particle that made it, -1 for none, (n,).
        time: Time after the event start in ns, (n,).
    """

    event: IntArray
    position: FloatArray
    energy: FloatArray
    kind: IntArray
    track: IntArray
    time: FloatArray


def concatenate(*parts: Clusters) -> Clusters:
    """Return clusters of several sources as one set, sorted by event."""
    order = np.argsort(np.concatenate([p.event for p in parts]), kind="stable")
    return Clusters(*(np.concatenate(columns)[order] for columns in zip(*parts, strict=True)))


def merge(clusters: Clusters, is_matched: BoolArray, parameters: DetectorParameters) -> FloatArray:
    """Return the energies in GeV after clusters that overlap have become one, (n,); the absorbed ones have none.

    Of two tracks the one with the larger deposit takes all; a track takes what photons near it left.

    Args:
        clusters: Clusters before, sorted by event.
        is_matched: Whether a reconstructed track points at the cluster, (n,).
        parameters: Detector.
    """
    energy = clusters.energy.copy()
    for step in range(1, len(energy)):
        first = np.flatnonzero(clusters.event[:-step] == clusters.event[step:])
        if first.size == 0:
            break
        pairs = _close(clusters, first, first + step, parameters)
        while len(pairs):
            pairs = _absorb(energy, is_matched, pairs)
    return energy


def _close(clusters: Clusters, a: IntArray, b: IntArray, parameters: DetectorParameters) -> IntArray:
    """Return the pairs that overlap, (m, 2)."""
    gap = np.sqrt(((clusters.position[a] - clusters.position[b]) ** 2).sum(axis=1))
    both_charged = (clusters.track[a] >= 0) & (clusters.track[b] >= 0)
    limit = np.where(both_charged, parameters.merge_distance, parameters.photon_merge_distance)
    return np.stack([a, b], axis=1)[gap < limit]


def _absorb(energy: FloatArray, is_matched: BoolArray, pairs: IntArray) -> IntArray:
    """Move the energy of losers to winners; return the pairs that have to wait for these.

    In a chain of overlaps a winner that loses too waits for the pair it loses in, and nobody loses twice.
    """
    a, b = pairs[(energy[pairs] > 0.0).all(axis=1)].T
    wins = np.where(is_matched[a] == is_matched[b], energy[a] >= energy[b], is_matched[a])
    winner, loser = np.where(wins, a, b), np.where(wins, b, a)
    is_ready = ~np.isin(winner, loser)
    is_ready[np.setdiff1d(np.arange(len(loser)), np.unique(loser, return_index=True)[1])] = False
    np.add.at(energy, winner[is_ready], energy[loser[is_ready]])
    energy[loser[is_ready]] = 0.0
    return np.stack([a, b], axis=1)[~is_ready]


def noise(rng: np.random.Generator, n_events: int, parameters: DetectorParameters) -> Clusters:
    """Return clusters of beam background, anywhere in the barrel and at any time."""
    counts = rng.poisson(parameters.noise_clusters, n_events)
    event = np.repeat(np.arange(n_events), counts)
    n = len(event)
    phi, z = rng.uniform(-np.pi, np.pi, n), rng.uniform(-parameters.emc_barrel_z, parameters.emc_barrel_z, n)
    position = np.stack([parameters.emc_radius * np.cos(phi), parameters.emc_radius * np.sin(phi), z], axis=-1)
    energy = NOISE_ENERGY[0] + NOISE_ENERGY[1] * rng.exponential(size=n)
    kind = np.full(n, ELECTROMAGNETIC)
    return Clusters(event, position, energy, kind, np.full(n, -1), rng.uniform(0.0, NOISE_TIME, n))


def split_offs(rng: np.random.Generator, clusters: Clusters, parameters: DetectorParameters) -> Clusters:
    """Return the second clusters that some hadronic showers leave beside the first."""
    hadronic = np.flatnonzero((clusters.kind == HADRONIC) & (clusters.energy > 0.0))
    chosen = hadronic[rng.uniform(size=hadronic.size) < parameters.split_off]
    n = chosen.size
    energy = np.minimum(SPLIT_ENERGY[0] + SPLIT_ENERGY[1] * rng.exponential(size=n), clusters.energy[chosen])
    angle, distance = rng.uniform(-np.pi, np.pi, n), rng.uniform(*SPLIT_DISTANCE, n)
    position = clusters.position[chosen]
    radius = np.hypot(position[:, 0], position[:, 1])
    phi = np.arctan2(position[:, 1], position[:, 0]) + distance * np.cos(angle) / radius
    z = position[:, 2] + distance * np.sin(angle) * (np.abs(position[:, 2]) < parameters.emc_barrel_z)
    moved = np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=-1)
    return Clusters(clusters.event[chosen], moved, energy, clusters.kind[chosen], np.full(n, -1), clusters.time[chosen])
