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
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Records, event_of, row_of, take

# Suffix of the column table -> suffix of BOSS's members and the place of the hypothesis in its arrays (e mu pi K p).
HYPOTHESES: Final = {"": ("", 2), "_e": ("_e", 0), "_k": ("_k", 3), "_p": ("_p", 4)}
N_HELIX: Final = len(schema.HELIX)
N_COVARIANCE: Final = len(schema.COVARIANCE)
N_HYPOTHESES: Final = len(schema.PID_HYPOTHESES)
# Of 6 resolutions per record BOSS fills the first.
N_TOF_SIGMA: Final = 6
# One count of the shower's clock in ns: the usual requirement 0 to 14 counts is 0 to 700 ns.
EMC_CLOCK: Final = 50.0
# `m_quality` of a good TOF measurement.
GOOD_QUALITY: Final = 1
# Bits of `m_status` of a TOF record: the mean of a counter's ends, the cluster over both layers.
TOF_COUNTER: Final = 1 << 2
TOF_CLUSTER: Final = 1 << 3

# BOSS packs the covariances of the Kalman fit as lower triangles, row by row, those of the MDC's own fit as upper ones.
_UPPER_OF_LOWER = [b * (b + 1) // 2 + a for a in range(N_HELIX) for b in range(a, N_HELIX)]
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


def helix_columns(links: Records, kal: Records, mdc: Records) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return what a preselection looks at: offsets ``(E + 1,)``, and charge and pion helix of each track, ``(T,)``."""
    is_track = links.column("m_mdcTrackId") != NO_LINK
    rows = _rows(links, is_track, kal, "m_mdcKalTrackId"), _rows(links, is_track, mdc, "m_mdcTrackId")
    helix, _ = _helix(kal, mdc, *rows, "")
    columns: dict[str, AnyArray] = {name: helix[:, i] for i, name in enumerate(schema.HELIX)}
    return _offsets(links, is_track), columns | {"charge": _charge(columns["kappa"])}


def track_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the charged tracks.

    Returns:
        Offsets ``(E + 1,)`` and the columns of `Track` by name, each ``(T,)``.
    """
    is_track = event.links.column("m_mdcTrackId") != NO_LINK
    mdc = _rows(event.links, is_track, event.mdc, "m_mdcTrackId")
    kal = _rows(event.links, is_track, event.kal, "m_mdcKalTrackId")
    columns: dict[str, AnyArray] = {}
    for suffix in HYPOTHESES:
        helix, failed = _helix(event.kal, event.mdc, kal, mdc, suffix)
        cov = _covariance(event.kal, event.mdc, kal, mdc, suffix, failed)
        columns |= {f"{name}{suffix}": helix[:, i] for i, name in enumerate(schema.HELIX)}
        columns |= {f"{name}{suffix}": cov[:, i] for i, name in enumerate(schema.COVARIANCE)}
    columns["charge"] = _charge(columns["kappa"])
    columns["n_hits"] = take(event.mdc.column("m_ndof").astype(np.int64) + N_HELIX, mdc, 0)
    columns |= _dedx(event.dedx, _rows(event.links, is_track, event.dedx, "m_mdcDedxId"))
    columns |= _tof(event, is_track)
    columns |= _members(event.emc, _EMC, _rows(event.links, is_track, event.emc, "m_emcShowerId"))
    return _offsets(event.links, is_track), columns


def shower_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the showers without a charged track: offsets ``(E + 1,)`` and the columns of `Shower`, each ``(N,)``."""
    number = event.links.column("m_emcShowerId")
    is_neutral = (event.links.column("m_mdcTrackId") == NO_LINK) & (number != NO_LINK)
    row = _rows(event.links, is_neutral, event.emc, "m_emcShowerId")
    columns = _members(event.emc, _SHOWER, row)
    columns["time"] = EMC_CLOCK * take(event.emc.column("m_time"), row, 0.0)
    return _offsets(event.links, is_neutral), columns


def _rows(links: Records, chosen: BoolArray, records: Records, link: str) -> IntArray:
    """Return the rows of another collection that the chosen links lead to."""
    return row_of(records, event_of(links)[chosen], links.column(link)[chosen])


def _charge(kappa: AnyArray) -> AnyArray:
    return np.sign(kappa).astype(np.int8)


def _offsets(links: Records, chosen: BoolArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])[links.offsets]


def _members(records: Records, members: dict[str, str], row: IntArray) -> dict[str, AnyArray]:
    return {name: take(records.column(member), row, 0.0) for name, member in members.items()}


def _helix(
    kal: Records, mdc: Records, kal_row: IntArray, mdc_row: IntArray, suffix: str
) -> tuple[FloatArray, BoolArray]:
    """Return the helices (T, 5) under a hypothesis: of the Kalman fit, or where it failed, (T,), of the MDC's own."""
    boss, place = HYPOTHESES[suffix]
    helix = take(kal.column(f"m_zhelix{boss}", N_HELIX), kal_row, np.nan)
    failed = (take(kal.column("m_stat", N_HYPOTHESES), kal_row, 1)[:, place] != 0) | ~np.isfinite(helix).all(axis=1)
    if failed.any():
        helix[failed] = take(mdc.column("m_helix", N_HELIX), mdc_row[failed], np.nan)
    return helix, failed


def _covariance(
    kal: Records, mdc: Records, kal_row: IntArray, mdc_row: IntArray, suffix: str, failed: BoolArray
) -> FloatArray:
    """Return the covariances (T, 15) of the same fits."""
    cov = take(kal.column(f"m_zerror{HYPOTHESES[suffix][0]}", N_COVARIANCE), kal_row, np.nan)[:, _UPPER_OF_LOWER]
    if failed.any():
        cov[failed] = take(mdc.column("m_err", N_COVARIANCE), mdc_row[failed], np.nan)
    return cov


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
    offsets, number = event.links.nested("m_tofTrackIds")
    link = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    row = row_of(event.tof, event_of(event.links)[link], number)
    link, row = link[row != NO_LINK], row[row != NO_LINK]
    status = event.tof.column("m_status").astype(np.uint32)[row]
    is_usable = (status & (TOF_CLUSTER | TOF_COUNTER)) != 0
    link, row, is_cluster = link[is_usable], row[is_usable], (status[is_usable] & TOF_CLUSTER) != 0
    sigma = event.tof.column("m_sigma", N_TOF_SIGMA)[row, 0]
    is_poor = event.tof.column("m_quality")[row] != GOOD_QUALITY
    order = np.lexsort((sigma, is_poor, ~is_cluster, link))
    best = np.full(len(is_track), NO_LINK)
    # The first of each link in this order is written last.
    best[link[order][::-1]] = row[order][::-1]
    return best[is_track]
