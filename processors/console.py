"""What the commands print: the tables of the report, JSON for programs, and progress bars."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jpsi_lnv.analysis.report import render
from jpsi_lnv.analysis.report.tables import Table

# Width of what goes to a file or a pipe: a log need not fold dataset names.
_LOG_WIDTH = 140
# Time in s between two lines of progress where there is no terminal.
LINE_EVERY = 60.0


def console() -> Console:
    """Return the console of this process's standard output as it is now (tests redirect it)."""
    found = Console(highlight=False, soft_wrap=False)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=_LOG_WIDTH)


def show(*tables: Table | None) -> None:
    """Print tables of the report one below the other; one that a result cannot fill is None."""
    for table in tables:
        if table is not None:
            console().print(render.terminal(table))


def wrote(*paths: Path) -> None:
    """Say which files were written."""
    console().print(f"wrote {', '.join(map(str, paths))}", markup=False, soft_wrap=True)


class RateColumn(TextColumn):
    """Units done per second."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"{{task.speed:,.0f}} {unit}/s")
        self._unit = unit

    def render(self, task):  # type: ignore[no-untyped-def] # noqa: D102
        return super().render(task) if task.speed else f"0 {self._unit}/s"


@contextmanager
def bar(description: str, total: int, *, unit: str = "events") -> Iterator[Callable[[int], None]]:
    """Show a progress bar.

    Args:
        description: Word before the bar.
        total: Units in all.
        unit: Name of the units.

    Yields:
        A function that is called with the number of units that were done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        RateColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    target = console()
    if target.is_jupyter:
        with _widget(description, total, unit) as advance:
            yield advance
        return
    if not target.is_terminal:
        with _lines(description, total, unit) as advance:
            yield advance
        return
    with Progress(*columns, console=target) as progress:
        task = progress.add_task(description, total=total)
        yield lambda n: progress.update(task, advance=n)


@contextmanager
def _lines(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Print a line per minute, for a log."""
    done, started, end = [0], time.monotonic(), threading.Event()

    def advance(n: int) -> None:
        done[0] += n

    def speak() -> None:
        while not end.wait(LINE_EVERY):
            seconds = time.monotonic() - started
            share, rate = done[0] / max(total, 1), done[0] / seconds
            line = f"{description}: {share:.0%} of {total} {unit} after {seconds:.0f} s, {rate:.0f} {unit}/s"
            console().print(line, markup=False, soft_wrap=True)

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield advance
    finally:
        end.set()
        speaker.join()


@contextmanager
def _widget(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar in a notebook, where rich's bars take each other's output if two are there at once."""
    from tqdm.notebook import tqdm  # noqa: PLC0415 needs ipywidgets, which only notebooks have

    with tqdm(total=total, desc=description, unit=f" {unit}", unit_scale=True) as progress:
        yield progress.update
