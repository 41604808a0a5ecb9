"""The search at any mass of a Majorana neutrino: windows that follow the resolution, efficiencies that follow the mass.

Both pairs of an event come from neutrinos of one mass. The kinematic fit correlates their two masses, by -0.02 at
0.65 GeV/c^2 and by -0.87 at 1.475, so that the window is one of mean and difference: |mean - M| < 4 s_mean and
|difference| < 4 s_difference, with half-widths of 68 % fitted over the simulated masses. It keeps 97 to 99 % of the
selected signal, and a signal between two centres a MeV apart loses at most 1 %. The efficiency is the fit of a
polynomial in ln(M - M_K - m_e) to the binomial counts of all simulated masses.

The publication's intervals of 25 MeV around 39 masses stay for its Table 2. A neutrino half-way between two of them
has one mass in either interval: they hold where its mass is one of the 39.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

from jpsi_lnv.analysis import majorana
from jpsi_lnv.analysis.arrays import AnyArray, BoolArray, FloatArray
from jpsi_lnv.analysis.channel import KKEE
from jpsi_lnv.analysis.datasets import DATA, SEARCH, SIGNAL, mass_mev
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.limits import gather, methods, sensitivity
from jpsi_lnv.analysis.limits.gather import Choices
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.limits.sideband import Background
from jpsi_lnv.analysis.results import DatasetResult, Results

# Half-widths of a window, in half-widths of 68 %.
N_WIDTHS: Final = 4.0
# Distance of the centres in GeV/c^2.
STEP: Final = 0.001
THRESHOLD: Final = KKEE.pair_threshold
# Mass in GeV/c^2 around which the widths are polynomials.
MIDDLE: Final = 1.05
# Degrees of the polynomials where there are masses enough.
DEGREE_MEAN: Final = 3
DEGREE_DIFFERENCE: Final = 2
DEGREE_EFFICIENCY: Final = 5
# Simulated masses that a polynomial needs beyond its degree.
SPARE: Final = 2
CORE: Final = 0.68
# Residuals that count as the core's, in half-widths: a wrong pairing lies anywhere.
CORE_REACH: Final = 0.05
N_NEWTON: Final = 50
# Toys per number of events, and numbers of events that are told apart.
N_TOYS: Final = 2000
N_EVENTS_MAX: Final = 6


@dataclass(frozen=True)
class Windows:
    """Windows in mean and difference of the two masses.

    Attributes:
        mean: Coefficients of the half-width of the mean in M - `MIDDLE`, highest power first.
        difference: The same of the difference.
    """

    mean: FloatArray
    difference: FloatArray

    def half_widths(self, m_majorana: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return half-widths of the windows around masses in GeV/c^2, of the mean and of the difference."""
        x = np.asarray(m_majorana) - MIDDLE
        of_mean, of_difference = (np.polyval(c, x) for c in (self.mean, self.difference))
        return np.asarray(N_WIDTHS * of_mean, np.float64), np.asarray(N_WIDTHS * of_difference, np.float64)

    def holds(self, pairs: FloatArray, m_majorana: npt.ArrayLike) -> BoolArray:
        """Return which pairs of masses (N, 2) lie in the window around a mass, or around one mass each (N,)."""
        of_mean, of_difference = self.half_widths(m_majorana)
        is_near = np.abs(pairs.mean(axis=1) - m_majorana) < of_mean
        return np.asarray(is_near & (np.abs(pairs[:, 0] - pairs[:, 1]) < of_difference))


@dataclass(frozen=True)
class EfficiencyCurve:
    """The efficiency against the mass: a polynomial of its logit in ln(M - threshold).

    Attributes:
        coefficients: Highest power first (D + 1,).
        covariance: Of the coefficients (D + 1, D + 1).
        chi2: Deviance of the fit.
        n_free: Its degrees of freedom.
        threshold: Sum of the masses of a pair in GeV/c^2.
    """

    coefficients: FloatArray
    covariance: FloatArray
    chi2: float
    n_free: int
    threshold: float = THRESHOLD

    def at(self, m_majorana: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return efficiencies and their standard errors at masses in GeV/c^2."""
        powers = _powers(np.atleast_1d(m_majorana), len(self.coefficients), self.threshold)
        value = special.expit(powers @ self.coefficients)
        spread = np.sqrt(np.einsum("mi,ij,mj->m", powers, self.covariance, powers))
        return value, value * (1.0 - value) * spread


def _powers(masses: npt.ArrayLike, n: int, threshold: float) -> FloatArray:
    return np.asarray(np.vander(np.log(np.asarray(masses, dtype=np.float64) - threshold), n))


def fit_efficiency(
    masses: npt.ArrayLike, passed: npt.ArrayLike, produced: npt.ArrayLike, threshold: float = THRESHOLD
) -> EfficiencyCurve:
    """Fit the efficiency to the binomial counts of simulated masses, by Newton's method on the likelihood.

    Args:
        masses: In GeV/c^2 (M,).
        passed: Simulated events in the window (M,).
        produced: Simulated events (M,).
        threshold: Sum of the masses of a pair in GeV/c^2.
    """
    n, k = np.asarray(produced, dtype=np.float64), np.asarray(passed, dtype=np.float64)
    degree = max(0, min(DEGREE_EFFICIENCY, len(n) - SPARE))
    powers = _powers(masses, degree + 1, threshold)
    first = np.linalg.lstsq(powers, special.logit((k + 0.5) / (n + 1.0)), rcond=None)[0]
    coefficients: FloatArray = np.asarray(first, np.float64)
    information = np.eye(degree + 1)
    for _ in range(N_NEWTON):
        p = special.expit(powers @ coefficients)
        information = powers.T @ ((n * p * (1.0 - p))[:, None] * powers)
        step = np.linalg.solve(information, powers.T @ (k - n * p))
        coefficients = coefficients + step
        if np.all(np.abs(step) < 1e-10 * (1.0 + np.abs(coefficients))):
            break
    p = special.expit(powers @ coefficients)
    deviance = 2.0 * float((special.xlogy(k, k / (n * p)) + special.xlogy(n - k, (n - k) / (n - n * p))).sum())
    covariance = np.asarray(np.linalg.inv(information), np.float64)
    return EfficiencyCurve(coefficients, covariance, deviance, len(n) - degree - 1, threshold)


def fit_windows(pairs: Mapping[float, FloatArray]) -> Windows:
    """Fit the half-widths of 68 % of mean and difference over simulated masses.

    Args:
        pairs: Mass in GeV/c^2 -> both masses (N, 2) of the selected events simulated with it.
    """
    masses = np.array(list(pairs))
    core = {m: p[np.abs(p - m).max(axis=1) < CORE_REACH] for m, p in pairs.items()}
    widths = np.array(
        [
            [np.quantile(np.abs(p.mean(axis=1) - m), CORE), np.quantile(np.abs(p[:, 0] - p[:, 1]), CORE)]
            for m, p in core.items()
        ]
    )
    roots = np.sqrt([len(p) for p in core.values()])
    fitted = [
        np.polyfit(masses - MIDDLE, of_width, max(0, min(degree, len(masses) - SPARE)), w=roots / of_width)
        for of_width, degree in zip(widths.T, (DEGREE_MEAN, DEGREE_DIFFERENCE), strict=True)
    ]
    return Windows(*fitted)


@dataclass(frozen=True)
class Scan:
    """What the scan needs of a result.

    Attributes:
        windows: Where a candidate counts.
        efficiency: Of J/psi -> nu nu in the window.
        masses: Simulated masses in GeV/c^2 (M,).
        observed: Both masses (N, 2) of the candidates in the data; None while they are hidden.
        spread: Both masses of events without a neutrino: what candidates of background look like.
    """

    windows: Windows
    efficiency: EfficiencyCurve
    masses: FloatArray
    observed: FloatArray | None
    spread: FloatArray

    def centres(self) -> FloatArray:
        """Return the masses that are looked at: every MeV, and at every candidate inside the range."""
        first, last = self.masses.min(), self.masses.max()
        regular = first + STEP * np.arange(round((last - first) / STEP) + 1)
        at = np.zeros(0) if self.observed is None else self.observed.mean(axis=1)
        return np.unique(np.concatenate([regular, at[(at >= first) & (at <= last)]]))


def prepare(results: Results) -> Scan | None:
    """Return what a scan needs; None unless enough masses were simulated to join them.

    Raises:
        ResultsError: None of the events of a mass passes.
    """
    simulated = {mass / 1000.0: datasets for mass, datasets in majorana.by_mass(results).items()}
    if len(simulated) <= SPARE:
        return None
    pairs = {mass: _pairs(datasets) for mass, datasets in simulated.items()}
    if empty := [mass for mass, found in pairs.items() if len(found) == 0]:
        msg = f"no event of the simulated masses {empty} GeV/c^2 passes: no window; run on more events"
        raise ResultsError(msg)
    windows = fit_windows(pairs)
    masses = np.array(list(simulated))
    passed = [int(np.count_nonzero(windows.holds(pairs[mass], mass))) for mass in simulated]
    produced = [sum(d.n_produced for d in datasets.values()) for datasets in simulated.values()]
    data = results.ran(SEARCH, DATA)
    hidden = not data or any(d.metadata.is_blind for d in data.values())
    spread = _pairs(results.ran(SEARCH, SIGNAL))
    efficiency = fit_efficiency(masses, passed, produced, results.channel.pair_threshold)
    return Scan(windows, efficiency, masses, None if hidden else _pairs(data), spread)


def _pairs(datasets: Mapping[str, DatasetResult]) -> FloatArray:
    tables = [d.selections[SEARCH].candidates for d in datasets.values() if d.selections[SEARCH].n_passed]
    return np.concatenate([np.zeros((0, 2)), *(_of_table(table) for table in tables)])


def _of_table(table: Mapping[str, AnyArray]) -> FloatArray:
    return majorana.paired_masses(table)


def inputs(results: Results, choices: Choices, scan: Scan) -> list[LimitInputs]:
    """Return the inputs of the limit at every centre.

    Systematic uncertainties are interpolated between the simulated masses. Background is that of the nearest simulated
    mass, in proportion to the area of its window in mean and difference.

    Args:
        results: A merged accumulator.
        choices: Background and systematic uncertainties.
        scan: Of the same result.
    """
    at_masses = {i.m_majorana: i for i in gather.per_mass(results, choices)}
    centres = scan.centres()
    efficiency, error = scan.efficiency.at(centres)
    delta = np.interp(centres, scan.masses, [at_masses[m].delta_sys for m in scan.masses.tolist()])
    of_mean, of_difference = scan.windows.half_widths(centres)
    shares = 4.0 * of_mean * of_difference / majorana.INTERVAL_WIDTH**2
    found = []
    for i, mass in enumerate(centres.tolist()):
        near = at_masses[float(scan.masses[np.argmin(np.abs(scan.masses - mass))])]
        share = float(shares[i]) if choices.per_channel else 1.0
        n_obs = None if scan.observed is None else int(np.count_nonzero(scan.windows.holds(scan.observed, mass)))
        found.append(
            dataclasses.replace(
                near,
                n_obs=n_obs if near.n_obs is not None else None,
                n_bkg=share * near.n_bkg,
                n_bkg_sigma=share * near.n_bkg_sigma,
                side_bands=tuple(dataclasses.replace(b, tau=b.tau / share) for b in near.side_bands),
                efficiency=float(efficiency[i]),
                delta_sys=math.hypot(float(delta[i]), float(error[i] / efficiency[i])),
                m_majorana=mass,
            )
        )
    return found


def records(found: Sequence[LimitInputs], confidence_level: float = 0.90) -> list[dict[str, Any]]:
    """Return the two limits of every centre, with the probability of as many events from background alone."""
    counts = np.array([i.n_obs or 0 for i in found], dtype=np.int64)
    published = methods.published_limits(found, counts, confidence_level)
    recommended = [
        float(methods.METHODS[methods.RECOMMENDED].limits_of(i, counts[[k]], confidence_level)[0])
        for k, i in enumerate(found)
    ]
    return [_record(*of_centre) for of_centre in zip(found, published.tolist(), recommended, strict=True)]


def _record(given: LimitInputs, published: float, recommended: float) -> dict[str, Any]:
    record = {
        "m_majorana": given.m_majorana,
        "n_obs": given.n_obs,
        "n_bkg": given.n_bkg,
        "efficiency": given.efficiency,
        "delta_sys": given.delta_sys,
        "local_p": None if given.n_obs is None else sensitivity.local_p(given.n_obs, given.background),
    }
    for name, n_up in ((methods.PUBLICATION, published), (methods.RECOMMENDED, recommended)):
        has_limit = math.isfinite(n_up) and given.n_obs is not None
        record[f"branching_fraction_ul_{name}"] = n_up / given.n_jpsi if has_limit else None
    return record


def trials_factor(scan: Scan) -> float:
    """Return P(an event lies in any window) over the mean of P(it lies in one), for events without a neutrino."""
    any_window = _in_any(scan, scan.spread)
    centres = scan.masses.min() + STEP * np.arange(round((scan.masses.max() - scan.masses.min()) / STEP) + 1)
    ordered = np.sort(scan.spread[any_window].mean(axis=1))
    of_mean, _ = scan.windows.half_widths(centres)
    # The difference that is allowed is that at an event's own mean: within a window it is the same.
    n_inside = np.searchsorted(ordered, centres + of_mean) - np.searchsorted(ordered, centres - of_mean)
    return float(np.count_nonzero(any_window) / max(n_inside.mean(), np.finfo(float).tiny))


def _in_any(scan: Scan, pairs: FloatArray) -> BoolArray:
    mean = pairs.mean(axis=1)
    inside = (mean >= scan.masses.min()) & (mean <= scan.masses.max())
    return np.asarray(inside & scan.windows.holds(pairs, mean))


def global_p(
    scan: Scan, found: Sequence[LimitInputs], overall: Background, rng: np.random.Generator
) -> dict[str, float | None]:
    """Return the smallest local p, where it is, and the probability of one as small anywhere from background alone.

    Toys have N events without a neutrino, N = 1, 2, ...; each number has its probability from the overall background,
    so that backgrounds of next to nothing need no more toys.

    Args:
        scan: Of the result.
        found: Inputs of all centres.
        overall: Background of the whole search.
        rng: Source of random numbers.
    """
    known = [(p, i) for i in found if i.n_obs and (p := sensitivity.local_p(i.n_obs, i.background)) is not None]
    if not known or overall.mean == 0.0:
        return {"local_p": None, "m_majorana": None, "global_p": None, "trials_factor": trials_factor(scan)}
    smallest, at = min(known, key=lambda pair: pair[0])
    centres = np.array([i.m_majorana for i in found])
    tails = _Tails(found)
    n_events = overall.counts(max(N_EVENTS_MAX, overall.n_max()))
    reached = [_share_of_toys(scan, n, smallest, centres, tails, rng) for n in range(1, N_EVENTS_MAX + 1)]
    # More events than are told apart reach at least as often as the most of them.
    beyond = float(n_events[N_EVENTS_MAX + 1 :].sum()) * reached[-1]
    probability = float(n_events[1 : N_EVENTS_MAX + 1] @ reached) + beyond
    return {
        "local_p": smallest,
        "m_majorana": at.m_majorana,
        "global_p": min(1.0, max(probability, smallest)),
        "trials_factor": trials_factor(scan),
    }


class _Tails:
    """P(>= n) of every centre, computed once."""

    def __init__(self, found: Sequence[LimitInputs]) -> None:
        self._backgrounds = [i.background for i in found]
        self._known: dict[tuple[int, int], float] = {}

    def of(self, centre: int, n: int) -> float:
        """Return the probability of at least `n` events at a centre."""
        if (centre, n) not in self._known:
            p = sensitivity.local_p(n, self._backgrounds[centre])
            self._known[centre, n] = 0.0 if p is None else p
        return self._known[centre, n]


def _share_of_toys(
    scan: Scan, n: int, smallest: float, centres: FloatArray, tails: _Tails, rng: np.random.Generator
) -> float:
    """Return how many toys of n events have a local p of at most `smallest` at one of their events."""
    drawn = scan.spread[rng.integers(len(scan.spread), size=(N_TOYS, n))]
    is_inside = _in_any(scan, drawn.reshape(-1, 2)).reshape(N_TOYS, n)
    reached = 0
    for pairs, inside in zip(drawn, is_inside, strict=True):
        means = pairs[inside].mean(axis=1)
        counts = [int(np.count_nonzero(scan.windows.holds(pairs, m))) for m in means]
        nearest = np.abs(centres[:, None] - means).argmin(axis=0) if len(means) else []
        reached += any(tails.of(int(i), k) <= smallest * (1.0 + 1e-9) for i, k in zip(nearest, counts, strict=True))
    return reached / N_TOYS


def to_dict(
    results: Results, choices: Choices, overall: Background, *, confidence_level: float, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return the content of `mass_scan.json`; None unless enough masses were simulated.

    Args:
        results: A merged accumulator.
        choices: Background and systematic uncertainties.
        overall: Background of the whole search.
        confidence_level: Of both limits.
        rng: Source of random numbers of the toys.
    """
    scan = prepare(results)
    if scan is None:
        return None
    found = inputs(results, choices, scan)
    significance = global_p(scan, found, overall, rng)
    efficiency, error = scan.efficiency.at(scan.masses)
    return {
        "windows": {
            "half_width_mean": (N_WIDTHS * scan.windows.mean).tolist(),
            "half_width_difference": (N_WIDTHS * scan.windows.difference).tolist(),
            "middle": MIDDLE,
        },
        "efficiency": {
            "coefficients": scan.efficiency.coefficients.tolist(),
            "threshold": scan.efficiency.threshold,
            "chi2": scan.efficiency.chi2,
            "n_free": scan.efficiency.n_free,
            "at_simulated": {
                f"{mass_mev(m):g}": [float(e), float(s)] for m, e, s in zip(scan.masses, efficiency, error, strict=True)
            },
        },
        "significance": significance,
        "limits": records(found, confidence_level),
    }
