"""Rows of selected events or tracks that add up with those of other chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from jpsi_lnv.analysis.arrays import AnyArray

Columns = Mapping[str, AnyArray]

# Pieces that a sum keeps apart before it makes one of them: a few large ones cost nothing, many small ones do.
PIECES_MAX: Final = 64


class Rows:
    """Columns of equal length; the sum of two has the rows of both.

    Like coffea's `column_accumulator` for one column, but a sum copies no rows: it keeps the pieces, until they are
    asked for, travel, or become too many.

    Args:
        columns: Name -> values, shape (rows, ...).

    Raises:
        ValueError: There is no column, or they have different numbers of rows.
    """

    def __init__(self, columns: Columns) -> None:
        self._pieces: tuple[Columns, ...] = ({name: np.ascontiguousarray(values) for name, values in columns.items()},)
        if len({len(values) for values in columns.values()}) != 1:
            msg = f"rows need columns of one length; got { {name: len(v) for name, v in columns.items()} }"
            raise ValueError(msg)

    def __add__(self, other: Rows) -> Rows:
        if _shapes(self._pieces[0]) != _shapes(other._pieces[0]):
            msg = f"columns {_shapes(other._pieces[0])} cannot be added to columns {_shapes(self._pieces[0])}"
            raise ValueError(msg)
        filled = [piece for piece in (*self._pieces, *other._pieces) if _n_rows(piece)]
        total = Rows(self._pieces[0])
        total._pieces = tuple(filled) or total._pieces
        return total if len(filled) <= PIECES_MAX else Rows(total.columns)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the rows themselves, which nothing changes: coffea copies what only one of two results has."""
        return self

    def __reduce__(self) -> tuple[type[Rows], tuple[Columns]]:
        return Rows, (self._pieces[0] if len(self._pieces) == 1 else self.columns,)

    def __len__(self) -> int:
        return sum(map(_n_rows, self._pieces))

    @property
    def columns(self) -> dict[str, AnyArray]:
        """Name -> values of all rows."""
        return {name: np.concatenate([piece[name] for piece in self._pieces]) for name in self._pieces[0]}


def _shapes(columns: Columns) -> dict[str, tuple[int, ...]]:
    return {name: values.shape[1:] for name, values in sorted(columns.items())}


def _n_rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))
