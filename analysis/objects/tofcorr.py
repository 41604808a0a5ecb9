"""Parameters of BOSS's TofCorrPID: corrections and resolutions of the times of flight.

Source: BOSS ParticleID, TofCorrPID, set "jpsi2012"; its text files hold the numbers of each array one after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError

FORMAT: Final = "jpsi-lnv tofcorr 1"
_FORM: Final = Form("TOF parameters", "import them again with `lnv calibration import`", CalibrationError)


class TofCorr(NamedTuple):
    """Parameters of one kind of events, recorded or simulated. Times are in ns, lengths in cm.

    Ends are ordered inner east, inner west, outer east, outer west; places are these, then inner layer, outer layer,
    both layers. z is that of the extrapolation to the layer; in end caps rho stands for it. Charges are ordered +, -.

    Attributes:
        common: (1,) common part of the resolutions of two ends and of two layers (first number of
            ``calib_barrel_common.txt``).
        counter_sigma: (176, 3, 5) resolution of the barrel's counters: east end, west end, both; by powers of z
            (``calib_barrel_sigma.txt``).
        endcap_sigma: (96, 3) that of the end caps' by powers of rho (``calib_endcap_sigma.txt``).
        pulse: (3, 5) pulse height by beta gamma of inner layer, outer layer, end cap (``curve_Q0_BetaGamma.txt``).
        walk: (2, 5, 2, 2, 11) corrections A + B/sqrt(pulse height) of pi and K, of p; four ends, end cap; charge; A, B:
            z^0 to z^4, height, mean and width of a Gaussian, z^5 to z^7 (``parameter_A_B.txt``).
        sigma: (4, 8, 12) resolution of pi, K, p, pbar; seven places, end cap (``parameter_sigma.txt``).
        slow_offset: (2, 7, 20, 46) offset of slow protons by charge, place, 0.3 to 0.8 GeV/c, z from -115 to 115.
        slow_offset_endcap: (2, 20, 7) the same by charge, momentum, rho from 55 to 83; in the file
            ``parameter_offset_proton.txt`` it comes after the seven places of each charge.
        slow_sigma: (2, 7, 20, 46) their resolution; -999: unknown (``parameter_sigma_proton.txt``, in the same order).
        slow_sigma_endcap: (2, 20, 7)
        pion_scale: (4,) a, b, c, d: resolutions of pions are multiplied by a + b exp(-(beta gamma - c)/d); in
            simulation by 1.
    """

    common: FloatArray
    counter_sigma: FloatArray
    endcap_sigma: FloatArray
    pulse: FloatArray
    walk: FloatArray
    sigma: FloatArray
    slow_offset: FloatArray
    slow_offset_endcap: FloatArray
    slow_sigma: FloatArray
    slow_sigma_endcap: FloatArray
    pion_scale: FloatArray


SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "common": (1,),
    "counter_sigma": (176, 3, 5),
    "endcap_sigma": (96, 3),
    "pulse": (3, 5),
    "walk": (2, 5, 2, 2, 11),
    "sigma": (4, 8, 12),
    "slow_offset": (2, 7, 20, 46),
    "slow_offset_endcap": (2, 20, 7),
    "slow_sigma": (2, 7, 20, 46),
    "slow_sigma_endcap": (2, 20, 7),
    "pion_scale": (4,),
}


def from_json(content: Any, place: str) -> TofCorr:
    """Return the parameters that a file holds: ``{"format": "jpsi-lnv tofcorr 1", "common": [...], ...}``.

    Raises:
        CalibrationError: Something is missing, is no array of numbers, or has another shape.
    """
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise _FORM.fault(place, f"have the format {found!r}; wanted {FORMAT!r}")
    parameters = TofCorr(**_FORM.arrays(content, SHAPES, place))
    if parameters.pion_scale[3] == 0:
        raise _FORM.fault(place, "pion_scale divides by zero")
    return parameters


@lru_cache(maxsize=8)
def load(path: str) -> TofCorr:
    """Return the parameters of a file.

    Raises:
        CalibrationError: The file is damaged or holds none.
    """
    return from_json(_FORM.read(path), path)
