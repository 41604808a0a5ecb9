"""chi of the time of flight as BOSS's TofCorrPID has it, with corrections and resolutions of each end and layer.

Times of pi, K and p are those of the ends of the counters, each corrected for the pulse height and for where the track
passed, and then averaged; those of e and mu are the records' own. Slow protons have offsets of their own.

Source: BOSS ParticleID, TofCorrPID, set "jpsi2012"; its text files hold the numbers of each array one after the other.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.constants import M_ELECTRON, M_KAON, M_MUON, M_PION, M_PROTON
from jpsi_lnv.analysis.documents import Form
from jpsi_lnv.analysis.errors import CalibrationError, SchemaError
from jpsi_lnv.analysis.objects import tof_pid
from jpsi_lnv.analysis.objects.tof_pid import TofRecords, find, mean, strip_sigma
from jpsi_lnv.analysis.objects.tracks import momentum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jpsi_lnv.analysis.events.columns import Columns

FORMAT: Final = "jpsi-lnv tofcorr 1"
_FORM: Final = Form("TOF parameters", "import them again with `lnv calibration import`", CalibrationError)
# Masses in GeV/c^2 of the hypotheses, and the suffixes of their helices.
MASSES: Final = (M_ELECTRON, M_MUON, M_PION, M_KAON, M_PROTON)
SUFFIXES: Final = ("_e", "_mu", "", "_k", "_p")
MU, PION, PROTON = 1, 2, 4
# Places of a measurement: four ends, two layers, both layers, an end cap.
INNER, BOTH, ENDCAP, N_PLACES = 4, 6, 7, 8
N_COUNTERS: Final = 176
N_COUNTERS_ENDCAP: Final = 96
# Beyond this distance in cm from the middle a track has passed no counter.
Z_MAX: Final = 120.0
# Where the resolution of pions and kaons diverges, at the ends of the counters.
Z_END: Final = 115.0
# Protons below this momentum in GeV/c have tables: in p from the first value on, and in z or rho.
SLOW: Final = 0.8
SLOW_FIRST: Final = 0.3
RHO_FIRST: Final = 55.0
RHO_LAST: Final = 83.0
N_P, N_Z, N_RHO = 20, 46, 7
NO_SIGMA: Final = -999.0
SIGMA_SLOW: Final = 0.3
MRPC_PROTON: Final = 1.5
# Of the numbers of `TofCorr.walk` those that vanish where there is nothing to correct: not a Gaussian's mean and width.
_COEFFICIENTS: Final = [0, 1, 2, 3, 4, 5, 8, 9, 10]
# Deviation in ns where there is no counter.
OUTSIDE: Final = -1000.0
# chi of a hypothesis under which the track would not reach the counters.
NEVER: Final = -100.0


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


def without_corrections(barrel: Sequence[float], endcap: float) -> TofCorr:
    """Return parameters of times that need no correction.

    Args:
        barrel: Resolution in ns of both layers together, coefficients of the powers of z; those of one are independent.
        endcap: That of the end caps' scintillators.
    """
    of = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    both = np.asarray(barrel)
    layer, n = math.sqrt(2.0) * both, len(both)
    of["counter_sigma"][..., :n] = layer
    of["endcap_sigma"][:, 0] = endcap
    # A pulse height of one, and a Gaussian of some width that is multiplied by zero.
    of["pulse"][:] = [1.0, 2.0, 0.0, 0.0, 0.0]
    of["walk"][..., 7] = 1.0
    of["sigma"][:, :BOTH, :n] = layer
    of["sigma"][:, BOTH, :n] = both
    of["sigma"][:, ENDCAP, 0] = endcap
    z = np.linspace(-Z_END, Z_END, N_Z, endpoint=False) + Z_END / N_Z
    of["slow_sigma"][:, :BOTH] = np.polynomial.polynomial.polyval(z, layer)
    of["slow_sigma"][:, BOTH] = np.polynomial.polynomial.polyval(z, both)
    of["slow_sigma_endcap"][:] = endcap
    of["pion_scale"][:] = [1.0, 0.0, 0.0, 1.0]
    return TofCorr(**of)


@lru_cache(maxsize=8)
def load(path: str) -> TofCorr:
    """Return the parameters of a file.

    Raises:
        CalibrationError: The file is damaged or holds none.
    """
    return from_json(_FORM.read(path), path)


def chi(columns: Columns, parameters: TofCorr, chosen: IntArray, window: tuple[float, float]) -> FloatArray:
    """Return chi of tracks for all five hypotheses, ``(N, 5)``; NaN without a measurement.

    Args:
        columns: The chunk.
        parameters: Those of its runs.
        chosen: (N,) indices of the tracks.
        window: A layer counts if chi of any hypothesis lies inside.

    Raises:
        SchemaError: The file has no TOF records, or none of the ends of counters.
    """
    tof = tof_pid.read_records(columns, chosen, "tofcorr")
    names = ("ext_z1", "ext_z2", "ext_rho", "charge")
    z1, z2, rho, charge = (columns.flat("Track", n)[chosen].astype(np.float64) for n in names)
    track = Extrapolated(np.stack([z1, z2], axis=1), rho, charge > 0, _momenta(columns, chosen))
    result = np.empty((len(chosen), tof_pid.N_HYPOTHESES))
    lacking = _evaluate(tof, track, parameters, window, result)
    if lacking and parameters.walk[..., _COEFFICIENTS].any():
        # How many is kept back: it could tell of hidden events.
        msg = (
            "pid_tof is 'tofcorr', and ends of counters, which that corrects one by one, have no record: "
            "skim the .dst again with `--keep pid,ends`, or take pid_tof 'tof12e'"
        )
        raise SchemaError(msg)
    return result


class Hypothesis(NamedTuple):
    """A hypothesis of one track: place among the five, momentum in GeV/c, beta gamma; 0 or 1 for charge +, -."""

    species: int
    p: float
    beta_gamma: float
    charge: int


class Extrapolated(NamedTuple):
    """N tracks at the TOF.

    Attributes:
        z: (N, 2) at the layers in cm.
        rho: (N,) at the end cap in cm.
        is_positive: (N,) sign of the charge.
        p: (N, 5) momenta in GeV/c under the five hypotheses.
    """

    z: FloatArray
    rho: FloatArray
    is_positive: BoolArray
    p: FloatArray


def _momenta(columns: Columns, chosen: IntArray) -> FloatArray:
    """Return momenta in GeV/c (N, 5) of the fit under each hypothesis, of the pion's where there is no other."""
    suffixes = [s if columns.has("Track", f"kappa{s}") else "" for s in SUFFIXES]
    helices = [[columns.flat("Track", name + s)[chosen] for name in ("kappa", "tanl")] for s in suffixes]
    return np.stack([momentum(kappa, tanl) for kappa, tanl in helices], axis=1)


@kernel
def _evaluate(
    tof: TofRecords,
    track: Extrapolated,
    parameters: TofCorr,
    window: tuple[float, float],
    chi: FloatArray,
) -> int:
    """Write chi and return how many ends have no record; their counter's stands for them."""
    found = np.empty(N_PLACES, dtype=np.int64)
    dt, sigma = np.empty((len(MASSES), N_PLACES)), np.empty((len(MASSES), N_PLACES))
    lacking = 0
    for i in range(len(chi)):
        chi[i, :] = np.nan
        final = _find(tof.status, tof.counter, tof.bounds[i], tof.bounds[i + 1], found)
        if final < 0:
            continue
        for end in range(INNER):
            if found[end] < 0 and found[INNER + end // 2] >= 0:
                found[end] = found[INNER + end // 2]
                lacking += 1
        for h in range(len(MASSES)):
            p = track.p[i, h]
            of = Hypothesis(h, p, p / MASSES[h], 0 if track.is_positive[i] else 1)
            _measure(tof, found, of, (track.z[i, 0], track.z[i, 1], track.rho[i]), parameters, dt[h], sigma[h])
        if final == BOTH:
            final = _good_layers(dt, sigma, window)
        for h in range(len(MASSES)):
            if final >= 0:
                chi[i, h] = dt[h, final] / sigma[h, final] if tof.is_reached[found[final], h] else NEVER
    return lacking


@kernel
def _find(status: IntArray, counter: IntArray, first: int, last: int, found: IntArray) -> int:
    """Note the record of each place, -1 without, and return the place that measures the track; -1: none does."""
    if find(status, first, last, tof_pid.RAW, tof_pid.RAW)[1]:
        return -1
    mask = tof_pid.BARREL | tof_pid.READOUT | tof_pid.LAYERS
    for layer, bits in enumerate((tof_pid.INNER, tof_pid.OUTER)):
        end = tof_pid.BARREL | tof_pid.READOUT | bits
        found[2 * layer], _ = find(status, first, last, mask | tof_pid.EAST, end | tof_pid.EAST)
        found[2 * layer + 1], _ = find(status, first, last, mask | tof_pid.EAST, end)
        middle = tof_pid.BARREL | tof_pid.COUNTER | bits
        found[INNER + layer], _ = find(status, first, last, mask | tof_pid.COUNTER, middle)
    kinds = tof_pid.READOUT | tof_pid.COUNTER | tof_pid.CLUSTER
    found[BOTH], _ = find(status, first, last, kinds, tof_pid.CLUSTER)
    whole = tof_pid.COUNTER | tof_pid.CLUSTER
    found[ENDCAP], _ = find(status, first, last, whole | tof_pid.BARREL, whole)
    only, _ = find(status, first, last, whole | tof_pid.BARREL, whole | tof_pid.BARREL)
    if not _are_counters(status, counter, found):
        return -1
    if found[ENDCAP] >= 0:
        return ENDCAP
    for at in range(BOTH):
        if only >= 0 and found[at] == only:
            return at
    return BOTH if found[BOTH] >= 0 else -1


@kernel
def _are_counters(status: IntArray, counter: IntArray, found: IntArray) -> bool:
    """Whether the numbers of the counters are such as there are."""
    for at in range(BOTH):
        if found[at] >= 0 and not 0 <= counter[found[at]] < N_COUNTERS:
            return False
    if found[ENDCAP] >= 0 and not status[found[ENDCAP]] & tof_pid.MRPC:
        return 0 <= counter[found[ENDCAP]] < N_COUNTERS_ENDCAP
    return True


@kernel
def _good_layers(dt: FloatArray, sigma: FloatArray, window: tuple[float, float]) -> int:
    """Return both layers where each has a hypothesis in the window, the one that has, or -1."""
    is_good = [False, False]
    for layer in range(2):
        for h in range(len(dt)):
            if window[0] < dt[h, INNER + layer] / sigma[h, INNER + layer] < window[1]:
                is_good[layer] = True
    if is_good[0] and is_good[1]:
        return BOTH
    return INNER if is_good[0] else INNER + 1 if is_good[1] else -1


@kernel
def _measure(
    tof: TofRecords,
    found: IntArray,
    of: Hypothesis,
    at: tuple[float, float, float],
    parameters: TofCorr,
    dt: FloatArray,
    sigma: FloatArray,
) -> None:
    """Write the corrected deviation and the resolution in ns at every place under a hypothesis, NaN without a record.

    Args:
        tof: The records.
        found: (8,) record of each place.
        of: The hypothesis.
        at: z at the two layers and rho at the end cap in cm.
        parameters: Those of the run.
        dt: (8,) to write to.
        sigma: (8,) to write to.
    """
    dt[:] = np.nan
    sigma[:] = np.nan
    if found[ENDCAP] >= 0:
        dt[ENDCAP], sigma[ENDCAP] = _endcap(tof, found[ENDCAP], of, at[2], parameters)
        return
    for layer in range(2):
        for place in (2 * layer, 2 * layer + 1):
            if found[place] >= 0:
                dt[place], sigma[place] = _one_end(tof, found[place], of, place, at[layer], parameters)
        if found[INNER + layer] >= 0:
            ends = dt[2 * layer], dt[2 * layer + 1]
            record = found[INNER + layer]
            dt[INNER + layer], sigma[INNER + layer] = _layer(
                tof, record, of, INNER + layer, at[layer], ends, parameters
            )
    if found[BOTH] >= 0 and found[INNER] >= 0 and found[INNER + 1] >= 0:
        counters = tof.counter[found[INNER]], tof.counter[found[INNER + 1]]
        layers = dt[INNER], dt[INNER + 1]
        dt[BOTH], sigma[BOTH] = _both_layers(tof, found[BOTH], of, counters, at, layers, parameters)


@kernel
def _one_end(tof: TofRecords, r: int, of: Hypothesis, place: int, z: float, parameters: TofCorr) -> tuple[float, float]:
    if of.species <= MU:
        return tof.deviation[r, of.species], _power(parameters.counter_sigma[tof.counter[r], place % 2], z)
    return tof.deviation[r, of.species] - _offset(parameters, of, place, z), _sigma(parameters, of, place, z)


@kernel
def _layer(
    tof: TofRecords,
    r: int,
    of: Hypothesis,
    place: int,
    z: float,
    ends: tuple[float, float],
    parameters: TofCorr,
) -> tuple[float, float]:
    counter = parameters.counter_sigma[tof.counter[r]]
    if of.species <= MU:
        return tof.deviation[r, of.species], _power(counter[2], z)
    share, _ = mean(_power(counter[0], z), _power(counter[1], z), parameters.common[0])
    dt = share * ends[0] + (1.0 - share) * ends[1] - _offset(parameters, of, place, z)
    return dt, _sigma(parameters, of, place, z)


@kernel
def _both_layers(
    tof: TofRecords,
    r: int,
    of: Hypothesis,
    counters: tuple[int, int],
    at: tuple[float, float, float],
    layers: tuple[float, float],
    parameters: TofCorr,
) -> tuple[float, float]:
    inner = _power(parameters.counter_sigma[counters[0], 2], at[0])
    outer = _power(parameters.counter_sigma[counters[1], 2], at[1])
    share, sigma = mean(inner, outer, parameters.common[0])
    if of.species <= MU:
        return tof.deviation[r, of.species], sigma
    dt = share * layers[0] + (1.0 - share) * layers[1] - _offset(parameters, of, BOTH, at[0])
    return dt, _sigma(parameters, of, BOTH, at[0])


@kernel
def _endcap(tof: TofRecords, r: int, of: Hypothesis, rho: float, parameters: TofCorr) -> tuple[float, float]:
    dt = tof.deviation[r, of.species]
    if tof.status[r] & tof_pid.MRPC:
        return dt, strip_sigma(tof.counter[r], of.p) * (MRPC_PROTON if of.species == PROTON else 1.0)
    if of.species <= MU:
        return dt, _power(parameters.endcap_sigma[tof.counter[r]], rho)
    return dt - _offset(parameters, of, ENDCAP, rho), _sigma(parameters, of, ENDCAP, rho)


@kernel
def _is_slow(of: Hypothesis) -> bool:
    return of.species == PROTON and of.p < SLOW


@kernel
def _offset(parameters: TofCorr, of: Hypothesis, place: int, z: float) -> float:
    """Return what to subtract from a time of pi, K or p in ns: of means of ends only slow protons' own offset."""
    if abs(z) > Z_MAX:
        return -OUTSIDE
    if _is_slow(of):
        row, column = _slow_bin(of.p, z, place)
        if place == ENDCAP:
            return parameters.slow_offset_endcap[of.charge, row, column]
        return parameters.slow_offset[of.charge, place, row, column]
    if INNER <= place <= BOTH:
        return 0.0
    of_place = INNER if place == ENDCAP else place
    walk = parameters.walk[1 if of.species == PROTON else 0, of_place, of.charge]
    pulse = _pulse(parameters.pulse[2 if place == ENDCAP else place // 2], of.beta_gamma)
    return _walk(walk[0], z) + _walk(walk[1], z) / math.sqrt(pulse)


@kernel
def _walk(c: FloatArray, z: float) -> float:
    """Return a polynomial of degree 7 and a Gaussian in z."""
    gauss = c[5] * math.exp(-0.5 * ((z - c[6]) / c[7]) ** 2)
    return _power(c[:5], z) + gauss + z**5 * _power(c[8:], z)


@kernel
def _pulse(c: FloatArray, beta_gamma: float) -> float:
    """Return the pulse height of a particle; the formula is that of its energy loss."""
    power = (beta_gamma / math.sqrt(1.0 + beta_gamma * beta_gamma)) ** c[3]
    return c[0] * (c[1] - power - math.log(c[2] + beta_gamma ** -c[4])) / power


@kernel
def _sigma(parameters: TofCorr, of: Hypothesis, place: int, z: float) -> float:
    """Return the resolution in ns of a time of pi, K or p."""
    if _is_slow(of):
        row, column = _slow_bin(of.p, z, place)
        if place == ENDCAP:
            sigma = parameters.slow_sigma_endcap[of.charge, row, column]
        else:
            sigma = parameters.slow_sigma[of.charge, place, row, column]
        return SIGMA_SLOW if sigma == NO_SIGMA else sigma
    c = parameters.sigma[of.species - PION + (of.charge if of.species == PROTON else 0), place]
    if place == ENDCAP:
        sigma = _power(c[:4], z)
    elif of.species == PROTON:
        sigma = _power(c, z)
    else:
        sigma = _power(c[:10], z) + c[10] / (Z_END - z) ** 2 + c[11] / (Z_END + z) ** 2
    if of.species == PION:
        a, b, middle, width = parameters.pion_scale
        sigma *= a + b * math.exp(-(of.beta_gamma - middle) / width)
    return sigma


@kernel
def _slow_bin(p: float, z: float, place: int) -> tuple[int, int]:
    """Return row and column in the tables of slow protons; beyond their ends, the ends."""
    row = _bin(p, SLOW_FIRST, SLOW, N_P)
    if place == ENDCAP:
        return row, _bin(z, RHO_FIRST, RHO_LAST, N_RHO)
    return row, _bin(z, -Z_END, Z_END, N_Z)


@kernel
def _bin(value: float, first: float, last: float, n: int) -> int:
    return min(max(int((value - first) / ((last - first) / n)), 0), n - 1)


@kernel
def _power(c: FloatArray, z: float) -> float:
    """Return a polynomial in z, its coefficients in rising order."""
    total = 0.0
    for i in range(len(c) - 1, -1, -1):
        total = total * z + c[i]
    return total
