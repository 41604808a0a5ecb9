"""The record that every interval method returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An interval of the produced signal yield mu = events/efficiency.

    Attributes:
        lower: Lower end; zero where the data are compatible with no signal.
        upper: Upper end; inf if the efficiency is too uncertain to exclude any yield.
        confidence_level: As a fraction; what it means is said by the method that made the interval.
    """

    lower: float
    upper: float
    confidence_level: float
