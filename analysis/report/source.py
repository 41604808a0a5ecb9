"""What a report is made from: the merged accumulator, the limits, and what later stages left beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import derived, results
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results, SelectionResult

SEARCH: Final = "search"
LIMITS: Final = "limits"
# Made from no result: the simulation beside its references.
VALIDATION: Final = "validation"
# What other stages may have left: stem of the file -> what it must hold to be shown.
CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    LIMITS: ("limits",),
    "systematics": ("overall", "per_mass", "tables"),
    "background": ("contributions", "total"),
    "optimization": ("variable", "best", "plateau", "chosen", "scan"),
    "limit_checks": ("background_scan", "chi2_scan"),
    "coverage": ("curves",),
    "topology": ("all_but", "chains"),
    VALIDATION: ("rows", "efficiency", "identification", "note"),
}
COMMANDS: Final = {**derived.COMMANDS, VALIDATION: "lnv simulate --validate"}


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
        chosen = self.results.of_kind(*kinds) if kinds else self.results.datasets
        return {name: d.selections[SEARCH] for name, d in chosen.items() if SEARCH in d.selections}


def read(output: Path, accumulator: Path | None = None) -> Source:
    """Read what `lnv run`, `lnv limits` and later stages left in `output`.

    Numbers made from another result are shown and named in `Source.foreign`; those of unknown origin are named only.

    Args:
        output: Directory of the results.
        accumulator: Another merged accumulator; None: the one in `output`.

    Raises:
        ResultsError: There is no accumulator, or a file is not what its name says.
    """
    merged = results.read(accumulator or output / results.ACCUMULATOR)
    content = {stem: _load(path) for stem in CONTENT if (path := output / f"{stem}.json").exists()}
    foreign = {
        stem: f"{stem}.json: {reason}; run `{COMMANDS[stem]}` again"
        for stem, found in content.items()
        if stem != VALIDATION and (reason := derived.difference(found, merged, output))
    }
    shown = {stem: found for stem, found in content.items() if stem == VALIDATION or derived.MADE_FROM in found}
    limits = shown.pop(LIMITS, {LIMITS: []})[LIMITS]
    return Source(merged, tuple(limits), shown, foreign)


def _load(path: Path) -> dict[str, Any]:
    command = COMMANDS[path.stem]
    content = derived.load(path, command)
    if missing := [key for key in CONTENT[path.stem] if key not in content]:
        msg = f"{path}: holds no {', '.join(map(repr, missing))}; make it again with `{command}`"
        raise ResultsError(msg)
    return content
