"""Single particles of one kind, for what control samples would show: resolutions, identification."""

from __future__ import annotations

import numpy as np

from jpsi_lnv.analysis.arrays import FloatArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.simulation import beam
from jpsi_lnv.analysis.simulation.decays import direction
from jpsi_lnv.analysis.simulation.detector import Column, simulate
from jpsi_lnv.analysis.simulation.parameters import PERIODS, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import KINDS, Particles


def shoot(
    rng: np.random.Generator,
    pdg_id: int,
    momentum: FloatArray,
    cos_theta: FloatArray,
    parameters: DetectorParameters,
    years: tuple[int, ...] = (),
) -> dict[str, Column]:
    """Return the columns of events with one particle each, like those of `detector.simulate` with event scalars.

    Args:
        rng: Source of random numbers.
        pdg_id: PDG code of the particles.
        momentum: Momenta in GeV/c, (n,).
        cos_theta: Cosines of the polar angles, (n,).
        parameters: The detector.
        years: Data-taking periods; empty: all, in the shares of the J/psi sample.
    """
    n = len(momentum)
    beams = beam.cross(rng, n, years)
    p3 = direction(cos_theta, rng.uniform(-np.pi, np.pi, n)) * momentum[:, None]
    energy = np.hypot(momentum, KINDS[abs(pdg_id)].mass)
    p4 = np.concatenate([p3, energy[:, None]], axis=1)
    everywhere = np.ones(n, dtype=np.bool_)
    table = Particles(n, np.arange(n), np.full(n, pdg_id), np.full(n, -1), p4, beams.vertex, everywhere)
    scalars: dict[str, Column] = {f"ip_{axis}": beams.ip[:, i] for i, axis in enumerate("xyz")}
    scalars |= {"run": -beams.run, "event": np.arange(n) + 1, "field": beams.field, "sqrt_s": np.full(n, M_JPSI)}
    scalars["period"] = np.array([p.year for p in PERIODS])[beams.period]
    return simulate(rng, table, beams, parameters) | scalars
