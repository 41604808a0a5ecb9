"""What a report is made from, and what a reader must be told before any number: blinded, incomplete, simulated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.cuts import DECAY, SELECTION, Cuts
from jpsi_lnv.analysis.datasets import CONTINUUM, DATA, SEARCH
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results, SelectionResult

LIMITS: Final = "limits"
# Made from no result: the simulation beside its references, and the map of the efficiency beside simulation.
VALIDATION: Final = "validation"
RECAST_CLOSURE: Final = "recast_closure"
OF_NO_RESULT: Final = (VALIDATION, RECAST_CLOSURE)
# What other stages may have left: stem of the file -> what it must hold to be shown.
CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    LIMITS: ("limits",),
    "systematics": ("overall", "per_mass", "tables"),
    "background": ("channels", "factors", "n_jpsi"),
    "optimization": ("variable", "label", "words", "best", "plateau", "chosen", "scan"),
    "mass_scan": ("limits", "significance"),
    "limit_checks": ("background_scan", "chi2_scan"),
    "coverage": ("curves",),
    "topology": ("all_but", "chains"),
    VALIDATION: ("rows", "efficiency", "identification", "note"),
    RECAST_CLOSURE: ("map", "n_beyond", "closure"),
}
SIMULATION: Final = "Fast simulation"
COMMANDS: Final = {
    **derived.DERIVED,
    VALIDATION: "lnv simulate --validate",
    RECAST_CLOSURE: "lnv recast --make-map",
}


@dataclass(frozen=True)
class Source:
    """Everything a report reads; nothing in a report has another origin.

    Attributes:
        results: The merged accumulator.
        limits: Records of `limits.json`; empty without that file.
        extras: Stem of a JSON file that was found -> its content.
        foreign: Stem of a file that was made from another result -> in what that one differs, and what to do.
    """

    results: Results
    limits: tuple[dict[str, Any], ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)

    def searches(self, *kinds: str) -> dict[str, SelectionResult]:
        """Return the search in every dataset of the given kinds, or of all kinds."""
        return {name: d.selections[SEARCH] for name, d in self.results.ran(SEARCH, *kinds).items()}


def read(output: Path, accumulator: Path | None = None, *, allow_stale: bool = True) -> Source:
    """Read what `lnv run`, `lnv limits` and later stages left in `output`.

    Numbers made from another result are shown and named in `Source.foreign`; those of unknown origin are named only.

    Args:
        output: Directory of the results.
        accumulator: Another merged accumulator; None: the one in `output`.
        allow_stale: Whether there may be numbers that were made from another result.

    Raises:
        ResultsError: There is no accumulator, a file is not what its name says, or is stale and may not be.
    """
    merged = results.read(accumulator or output / derived.ACCUMULATOR)
    content = {stem: _load(path) for stem in CONTENT if (path := derived.derived(output, stem)).exists()}
    foreign = {
        stem: f"{stem}.json: {reason}; run `{COMMANDS[stem]}` again"
        for stem, found in content.items()
        if stem not in OF_NO_RESULT and (reason := derived.difference(found, merged, output))
    }
    shown = {stem: found for stem, found in content.items() if stem in OF_NO_RESULT or derived.MADE_FROM in found}
    limits = shown.pop(LIMITS, {LIMITS: []})[LIMITS]
    if foreign and not allow_stale:
        msg = f"{'; '.join(foreign.values())}; or pass --allow-stale, which shows it under a flag"
        raise ResultsError(msg)
    return Source(merged, tuple(limits), shown, foreign)


def _load(path: Path) -> dict[str, Any]:
    command = COMMANDS[path.stem]
    content = derived.load(path, command)
    if missing := [key for key in CONTENT[path.stem] if key not in content]:
        msg = f"{path}: holds no {', '.join(map(repr, missing))}; make it again with `{command}`"
        raise ResultsError(msg)
    return content


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


def stamp(source: Source) -> tuple[str, list[str]]:
    """Return what stands above every figure: whose events, and the labels of the flags."""
    return label(source.results), [flag.label for flag in flags(source)]


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


def is_of_publication(results: Results) -> bool:
    """Whether a result is of the publication's decay, so that the published numbers can stand beside its own."""
    return cuts_of(results).channel == SELECTION.channel


def changed_cuts(results: Results, cuts: Cuts = SELECTION) -> dict[str, tuple[Any, Any]]:
    """Return the cuts of a result that differ from `cuts`: name -> (the result's, the present one).

    What its card says is none of them; of another decay everything says which it is.
    """
    made_with, card = results.provenance.get("cuts", {}), results.provenance.get("card", {})
    present = dataclasses.asdict(cuts) | {name: made_with[name] for name in DECAY if name in made_with}
    present |= card.get("cuts", {})
    names = [*present, *(name for name in made_with if name not in present)]
    both = {n: (_required(made_with.get(n)), _required(present.get(n))) for n in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def _required(value: Any) -> Any:
    """Return a requirement; None for an empty one, which requires as little as one that was not there yet."""
    return None if value in ("", (), []) else value


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
