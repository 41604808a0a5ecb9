"""Which events a file holds: a digest of them, a sample by which files that share some are found, and repeated ones.

A recorded event is its run and event number. Simulated jobs begin counting anew, so there the curvatures of its tracks
belong to it; without a track nothing tells it from others. The sample is of the events whose hashes are smallest, so
that two files take the same of the events that they share. It finds two files of up to `SAMPLE_MAX` events that share
one; of larger ones that share a part f of the larger's events it misses exp(-f * SAMPLE_MAX), 2 of 1000 for f = 0.05.
`lnv fileset check --duplicates` compares every recorded event.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.arrays import AnyArray, IntArray
from jpsi_lnv.analysis.events.columns import mix, sum_per_event
from jpsi_lnv.analysis.events.schema import BRANCHES

# Columns that tell events from others, in any file.
CONTENT: Final = ("run", "event", "Track_kappa")
# Events of a file that are compared with those of others.
SAMPLE_MAX: Final = 128
_DIGITS: Final = 16

Hashes = npt.NDArray[np.uint64]
# Hash of an event that nothing tells from others.
_NOBODY: Final = np.uint64(0)


class Content:
    """The events of a file, which come in pieces in their order."""

    def __init__(self) -> None:
        self._of = {name: hashlib.sha256() for name in CONTENT}
        self._numbers: list[tuple[AnyArray, AnyArray]] = []
        self._hashes: list[Hashes] = []

    def add(self, run: AnyArray, event: AnyArray, offsets: IntArray, kappa: AnyArray) -> None:
        """Add events.

        Args:
            run: (E,) run numbers.
            event: (E,) event numbers.
            offsets: (E + 1,) tracks of event i are ``offsets[i]`` to ``offsets[i + 1]``.
            kappa: (T,) curvatures of the tracks in c/GeV.
        """
        given = dict(zip(CONTENT, (run, event, kappa), strict=True))
        run, event, kappa = (np.ascontiguousarray(v, BRANCHES[name][1].dtype) for name, v in given.items())
        for of, column in zip(self._of.values(), (run, event, kappa), strict=True):
            of.update(column.data)
        self._numbers.append((run, event))
        self._hashes.append(_hashes(run, event, offsets, kappa))

    def digest(self) -> str:
        """Return a digest, equal for copies of the events in any form; empty without an event."""
        parts = (of.hexdigest() for of in self._of.values())
        return documents.digest(*parts) if any(map(len, self._hashes)) else ""

    def sample(self) -> str:
        """Return the smallest hashes of its events in hexadecimal digits, one after the other."""
        found = np.unique(self._all())
        return "".join(f"{number:0{_DIGITS}x}" for number in found[found != _NOBODY][:SAMPLE_MAX].tolist())

    def repeated(self) -> Iterator[str]:
        """Return what is wrong if an event is there twice, with the first entry that repeats another."""
        hashes = self._all()
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        same = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != _NOBODY))
        if not same.size:
            return
        at = same[np.argmin(order[same + 1])]
        run, event = (np.concatenate(parts)[order[at]] for parts in zip(*self._numbers, strict=True))
        tracks = " with the same tracks" if run < 0 else ""
        yield (
            f"columns run, event: entries {order[at]} and {order[at + 1]} are both run {run}, event {event}{tracks}; "
            "wanted every event once: a file was merged twice, or event was not filled: write it again"
        )

    def _all(self) -> Hashes:
        return np.concatenate([np.empty(0, np.uint64), *self._hashes])


def _hashes(run: AnyArray, event: AnyArray, offsets: IntArray, kappa: AnyArray) -> Hashes:
    """Return a hash of each event, (E,)."""
    numbers = mix(mix(run.astype(np.int64).view(np.uint64)) ^ event.view(np.uint64))
    if not (is_simulated := run < 0).any():
        return numbers
    n_tracks = np.diff(offsets)
    place = np.arange(len(kappa)) - np.repeat(offsets[:-1], n_tracks)
    of_track = mix(kappa.view(np.uint32).astype(np.uint64) ^ (place.astype(np.uint64) << np.uint64(32)))
    with_tracks = mix(numbers ^ sum_per_event(offsets, of_track.view(np.int64)).view(np.uint64))
    return np.where(is_simulated, np.where(n_tracks > 0, with_tracks, _NOBODY), numbers)


class Shared(NamedTuple):
    """Two files that hold the same events.

    Attributes:
        first: Name of one.
        second: Name of the other, which came later.
        n: Events of both samples.
        of: Events of the second's sample.
    """

    first: str
    second: str
    n: int
    of: int

    def __str__(self) -> str:
        return (
            f"{self.second} holds events of {self.first} ({self.n} of {self.of} that were compared); they would count "
            "twice: leave one out, or write one again without them"
        )


def shared(samples: Iterable[tuple[str, str]]) -> Shared | None:
    """Return the first two files that share events; None if none do.

    Args:
        samples: Name and sample of each file.
    """
    owner: dict[str, str] = {}
    for name, sample in samples:
        hashes = [sample[at : at + _DIGITS] for at in range(0, len(sample), _DIGITS)]
        if owners := Counter(owner[number] for number in hashes if number in owner):
            (first, n), *_ = owners.most_common(1)
            return Shared(first, name, n, len(hashes))
        owner |= dict.fromkeys(hashes, name)
    return None
