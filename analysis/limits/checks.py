"""Bad numbers are refused with the argument's name and the value that was got."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.arrays import BoolArray, FloatArray


def _require(name: str, array: FloatArray, is_good: BoolArray, wanted: str) -> FloatArray:
    if not np.all(is_good):
        msg = f"{name}={array[~is_good].flat[0]:g}: wanted {wanted}"
        raise ValueError(msg)
    return array


def as_finite(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is a finite number."""
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, np.isfinite(array), "a finite number")


def number(name: str, value: Any) -> float:
    """Return `value`, read from a file, as float; ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name}={value!r}: wanted a number"
        raise ValueError(msg)  # noqa: TRY004 a bad value in a file, as any other
    return float(as_finite(name, value))


def non_negative(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is finite and not below zero."""
    array = as_finite(name, value)
    return _require(name, array, array >= 0.0, "zero or more")


def positive(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is finite and above zero."""
    array = as_finite(name, value)
    return _require(name, array, array > 0.0, "more than zero")


def counts(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element is a whole number of zero or more."""
    array = non_negative(name, value)
    return _require(name, array, array == np.floor(array), "a whole number of events")


def efficiency(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element lies in (0, 1]."""
    array = positive(name, value)
    return _require(name, array, array <= 1.0, "a fraction in (0, 1], not percent")


def fraction(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return `value` as float64 array; ValueError unless every element lies in [0, 1]."""
    array = non_negative(name, value)
    return _require(name, array, array <= 1.0, "a fraction in [0, 1], not percent")


def confidence_level(value: float) -> float:
    """Return `value`; ValueError unless it lies in (0, 1)."""
    array = as_finite("confidence_level", value)
    return float(
        _require("confidence_level", array, (array > 0.0) & (array < 1.0), "a fraction in (0, 1), not percent")
    )
