"""How the commands talk: shared options and types of their values, tables, JSON for programs, progress bars."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jpsi_lnv.analysis import derived, majorana, results
from jpsi_lnv.analysis.cards import DEFAULT, Card, names, read
from jpsi_lnv.analysis.constants import N_JPSI_OF
from jpsi_lnv.analysis.cuts import changed
from jpsi_lnv.analysis.datasets import N_JPSI_MAX, SIMULATED, published
from jpsi_lnv.analysis.report import render
from jpsi_lnv.analysis.report.tables import Table

Item = TypeVar("Item")

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


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the collector of unreachable cycles rest, as context or decorator of what reads a result and draws it.

    Nearly all of that stays until the end, and looking through it again and again takes a fifth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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


PATH: Final = click.Path(path_type=Path)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
DIRECTORY: Final = click.Path(path_type=Path, file_okay=False)


class FiniteRange(click.FloatRange):
    """A finite number in a range; NaN, which compares with nothing, is in every range of click's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or end with a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"got {value}; wanted a finite number", param, ctx)
        return number


def is_given(name: str) -> bool:
    """Return whether an option of the running command, by the name of its argument, stands on its command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse_unused(names: Iterable[str], where: str) -> None:
    """Raise UsageError if an option is given that does nothing there: somebody expects something of it.

    Args:
        names: Names of the options' arguments.
        where: What else was given or is the case, such as ``without --majorana``.
    """
    flags = {parameter.name: parameter.opts[0] for parameter in click.get_current_context().command.params}
    if idle := [flags[name] for name in names if is_given(name)]:
        msg = f"got {', '.join(idle)} {where}: it would do nothing; leave it out, or that"
        raise click.UsageError(msg)


class CalibrationFile(click.ParamType):
    """A file that is there, or the word for the package's own constants."""

    name = "calibration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the absolute path of the file or the word, or end with a usage error."""
        if value != SIMULATED and not Path(value).is_file():
            self.fail(f"got {value!r}; wanted a file of `lnv calibration import`, or {SIMULATED}", param, ctx)
        return SIMULATED if value == SIMULATED else str(Path(value).resolve())


class JpsiNumber(FiniteRange):
    """A number of J/psi, or names of published data sets such as ``2009+2012``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or end with a usage error."""
        return super().convert(published(value), param, ctx)


N_JPSI: Final = click.option(
    "--n-jpsi",
    type=JpsiNumber(0, N_JPSI_MAX, min_open=True),
    metavar="N",
    help=f"Number of J/psi to normalise to, or published data sets: {'+'.join(N_JPSI_OF)}.  [default: the data's]",
)


CARD: Final = click.option(
    "--card",
    default=DEFAULT,
    metavar="FILE|NAME",
    callback=lambda _context, _parameter, given: read(given),
    help=f"Channel card: the decay that is searched for, a TOML file or one of {', '.join(names())}.",
)


def card_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the decay that is searched for and of its requirements.

    The command gets `card`, whose requirements are changed as ``--set`` says.
    """

    @functools.wraps(function)
    def command(*, card: Card, settings: tuple[str, ...] = (), **given: Any) -> Any:
        try:
            card = dataclasses.replace(card, cuts=changed(card.cuts, settings))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--set'") from error
        return function(card=card, **given)

    of_cuts = click.option(
        "--set",
        "settings",
        metavar="NAME=VALUE",
        multiple=True,
        help="Another value of a requirement, such as chi2_4c_max=25; may be repeated. The result says so.",
    )
    return CARD(of_cuts(command))


PLUGIN: Final = click.option(
    "--plugin", type=FILE, help="Python file with selections of your own, run on every dataset (docs/howto_plugin.md)."
)
ALLOW_INCOMPLETE: Final = click.option(
    "--allow-incomplete", is_flag=True, help="Accept a result that does not cover every event."
)


ALLOW_STALE: Final = click.option(
    "--allow-stale", is_flag=True, help="Show what was made from another result, under a flag."
)


def option(
    default: Any, text: str, *, name: str = "", unit: str = "", least: int | None = None, check: Any = None
) -> Any:
    """Return a field of a dataclass that a command shows as an option.

    Args:
        default: Value of the field if the option is not given.
        text: What the option does, for ``--help``.
        name: Name of the option, without dashes, if it is not that of the field.
        unit: Unit of a number, shown where its value goes.
        least: Smallest whole number; other numbers are finite and above zero.
        check: Returns why a text is no such value, or nothing.
    """
    about = {"help": text, "name": name, "unit": unit, "least": least, "check": check}
    return dataclasses.field(default=default, metadata=about)


def options_of(kind: type[Any], argument: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the options of a dataclass to a command, which gets them as one argument, an instance of it."""
    fields = [f for f in dataclasses.fields(kind) if "help" in f.metadata]
    hints = get_type_hints(kind)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            made = kind(**{f.name: given.pop(f.name) for f in fields})
            return function(**{argument: made}, **given)

        for f in reversed(fields):
            command = _click_option(f, hints[f.name])(command)
        return command

    return decorate


def _click_option(f: dataclasses.Field[Any], hint: Any) -> Callable[..., Any]:
    about = f.metadata
    flag = "--" + (about["name"] or f.name).replace("_", "-")
    if hint is bool:
        names = f"{flag}/--no-{flag[2:]}" if f.default else flag
        return click.option(names, f.name, is_flag=True, default=f.default, help=about["help"])
    how: dict[str, Any] = {"type": _click_type(hint, about["least"]), "metavar": about["unit"] or None}
    if about["check"] is not None:
        how["callback"] = _checked(about["check"])
    return click.option(flag, f.name, default=f.default, help=about["help"], **how)


def _click_type(hint: Any, least: int | None) -> Any:
    """Return click's type of a field: of `X | None` that of X."""
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    kinds = {int: click.IntRange(least), float: FiniteRange(0, min_open=True), Path: PATH, str: click.STRING}
    return next(kinds[kind] for kind in (hint, *get_args(hint)) if kind in kinds)


def _checked(check: Callable[[str], str]) -> Callable[..., str | None]:
    def callback(ctx: click.Context, parameter: click.Parameter, given: str | None) -> str | None:  # noqa: ARG001 click's
        if given is not None and (wrong := check(given)):
            raise click.BadParameter(wrong)
        return given

    return callback


def not_a_part(text: str) -> str:
    """Return why a text names no share of the work; nothing if it does."""
    number, _, of = text.partition("/")
    is_one = number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)
    return "" if is_one else f"got {text!r}; wanted the number of a share and of shares, such as 3/10"


def part_of(items: Sequence[Item], part: str | None) -> list[Item]:
    """Return every n-th of some items, from the k-th on, for a share k/n of the work; all for None."""
    number, of = map(int, (part or "1/1").split("/"))
    return list(items[number - 1 :: of])


PART: Final = click.option(
    "--part",
    metavar="I/N",
    callback=_checked(not_a_part),
    help="Do one share of the files, such as 3/10; after all shares the same command without it writes the fileset.",
)


PAIRING: Final = click.option(
    "--pairing",
    type=click.Choice(majorana.PAIRINGS),
    default=majorana.BOTH,
    help="How a candidate belongs to a mass: both of its masses of pairs, paired, or any of the four.",
)


def result_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a merged result lies and where what is made from it goes.

    The command gets `output`, a directory, and `accumulator`, the file of the result.
    """

    @functools.wraps(function)
    def command(*, accumulator: Path | None, output: Path, **given: Any) -> Any:
        return function(accumulator=accumulator or output / derived.ACCUMULATOR, output=output, **given)

    of_accumulator = click.option(
        "--accumulator", type=FILE, help=f"Merged result.  [default: {derived.ACCUMULATOR} in the output directory]"
    )
    of_output = click.option(
        "--output", type=DIRECTORY, default=Path("results"), help="Directory of the results, old and new."
    )
    return of_accumulator(of_output(command))


def merged_result(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options, and give the command `merged`, the result itself, if it is complete or need not be."""

    @ALLOW_INCOMPLETE
    @result_options
    @functools.wraps(function)
    def command(*, accumulator: Path, output: Path, allow_incomplete: bool, **given: Any) -> Any:
        merged = results.read(accumulator)
        merged.require_complete(allow_incomplete=allow_incomplete)
        return function(merged=merged, output=output, **given)

    return command
