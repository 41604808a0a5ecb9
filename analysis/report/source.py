"""What a report is made from: the merged accumulator, the limits, and what later stages left beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from analysis import results
from analysis.errors import ResultsError
from analysis.results import Results, SelectionResult

SEARCH: Final = "search"
ACCUMULATOR: Final = "accumulator.zip"
LIMITS: Final = "limits"
# What other stages may have left, by the stem of the file.
OPTIONAL: Final = ("systematics", "background", "optimization", "limit_checks", "coverage", "topology", "validation")


@dataclass(frozen=True)
class Source:
    """Everything a report reads; nothing in a report has another origin.

    Attributes:
        results: The merged accumulator.
        limits: Records of `limits.json`; empty without that file.
        extras: Stem of a JSON file that was found -> its content.
    """

    results: Results
    limits: tuple[dict[str, Any], ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)

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
    content = {stem: _load(output / f"{stem}.json") for stem in (LIMITS, *OPTIONAL)}
    extras = {stem: content[stem] for stem in OPTIONAL if content[stem] is not None}
    return Source(merged, tuple(_limit_records(output / f"{LIMITS}.json", content[LIMITS])), extras)


def _load(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as JSON ({error}); make it again"
        raise ResultsError(msg) from error


def _limit_records(path: Path, content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    if not isinstance(content, dict) or not isinstance(content.get("limits"), list):
        msg = f"{path}: got no list under 'limits'; make the file again with `lnv limits`"
        raise ResultsError(msg)
    return list(content["limits"])
