"""Options that several commands share, and types of their values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from jpsi_lnv.analysis import results

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


SECONDS: Final = FiniteRange(min=0, min_open=True)
N_JPSI: Final = click.option(
    "--n-jpsi", type=FiniteRange(0, min_open=True), help="Number of J/psi to normalise to; default: the data's."
)
ALLOW_INCOMPLETE: Final = click.option(
    "--allow-incomplete", is_flag=True, help="Accept a result that does not cover every event."
)


def result_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a merged result lies and where what is made from it goes.

    The command gets `output`, a directory, and `accumulator`, the file of the result.
    """

    @functools.wraps(function)
    def command(*, accumulator: Path | None, output: Path, **given: Any) -> Any:
        return function(accumulator=accumulator or output / results.ACCUMULATOR, output=output, **given)

    of_accumulator = click.option(
        "--accumulator", type=FILE, help=f"Merged result; default: {results.ACCUMULATOR} in the output directory."
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
