"""Roots of monotonous functions: of many increasing ones at once, and of a single falling one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from jpsi_lnv.analysis.arrays import FloatArray

ValueAndSlope = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

MAX_STEPS = 200
# Newton's error is the square of its step: this leaves none that a float could hold.
STEP_TOLERANCE = 1e-9
# Beyond this many times the scale of the problem a likelihood that is still too flat is taken to have no crossing.
SCALES_MAX = 1e9


def increasing_root(function: ValueAndSlope, low: FloatArray, high: FloatArray, start: FloatArray) -> FloatArray:
    """Return the root of each increasing function in its bracket: Newton's step, halving where that leaves the bracket.

    Args:
        function: Takes the points (N,), returns values (N,) and slopes (N,).
        low: Lower ends (N,), where the function is not above zero (or -inf).
        high: Upper ends (N,), where it is not below zero.
        start: First points (N,), inside the brackets.

    Returns:
        The roots (N,); an end of the bracket where the function has no sign change inside.
    """
    # Where the sign does not change inside, an end is the answer: no need to creep towards it.
    is_high, is_low = function(high)[0] <= 0.0, function(low)[0] >= 0.0
    is_end = is_high | is_low
    end = np.where(is_high, high, low)
    low, high, point = (np.where(is_end, end, values) for values in (low, high, start))
    for _ in range(MAX_STEPS):
        value, slope = function(point)
        is_below = value < 0.0
        low = np.where(is_below, point, low)
        high = np.where(is_below, high, point)
        following = np.where(is_end, end, _newton_or_half(point, value, slope, low, high))
        step = np.abs(following - point)
        point = following
        if np.all(step <= STEP_TOLERANCE * (1.0 + np.abs(point))):
            break
    return point


def _newton_or_half(
    point: FloatArray, value: FloatArray, slope: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        newton = point - value / slope
    is_inside = (newton >= low) & (newton <= high)  # false for NaN
    return np.where(is_inside, newton, 0.5 * (low + high))


def falling_to(level: float, function: Callable[[float], float], scale: float) -> float:
    """Return where a function that falls from 1 at zero to 0 at infinity reaches a level.

    Args:
        level: In (0, 1).
        function: The function.
        scale: Positive number, doubled until the function is not above the level.

    Returns:
        The point; inf where it is beyond `SCALES_MAX` times the scale.
    """
    high = scale
    while function(high) > level:
        high *= 2.0
        if high > SCALES_MAX * scale:
            return math.inf
    return float(optimize.brentq(lambda x: function(x) - level, 0.0, high, xtol=1e-10, rtol=1e-12))
