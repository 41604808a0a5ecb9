"""Take somebody else's decays through detector and search: their efficiency, and the limit on their model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from jpsi_lnv.analysis import derived, recast
from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.cards import Card
from jpsi_lnv.analysis.constants import N_JPSI
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.documents import digest_of_file, write_json
from jpsi_lnv.analysis.errors import IncompleteError, ResultsError
from jpsi_lnv.analysis.limits import methods
from jpsi_lnv.analysis.limits.inputs import LimitInputs
from jpsi_lnv.analysis.provenance import source_digest
from jpsi_lnv.analysis.recast import Decays, DecaysError
from jpsi_lnv.analysis.report import studies
from jpsi_lnv.analysis.simulation.production import BLOCK_EVENTS
from jpsi_lnv.analysis.simulation.samplesets import DEFAULT_SEED, MAJORANA_MASSES
from jpsi_lnv.processors.cluster.backends import EXECUTORS, cluster_options, make_executors
from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.console import DIRECTORY, FILE, card_options, console, refuse_unused, show, wrote

# Blocks of the map's rows, and of each model of its closure.
N_BLOCKS = 64
N_BLOCKS_CLOSURE = 4
ROWS = "recast_map"


@click.command()
@click.argument("events", type=FILE, required=False)
@click.option(
    "--output", type=DIRECTORY, default=Path("results"), help="Directory of limits.json, and of what is made."
)
@click.option("--map", "table", type=FILE, help="Look the efficiency up in this map instead: no simulation.")
@click.option("--make-map", is_flag=True, help="Make the map, and try it on models of every mass.")
@card_options
@click.option("--seed", type=click.IntRange(0), default=DEFAULT_SEED, help="Seed of all random numbers.")
@click.option("--executor", type=click.Choice(EXECUTORS), default="futures", help="What runs the simulation.")
@cluster_options
def command(
    *,
    events: Path | None,
    output: Path,
    table: Path | None,
    make_map: bool,
    card: Card,
    seed: int,
    executor: str,
    where: ClusterOptions,
) -> None:
    """Simulate decays of EVENTS, search for them, and give efficiency and limit; writes recast.json.

    EVENTS is a table (.csv, .parquet) with a row per particle and the columns event, pdg_id, px, py, pz, e in GeV, or
    Les Houches events (.lhe, .lhe.gz), of J/psi -> K+ K+ e- e- + c.c. before radiation, in the rest frame of the J/psi
    or in the laboratory, the beams along z. The optional columns weight and neutrino weight the decays and say which
    pairs come from a narrow neutrino, 1 or 2.
    """
    if make_map == (events is not None) or (make_map and table):
        msg = "wanted EVENTS, with or without --map, or --make-map alone"
        raise click.UsageError(msg)
    if table:
        refuse_unused(["seed", "executor", "workers"], "with --map, which simulates nothing")
    cuts = card.cuts
    if cuts.channel != SELECTION.channel:
        msg = f"card {card.name!r} searches for {cuts.channel.reaction}; wanted {SELECTION.channel.reaction}, as EVENTS"
        raise click.UsageError(msg)
    with make_executors(executor, where) as make:

        def simulated(found: Mapping[str, Decays]) -> dict[str, BoolArray]:
            return _simulated(found, seed, cuts, make)

        if events is None:
            _make_map(output, seed, cuts, simulated)
            return
        decays = recast.read(events)
        value, error, source = _looked_up(table, decays, cuts) if table else _counted(decays, simulated)
    content = {
        "events": {"file": events.name, "digest": digest_of_file(events), "n": len(decays)},
        "efficiency": value,
        "efficiency_error": error,
        "source": source,
        "limits": _limits(output, value, error, source, cuts),
    }
    show(studies.recast(content))
    if not content["limits"]:
        what = "no decay passes" if value == 0.0 else f"{derived.derived(output, 'limits')} is not there (`lnv limits`)"
        console().print(f"no limit: {what}", markup=False, soft_wrap=True)
    wrote(write_json(output / derived.RECAST, content))


@dataclass(frozen=True, kw_only=True)
class RecastItem:
    """A block of decays that a worker gets.

    Attributes:
        dataset: Whose decays they are.
        block: Number of the block.
        decays: The decays.
        seed: Seed of the random numbers.
        cuts: Requirements of the search.
    """

    dataset: str
    block: int
    decays: Decays
    seed: int
    cuts: Cuts
    filename: str = ""

    @property
    def entrystart(self) -> int:
        """First decay of the block."""
        return self.block * BLOCK_EVENTS

    @property
    def entrystop(self) -> int:
        """Decay after the last one of the block."""
        return self.entrystart + len(self)

    def __len__(self) -> int:
        return len(self.decays)


def search_block(item: RecastItem) -> dict[str, Any]:
    """Simulate and search a block; the function that executors call."""
    is_passed = recast.passed(item.decays, item.dataset, item.block, item.seed, item.cuts)
    return {"out": {item.dataset: {item.block: is_passed}}}


def _simulated(found: Mapping[str, Decays], seed: int, cuts: Cuts, make: Any) -> dict[str, BoolArray]:
    """Return which decays pass, by name.

    Raises:
        IncompleteError: A block failed.
    """
    items = [
        RecastItem(dataset=name, block=block, decays=part, seed=seed, cuts=cuts)
        for name, decays in found.items()
        for block, part in decays.blocks()
    ]
    result, _ = make("simulating", sum(map(len, items)), lambda _: None)(items, search_block, {})
    if failed := result.get("failed"):
        msg = f"{len(failed)} of {len(items)} blocks failed, the first: {failed[0]['message']}"
        raise IncompleteError(msg)
    return {name: np.concatenate([of[block] for block in sorted(of)]) for name, of in result["out"].items()}


def _counted(decays: Decays, simulated: Any) -> tuple[float, float, str]:
    is_passed = simulated({"recast": decays})["recast"]
    value, error = recast.efficiency(is_passed, decays.weight)
    return value, error, f"{np.count_nonzero(is_passed)} of {len(decays)} decays pass detector and search"


def _looked_up(path: Path, decays: Decays, cuts: Cuts) -> tuple[float, float, str]:
    """Return efficiency and error from a map.

    Raises:
        DecaysError: The map is not good enough for such decays, or of other requirements.
    """
    from jpsi_lnv.analysis import recast_map  # noqa: PLC0415 only maps need it

    table = recast_map.read(path)
    if table.cuts_digest not in ("", cuts.digest()):
        msg = f"{path}: made with requirements {table.cuts_digest}; wanted {cuts.digest()}: give the same with --set"
        raise DecaysError(msg)
    deviation = table.expected_deviation(decays)
    if deviation > recast_map.WORST:
        msg = (
            f"{path}: the map is {deviation:.0%} wrong at the M(Ke) of these decays; wanted {recast_map.WORST:.0%} or "
            "less: simulate them, without --map"
        )
        raise DecaysError(msg)
    value, spread = recast.efficiency(table.looked_up(decays), decays.weight)
    return value, math.hypot(spread, deviation * value), f"{path.name}, {deviation:.1%} by its closure"


def _limits(output: Path, value: float, error: float, source: str, cuts: Cuts) -> list[dict[str, Any]]:
    """Return the limits of the overall search with another efficiency; none without limits.json or efficiency.

    Raises:
        ResultsError: The limits are those of other requirements.
    """
    path = derived.derived(output, "limits")
    if not path.exists() or value == 0.0:
        return []
    stored = derived.load(path, derived.DERIVED["limits"])
    ours, made_with = cuts.digest(), stored.get(derived.MADE_FROM, {}).get("cuts_digest")
    if made_with not in (None, ours):
        msg = f"{path}: made with requirements {made_with}; the efficiency has {ours}; give the same with --set"
        raise ResultsError(msg)
    overall = [r for r in stored["limits"] if r["m_majorana"] is None]
    inputs = LimitInputs.from_record(overall[0])
    of_model = dataclasses.replace(
        inputs,
        efficiency=value,
        delta_sys=math.hypot(inputs.delta_sys, error / value),
        provenance=dict(inputs.provenance) | {"efficiency": source},
    )
    level = overall[0]["confidence_level"]
    both = dict.fromkeys([*(r["method"] for r in overall if r["method"] in methods.BOTH), *methods.BOTH])
    return [methods.upper_limit(of_model, method=name, confidence_level=level).to_dict() for name in both]


def _make_map(output: Path, seed: int, cuts: Cuts, simulated: Any) -> None:
    """Make the map, try it, and write both.

    Raises:
        DecaysError: A model of the closure has no efficiency.
    """
    from jpsi_lnv.analysis import recast_map  # noqa: PLC0415 only maps need it

    rng = np.random.default_rng(seed)
    rows = recast_map.sample(rng, N_BLOCKS * BLOCK_EVENTS)
    models = recast_map.models(rng, MAJORANA_MASSES, N_BLOCKS_CLOSURE * BLOCK_EVENTS)
    named = {f"{mode}_{mass}": decays for (mode, mass), decays in models.items()}
    trials = {f"{ROWS}_{i}": decays for i, decays in enumerate(recast_map.trials(rows))}
    is_passed = simulated(trials | named)
    n_passed = np.sum([is_passed[name] for name in trials], axis=0)
    table = recast_map.Map(recast_map.features(rows.momenta), n_passed)
    closure = [
        recast_map.closure(table, decays, is_passed[f"{mode}_{mass}"], mode, mass)
        for (mode, mass), decays in models.items()
    ]
    about = {"n_jpsi": N_JPSI, "cuts_digest": cuts.digest(), "code_digest": source_digest(), "seed": seed}
    table = dataclasses.replace(table, closure=tuple(c.to_dict() for c in closure))
    path = recast_map.write(output / derived.RECAST_MAP, table, about)
    content = {
        "map": {"file": path.name, "digest": digest_of_file(path), "n": len(rows)} | about,
        "n_beyond": sum(not c.is_wanted for c in closure),
        "closure": list(table.closure),
    }
    show(studies.map_closure(content))
    wrote(path, write_json(output / derived.RECAST_CLOSURE, content))
