"""Which mass assignments a K K e e candidate competes with.

A candidate is (K, K, e, e) with two tracks of one charge read as kaons and two of the other read as electrons. The
publication (III, par. 3) wants the chi2 of K K e e to be the smallest among the assignments K K e e, K+ K- pi+ pi-,
K+ K- K+ K- and pi+ pi- pi+ pi-. K+ K- pi+ pi- has four assignments: one track of each charge is a kaon.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import Species

E, PI, K = Species.E, Species.PI, Species.K

# Name and species of the four tracks; the first is the signal.
ASSIGNMENTS: Final[tuple[tuple[str, tuple[Species, ...]], ...]] = (
    ("kkee", (K, K, E, E)),
    ("kkpipi", (K, PI, K, PI)),
    ("kkpipi", (K, PI, PI, K)),
    ("kkpipi", (PI, K, K, PI)),
    ("kkpipi", (PI, K, PI, K)),
    ("kkkk", (K, K, K, K)),
    ("pipipipi", (PI, PI, PI, PI)),
)
HYPOTHESES: Final = np.array([species for _, species in ASSIGNMENTS], dtype=np.int64)
NAMES: Final = tuple(name for name, _ in ASSIGNMENTS)
# The four assignments of K+ K- pi+ pi- count in twos: bit 1 says which of the first two, bit 0 which of the last two
# tracks is the second one.
FIRST_KKPIPI: Final = NAMES.index("kkpipi")

Permutations = Literal["one", "all"]


def competing(permutations: Permutations, cand: IntArray, chi2_pid: FloatArray) -> BoolArray:
    """Return which hypotheses each candidate competes with.

    Args:
        permutations: "all" K+ K- pi+ pi- assignments, or the "one" whose PID chi2, summed over the four tracks (K for
            the kaons, pi for the pions), is the smallest. As each charge has one kaon, this is per charge the track
            with the smaller chi2(K) - chi2(pi); a tie, as of tracks without PID, goes to the first track.
        cand: (N, 4) track indices.
        chi2_pid: (T, 3) PID chi2 of each track for e, pi, K.

    Returns:
        (N, H) mask over `HYPOTHESES`.
    """
    if permutations not in {"one", "all"}:
        msg = f"permutations is {permutations!r}, wanted 'one' or 'all'"
        raise ValueError(msg)
    mask = np.ones((len(cand), len(HYPOTHESES)), dtype=np.bool_)
    if permutations == "one":
        prefers_pion = chi2_pid[cand, K] - chi2_pid[cand, PI]
        first = prefers_pion[:, 0] > prefers_pion[:, 1]
        last = prefers_pion[:, 2] > prefers_pion[:, 3]
        best = 2 * first + last
        mask[:, FIRST_KKPIPI : FIRST_KKPIPI + 4] = best[:, None] == np.arange(4)
    return mask


def smallest_by_name(chi2: FloatArray) -> dict[str, FloatArray]:
    """Return the smallest chi2 of each named hypothesis, each (N,), from chi2 ``(N, H)`` over `HYPOTHESES`."""
    return {name: chi2[:, [n == name for n in NAMES]].min(axis=1) for name in dict.fromkeys(NAMES)}
