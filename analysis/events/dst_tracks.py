"""Charged tracks and showers of a BOSS `.dst` in the columns of the table.

BOSS keeps each detector's answer in a collection of its own, in an order of its own; `m_evtRecTrackCol` holds the
links. Its records with an MDC track are the charged tracks, those with a shower alone the neutral ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Records, take

# Suffix of the column table -> suffix of BOSS's members and the place of the hypothesis in its arrays (e mu pi K p).
HYPOTHESES: Final = {"": ("", 2), "_e": ("_e", 0), "_k": ("_k", 3), "_p": ("_p", 4)}
N_HELIX: Final = len(schema.HELIX)
N_HYPOTHESES: Final = len(schema.PID_HYPOTHESES)
# Of 6 resolutions per record BOSS fills the first.
N_TOF_SIGMA: Final = 6
# One count of the shower's clock in ns: the usual requirement 0 to 14 counts is 0 to 700 ns.
EMC_CLOCK: Final = 50.0
# `m_quality` of a good TOF measurement.
GOOD_QUALITY: Final = 1

_UPPER = np.triu_indices(N_HELIX)
_LOWER = np.tril_indices(N_HELIX)
_DEDX = {
    f"dedx_chi_{h}": f"m_chi{boss}" for h, boss in zip(schema.PID_HYPOTHESES, ("E", "Mu", "Pi", "K", "P"), strict=True)
}
_SHOWER = {
    "energy": "m_energy",
    "x": "m_x",
    "y": "m_y",
    "z": "m_z",
    "e_seed": "m_eSeed",
    "e3x3": "m_e3x3",
    "e5x5": "m_e5x5",
    "second_moment": "m_secondMoment",
}
_EMC = {f"emc_{name}": member for name, member in (_SHOWER | {"lat_moment": "m_latMoment"}).items()}


@dataclass(frozen=True)
class Event:
    """The collections that tracks and showers are made of.

    Attributes:
        links: `m_evtRecTrackCol`.
        kal: `m_mdcKalTrackCol`.
        mdc: `m_mdcTrackCol`.
        dedx: `m_mdcDedxCol`.
        tof: `m_tofTrackCol`.
        emc: `m_emcTrackCol`.
    """

    links: Records
    kal: Records
    mdc: Records
    dedx: Records
    tof: Records
    emc: Records


def track_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the charged tracks.

    Returns:
        Offsets ``(E + 1,)`` and the columns of `Track` by name, each ``(T,)``.
    """
    is_track = event.links.column("m_mdcTrackId") != NO_LINK
    owner = event.links.event[is_track]
    mdc = event.mdc.row(owner, event.links.column("m_mdcTrackId")[is_track])
    columns = _helices(event, owner, is_track, mdc)
    columns["charge"] = np.sign(columns["kappa"]).astype(np.int8)
    columns["n_hits"] = take(event.mdc.column("m_ndof").astype(np.int64) + N_HELIX, mdc, 0)
    columns |= _dedx(event.dedx, event.dedx.row(owner, event.links.column("m_mdcDedxId")[is_track]))
    columns |= _tof(event, is_track)
    columns |= _members(event.emc, _EMC, event.emc.row(owner, event.links.column("m_emcShowerId")[is_track]))
    return _offsets(event.links, is_track), columns


def shower_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the showers without a charged track: offsets ``(E + 1,)`` and the columns of `Shower`, each ``(N,)``."""
    number = event.links.column("m_emcShowerId")
    is_neutral = (event.links.column("m_mdcTrackId") == NO_LINK) & (number != NO_LINK)
    row = event.emc.row(event.links.event[is_neutral], number[is_neutral])
    columns = _members(event.emc, _SHOWER, row)
    columns["time"] = EMC_CLOCK * take(event.emc.column("m_time"), row, 0.0)
    return _offsets(event.links, is_neutral), columns


def mdc_covariance(m_err: FloatArray) -> FloatArray:
    """Return the covariances of `m_mdcTrackCol`, packed as the column table wants them.

    BOSS writes the upper triangle row by row; pybes3 up to 0.5.6 unpacks it as a lower one, which no track of a real
    file survives: the matrices are not positive definite. Read back in the order in which they were written they are.
    A reader that has this right is recognised by most of its matrices being positive definite.

    Args:
        m_err: (N, 5, 5) as pybes3 delivers them.

    Returns:
        (N, 15) upper triangles.
    """
    is_right = np.linalg.eigvalsh(m_err)[:, 0] > 0.0
    rows, columns = _UPPER if 2 * np.count_nonzero(is_right) > len(is_right) else _LOWER
    return np.asarray(m_err[:, rows, columns])


def _offsets(links: Records, chosen: BoolArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])[links.offsets]


def _members(records: Records, members: dict[str, str], row: IntArray) -> dict[str, AnyArray]:
    return {name: take(records.column(member), row, 0.0) for name, member in members.items()}


def _helices(event: Event, owner: IntArray, is_track: BoolArray, mdc: IntArray) -> dict[str, AnyArray]:
    """Return helix and covariance under every hypothesis: the Kalman fit, or where it failed the MDC's own fit."""
    kal = event.kal.row(owner, event.links.column("m_mdcKalTrackId")[is_track])
    stat = take(event.kal.column("m_stat", N_HYPOTHESES), kal, 1)
    out: dict[str, AnyArray] = {}
    for suffix, (boss, place) in HYPOTHESES.items():
        helix = take(event.kal.column(f"m_zhelix{boss}", N_HELIX), kal, np.nan)
        cov = take(event.kal.column(f"m_zerror{boss}", N_HELIX, N_HELIX), kal, np.nan)[:, _UPPER[0], _UPPER[1]]
        failed = (stat[:, place] != 0) | ~np.isfinite(helix).all(axis=1)
        if failed.any():
            helix[failed] = take(event.mdc.column("m_helix", N_HELIX), mdc[failed], np.nan)
            cov[failed] = take(mdc_covariance(event.mdc.column("m_err", N_HELIX, N_HELIX)), mdc[failed], np.nan)
        out |= {f"{name}{suffix}": helix[:, i] for i, name in enumerate(schema.HELIX)}
        out |= {f"{name}{suffix}": cov[:, i] for i, name in enumerate(schema.COVARIANCE)}
    return out


def _dedx(dedx: Records, row: IntArray) -> dict[str, AnyArray]:
    columns = _members(dedx, _DEDX | {"dedx_norm_ph": "m_normPH"}, row)
    columns["dedx_n_hits"] = take(dedx.column("m_numGoodHits").astype(np.int64), row, 0)
    return columns


def _tof(event: Event, is_track: BoolArray) -> dict[str, AnyArray]:
    row = best_tof_record(event, is_track)
    texp = take(event.tof.column("m_texp", N_HYPOTHESES), row, 0.0)
    return {
        "tof_time": take(event.tof.column("m_tof"), row, 0.0),
        "tof_path": take(event.tof.column("m_path"), row, 0.0),
        **{f"tof_texp_{h}": texp[:, i] for i, h in enumerate(schema.PID_HYPOTHESES)},
        "tof_sigma": take(event.tof.column("m_sigma", N_TOF_SIGMA)[:, 0], row, 0.0),
        "tof_quality": take(event.tof.column("m_quality").astype(np.int64), row, 0),
    }


def best_tof_record(event: Event, is_track: BoolArray) -> IntArray:
    """Return the row in `m_tofTrackCol` that stands for each track, `NO_LINK` where it has no hit.

    A track that crosses both barrel layers has seven records: two ends and their mean per layer, and the cluster over
    both. Taken is the cluster, else a counter's mean; of several the good one, then the most precise. A record without
    a hit (time 9999) is neither a cluster nor a counter.
    """
    import pybes3  # noqa: PLC0415 an optional extra that takes a second to load

    offsets, number = event.links.nested("m_tofTrackIds")
    link = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    row = event.tof.row(event.links.event[link], number)
    link, row = link[row != NO_LINK], row[row != NO_LINK]
    status = event.tof.column("m_status").astype(np.uint32)[row]
    is_cluster = np.asarray(pybes3.tof_hit_status_to_is_cluster(status), dtype=bool)
    is_usable = is_cluster | np.asarray(pybes3.tof_hit_status_to_is_counter(status), dtype=bool)
    link, row, is_cluster = link[is_usable], row[is_usable], is_cluster[is_usable]
    sigma = event.tof.column("m_sigma", N_TOF_SIGMA)[row, 0]
    is_poor = event.tof.column("m_quality")[row] != GOOD_QUALITY
    order = np.lexsort((sigma, is_poor, ~is_cluster, link))
    best = np.full(len(event.links), NO_LINK)
    # The first of each link in this order is written last.
    best[link[order][::-1]] = row[order][::-1]
    return best[is_track]
