"""How a fit is asked for and how it ends."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray


class Status(IntEnum):
    """How a fit ended; only the chi2 of OK is a chi2."""

    OK = 0
    NOT_CONVERGED = 1
    """No stable chi2 within the allowed iterations; chi2 = inf."""
    BAD_COVARIANCE = 2
    """A covariance that is not positive definite; chi2 = inf."""
    NOT_FINITE = 3
    """NaN or inf among the measurements; chi2 = inf."""
    ABOVE = 4
    """Given up above the limit; the number returned is only one that the chi2 would exceed."""
    INFEASIBLE = 5
    """The masses exceed the initial energy; chi2 = inf."""
    SKIPPED = 6
    """Not fitted: the decision was already made, or the assignment does not compete; chi2 = inf."""


class Limits(NamedTuple):
    """When the iteration ends.

    Attributes:
        chi2: Largest change of chi2 in the last step.
        energy: Largest violation of the energy constraint in GeV.
        n_iter: Largest number of iterations.
    """

    chi2: float = 1e-3
    energy: float = 1e-6
    n_iter: int = 20


class Fit4C(NamedTuple):
    """Fits of N candidates under H hypotheses, 4 degrees of freedom each.

    Attributes:
        chi2: (N, H).
        status: (N, H) values of `Status`.
        n_iter: (N, H) iterations.
    """

    chi2: FloatArray
    status: npt.NDArray[np.int8]
    n_iter: npt.NDArray[np.int8]


def count_status(status: npt.NDArray[np.integer]) -> dict[str, int]:
    """Return how often each `Status` occurs, by lower-case name: the book-keeping of a chunk."""
    counts = np.bincount(np.ravel(status), minlength=len(Status))
    return {s.name.lower(): int(counts[s]) for s in Status}


def is_smallest(fit: Fit4C) -> BoolArray:
    """Return whether the first hypothesis was fitted and no other one has a smaller chi2, shape (N,)."""
    others = np.where(fit.status[:, 1:] == Status.OK, fit.chi2[:, 1:], np.inf)
    return (fit.status[:, 0] == Status.OK) & (fit.chi2[:, 0] <= others.min(axis=1, initial=np.inf))
