"""Charged tracks and showers of a BOSS `.dst` in the columns of the table.

BOSS keeps each detector's answer in a collection of its own, in an order of its own; `m_evtRecTrackCol` holds the
links. Its records with an MDC track are the charged tracks, those with a shower alone the neutral ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst_records import NO_LINK, Records, Shapes, event_of, row_of

# Collection -> the link of `m_evtRecTrackCol` that leads to it.
LINKS: Final = {
    "kal": "m_mdcKalTrackId",
    "mdc": "m_mdcTrackId",
    "dedx": "m_mdcDedxId",
    "emc": "m_emcShowerId",
    "ext": "m_extTrackId",
    "muc": "m_mucTrackId",
}
# Suffix of the column table -> suffix of BOSS's members and the place of the hypothesis in its arrays (e mu pi K p).
HYPOTHESES: Final = {"": ("", 2), "_e": ("_e", 0), "_k": ("_k", 3), "_p": ("_p", 4)}
_MUON: Final = {"_mu": ("_mu", 1)}
N_HELIX: Final = len(schema.HELIX)
N_COVARIANCE: Final = len(schema.COVARIANCE)
N_HYPOTHESES: Final = len(schema.PID_HYPOTHESES)
# Members of the Kalman fits -> their shapes.
_HELICES: Final = {f"m_zhelix{boss}": (N_HELIX,) for boss, _ in HYPOTHESES.values()}
_COVARIANCES: Final = {f"m_zerror{boss}": (N_COVARIANCE,) for boss, _ in HYPOTHESES.values()}
_MUON_HELIX: Final = {"m_zhelix_mu": (N_HELIX,)}
# Of 6 resolutions per record BOSS fills the first.
N_TOF_SIGMA: Final = 6
# Momentum, energy and place of a pair of tracks.
N_VEE: Final = 7
# One count of the shower's clock in ns: the usual requirement 0 to 14 counts is 0 to 700 ns.
EMC_CLOCK: Final = 50.0
# `m_quality` of a good TOF measurement.
GOOD_QUALITY: Final = 1
# Bits of `m_status` of a TOF record: the mean of a counter's ends, the cluster over both layers.
TOF_COUNTER: Final = 1 << 2
TOF_CLUSTER: Final = 1 << 3
# A record that no hit stands behind.
TOF_RAW: Final = 1 << 0
# Every record, those of the single ends of counters too.
TOF_ALL: Final = (1 << 32) - 1
_TOF_ARRAYS: Final[dict[str, tuple[int, ...]]] = {"m_texp": (N_HYPOTHESES,), "m_sigma": (N_TOF_SIGMA,)}
# To what the TOF's offsets are kept, in ns.
TOF_STEP: Final = 2.0**-16

# BOSS packs the covariances of the Kalman fit as lower triangles, row by row, those of the MDC's own fit as upper ones.
_LOWER_OF_UPPER = np.array([b * (b + 1) // 2 + a for a in range(N_HELIX) for b in range(a, N_HELIX)])
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
_PLACE = {"x": "m_x", "y": "m_y", "z": "m_z"}
# Where an extrapolated track crosses the calorimeter and the layers of the TOF.
_REACHED = {
    **{axis: f"myEmcPosition{axis.upper()}" for axis in "xyz"},
    **{f"{axis}{layer}": f"myTof{layer}Position{axis.upper()}" for layer in (1, 2) for axis in "xyz"},
}
_MUC = {"muc_depth": "m_depth", "muc_chi2": "m_chi2", "muc_distance": "m_distance", "muc_dphi": "m_deltaPhi"}
_MUC_COUNTS = {
    "muc_dof": "m_dof",
    "muc_n_hits": "m_numHits",
    "muc_n_layers": "m_numLayers",
    "muc_max_hits": "m_maxHitsInLayer",
    "muc_last_barrel": "m_brLastLayer",
    "muc_last_endcap": "m_ecLastLayer",
}


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
        ext: `m_extTrackCol`, for the groups `pid` and `muon`.
        muc: `m_mucTrackCol`, for the group `muon`.
        vee: `m_evtRecVeeVertexCol`, for the group `v0`.
    """

    links: Records
    kal: Records
    mdc: Records
    dedx: Records
    tof: Records
    emc: Records
    ext: Records | None = None
    muc: Records | None = None
    vee: Records | None = None

    @cached_property
    def is_track(self) -> BoolArray:
        """Which links are charged tracks, (L,)."""
        return is_track(self.links)

    @cached_property
    def tof_links(self) -> tuple[IntArray, IntArray]:
        """The links from tracks and showers to TOF records: place of the link, and row of the record."""
        bounds, number = self.links.nested("m_tofTrackIds")
        link = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        return link, row_of(self.tof, event_of(self.links)[link], number)

    @cached_property
    def tof_states(self) -> dict[str, AnyArray]:
        """`m_status` and `m_quality` of the records that `tof_links` lead to."""
        return self.tof.pick_all({"m_status": (), "m_quality": ()}, self.tof_links[1], 0)

    @cached_property
    def fits(self) -> dict[str, AnyArray]:
        """Helices, covariances and `m_stat` of the Kalman fits of each track, by member."""
        members = _HELICES | _COVARIANCES | (_MUON_HELIX if self.muc is not None else {})
        return _fits(self.kal, self.rows["kal"], members)

    @cached_property
    def rows(self) -> dict[str, IntArray]:
        """Collection -> the row in it of each track, (T,); `NO_LINK` where it has none."""
        there = {name: found for name in LINKS if (found := getattr(self, name)) is not None}
        return {name: _rows(self.links, self.is_track, found, name) for name, found in there.items()}


def helix_columns(links: Records, kal: Records, mdc: Records) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return what a preselection looks at: offsets ``(E + 1,)``, and charge and pion helix of each track, ``(T,)``."""
    chosen = is_track(links)
    fits = _fits(kal, _rows(links, chosen, kal, "kal"), {"m_zhelix": (N_HELIX,)})
    helix, _ = _helix(fits, mdc, _rows(links, chosen, mdc, "mdc"), "")
    columns: dict[str, AnyArray] = {name: helix[:, i] for i, name in enumerate(schema.HELIX)}
    return _offsets(links, chosen), columns | {"charge": _charge(columns["kappa"])}


def track_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the charged tracks.

    Returns:
        Offsets ``(E + 1,)`` and the columns of `Track` by name, each ``(T,)``.
    """
    mdc = event.rows["mdc"]
    columns: dict[str, AnyArray] = {}
    for suffix in HYPOTHESES:
        helix, failed = _helix(event.fits, event.mdc, mdc, suffix)
        cov = _covariance(event.fits, event.mdc, mdc, suffix, failed)
        columns |= {f"{name}{suffix}": helix[:, i] for i, name in enumerate(schema.HELIX)}
        columns |= {f"{name}{suffix}": cov[:, i] for i, name in zip(_LOWER_OF_UPPER, schema.COVARIANCE, strict=True)}
    columns["charge"] = _charge(columns["kappa"])
    # A record without a track of the MDC has no hits.
    columns["n_hits"] = event.mdc.pick("m_ndof", mdc, -N_HELIX) + N_HELIX
    columns |= _dedx(event.dedx, event.rows["dedx"])
    columns |= _tof(event)
    columns |= _members(event.emc, _EMC, event.rows["emc"])
    return _offsets(event.links, event.is_track), columns


def track_numbers(event: Event) -> tuple[IntArray, AnyArray]:
    """Return the event and the number in the MDC of each track, (T,)."""
    return event_of(event.links)[event.is_track], event.links.column(LINKS["mdc"])[event.is_track]


def shower_columns(event: Event) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the showers without a charged track: offsets ``(E + 1,)`` and the columns of `Shower`, each ``(N,)``."""
    is_neutral = ~event.is_track & (event.links.column(LINKS["emc"]) != NO_LINK)
    row = _rows(event.links, is_neutral, event.emc, "emc")
    columns = _members(event.emc, _SHOWER, row)
    columns["time"] = EMC_CLOCK * event.emc.pick("m_time", row, 0.0)
    return _offsets(event.links, is_neutral), columns


def is_track(links: Records) -> BoolArray:
    """Return which links are charged tracks: those with a track of the MDC, (L,)."""
    return np.asarray(links.column(LINKS["mdc"]) != NO_LINK)


def _rows(links: Records, chosen: BoolArray, records: Records, name: str) -> IntArray:
    """Return the rows of another collection that the chosen links lead to."""
    return row_of(records, event_of(links)[chosen], links.column(LINKS[name])[chosen])


def _charge(kappa: AnyArray) -> AnyArray:
    return np.sign(kappa).astype(np.int8)


def _offsets(links: Records, chosen: BoolArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])[links.offsets]


def _members(records: Records, members: dict[str, str], row: IntArray) -> dict[str, AnyArray]:
    found = records.pick_all(dict.fromkeys(members.values(), ()), row, 0.0)
    return {name: found[member] for name, member in members.items()}


def _fits(kal: Records, row: IntArray, members: Shapes) -> dict[str, AnyArray]:
    """Return members of the Kalman fits, and whether each failed."""
    return kal.pick_all(members, row, np.nan) | {"m_stat": kal.pick("m_stat", row, 1, N_HYPOTHESES)}


def _helix(fits: dict[str, AnyArray], mdc: Records, mdc_row: IntArray, suffix: str) -> tuple[FloatArray, BoolArray]:
    """Return the helices (T, 5) under a hypothesis: of the Kalman fit, or where it failed, (T,), of the MDC's own."""
    boss, place = (HYPOTHESES | _MUON)[suffix]
    helix = fits[f"m_zhelix{boss}"]
    failed = (fits["m_stat"][:, place] != 0) | ~np.isfinite(helix).all(axis=1)
    if failed.any():
        helix = helix.copy()
        helix[failed] = mdc.pick("m_helix", mdc_row[failed], np.nan, N_HELIX)
    return helix, failed


def _covariance(
    fits: dict[str, AnyArray], mdc: Records, mdc_row: IntArray, suffix: str, failed: BoolArray
) -> FloatArray:
    """Return the covariances (T, 15) of the same fits, as lower triangles."""
    cov = fits[f"m_zerror{HYPOTHESES[suffix][0]}"]
    if failed.any():
        cov = cov.copy()
        cov[np.ix_(failed, _LOWER_OF_UPPER)] = mdc.pick("m_err", mdc_row[failed], np.nan, N_COVARIANCE)
    return cov


def _dedx(dedx: Records, row: IntArray) -> dict[str, AnyArray]:
    columns = _members(dedx, _DEDX | {"dedx_norm_ph": "m_normPH"}, row)
    columns["dedx_n_hits"] = dedx.pick("m_numGoodHits", row, 0)
    return columns


def _tof(event: Event) -> dict[str, AnyArray]:
    row = best_tof_record(event)
    of = event.tof.pick_all({"m_tof": (), "m_path": ()} | _TOF_ARRAYS, row, 0.0)
    return {
        "tof_time": of["m_tof"],
        "tof_path": of["m_path"],
        **{f"tof_texp_{h}": of["m_texp"][:, i] for i, h in enumerate(schema.PID_HYPOTHESES)},
        "tof_sigma": of["m_sigma"][:, 0],
        "tof_quality": event.tof.pick("m_quality", row, 0),
    }


def best_tof_record(event: Event) -> IntArray:
    """Return the row in `m_tofTrackCol` that stands for each track, `NO_LINK` where it has no hit.

    A track that crosses both barrel layers has seven records: two ends and their mean per layer, and the cluster over
    both. Taken is the cluster, else a counter's mean; of several the good one, then the most precise. A record without
    a hit (time 9999) is neither a cluster nor a counter.
    """
    link, row = event.tof_links
    best = np.full(len(event.is_track), NO_LINK)
    status = event.tof_states["m_status"].astype(np.uint32)
    is_poor = event.tof_states["m_quality"] != GOOD_QUALITY
    _take_best(link, row, status, is_poor, event.tof.pick("m_sigma", row, 0.0, N_TOF_SIGMA)[:, 0], best)
    return best[event.is_track]


@kernel
def _take_best(
    link: IntArray, row: IntArray, status: AnyArray, is_poor: BoolArray, sigma: FloatArray, best: IntArray
) -> None:
    """Write for each link the row of its best record; of equal ones the first."""
    chosen = np.full(len(best), -1)
    for i in range(len(link)):
        if row[i] == NO_LINK or not status[i] & (TOF_CLUSTER | TOF_COUNTER):
            continue
        j = chosen[link[i]]
        if j >= 0:
            rank_i = not status[i] & TOF_CLUSTER, is_poor[i], sigma[i]
            rank_j = not status[j] & TOF_CLUSTER, is_poor[j], sigma[j]
            if not rank_i < rank_j:
                continue
        chosen[link[i]] = i
        best[link[i]] = row[i]


def pid_columns(event: Event, ext: Records) -> dict[str, AnyArray]:
    """Return the columns of `Track` that the group `pid` adds, each ``(T,)``."""
    mdc, emc, row = (event.rows[name] for name in ("mdc", "emc", "ext"))
    helix = event.mdc.pick("m_helix", mdc, 0.0, N_HELIX)
    volume = ext.pick("myEmcVolumeNumber", row, NO_LINK)
    shower = _members(event.emc, _PLACE, emc)
    at = _members(ext, _REACHED, row)
    angles = _angles(shower["x"], shower["y"], shower["z"]) - _angles(at["x"], at["y"], at["z"])
    angles = np.where((emc != NO_LINK) & (volume != NO_LINK), angles, 0.0)
    return {
        **{f"{name}_mdc": helix[:, i] for i, name in enumerate(schema.HELIX)},
        "mdc_status": event.mdc.pick("m_stat", mdc, 0),
        "ext_z1": at["z1"],
        "ext_z2": at["z2"],
        "ext_rho": np.hypot(at["x1"], at["y1"]),
        **_members(event.emc, {"emc_a20": "m_a20Moment", "emc_a42": "m_a42Moment"}, emc),
        "emc_dtheta": angles[0],
        "emc_dphi": np.remainder(angles[1] + np.pi, 2 * np.pi) - np.pi,
        "emc_volume": volume,
    }


def tof_columns(event: Event, kinds: int) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the TOF records of the tracks.

    Args:
        event: The collections.
        kinds: Bits of `m_status`, of which a record must have one.

    Returns:
        Offsets ``(E + 1,)`` and the columns of `Tof` by name, each ``(N,)``.
    """
    links = event.links
    link, row = event.tof_links
    status = event.tof_states["m_status"].astype(np.int64)
    is_kept = event.is_track[link] & ((status & kinds) != 0)
    link, row = link[is_kept], row[is_kept]
    of = event.tof.pick_all({"m_tof": (), "m_toffset": (N_TOF_SIGMA,)} | _TOF_ARRAYS, row, 0.0)
    # Two hundredths of a picosecond say all there is; the digits after them take as much room as all the rest.
    offset = np.rint(of["m_toffset"] / TOF_STEP) * TOF_STEP
    columns: dict[str, AnyArray] = {
        "track": _place_of(links, event.is_track)[link],
        "counter": event.tof.pick("m_tofID", row, 0),
        "status": status[is_kept],
        "time": of["m_tof"],
        "sigma": of["m_sigma"][:, 0],
        **{f"texp_{h}": of["m_texp"][:, i] for i, h in enumerate(schema.PID_HYPOTHESES)},
        **{f"offset_{h}": offset[:, i] for i, h in enumerate(schema.PID_HYPOTHESES)},
    }
    per_event = np.bincount(event_of(links)[link], minlength=len(links.offsets) - 1)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(per_event)]), columns


def start_times(event: Event) -> FloatArray:
    """Return the start of each event in ns as its first TOF record has it, (E,); 0 without any."""
    first = event.tof.offsets[:-1]
    return event.tof.pick("m_t0", np.where(np.diff(event.tof.offsets) > 0, first, NO_LINK), 0.0)


def muon_columns(event: Event, muc: Records, ext: Records) -> dict[str, AnyArray]:
    """Return the columns of `Track` that the group `muon` adds, each ``(T,)``."""
    mdc, row = event.rows["mdc"], event.rows["muc"]
    helix, _ = _helix(event.fits, event.mdc, mdc, "_mu")
    reached = ext.pick("myMucVolumeNumber", event.rows["ext"], NO_LINK)
    return {
        **{f"{name}_mu": helix[:, i] for i, name in enumerate(schema.HELIX)},
        **_members(muc, _MUC, row),
        "muc_status": muc.pick("m_status", row, NO_LINK),
        "muc_volume": np.where(row != NO_LINK, reached, NO_LINK),
        **_members(muc, _MUC_COUNTS, row),
    }


def v0_columns(links: Records, vee: Records) -> tuple[IntArray, dict[str, AnyArray]]:
    """Return the pairs of tracks from a vertex: offsets ``(E + 1,)`` and the columns of `V0` by name, each ``(N,)``."""
    w = vee.column("m_w", N_VEE)
    daughter = vee.column("m_daughter", 2)
    place, event = _place_of(links, is_track(links)), event_of(vee)
    rows = [row_of(links, event, daughter[:, i]) for i in (0, 1)]
    return vee.offsets, {
        "kind": vee.column("m_vertexType"),
        **{f"track_{n}": np.append(place, NO_LINK)[row] for n, row in zip("ab", rows, strict=True)},
        "chi2": vee.column("m_chi2"),
        "mass": vee.column("m_mass"),
        # BOSS's parameters of a neutral track: momentum, energy, place.
        **{f"p{axis}": w[:, i] for i, axis in enumerate("xyz")},
        **{f"v{axis}": w[:, i + 4] for i, axis in enumerate("xyz")},
    }


def _place_of(links: Records, chosen: BoolArray) -> IntArray:
    """Return the place of each link's track within its event's `Track`; `NO_LINK` for links that are no tracks."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])
    return np.where(chosen, before[:-1] - before[links.offsets[:-1]][event_of(links)], NO_LINK)


def _angles(x: AnyArray, y: AnyArray, z: AnyArray) -> FloatArray:
    """Return polar angle and azimuth of points, (2, T)."""
    return np.stack([np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)])
