"""What the commands leave in the directory of the results: the name of every file, and the command that makes it.

A leaf of the house: every stage names its files from here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
# Of the report and of the submission.
PAGE: Final = "report.html"
FIGURES: Final = "figures"
TABLES: Final = "tables"
HEPDATA: Final = "hepdata"
# Of the checks of an installation and of a fileset, and of a skim.
DOCTOR: Final = "doctor.json"
FILESET_CHECK: Final = "fileset_check.json"
SKIM: Final = "skim.json"


def derived(output: Path, stem: str) -> Path:
    """Return the path of one of `DERIVED` in a directory of results."""
    return output / f"{stem}.json"
