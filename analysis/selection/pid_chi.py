"""chi of dE/dx and of the time of flight of tracks whose species is known otherwise: are they standard normal?

Tag and probe say what the tracks are: electrons in J/psi -> e+ e- (gamma) and 2(e+ e-), kaons in pi0 K+ K- and, with
pions, in K+ K- pi+ pi-, pions in p pbar pi+ pi-. Nothing that is asked of a probe looks at its identification. Variants
of the time of flight whose records a file does not have are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import AnyArray, IntArray
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.objects.calibration import simulated
from jpsi_lnv.analysis.objects.chi_correction import DEDX, SUBSYSTEMS
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.control_fit import HYPOTHESES, KaonEvents, ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import (
    PERIOD,
    PROBE_READS,
    ElectronProbes,
    FourElectronProbes,
    KaonProbes,
)
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS

# Bins of chi: a correction moves and stretches them before it is asked what lies within |chi| < 4.
CHI: Final = hist.axis.Regular(240, -6.0, 6.0, name="chi", label=r"$\chi$")
P: Final = hist.axis.Variable([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.8], name="p", label="$p$ [GeV/$c$]")
COS_THETA: Final = hist.axis.Variable([-1.0, -0.82, -0.4, 0.4, 0.82, 1.0], name="cos_theta", label=r"$\cos\theta$")
SPECIES: Final = hist.axis.StrCategory(pid.CONSIDERED, name="species", label="species")
Tof = Literal["record", "tof12e", "tofcorr"]
TOF: Final[tuple[Tof, ...]] = ("record", "tof12e", "tofcorr")


def probes(search: SearchEvents) -> Iterator[tuple[str, IntArray]]:
    """Yield species and tracks (N,) of the probes of every sample."""
    for view in (ElectronProbes, FourElectronProbes, KaonProbes):
        of = view(search)
        yield pid.CONSIDERED[of.species], np.unique(of.probe[of.is_clean])
    for hadrons in (KaonEvents, ProtonEvents):
        track, place = hadrons(search).probes
        species = np.array(hadrons.species)[place]
        for name in ("pi", "k"):
            yield name, track[species == name]


def measured(search: SearchEvents, name: str, chosen: IntArray) -> Iterator[tuple[str, AnyArray]]:
    """Yield each subsystem that measured tracks of a species and chi (N,) of its own hypothesis, NaN without."""
    yield DEDX, pid.dedx_chi(search.columns, (name,), chosen)[:, 0]
    for variant in TOF:
        if has_variant(search, variant):
            cuts = dataclasses.replace(search.cuts, pid_tof=variant)
            for chi in pid.tof_chi(search.columns, cuts, chosen, search.calibration, (name,)):
                yield variant, chi[:, 0]


def has_variant(search: SearchEvents, variant: Tof) -> bool:
    """Whether the file has the records and the calibration the constants of a variant of the time of flight."""
    ranges = (search.calibration or simulated()).ranges
    has_constants = variant != "tofcorr" or all(r.constants.tofcorr for r in ranges)
    return variant == "record" or (search.columns.has("Tof", "time") and has_constants)


def select(chunk: Chunk) -> dict[str, Found]:
    """Return chi of the probes by subsystem, and how many probes there are of each species."""
    search = chunk.events
    kappa, tanl = (search.columns.flat("Track", n) for n in ("kappa", "tanl"))
    p, cos_theta = tracks.momentum(kappa, tanl), tracks.cos_theta(tanl)
    period = np.repeat(search.columns.scalar("period"), np.diff(search.offsets))
    filled = {name: hist.Hist(PERIOD, SPECIES, P, COS_THETA, CHI, storage=hist.storage.Int64()) for name in SUBSYSTEMS}
    flow = {ALL_EVENTS: chunk.n_read, **dict.fromkeys(pid.CONSIDERED, 0)}
    for species, track in probes(search):
        flow[species] += len(track)
        for subsystem, chi in measured(search, species, track):
            has = track[np.isfinite(chi)]
            filled[subsystem].fill(period[has], species, p[has], cos_theta[has], chi[np.isfinite(chi)])
    return {datasets.PID_CHI: {"cutflow": flow, "histograms": filled}}


PID_CHI: Final = Selection(select, PROBE_READS | pid.reads(HYPOTHESES))
