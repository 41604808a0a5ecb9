"""Units of columns: how a user's unit becomes the one of the column table.

A unit is a product of names with `*` and `/`, and powers with `^`, such as ``mm``, ``c/MeV`` or ``mrad * cm^2``. The
speed of light counts as 1: GeV, GeV/c and GeV/c^2 have one dimension.
"""

from __future__ import annotations

import re
from typing import Final

# Name -> (value in cm, GeV, ns, rad, T; dimension).
_ATOMS: Final[dict[str, tuple[float, str]]] = {
    "um": (1e-4, "length"),
    "mm": (0.1, "length"),
    "cm": (1.0, "length"),
    "m": (100.0, "length"),
    "keV": (1e-6, "energy"),
    "MeV": (1e-3, "energy"),
    "GeV": (1.0, "energy"),
    "TeV": (1e3, "energy"),
    "ps": (1e-3, "time"),
    "ns": (1.0, "time"),
    "us": (1e3, "time"),
    "s": (1e9, "time"),
    "mrad": (1e-3, ""),
    "rad": (1.0, ""),
    "deg": (0.017453292519943295, ""),
    "G": (1e-4, "field"),
    "kG": (0.1, "field"),
    "T": (1.0, "field"),
    "c": (1.0, ""),
    "e": (1.0, ""),
    "sigma": (1.0, ""),
    "1": (1.0, ""),
}
_TERM: Final = re.compile(r"([*/]?)\s*([A-Za-z]+|1)(?:\^(-?\d+))?\s*")


def conversion(given: str, wanted: str) -> float:
    """Return the number that turns a value in the given unit into one in the wanted unit.

    Raises:
        ValueError: A unit is not known, or the two measure different things.
    """
    (value, dimension), (wanted_value, wanted_dimension) = _parse(given), _parse(wanted)
    if dimension != wanted_dimension:
        msg = f"{given!r} does not convert to {wanted!r}"
        raise ValueError(msg)
    return value / wanted_value


def _parse(unit: str) -> tuple[float, dict[str, int]]:
    """Return the value of a unit and the powers of its dimensions."""
    value, powers, place = 1.0, dict[str, int](), 0
    text = unit.strip()
    while place < len(text):
        term = _TERM.match(text, place)
        if term is None or term[2] not in _ATOMS or (place > 0) != bool(term[1]):
            msg = f"unit {unit!r} is not known; wanted products of {', '.join(_ATOMS)}"
            raise ValueError(msg)
        power = int(term[3] or 1) * (-1 if term[1] == "/" else 1)
        size, dimension = _ATOMS[term[2]]
        value *= size**power
        powers[dimension] = powers.get(dimension, 0) + power
        place = term.end()
    return value, {d: p for d, p in powers.items() if d and p}
