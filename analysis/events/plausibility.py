"""Whether the numbers of an ntuple can be what their units say: a forgotten millimetre costs signal in silence.

A column's typical size is the median of its absolute values that are not zero. Over all our samples and a file of BOSS
it varies by less than the factor between two units in use, so a median outside `TYPICAL` means another unit, or
something that is no such column. The sum of the energies of four tracks cannot exceed that of the beams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, FloatArray
from jpsi_lnv.analysis.constants import M_PION
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.events.schema import BRANCHES, COVARIANCE, HELIX, HYPOTHESIS_SUFFIXES, branch, conversion

# Column without the suffix of its hypothesis -> smallest and largest plausible median, in the unit of the table.
TYPICAL: Final[Mapping[str, tuple[float, float]]] = {
    "sqrt_s": (2.0, 6.0),
    "field": (0.5, 1.5),
    "ip_x": (0.0, 0.6),
    "ip_y": (0.0, 0.6),
    "ip_z": (0.0, 3.5),
    "Track_dr": (0.02, 1.0),
    "Track_phi0": (1.0, 5.0),
    "Track_kappa": (0.2, 15.0),
    "Track_dz": (0.05, 4.5),
    "Track_cov0": (1e-5, 5e-3),
    "Track_cov5": (1e-7, 1e-3),
    "Track_cov9": (1e-6, 2e-3),
    "Track_cov12": (2e-3, 0.5),
    "Track_tof_time": (1.0, 30.0),
    "Track_tof_path": (50.0, 300.0),
    "Track_tof_texp_e": (1.0, 30.0),
    "Track_tof_texp_mu": (1.0, 30.0),
    "Track_tof_texp_pi": (1.0, 30.0),
    "Track_tof_texp_k": (1.0, 30.0),
    "Track_tof_texp_p": (1.0, 50.0),
    "Track_tof_sigma": (0.01, 0.5),
    "Track_emc_energy": (0.02, 4.0),
    "Track_emc_e_seed": (0.01, 4.0),
    "Track_emc_e3x3": (0.01, 4.0),
    "Track_emc_e5x5": (0.01, 4.0),
    "Track_emc_second_moment": (1.0, 90.0),
    "Track_emc_x": (10.0, 200.0),
    "Track_emc_y": (10.0, 200.0),
    "Track_emc_z": (10.0, 300.0),
    "Shower_energy": (3e-3, 3.0),
    "Shower_x": (10.0, 200.0),
    "Shower_y": (10.0, 200.0),
    "Shower_z": (10.0, 300.0),
    "Shower_time": (0.1, 3000.0),
    "Shower_e_seed": (2e-3, 3.0),
    "Shower_e3x3": (2e-3, 3.0),
    "Shower_e5x5": (2e-3, 3.0),
    "Shower_second_moment": (1.0, 90.0),
}
# Units that are taken for ours, for the guess.
_OTHERS: Final[Mapping[str, tuple[str, ...]]] = {
    "GeV": ("MeV", "keV", "TeV"),
    "c/GeV": ("c/MeV", "c/keV", "c/TeV"),
    "cm": ("mm", "m", "um"),
    "ns": ("ps", "us", "s"),
    "T": ("kG", "G"),
    "rad": ("deg", "mrad"),
    "cm^2": ("mm^2", "m^2"),
    "cm * cm": ("mm * mm", "m * m"),
    "rad * rad": ("deg * deg", "mrad * mrad"),
    "c/GeV * c/GeV": ("c/MeV * c/MeV",),
}
# Values, or events of four tracks, below which nothing is said.
N_MIN: Final = 20
# Share of sqrt(s) that the energies of four tracks may have together, for half of the events.
ENERGY_SUM_MAX: Final = 1.2
_N_TRACKS: Final = 4
_CORRELATION_MAX: Final = 1.01


def doubts(columns: Columns) -> list[str]:
    """Return a line for every column whose numbers cannot be what their units say.

    Args:
        columns: The first events of a dataset, as they are before any selection.
    """
    found = [line for name in BRANCHES if (line := _doubt(columns, name)) is not None]
    return [*found, *_correlations(columns), *_energy_sum(columns)]


def _doubt(columns: Columns, name: str) -> str | None:
    collection, column = BRANCHES[name]
    low, high = TYPICAL.get(_without_suffix(name), (0.0, np.inf))
    if not columns.has(collection, column.name):
        return None
    values = columns.flat(collection, column.name) if collection else columns.scalar(name)
    size = typical(values)
    if size is None or low <= size <= high:
        return None
    likely = likely_unit(name, values)
    guess = f"it looks like {likely}" if likely else "it is no such column"
    return (
        f"column {name}: typical size {size:.4g} {column.unit}; wanted {low:g} to {high:g}: {guess}; give its unit in "
        "the mapping, or pass --trust-units"
    )


def likely_unit(name: str, values: AnyArray) -> str | None:
    """Return the unit in which values of a column have a plausible size, ours if it may be; None if none is known."""
    unit, size = BRANCHES[name][1].unit, typical(values)
    low, high = TYPICAL.get(_without_suffix(name), (np.inf, 0.0))
    candidates = () if size is None else (unit, *_OTHERS.get(unit, ()))
    return next((u for u in candidates if low <= (size or 0.0) * conversion(u, unit) <= high), None)


def _without_suffix(name: str) -> str:
    stem, underscore, suffix = name.rpartition("_")
    is_refit = underscore + suffix in HYPOTHESIS_SUFFIXES and stem.removeprefix("Track_") in (*HELIX, *COVARIANCE)
    return stem if is_refit else name


def typical(values: AnyArray) -> float | None:
    """Return the median of the absolute values that are not zero; None if they are few."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    sizes = sizes[sizes > 0]
    return float(np.median(sizes)) if len(sizes) >= N_MIN else None


def _correlations(columns: Columns) -> Iterator[str]:
    """Say which covariances are larger than the variances allow."""
    pairs = [(i, j) for i in range(len(HELIX)) for j in range(i, len(HELIX))]
    if not all(columns.has("Track", name) for name in COVARIANCE):
        return
    of_pair = {pair: _flat(columns, name) for pair, name in zip(pairs, COVARIANCE, strict=True)}
    for (i, j), name in zip(pairs, COVARIANCE, strict=True):
        scale = np.sqrt(np.abs(of_pair[i, i] * of_pair[j, j]))
        size = typical(np.divide(of_pair[i, j], scale, where=scale > 0, out=np.zeros_like(scale)))
        if i != j and size is not None and size > _CORRELATION_MAX:
            yield (
                f"column {branch('Track', name)}: typical correlation {size:.3g} of {HELIX[i]} and {HELIX[j]}; wanted "
                "at most 1: its unit is not the product of theirs, or elements were exchanged; give its unit in the "
                "mapping, or pass --trust-units"
            )


def _energy_sum(columns: Columns) -> Iterator[str]:
    """Say so if events of four tracks have more energy than the beams."""
    offsets = columns.offsets("Track")
    of_four = np.diff(offsets) == _N_TRACKS
    if np.count_nonzero(of_four) < N_MIN:
        return
    kappa, tanl = (_flat(columns, name) for name in ("kappa", "tanl"))
    energy = np.sqrt((1.0 + tanl**2) / np.maximum(np.abs(kappa), np.finfo(np.float32).tiny) ** 2 + M_PION**2)
    sums = energy[offsets[:-1][of_four][:, None] + np.arange(_N_TRACKS)].sum(axis=1)
    share = float(np.median(sums / np.asarray(columns.scalar("sqrt_s"), dtype=np.float64)[of_four]))
    if share > ENERGY_SUM_MAX:
        yield (
            f"columns Track_kappa, Track_tanl: four tracks have {share:.3g} times the energy sqrt_s of the beams; "
            f"wanted at most {ENERGY_SUM_MAX}: the unit of a momentum or of sqrt_s is another; or pass --trust-units"
        )


def _flat(columns: Columns, name: str) -> FloatArray:
    return np.asarray(columns.flat("Track", name), dtype=np.float64)
