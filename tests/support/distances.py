"""Distances of tracks to the interaction point, by the kernel that decides which tracks are good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.objects import tracks


def r_xy_r_z(helix: Sequence[tracks.Column], frame: tracks.EventFrame) -> tuple[FloatArray, FloatArray]:
    """Return the distances of closest approach to the interaction point, in xy and in z.

    Args:
        helix: dr, phi0, kappa, dz, tanl, each (T,).
        frame: Offsets, interaction points and field.

    Returns:
        r_xy and r_z, each (T,), in cm, not negative.
    """
    r_xy, r_z = np.empty(len(helix[0])), np.empty(len(helix[0]))
    alpha, columns = tracks._alpha(frame), tracks._uniform(helix)
    for event, (start, stop) in enumerate(zip(frame.offsets[:-1], frame.offsets[1:], strict=True)):
        for t in range(start, stop):
            r_xy[t], r_z[t] = tracks._distance(frame, alpha, columns, event, t)
    return r_xy, r_z
