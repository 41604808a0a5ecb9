"""Particle identification as BOSS's ParticleID does it, chi, sums of chi2, confidence levels; electrons and kaons.

A subsystem (dE/dx, TOF, EMC) measures a track if it has a valid measurement and at least one of the considered
hypotheses e, pi, K lies within `chi_max` of it; it then adds its chi2 to all of them. The confidence level (CL) of a
hypothesis is the survival probability of its sum, with the same number of subsystems for all. A track that no subsystem
measures has no CL: -1, which no requirement accepts.

Source: BOSS ParticleID, probability method (setChiMinCut, IsPidInfoValid); publication III, par. 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, kernel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.events.schema import branch
from jpsi_lnv.analysis.objects.emc_pid import chi_of_chosen, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jpsi_lnv.analysis.cuts import Cuts
    from jpsi_lnv.analysis.events.columns import Columns

Column = npt.NDArray[np.floating]

# The hypotheses that are compared, in the order of `Species`.
CONSIDERED: Final = ("e", "pi", "k")
TOF_GOOD: Final = 1
INVALID: Final = -1.0


class Identification(NamedTuple):
    """What the subsystems say of T tracks, for e, pi, K.

    Attributes:
        cl: (T, 3) confidence levels; -1 without any measurement.
        chi2: (T, 3) sums of chi2; 0 without any measurement.
        ndof: (T,) subsystems that measured.
    """

    cl: FloatArray
    chi2: FloatArray
    ndof: npt.NDArray[np.int8]


def reads(hypotheses: Sequence[str]) -> frozenset[str]:
    """Return the branches that dE/dx and TOF of some hypotheses are read from."""
    measured = ("dedx_n_hits", *(f"tof_{name}" for name in ("time", "sigma", "quality")))
    expected = (f"{kind}_{h}" for kind in ("dedx_chi", "tof_texp") for h in hypotheses)
    return frozenset(branch("Track", name) for name in (*measured, *expected))


def identify(columns: Columns, cuts: Cuts, chosen: IntArray | None = None) -> Identification:
    """Identify tracks with dE/dx, TOF and, unless ``cuts.pid_emc`` is off, the EMC.

    Args:
        columns: The chunk.
        cuts: The requirements.
        chosen: Indices of the tracks to identify, in the order of the result; all where it is left out.
    """
    if chosen is None:
        chosen = np.arange(len(columns.flat("Track", "dedx_n_hits")))
    return confidence_levels(tuple(chi(columns, chosen) for chi in _subsystems(cuts)), cuts.pid_chi_max)


def is_measured(columns: Columns, cuts: Cuts, needed: BoolArray) -> BoolArray:
    """Return the tracks that any subsystem measures: those to which `identify` gives confidence levels, ``(T,)``.

    A subsystem is asked only about the tracks that those before it did not measure.

    Args:
        columns: The chunk.
        cuts: The requirements.
        needed: (T,) tracks to look at; the others count as not measured.
    """
    measured = np.zeros(len(needed), dtype=np.bool_)
    # Nearly every track has a dE/dx: all are asked in one pass.
    chi_dedx = tuple(columns.flat("Track", f"dedx_chi_{h}") for h in CONSIDERED)
    _mark_dedx(needed, columns.flat("Track", "dedx_n_hits"), chi_dedx, cuts.pid_chi_max, measured)
    rest = np.flatnonzero(needed & ~measured)
    for chi in _subsystems(cuts)[1:]:
        n_left = _mark(chi(columns, rest), cuts.pid_chi_max, rest, measured)
        rest = rest[:n_left]
    return measured


def _subsystems(cuts: Cuts) -> tuple[Callable[[Columns, IntArray], FloatArray], ...]:
    """Return what gives chi ``(N, 3)`` of e, pi, K of N chosen tracks, one function per subsystem."""
    return (_dedx_chi, _tof_chi, _emc_chi) if cuts.pid_emc else (_dedx_chi, _tof_chi)


def _dedx_chi(columns: Columns, chosen: IntArray) -> FloatArray:
    return dedx_chi(columns, chosen=chosen)


def _tof_chi(columns: Columns, chosen: IntArray) -> FloatArray:
    return tof_chi(columns, chosen=chosen)


def _emc_chi(columns: Columns, chosen: IntArray) -> FloatArray:
    return chi_of_chosen(columns, load(), chosen)


def dedx_chi(columns: Columns, hypotheses: Sequence[str] = CONSIDERED, chosen: IntArray | None = None) -> FloatArray:
    """Return chi of dE/dx for e, pi, K or other hypotheses, ``(T, 3)``; NaN without a measurement.

    Args:
        columns: The chunk.
        hypotheses: Names of three hypotheses.
        chosen: Indices of the tracks to look at, in the order of the result; all where it is left out.
    """
    n_hits = columns.flat("Track", "dedx_n_hits")
    if chosen is None:
        chosen = np.arange(len(n_hits))
    chi = np.empty((len(chosen), len(hypotheses)))
    _take_dedx(chosen, n_hits, tuple(columns.flat("Track", f"dedx_chi_{h}") for h in hypotheses), chi)
    return chi


def tof_chi(columns: Columns, hypotheses: Sequence[str] = CONSIDERED, chosen: IntArray | None = None) -> FloatArray:
    """Return chi of the time of flight, (measured - expected)/sigma, for e, pi, K or others, ``(T, 3)``; or NaN.

    Args:
        columns: The chunk.
        hypotheses: Names of three hypotheses.
        chosen: Indices of the tracks to look at, in the order of the result; all where it is left out.
    """
    time, sigma, quality = (columns.flat("Track", f"tof_{name}") for name in ("time", "sigma", "quality"))
    if chosen is None:
        chosen = np.arange(len(time))
    chi = np.empty((len(chosen), len(hypotheses)))
    _take_tof(chosen, (time, sigma), quality, tuple(columns.flat("Track", f"tof_texp_{h}") for h in hypotheses), chi)
    return chi


def confidence_levels(subsystems: tuple[FloatArray, ...], chi_max: float) -> Identification:
    """Combine the chi of one to three subsystems.

    Args:
        subsystems: chi ``(T, 3)`` for e, pi, K of each subsystem; not finite where it did not measure.
        chi_max: A subsystem counts if the abs(chi) of any hypothesis is below.

    Returns:
        Confidence levels, sums of chi2 and numbers of subsystems.
    """
    n_closed_forms = 3
    if not 1 <= len(subsystems) <= n_closed_forms:
        msg = f"got {len(subsystems)} PID subsystems, wanted 1 to {n_closed_forms}"
        raise ValueError(msg)
    n = len(subsystems[0])
    result = Identification(np.full((n, 3), INVALID), np.zeros((n, 3)), np.zeros(n, dtype=np.int8))
    for chi in subsystems:
        _add(np.ascontiguousarray(chi, dtype=np.float64), chi_max, result.chi2, result.ndof)
    _survival_of_all(result.chi2, result.ndof, result.cl)
    return result


def cl_ratio(cl: FloatArray, species: int = Species.E) -> FloatArray:
    """Return CL(species)/(CL_e + CL_K + CL_pi) of tracks ``(T, 3)``: 0 where all vanish or none is known."""
    total = cl.sum(axis=1)
    return np.divide(cl[:, species], total, out=np.zeros(len(cl)), where=total > 0)


def e_over_p(emc_energy: npt.ArrayLike, momentum: npt.ArrayLike) -> FloatArray:
    """Return the energy of the EMC cluster over the momentum; 0 without a cluster or with infinite momentum."""
    return np.asarray(emc_energy, dtype=np.float64) / np.asarray(momentum, dtype=np.float64)


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


def is_kaon(cl: FloatArray, e_over_p: FloatArray, cuts: Cuts) -> BoolArray:
    """Return which tracks are kaons: CL_K positive and above CL_pi, E/p below the electrons' (section III, par. 2).

    Args:
        cl: Confidence levels of the e, pi and K hypotheses, shape (tracks, 3); -1 where a track has no measurement.
        e_over_p: EMC energy over momentum in units of c, shape (tracks,).
        cuts: The requirements.
    """
    cl_k = cl[:, Species.K]
    return (cl_k > cuts.cl_k_min) & (cl_k > cl[:, Species.PI]) & (e_over_p < cuts.e_over_p_kaon_max)


@kernel
def _take_dedx(
    chosen: IntArray, n_hits: npt.NDArray[np.integer], measured: tuple[Column, ...], chi: FloatArray
) -> None:
    for i, t in enumerate(chosen):
        for h in range(len(measured)):
            chi[i, h] = np.float64(measured[h][t]) if n_hits[t] > 0 else np.nan


@kernel
def _take_tof(
    chosen: IntArray,
    measured: tuple[Column, Column],
    quality: npt.NDArray[np.integer],
    expected: tuple[Column, ...],
    chi: FloatArray,
) -> None:
    for i, t in enumerate(chosen):
        time, sigma = np.float64(measured[0][t]), np.float64(measured[1][t])
        width = sigma if quality[t] == TOF_GOOD and sigma > 0.0 else np.nan
        for h in range(len(expected)):
            chi[i, h] = (time - np.float64(expected[h][t])) / width


@kernel
def _counts(a: float, b: float, c: float, chi_max: float) -> bool:
    """Whether a subsystem with these chi of three hypotheses measures the track."""
    return math.isfinite(a + b + c) and min(abs(a), abs(b), abs(c)) < chi_max


@kernel
def _mark_dedx(
    needed: BoolArray,
    n_hits: npt.NDArray[np.integer],
    chi: tuple[Column, ...],
    chi_max: float,
    measured: BoolArray,
) -> None:
    """Mark the needed tracks that dE/dx measures."""
    for t in range(len(needed)):
        if needed[t] and n_hits[t] > 0:
            measured[t] = _counts(np.float64(chi[0][t]), np.float64(chi[1][t]), np.float64(chi[2][t]), chi_max)


@kernel
def _mark(chi: FloatArray, chi_max: float, rest: IntArray, measured: BoolArray) -> int:
    """Mark the tracks of `rest` that are measured, move the others to its front and return their number."""
    n_left = 0
    for i, t in enumerate(rest):
        if _counts(chi[i, 0], chi[i, 1], chi[i, 2], chi_max):
            measured[t] = True
        else:
            rest[n_left] = t
            n_left += 1
    return n_left


@kernel
def _add(chi: FloatArray, chi_max: float, chi2: FloatArray, ndof: npt.NDArray[np.int8]) -> None:
    for t in range(len(chi)):
        a, b, c = chi[t, 0], chi[t, 1], chi[t, 2]
        if _counts(a, b, c, chi_max):
            chi2[t, 0] += a * a
            chi2[t, 1] += b * b
            chi2[t, 2] += c * c
            ndof[t] += 1


@kernel
def _survival_of_all(chi2: FloatArray, ndof: npt.NDArray[np.int8], cl: FloatArray) -> None:
    for t in range(len(chi2)):
        if ndof[t] > 0:
            for h in range(chi2.shape[1]):
                cl[t, h] = survival(chi2[t, h], ndof[t])


@kernel
def survival(chi2: float, ndof: int) -> float:
    """Return the probability to exceed `chi2` with 1, 2 or 3 degrees of freedom, in closed form.

    Abramowitz & Stegun 26.4.4 and 26.4.5.
    """
    if ndof == 2:  # noqa: PLR2004 - degrees of freedom
        return math.exp(-0.5 * chi2)
    tail = math.erfc(math.sqrt(0.5 * chi2))
    if ndof == 1:
        return tail
    return tail + math.sqrt(2.0 * chi2 / math.pi) * math.exp(-0.5 * chi2)
