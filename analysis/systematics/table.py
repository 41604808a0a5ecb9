"""The table of systematic uncertainties: overall, and at each mass of a Majorana neutrino."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis import majorana, normalization
from jpsi_lnv.analysis.datasets import SIGNAL
from jpsi_lnv.analysis.efficiency import Efficiency
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import DatasetResult, Results
from jpsi_lnv.analysis.systematics import sources
from jpsi_lnv.analysis.systematics.sources import Candidates, Uncertainty

# Rule of the modelling uncertainty of the overall search.
RULES: Final = ("average", "largest")


@dataclass(frozen=True)
class Budget:
    """The uncertainties of one efficiency.

    Attributes:
        m_majorana: Mass in GeV/c^2; None for the overall search.
        rows: One per source, in the order of the publication.
    """

    m_majorana: float | None
    rows: tuple[Uncertainty, ...]

    @property
    def total(self) -> float:
        """All sources in quadrature, a fraction."""
        return math.hypot(*(row.value for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON types."""
        return {"m_majorana": self.m_majorana, "total": self.total, "rows": [asdict(row) for row in self.rows]}


def measure(results: Results, rule: str = "average") -> list[Budget]:
    """Return the table of the overall search, then those of the simulated masses in increasing order.

    Args:
        results: A merged accumulator with signal, Majorana and control samples.
        rule: Modelling of the overall search: the difference to the "average" of the Majorana models, or the "largest".

    Raises:
        ResultsError: A sample is missing or empty.
        ValueError: The rule is unknown.
    """
    if rule not in RULES:
        msg = f"rule is {rule!r}; wanted one of {RULES}"
        raise ValueError(msg)
    return [overall(results, rule), *(at_mass(results, mass) for mass in majorana.by_mass(results))]


def overall(results: Results, rule: str = "average") -> Budget:
    """Return the table of the overall search, whose efficiency is that of phase space."""
    signal = results.of_kind(SIGNAL)
    efficiency = normalization.signal_efficiency(signal)
    models = {
        f"{mode} {mass / 1000:.3f}": e.value
        for mode in ("2nu", "1nu")
        for mass, e in efficiencies(results, mode).items()
    }
    if not models:
        msg = f"no dataset of kind 'majorana' among {sorted(results.datasets)}: no other model; add some to the fileset"
        raise ResultsError(msg)
    modelling = sources.mc_modelling(efficiency.value, models, f"{len(models)} Majorana models, average")
    if rule == "largest":
        modelling = Uncertainty(
            modelling.source,
            modelling.title,
            modelling.details["largest_difference"],
            f"{len(models)} Majorana models, largest",
            modelling.details,
        )
    return Budget(None, _rows(results, candidates(signal), efficiency, modelling))


def at_mass(results: Results, mass_mev: int) -> Budget:
    """Return the table at one mass, whose efficiency is that of J/psi -> nu nu."""
    datasets = majorana.by_mass(results)[mass_mev]
    efficiency = normalization.signal_efficiency(datasets)
    other, method = _single_neutrino(results, mass_mev)
    modelling = sources.mc_modelling(efficiency.value, {"1nu": other}, method)
    return Budget(mass_mev / 1000, _rows(results, candidates(datasets), efficiency, modelling))


def efficiencies(results: Results, mode: str) -> dict[int, Efficiency]:
    """Return the efficiency of the whole selection at each simulated mass in MeV/c^2."""
    return {mass: normalization.signal_efficiency(d) for mass, d in majorana.by_mass(results, mode).items()}


def candidates(datasets: Mapping[str, DatasetResult]) -> Candidates:
    """Return the selected candidates of datasets as one table."""
    tables = [normalization.search_of(name, d).candidates for name, d in datasets.items()]
    return {column: np.concatenate([t[column] for t in tables]) for column in tables[0]}


def _rows(
    results: Results, selected: Candidates, efficiency: Efficiency, modelling: Uncertainty
) -> tuple[Uncertainty, ...]:
    if efficiency.n_passed == 0:
        msg = f"none of {efficiency.n_total} produced signal events passes: no relative uncertainty; run on more events"
        raise ResultsError(msg)
    return (
        sources.n_jpsi(results),
        sources.tracking(results, selected),
        sources.pid(results, selected),
        sources.kinematic_fit(results),
        sources.signal_region(results),
        sources.mc_statistics(efficiency),
        modelling,
    )


def _single_neutrino(results: Results, mass_mev: int) -> tuple[float, str]:
    """Return the efficiency of J/psi -> nu K e at a mass, between the simulated ones by linear interpolation."""
    known = {mass: e.value for mass, e in efficiencies(results, "1nu").items()}
    if not known:
        msg = "no dataset of kind 'majorana' with mode '1nu': no other model per mass; add some to the fileset"
        raise ResultsError(msg)
    if mass_mev in known:
        return known[mass_mev], "J/psi -> nu K e at this mass"
    value = float(np.interp(mass_mev, list(known), list(known.values())))
    return value, f"J/psi -> nu K e interpolated between {', '.join(f'{m / 1000:.3f}' for m in known)}"


def to_json(tables: list[Budget]) -> dict[str, Any]:
    """Return tables in the form that ``lnv limits --systematics FILE`` reads, with every row."""
    first, *rest = tables
    return {
        "source": "measured",
        "overall": first.total,
        "per_mass": {f"{table.m_majorana:.3f}": table.total for table in rest},
        "tables": [table.to_dict() for table in tables],
    }
