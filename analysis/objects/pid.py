"""Particle identification as BOSS's ParticleID does it, chi, sums of chi2, confidence levels; electrons and kaons.

A subsystem (dE/dx, TOF, EMC, muon chambers) measures a track if it has a valid measurement and at least one of the
hypotheses that the cuts ask for has its chi within the subsystem's window; it then adds its chi2 to all of them. The
confidence level (CL) of a hypothesis is the survival probability of its sum, with the same number of subsystems for
all. A track that no subsystem measures has no CL: -1, which no requirement accepts.

Source: BOSS ParticleID, probability method (setChiMinCut, setChiMaxCut, identify, IsPidInfoValid); publication III,
par. 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray, RealArray, kernel
from jpsi_lnv.analysis.constants import Species
from jpsi_lnv.analysis.cuts import Cuts
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.events.schema import PID_HYPOTHESES, branch
from jpsi_lnv.analysis.objects import chi_correction, emc_pid, networks, tof_pid, tofcorr, tracks
from jpsi_lnv.analysis.objects.calibration import Calibration, Constants, given, simulated
from jpsi_lnv.analysis.objects.emc_pid import EmcTables
from jpsi_lnv.analysis.objects.networks import Network

Window = tuple[float, float]

# The hypotheses that are compared, in the order of `Species`.
CONSIDERED: Final = ("e", "pi", "k")
INVALID: Final = -1.0
# Hadrons of which one must be likelier than the others.
RIVALS: Final = {Species.PI: (Species.K,), Species.K: (Species.PI,), Species.P: (Species.PI, Species.K)}


class Identification(NamedTuple):
    """What the subsystems say of T tracks, for e, pi, K or other hypotheses.

    Attributes:
        cl: (T, S) confidence levels; -1 without any measurement.
        chi2: (T, S) sums of chi2; 0 without any measurement.
        ndof: (T,) subsystems that measured.
    """

    cl: FloatArray
    chi2: FloatArray
    ndof: npt.NDArray[np.int8]


class Question(NamedTuple):
    """Which hypotheses a subsystem is asked about.

    Attributes:
        hypotheses: H names, the considered ones first.
        asked: Indices of those of which one has to fit.
    """

    hypotheses: tuple[str, ...]
    asked: tuple[int, ...]

    @property
    def of_five(self) -> list[int]:
        """Places of the hypotheses among all five."""
        return [PID_HYPOTHESES.index(name) for name in self.hypotheses]


class Measurement(NamedTuple):
    """chi ``(T, H)`` of a subsystem, not finite where it did not measure, and the window of chi in which it counts."""

    chi: FloatArray
    window: Window


Measurements = tuple[Measurement, ...]


# What measures N chosen tracks of a chunk whose runs have these constants.
Subsystem = Callable[[Columns, Constants, IntArray, Cuts, Question], Measurements]


def reads(hypotheses: Sequence[str]) -> frozenset[str]:
    """Return the branches that dE/dx and TOF of some hypotheses are read from, without a variant of the TOF."""
    dedx = ("dedx_n_hits", *(f"dedx_chi_{h}" for h in hypotheses))
    return tof_pid.reads(hypotheses) | {branch("Track", name) for name in dedx}


def identify(
    columns: Columns,
    cuts: Cuts,
    chosen: IntArray | None = None,
    calibration: Calibration | None = None,
    considered: tuple[str, ...] = CONSIDERED,
) -> Identification:
    """Identify tracks with the subsystems that the cuts name.

    Args:
        columns: The chunk.
        cuts: The requirements.
        chosen: Indices of the tracks to identify, in the order of the result; all where it is left out.
        calibration: Constants of the runs; those of the package's simulation where it is left out.
        considered: Hypotheses to identify instead of e, pi, K.

    Raises:
        CalibrationError: A run has no constants, or none of a subsystem that the cuts name.
        SchemaError: The file lacks what a subsystem is computed from.
    """
    if chosen is None:
        chosen = np.arange(len(columns.flat("Track", "dedx_n_hits")))
    question = _question(cuts, considered)
    found = (_by_runs(columns, s, chosen, calibration, cuts, question) for s in _subsystems(cuts))
    measurements = [measurement for of_subsystem in found for measurement in of_subsystem]
    return confidence_levels(measurements, question.asked, len(considered))


def is_measured(columns: Columns, cuts: Cuts, needed: BoolArray, calibration: Calibration | None = None) -> BoolArray:
    """Return the tracks that any subsystem measures: those to which `identify` gives confidence levels, ``(T,)``.

    A subsystem is asked only about the tracks that those before it did not measure.

    Args:
        columns: The chunk.
        cuts: The requirements.
        needed: (T,) tracks to look at; the others count as not measured.
        calibration: Constants of the runs; those of the package's simulation where it is left out.
    """
    measured, question = np.zeros(len(needed), dtype=np.bool_), _question(cuts, CONSIDERED)
    # Nearly every track has a dE/dx: all are asked in one pass.
    chi_dedx = tuple(columns.flat("Track", f"dedx_chi_{h}") for h in question.hypotheses)
    n_hits, window = columns.flat("Track", "dedx_n_hits"), cuts.pid_window("dedx")
    _mark_dedx(needed, n_hits, chi_dedx, question.asked, window, measured)
    rest = np.flatnonzero(needed & ~measured)
    for subsystem in _subsystems(cuts)[1:]:
        for chi, window in _by_runs(columns, subsystem, rest, calibration, cuts, question):
            _mark(chi, question.asked, window, rest, measured)
        rest = rest[~measured[rest]]
    return measured


def _question(cuts: Cuts, considered: tuple[str, ...]) -> Question:
    """Return the considered hypotheses, and those that the cuts ask for."""
    names = cuts.pid_identify.split()
    hypotheses = (*considered, *(name for name in names if name not in considered))
    return Question(hypotheses, tuple(hypotheses.index(name) for name in names))


def _by_runs(
    columns: Columns,
    subsystem: Subsystem,
    chosen: IntArray,
    calibration: Calibration | None,
    cuts: Cuts,
    question: Question,
) -> Measurements:
    """Return what a subsystem says of chosen tracks, each with the constants of its run."""
    of_runs = calibration or simulated()
    parts = of_runs.parts(columns.scalar("run"))
    if len(parts) <= 1:
        # A chunk without events gets arrays of their form all the same.
        return subsystem(columns, parts[0][0] if parts else of_runs.ranges[0].constants, chosen, cuts, question)
    event = np.searchsorted(columns.offsets("Track"), chosen, side="right") - 1
    of_parts = [np.flatnonzero(events[event]) for _, events in parts]
    found = [
        subsystem(columns, constants, chosen[rows], cuts, question)
        for (constants, _), rows in zip(parts, of_parts, strict=True)
    ]
    order = np.argsort(np.concatenate(of_parts))
    return tuple(
        Measurement(np.concatenate([m.chi for m in same])[order], same[0].window) for same in zip(*found, strict=True)
    )


def _subsystems(cuts: Cuts) -> tuple[Subsystem, ...]:
    """Return what measures tracks, dE/dx first."""
    return (_dedx, _tof, *((_emc,) if cuts.pid_emc else ()), *((_muc,) if cuts.pid_muc else ()))


def _dedx(columns: Columns, _: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    return (Measurement(dedx_chi(columns, question.hypotheses, chosen), cuts.pid_window("dedx")),)


def _tof(columns: Columns, constants: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    """Return what the variant of the time of flight says that the cuts name, with its corrections."""
    measured = _TOF[cuts.pid_tof](columns, constants, chosen, cuts, question)
    for name, correction in (constants.chi or {}).get(cuts.pid_tof, {}).items():
        if name in question.hypotheses:
            at = question.hypotheses.index(name)
            for chi, _ in measured:
                chi[:, at] = chi_correction.corrected(columns, chi[:, at], name, correction, chosen)
    return measured


def _tof_record(columns: Columns, _: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    return (Measurement(tof_pid.record_chi(columns, question.hypotheses, chosen), cuts.pid_window("tof")),)


def _tof12e(columns: Columns, _: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    window = cuts.pid_window("tof")
    both = tof_pid.barrel_and_endcap_chi(columns, chosen, window)
    return tuple(Measurement(chi[:, question.of_five], window) for chi in both)


def _tofcorr(columns: Columns, constants: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    window = cuts.pid_window("tof")
    chi = tofcorr.chi(columns, given(constants.tofcorr, "tofcorr"), chosen, window)
    return (Measurement(chi[:, question.of_five], window),)


def _emc(columns: Columns, constants: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    of = given(constants.emc, "emc")
    if isinstance(of, EmcTables):
        chi = emc_pid.chi_of_chosen(columns, of, chosen, question.hypotheses)
    else:
        chi = networks.emc_chi(columns, cast("Network", of), chosen)[:, question.of_five]
    return (Measurement(chi, cuts.pid_window("emc")),)


def _muc(columns: Columns, constants: Constants, chosen: IntArray, cuts: Cuts, question: Question) -> Measurements:
    chi = networks.muc_chi(columns, given(constants.muc, "muc"), chosen)
    return (Measurement(chi[:, question.of_five], cuts.pid_window("muc")),)


_TOF: Final[dict[str, Subsystem]] = {"record": _tof_record, "tof12e": _tof12e, "tofcorr": _tofcorr}


def dedx_chi(columns: Columns, hypotheses: Sequence[str] = CONSIDERED, chosen: IntArray | None = None) -> FloatArray:
    """Return chi of dE/dx for e, pi, K or other hypotheses, ``(T, H)``; NaN without a measurement.

    Args:
        columns: The chunk.
        hypotheses: Names of H hypotheses.
        chosen: Indices of the tracks to look at, in the order of the result; all where it is left out.
    """
    n_hits = columns.flat("Track", "dedx_n_hits")
    if chosen is None:
        chosen = np.arange(len(n_hits))
    chi = np.empty((len(chosen), len(hypotheses)))
    _take_dedx(chosen, n_hits, tuple(columns.flat("Track", f"dedx_chi_{h}") for h in hypotheses), chi)
    return chi


def tof_chi(
    columns: Columns, cuts: Cuts, chosen: IntArray, calibration: Calibration | None, hypotheses: tuple[str, ...]
) -> tuple[FloatArray, ...]:
    """Return chi of the time of flight for H hypotheses, ``(N, H)``; NaN without a measurement.

    Args:
        columns: The chunk.
        cuts: The requirements, which name the variant.
        chosen: (N,) indices of the tracks.
        calibration: Constants of the runs; those of the package's simulation where it is left out.
        hypotheses: Names of H hypotheses.

    Returns:
        One array, or those of barrel and end caps where the variant has them apart.
    """
    question = Question(hypotheses, tuple(range(len(hypotheses))))
    return tuple(chi for chi, _ in _by_runs(columns, _tof, chosen, calibration, cuts, question))


def confidence_levels(
    measurements: Sequence[Measurement], asked: tuple[int, ...] = (0, 1, 2), n_considered: int = len(CONSIDERED)
) -> Identification:
    """Combine the chi of subsystems.

    Args:
        measurements: What each subsystem says of T tracks; of its hypotheses the first ones are identified.
        asked: Indices of the hypotheses of which one has to lie in the window for the subsystem to count.
        n_considered: How many are identified.

    Returns:
        Confidence levels, sums of chi2 and numbers of subsystems.
    """
    if not measurements:
        msg = "got no PID subsystem, wanted at least one"
        raise ValueError(msg)
    shape = len(measurements[0].chi), n_considered
    result = Identification(np.full(shape, INVALID), np.zeros(shape), np.zeros(shape[0], dtype=np.int8))
    for chi, window in measurements:
        _add(np.ascontiguousarray(chi, dtype=np.float64), asked, window, result.chi2, result.ndof)
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


def is_hadron(cl: FloatArray, e_over_p: FloatArray, cuts: Cuts, species: Species = Species.K) -> BoolArray:
    """Return which tracks are kaons: CL_K positive and above CL_pi, E/p below the electrons' (section III, par. 2).

    Pions and protons are asked for alike: their CL above those of the other hadrons.

    Args:
        cl: Confidence levels of the hypotheses in the order of `Species`, shape (tracks, S); -1 without a measurement.
        e_over_p: EMC energy over momentum in units of c, shape (tracks,).
        cuts: The requirements.
        species: Kaon, pion or proton.
    """
    own = cl[:, species]
    is_likeliest = np.all([own > cl[:, other] for other in RIVALS[species]], axis=0)
    return (own > cuts.cl_hadron_min) & is_likeliest & (e_over_p < cuts.e_over_p_hadron_max)


def is_muon(cl: FloatArray, columns: Columns, chosen: IntArray, cuts: Cuts) -> BoolArray:
    """Return which tracks are muons: CL_mu above CL_e and CL_K, little energy in the EMC, and deep in the chambers.

    Args:
        cl: Confidence levels of the hypotheses in the order of `Species`, shape (N, S); -1 without a measurement.
        columns: The chunk.
        chosen: Indices of the N tracks.
        cuts: The requirements.

    Raises:
        SchemaError: The file has no columns of the muon chambers.
    """
    if not columns.has("Track", "muc_depth"):
        msg = (
            f"final_state {cuts.final_state!r}: muons need the muon chambers, and the file has no "
            f"{branch('Track', 'muc_depth')}; wanted files of `lnv skim --keep muon` or `lnv simulate --keep muon`"
        )
        raise SchemaError(msg)
    own = cl[:, Species.MU]
    is_likely = (own > cuts.cl_mu_min) & (own > cl[:, Species.E]) & (own > cl[:, Species.K])
    depth, energy, kappa, tanl = (
        columns.flat("Track", name)[chosen] for name in ("muc_depth", "emc_energy", "kappa", "tanl")
    )
    is_deep = (depth > cuts.muc_depth_min) | (tracks.momentum(kappa, tanl) <= cuts.muc_p_min)
    return np.asarray(is_likely & (energy < cuts.emc_energy_muon_max) & is_deep)


def taken_for(
    species: Species, cl: FloatArray, e_over_p: FloatArray, columns: Columns, chosen: IntArray, cuts: Cuts
) -> BoolArray:
    """Return which of some tracks the requirements take for a species; arguments as of `is_hadron` and `is_muon`."""
    if species == Species.E:
        return is_electron(cl, e_over_p, cuts)
    if species == Species.MU:
        return is_muon(cl, columns, chosen, cuts)
    return is_hadron(cl, e_over_p, cuts, species)


@kernel
def _take_dedx(
    chosen: IntArray, n_hits: npt.NDArray[np.integer], measured: tuple[RealArray, ...], chi: FloatArray
) -> None:
    for i, t in enumerate(chosen):
        for h in range(len(measured)):
            chi[i, h] = np.float64(measured[h][t]) if n_hits[t] > 0 else np.nan


@kernel
def _counts(chi: FloatArray, asked: tuple[int, ...], window: Window) -> bool:
    """Whether a subsystem with these chi measures the track."""
    total = 0.0
    for h in range(len(chi)):
        total += chi[h]
    fits = False
    for h in asked:
        fits |= window[0] < chi[h] < window[1]
    return fits and math.isfinite(total)


@kernel
def _mark_dedx(
    needed: BoolArray,
    n_hits: npt.NDArray[np.integer],
    columns: tuple[RealArray, ...],
    asked: tuple[int, ...],
    window: Window,
    measured: BoolArray,
) -> None:
    """Mark the needed tracks that dE/dx measures."""
    chi = np.empty(len(columns))
    for t in range(len(needed)):
        if needed[t] and n_hits[t] > 0:
            for h in range(len(columns)):
                chi[h] = columns[h][t]
            measured[t] = _counts(chi, asked, window)


@kernel
def _mark(chi: FloatArray, asked: tuple[int, ...], window: Window, tracks: IntArray, measured: BoolArray) -> None:
    """Mark the tracks, of which these are the indices, that a subsystem measures."""
    for i, t in enumerate(tracks):
        if _counts(chi[i], asked, window):
            measured[t] = True


@kernel
def _add(chi: FloatArray, asked: tuple[int, ...], window: Window, chi2: FloatArray, ndof: npt.NDArray[np.int8]) -> None:
    for t in range(len(chi)):
        if _counts(chi[t], asked, window):
            for h in range(chi2.shape[1]):
                chi2[t, h] += chi[t, h] * chi[t, h]
            ndof[t] += 1


@kernel
def _survival_of_all(chi2: FloatArray, ndof: npt.NDArray[np.int8], cl: FloatArray) -> None:
    for t in range(len(chi2)):
        if ndof[t] > 0:
            for h in range(chi2.shape[1]):
                cl[t, h] = survival(chi2[t, h], ndof[t])


@kernel
def survival(chi2: float, ndof: int) -> float:
    """Return the probability to exceed `chi2` with `ndof` degrees of freedom, in closed form.

    Abramowitz & Stegun 26.4.4, 26.4.5 and, from one number to the next but one, 26.4.8.
    """
    exponential = math.exp(-0.5 * chi2)
    if ndof % 2 == 0:
        total, term, n = exponential, 0.5 * chi2 * exponential, 2
    else:
        total, term, n = math.erfc(math.sqrt(0.5 * chi2)), math.sqrt(2.0 * chi2 / math.pi) * exponential, 1
    while n < ndof:
        total += term
        n += 2
        term *= chi2 / n
    return total
