"""What a reader must be told before any number: blinded, incomplete, simulated, or made with other cuts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA
from jpsi_lnv.analysis.report.source import LIMITS, Source
from jpsi_lnv.analysis.results import Results

SIMULATION: Final = "Fast simulation"


@dataclass(frozen=True)
class Flag:
    """One thing to know.

    Attributes:
        label: Short words that stand in every figure.
        explanation: One sentence for the summary.
    """

    label: str
    explanation: str


def flags(source: Source, cuts: Cuts = SELECTION) -> tuple[Flag, ...]:
    """Return what is unusual about a result; empty for a complete, unblinded one made with the present cuts.

    Args:
        source: What the report is made from.
        cuts: The present cuts.
    """
    found = (
        _incomplete(source.results),
        _blinded(source.results),
        _other_cuts(source.results, cuts),
        _other_limits(source),
        _other_studies(source),
    )
    return tuple(flag for flag in found if flag is not None)


def label(results: Results) -> str:
    """Return whose events the figures show: `SIMULATION` if any of the data is simulated or there is no data."""
    recorded = [d.metadata.is_simulation for d in results.of_kind(DATA, CONTINUUM).values()]
    return SIMULATION if any(recorded) or not recorded else ""


def _incomplete(results: Results) -> Flag | None:
    if results.is_complete:
        return None
    problems = [str(p) for p in results.bookkeeping.get("problems", ["no book-keeping was stored"])]
    first = problems[0] if problems else "the book-keeping does not say why"
    return Flag("INCOMPLETE", f"Events are missing or counted twice: {len(problems)} problem(s), the first: {first}.")


def _blinded(results: Results) -> Flag | None:
    blind = sorted(name for name, d in results.of_kind(DATA, CONTINUUM).items() if d.metadata.is_blind)
    if not blind:
        return None
    return Flag("BLIND", f"Events with a candidate in the signal region are hidden in {', '.join(blind)}.")


def cuts_of(results: Results) -> Cuts:
    """Return the cuts a result was made with; where it does not say, the present ones."""
    made_with = results.provenance.get("cuts", {})
    known = {f.name for f in dataclasses.fields(Cuts)}
    return dataclasses.replace(SELECTION, **{name: value for name, value in made_with.items() if name in known})


def changed_cuts(results: Results, cuts: Cuts = SELECTION) -> dict[str, tuple[Any, Any]]:
    """Return the cuts of a result that differ from `cuts`: name -> (the result's, the present one)."""
    made_with = results.provenance.get("cuts", {})
    present = dataclasses.asdict(cuts)
    names = [*present, *(name for name in made_with if name not in present)]
    return {n: (made_with.get(n), present.get(n)) for n in names if made_with.get(n) != present.get(n)}


def _other_cuts(results: Results, cuts: Cuts) -> Flag | None:
    changed = changed_cuts(results, cuts)
    if not changed:
        return None
    listed = ", ".join(f"{name} = {old} (now {new})" for name, (old, new) in changed.items())
    return Flag("OTHER CUTS", f"The result was made with other cuts than the present ones: {listed}.")


def _other_limits(source: Source) -> Flag | None:
    reason = source.foreign.get(LIMITS)
    return Flag("OTHER LIMITS", f"{reason}.") if reason else None


def _other_studies(source: Source) -> Flag | None:
    reasons = [reason for stem, reason in source.foreign.items() if stem != LIMITS]
    return Flag("OTHER STUDIES", f"{'; '.join(reasons)}.") if reasons else None
