"""Bad numbers are refused with the argument's name and the value that was got."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def _refuse(name: str, value: object, wanted: str) -> None:
    msg = f"{name}={value!r}: wanted {wanted}"
    raise ValueError(msg)


def as_finite(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is a finite number."""
    array = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        _refuse(name, value, "finite numbers")
    return array


def non_negative(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is finite and not below zero."""
    array = as_finite(name, value)
    if np.any(array < 0.0):
        _refuse(name, value, "a number of zero or more")
    return array


def positive(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is finite and above zero."""
    array = as_finite(name, value)
    if np.any(array <= 0.0):
        _refuse(name, value, "a number above zero")
    return array


def counts(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is a whole number of zero or more."""
    array = non_negative(name, value)
    if np.any(array != np.floor(array)):
        _refuse(name, value, "a whole number of events")
    return array


def efficiency(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element lies in (0, 1]."""
    array = positive(name, value)
    if np.any(array > 1.0):
        _refuse(name, value, "a fraction in (0, 1], not percent")
    return array


def confidence_level(value: float) -> float:
    """Return `value`; ValueError unless it lies in (0, 1)."""
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        _refuse("confidence_level", value, "a fraction in (0, 1), not percent")
    return float(value)
