"""A result as ROOT reads it: every histogram and cut flow as a TH1, TH2 or TH3, the candidates as trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

import hist
import numpy as np

from jpsi_lnv.analysis import documents
from jpsi_lnv.analysis.arrays import AnyArray
from jpsi_lnv.analysis.results import Results, SelectionResult

CATEGORIES: Final = (hist.axis.StrCategory, hist.axis.IntCategory)
# ROOT's histograms have three axes at most.
AXES_MAX: Final = 3


def write(path: Path, results: Results) -> int:
    """Write `path`, replacing it, and return the number of histograms.

    A histogram is ``dataset/selection/name``, that of a cut flow ``dataset/selection/cutflow``; one that tells
    categories apart is a directory with a histogram per category. Candidates are the tree
    ``dataset/selection/candidates``, without the columns of text.

    Args:
        path: File.
        results: A merged accumulator.
    """
    import uproot  # noqa: PLC0415 only this writes ROOT files

    n_written = 0
    with documents.replacing(path) as partial, uproot.recreate(partial) as file:
        for place, selection in _selections(results):
            for name, histogram in _histograms(selection):
                file[f"{place}/{name}"] = histogram
                n_written += 1
            if columns := _numbers(selection.candidates):
                file.mktree(f"{place}/candidates", {name: values.dtype for name, values in columns.items()})
                file[f"{place}/candidates"].extend(columns)
    return n_written


def _selections(results: Results) -> Iterator[tuple[str, SelectionResult]]:
    for dataset, content in results.datasets.items():
        for name, selection in content.selections.items():
            yield f"{dataset}/{name}", selection


def _numbers(candidates: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the columns that are numbers; none of candidates of which there is none."""
    columns = {name: np.asarray(values) for name, values in candidates.items() if len(values)}
    return {name: values for name, values in columns.items() if np.issubdtype(values.dtype, np.number)}


def _histograms(selection: SelectionResult) -> Iterator[tuple[str, hist.Hist]]:
    steps: hist.Hist = hist.Hist(hist.axis.StrCategory(list(selection.cutflow), name="step", label="after"))
    steps.view()[:] = list(selection.cutflow.values())
    yield "cutflow", steps
    for name, histogram in selection.histograms.items():
        for categories, piece in pieces(histogram):
            yield "/".join((name, *categories)), piece


def pieces(histogram: hist.Hist) -> Iterator[tuple[tuple[str, ...], hist.Hist]]:
    """Yield the histogram of every choice of categories, with double contents as ROOT knows them.

    Categories stay as labelled bins where there is no other axis, as many of the last ones as ROOT has axes for.
    """
    axes = list(histogram.axes)
    chosen = [i for i, axis in enumerate(axes) if isinstance(axis, CATEGORIES)]
    if len(chosen) == len(axes):
        chosen = chosen[:-AXES_MAX]
    values: Any = histogram.values(flow=True)
    for choice in product(*(range(len(axes[i])) for i in chosen)):
        place = tuple(choice[chosen.index(i)] if i in chosen else slice(None) for i in range(len(axes)))
        piece = hist.Hist(*(axis for i, axis in enumerate(axes) if i not in chosen))
        piece.view(flow=True)[...] = values[place]
        yield tuple(str(axes[i].value(k)) for i, k in zip(chosen, choice, strict=True)), piece
