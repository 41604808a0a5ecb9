"""What a report is made from: the merged accumulator, the limits, and what later stages left beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from analysis import derived, results
from analysis.errors import ResultsError
from analysis.results import Results, SelectionResult

SEARCH: Final = "search"
ACCUMULATOR: Final = "accumulator.zip"
LIMITS: Final = "limits"
# What other stages may have left, by the stem of the file.
STUDIES: Final = ("systematics", "background", "optimization", "limit_checks", "coverage", "topology")
# Made from no result: the simulation beside its references.
VALIDATION: Final = "validation"


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

    Args:
        output: Directory of the results.
        accumulator: Another merged accumulator; None: the one in `output`.

    Raises:
        ResultsError: There is no accumulator, or a file is not what its name says.
    """
    merged = results.read(accumulator or output / ACCUMULATOR)
    commands = {stem: derived.COMMANDS[stem] for stem in (LIMITS, *STUDIES)} | {VALIDATION: "lnv simulate --validate"}
    content = {
        stem: derived.load(path, command)
        for stem, command in commands.items()
        if (path := output / f"{stem}.json").exists()
    }
    foreign = {
        stem: f"{stem}.json: {reason}; run `{commands[stem]}` again"
        for stem, found in content.items()
        if stem != VALIDATION and (reason := derived.difference(found, merged))
    }
    limits = _limit_records(output / f"{LIMITS}.json", content.pop(LIMITS, {LIMITS: []}))
    return Source(merged, tuple(limits), content, foreign)


def _limit_records(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    if not isinstance(content.get("limits"), list):
        msg = f"{path}: got no list under 'limits'; make the file again with `lnv limits`"
        raise ResultsError(msg)
    return list(content["limits"])
