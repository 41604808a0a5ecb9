"""Makes the tables of `analysis.objects.emc_pid` from electron and pion tracks of control samples."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.objects.emc_pid import KINDS, EmcTableError, EmcTables, evaluate

P_EDGES: Final = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 2.0])
# Barrel, the gap with what overlaps it, end caps.
COS_THETA_EDGES: Final = np.array([0.0, 0.5, 0.8, 0.93])
E_OVER_P_EDGES: Final = np.linspace(0.0, 1.3, 27)
COMPACTNESS_EDGES: Final = np.linspace(0.6, 1.0, 9)
# Quantiles: dense enough for straight lines between them, as far out as a thousand tracks reach.
CHI: Final = np.linspace(-3.0, 3.0, 25)
N_TRACKS_MIN: Final = 300
# Decays whose tracks the control samples are, and how to simulate more of them.
_NEEDED: Final = {
    "e": "J/psi -> 2(e+ e-) (`lnv simulate --process eeee`)",
    "pi": "J/psi -> 2(pi+ pi-) (`lnv simulate --process pipipipi`)",
}
# Width in cells of the smoothing of the densities, and what is added to every cell, as a share of one track.
_SMOOTHING: Final = 1.0
_PRIOR: Final = 0.1


class ControlTracks(NamedTuple):
    """Tracks of one kind: momentum in GeV/c, cos theta, E/p in units of c, e3x3/e5x5; each (T,)."""

    p: FloatArray
    cos_theta: FloatArray
    e_over_p: FloatArray
    compactness: FloatArray


def build(electrons: ControlTracks, pions: ControlTracks) -> EmcTables:
    """Return tables in which electrons and pions each have a standard normal chi.

    Raises:
        EmcTableError: A bin has too few tracks of one kind.
    """
    samples = tuple(_select(tracks) for tracks in (electrons, pions))
    shape = (len(P_EDGES) - 1, len(COS_THETA_EDGES) - 1)
    x, y = _nodes(E_OVER_P_EDGES), _nodes(COMPACTNESS_EDGES)
    score = np.empty((*shape, len(x), len(y)))
    tables = EmcTables(P_EDGES, COS_THETA_EDGES, x, y, score, CHI, np.empty((len(KINDS), *shape, len(CHI))))
    for kind, tracks in zip(KINDS, samples, strict=True):
        _check(kind, tracks)
    for i, j in np.ndindex(*shape):
        own = [_in_bin(tracks, i, j) for tracks in samples]
        score[i, j] = np.log(_density(own[0]) / _density(own[1]))
    for k, tracks in enumerate(samples):
        scores = _scores(tables, tracks)
        for i, j in np.ndindex(*shape):
            tables.quantiles[k, i, j] = np.quantile(scores[_is_in_bin(tracks, i, j)], norm.cdf(CHI))
    return tables


def occupancy(tracks: ControlTracks) -> IntArray:
    """Return how many tracks with a cluster lie in each bin of p and abs(cos theta), shape (P, C)."""
    chosen = _select(tracks)
    counts = np.empty((len(P_EDGES) - 1, len(COS_THETA_EDGES) - 1), dtype=np.int64)
    for i, j in np.ndindex(*counts.shape):
        counts[i, j] = np.count_nonzero(_is_in_bin(chosen, i, j))
    return counts


def _nodes(edges: FloatArray) -> FloatArray:
    return 0.5 * (edges[1:] + edges[:-1])


def _select(tracks: ControlTracks) -> ControlTracks:
    """Return the tracks with a cluster."""
    has_cluster = (tracks.e_over_p > 0) & np.isfinite(tracks.e_over_p + tracks.compactness)
    return ControlTracks(*(np.asarray(values, dtype=np.float64)[has_cluster] for values in tracks))


def _is_in_bin(tracks: ControlTracks, i: int, j: int) -> BoolArray:
    cosine = np.abs(tracks.cos_theta)
    in_p = (tracks.p >= P_EDGES[i]) & (tracks.p < P_EDGES[i + 1])
    return in_p & (cosine >= COS_THETA_EDGES[j]) & (cosine < COS_THETA_EDGES[j + 1])


def _in_bin(tracks: ControlTracks, i: int, j: int) -> ControlTracks:
    return ControlTracks(*(values[_is_in_bin(tracks, i, j)] for values in tracks))


def _check(kind: str, tracks: ControlTracks) -> None:
    """Raise EmcTableError for the thinnest bin of one kind if it has too few tracks."""
    counts = occupancy(tracks)
    i, j = np.unravel_index(np.argmin(counts), counts.shape)
    n = int(counts[i, j])
    if n < N_TRACKS_MIN:
        times = N_TRACKS_MIN / max(n, 1)
        msg = (
            f"control tracks: got {n} of kind {kind!r} with p in {P_EDGES[i]} to {P_EDGES[i + 1]} GeV/c and "
            f"|cos theta| in {COS_THETA_EDGES[j]} to {COS_THETA_EDGES[j + 1]}, the thinnest bin; wanted "
            f"{N_TRACKS_MIN}: give {times:.1f} times as many events with {_NEEDED[kind]}"
        )
        raise EmcTableError(msg)


def _density(tracks: ControlTracks) -> FloatArray:
    """Return the smoothed density of tracks in E/p and compactness, (X, Y); what lies beyond counts at the edge."""
    x = np.clip(tracks.e_over_p, E_OVER_P_EDGES[0], np.nextafter(E_OVER_P_EDGES[-1], 0))
    y = np.clip(tracks.compactness, COMPACTNESS_EDGES[0], COMPACTNESS_EDGES[-1])
    counts, _, _ = np.histogram2d(x, y, bins=(E_OVER_P_EDGES, COMPACTNESS_EDGES))
    smooth = gaussian_filter(counts, _SMOOTHING, mode="nearest") + _PRIOR
    return np.asarray(smooth / smooth.sum())


def _scores(tables: EmcTables, tracks: ControlTracks) -> FloatArray:
    """Return the scores of tracks: chi with a scale on which it is the score itself."""
    line = np.array([-1.0, 0.0, 1.0])
    shape = (*tables.quantiles.shape[:3], len(line))
    plain = tables._replace(chi=line, quantiles=np.broadcast_to(line, shape).copy())
    return evaluate(plain, *tracks)[:, 0]
