"""A table as one record: what every renderer (terminal, LaTeX, CSV, HTML, JSON) shows.

Cells are raw values; a field knows how its values look. Uncertainties stand in columns of their own, so that every
column can be sorted and read by a program.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

# Between groups of three digits: narrow and never broken.
THIN_SPACE: Final = "\u202f"
# Keys of a row that say where its values come from: a file of the result and a JSON pointer, such as
# ``limits.json#/limits/0``; and, by key of the cell, where that place is another one.
PLACE: Final = "place"
PLACES: Final = "places"
DIVIDED: Final = " ÷ "
# Numbers between the negative of this power of ten and it are written without one.
SMALL_POWER: Final = 2
NOTHING: Final = "–"

# Words of a decay that are printed as letters, and the name of a particle with its charge.
_LETTERS: Final = {
    "pi": "π", "mu": "μ", "eta": "η", "rho": "ρ", "phi": "φ", "omega": "ω", "gamma": "γ", "nu": "ν",
    "Lambda": "Λ", "Sigma": "Σ", "Xi": "Ξ", "Delta": "Δ", "J/psi(1S)": "J/ψ", "J/psi": "J/ψ", "->": "→",
}  # fmt: skip
_LETTER: Final = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(map(re.escape, _LETTERS))})(?![a-z])")
_NAME: Final = r"(?<![A-Za-z])([abefhnpDKN\u0391-\u03c9](?:_\w|[*'~]|\(\d+\))*)"
_CHARGE: Final = re.compile(_NAME + r"([+-]{1,2}|0)(?![A-Za-z0-9])")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_SUPERSCRIPT: Final = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")


def text(value: Any) -> str:
    """Return a word, or a dash for None."""
    return NOTHING if value is None else str(value)


def decay(value: str | None) -> str:
    """Return words with decays in them as they are printed: ``J/psi -> K+ pi-`` is J/ψ → K⁺ π⁻; a dash for None."""
    letters = _LETTER.sub(lambda found: _LETTERS[found[0]], text(value))
    return _CHARGE.sub(lambda found: found[1] + found[2].translate(_SUPERSCRIPT), letters)


def yes_no(value: bool | None) -> str:
    """Return yes or no, or a dash for None."""
    return NOTHING if value is None else "yes" if value else "no"


def count(value: int | None) -> str:
    """Return a whole number in groups of three digits."""
    return NOTHING if value is None else f"{value:,}".replace(",", THIN_SPACE)


def fixed(digits: int, *, scale: float = 1.0) -> Callable[[float | None], str]:
    """Return what writes `scale` times a number with `digits` decimals; infinity is written as such."""

    def show(value: float | None) -> str:
        if value is None or math.isnan(value):
            return NOTHING
        return f"{scale * value:.{digits}f}" if math.isfinite(value) else "∞"

    return show


def significant(digits: int) -> Callable[[float | None], str]:
    """Return what writes a number with `digits` significant digits."""

    def show(value: float | None) -> str:
        if value is None or math.isnan(value):
            return NOTHING
        written = f"{value:.{digits}g}"
        mantissa, e, exponent = written.partition("e")
        return f"{mantissa} × {superscript(int(exponent))}" if e else written

    return show


def percent(digits: int) -> Callable[[float | None], str]:
    """Return what writes a fraction in percent, without the sign: the unit stands in the head of the column."""
    return fixed(digits, scale=100.0)


def file_name(words: str) -> str:
    """Return words as they can stand in a file name and an anchor: letters, digits, dash and underscore."""
    return _UNSAFE.sub("_", words)


def power(value: float | None) -> int:
    """Return the power of ten in which a number is written with one digit before the point; 0 for none."""
    return 0 if not value or not math.isfinite(value) else math.floor(math.log10(abs(value)))


def superscript(exponent: int) -> str:
    """Return ten to a power, as 10⁻⁹."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def located(rows: Iterable[Mapping[str, Any]], place: str) -> tuple[dict[str, Any], ...]:
    """Return rows of a JSON list with the place of each."""
    return tuple({**row, PLACE: f"{place}/{i}"} for i, row in enumerate(rows))


def over(place: str, of: str) -> str:
    """Return a place whose divisor, if it has one, is written out: ``a/b ÷ /c`` is ``a/b ÷ of/c``."""
    return place.replace(f"{DIVIDED}/", f"{DIVIDED}{of}/")


def in_powers(value: float, digits: int = 1) -> str:
    """Return a number with its power of ten where it would have many zeros: 9.5 × 10⁻⁶."""
    exponent = power(value)
    if abs(exponent) <= SMALL_POWER:
        return f"{value:.{digits + 1}g}"
    return f"{value / 10.0**exponent:.{digits}f} × {superscript(exponent)}"


@dataclass(frozen=True)
class Field:
    """One field of every row: a column as the reader sees it.

    Attributes:
        key: Key of its cells in a row, and its name in CSV and JSON.
        head: What stands above it.
        show: Raw value -> what stands in a cell.
        unit: Unit of what is shown, empty if it has none.
        at: Where its value lies below the place of its row, or a place of its own such as a publication.
        group: Of a wide table: which columns are shown together, one group at a time.
    """

    key: str
    head: str
    show: Callable[[Any], str] = text
    unit: str = ""
    at: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        """Head and unit."""
        return f"{self.head} [{self.unit}]" if self.unit else self.head

    def place(self, row: Mapping[str, Any]) -> str:
        """Return where a cell comes from; empty for what is not there, and for words whose row does not say it."""
        stated = row.get(PLACES, {}).get(self.key)
        if row.get(self.key) is None or not (stated or self.is_number):
            return ""
        at, of = stated or self.at or f"/{self.key}", row.get(PLACE, "")
        return over(f"{of}{at}" if at.startswith("/") and of else "" if at.startswith("/") else at, of)

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers, aligned right."""
        return self.show not in (text, decay, yes_no)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Name of its files.
        title: Line above it.
        fields: What each row holds, from left to right.
        rows: Raw values by column key.
        note: Line below it: what the numbers are.
    """

    name: str
    title: str
    fields: tuple[Field, ...]
    rows: tuple[Mapping[str, Any], ...]
    note: str = ""

    def only(self, *keys: str) -> Table:
        """Return the table with some of its fields, where a terminal is too narrow for all."""
        return replace(self, fields=tuple(f for f in self.fields if f.key in keys))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of fields; none of a table that is not wide."""
        return tuple(dict.fromkeys(f.group for f in self.fields if f.group))

    def parts(self) -> tuple[Table, ...]:
        """Return a table per group of fields, for pages of limited width; the table itself without groups."""
        return tuple(
            replace(
                self,
                name=f"{self.name}_{i}",
                title=f"{self.title}: {group}",
                fields=tuple(f for f in self.fields if f.group in {"", group}),
            )
            for i, group in enumerate(self.groups, 1)
        ) or (self,)

    def cells(self) -> list[list[str]]:
        """Return every cell as it is shown."""
        return [[f.show(row.get(f.key)) for f in self.fields] for row in self.rows]
