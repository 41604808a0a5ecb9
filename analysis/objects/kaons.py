"""Kaon candidates."""

from __future__ import annotations

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts


def is_kaon(cl: FloatArray, e_over_p: FloatArray, cuts: Cuts) -> BoolArray:
    """Return which tracks are kaons: CL_K positive and above CL_pi, E/p below the electrons' (section III, par. 2).

    Args:
        cl: Confidence levels of the e, pi and K hypotheses, shape (tracks, 3); -1 where a track has no measurement.
        e_over_p: EMC energy over momentum in units of c, shape (tracks,).
        cuts: The requirements.
    """
    cl_k = cl[:, Species.K]
    return (cl_k > cuts.cl_k_min) & (cl_k > cl[:, Species.PI]) & (e_over_p < cuts.e_over_p_kaon_max)
