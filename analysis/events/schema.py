"""The column table: the one contract of the ntuple, the simulation, the `.dst` reader and the processors.

On disk a collection `Track` is one counter `nTrack` and one jagged branch `Track_<name>` per column; event scalars have
no prefix. Floats are float32 on disk. Helix parameters follow BOSS: pivot at the origin, kappa = charge / pT, momentum
direction phi0 + 90 degrees, covariance as the 15 elements of the upper triangle, row by row.

The set `dr … cov14` is the fit under the pion hypothesis. Files whose tracks were refitted per mass hypothesis, as real
BOSS tracks are, have the sets `dr_e … cov14_e`, `…_k` and `…_p` as well; without them the one set serves all species.

A user's unit is a product of names with `*` and `/`, and powers with `^`, such as ``mm``, ``c/MeV`` or ``mrad * cm^2``;
the speed of light counts as 1: GeV, GeV/c and GeV/c^2 have one dimension.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

import numpy as np

from jpsi_lnv.analysis import constants
from jpsi_lnv.analysis.arrays import AnyArray

TREE: Final = "Events"
META_TREE: Final = "Meta"


@dataclass(frozen=True)
class Column:
    """One column: its name within the collection, its type on disk, unit, meaning, and whether every file has it.

    A `group` is what a skim of `.dst` files is told to keep beside the rest, see `GROUPS`; of its floats so many `bits`
    of the mantissa are kept as say what was measured: the others are noise that does not compress.
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    required: bool = True
    group: str = ""
    bits: int = 24


HELIX: Final = ("dr", "phi0", "kappa", "dz", "tanl")
COVARIANCE: Final = tuple(f"cov{i}" for i in range(15))
# Suffixes of the per-hypothesis helix sets; the pion set has none.
HYPOTHESIS_SUFFIXES: Final = ("_e", "_k", "_p")
# What a skim may keep for those who identify particles again, without the `.dst`; the search reads none of it.
GROUPS: Final = {
    "pid": "TOF records of counters and clusters, extrapolations, shower shapes, the MDC's own helix, times of events",
    "ends": "with pid: the TOF records of the single ends of counters too",
    "muon": "muon chambers, and the helix under the muon hypothesis",
    "v0": "pairs of tracks from a common vertex, as BOSS fitted them",
}
# Hypotheses of dE/dx and TOF columns.
PID_HYPOTHESES: Final = constants.PID_HYPOTHESES

_HELIX_UNITS = {"dr": "cm", "phi0": "rad", "kappa": "c/GeV", "dz": "cm", "tanl": ""}
_HELIX_MEANINGS = {
    "dr": "signed distance of closest approach to the pivot in xy",
    "phi0": "azimuth of the point of closest approach",
    "kappa": "charge over transverse momentum",
    "dz": "z of the point of closest approach",
    "tanl": "tangent of the dip angle",
}
# What it keeps if it is told nothing: what no column of the table could be computed from again. Pairs of tracks can.
KEPT: Final = ("pid", "muon")


def _kept(group: str, dtype: str, columns: dict[str, tuple[str, str]], bits: int = 16) -> tuple[Column, ...]:
    """Return the columns of a group: name -> unit and meaning."""
    return tuple(Column(name, dtype, *what, required=False, group=group, bits=bits) for name, what in columns.items())


def _helix_columns(suffix: str, *, required: bool) -> tuple[Column, ...]:
    of = {"": "pion", "_e": "electron", "_k": "kaon", "_p": "proton"}[suffix]
    helix = tuple(
        Column(n + suffix, "float32", _HELIX_UNITS[n], f"{_HELIX_MEANINGS[n]} ({of} hypothesis)", required)
        for n in HELIX
    )
    pairs = [(a, b) for i, a in enumerate(HELIX) for b in HELIX[i:]]
    cov = tuple(
        Column(
            n + suffix,
            "float32",
            f"{_HELIX_UNITS[a] or '1'} * {_HELIX_UNITS[b] or '1'}",
            f"covariance of {a} and {b} ({of} hypothesis)",
            required,
        )
        for n, (a, b) in zip(COVARIANCE, pairs, strict=True)
    )
    return helix + cov


EVENT: Final = (
    Column("run", "int32", "", "run number"),
    Column("event", "int64", "", "event number within the run"),
    Column("sqrt_s", "float32", "GeV", "centre-of-mass energy"),
    Column("ip_x", "float32", "cm", "x of the interaction point"),
    Column("ip_y", "float32", "cm", "y of the interaction point"),
    Column("ip_z", "float32", "cm", "z of the interaction point"),
    Column("field", "float32", "T", "magnetic field"),
    Column("period", "int32", "", "data-taking period: 2009, 2012 or 2018 (2017-19)"),
    *(
        Column(f"ip_sigma_{axis}", "float32", "cm", f"spread of the collisions in {axis}", required=False)
        for axis in "xyz"
    ),
    *(
        Column(f"beam_{name}", "float32", "GeV", f"{what} of both beams together", required=False)
        for name, what in {"px": "x momentum", "py": "y momentum", "pz": "z momentum", "energy": "energy"}.items()
    ),
    *_kept("pid", "int64", {"time": ("s", "when the event was taken, since 1970")}),
    *_kept("pid", "float32", {"t0": ("ns", "start of the event as the TOF counts; 0: no TOF record")}),
)

TRACK: Final = (
    Column("charge", "int8", "e", "charge, the sign of kappa"),
    *_helix_columns("", required=True),
    *(c for s in HYPOTHESIS_SUFFIXES for c in _helix_columns(s, required=False)),
    Column("n_hits", "int16", "", "hits in the MDC"),
    *(
        Column(f"dedx_chi_{h}", "float32", "sigma", f"(measured - expected)/sigma of dE/dx, {h} hypothesis")
        for h in PID_HYPOTHESES
    ),
    Column("dedx_norm_ph", "float32", "", "truncated mean of dE/dx, 1 for Bhabha electrons"),
    Column("dedx_n_hits", "int16", "", "good hits in dE/dx; 0: no measurement"),
    Column("tof_time", "float32", "ns", "time of flight"),
    Column("tof_path", "float32", "cm", "path length to the TOF"),
    *(Column(f"tof_texp_{h}", "float32", "ns", f"expected time of flight, {h} hypothesis") for h in PID_HYPOTHESES),
    Column("tof_sigma", "float32", "ns", "resolution of the time of flight; 0: no measurement"),
    Column("tof_quality", "int16", "", "1: good measurement; anything else is not used"),
    Column("emc_energy", "float32", "GeV", "energy of the matched EMC cluster; 0: no cluster"),
    Column("emc_e_seed", "float32", "GeV", "energy of the cluster's largest crystal"),
    Column("emc_e3x3", "float32", "GeV", "energy in 3x3 crystals around the seed"),
    Column("emc_e5x5", "float32", "GeV", "energy in 5x5 crystals around the seed"),
    Column("emc_second_moment", "float32", "cm^2", "second moment of the cluster"),
    Column("emc_lat_moment", "float32", "", "lateral moment of the cluster"),
    Column("emc_x", "float32", "cm", "x of the cluster"),
    Column("emc_y", "float32", "cm", "y of the cluster"),
    Column("emc_z", "float32", "cm", "z of the cluster"),
    Column("gen", "int16", "", "index of the generated particle in `Gen`; -1: none", required=False),
    *_kept(
        "pid", "float32", {f"{n}_mdc": (_HELIX_UNITS[n], f"{_HELIX_MEANINGS[n]} (fit of the MDC alone)") for n in HELIX}
    ),
    *_kept("pid", "int16", {"mdc_status": ("", "status of the MDC's fit; -222: a copy of another track")}),
    *_kept(
        "pid",
        "float32",
        {
            "ext_z1": ("cm", "z of the extrapolation at the TOF's first layer or end cap"),
            "ext_z2": ("cm", "z of the extrapolation at the TOF's second layer"),
            "ext_rho": (
                "cm",
                "distance from the axis of the extrapolation at the first layer or end cap",
            ),
            "emc_a20": ("", "Zernike moment 20 of the cluster"),
            "emc_a42": ("", "Zernike moment 42 of the cluster"),
            "emc_dtheta": ("rad", "polar angle, cluster minus extrapolation; 0: one of them is missing"),
            "emc_dphi": ("rad", "azimuth, cluster minus extrapolation; 0: one of them is missing"),
        },
    ),
    *_kept("pid", "int32", {"emc_volume": ("", "volume of the EMC that the extrapolation reaches; -1: none")}),
    *_kept("muon", "float32", {f"{n}_mu": (_HELIX_UNITS[n], f"{_HELIX_MEANINGS[n]} (muon hypothesis)") for n in HELIX}),
    *_kept(
        "muon",
        "float32",
        {
            "muc_depth": ("cm", "depth in the muon chambers; 0: no track there"),
            "muc_chi2": ("", "chi2 of the track in the muon chambers"),
            "muc_distance": ("cm", "distance of the first hit from the extrapolation"),
            "muc_dphi": ("rad", "angle between the track in the muon chambers and the extrapolation"),
        },
    ),
    *_kept(
        "muon",
        "int16",
        {
            "muc_status": ("", "status of the track in the muon chambers as BOSS has it; -1: no good one"),
            "muc_dof": ("", "degrees of freedom of the same fit"),
            "muc_n_hits": ("", "hits in the muon chambers"),
            "muc_n_layers": ("", "layers with hits"),
            "muc_max_hits": ("", "most hits in a layer"),
            "muc_last_barrel": ("", "last layer with hits in the barrel"),
            "muc_last_endcap": ("", "last layer with hits in an end cap"),
        },
    ),
    *_kept(
        "muon",
        "int32",
        {"muc_volume": ("", "volume of the muon chambers that the extrapolation reaches; -1: none, or no track there")},
    ),
)

TOF: Final = (
    *_kept(
        "pid",
        "int16",
        {
            "track": ("", "index of the track in `Track`"),
            "counter": ("", "number of the counter; of an MRPC, 12 counters + strip"),
        },
    ),
    *_kept("pid", "int32", {"status": ("", "bits: 0 raw, 1 readout, 2 counter, 3 cluster, 4 barrel, 6-7 layer")}),
    *_kept(
        "pid",
        "float32",
        {
            "time": ("ns", "time of flight"),
            **{f"texp_{h}": ("ns", f"expected time of flight, {h} hypothesis") for h in PID_HYPOTHESES},
        },
        bits=18,
    ),
    *_kept(
        "pid",
        "float32",
        {
            "sigma": ("ns", "resolution; 0: not given"),
            **{f"offset_{h}": ("ns", f"offset of the time, {h} hypothesis, to 0.02 ps") for h in PID_HYPOTHESES},
        },
    ),
)

V0: Final = (
    *_kept(
        "v0",
        "int16",
        {
            "kind": ("", "0: K0_S, 1: Lambda, 2: anti-Lambda, 3: conversion"),
            "track_a": ("", "index of the first track in `Track`; -1: none"),
            "track_b": ("", "index of the second track in `Track`; -1: none"),
        },
    ),
    *_kept(
        "v0",
        "float32",
        {
            "chi2": ("", "chi2 of the vertex fit"),
            "mass": ("GeV/c^2", "mass of the pair"),
            **{f"p{axis}": ("GeV/c", f"{axis} momentum") for axis in "xyz"},
            **{f"v{axis}": ("cm", f"{axis} of the vertex") for axis in "xyz"},
        },
    ),
)

SHOWER: Final = (
    Column("energy", "float32", "GeV", "energy"),
    Column("x", "float32", "cm", "x of the shower"),
    Column("y", "float32", "cm", "y of the shower"),
    Column("z", "float32", "cm", "z of the shower"),
    Column("time", "float32", "ns", "time after the event start"),
    Column("e_seed", "float32", "GeV", "energy of the largest crystal"),
    Column("e3x3", "float32", "GeV", "energy in 3x3 crystals"),
    Column("e5x5", "float32", "GeV", "energy in 5x5 crystals"),
    Column("second_moment", "float32", "cm^2", "second moment"),
)

GEN: Final = (
    Column("pdg_id", "int32", "", "PDG code", required=False),
    Column("mother", "int16", "", "index of the mother in `Gen`; -1: none", required=False),
    Column("px", "float32", "GeV/c", "x momentum", required=False),
    Column("py", "float32", "GeV/c", "y momentum", required=False),
    Column("pz", "float32", "GeV/c", "z momentum", required=False),
    Column("energy", "float32", "GeV", "energy", required=False),
    Column("vx", "float32", "cm", "x of the production vertex", required=False),
    Column("vy", "float32", "cm", "y of the production vertex", required=False),
    Column("vz", "float32", "cm", "z of the production vertex", required=False),
)

# Collection name -> columns; the empty name holds the event scalars.
COLLECTIONS: Final[dict[str, tuple[Column, ...]]] = {
    "": EVENT,
    "Track": TRACK,
    "Shower": SHOWER,
    "Gen": GEN,
    "Tof": TOF,
    "V0": V0,
}


# Collections that a file may lack as a whole: only some selections read them (`analysis.datasets.PHOTON_SELECTIONS`).
OPTIONAL: Final = ("Shower",)


def branch(collection: str, column: str) -> str:
    """Return the branch name of a column, such as ``Track_kappa`` or ``run``."""
    return f"{collection}_{column}" if collection else column


# Branch name -> (collection, column).
BRANCHES: Final[dict[str, tuple[str, Column]]] = {
    branch(name, column.name): (name, column) for name, columns in COLLECTIONS.items() for column in columns
}


def rounded(values: AnyArray, bits: int) -> AnyArray:
    """Return finite float32 numbers with so many bits of the mantissa, of 24."""
    dropped = 24 - bits
    if not dropped:
        return values
    return ((values.view(np.uint32) + np.uint32(1 << (dropped - 1))) & ~np.uint32((1 << dropped) - 1)).view(np.float32)


# One row per source file of an ntuple: an unskimmed file has one row.
META: Final = (
    Column("n_produced", "int64", "", "events generated or recorded, authoritative for normalisation"),
    Column("n_stored", "int64", "", "events of this source that the file holds"),
    Column("source_hi", "uint64", "", "first half of the source file's UUID; 0: generated here"),
    Column("source_lo", "uint64", "", "second half of the source file's UUID"),
    Column("first_entry", "int64", "", "first entry of the source file that was looked at"),
    Column("end_entry", "int64", "", "one more than the last entry of the source file that was looked at"),
)


def required_branches() -> tuple[str, ...]:
    """Return the branches every ntuple has, in the order of the table; those of `OPTIONAL` collections too."""
    return tuple(branch(name, c.name) for name, columns in COLLECTIONS.items() for c in columns if c.required)


def lacking(present: Container[str]) -> tuple[str, ...]:
    """Return the collections of `OPTIONAL` of which no branch is there."""
    return tuple(
        name for name in OPTIONAL if not any(branch(name, column.name) in present for column in COLLECTIONS[name])
    )


def missing_branches(present: Container[str]) -> list[str]:
    """Return the required branches that are not there, but for those of collections that are lacking as a whole."""
    allowed = lacking(present)
    return [name for name in required_branches() if name not in present and BRANCHES[name][0] not in allowed]


# Name -> (value in cm, GeV, ns, rad, T; dimension).
_ATOMS: Final[dict[str, tuple[float, str]]] = {
    "um": (1e-4, "length"),
    "mm": (0.1, "length"),
    "cm": (1.0, "length"),
    "m": (100.0, "length"),
    "keV": (1e-6, "energy"),
    "MeV": (1e-3, "energy"),
    "GeV": (1.0, "energy"),
    "TeV": (1e3, "energy"),
    "ps": (1e-3, "time"),
    "ns": (1.0, "time"),
    "us": (1e3, "time"),
    "s": (1e9, "time"),
    "mrad": (1e-3, ""),
    "rad": (1.0, ""),
    "deg": (0.017453292519943295, ""),
    "G": (1e-4, "field"),
    "kG": (0.1, "field"),
    "T": (1.0, "field"),
    "c": (1.0, ""),
    "e": (1.0, ""),
    "sigma": (1.0, ""),
    "1": (1.0, ""),
}
_TERM: Final = re.compile(r"([*/]?)\s*([A-Za-z]+|1)(?:\^(-?\d+))?\s*")


def conversion(given: str, wanted: str) -> float:
    """Return the number that turns a value in the given unit into one in the wanted unit.

    Raises:
        ValueError: A unit is not known, or the two measure different things.
    """
    (value, dimension), (wanted_value, wanted_dimension) = _parse(given), _parse(wanted)
    if dimension != wanted_dimension:
        msg = f"{given!r} does not convert to {wanted!r}"
        raise ValueError(msg)
    return value / wanted_value


def _parse(unit: str) -> tuple[float, dict[str, int]]:
    """Return the value of a unit and the powers of its dimensions."""
    value, powers, place = 1.0, dict[str, int](), 0
    text = unit.strip()
    while place < len(text):
        term = _TERM.match(text, place)
        if term is None or term[2] not in _ATOMS or (place > 0) != bool(term[1]):
            msg = f"unit {unit!r} is not known; wanted products of {', '.join(_ATOMS)}"
            raise ValueError(msg)
        power = int(term[3] or 1) * (-1 if term[1] == "/" else 1)
        size, dimension = _ATOMS[term[2]]
        value *= size**power
        powers[dimension] = powers.get(dimension, 0) + power
        place = term.end()
    return value, {d: p for d, p in powers.items() if d and p}
