"""Numbers derived from a merged accumulator, as JSON files that say which accumulator they were made from.

Every command of stage 2 writes with `write`. A reader that needs the numbers calls `read`, which refuses those of
another accumulator; the report, which shows what there is, marks them with `difference`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import saving
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results

MADE_FROM: Final = "made_from"
# Stem of a file -> the command that makes it.
COMMANDS: Final[Mapping[str, str]] = {
    "limits": "lnv limits",
    "limit_checks": "lnv limits --checks",
    "coverage": "lnv limits --checks",
    "systematics": "lnv systematics",
    "background": "lnv background",
    "optimization": "lnv optimize",
    "topology": "lnv topology",
    "paper_tables": "lnv paper",
}


def write(output: Path, stem: str, content: Mapping[str, Any], results: Results) -> Path:
    """Write numbers with the identity of the result they were made from, and return the path.

    Args:
        output: Directory.
        stem: Name of the file without ``.json``, one of `COMMANDS`.
        content: What `json` can write.
        results: The result.

    Raises:
        ValueError: The content holds NaN or infinity.
    """
    text = json.dumps({MADE_FROM: results.identity, **content}, indent=2, allow_nan=False)
    return saving.write_text(output / f"{stem}.json", text + "\n")


def load(path: Path, command: str) -> dict[str, Any]:
    """Return what a JSON file holds, whatever it was made from.

    Args:
        path: The file.
        command: What makes it, for the message.

    Raises:
        ResultsError: It cannot be read, or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as JSON ({type(error).__name__}: {error}); make it with `{command}`"
        raise ResultsError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: got JSON of type {type(content).__name__}, wanted an object; make it with `{command}`"
        raise ResultsError(msg)
    return content


def read(output: Path, stem: str, results: Results) -> dict[str, Any]:
    """Return the numbers that a command derived from this very result.

    Args:
        output: Directory.
        stem: Name of the file without ``.json``, one of `COMMANDS`.
        results: The result.

    Raises:
        ResultsError: The file is missing, broken, or made from another result; the message names the command to run.
    """
    path = output / f"{stem}.json"
    content = load(path, COMMANDS[stem])
    require(content, results, path, COMMANDS[stem])
    return content


def require(content: Mapping[str, Any], results: Results, path: Path, command: str) -> None:
    """Raise ResultsError, saying in what they differ, if numbers were made from another result.

    Args:
        content: What the file holds.
        results: The result at hand.
        path: The file, for the message.
        command: What makes it, for the message.
    """
    if reason := difference(content, results):
        msg = f"{path}: {reason}; run `{command}` again"
        raise ResultsError(msg)


def difference(content: Mapping[str, Any], results: Results) -> str | None:
    """Return in what the result that numbers were made from differs from a given one; None if it is the same.

    Args:
        content: What the file holds.
        results: The result at hand.
    """
    stated, present = content.get(MADE_FROM), results.identity
    if not isinstance(stated, Mapping):
        return "it does not say which result it was made from"
    for name, value in present.items():
        if stated.get(name) != value:
            return f"made from a result with another {name}: {stated.get(name)}, here it is {value}"
    return None
