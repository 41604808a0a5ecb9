"""Systematic variations of tracks: a chunk's columns with some of them changed, the rest shared with the original.

Random changes depend on run, event and the track's place alone: any chunking, same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray, IntArray
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.events.schema import COVARIANCE, HELIX

Change = Callable[[Columns], AnyArray]

# Size of each variation.
MOMENTUM_SCALE: Final = 0.001
RESOLUTION: Final = 0.10
DEDX_SHIFT: Final = 0.10
TOF_SHIFT: Final = 0.005
ENERGY_SCALE: Final = 0.005
HYPOTHESES: Final = ("e", "mu", "pi", "k", "p")
SUFFIXES: Final = ("", "_e", "_k", "_p")
# Share of the clusters that lose energy in another model of the showers, and the mean share that they lose.
SHOWER_SHARE: Final = 0.03
SHOWER_SCALE: Final = 0.10


class VariedColumns:
    """Columns of a chunk with changes to some track columns, each computed at its first use.

    Args:
        columns: The chunk; what is not changed is read from it once for all variations.
        changes: Track column -> function of the chunk that returns its new values.
    """

    def __init__(self, columns: Columns, changes: Mapping[str, Change]) -> None:
        self._columns = columns
        self._changes = changes
        self._cache: dict[str, AnyArray] = {}
        self.n_events = columns.n_events

    def offsets(self, collection: str) -> IntArray:
        """Return the offsets of a collection."""
        return self._columns.offsets(collection)

    def flat(self, collection: str, name: str) -> AnyArray:
        """Return a column of a collection, changed where the variation says so."""
        if collection != "Track" or name not in self._changes:
            return self._columns.flat(collection, name)
        if name not in self._cache:
            self._cache[name] = self._changes[name](self._columns)
        return self._cache[name]

    def scalar(self, name: str) -> AnyArray:
        """Return an event scalar."""
        return self._columns.scalar(name)

    def has(self, collection: str, name: str) -> bool:
        """Whether the column exists."""
        return self._columns.has(collection, name)


def scaled(name: str, factor: float) -> Change:
    """Return the change that multiplies a track column."""
    return lambda columns: columns.flat("Track", name) * np.float32(factor)


def shifted(name: str, shift: float) -> Change:
    """Return the change that adds to a track column."""
    return lambda columns: columns.flat("Track", name) + np.float32(shift)


def smeared(suffix: str, extra: float) -> dict[str, Change]:
    """Return the changes that smear a set of helices so that its errors grow by a relative `extra`.

    Smearing by sqrt((1 + extra)^2 - 1) of the quoted error, with the correlations of the covariance, widens the pulls,
    which the covariance does not know: BESIII corrects its simulation this way until the pulls are those of the data.
    """
    width = float(np.sqrt((1.0 + extra) ** 2 - 1.0))
    moves: dict[int, FloatArray] = {}

    def change(columns: Columns, i: int) -> AnyArray:
        if id(columns) not in moves:
            moves.clear()
            moves[id(columns)] = width * correlated(columns, suffix)
        values = columns.flat("Track", HELIX[i] + suffix)
        return (values + moves[id(columns)][:, i]).astype(values.dtype)

    return {name + suffix: partial(change, i=i) for i, name in enumerate(HELIX)}


def correlated(columns: Columns, suffix: str) -> FloatArray:
    """Return normal numbers with the covariances of the tracks, (n, 5): lower triangles times independent ones."""
    lower = lower_triangles([columns.flat("Track", name + suffix).astype(np.float64) for name in COVARIANCE])
    noise = np.stack([normal(columns, stream) for stream in range(len(HELIX))], axis=-1)
    return np.asarray(np.einsum("nij,nj->ni", lower, noise))


def lower_triangles(upper: Sequence[FloatArray]) -> FloatArray:
    """Return L with L L^T = V of covariances given as 15 columns, (n, 5, 5), row by row (Cholesky).

    Where a matrix is not positive definite, the parameters that make it so do not move.
    """
    size = len(HELIX)
    covariance = np.zeros((len(upper[0]), size, size))
    for (i, j), values in zip(combinations_with_replacement(range(size), 2), upper, strict=True):
        covariance[:, j, i] = values
    lower = np.zeros_like(covariance)
    for j in range(size):
        rest = covariance[:, j, j] - (lower[:, j, :j] ** 2).sum(axis=1)
        is_good = rest > 0.0
        lower[:, j, j] = np.sqrt(np.where(is_good, rest, 0.0))
        for i in range(j + 1, size):
            left = covariance[:, i, j] - (lower[:, i, :j] * lower[:, j, :j]).sum(axis=1)
            lower[is_good, i, j] = left[is_good] / lower[is_good, j, j]
    return lower


def lossy_showers(columns: Columns) -> AnyArray:
    """Return cluster energies of which a share has lost an exponential part: another model of the showers."""
    energy = columns.flat("Track", "emc_energy")
    chosen, loss = (special.ndtr(normal(columns, len(HELIX) + i)) for i in range(2))
    kept = np.where(chosen < SHOWER_SHARE, np.maximum(1.0 + SHOWER_SCALE * np.log1p(-loss), 0.0), 1.0)
    return (energy * kept).astype(energy.dtype)


def normal(columns: Columns, stream: int) -> FloatArray:
    """Return one standard normal number per track, from run, event, place in the event and stream."""
    offsets = columns.offsets("Track")
    counts = np.diff(offsets)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    run, event = (np.repeat(columns.scalar(name), counts).astype(np.int64) for name in ("run", "event"))
    key = _mix(_mix(_mix(run.view(np.uint64)) ^ event.view(np.uint64)) ^ np.uint64(stream + 1))
    bits = _mix(key ^ place.astype(np.uint64)) >> np.uint64(11)
    return special.ndtri((bits.astype(np.float64) + 0.5) * 2.0**-53)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the SplitMix64 finaliser of numbers (Steele, Lea, Flood, doi:10.1145/2660193.2660195)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _helix_scale(columns: Columns, factor: float) -> dict[str, Change]:
    return {f"kappa{s}": scaled(f"kappa{s}", factor) for s in SUFFIXES if columns.has("Track", f"kappa{s}")}


def _helix_smear(columns: Columns, extra: float) -> dict[str, Change]:
    sets = [s for s in SUFFIXES if columns.has("Track", f"kappa{s}")]
    return {name: change for s in sets for name, change in smeared(s, extra).items()}


def _dedx(shift: float) -> dict[str, Change]:
    return {f"dedx_chi_{h}": shifted(f"dedx_chi_{h}", shift) for h in HYPOTHESES}


def variations(columns: Columns) -> dict[str, VariedColumns]:
    """Return every variation of a chunk.

    Names and sizes: ``momentum_scale_up/down`` 0.1 %, ``resolution`` 10 % wider pulls of all helix parameters,
    ``dedx_up/down`` 0.1 sigma, ``tof_up/down`` 5 ps, ``emc_up/down`` 0.5 % of the energy, ``showers`` 3 % of the
    clusters with a tail of 10 %.
    """
    changes: dict[str, Mapping[str, Change]] = {
        "momentum_scale_up": _helix_scale(columns, 1.0 / (1.0 + MOMENTUM_SCALE)),
        "momentum_scale_down": _helix_scale(columns, 1.0 / (1.0 - MOMENTUM_SCALE)),
        "resolution": _helix_smear(columns, RESOLUTION),
        "dedx_up": _dedx(DEDX_SHIFT),
        "dedx_down": _dedx(-DEDX_SHIFT),
        "tof_up": {"tof_time": shifted("tof_time", TOF_SHIFT)},
        "tof_down": {"tof_time": shifted("tof_time", -TOF_SHIFT)},
        "emc_up": {"emc_energy": scaled("emc_energy", 1.0 + ENERGY_SCALE)},
        "emc_down": {"emc_energy": scaled("emc_energy", 1.0 - ENERGY_SCALE)},
        "showers": {"emc_energy": lossy_showers},
    }
    return {name: VariedColumns(columns, of) for name, of in changes.items()}
