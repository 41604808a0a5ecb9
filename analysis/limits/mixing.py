"""From a branching fraction to the mixing |V_eN|² of a Majorana neutrino, by a curve that a theory supplies."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.errors import ResultsError

COLUMNS: Final = ("m_majorana", "branching_fraction")


@dataclass(frozen=True)
class Normalisation:
    """Branching fraction at |V_eN|² = 1 against the mass.

    Attributes:
        m_majorana: Masses in GeV/c^2, increasing (M,).
        branching_fraction: Branching fraction at |V_eN|² = 1 (M,).
        power: The branching fraction goes with (|V_eN|²)**power: 1 for an on-shell neutrino whose width is dominated
            by the same mixing, 2 where its width is fixed by other channels.
        source: File it comes from.
    """

    m_majorana: FloatArray
    branching_fraction: FloatArray
    power: float
    source: str

    def mixing(self, m_majorana: float, branching_fraction: float) -> float:
        """Return |V_eN|² of a branching fraction at one mass; the curve is interpolated in its logarithm.

        Raises:
            ResultsError: The curve does not reach this mass.
        """
        if not self.m_majorana[0] <= m_majorana <= self.m_majorana[-1]:
            reach = f"{self.m_majorana[0]:g} to {self.m_majorana[-1]:g}"
            msg = f"{self.source}: no normalisation at mass {m_majorana:g} GeV/c^2; the curve goes from {reach}"
            raise ResultsError(msg)
        unit = np.exp(np.interp(m_majorana, self.m_majorana, np.log(self.branching_fraction)))
        return float((branching_fraction / unit) ** (1.0 / self.power))


def read(path: Path, *, power: float = 1.0) -> Normalisation:
    """Read a CSV file with the columns ``m_majorana`` (GeV/c^2) and ``branching_fraction`` (at |V_eN|² = 1).

    Raises:
        ResultsError: The file is missing, lacks a column, or holds numbers that are not positive or not increasing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: no normalisation ({type(error).__name__}: {error}); wanted CSV with the columns {COLUMNS}"
        raise ResultsError(msg) from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
    masses, values = table.T
    if len(table) == 0 or not (np.all(np.isfinite(table)) and np.all(values > 0.0) and np.all(np.diff(masses) > 0.0)):
        msg = f"{path}: got {len(table)} rows; wanted increasing masses and positive branching fractions"
        raise ResultsError(msg)
    return Normalisation(masses, values, power, str(path))
