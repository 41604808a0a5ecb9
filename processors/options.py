"""Options that several commands share, types of their values, and options made from the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import click

from jpsi_lnv.analysis import outputs, results

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


N_JPSI: Final = click.option(
    "--n-jpsi", type=FiniteRange(0, min_open=True), help="Number of J/psi to normalise to; default: the data's."
)
ALLOW_INCOMPLETE: Final = click.option(
    "--allow-incomplete", is_flag=True, help="Accept a result that does not cover every event."
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


def result_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a merged result lies and where what is made from it goes.

    The command gets `output`, a directory, and `accumulator`, the file of the result.
    """

    @functools.wraps(function)
    def command(*, accumulator: Path | None, output: Path, **given: Any) -> Any:
        return function(accumulator=accumulator or output / outputs.ACCUMULATOR, output=output, **given)

    of_accumulator = click.option(
        "--accumulator", type=FILE, help=f"Merged result; default: {outputs.ACCUMULATOR} in the output directory."
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
