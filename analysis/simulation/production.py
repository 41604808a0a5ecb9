"""Blocks of events: of fixed size, numbered, each with a generator of random numbers of its own.

The numbers depend on (seed, dataset, block) alone, so neither chunking nor the number of workers changes a value.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray, IntArray
from jpsi_lnv.analysis.constants import M_JPSI
from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.simulation import beam
from jpsi_lnv.analysis.simulation.detector import Branch, simulate
from jpsi_lnv.analysis.simulation.generator import generate, of_decays
from jpsi_lnv.analysis.simulation.parameters import NOMINAL, PERIODS, DetectorParameters
from jpsi_lnv.analysis.simulation.particles import Particles, interleave
from jpsi_lnv.analysis.simulation.processes import CHAINS, SIGNAL, Process
from jpsi_lnv.analysis.simulation.transport import force_conversion, seen_conversions

BLOCK_EVENTS: Final = 16_384
# Bound on the chance of a conversion in an event: two photons at the edge of the acceptance.
CONVERSION_MAX: Final = 0.15
_PILOT_EVENTS: Final = 40_000


class WeightError(LnvError):
    """A simulated event would stand for more than one."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the events of a dataset are.

    Attributes:
        processes: Processes with their shares; several make a mixture, drawn per event. The process None is the
            inclusive decay of the J/psi from Pythia.
        sqrt_s: Centre-of-mass energy in GeV.
        parameters: The detector.
        years: Data-taking periods; empty: all, in the shares of the J/psi sample.
        has_truth: Whether the generated particles are written; pseudo-data have none, like data.
        keep: Groups of raw columns, of `raw.GROUPS`, as a skim keeps them.
        has_hypotheses: Whether tracks have a helix per mass hypothesis, as BOSS's have (`detector.simulate`).
    """

    processes: tuple[tuple[Process | None, float], ...]
    sqrt_s: float
    parameters: DetectorParameters = NOMINAL
    years: tuple[int, ...] = ()
    has_truth: bool = True
    keep: tuple[str, ...] = ()
    has_hypotheses: bool = False


def generator_of(seed: int, dataset: str, block: int) -> np.random.Generator:
    """Return the random numbers of one block of one dataset."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(dataset.encode()), block]))


def n_blocks(n_events: int) -> int:
    """Return the number of blocks that n_events take."""
    return -(-n_events // BLOCK_EVENTS)


def block_size(n_events: int, block: int) -> int:
    """Return the number of events of a block of a dataset of n_events: only the last one can be smaller."""
    return min(BLOCK_EVENTS, n_events - block * BLOCK_EVENTS)


def make_block(recipe: Recipe, dataset: str, block: int, n: int, seed: int) -> dict[str, Branch]:
    """Return the columns of one block.

    Args:
        recipe: What the events are.
        dataset: Name of the dataset.
        block: Number of the block.
        n: Number of events of the block.
        seed: Seed of the sample set.
    """
    rng = generator_of(seed, dataset, block)
    beams = beam.cross(rng, n, recipe.years)
    return _recorded(rng, _particles(rng, recipe, beams), beams, recipe, block * BLOCK_EVENTS)


def make_block_of_decays(
    momenta: FloatArray, n_neutrinos: IntArray, is_conjugated: BoolArray, dataset: str, block: int, seed: int
) -> dict[str, Branch]:
    """Return the columns of one block of J/psi -> K+ e- K+ e- + c.c. that somebody else made.

    Args:
        momenta: (px, py, pz, E) in GeV of kaon, electron, kaon, electron (n, 4, 4) in the rest frame of the J/psi.
        n_neutrinos: How many of the pairs come from a neutrino, the first one first (n,).
        is_conjugated: Which decays have negative kaons (n,).
        dataset: Name of the dataset.
        block: Number of the block.
        seed: Seed of the random numbers.
    """
    rng, recipe = generator_of(seed, dataset, block), Recipe(processes=((SIGNAL, 1.0),), sqrt_s=M_JPSI)
    beams = beam.cross(rng, len(momenta), recipe.years)
    parts = []
    for n, tree in enumerate(CHAINS):
        events = np.flatnonzero(n_neutrinos == n)
        own = beams.take(events)
        parts.append((events, of_decays(rng, tree, momenta[events], is_conjugated[events], own)))
    return _recorded(rng, interleave(parts, len(momenta)), beams, recipe, block * BLOCK_EVENTS)


def _recorded(
    rng: np.random.Generator, particles: Particles, beams: beam.Beams, recipe: Recipe, first: int
) -> dict[str, Branch]:
    """Return the columns of events, of which `first` came before, as the detector sees them."""
    columns = simulate(rng, particles, beams, recipe.parameters, keep=recipe.keep, has_hypotheses=recipe.has_hypotheses)
    if not recipe.has_truth:
        columns = {k: v for k, v in columns.items() if not k.startswith("Gen_") and k != "Track_gen"}
    sign = -1 if recipe.has_truth else 1  # BOSS numbers the runs of simulations negatively
    return columns | {
        "run": sign * beams.run,
        "event": first + np.arange(len(beams.run)) + 1,
        "sqrt_s": np.full(len(beams.run), recipe.sqrt_s),
        "ip_x": beams.ip[:, 0],
        "ip_y": beams.ip[:, 1],
        "ip_z": beams.ip[:, 2],
        "field": beams.field,
        "period": np.array([p.year for p in PERIODS])[beams.period],
    }


def _particles(rng: np.random.Generator, recipe: Recipe, beams: beam.Beams) -> Particles:
    if len(recipe.processes) == 1:
        return _one_process(rng, recipe.processes[0][0], recipe, beams)
    shares = np.array([share for _, share in recipe.processes])
    choice = rng.choice(len(shares), len(beams.run), p=shares / shares.sum())
    parts = []
    for i, (process, _) in enumerate(recipe.processes):
        events = np.flatnonzero(choice == i)
        own = beams.take(events)
        parts.append((events, _one_process(rng, process, recipe, own)))
    return interleave(parts, len(beams.run))


def _one_process(rng: np.random.Generator, process: Process | None, recipe: Recipe, beams: beam.Beams) -> Particles:
    if process is None:
        from jpsi_lnv.analysis.simulation.inclusive import generate_inclusive  # noqa: PLC0415 needs the optional extra

        return generate_inclusive(rng, beams)
    if process.is_converted:
        return _generate_converted(rng, process, recipe, beams)
    return generate(rng, process, recipe.sqrt_s, beams)


def _generate_converted(rng: np.random.Generator, process: Process, recipe: Recipe, beams: beam.Beams) -> Particles:
    """Return events with one converted photon each, as frequent as such conversions are.

    Raises:
        WeightError: An event is likelier than the bound on the probability.
    """
    parameters = recipe.parameters
    parts: list[tuple[IntArray, Particles]] = []
    pending = np.arange(len(beams.run))
    while pending.size:
        table = generate(rng, process, recipe.sqrt_s, beams.take(pending))
        _, _, total = seen_conversions(table, parameters)
        if (largest := float(total.max())) > CONVERSION_MAX:
            msg = f"{process.reaction}: a conversion has weight {largest / CONVERSION_MAX:.2f}, wanted at most 1"
            raise WeightError(msg)
        is_kept = rng.uniform(size=pending.size) * CONVERSION_MAX < total
        kept = np.flatnonzero(is_kept)
        if kept.size:
            parts.append((pending[kept], force_conversion(rng, table.take(kept), parameters)))
        pending = pending[~is_kept]
    return interleave(parts, len(beams.run))


@lru_cache(maxsize=64)
def converted_share(process: Process, sqrt_s: float) -> float:
    """Return the share of a process's events in which a photon converts inside the acceptance, to a percent."""
    rng = np.random.default_rng(_PILOT_EVENTS)
    table = generate(rng, process, sqrt_s, beam.cross(rng, _PILOT_EVENTS))
    return float(seen_conversions(table, NOMINAL)[2].mean())
