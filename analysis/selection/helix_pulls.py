"""Pulls of the 4C fit in control samples: what the correction of simulated helices is measured with.

In J/psi -> K+ K- pi+ pi-, p pbar pi+ pi- and 2(e+ e-) the fit moves phi0, kappa and tan(lambda) of every track; by how
much, in units of the error of the move, is a pull. With V the covariance of all twelve parameters u, A the derivative
of the four constraints by them and K = V A^T (A V A^T)^-1 A,

    u - u_fit = K (u - u_true),   cov(u - u_fit) = K V

So a shift of parameter k by m_k of its errors s_k moves pull j by R_jk m_k, R_jk = K_jk s_k/sqrt((K V)_jj), and noise
of variance (w_k^2 - 1) s_k^2 adds R_jk^2 (w_k^2 - 1) to the variance of pull j. Both matrices are summed over the
candidates beside the pulls. They add up as integers, so that any chunking gives equal sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import hist
import numpy as np

from jpsi_lnv.analysis import datasets
from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import HALF_CROSSING_ANGLE, M_ELECTRON, Species
from jpsi_lnv.analysis.cuts import OURS, requirement
from jpsi_lnv.analysis.kinfit import fourc
from jpsi_lnv.analysis.objects import pid, tracks
from jpsi_lnv.analysis.objects.helix_correction import PARAMETERS, VARIANCES
from jpsi_lnv.analysis.selection.chunk import Chunk, Found, Selection
from jpsi_lnv.analysis.selection.control_fit import HYPOTHESES, HadronEvents, KaonEvents, ProtonEvents
from jpsi_lnv.analysis.selection.control_probes import PERIOD
from jpsi_lnv.analysis.selection.search import chi2_axis
from jpsi_lnv.analysis.selection.search_events import READS
from jpsi_lnv.analysis.selection.steps import ALL_EVENTS

Track = tuple[Literal["e", "pi", "k", "p"], Literal[1, -1]]
N_TRACKS: Final = 4
N_PARAMETERS: Final = N_TRACKS * len(PARAMETERS)
# Parts of one that the sums of the matrices are counted in.
UNIT: Final = 1e-6
PARAMETER: Final = hist.axis.Integer(0, N_PARAMETERS, flow=False, name="parameter", label="track and parameter")
BY: Final = hist.axis.Integer(0, N_PARAMETERS, flow=False, name="by", label="track and parameter that is moved")
POWER: Final = hist.axis.Integer(1, 3, flow=False, name="power", label="1: of shifts, 2: of variances")
PULL: Final = hist.axis.Regular(200, -10.0, 10.0, name="pull", label="pull")


@dataclass(frozen=True, kw_only=True)
class PullCuts:
    """Requirements on the candidates whose pulls are taken."""

    chi2_4c_max: float = requirement(
        100.0, unit="", source=OURS, meaning="chi2 of the 4C fit below; loose, as a cut on it makes the pulls narrow"
    )


PULLS: Final = PullCuts()


class ElectronEvents(HadronEvents):
    """J/psi -> 2(e+ e-): four electrons as the search identifies them."""

    species = ("e", "e", "e", "e")
    masses = (M_ELECTRON,)
    hypotheses = (Species.E,)
    assignments = ((0, 0, 0, 0),)

    @cached_property
    def cand(self) -> IntArray:
        """Track indices (e+, e+, e-, e-) of events with four good tracks, all electrons, shape (B, 4)."""
        search = self.search
        is_own = search.is_electron
        n_of_charge = [search.count_tracks(is_own & (search.charge == sign)) for sign in (1, -1)]
        event = self.has_four_tracks & (n_of_charge[0] == N_TRACKS // 2) & (n_of_charge[1] == N_TRACKS // 2)
        chosen = np.flatnonzero(is_own & np.repeat(event, np.diff(search.offsets)))
        of = np.searchsorted(search.offsets, chosen, side="right")
        return chosen[np.lexsort((-search.charge[chosen].astype(np.int64), of))].reshape(-1, N_TRACKS)


# Name of a sample -> its view, and species and charge of its tracks in their order.
SAMPLES: Final[dict[str, type[HadronEvents]]] = {
    "kkpipi": KaonEvents,
    "ppbarpipi": ProtonEvents,
    "eeee": ElectronEvents,
}
TRACKS: Final[dict[str, tuple[Track, ...]]] = {
    "kkpipi": (("k", 1), ("k", -1), ("pi", 1), ("pi", -1)),
    "ppbarpipi": (("p", 1), ("p", -1), ("pi", 1), ("pi", -1)),
    "eeee": (("e", 1), ("e", 1), ("e", -1), ("e", -1)),
}


@dataclass(frozen=True)
class Pulls:
    """Pulls of B candidates, parameters in the order phi0, kappa, tan(lambda) of the first track and so on.

    Attributes:
        pull: (B, 12)
        response: (B, 12, 12) by how much a pull moves with a shift by one error of a parameter, R_jk.
    """

    pull: FloatArray
    response: FloatArray


def measure(
    p: FloatArray, v: FloatArray, fitted: FloatArray, charge: IntArray, sigma: FloatArray, spread: float
) -> Pulls:
    """Return the pulls of fitted candidates.

    Args:
        p: (B, 4, 3) measured momenta in GeV/c.
        v: (B, 4, 6) their covariances in (GeV/c)^2.
        fitted: (B, 4, 4) fitted four-momenta in GeV.
        charge: (B, 4) charges.
        sigma: (B, 4, 3) errors of phi0, kappa, tan(lambda) that shifts are in units of.
        spread: Energy spread of each beam in the fit in GeV.
    """
    n = len(p)
    by_momentum = np.linalg.inv(_jacobian(fitted[..., :3], charge))
    covariance = by_momentum @ _full(v) @ np.swapaxes(by_momentum, -1, -2)
    blocks = np.zeros((n, N_TRACKS, 3, N_TRACKS, 3))
    for k in range(N_TRACKS):
        blocks[:, k, :, k, :] = covariance[:, k]
    v_all = blocks.reshape(n, N_PARAMETERS, N_PARAMETERS)
    of_momentum = np.concatenate(
        [np.broadcast_to(np.eye(3), (n, N_TRACKS, 3, 3)), (fitted[..., :3] / fitted[..., 3:])[..., None, :]], axis=-2
    )
    constraint = (of_momentum @ _jacobian(fitted[..., :3], charge)).transpose(0, 2, 1, 3).reshape(n, 4, N_PARAMETERS)
    along = np.array([np.sin(HALF_CROSSING_ANGLE), 0.0, 0.0, 1.0])
    inner = constraint @ v_all @ np.swapaxes(constraint, 1, 2) + 2.0 * spread**2 * np.outer(along, along)
    gain = v_all @ np.swapaxes(constraint, 1, 2) @ np.linalg.solve(inner, constraint)
    error = np.sqrt(np.einsum("njk,nkj->nj", gain, v_all))
    moved = _parameters(p, charge) - _parameters(fitted[..., :3], charge)
    moved[..., 0] = np.remainder(moved[..., 0] + np.pi, 2.0 * np.pi) - np.pi
    scale = sigma.reshape(n, 1, N_PARAMETERS) / error[:, :, None]
    return Pulls(moved.reshape(n, N_PARAMETERS) / error, gain * scale)


def _parameters(p: FloatArray, charge: IntArray) -> FloatArray:
    """Return azimuth of the momentum, kappa and tan(lambda) of momenta, (..., 3)."""
    pt = np.hypot(p[..., 0], p[..., 1])
    return np.stack([np.arctan2(p[..., 1], p[..., 0]), charge / pt, p[..., 2] / pt], axis=-1)


def _jacobian(p: FloatArray, charge: IntArray) -> FloatArray:
    """Return the derivatives of momenta by phi0, kappa, tan(lambda), (..., 3, 3)."""
    pt = np.hypot(p[..., 0], p[..., 1])
    out = np.zeros((*p.shape, 3))
    out[..., 0, 0], out[..., 1, 0] = -p[..., 1], p[..., 0]
    out[..., :, 1] = -p * (pt * charge)[..., None]
    out[..., 2, 2] = pt
    return out


def _full(v: FloatArray) -> FloatArray:
    return v[..., np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])]


def of_sample(view: HadronEvents) -> tuple[IntArray, Pulls, FloatArray]:
    """Return the events (B,) of a sample's candidates, their pulls, and chi2 (B,) of all near the J/psi mass."""
    p, v = view.momenta
    rows = np.arange(view.cand.size).reshape(view.cand.shape)
    decay = np.array(view.assignments[0])
    spread, limits = view.search.cuts.beam_spread, fourc.LIMITS[view.search.cuts.fit_limits]
    p4_total = view.search.p4_of(view.event)
    fit, fitted = fourc.fit_with_momenta(p, v, rows, decay, p4_total, mass=view.masses, spread=spread, limits=limits)
    is_ok = view.in_sideband & (fit.status[:, 0] == fourc.Status.OK)
    chosen: BoolArray = is_ok & (fit.chi2[:, 0] < PULLS.chi2_4c_max)
    of = np.broadcast_to(decay if p.shape[1] > 1 else np.zeros(N_TRACKS, dtype=np.int64), rows.shape)
    at = rows[chosen], of[chosen]
    charge = view.search.charge[view.cand[chosen]].astype(np.int64)
    pulls = measure(p[at], v[at], fitted[chosen], charge, _errors(view, view.cand[chosen]), spread)
    return view.event[chosen], pulls, fit.chi2[is_ok, 0]


def _errors(view: HadronEvents, cand: IntArray) -> FloatArray:
    """Return the errors of phi0, kappa, tan(lambda) of the tracks of candidates under their hypotheses, (B, 4, 3)."""
    errors = np.empty((*cand.shape, len(PARAMETERS)))
    for k, row in enumerate(view.assignments[0]):
        suffix = tracks.SUFFIX_OF[view.hypotheses[row]]
        suffix = suffix if view.columns.has("Track", "dr" + suffix) else ""
        for i, name in enumerate(VARIANCES):
            errors[:, k, i] = np.sqrt(view.columns.flat("Track", name + suffix)[cand[:, k]].astype(np.float64))
    return errors


def select(chunk: Chunk) -> dict[str, Found]:
    """Return pulls, their responses and chi2 of every sample, ``<sample>_pulls``, ``_response`` and ``_chi2``."""
    flow: dict[str, int] = {ALL_EVENTS: chunk.n_read}
    histograms: dict[str, hist.Hist] = {}
    for name, view in SAMPLES.items():
        event, pulls, chi2 = of_sample(view(chunk.events))
        flow[name] = len(event)
        histograms |= {f"{name}_{of}": h for of, h in fill(chunk, event, pulls, chi2).items()}
    return {datasets.HELIX_PULLS: {"cutflow": flow, "histograms": histograms}}


def fill(chunk: Chunk, event: IntArray, pulls: Pulls, chi2: FloatArray) -> dict[str, hist.Hist]:
    """Return the histograms of one sample in a chunk."""
    storage = hist.storage.Int64
    of_pulls = hist.Hist(PERIOD, PARAMETER, PULL, storage=storage())
    of_response = hist.Hist(PERIOD, PARAMETER, BY, POWER, storage=storage())
    of_chi2 = hist.Hist(chi2_axis(chunk.cuts.channel), storage=storage())
    of_chi2.fill(chi2)
    if len(event):
        period = chunk.events.columns.scalar("period")[event]
        place = np.broadcast_to(np.arange(N_PARAMETERS), pulls.pull.shape)
        of_pulls.fill(np.repeat(period, N_PARAMETERS), place.ravel(), pulls.pull.ravel())
        for i, year in enumerate(PERIOD):
            own = pulls.response[period == year]
            for power in (1, 2):
                of_response.view()[i, :, :, power - 1] += np.rint((own**power) / UNIT).astype(np.int64).sum(axis=0)
    return {"pulls": of_pulls, "response": of_response, "chi2": of_chi2}


HELIX_PULLS: Final = Selection(select, READS | pid.reads(HYPOTHESES))
