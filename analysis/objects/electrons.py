"""Electron candidates."""

from __future__ import annotations

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts


def is_electron(cl: FloatArray, e_over_p: FloatArray, cuts: Cuts) -> BoolArray:
    """Return which tracks are electrons: CL_e, its share of the sum of CLs, and E/p (section III, paragraph 2).

    Args:
        cl: Confidence levels of the e, pi and K hypotheses, shape (tracks, 3); -1 where a track has no measurement.
        e_over_p: EMC energy over momentum in units of c, shape (tracks,).
        cuts: The requirements.
    """
    cl_e = cl[:, Species.E]
    has_share = cl_e > cuts.cl_e_ratio_min * (cl_e + cl[:, Species.PI] + cl[:, Species.K])
    return (cl_e > cuts.cl_e_min) & has_share & has_e_over_p(e_over_p, cuts)


def has_e_over_p(e_over_p: FloatArray, cuts: Cuts) -> BoolArray:
    """Return which tracks have the E/p of an electron, shape (tracks,)."""
    return (e_over_p > cuts.e_over_p_electron_min) & (e_over_p < cuts.e_over_p_electron_max)
