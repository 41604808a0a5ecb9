"""Drafts a mapping file from the branches of a user's own ntuple: what is guessed is marked as a guess.

A column takes the branch whose name is most like its own, and of the units that a branch may be in the one in which its
typical size is plausible (`analysis.events.plausibility`). Nobody but the user knows whether that is right.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import awkward as ak
import numpy as np
import uproot

from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.datasets import PHOTON_SELECTIONS
from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.inspection import opened, tree_of
from jpsi_lnv.analysis.events.mapping import FROM_RUNS, wanted_type
from jpsi_lnv.analysis.events.plausibility import likely_unit
from jpsi_lnv.analysis.events.schema import BRANCHES

# Events that are looked at.
N_EVENTS: Final = 1000
# Likeness of two names, from 0 to 1, above which one is guessed from the other.
LIKENESS_MIN: Final = 0.75
# What people call things, as they stand in the names of the column table.
_SAME: Final = (
    (r"^m_", ""),
    (r"trk|charged|mdctrack", "track"),
    (r"shr|photon|gam(ma)?(?=_|$)", "shower"),
    (r"^run_?(no|number|id)?$", "run"),
    (r"^(evt|event|rec)_?(no|number|id)?$", "event"),
    (r"^ecms?$|^e_?cm$", "sqrt_s"),
    (r"^(b|bfield)$", "field"),
)
# What is said of columns of collections that a file may lack.
_OPTIONAL: Final = dict.fromkeys(
    schema.OPTIONAL, f"; all of them may lack, then there is no {', '.join(PHOTON_SELECTIONS)}"
)
_JAGGED: Final = 2


@dataclass(frozen=True)
class Branch:
    """A branch of the user's tree: its name, type, dimensions, smallest and largest value, and its first values."""

    name: str
    kind: str
    ndim: int
    is_fixed: bool
    values: AnyArray

    @property
    def span(self) -> str:
        """The range of its values in words."""
        return f"{self.values.min():.6g} to {self.values.max():.6g}" if len(self.values) else "no values"


def draft(path: str, tree: str | None = None) -> str:
    """Return the text of a mapping file for an ntuple.

    Args:
        path: Path or address of the ntuple.
        tree: Name of its tree; None: the one with the most branches.

    Raises:
        NtupleError: The file cannot be read, or has no such tree.
    """
    with opened(path) as file:
        name = tree or _largest_tree(path, file)
        branches = list(_branches(tree_of(path, file, name)))
    return "\n".join(_lines(path, name, branches)) + "\n"


def _largest_tree(path: str, file: Any) -> str:
    trees = {key: len(found.keys()) for key in file.keys(cycle=False) if isinstance(found := file[key], uproot.TTree)}
    if not trees:
        msg = f"{path}: has no tree; got {sorted(file.classnames(cycle=False).items())}"
        raise NtupleError(msg)
    return max(trees, key=lambda key: trees[key])


def _branches(tree: Any) -> Iterator[Branch]:
    for name, branch in tree.items(recursive=False):
        with suppress(Exception):  # what cannot be read is no column
            array = branch.array(entry_stop=N_EVENTS)
            values = ak.to_numpy(ak.flatten(array, axis=None))
            if values.dtype.kind not in "iuf":
                continue
            is_fixed = isinstance(array.layout, ak.contents.RegularArray)
            yield Branch(name, str(array.type.content), array.ndim, is_fixed, values)


def _lines(path: str, tree: str, branches: list[Branch]) -> Iterator[str]:
    yield f"# Draft of a mapping, made by `lnv mapping init {path}`. Nothing here is known but names, types and ranges:"
    yield "# read every line that says GUESS, and complete those that begin with #? (delete what the run table gives)."
    yield f'tree = "{tree}"'
    yield ""
    yield "[columns]"
    guessed = _guess(branches)
    for name in schema.required_branches():
        if name in guessed:
            yield _entry(name, guessed[name])
        else:
            optional = "; or by --run-table" if name in FROM_RUNS else _OPTIONAL.get(BRANCHES[name][0], "")
            yield f'#? {name} = {{branch = ""{_unit(BRANCHES[name][1].unit)}}}  # {wanted_type(name)}{optional}'
    used = {branch.name for branch in guessed.values()}
    yield ""
    yield "# branches that no line above uses"
    yield from (f"#   {b.name}: {b.kind}, {b.span}" for b in branches if b.name not in used)


def _guess(branches: list[Branch]) -> dict[str, Branch]:
    """Return column -> branch, the likest names first, each branch once."""
    pairs = [
        (_likeness(name, branch.name), name, branch)
        for name in schema.required_branches()
        for branch in branches
        if branch.ndim == (_JAGGED if BRANCHES[name][0] else 1) and not branch.is_fixed
    ]
    found: dict[str, Branch] = {}
    used: set[str] = set()
    for likeness, name, branch in sorted(pairs, key=lambda pair: -pair[0]):
        if likeness >= LIKENESS_MIN and name not in found and branch.name not in used:
            found[name] = branch
            used.add(branch.name)
    return found


def _likeness(column: str, branch: str) -> float:
    return difflib.SequenceMatcher(None, _plain(column), _plain(branch), autojunk=False).ratio()


def _plain(name: str) -> str:
    plain = name.lower()
    for pattern, word in _SAME:
        plain = re.sub(pattern, word, plain)
    return re.sub(r"[^a-z0-9]", "", plain)


def _unit(unit: str) -> str:
    return f', unit = "{unit}"' if unit else ""


def _entry(name: str, branch: Branch) -> str:
    column = BRANCHES[name][1]
    unit = likely_unit(name, branch.values)
    how = "by name" if unit is None else f"by name; the unit by its typical size, in {unit}"
    is_rounded = branch.values.dtype.kind == "f" and np.dtype(column.dtype).kind == "i"
    rounded = ", round = true" if is_rounded else ""
    entry = f'{{branch = "{branch.name}"{_unit(unit or column.unit)}{rounded}}}'
    return f"{name} = {entry}  # GUESS {how}; {branch.span}; wanted {column.meaning}"
