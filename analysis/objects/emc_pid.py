"""chi of the calorimeter: how far a cluster is from those of electrons and of pions.

Two quantities tell them apart: E/p, and the compactness e3x3/e5x5 of the shower. In each bin of momentum and
abs(cos theta) they make one score, the logarithm of the ratio of the densities of electrons and pions, and the chi of a
hypothesis is the place of the score among the tracks of that kind, as a quantile of the normal distribution: chi is
standard normal for its own kind. Kaons and protons take the pion's value, as in BOSS's EmcPID, whose neural network the
score stands for. The tables are made from control samples.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.objects.tracks import cos_theta, momentum

if TYPE_CHECKING:
    from jpsi_lnv.analysis.events.columns import Columns


FORMAT: Final = "jpsi-lnv emc-pid 1"
# Kinds of tracks that the tables are made of; the hypothesis K takes the second.
KINDS: Final = ("e", "pi")
# What chi is given for, in the order of `Species`.
HYPOTHESES: Final = ("e", "pi", "k")
PATH: Final = Path(__file__).with_name("emc_pid.json")


class EmcTableError(LnvError):
    """A file of EMC tables is not usable."""


_FORM: Final = Form("EMC tables", "make them with `lnv emc-tables`", EmcTableError)


class EmcTables(NamedTuple):
    """Scores and their quantiles in P bins of momentum and C bins of abs(cos theta).

    Attributes:
        p_edges: (P + 1,) in GeV/c; there is no chi outside.
        cos_theta_edges: (C + 1,) of abs(cos theta).
        e_over_p: (X,) nodes of E/p in units of c.
        compactness: (Y,) nodes of e3x3/e5x5.
        score: (P, C, X, Y) at the nodes; between them it is linear in both.
        chi: (Q,) quantiles of the normal distribution.
        quantiles: (2, P, C, Q) the scores at these quantiles of electrons and of pions.
    """

    p_edges: FloatArray
    cos_theta_edges: FloatArray
    e_over_p: FloatArray
    compactness: FloatArray
    score: FloatArray
    chi: FloatArray
    quantiles: FloatArray


def chi_of_chosen(
    columns: Columns, tables: EmcTables, chosen: IntArray, hypotheses: tuple[str, ...] = HYPOTHESES
) -> FloatArray:
    """Return chi of the calorimeter of chosen tracks, in their order, for H hypotheses, ``(N, H)``.

    Args:
        columns: The chunk.
        tables: The tables, of `load`.
        chosen: (N,) indices of the tracks.
        hypotheses: Their names; those that are neither e nor pi take the pion's chi.
    """
    names = ("kappa", "tanl", "emc_energy", "emc_e3x3", "emc_e5x5")
    kappa, tanl, energy, e3x3, e5x5 = (columns.flat("Track", n)[chosen].astype(np.float64) for n in names)
    p = momentum(kappa, tanl)
    with np.errstate(divide="ignore", invalid="ignore"):
        chi = evaluate(tables, p, cos_theta(tanl), np.where(energy > 0, energy / p, np.nan), e3x3 / e5x5)
    return chi if hypotheses == HYPOTHESES else chi[:, [0 if name == "e" else 1 for name in hypotheses]]


def evaluate(
    tables: EmcTables, p: FloatArray, cos_theta: FloatArray, e_over_p: FloatArray, compactness: FloatArray
) -> FloatArray:
    """Return chi for e, pi, K of tracks, ``(T, 3)``; NaN outside the tables or where a quantity is not finite.

    Args:
        tables: The tables.
        p: (T,) momenta in GeV/c.
        cos_theta: (T,) cosines of the polar angle.
        e_over_p: (T,) E/p in units of c.
        compactness: (T,) e3x3/e5x5.
    """
    chi = np.empty((len(p), len(HYPOTHESES)))
    _evaluate(tables, p, np.abs(cos_theta), e_over_p, compactness, chi)
    return chi


def to_json(tables: EmcTables, made_from: dict[str, Any]) -> dict[str, Any]:
    """Return the tables as plain numbers, with a note of what they were made from."""
    rounded = {name: np.round(values, 4).tolist() for name, values in tables._asdict().items()}
    return {"format": FORMAT, "made_from": made_from, **rounded}


def from_json(content: Any, path: str) -> EmcTables:
    """Return tables from `to_json`'s form; raise EmcTableError where it is another."""
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        msg = f"{path}: got format {found!r}, wanted {FORMAT!r}; make it again with `lnv emc-tables`"
        raise EmcTableError(msg)
    try:
        tables = EmcTables(*(np.array(content[name], dtype=np.float64) for name in EmcTables._fields))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: a table is missing or no array of numbers ({error}); make it again with `lnv emc-tables`"
        raise EmcTableError(msg) from error
    _check(tables, path)
    return tables


def _check(tables: EmcTables, path: str) -> None:
    """Raise EmcTableError unless shapes fit and what is looked up in is in order."""
    bins = (len(tables.p_edges) - 1, len(tables.cos_theta_edges) - 1)
    if tables.score.shape != (*bins, len(tables.e_over_p), len(tables.compactness)) or tables.quantiles.shape != (
        len(KINDS),
        *bins,
        len(tables.chi),
    ):
        msg = f"{path}: score {tables.score.shape} and quantiles {tables.quantiles.shape} do not fit the {bins} bins"
        raise EmcTableError(msg)
    in_order = [
        np.diff(getattr(tables, name)) > 0 for name in ("p_edges", "cos_theta_edges", "e_over_p", "compactness")
    ]
    if not all(np.all(d) for d in (*in_order, np.diff(tables.chi) > 0, np.diff(tables.quantiles) >= 0)):
        msg = f"{path}: edges, nodes or quantiles are not in increasing order; make it again with `lnv emc-tables`"
        raise EmcTableError(msg)


@lru_cache(maxsize=4)
def load(path: str | None = None) -> EmcTables:
    """Return the tables of a file, or those that come with the package.

    Raises:
        EmcTableError: The file cannot be read as such tables.
    """
    source = PATH if path is None else Path(path)
    return from_json(_FORM.read(source), str(source))


def load_for(path: str, first: int, last: int, *, is_simulation: bool) -> EmcTables:
    """Return the tables of a file for a range of runs, recorded or simulated.

    Args:
        path: The file.
        first: First run, a number without sign.
        last: Last run.
        is_simulation: Whether the runs are simulated.

    Raises:
        EmcTableError: The tables were made from simulation and the runs are recorded ones, or from other runs.
    """
    made_from = _FORM.read(path).get("made_from")
    made_from = made_from if isinstance(made_from, dict) else {}
    if not is_simulation and made_from.get("is_simulation") is not False:
        msg = (
            f"{path}: the tables were made from simulation, and runs {first} to {last} are recorded; wanted tables "
            "of their control samples: make them with `lnv emc-tables`, or name 'simulated' in the fileset"
        )
        raise EmcTableError(msg)
    match made_from.get("runs"):
        case [int(begin), int(end)] if begin > last or end < first:
            msg = f"{path}: the tables were made from runs {begin} to {end}; wanted tables of runs {first} to {last}"
            raise EmcTableError(msg)
    return load(path)


@kernel
def _evaluate(
    tables: EmcTables,
    p: FloatArray,
    cos_theta: FloatArray,
    e_over_p: FloatArray,
    compactness: FloatArray,
    chi: FloatArray,
) -> None:
    for t in range(len(p)):
        is_inside = _contains(tables.p_edges, p[t]) and _contains(tables.cos_theta_edges, cos_theta[t])
        if not is_inside or not math.isfinite(e_over_p[t] + compactness[t]):
            chi[t, :] = np.nan
            continue
        i, j = _interval(tables.p_edges, p[t]), _interval(tables.cos_theta_edges, cos_theta[t])
        score = _score(tables, tables.score[i, j], e_over_p[t], compactness[t])
        chi[t, 0] = _quantile(tables.quantiles[0, i, j], tables.chi, score)
        chi[t, 1] = chi[t, 2] = _quantile(tables.quantiles[1, i, j], tables.chi, score)


@kernel
def _contains(edges: FloatArray, value: float) -> bool:
    """Whether a value lies in the range of the edges; NaN does not."""
    return edges[0] <= value < edges[-1]


@kernel
def _interval(edges: FloatArray, value: float) -> int:
    """Return the interval of sorted edges that holds a value; beyond the ends the first or the last one.

    Counted: the tables are short, and the branches of a bisection cannot be predicted.
    """
    n = 0
    for i in range(1, len(edges) - 1):
        n += edges[i] <= value
    return n


@kernel
def _score(tables: EmcTables, score: FloatArray, e_over_p: float, compactness: float) -> float:
    """Return the score between its nodes (X, Y) in one bin."""
    x, fx = _node(tables.e_over_p, e_over_p)
    y, fy = _node(tables.compactness, compactness)
    low = score[x, y] * (1.0 - fy) + score[x, y + 1] * fy
    high = score[x + 1, y] * (1.0 - fy) + score[x + 1, y + 1] * fy
    return low * (1.0 - fx) + high * fx


@kernel
def _node(nodes: FloatArray, value: float) -> tuple[int, float]:
    """Return the node below a value and how far it is to the next, 0 to 1; beyond the ends, the ends."""
    i = _interval(nodes, value)
    return i, min(max((value - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0), 1.0)


@kernel
def _quantile(quantiles: FloatArray, chi: FloatArray, score: float) -> float:
    """Return the normal quantile of a score; beyond the ends along the line from the median to the end."""
    last, middle = len(chi) - 1, len(chi) // 2
    for end in (0, last):
        if (score > quantiles[end]) == (end == last) and score != quantiles[end]:
            slope = (chi[end] - chi[middle]) / (quantiles[end] - quantiles[middle])
            return chi[end] + slope * (score - quantiles[end])
    i = _interval(quantiles, score)
    width = quantiles[i + 1] - quantiles[i]
    share = (score - quantiles[i]) / width if width > 0.0 else 0.5
    return chi[i] + share * (chi[i + 1] - chi[i])


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
        _check_tables(kind, tracks)
    for i, j in np.ndindex(*shape):
        own = [_in_bin(tracks, i, j) for tracks in samples]
        score[i, j] = np.log(_density(own[0]) / _density(own[1]))
    for k, tracks in enumerate(samples):
        scores = _scores(tables, tracks)
        for i, j in np.ndindex(*shape):
            tables.quantiles[k, i, j] = np.quantile(scores[_is_in_bin(tracks, i, j)], ndtr(CHI))
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


def _check_tables(kind: str, tracks: ControlTracks) -> None:
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
