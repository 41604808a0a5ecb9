"""How well the detector's sources are met, and what its assumptions are worth.

Efficiencies of single particles beside the published points, the survival of kaons against the exponential law, and how
the search's efficiency moves with every parameter that is assumed or remembered.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from jpsi_lnv.analysis.constants import M_KAON
from jpsi_lnv.analysis.report.validation_response import gun, shoot
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, SINGLE_PARTICLES, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import KAON, KINDS, PION, PROTON
from jpsi_lnv.analysis.simulation.transport import decay_in_flight

SHOT: Final = {"pi": -PION, "p": PROTON}
SHOT_COS_THETA: Final = 0.9
# Uncertainty of a published point: read from a figure.
POINT_ERROR: Final = 0.003
SURVIVAL_MOMENTA: Final = (0.3, 0.5, 0.7, 0.9)
SURVIVAL_LENGTHS: Final = (35.0, 76.0)


def single_particles(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Return, for every published point, the share of single particles that make a track, and the published one."""
    rows = []
    for species, (momenta, published) in SINGLE_PARTICLES.items():
        for momentum, wanted in zip(momenta, published, strict=True):
            cosine = rng.uniform(-SHOT_COS_THETA, SHOT_COS_THETA, n)
            columns = shoot(rng, SHOT[species], np.full(n, momentum), cosine, NOMINAL)
            got = float(np.mean(np.diff(columns["Track_charge"][0]) > 0))
            rows.append({"species": species, "momentum": momentum, "published": wanted, "got": got})
    return rows


def kaon_survival(rng: np.random.Generator, n: int) -> list[dict[str, float]]:
    """Return the share of kaons that fly a length in cm before they decay, and exp(-L m/(p c tau))."""
    rows = []
    for momentum in SURVIVAL_MOMENTA:
        table, beams = gun(rng, KAON, np.full(n, momentum), np.zeros(n), (2018,))
        grown, flight = decay_in_flight(rng, table, beams.field, NOMINAL)
        path = flight.decay_path[np.abs(grown.pdg_id) == KAON]
        for length in SURVIVAL_LENGTHS:
            wanted = float(np.exp(-length * M_KAON / (momentum * KINDS[KAON].c_tau)))
            rows.append(
                {"momentum": momentum, "length": length, "wanted": wanted, "got": float((path > length).mean())}
            )
    return rows


def ranges() -> list[tuple[str, DetectorParameters, DetectorParameters]]:
    """Return each parameter with a range, and the detector with it at the lower and at the upper end."""
    found = []
    for field in dataclasses.fields(DetectorParameters):
        if likely := field.metadata["range"]:
            low, high = (dataclasses.replace(NOMINAL, **{field.name: value}) for value in likely)
            found.append((field.name, low, high))
    return found
