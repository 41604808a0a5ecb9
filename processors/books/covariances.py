"""Stops a run whose tracks have covariances that are none: a reader that unpacks them wrongly does not go unnoticed."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.analysis.kinfit.status import Status

# Share of bad covariances among the fits of a dataset above which the run stops, and fits before anything is said.
FRACTION_MAX: Final = 0.01
N_FITS_MIN: Final = 200
_BAD: Final = Status.BAD_COVARIANCE.name.lower()
_SKIPPED: Final = Status.SKIPPED.name.lower()


class CovarianceError(LnvError):
    """A dataset has too many covariances that are not positive definite."""


class Covariances:
    """Counts how the fits of each dataset ended, group by group."""

    def __init__(self) -> None:
        self._ended: dict[str, Counter[str]] = {}

    def add(self, results: dict[str, Any]) -> None:
        """Count the fits of a group of chunks.

        Args:
            results: ``{dataset: {selection: {"status": {status: count}, ...}, ...}}``; what has no status is passed by.

        Raises:
            CovarianceError: More than 1 % of a dataset's fits met a bad covariance.
        """
        for dataset, selections in results.items():
            ended = self._ended.setdefault(dataset, Counter())
            for selection in selections.values():
                if isinstance(selection, dict):
                    ended.update(selection.get("status", {}))
            _check(dataset, ended)


def _check(dataset: str, ended: Counter[str]) -> None:
    tried = ended.total() - ended[_SKIPPED]
    if tried >= N_FITS_MIN and ended[_BAD] > FRACTION_MAX * tried:
        msg = (
            f"dataset {dataset!r}: {ended[_BAD]} of {tried} fits ({ended[_BAD] / tried:.1%}) met a track covariance "
            f"that is not positive definite, wanted at most {FRACTION_MAX:.0%}; the ntuples were filled wrongly: the "
            "columns cov0 to cov14 are the upper triangle, row by row"
        )
        raise CovarianceError(msg)
