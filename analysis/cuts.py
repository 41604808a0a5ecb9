"""The decay that is searched for and every requirement of the publication's section III, with unit and place.

A variation is a copy: ``dataclasses.replace(SELECTION, chi2_4c_max=25.0)``. The README's cut table is made from here.
Where the publication names a requirement without a number, `source` says that the value is ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args, get_type_hints

from jpsi_lnv.analysis import channel
from jpsi_lnv.analysis.constants import CHI2_MAX, M_JPSI, PID_HYPOTHESES
from jpsi_lnv.analysis.documents import digest_of_json

OURS = "ours: the publication gives no number"
BOSS = "BOSS ParticleID, setChiMinCut"
# Particles of a final state: the fit is compiled anew for each number of them.
N_TRACKS_MIN, N_TRACKS_MAX = 2, 6
N_TRACKS_OF_VERTEX = 4
N_PHOTONS_MAX = 4


def requirement(default: Any, *, unit: str, source: str, meaning: str) -> Any:
    """Return a dataclass field that carries its unit, its place in the publication and its meaning."""
    return dataclasses.field(default=default, metadata={"unit": unit, "source": source, "meaning": meaning})


# The requirements that say which decay is searched for.
DECAY: Final = ("final_state", "alternatives", "intermediates", "missing")


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """A decay of the J/psi that is searched for, and the requirements, in the order they are applied."""

    final_state: str = requirement(
        "K+ K+ e- e-",
        unit="",
        source="III, par. 1",
        meaning="the decay, with its conjugate: as many good tracks at least, and as many of each species",
    )
    alternatives: str = requirement(
        "K+ K- pi+ pi-, K+ K- K+ K-, pi+ pi- pi+ pi-",
        unit="",
        source="III, par. 3",
        meaning="what the tracks may be instead: none has a smaller chi2",
    )
    intermediates: str = requirement(
        "",
        unit="",
        source=OURS,
        meaning="what some particles come from, its mass a constraint of the fit, and the window of the measured mass",
    )
    missing: str = requirement("", unit="", source=OURS, meaning="the one neutral particle that is not seen")
    cos_theta_max: float = requirement(
        0.93, unit="", source="III, par. 1", meaning="largest |cos theta| of a good track"
    )
    track_helix: Literal["kalman", "mdc"] = requirement(
        "kalman",
        unit="",
        source="III, par. 1; " + OURS,
        meaning="helix of good tracks: of the Kalman filter as pion, or of the MDC's own fit as BOSS's users take it",
    )
    r_xy_max: float = requirement(
        1.0, unit="cm", source="III, par. 1", meaning="a good track's distance to the interaction point in xy is below"
    )
    r_z_max: float = requirement(
        10.0, unit="cm", source="III, par. 1", meaning="a good track's distance to the interaction point in z is below"
    )
    net_charge: int = requirement(0, unit="e", source="III, par. 1", meaning="sum of the good tracks' charges")
    pid_identify: str = requirement(
        "e pi k",
        unit="",
        source="BOSS ParticleID, identify; " + OURS,
        meaning="hypotheses (of e mu pi k p) of which one has to fit for a subsystem to count",
    )
    pid_dedx_chi_min: float = requirement(-4.0, unit="sigma", source=BOSS, meaning="dE/dx fits with chi above")
    pid_dedx_chi_max: float = requirement(4.0, unit="sigma", source=BOSS, meaning="dE/dx fits with chi below")
    pid_tof: Literal["record", "tof12e", "tofcorr"] = requirement(
        "record",
        unit="",
        source="BOSS ParticleID; " + OURS,
        meaning="time of flight: one record of a track, or BOSS's TOF1, TOF2 and TOFE, or its TofCorr",
    )
    pid_tof_chi_min: float = requirement(-4.0, unit="sigma", source=BOSS, meaning="TOF fits with chi above")
    pid_tof_chi_max: float = requirement(
        4.0, unit="sigma", source=BOSS + "; setChiMaxCut for TofCorr: 6", meaning="TOF fits with chi below"
    )
    pid_emc: bool = requirement(
        True, unit="", source="III, par. 2", meaning="EMC energy and shower shape enter the confidence levels"
    )
    pid_emc_chi_min: float = requirement(-4.0, unit="sigma", source=BOSS, meaning="EMC fits with chi above")
    pid_emc_chi_max: float = requirement(4.0, unit="sigma", source=BOSS, meaning="EMC fits with chi below")
    pid_muc: bool = requirement(
        False, unit="", source="BOSS ParticleID", meaning="muon chambers enter the confidence levels"
    )
    pid_muc_chi_min: float = requirement(-4.0, unit="sigma", source=BOSS, meaning="muon chambers fit with chi above")
    pid_muc_chi_max: float = requirement(4.0, unit="sigma", source=BOSS, meaning="muon chambers fit with chi below")
    cl_e_min: float = requirement(0.001, unit="", source="III, par. 2", meaning="electron: CL_e above")
    cl_e_ratio_min: float = requirement(
        0.8, unit="", source="III, par. 2", meaning="electron: CL_e/(CL_e+CL_K+CL_pi) above"
    )
    e_over_p_electron_min: float = requirement(0.8, unit="c", source="III, par. 2", meaning="electron: E/p above")
    e_over_p_electron_max: float = requirement(1.2, unit="c", source="III, par. 2", meaning="electron: E/p below")
    cl_hadron_min: float = requirement(
        0.0, unit="", source="III, par. 2", meaning="kaon: CL_K above (and above CL_pi); pion, proton alike"
    )
    e_over_p_hadron_max: float = requirement(
        0.8, unit="c", source="III, par. 2", meaning="kaon, pion, proton: E/p below"
    )
    cl_mu_min: float = requirement(0.001, unit="", source=OURS, meaning="muon: CL_mu above (and above CL_e and CL_K)")
    emc_energy_muon_max: float = requirement(0.3, unit="GeV", source=OURS, meaning="muon: energy in the EMC below")
    muc_depth_min: float = requirement(
        30.0, unit="cm", source=OURS, meaning="muon: depth in the muon chambers above, of momenta that reach them"
    )
    muc_p_min: float = requirement(
        0.8, unit="GeV/c", source=OURS, meaning="muon: momentum above which the depth is asked for"
    )
    permutations: Literal["one", "all"] = requirement(
        "all",
        unit="",
        source="III, par. 3: smallest among all possible assignments",
        meaning="assignments of an alternative to the tracks that compete: all, or the one best by PID",
    )
    vertex_fit: Literal["none", "free", "beam"] = requirement(
        "none",
        unit="",
        source="III, par. 3; " + OURS,
        meaning="fit of the tracks to a common vertex before the 4C fit: none, free, or held by the beams' spread",
    )
    beam_spread: float = requirement(
        0.0, unit="GeV", source="III, par. 3; " + OURS, meaning="energy spread of each beam in the 4C fit; 0: none"
    )
    fit_limits: Literal["own", "boss"] = requirement(
        "own",
        unit="",
        source="III, par. 3; " + OURS + "; boss: KalmanKinematicFit",
        meaning="end of the 4C fit: chi2 steady to 0.001 and energy to 1 keV in 20 steps, or chi2 to 0.005 in 10",
    )
    chi2_4c_max: float = requirement(20.0, unit="", source="III, par. 3", meaning="chi2 of the 4C fit below")
    conversion_partners: Literal["all", "not_kaons"] = requirement(
        "all",
        unit="",
        source="III, par. 3; " + OURS,
        meaning="partners of an electron in the veto: every good track of opposite charge, or none read as kaon",
    )
    conversion_delta_xy_max: float = requirement(
        0.3, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: gap or overlap of the two circles below"
    )
    conversion_m_ee_max: float = requirement(
        0.05, unit="GeV/c^2", source="III, par. 3; " + OURS, meaning="conversion: m(ee) at the conversion point below"
    )
    conversion_radius_min: float = requirement(
        2.0, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: radius of the conversion point above"
    )
    conversion_radius_max: float = requirement(
        7.5, unit="cm", source="III, par. 3; " + OURS, meaning="conversion: radius of the conversion point below"
    )
    m_signal_min: float = requirement(
        3.07, unit="GeV/c^2", source="III, par. 4", meaning="signal region: mass of all particles from"
    )
    m_signal_max: float = requirement(
        3.12, unit="GeV/c^2", source="III, par. 4", meaning="signal region: mass of all particles to"
    )

    def __post_init__(self) -> None:
        """Refuse a decay that cannot be, an empty window, a chi2 that is not decided about, names of no hypothesis."""
        self._require_decay()
        if self.chi2_4c_max > CHI2_MAX:
            msg = f"chi2_4c_max {self.chi2_4c_max:g}: wanted at most {CHI2_MAX:g}, above which no fit is decided"
            raise ValueError(msg)
        names = self.pid_identify.split()
        if not names or not set(names) <= set(PID_HYPOTHESES):
            msg = f"pid_identify {self.pid_identify!r}: wanted names of hypotheses, among {' '.join(PID_HYPOTHESES)}"
            raise ValueError(msg)
        values = vars(self)
        for low in (name for name in values if name.endswith("_min")):
            high = f"{low.removesuffix('_min')}_max"
            if high in values and not values[low] < values[high]:
                msg = f"{low} {values[low]} and {high} {values[high]}: wanted the first below the second"
                raise ValueError(msg)

    def _require_decay(self) -> None:
        """Raise ValueError for a final state that the J/psi cannot decay to, or that cannot be fitted."""
        searched = self.channel
        n, charge, mass = len(searched.slots), sum(searched.charges), sum(searched.masses)
        mass += searched.unseen.mass if searched.unseen else 0.0
        if charge != 0:
            wrong = f"its charges add up to {charge:+d}, wanted 0, that of the J/psi"
        elif not N_TRACKS_MIN <= n <= N_TRACKS_MAX:
            wrong = f"got {n} particles, wanted {N_TRACKS_MIN} to {N_TRACKS_MAX}"
        elif searched.n_photons > N_PHOTONS_MAX:
            wrong = f"got {searched.n_photons} photons, wanted at most {N_PHOTONS_MAX}"
        elif mass >= M_JPSI:
            wrong = f"its particles weigh {mass:.4g} GeV/c^2, wanted less than the J/psi, {M_JPSI:.4g}"
        elif sorted(searched.final_state) in map(sorted, searched.alternatives):
            wrong = f"it is among its alternatives, {self.alternatives!r}"
        elif self.vertex_fit != "none" and (n != N_TRACKS_OF_VERTEX or searched.n_photons or not searched.is_closed):
            wrong = f"vertex_fit {self.vertex_fit!r} is of {N_TRACKS_OF_VERTEX} tracks and nothing else; wanted none"
        else:
            return
        msg = f"final_state {self.final_state!r}: {wrong}"
        raise ValueError(msg)

    @cached_property
    def channel(self) -> channel.Channel:
        """The decay with what competes with it."""
        return channel.read(self.final_state, self.alternatives, self.intermediates, self.missing)

    def pid_window(self, subsystem: str) -> tuple[float, float]:
        """Return the window of chi in which a subsystem of the identification counts: dedx, tof, emc or muc."""
        return getattr(self, f"pid_{subsystem}_chi_min"), getattr(self, f"pid_{subsystem}_chi_max")

    def digest(self) -> str:
        """Return a short digest of every value: two results agree in it only if their cuts do."""
        return digest_of_json(dataclasses.asdict(self))


def changed(cuts: Cuts, settings: Iterable[str]) -> Cuts:
    """Return the requirements with some of them set to other values.

    Args:
        cuts: The requirements.
        settings: Such as ``chi2_4c_max=25``.

    Raises:
        ValueError: No requirement of that name, one given twice, no value of its kind, or a window that ends before it
            begins.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in _KINDS or name in values:
            what = "is given twice" if name in values else "does not exist"
            msg = f"{setting!r}: requirement {name!r} {what}; wanted NAME=VALUE, names among {', '.join(_KINDS)}"
            raise ValueError(msg)
        values[name] = _value(name, text)
    return dataclasses.replace(cuts, **values)


def _value(name: str, text: str) -> Any:
    """Return the value of a requirement that a text gives."""
    kind, about = _KINDS[name], _FIELDS[name].metadata
    choices: dict[str, Any] = {"true": True, "false": False} if kind is bool else {c: c for c in get_args(kind)}
    if kind is str:
        return text
    value = choices.get(text) if choices else _number(kind, text)
    if value is None:
        number = "a whole number" if kind is int else "a finite number"
        wanted = " or ".join(choices) or " in ".join(filter(None, (number, about["unit"])))
        msg = f"{name}={text}: {about['meaning']}; wanted {wanted}"
        raise ValueError(msg)
    return value


def _number(kind: Any, text: str) -> float | None:
    try:
        number: float = kind(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


SELECTION = Cuts()
_FIELDS: Final = {f.name: f for f in dataclasses.fields(Cuts)}
_KINDS: Final = get_type_hints(Cuts)
# The identification as BOSS's users vary it, each as changes of the requirements:
# ``dataclasses.replace(SELECTION, **PID_VARIANTS["tofcorr"])``.
PID_VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "tof12e": {"pid_tof": "tof12e"},
    "tofcorr": {"pid_tof": "tofcorr", "pid_tof_chi_max": 6.0},
    "all_five": {"pid_identify": "e mu pi k p"},
}
