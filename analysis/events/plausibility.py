"""Whether the numbers of an ntuple can be what their units say: a forgotten millimetre costs signal in silence.

A column's typical size is the median of its absolute values that are not zero. Over all our samples and a file of BOSS
it varies by less than the factor between two units in use, so a median outside `TYPICAL` means another unit, or
something that is no such column. The sum of the energies of four tracks cannot exceed that of the beams, and most
tracks come from the interaction point, which may be small in any unit. A track has the charge that its curvature says,
and points at its cluster, which columns of different tracks would not. Of tracks of one momentum that which loses more
energy has the larger chi of dE/dx under every hypothesis, and slow protons are expected to lose more than kaons: so a
chi with the other sign is seen, whatever the tracks are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.constants import M_PION, PID_HYPOTHESES
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
# Those of them that may be negative.
_SIGNED: Final = frozenset(
    {"ip_x", "ip_y", "ip_z", "Track_dr", "Track_phi0", "Track_kappa", "Track_dz", "Shower_time"}
    | {branch(name, axis) for name in ("Shower", "Track") for axis in ("x", "y", "z", "emc_x", "emc_y", "emc_z")}
)
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
# Share of values that may be negative where none should be, and of tracks whose charge is not the sign of their kappa.
NEGATIVE_MAX: Final = 0.01
CHARGE_MAX: Final = 0.05
# Angle in rad between a track and its cluster in the polar direction, for half of them; below 0.012 in our samples.
CLUSTER_MAX: Final = 0.03
# Share of sqrt(s) that the energies of four tracks may have together, for half of the events.
ENERGY_SUM_MAX: Final = 1.2
_N_TRACKS: Final = 4
# Distance in cm between the interaction point and where tracks come from: in xy, where the beams are thin, and along
# them. In all our samples it is below 0.003 and 0.02; and in units of its uncertainty.
POINT_MAX: Final = {"xy": 0.05, "z": 0.5}
_POINT_SIGMA: Final = 5.0
# Distance in cm from which a track comes from elsewhere; passes of the fit without those that are far from it.
_FAR: Final = 3.0
_PASSES: Final = 3
_CORRELATION_MAX: Final = 1.01
# Momenta in GeV/c at which a proton loses more energy than a kaon, and how far apart two may be that are compared.
SLOW: Final = (0.2, 0.6)
_SAME_MOMENTUM: Final = 0.01
# Standard deviations from one half, below which the share of pairs that rise together means that they do not.
_SIGNS_SIGMA: Final = 3.0


def doubts(columns: Columns) -> list[str]:
    """Return a line for every column whose numbers cannot be what their units say.

    Args:
        columns: The first events of a dataset, as they are before any selection.
    """
    found = [line for name in BRANCHES if (line := _doubt(columns, name)) is not None]
    of_several = (_correlations, _energy_sum, _interaction_point, _charges, _clusters, _dedx_signs)
    return [*found, *(line for doubt in of_several for line in doubt(columns))]


def _doubt(columns: Columns, name: str) -> str | None:
    collection, column = BRANCHES[name]
    low, high = TYPICAL.get(_without_suffix(name), (0.0, np.inf))
    if not columns.has(collection, column.name):
        return None
    values = columns.flat(collection, column.name) if collection else columns.scalar(name)
    size = typical(values)
    if size is None or low <= size <= high:
        return None if size is None else _negative(name, values)
    likely = likely_unit(name, values)
    guess = f"it looks like {likely}" if likely else "it is no such column"
    return (
        f"column {name}: typical size {size:.4g} {column.unit}; wanted {low:g} to {high:g}: {guess}; give its unit in "
        "the mapping, or pass --trust-units"
    )


def _negative(name: str, values: AnyArray) -> str | None:
    plain = _without_suffix(name)
    share = np.count_nonzero(values < 0) / len(values)
    if plain not in TYPICAL or plain in _SIGNED or share <= NEGATIVE_MAX:
        return None
    return (
        f"column {name}: {share:.3g} of its values are negative, such as {values[np.argmax(values < 0)]:.6g}; wanted "
        "none, and 0 where nothing was measured; or pass --trust-units"
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
    energy = np.hypot(_momentum(columns), M_PION)
    sums = energy[offsets[:-1][of_four][:, None] + np.arange(_N_TRACKS)].sum(axis=1)
    share = float(np.median(sums / np.asarray(columns.scalar("sqrt_s"), dtype=np.float64)[of_four]))
    if share > ENERGY_SUM_MAX:
        yield (
            f"columns Track_kappa, Track_tanl: four tracks have {share:.3g} times the energy sqrt_s of the beams; "
            f"wanted at most {ENERGY_SUM_MAX}: the unit of a momentum or of sqrt_s is another; or pass --trust-units"
        )


def _charges(columns: Columns) -> Iterator[str]:
    """Say so if tracks have not the charge that their curvature says."""
    charge, kappa = _flat(columns, "charge"), _flat(columns, "kappa")
    differs = charge != np.sign(kappa)
    if len(charge) >= N_MIN and np.mean(differs) > CHARGE_MAX:
        first = int(np.argmax(differs))
        yield (
            f"columns Track_charge, Track_kappa: {np.mean(differs):.3g} of the tracks have not the sign of kappa as "
            f"their charge, such as charge {charge[first]:g} with kappa {kappa[first]:.3g}; wanted kappa = charge/pT, "
            "the charge 1 or -1; or pass --trust-units"
        )


def _clusters(columns: Columns) -> Iterator[str]:
    """Say so if tracks do not point at the clusters that are matched to them."""
    tanl, dz, x, y, z = (_flat(columns, name) for name in ("tanl", "dz", "emc_x", "emc_y", "emc_z"))
    distance = np.hypot(x, y)
    has_cluster = (_flat(columns, "emc_energy") > 0) & (distance > 0)
    if np.count_nonzero(has_cluster) < N_MIN:
        return
    angle = np.abs(np.arctan(tanl) - np.arctan2(z - dz, distance))[has_cluster]
    if (middle := float(np.median(angle))) > CLUSTER_MAX:
        yield (
            f"columns Track_tanl, Track_emc_z: half of the tracks are more than {middle:.3g} rad off their clusters; "
            f"wanted at most {CLUSTER_MAX:g}: tanl is no tangent of the dip angle, or the columns are of different "
            "tracks; or pass --trust-units"
        )


def _dedx_signs(columns: Columns) -> Iterator[str]:
    """Say so if a chi of dE/dx has another sign."""
    order = np.flatnonzero(_flat(columns, "dedx_n_hits") > 0)
    momentum = _momentum(columns)[order]
    order, momentum = order[np.argsort(momentum)], np.sort(momentum)
    chi = {name: _flat(columns, f"dedx_chi_{name}")[order] for name in PID_HYPOTHESES}
    slow = (momentum > SLOW[0]) & (momentum < SLOW[1])
    if np.count_nonzero(slow) < N_MIN:
        return
    falling = _falling(chi, np.diff(momentum) < _SAME_MOMENTUM)
    # Of kaons and protons, which are right or wrong together here, the order tells which.
    are_alike = ("k" in falling) == ("p" in falling)
    are_turned = np.median((chi["p"] - chi["k"])[slow]) > 0
    wrong = [n for n in chi if n not in falling] if are_alike and are_turned != ("k" in falling) else falling
    if wrong:
        names = ", ".join(branch("Track", f"dedx_chi_{name}") for name in wrong)
        yield (
            f"column{'s' * (len(wrong) > 1)} {names}: tracks that lose more energy at the same momentum have smaller "
            "values; wanted (measured - expected)/sigma: write the other sign, or pass --trust-units"
        )


def _falling(chi: Mapping[str, FloatArray], is_near: BoolArray) -> list[str]:
    """Return the hypotheses whose chi, in the order of momentum, falls where that of pions rises."""
    steps = {name: np.diff(values)[is_near] for name, values in chi.items()}
    least = 0.5 - _SIGNS_SIGMA * 0.5 / math.sqrt(is_near.sum() or 1)
    return [name for name, step in steps.items() if len(step) and np.mean(step * steps["pi"] >= 0) < least]


def _interaction_point(columns: Columns) -> Iterator[str]:
    """Say so if tracks come from another place than the interaction points.

    A track from (x, y) has dr = x cos phi0 + y sin phi0, but for its curvature, which has either sign.
    """
    dr, phi0, dz = (_flat(columns, name) for name in ("dr", "phi0", "dz"))
    if len(dr) < N_MIN:
        return
    number = np.diff(columns.offsets("Track"))
    x, y, z = (np.repeat(np.asarray(columns.scalar(f"ip_{axis}"), dtype=np.float64), number) for axis in "xyz")
    directions = np.stack([np.cos(phi0), np.sin(phi0)], axis=1)
    distance = dr - x * directions[:, 0] - y * directions[:, 1]
    place = {"xy": _origin(directions, distance), "z": _origin(np.ones((len(z), 1)), dz - z)}
    for axes, (shift, sigma) in place.items():
        if np.linalg.norm(shift) > max(POINT_MAX[axes], _POINT_SIGMA * sigma):
            names, off = ", ".join(f"ip_{axis}" for axis in axes), ", ".join(f"{value:+.3g}" for value in shift)
            yield (
                f"column{'s' * (len(axes) > 1)} {names}: tracks come from a point that is ({off}) cm away; wanted at "
                f"most {POINT_MAX[axes]:g}: its unit or sign is another, or that of Track_dr or Track_dz; or pass "
                "--trust-units"
            )


def _origin(directions: FloatArray, distance: FloatArray) -> tuple[FloatArray, float]:
    """Return the shift, (D,), that projects on directions, (N, D), as most distances, (N,), and its uncertainty."""
    is_near = np.abs(distance) < _FAR
    shift: FloatArray = np.zeros(directions.shape[1])
    width = 0.0
    for _ in range(_PASSES):
        if np.count_nonzero(is_near) < N_MIN:
            return np.zeros_like(shift), 0.0
        shift = np.asarray(np.linalg.lstsq(directions[is_near], distance[is_near])[0], dtype=np.float64)
        rest = np.abs(distance - directions @ shift)
        width = float(np.median(rest[is_near]))
        is_near = rest <= _FAR * width
    return shift, width / np.sqrt(np.count_nonzero(is_near))


def _momentum(columns: Columns) -> FloatArray:
    """Return the momenta of the tracks in GeV/c, (T,)."""
    kappa, tanl = (_flat(columns, name) for name in ("kappa", "tanl"))
    return np.hypot(1.0, tanl) / np.maximum(np.abs(kappa), np.finfo(np.float32).tiny)


def _flat(columns: Columns, name: str) -> FloatArray:
    return np.asarray(columns.flat("Track", name), dtype=np.float64)
