"""Where the events of a BOSS `.dst` happened, for want of a run table: vertices, or the tracks' origin."""

from __future__ import annotations

from typing import Any, Final

import awkward as ak
import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst_records import read

VERTEX: Final = "TEvtRecObject/m_evtRecPrimaryVertex"
KALMAN: Final = "TDstEvent/m_mdcKalTrackCol"
# The mean is that of the first events, so that it does not depend on how a file is cut into chunks.
SPOT_EVENTS: Final = 2_000
# Tracks that pass the origin farther away than this in cm come from decays and interactions.
SPOT_DR_MAX: Final = 1.0
SPOT_DZ_MAX: Final = 10.0
# Resolution of dr in cm, from which on a track counts less in the fit (Cauchy weights).
SPOT_RESOLUTION: Final = 0.02
SPOT_ITERATIONS: Final = 20
_N_AXES: Final = 3


def vertices(tree: Any, start: int, stop: int) -> FloatArray:
    """Return the fitted primary vertices in cm, ``(E, 3)``; NaN where the fit failed."""
    vertex = tree[VERTEX].array(entry_start=start, entry_stop=stop, array_cache=None)
    position = ak.to_numpy(vertex["m_vtx"]).reshape(-1, _N_AXES)
    is_valid = ak.to_numpy(vertex["m_isValid"]).astype(bool)
    return np.where(is_valid[:, None], position, np.nan)


def find_spot(tree: Any) -> tuple[float, float, float]:
    """Return the mean primary vertex of a file in cm; without any, the common origin of its tracks.

    A track that comes from (x, y) near the origin has dr = x cos phi0 + y sin phi0: a linear fit over all tracks, in
    which tracks of decays and interactions count little, gives the beam spot. z is the median of dz.
    """
    stop = min(SPOT_EVENTS, int(tree.num_entries))
    positions = vertices(tree, 0, stop)
    positions = positions[~np.isnan(positions[:, 0])]
    if len(positions):
        x, y, z = positions.mean(axis=0)
        return float(x), float(y), float(z)
    return spot_of_tracks(read(tree[KALMAN], 0, stop).column("m_zhelix", len(schema.HELIX)))


def spot_of_tracks(helix: FloatArray) -> tuple[float, float, float]:
    """Return the common origin of tracks with helices ``(T, 5)`` in cm; (0, 0, 0) if they are too few."""
    dr, phi0, _, dz, _ = helix.T
    is_near = (np.abs(dr) < SPOT_DR_MAX) & (np.abs(dz) < SPOT_DZ_MAX)
    if np.count_nonzero(is_near) < _N_AXES:
        return 0.0, 0.0, 0.0
    dr, dz = dr[is_near], dz[is_near]
    direction = np.stack([np.cos(phi0[is_near]), np.sin(phi0[is_near])], axis=1)
    weight = np.ones(len(dr))
    for _ in range(SPOT_ITERATIONS):
        (x, y), *_ = np.linalg.lstsq(direction * weight[:, None], dr * weight, rcond=None)
        weight = 1.0 / np.sqrt(1.0 + np.square((dr - direction @ (x, y)) / SPOT_RESOLUTION))
    return float(x), float(y), float(np.median(dz))
