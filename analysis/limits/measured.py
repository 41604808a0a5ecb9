"""Systematic uncertainties and background as the result itself shows them, in the form the limits take."""

from __future__ import annotations

from dataclasses import dataclass

from jpsi_lnv.analysis import background
from jpsi_lnv.analysis.datasets import BACKGROUND, CONTROL, DATA, MISID, mass_mev
from jpsi_lnv.analysis.normalization import Count
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.systematics import control, table

MEASURED = "measured"
ESTIMATED = "estimated"


@dataclass(frozen=True)
class Systematics:
    """Relative systematic uncertainties of the efficiency.

    Attributes:
        overall: Fraction for the overall search.
        per_mass: Mass in MeV/c^2 -> fraction.
    """

    overall: float
    per_mass: dict[int, float]


@dataclass(frozen=True)
class Backgrounds:
    """Expected background in the signal region, and in the interval of each mass in MeV/c^2."""

    overall: Count
    per_mass: dict[int, Count]

    def of(self, mass_mev: int | None) -> Count:
        """Return the background of one mass or, for None, the overall one."""
        return self.overall if mass_mev is None else self.per_mass[mass_mev]


def has_control_samples(results: Results) -> bool:
    """Whether data and simulation of every control sample are there."""
    return all(
        results.ran(selection, kind)
        for selection in (*control.PROBES.values(), control.FIT)
        for kind in (DATA, CONTROL)
    )


def has_background_samples(results: Results) -> bool:
    """Whether any background ran with the selection that the estimate needs."""
    return bool(results.ran(MISID, BACKGROUND))


def systematics(results: Results) -> Systematics:
    """Return the totals of the measured tables.

    Raises:
        ResultsError: A sample is missing or empty.
    """
    overall, *rest = table.measure(results)
    per_mass = {mass_mev(t.m_majorana): t.total for t in rest if t.m_majorana is not None}
    return Systematics(overall.total, per_mass)


def backgrounds(results: Results) -> Backgrounds:
    """Return the estimates from exclusive samples and continuum.

    Raises:
        ResultsError: A dataset lacks what its weight needs.
    """
    found = {mass: b.total for mass, b in background.per_channel(results).items()}
    return Backgrounds(found[None], {mass_mev(mass): total for mass, total in found.items() if mass is not None})
