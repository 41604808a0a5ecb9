"""Files that people and programs hand on: JSON, TOML and zip archives of JSON.

They are written whole or not at all, so that a reader never sees half of one. They are read within bounds on size,
depth and numbers, and against a schema: whatever a file holds, its reader gets what the schema says or one error that
names the file, what it holds, what was wanted and how to mend it. A key that stands twice is refused, since a parser
would keep the last; NaN, infinity and integers of more than 64 bits are no numbers; and `true` is none either.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from jpsi_lnv.analysis.errors import LnvError

# Bytes of a text, levels of nesting, bytes of an archive's members together when unpacked.
TEXT_MAX: Final = 512 * 1024**2
DEPTH_MAX: Final = 32
UNPACKED_MAX: Final = 2 * 1024**3
INTEGER_BITS: Final = 63
# What a damaged, encrypted or foreign archive makes `zipfile` raise.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
# Blocks of a file that are hashed at once.
BLOCK: Final = 1 << 22
DIGEST_DIGITS: Final = 16


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move what was written to `path` if nothing failed.

    Args:
        path: The file to make; its directory is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8 and return the path."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(path: str | Path, payload: Any) -> Path:
    """Write JSON and return its path.

    Args:
        path: File to write; its directory is made.
        payload: What `json` can write; NaN and infinity are refused.

    Raises:
        ValueError: The payload holds NaN or infinity.
    """
    return write_text(Path(path), json.dumps(payload, indent=2, allow_nan=False) + "\n")


def digest(*parts: str | bytes, digits: int = DIGEST_DIGITS) -> str:
    """Return the first hexadecimal digits of the SHA-256 of texts and bytes, one after the other."""
    return _sha256(part.encode() if isinstance(part, str) else part for part in parts)[:digits]


def digest_of_json(content: Any) -> str:
    """Return a digest of what `json` can write; the order of keys does not count."""
    return digest(json.dumps(content, sort_keys=True))


def digest_of_file(path: Path) -> str | None:
    """Return a short digest of what a file holds; None if there is none."""
    return digest(path.read_bytes()) if path.is_file() else None


def sha256(stream: BinaryIO) -> str:
    """Return the SHA-256 of what a stream holds, in all its hexadecimal digits."""
    return _sha256(iter(lambda: stream.read(BLOCK), b""))


def _sha256(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def from_toml(text: str) -> Any:
    """Return what a text in TOML holds; give it to a `Form` as its parser."""
    return tomllib.loads(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in found if names.count(name) > 1)
        msg = f"key {repeated!r} stands twice in one object: rename one"
        raise ValueError(msg)
    return found


def _no_number(name: str) -> float:
    msg = f"{name} is no number"
    raise ValueError(msg)


class _ContentError(Exception):
    """What is wrong with a file, without its name."""


@dataclass(frozen=True)
class Form:
    """A kind of file, and what its readers say of one that is not.

    Attributes:
        name: What the file is, such as ``fileset``.
        mend: How to mend it or make it, the end of every message.
        error: The error that its readers raise.
        content: Type of what it holds, which `pydantic` checks strictly; the message names every place that differs.
            ``dict`` is any object.
        loads: Parser of its text.
    """

    name: str
    mend: str
    error: type[LnvError]
    content: Any = dict
    loads: Callable[[str], Any] = _from_json

    def read(self, path: str | Path) -> Any:
        """Return what a file holds.

        Raises:
            LnvError: The form's `error`: the file cannot be read, is no such file, or breaks a bound.
        """
        try:
            if (size := Path(path).stat().st_size) > TEXT_MAX:
                raise self.fault(path, f"has {size} bytes; wanted at most {TEXT_MAX}")
            data = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise self.fault(path, f"cannot be read ({reason})") from None
        return self.parse(data, path)

    def parse(self, data: bytes, place: str | Path) -> Any:
        """Return what the bytes of a file hold.

        Args:
            data: The bytes.
            place: The file, for messages.

        Raises:
            LnvError: The form's `error`.
        """
        try:
            content = self.loads(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self.fault(place, f"is no text in UTF-8 (byte {error.start})") from None
        except RecursionError:
            raise self.fault(place, f"is nested too deeply; wanted at most {DEPTH_MAX} levels") from None
        except ValueError as error:
            syntax = "TOML" if self.loads is from_toml else "JSON"
            raise self.fault(place, f"is not {syntax} ({error})") from None
        return self.check(content, place)

    def check(self, content: Any, place: str | Path) -> Any:
        """Return content of the form's type.

        Raises:
            LnvError: The form's `error`: it has another type somewhere; every such place is named.
        """
        try:
            _check_bounds(content)
            return _validated(self.content, content)
        except _ContentError as fault:
            raise self.fault(place, str(fault)) from None

    def arrays(
        self, content: Any, shapes: Mapping[str, tuple[int, ...]], place: str | Path
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Return arrays of numbers that content holds by name; a name with dots is a place in objects inside.

        Args:
            content: What the file holds.
            shapes: Name -> shape of each array; a length of -1 fits all.
            place: The file, for messages.

        Raises:
            LnvError: The form's `error`: an array is missing, holds no numbers, or has another shape.
        """
        return {name: self._array(content, name, shape, place) for name, shape in shapes.items()}

    def _array(self, content: Any, name: str, shape: tuple[int, ...], place: str | Path) -> npt.NDArray[np.float64]:
        for key in name.split("."):
            content = content.get(key) if isinstance(content, dict) else None
        if content is None:
            raise self.fault(place, f"{name} is missing")
        try:
            array = np.array(content, dtype=np.float64)
        except (TypeError, ValueError):
            raise self.fault(place, f"{name} is no array of numbers") from None
        fits = array.ndim == len(shape) and all(w in (-1, n) for n, w in zip(array.shape, shape, strict=True))
        if not (fits and np.isfinite(array).all()):
            what = "numbers that are not finite" if fits else f"the shape {array.shape}"
            raise self.fault(place, f"{name} has {what}; wanted finite numbers of shape {shape}")
        return array

    def fault(self, place: str | Path, what: str) -> LnvError:
        """Return the form's error on a file."""
        return self.error(f"{self.name} {place}: {what}; {self.mend}")


def _check_bounds(content: Any) -> None:
    """Refuse what is nested too deeply and numbers that are none, wherever they stand."""
    level = [("", content)]
    for _ in range(DEPTH_MAX):
        if not level:
            return
        for place, value in level:
            _check_number(place, value)
        level = [inner for place, value in level for inner in _inside(place, value)]
    msg = f"is nested too deeply, at {level[0][0]}; wanted at most {DEPTH_MAX} levels"
    raise _ContentError(msg)


def _inside(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{place}.{key}" if place else str(key), inner) for key, inner in value.items())
    elif isinstance(value, list):
        yield from ((f"{place}[{i}]", inner) for i, inner in enumerate(value))


def _check_number(place: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        msg = f"{place} is {value}; wanted a finite number"
        raise _ContentError(msg)
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        msg = f"{place} is an integer of {value.bit_length()} bits; wanted at most {INTEGER_BITS}"
        raise _ContentError(msg)


def _validated(content_type: Any, content: Any) -> Any:
    if content_type is dict:
        if not isinstance(content, dict):
            msg = f"holds {type(content).__name__}; wanted an object"
            raise _ContentError(msg)
        return content
    from pydantic import ValidationError  # noqa: PLC0415 workers have no use for it

    # As JSON, because there objects may become records and lists tuples without other types being converted.
    try:
        return _adapter(content_type).validate_json(json.dumps(content, default=repr), strict=True)
    except ValidationError as error:
        raise _ContentError("; ".join(map(_described, error.errors(include_url=False)))) from None


@cache
def _adapter(content_type: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(content_type)


def _described(fault: Any) -> str:
    """Return one fault that pydantic found as ``a.b is 'x': Input should be a valid integer``."""
    place = ".".join(str(part) for part in fault["loc"]) or "it"
    if fault["type"] == "missing":
        return f"{place} is missing"
    got = fault["input"]
    shown = f"of type {type(got).__name__}" if isinstance(got, (dict, list)) else repr(got)
    return f"{place} is {shown}: {fault['msg']}"


@contextmanager
def archive(path: Path | BinaryIO, form: Form) -> Iterator[Callable[[str], bytes]]:
    """Open a zip archive and give a function from the name of a member to what it holds.

    Args:
        path: The archive, or a stream that holds it.
        form: What it is, for messages and errors.

    Raises:
        LnvError: The form's `error`: it is no archive, a member is absent or damaged, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as stored:
            if (total := sum(info.file_size for info in stored.infolist())) > UNPACKED_MAX:
                raise form.fault(str(path), f"unpacks to {total} bytes; wanted at most {UNPACKED_MAX}")
            yield stored.read
    except _BROKEN as error:
        raise form.fault(str(path), f"is no zip archive, or a damaged one ({type(error).__name__}: {error})") from error
