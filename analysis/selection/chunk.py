"""What the selections see of a chunk: one view of its events, which all of them share, without those in the box.

Events of blind data that lie in the box leave here, before any selection, variation or histogram can count them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jpsi_lnv.analysis.arrays import BoolArray
from jpsi_lnv.analysis.cuts import SELECTION, Cuts
from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.events.columns import ChosenEvents, Columns
from jpsi_lnv.analysis.objects.calibration import Calibration
from jpsi_lnv.analysis.selection import blinding
from jpsi_lnv.analysis.selection.search_events import SearchEvents
from jpsi_lnv.analysis.selection.steps import Step, apply, count, of_channel

# What a selection finds: ``cutflow``, and where it has them ``histograms``, ``status`` and columns of ``candidates``.
Found = dict[str, Any]


class Chunk:
    """A chunk of events of one dataset.

    Args:
        columns: Its columns.
        dataset: Name of the dataset.
        metadata: Its metadata.
        cuts: The requirements of the search.
        box: The requirements that the box of blind data is made of.
        calibration: Constants of its runs; those of the package's simulation where it is left out.

    Attributes:
        n_read: All its events, whether or not they may be seen.
    """

    def __init__(
        self,
        columns: Columns,
        dataset: str,
        metadata: DatasetMetadata,
        cuts: Cuts,
        box: Cuts = SELECTION,
        calibration: Calibration | None = None,
    ) -> None:
        self._columns = columns
        self._box_cuts = box
        self.dataset = dataset
        self.metadata = metadata
        self.cuts = cuts
        self.calibration = calibration
        self.n_read = columns.n_events

    @cached_property
    def events(self) -> SearchEvents:
        """The events that may be seen, as the search looks at them.

        A blind chunk goes one way whether or not events are hidden in it: an error of a selection, whose traceback is
        stored, looks the same. What is known already of its events is not computed again where none is.
        """
        hidden = self._is_hidden
        if not self.metadata.is_blind:
            return self._everything
        seen = self._view(~hidden)
        if not hidden.any():
            vars(seen).update({name: value for name, value in vars(self._everything).items() if name != "columns"})
        return seen

    @cached_property
    def visible(self) -> VisibleChunk:
        """What a user's own selection may see.

        Of a blind dataset the events that pass the search up to the step at which hidden events leave: the number of
        any others, beside that of all events read, would tell how many are hidden.
        """
        events = self.events
        if self.metadata.is_blind:
            seen = ~self._is_hidden
            steps = self.steps[: len(_before_they_leave(self.steps)) + 1]
            seen[seen] = apply(steps, events).all(axis=0)
            events = self._view(seen)
        return VisibleChunk(self.dataset, self.metadata, self.cuts, events)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the search."""
        return of_channel(self.cuts.channel)

    @cached_property
    def decisions(self) -> BoolArray:
        """Every decision of `steps` on these events, shape (steps, events)."""
        return apply(self.steps, self.events)

    def cut_flow(
        self, steps: Sequence[Step], decisions: BoolArray, view: Callable[[SearchEvents], Any] = lambda events: events
    ) -> dict[str, int]:
        """Return the cut flow of a selection: all events read, then those that pass each step and all before it.

        Hidden events are counted as any other before the step at which they leave. It rejects so many visible events
        that its own number says nothing of theirs. Without them from the start, a skim that kept only events that pass
        the first steps would give their number away: what these steps reject would be the hidden events alone.

        Args:
            steps: The steps.
            decisions: Their decisions on `events`, shape (steps, events).
            view: What makes of events that which the steps look at.
        """
        flow = count(steps, decisions)
        if self.metadata.is_blind:
            before = _before_they_leave(steps)
            for name, n in count(before, apply(before, view(self._box))).items():
                flow[name] += n
        return flow

    @cached_property
    def _everything(self) -> SearchEvents:
        return SearchEvents(self._columns, self.cuts, self.metadata.sqrt_s, self.calibration)

    @cached_property
    def _is_hidden(self) -> BoolArray:
        return blinding.is_hidden(self._everything, self.dataset, self.metadata, self._box_cuts)

    @cached_property
    def _box(self) -> SearchEvents:
        """The hidden events."""
        return self._view(self._is_hidden)

    def _view(self, chosen: BoolArray) -> SearchEvents:
        return self._everything.like(ChosenEvents(self._columns, chosen))


@dataclass(frozen=True)
class VisibleChunk:
    """A chunk of one dataset as a user's own selection sees it.

    Attributes:
        dataset: Name of the dataset.
        metadata: Its metadata.
        cuts: The requirements of the search.
        events: The events, as the search looks at them; of blind data those that may be seen and counted.
    """

    dataset: str
    metadata: DatasetMetadata
    cuts: Cuts
    events: SearchEvents

    def cut_flow(self, steps: Sequence[Step]) -> dict[str, int]:
        """Return the cut flow of some steps: all events that are seen, then what passes each step and all before it."""
        return count(steps, apply(steps, self.events))


def _before_they_leave(steps: Sequence[Step]) -> list[Step]:
    """Return the steps before the one at which hidden events leave, which is the first where none says so."""
    if not any(step.hides for step in steps):
        return []
    return list(itertools.takewhile(lambda step: not step.hides, steps))


@dataclass(frozen=True)
class Selection:
    """What runs on the chunks of a dataset whose metadata name it.

    Attributes:
        select: Returns what it finds in a chunk, by the name under which it is stored.
        reads: Branches that it reads of every chunk that has events: they are read in one call, for a call per branch
            costs as much as the reading of a few thousand events.
    """

    select: Callable[[Chunk], dict[str, Found]]
    reads: frozenset[str] = frozenset()
