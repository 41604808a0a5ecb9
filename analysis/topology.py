"""Decay chains of simulated events, written from the generated particles, and their counts.

A chain is stored as PDG codes, ``443(321,-321,111(22,22))``: daughters in brackets, sorted by code, so that equal
chains are equal text. Names come in only for the reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jpsi_lnv.analysis.arrays import IntArray
from jpsi_lnv.analysis.datasets import TOPOLOGY
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.events.columns import Columns
from jpsi_lnv.analysis.results import Results

PASSED: Final = "passed"
NO_MOTHER: Final = -1
# Codes that the names of the publication's particles do not cover.
NAMES: Final = {9900012: "nu_M", 9910012: "nu_M"}

Tree = tuple[int, tuple[Any, ...]]


def chains(columns: Columns, events: IntArray) -> list[str]:
    """Return the decay chain of each of some events of a chunk.

    Args:
        columns: The chunk, with generated particles.
        events: Numbers of the events in the chunk.
    """
    offsets = columns.offsets("Gen")
    codes, mothers = columns.flat("Gen", "pdg_id"), columns.flat("Gen", "mother")
    return [
        chain(codes[offsets[i] : offsets[i + 1]].tolist(), mothers[offsets[i] : offsets[i + 1]].tolist())
        for i in events
    ]


def chain(codes: Sequence[int], mothers: Sequence[int]) -> str:
    """Return the chain of one event; of several particles without mother those that decay are shown.

    Args:
        codes: PDG code of each particle.
        mothers: Row of its mother, -1 for none.
    """
    daughters: dict[int, list[int]] = {}
    for row, mother in enumerate(mothers):
        daughters.setdefault(mother, []).append(row)

    def text(row: int) -> str:
        inner = sorted((text(d) for d in daughters.get(row, [])), key=_order)
        return f"{codes[row]}({','.join(inner)})" if inner else str(codes[row])

    roots = [row for row in daughters.get(NO_MOTHER, []) if row in daughters] or daughters.get(NO_MOTHER, [])
    return ",".join(text(row) for row in roots)


def _order(text: str) -> tuple[int, bool, str]:
    code = int(text.partition("(")[0])
    return -abs(code), code < 0, text


def count(results: Results, step: str | None = None) -> dict[str, Counter[str]]:
    """Return how often each chain occurs per dataset, among the events that pass, or that fail one step only.

    Args:
        results: A merged accumulator.
        step: The step that fails; None: none fails.

    Raises:
        ResultsError: No dataset ran with the selection "topology".
    """
    found = {name: d.selections[TOPOLOGY] for name, d in results.ran(TOPOLOGY).items()}
    if not found:
        msg = (
            f"no dataset with the selection {TOPOLOGY!r} among {sorted(results.datasets)}: add it to the metadata of "
            "simulated datasets and run again"
        )
        raise ResultsError(msg)
    wanted = step or PASSED
    return {
        name: Counter(str(d) for d, s in zip(r.candidates["decay"], r.candidates["failed"], strict=True) if s == wanted)
        for name, r in found.items()
    }


def conjugate(text: str) -> str:
    """Return the charge-conjugated chain."""
    return ",".join(_write(_conjugated(tree)) for tree in _parse(text))


def merge_conjugates(counts: Mapping[str, int]) -> Counter[str]:
    """Return counts with each chain and its charge conjugate as one, under the more frequent of the two."""
    merged: Counter[str] = Counter()
    for text, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        other = conjugate(text)
        merged[other if other in merged else text] += n
    return merged


def describe(text: str) -> str:
    """Return a chain in names: ``J/psi(1S) -> K+ K- (pi0 -> gamma gamma)``."""
    return "; ".join(_describe(tree, outer=True) for tree in _parse(text))


def _describe(tree: Tree, *, outer: bool = False) -> str:
    code, inner = tree
    if not inner:
        return particle_name(code)
    decay = f"{particle_name(code)} -> {' '.join(_describe(t) for t in inner)}"
    return decay if outer else f"({decay})"


def particle_name(code: int) -> str:
    """Return the name of a PDG code, or the code itself where it has none."""
    from particle import InvalidParticle, Particle, ParticleNotFound  # noqa: PLC0415 - only readers need names

    if abs(code) in NAMES:
        return NAMES[abs(code)]
    try:
        return str(Particle.from_pdgid(code).name)
    except (ParticleNotFound, InvalidParticle):
        return str(code)


def _conjugated(tree: Tree) -> Tree:
    from particle import InvalidParticle, Particle, ParticleNotFound  # noqa: PLC0415

    code, inner = tree
    try:
        own = Particle.from_pdgid(code)
        other = code if own.is_self_conjugate else -code
    except (ParticleNotFound, InvalidParticle):
        other = code
    return other, tuple(_conjugated(t) for t in inner)


def _write(tree: Tree) -> str:
    code, inner = tree
    texts = sorted((_write(t) for t in inner), key=_order)
    return f"{code}({','.join(texts)})" if texts else str(code)


def _parse(text: str) -> tuple[Tree, ...]:
    """Return the trees of a chain."""
    trees: list[Tree] = []
    rest = text
    while rest:
        tree, rest = _parse_one(rest)
        trees.append(tree)
        rest = rest.removeprefix(",")
    return tuple(trees)


def _parse_one(text: str) -> tuple[Tree, str]:
    end = next((i for i, c in enumerate(text) if c in "(),"), len(text))
    code, rest = int(text[:end]), text[end:]
    if not rest.startswith("("):
        return (code, ()), rest
    inner: list[Tree] = []
    rest = rest[1:]
    while not rest.startswith(")"):
        tree, rest = _parse_one(rest)
        inner.append(tree)
        rest = rest.removeprefix(",")
    return (code, tuple(inner)), rest[1:]
