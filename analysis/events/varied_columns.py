"""Systematic variations of tracks: a chunk's columns with some of them changed, the rest shared with the original.

Random changes depend on run, event and the track's place alone: any chunking, same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray, IntArray
from jpsi_lnv.analysis.events.columns import Columns

Change = Callable[[Columns], AnyArray]

# Size of each variation.
MOMENTUM_SCALE: Final = 0.001
RESOLUTION: Final = 0.10
DEDX_SHIFT: Final = 0.10
TOF_SHIFT: Final = 0.005
ENERGY_SCALE: Final = 0.005
HYPOTHESES: Final = ("e", "mu", "pi", "k", "p")
SUFFIXES: Final = ("", "_e", "_k", "_p")
# What each helix parameter is smeared by: name -> its variance in the covariance.
VARIANCES: Final[Mapping[str, str]] = {"dr": "cov0", "phi0": "cov5", "kappa": "cov9", "dz": "cov12", "tanl": "cov14"}


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


def smeared(name: str, suffix: str, extra: float) -> Change:
    """Return the change that smears a helix parameter so that its error grows by a relative `extra`.

    Smearing by sqrt((1 + extra)^2 - 1) of the quoted error widens the pulls, which the covariance does not know:
    BESIII corrects its simulation this way until the pulls are those of the data.
    """
    width = float(np.sqrt((1.0 + extra) ** 2 - 1.0))

    def change(columns: Columns) -> AnyArray:
        values = columns.flat("Track", name + suffix)
        variance = columns.flat("Track", VARIANCES[name] + suffix).astype(np.float64)
        noise = normal(columns, stream=list(VARIANCES).index(name))
        return (values + width * np.sqrt(np.maximum(variance, 0.0)) * noise).astype(values.dtype)

    return change


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
    return {name + s: smeared(name, s, extra) for name in VARIANCES for s in sets}


def _dedx(shift: float) -> dict[str, Change]:
    return {f"dedx_chi_{h}": shifted(f"dedx_chi_{h}", shift) for h in HYPOTHESES}


def variations(columns: Columns) -> dict[str, VariedColumns]:
    """Return every variation of a chunk.

    Names and sizes: ``momentum_scale_up/down`` 0.1 %, ``resolution`` 10 % wider pulls of all helix parameters,
    ``dedx_up/down`` 0.1 sigma, ``tof_up/down`` 5 ps, ``emc_up/down`` 0.5 % of the energy.
    """
    changes = {
        "momentum_scale_up": _helix_scale(columns, 1.0 / (1.0 + MOMENTUM_SCALE)),
        "momentum_scale_down": _helix_scale(columns, 1.0 / (1.0 - MOMENTUM_SCALE)),
        "resolution": _helix_smear(columns, RESOLUTION),
        "dedx_up": _dedx(DEDX_SHIFT),
        "dedx_down": _dedx(-DEDX_SHIFT),
        "tof_up": {"tof_time": shifted("tof_time", TOF_SHIFT)},
        "tof_down": {"tof_time": shifted("tof_time", -TOF_SHIFT)},
        "emc_up": {"emc_energy": scaled("emc_energy", 1.0 + ENERGY_SCALE)},
        "emc_down": {"emc_energy": scaled("emc_energy", 1.0 - ENERGY_SCALE)},
    }
    return {name: VariedColumns(columns, of) for name, of in changes.items()}
