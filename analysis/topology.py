"""Decay chains of simulated events: their counts, their charge conjugates, and their names for the reader.

`analysis.selection.topology` writes the chains and says how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from jpsi_lnv.analysis.datasets import TOPOLOGY
from jpsi_lnv.analysis.errors import ResultsError
from jpsi_lnv.analysis.results import Results
from jpsi_lnv.analysis.selection.topology import PASSED, order

# Codes that the names of the publication's particles do not cover.
# Neutral particles as detectors see them: what they decay to is no part of a final state.
SEEN_WHOLE: Final = frozenset({111, 221, 331, 310, 130, 3122, 3322})
PHOTON: Final = 22
NAMES: Final = {9900012: "nu_M", 9910012: "nu_M"}

Tree = tuple[int, tuple[Any, ...]]


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


def final_state(text: str) -> str:
    """Return the final state of a chain in names, the same for its charge conjugate: ``K+ K- pi+ pi-``.

    Neutral mesons and hyperons are not followed further and photons are left out, so that every resonance and every
    radiation on the way to the same particles counts as one.
    """
    trees = _parse(text)
    sides = ([code for tree in side for code in _leaves(tree)] for side in (trees, map(_conjugated, trees)))
    chosen = max(sorted(codes, key=lambda code: order(str(code))) for codes in sides)
    return " ".join(map(particle_name, chosen))


def _leaves(tree: Tree) -> list[int]:
    code, inner = tree
    if not inner or abs(code) in SEEN_WHOLE:
        return [code] if code != PHOTON else []
    return [leaf for daughter in inner for leaf in _leaves(daughter)]


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
    texts = sorted((_write(t) for t in inner), key=order)
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
