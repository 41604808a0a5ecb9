"""How a skim gets on: its rate, what it keeps, and the time that is left.

A worker notes after every chunk what it has done of its output, in a file beside the books; the client adds these up,
whatever runs the workers. On a terminal the line is renewed every second, elsewhere one is printed every minute.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jpsi_lnv.processors.console import console
from jpsi_lnv.processors.skim_plan import SkimItem, is_done

# Seconds between two lines, on a terminal and elsewhere.
ON_TERMINAL: Final = 1.0
ELSEWHERE: Final = 60.0
NOTE: Final = ".now"


@dataclass(frozen=True)
class Done:
    """What has been done.

    Attributes:
        events: Events read.
        kept: Events written.
        size: Bytes of input read.
    """

    events: int = 0
    kept: int = 0
    size: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(self.events + other.events, self.kept + other.kept, self.size + other.size)


def note(item: SkimItem, done: Done) -> None:
    """Leave word of what has been done of an output."""
    path = _note_of(item)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([done.events, done.kept, done.size]), encoding="utf-8")


def forget(items: Sequence[SkimItem]) -> None:
    """Remove the notes; call it when no worker writes any more."""
    for item in items:
        _note_of(item).unlink(missing_ok=True)


def done_of(item: SkimItem) -> Done:
    """Return what has been done of an output: by its books if it is whole, by its note if there is one."""
    if is_done(item):
        sources = json.loads(item.books.read_text(encoding="utf-8"))["sources"]
        return Done(sum(s["n_events"] for s in sources), sum(s["n_stored"] for s in sources), item.size)
    try:
        return Done(*json.loads(_note_of(item).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Done()


def line(done: Done, total: int, seconds: float) -> str:
    """Return a line for people.

    Args:
        done: What has been done.
        total: Bytes of input in all.
        seconds: Time that it took.
    """
    rate = done.size / max(seconds, 1e-9)
    left = "?" if not done.size else f"{max(total - done.size, 0) / rate:,.0f} s"
    kept = done.kept / max(done.events, 1)
    return (
        f"skimming: {done.size / 1e9:,.2f} of {total / 1e9:,.2f} GB, {done.events / max(seconds, 1e-9):,.0f} events/s, "
        f"{rate / 1e6:,.0f} MB/s, kept {done.kept:,} of {done.events:,} events ({kept:.2%}), {left} left"
    )


@contextmanager
def meter(items: Sequence[SkimItem]) -> Iterator[None]:
    """Tell how the outputs get on until the work ends."""
    target, start, total = console(), time.monotonic(), sum(item.size for item in items)

    def now() -> str:
        return line(sum((done_of(item) for item in items), Done()), total, time.monotonic() - start)

    if target.is_terminal:
        with target.status(now()) as status, _every(ON_TERMINAL, lambda: status.update(now())):
            yield
    else:
        with _every(ELSEWHERE, lambda: target.print(now(), soft_wrap=True)):
            yield
    target.print(now(), soft_wrap=True)


@contextmanager
def _every(seconds: float, call: Callable[[], Any]) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _note_of(item: SkimItem) -> Path:
    return item.books.with_suffix(NOTE)
