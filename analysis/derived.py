"""Numbers derived from a merged accumulator, as JSON files that say from what and how they were made.

Every command of stage 2 writes with `write`: the identity of the result, its own options, and the digest of each file
of an earlier command that it read. A reader that needs the numbers calls `read`, which refuses those of another result,
of other options, or of an earlier file that has been replaced since; the report, which shows what there is, marks them
with `difference`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results

# Of `lnv run`.
ACCUMULATOR: Final = "accumulator.zip"
BOOKKEEPING: Final = "bookkeeping.json"
# Of the stages after it: stem of a JSON file that says from which result it was made -> the command.
DERIVED: Final[Mapping[str, str]] = {
    "limits": "lnv limits",
    "limits_expected": "lnv limits --expected",
    "limit_checks": "lnv limits --checks",
    "mass_scan": "lnv limits",
    "coverage": "lnv limits --checks",
    "systematics": "lnv systematics",
    "background": "lnv background",
    "misid": "lnv background",
    "optimization": "lnv optimize",
    "topology": "lnv topology",
    "paper_tables": "lnv paper",
    "cutflow": "lnv report",
}
CORRECTIONS: Final = "corrections.json"
TOPOLOGY_CSV: Final = "topology.csv"
LIKELIHOOD: Final = "likelihood.json"
LIKELIHOOD_HS3: Final = "likelihood.hs3.json"
LIKELIHOODS: Final = "likelihoods.json"
CLOSURE: Final = "closure.json"
VALIDATION: Final = "validation.json"
RECAST: Final = "recast.json"
RECAST_MAP: Final = "recast_map.parquet"
RECAST_CLOSURE: Final = "recast_closure.json"
# Of the report and of the submission.
PAGE: Final = "report.html"
COMPARISON: Final = "compare.html"
FIGURES: Final = "figures"
TABLES: Final = "tables"
HEPDATA: Final = "hepdata"
ROOT_FILE: Final = "histograms.root"
# Of the checks of an installation and of a fileset, and of a skim.
DOCTOR: Final = "doctor.json"
FILESET_CHECK: Final = "fileset_check.json"
SKIM: Final = "skim.json"


def derived(output: Path, stem: str) -> Path:
    """Return the path of one of `DERIVED` in a directory of results."""
    return output / f"{stem}.json"


MADE_FROM: Final = "made_from"
NO_OPTIONS: Final[Mapping[str, Any]] = {}


def write(
    output: Path,
    stem: str,
    content: Mapping[str, Any],
    results: Results,
    options: Mapping[str, Any] = NO_OPTIONS,
    files: Iterable[Path] = (),
) -> Path:
    """Write numbers together with what they were made from, and return the path.

    Args:
        output: Directory.
        stem: Name of the file without ``.json``, one of `outputs.DERIVED`.
        content: What `json` can write.
        results: The result.
        options: Name -> value of what decided the numbers besides.
        files: Files that were read besides, such as those of earlier commands.

    Raises:
        ValueError: The content holds NaN or infinity.
    """
    read_too = {path.name if path.parent == output else str(path): documents.digest_of_file(path) for path in files}
    made_from = {**results.identity, "options": dict(options), "files": read_too}
    return documents.write_json(derived(output, stem), {MADE_FROM: made_from, **content})


def load(path: Path, command: str) -> dict[str, Any]:
    """Return what a JSON file holds, whatever it was made from.

    Args:
        path: The file.
        command: What makes it, for the message.

    Raises:
        ResultsError: It cannot be read, or is no JSON object.
    """
    content: dict[str, Any] = documents.Form("result", f"make it with `{command}`", ResultsError).read(path)
    return content


def read(output: Path, stem: str, results: Results, options: Mapping[str, Any] = NO_OPTIONS) -> dict[str, Any]:
    """Return the numbers that a command derived from this very result with given options.

    Args:
        output: Directory.
        stem: Name of the file without ``.json``, one of `outputs.DERIVED`.
        results: The result.
        options: Those options that must have had these values.

    Raises:
        ResultsError: The file is missing, broken, or made from something else; the message names the command to run.
    """
    path = derived(output, stem)
    content = load(path, DERIVED[stem])
    require(content, results, path, DERIVED[stem], options)
    return content


def require(
    content: Mapping[str, Any], results: Results, path: Path, command: str, options: Mapping[str, Any] = NO_OPTIONS
) -> None:
    """Raise ResultsError, saying in what they differ, if numbers were made from something else.

    Args:
        content: What the file holds.
        results: The result at hand.
        path: The file.
        command: What makes it, for the message.
        options: Those options that must have had these values.
    """
    if reason := difference(content, results, path.parent, options):
        msg = f"{path}: {reason}; run `{command}` again"
        raise ResultsError(msg)


def difference(
    content: Mapping[str, Any], results: Results, directory: Path, options: Mapping[str, Any] = NO_OPTIONS
) -> str | None:
    """Return in what that from which numbers were made differs from what is at hand; None if it is the same.

    Args:
        content: What the file holds.
        results: The result at hand.
        directory: Where the file lies, and those of the earlier commands.
        options: Those options that must have had these values.
    """
    stated = content.get(MADE_FROM)
    if not isinstance(stated, Mapping) or not all(isinstance(stated.get(k, {}), Mapping) for k in ("options", "files")):
        return "it does not say which result it was made from"
    for name, value in results.identity.items():
        if stated.get(name) != value:
            return f"made from a result with another {name}: {stated.get(name)}, here it is {value}"
    made_with = stated.get("options", NO_OPTIONS)
    for name, value in options.items():
        if made_with.get(name) != value:
            return f"made with {name} = {made_with.get(name)}, wanted {value}"
    changed = [
        name
        for name, of_file in stated.get("files", {}).items()
        if documents.digest_of_file(directory / name) != of_file
    ]
    return f"made from another {changed[0]} than is there now" if changed else None
